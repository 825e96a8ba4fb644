//! Sweeps: the runs of a grid, trained until all of them are there.
//!
//! | file | what |
//! |---|---|
//! | [`keys`] | the keys of a configuration and their values |
//! | `yaml` | the file of a grid, as W&B has it |
//! | [`grid`] | every combination of some values |
//! | [`selection`] | which of them are wanted |
//! | `plan` | which runs are trained together |
//! | `work` | training them, several at a time |
//!
//! What is kept of them, and how, is [`store::sweep`](crate::store::sweep)'s.
//!
//! ```
//! use attnscope::train::sweep::{Filter, Grid, Selection, TaskName};
//!
//! # fn main() -> attnscope::Result<()> {
//! let grid = Grid::of_paper(TaskName::Induction)?;
//! assert_eq!(grid.runs(), 8640);
//! let selection = Selection {
//!     filters: vec![Filter::parse("attention_type=softmax,linear", &grid)?],
//!     limit: Some(100),
//!     shard: Some("1/4".parse()?),
//! };
//! assert_eq!(selection.runs(&grid)?.len(), 25);
//! # Ok(())
//! # }
//! ```

pub mod grid;
pub mod keys;
mod plan;
pub mod selection;
mod work;
mod yaml;

use std::{num::NonZeroUsize, path::Path};

use candle_core::Device;

pub use grid::{Axis, Grid};
pub use keys::{Key, Kind, TaskName, Value};
pub use plan::Plan;
pub use selection::{Filter, Selection};

use crate::{
    Result,
    store::sweep::{Published, RunRecord, SweepDirectory, read_records},
};

/// What to train, and where to keep it.
#[derive(Debug)]
pub struct Request<'a> {
    /// All runs that there can be.
    pub grid: &'a Grid,
    /// Those that are wanted.
    pub selection: Selection,
    /// Runs that are trained at a time.
    pub jobs: NonZeroUsize,
    /// The directory; one with runs of the same grid is continued.
    pub out: &'a Path,
    /// What the device is called in the records.
    pub device_name: &'a str,
}

/// Somebody who follows a sweep. Runs that are trained at a time call from threads of their own.
pub trait Watcher: Sync {
    /// What there is to do.
    fn planned(&self, plan: &Plan);

    /// So many more steps are made, those of all runs that are on their way counted together.
    fn stepped(&self, steps: usize);

    /// So many steps are not made, because a run diverged.
    fn spared(&self, steps: usize);

    /// A run is over and kept.
    fn ended(&self, run: &RunRecord);

    /// Whether the sweep should end; asked before each step.
    fn is_stopped(&self) -> bool;
}

/// What came of a sweep.
pub struct Outcome {
    /// What there was to do.
    pub plan: Plan,
    /// Runs that were trained now.
    pub trained: usize,
    /// Whether it was told to stop before its end.
    pub is_stopped: bool,
    /// The tables, with the runs of all shards in the directory.
    pub published: Published,
}

/// Trains all runs of the selection that have not ended yet, keeps each as soon as it is over, and makes the tables.
///
/// What becomes of a run does not depend on which others are trained beside it, nor on interruptions: on a CPU bit for
/// bit, on a GPU but for rounding.
///
/// # Errors
/// [`Error::Grid`](crate::Error::Grid) and [`Error::Usage`](crate::Error::Usage) for a selection that cannot be, before
/// anything is written; those of [`SweepDirectory::open`]; what the disk refuses. All runs that are over by then are
/// kept.
pub fn run(request: &Request<'_>, device: &Device, watcher: &dyn Watcher) -> Result<Outcome> {
    let selected = request.selection.runs(request.grid)?;
    let record = request.selection.record();
    let shard = request.selection.shard;
    let mut directory = SweepDirectory::open(request.out, request.grid, record, shard)?;
    let plan = Plan::of(request.grid, selected, directory.records());
    watcher.planned(&plan);
    let trained = work::train(request, &plan, &mut directory, device, watcher);
    // Whatever has happened: the tables hold what there is.
    let published = directory.publish();
    let trained = trained?;
    Ok(Outcome {
        is_stopped: trained < plan.left(),
        plan,
        trained,
        published: published?,
    })
}

/// What [`run`] would do; nothing is written, and a directory that is not there counts as empty.
///
/// # Errors
/// As [`run`].
pub fn plan(grid: &Grid, selection: &Selection, out: Option<&Path>) -> Result<Plan> {
    let selected = selection.runs(grid)?;
    let records = match out {
        Some(out) => read_records(out, grid)?,
        None => Default::default(),
    };
    Ok(Plan::of(grid, selected, &records))
}
