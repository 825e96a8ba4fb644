//! A run that has not ended, in its directory.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use super::output;
use crate::{
    Error, Result,
    store::{
        RUN_JSON, create_directory, remove_leftovers, rfc3339,
        train::unfinished::{self, Progress, UNFINISHED},
    },
    train::{Settings, Snapshot, snapshot::Keeper},
};

/// Between two times that it is kept, at least.
const PAUSE: Duration = Duration::from_secs(10);
/// Keeping it takes one part of the time in so many, at most.
const SHARE: u32 = 50;

/// Keeps a run in its directory, where no other process trains meanwhile: before its first step, so that the directory
/// says whose it is, and every few seconds.
pub struct Unfinished<'a> {
    pub out: PathBuf,
    command: &'a str,
    /// When this process began with it.
    progress: Progress,
    since: Instant,
    /// When it was kept, by this process.
    kept: Option<Instant>,
    pause: Duration,
    _lock: File,
}

impl<'a> Unfinished<'a> {
    /// Begins a run that `command` repeats in the directory `out`, which is created if need be; or takes up the
    /// unfinished one that is there.
    ///
    /// # Errors
    /// [`Error::OutDir`] where something is that the run would write, or another run; what the disk refuses.
    pub fn begin(
        out: &Path,
        settings: &Settings,
        command: &'a str,
        resume: bool,
    ) -> Result<(Self, Option<Snapshot>)> {
        // Before anything is created.
        holds_unfinished(out, resume)?;
        create_directory(out)?;
        let lock = unfinished::lock(out)?;
        let mut progress = Progress {
            started_at: rfc3339(SystemTime::now()),
            seconds: 0.0,
            resumed: 0,
        };
        let mut from = None;
        // Whoever had the lock before may have ended there.
        if holds_unfinished(out, resume)? {
            let (found, snapshot) = unfinished::read(out, settings, command)?;
            // What was being written when the run was killed.
            remove_leftovers(out)?;
            output::remove(out);
            let (done, all) = (snapshot.steps, settings.steps());
            tracing::info!("resuming after {done} of {all} steps");
            progress = Progress {
                resumed: found.resumed + 1,
                ..found
            };
            from = Some(snapshot);
        }
        let this = Self {
            out: out.into(),
            command,
            progress,
            since: Instant::now(),
            kept: None,
            pause: PAUSE,
            _lock: lock,
        };
        Ok((this, from))
    }

    /// Where the run is now.
    pub fn progress(&self) -> Progress {
        Progress {
            seconds: self.progress.seconds + self.since.elapsed().as_secs_f64(),
            ..self.progress.clone()
        }
    }

    /// The run's results are written.
    pub fn end(self) {
        unfinished::remove(&self.out);
    }
}

/// Whether there is a run to resume.
fn holds_unfinished(out: &Path, resume: bool) -> Result<bool> {
    let is_there = out.join(UNFINISHED).is_file() && !out.join(RUN_JSON).is_file();
    if !is_there {
        output::refuse_occupied(out)?;
    } else if !resume {
        return Err(Error::OutDir {
            path: out.into(),
            message: format!(
                "holds an unfinished run ({UNFINISHED}); continue it with --resume, or choose another --out"
            ),
        });
    }
    Ok(is_there)
}

impl Keeper for Unfinished<'_> {
    fn is_due(&self) -> bool {
        self.kept.is_none_or(|kept| kept.elapsed() >= self.pause)
    }

    fn keep(&mut self, snapshot: &Snapshot) -> Result<()> {
        let began = Instant::now();
        let written = unfinished::write(&self.out, self.command, &self.progress(), snapshot);
        match written {
            // At the end there may be room again.
            Err(error) if self.kept.is_some() => {
                tracing::warn!("{error}; the run goes on, but could not be resumed from here");
            }
            written => written?,
        }
        self.pause = PAUSE.max(SHARE * began.elapsed());
        self.kept = Some(Instant::now());
        Ok(())
    }
}
