//! What `attnscope train` leaves beside the checkpoint: tables, and `run.json`.
//!
//! | table | a row for each |
//! |---|---|
//! | [`HEADS`] | head: what it does, measured after training |
//! | [`EPOCHS`] | epoch |
//! | [`TRACKING`] | tracked weight of a fixed sample, at each step that was looked at |
//! | [`VALUE_NORMS`] | value projection, and each head's rows of it, at each of these steps |
//!
//! Until the run has ended, [`unfinished`] has what was made so far.
//!
//! Layers, heads, samples and positions are counted from 0, epochs from 1; a step is the number of steps made. What is not
//! a number is null.

mod epochs;
mod heads;
mod record;
mod tracking;
pub mod unfinished;

use std::path::{Path, PathBuf};

pub use record::{TaskRecord, TrackedSample, TrainManifest};

use super::{Provenance, RUN_JSON, refuse_existing, sweep::refuse_sweep};
use crate::{
    Result,
    train::{run::Trained, tasks::Task},
};

/// What each head does.
pub const HEADS: &str = "heads.parquet";
/// How each epoch went.
pub const EPOCHS: &str = "epochs.parquet";
/// Weights of fixed samples on the way.
pub const TRACKING: &str = "tracking.parquet";
/// Norms of value projections on the way.
pub const VALUE_NORMS: &str = "value_norms.parquet";

/// All that may be of a run in its directory, but for checkpoint, texts and figures.
pub const FILES: [&str; 5] = [RUN_JSON, HEADS, EPOCHS, TRACKING, VALUE_NORMS];

/// Fails if `out` holds a `run.json` or one of the tables, or a sweep, which may not have its tables yet.
///
/// # Errors
/// [`Error::OutDir`](crate::Error::OutDir) with the file's name.
pub fn refuse_occupied(out: &Path) -> Result<()> {
    refuse_existing(out, FILES.iter().map(|name| out.join(name)), "run")?;
    refuse_sweep(out)
}

/// Writes the tables of a run as new files into `out`, which must exist, and says which: [`HEADS`] of one that finished,
/// the last two of one that was tracked.
///
/// # Errors
/// What the disk refuses, and [`Error::OutDir`](crate::Error::OutDir) for a file that is there.
pub fn write_tables(
    out: &Path,
    task: &Task,
    trained: &Trained,
    provenance: &Provenance,
) -> Result<Vec<&'static str>> {
    let mut written = vec![EPOCHS];
    let path = |name: &str| -> PathBuf { out.join(name) };
    epochs::write(&path(EPOCHS), &trained.epochs, provenance)?;
    if let Some(evaluation) = &trained.evaluation {
        heads::write(&path(HEADS), &evaluation.heads, provenance)?;
        written.push(HEADS);
    }
    if !trained.track.records.is_empty() {
        tracking::write_weights(&path(TRACKING), task, trained, provenance)?;
        tracking::write_norms(&path(VALUE_NORMS), &trained.track, provenance)?;
        written.extend([TRACKING, VALUE_NORMS]);
    }
    Ok(written)
}
