//! The directory of an experiment: tables, figures, and `run.json` last, so that its presence means that all is there.

use std::path::Path;
use std::time::{Instant, SystemTime};

use crate::commands::drawn::write_drawn;
use crate::figures::{Format, draw_flow, refuse_occupied_names};
use crate::flow::experiments::ALL;
use crate::flow::trajectory::Followed;
use crate::store::flow::{
    FlowManifest, Run, SUMMARY, TRAJECTORIES, TrajectoryTable, write_summary,
};
use crate::store::{Provenance, RUN_JSON, listing, refuse_existing, rfc3339, write_json};
use crate::{Error, Result};

/// Fails if `out` holds one of these tables, of these figures, or a `run.json`.
///
/// # Errors
/// [`Error::OutDir`] with the file's name.
pub fn refuse_occupied(out: &Path, tables: &[&str], figure: &str) -> Result<()> {
    let files = [RUN_JSON].iter().chain(tables);
    refuse_existing(out, files.map(|name| out.join(name)), "run")?;
    refuse_occupied_names(out, [figure], &Format::ALL)
}

/// Fails if `out` holds an experiment already, and says which of them are complete.
///
/// # Errors
/// [`Error::OutDir`].
pub fn refuse_occupied_by_any(out: &Path) -> Result<()> {
    refuse_existing(out, std::iter::empty(), "run")?;
    let there = |name: &str| out.join(name).symlink_metadata().is_ok();
    let found: Vec<String> = ALL
        .iter()
        .filter(|experiment| there(experiment.name))
        .map(
            |experiment| match out.join(experiment.name).join(RUN_JSON).exists() {
                true => experiment.name.to_owned(),
                false => format!("{} (unfinished)", experiment.name),
            },
        )
        .collect();
    if found.is_empty() {
        return Ok(());
    }
    Err(Error::OutDir {
        path: out.to_path_buf(),
        message: format!(
            "holds experiments already: {}; a run is never overwritten; choose another --out, or run the others one by one",
            listing(&found)
        ),
    })
}

/// Facts for the footers of the tables; no times and no paths.
pub fn provenance(manifest: &FlowManifest) -> Provenance {
    Provenance::from([
        (
            "attnscope.version".to_owned(),
            manifest.attnscope_version.clone(),
        ),
        ("attnscope.command".to_owned(), manifest.command.clone()),
    ])
}

/// Writes everything into the directory `out`.
///
/// # Errors
/// What the disk refuses, and files that have come there meanwhile.
pub fn write(out: &Path, followed: &[Followed], mut manifest: FlowManifest) -> Result<()> {
    let began = Instant::now();
    let provenance = provenance(&manifest);
    let runs: Vec<Run<'_>> = (0..)
        .zip(followed)
        .map(|(number, followed)| Run { number, followed })
        .collect();
    let mut table = TrajectoryTable::create(&out.join(TRAJECTORIES), &provenance)?;
    for run in &runs {
        table.write(*run)?;
    }
    table.commit()?;
    write_summary(&out.join(SUMMARY), &runs, &provenance)?;
    manifest.files = vec![TRAJECTORIES.into(), SUMMARY.into()];
    let drawn = write_drawn(out, draw_flow(followed), "the tables")?;
    manifest.files.extend(drawn);
    finish(out, manifest, began)
}

/// Writes `run.json`.
pub fn finish(out: &Path, mut manifest: FlowManifest, began: Instant) -> Result<()> {
    manifest.seconds_writing = began.elapsed().as_secs_f64();
    manifest.finished_at = rfc3339(SystemTime::now());
    write_json(&out.join(RUN_JSON), &manifest)
}
