//! The tables of followed value-softmax models.
//!
//! `trajectories.parquet` is long: a row for each number at each record, with the columns `run`, `experiment`, `sigma`,
//! `dim`, `condition_number`, `seed` (what it belongs to), `quantity`, `row`, `coordinate` (what it is), `step`, `time`
//! (when), `value`. Runs of other sizes, with other quantities and other times, stand in one table like this, and
//! nobody has to know in advance how many coordinates there are: a wide one would need a column per coordinate, and have
//! gaps for all runs that have fewer. What repeats costs next to nothing in the file (dictionaries, zstd), and one
//! step makes it wide, `pivot(index="time", columns="coordinate", values="value")` after choosing run and quantity.
//! Rows are sorted by run, quantity, row, coordinate and step, so that a curve is one piece of the file.
//!
//! `summary.parquet` has a row per run, `map.parquet` one per cell of a phase map.

mod map;
mod record;
mod summary;
mod trajectories;

pub use map::write_map;
pub use record::{ExperimentRecord, FlowManifest, IntegratorRecord};
pub use summary::write_summary;
pub use trajectories::{Run, TrajectoryTable};

/// A row for each number at each record.
pub const TRAJECTORIES: &str = "trajectories.parquet";
/// A row for each run.
pub const SUMMARY: &str = "summary.parquet";
/// A row for each cell of a phase map.
pub const MAP: &str = "map.parquet";
