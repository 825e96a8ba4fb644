//! What an unfinished run has done so far, kept so that a crash loses little.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::assemble::{Target, assemble};
use super::atomic::{create_directory, remove_leftovers, write_json};
use super::differences::fingerprints_differ;
use super::directory::{PARTS, PLAN_JSON, RUN_JSON, file_names, listing, refused, run_files};
use super::lock::{LOCK, in_use, lock};
use super::manifest::{RunManifest, rfc3339};
use super::table::damaged;
use super::{Fingerprint, HeadRow, Provenance, Rows, part_file};
use crate::corpus::Shard;
use crate::metrics::Measures;
use crate::{Error, Result};

/// `parts/plan.json`: whose parts these are.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Plan {
    fingerprint: Fingerprint,
    started_at: String,
    resumed: u64,
}

/// The parts of a run that this process works on: `DIR/parts/batch-00012-layers-003-004.parquet` and so on.
///
/// A lock on the directory keeps a second process away from it as long as this lives; the operating system
/// releases it however the process ends.
#[derive(Debug)]
pub struct Parts {
    out: PathBuf,
    dir: PathBuf,
    plan: Plan,
    /// Where the rows of a (layer, batch) are: the file and the row group in it.
    done: BTreeMap<(i32, usize), (PathBuf, usize)>,
    measures: Measures,
    lock: File,
}

/// What `--resume` finds.
#[derive(Debug)]
pub enum Resumed {
    /// Work remains; what [`Parts::is_done`] says is done need not be computed again.
    Unfinished(Parts),
    /// The same run has finished before; there is nothing to do.
    Finished(Box<RunManifest>),
}

impl Parts {
    /// Where the parts of an unfinished run in `out` are. Others may keep there what such a run needs, and take
    /// it away again before the parts are removed.
    pub fn dir(out: &Path) -> PathBuf {
        out.join(PARTS)
    }

    /// Begins a new run in `out`, which is created where needed and may hold other files, but no other run.
    pub fn create(out: &Path, fingerprint: &Fingerprint) -> Result<Self> {
        let found = run_files(out)?;
        let parts = part_names(out)?;
        if has_plan(out) {
            let message = format!(
                "holds an unfinished run ({} parts in {PARTS}/); continue it with --resume, or choose another --out",
                parts.len()
            );
            return Err(refused(out, message));
        }
        if !found.is_empty() {
            let message = if found.iter().any(|name| name == RUN_JSON) {
                format!(
                    "holds a finished run ({}); choose another --out",
                    listing(&found)
                )
            } else {
                format!(
                    "holds results without a {RUN_JSON} ({}); move them away, or choose another --out",
                    listing(&found)
                )
            };
            return Err(refused(out, message));
        }
        if !parts.is_empty() {
            let message = format!(
                "{PARTS}/ holds {} parts but no {PLAN_JSON} that says whose they are; remove {PARTS}/, or choose another --out",
                parts.len()
            );
            return Err(refused(out, message));
        }
        let dir = Self::dir(out);
        create_directory(&dir)?;
        let lock = lock(out, &dir)?;
        if has_plan(out) {
            return Err(in_use(out));
        }
        remove_leftovers(out)?;
        remove_leftovers(&dir)?;
        let plan = Plan {
            fingerprint: fingerprint.clone(),
            started_at: rfc3339(SystemTime::now()),
            resumed: 0,
        };
        write_json(&dir.join(PLAN_JSON), &plan)?;
        Ok(Self {
            out: out.to_path_buf(),
            dir,
            plan,
            done: BTreeMap::new(),
            measures: Measures::default(),
            lock,
        })
    }

    /// Continues the run that `out` holds, if it is this one; begins it where there is none.
    ///
    /// Parts that are damaged are removed and count as not done.
    pub fn resume(out: &Path, fingerprint: &Fingerprint) -> Result<Resumed> {
        if run_files(out)?.iter().any(|name| name == RUN_JSON) {
            return finished(out, fingerprint).map(|run| Resumed::Finished(Box::new(run)));
        }
        if !has_plan(out) {
            return Self::create(out, fingerprint).map(Resumed::Unfinished);
        }
        let dir = Self::dir(out);
        let lock = lock(out, &dir)?;
        let mut plan = read_plan(out)?;
        same_run(out, &plan.fingerprint, fingerprint)?;
        remove_leftovers(out)?;
        remove_leftovers(&dir)?;
        // Ours, not what was read: see `same_run` on numbers.
        plan.fingerprint = fingerprint.clone();
        plan.resumed += 1;
        write_json(&dir.join(PLAN_JSON), &plan)?;
        let mut parts = Self {
            out: out.to_path_buf(),
            dir,
            plan,
            done: BTreeMap::new(),
            measures: Measures::default(),
            lock,
        };
        parts.adopt()?;
        Ok(Resumed::Unfinished(parts))
    }

    /// The parts of a run that measures all this, which the fingerprint has to say, too.
    pub fn measuring(self, measures: Measures) -> Self {
        Self { measures, ..self }
    }

    /// The fingerprint of the unfinished run in `out`, if there is one: so that a run that resumes can adopt
    /// what the first one chose by itself, such as the size of a batch.
    pub fn unfinished(out: &Path) -> Result<Option<Fingerprint>> {
        if !has_plan(out) {
            return Ok(None);
        }
        read_plan(out).map(|plan| Some(plan.fingerprint))
    }

    /// When the run began, before all interruptions (RFC 3339).
    pub fn started_at(&self) -> &str {
        &self.plan.started_at
    }

    /// How often the run has been resumed.
    pub fn resumed(&self) -> u64 {
        self.plan.resumed
    }

    /// Whether the rows of this batch and layer are on disk.
    pub fn is_done(&self, batch: usize, layer: usize) -> bool {
        i32::try_from(layer).is_ok_and(|layer| self.done.contains_key(&(layer, batch)))
    }

    /// Puts the rows of a batch on disk: all heads of all its samples, in each of the `layers`, in any order, with
    /// their lags and activations if those are measured. When this returns they survive a crash.
    pub fn write(
        &mut self,
        batch: usize,
        layers: Range<usize>,
        rows: impl Into<Rows>,
    ) -> Result<()> {
        let narrow = |layer: usize| {
            i32::try_from(layer)
                .map_err(|_| damaged(&self.dir, format!("layer {layer} exceeds int32")))
        };
        let layers = narrow(layers.start)?..narrow(layers.end)?;
        if layers.is_empty() {
            return Err(damaged(&self.dir, "a part needs at least one layer"));
        }
        let path = self.dir.join(part_file::file_name(batch, &layers));
        if let Some(layer) = self.first_done(batch, &layers) {
            let message = format!("batch {batch}, layer {layer} has been written before");
            return Err(damaged(&path, message));
        }
        part_file::write(&path, &layers, rows.into(), &self.measures)?;
        self.register(batch, &layers, &path);
        Ok(())
    }

    /// Merges the parts into `samples.parquet` and `heads.parquet` (or this shard's), and `lags.parquet` and
    /// `activations.parquet` if those are measured, and returns the heads.
    ///
    /// Every one of `n_layers` layers must have all heads of exactly the given `samples`. Memory is the rows of
    /// one layer. The parts stay; remove them once `run.json` is written.
    pub fn finish(
        &self,
        n_layers: usize,
        samples: &[i64],
        shard: Option<Shard>,
        provenance: &Provenance,
    ) -> Result<Vec<HeadRow>> {
        let mut samples = samples.to_vec();
        samples.sort_unstable();
        if let Some(twice) = samples.windows(2).find(|pair| pair[0] == pair[1]) {
            let message = format!("sample {} was given twice", twice[0]);
            return Err(damaged(&self.dir, message));
        }
        if let Some((&(layer, batch), _)) = self.done.last_key_value()
            && usize::try_from(layer).is_ok_and(|layer| layer >= n_layers)
        {
            let message =
                format!("batch {batch} has rows of layer {layer}, the model has {n_layers} layers");
            return Err(damaged(&self.dir, message));
        }
        let layers = (0..n_layers).map(|layer| self.layer_rows(layer));
        let target = Target {
            dir: &self.out,
            shard,
            measures: &self.measures,
            provenance,
        };
        assemble(&target, &self.dir, &samples, layers)
    }

    /// Removes the parts; to be called when `run.json` is in place. What else lies beside them stays.
    pub fn remove(self) -> Result<()> {
        remove_files(&self.out, self.lock)
    }

    fn layer_rows(&self, layer: usize) -> Result<Rows> {
        let mut rows = Rows::default();
        let Ok(layer) = i32::try_from(layer) else {
            return Ok(rows);
        };
        for (path, row_group) in self
            .done
            .range((layer, 0)..=(layer, usize::MAX))
            .map(|(_, at)| at)
        {
            let part = part_file::read(path, *row_group, &self.measures)
                .map_err(|error| match error {
                    Error::Parquet { path, message } => Error::Parquet {
                        path,
                        message: format!("{message}; run the same command with --resume to compute this part again"),
                    },
                    other => other,
                })?;
            rows.append(part);
        }
        Ok(rows)
    }

    /// Takes over the parts that an earlier process has written.
    fn adopt(&mut self) -> Result<()> {
        for (name, batch, layers) in part_names(&self.out)? {
            let path = self.dir.join(name);
            let verdict = match self.first_done(batch, &layers) {
                Some(layer) => Err(damaged(
                    &path,
                    format!("layer {layer} is in another part, too"),
                )),
                None => part_file::verify(&path, &layers),
            };
            match verdict {
                Ok(()) => self.register(batch, &layers, &path),
                Err(damage @ Error::Parquet { .. }) => {
                    tracing::warn!("{damage}; this part will be computed again");
                    fs::remove_file(&path).map_err(Error::io(&path))?;
                    for beside in part_file::beside(&path) {
                        remove_if_there(&beside)?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn first_done(&self, batch: usize, layers: &Range<i32>) -> Option<i32> {
        layers
            .clone()
            .find(|&layer| self.done.contains_key(&(layer, batch)))
    }

    fn register(&mut self, batch: usize, layers: &Range<i32>, path: &Path) {
        for (row_group, layer) in layers.clone().enumerate() {
            self.done
                .insert((layer, batch), (path.to_path_buf(), row_group));
        }
    }
}

/// The manifest of the run that `out` holds, if it is this one. A crash may have left some of its parts.
fn finished(out: &Path, fingerprint: &Fingerprint) -> Result<RunManifest> {
    let run = RunManifest::read(out)?;
    let Some(theirs) = &run.fingerprint else {
        let message = format!(
            "holds a merged run ({RUN_JSON}), which cannot be resumed; choose another --out"
        );
        return Err(refused(out, message));
    };
    same_run(out, theirs, fingerprint)?;
    // Even if only the lock is left in it.
    if Parts::dir(out).is_dir() {
        let lock = lock(out, &Parts::dir(out))?;
        remove_files(out, lock)?;
    }
    Ok(run)
}

/// Removes what [`Parts`] wrote into `parts/`, and the directory if nothing else is in it.
fn remove_files(out: &Path, lock: File) -> Result<()> {
    let dir = Parts::dir(out);
    // First the plan: without it there is no unfinished run, whatever else a crash leaves here.
    let mut ours = vec![PLAN_JSON.to_owned()];
    ours.extend(part_names(out)?.into_iter().map(|(name, ..)| name));
    let beside = file_names(&dir)?.into_iter();
    ours.extend(beside.filter(|name| part_file::is_beside(name)));
    ours.push(LOCK.to_owned());
    drop(lock);
    for path in ours.iter().map(|name| dir.join(name)) {
        remove_if_there(&path)?;
    }
    remove_leftovers(&dir)?;
    match fs::remove_dir(&dir) {
        Err(error) if error.kind() != ErrorKind::DirectoryNotEmpty => Err(Error::io(&dir)(error)),
        _ => Ok(()),
    }
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

/// Compares a fingerprint read from a file with this run's.
fn same_run(out: &Path, theirs: &Fingerprint, ours: &Fingerprint) -> Result<()> {
    match fingerprints_differ(theirs, ours) {
        None => Ok(()),
        Some(differences) => Err(refused(
            out,
            format!(
                "holds another run: {differences}; repeat that run's options to resume it, or choose another --out"
            ),
        )),
    }
}

fn read_plan(out: &Path) -> Result<Plan> {
    let path = Parts::dir(out).join(PLAN_JSON);
    let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
    serde_json::from_str(&text).map_err(|error| {
        refused(
            &path,
            format!(
                "cannot be read ({error}), so the parts beside it cannot be resumed; remove the directory {PARTS}/, or choose another --out"
            ),
        )
    })
}

fn has_plan(out: &Path) -> bool {
    Parts::dir(out).join(PLAN_JSON).exists()
}

/// Names, batches and layers of the parts in `out`, in order.
fn part_names(out: &Path) -> Result<Vec<(String, usize, Range<i32>)>> {
    let mut parts: Vec<_> = file_names(&Parts::dir(out))?
        .into_iter()
        .filter_map(|name| {
            let (batch, layers) = part_file::parse_file_name(&name)?;
            Some((name, batch, layers))
        })
        .collect();
    parts.sort_by_key(|(_, batch, layers)| (*batch, layers.start, layers.end));
    Ok(parts)
}
