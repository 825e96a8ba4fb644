//! The directory of a sweep: which runs of a grid ended, and how.
//!
//! | file | what |
//! |---|---|
//! | `sweep.json` | the grid, with all keys and values, and how far the sweep is. It comes first, and belongs to one grid for ever |
//! | `runs.jsonl`, `runs-00003-of-00016.jsonl` | the record: a line for each run that ended, flushed to the disk at once |
//! | `runs.parquet`, `heads.parquet` | tables of all records in the directory, by the number of the run |
//!
//! A sweep of many thousand runs is a few files like this, and a crash loses the runs on their way alone: lines are only
//! ever added, one that a crash has torn is the last one, has no line break and does not count, and tables are made anew from the records
//! and replaced as a whole. Each shard adds to a record of its own, so that shards can share a directory or be brought
//! together by copying their records into one. The tables always hold everything that the directory has.
//!
//! Two processes never compute the same run at a time: each locks its shard for as long as it lives, and none begins
//! beside a shard that may overlap with its own. What many write, the tables and `sweep.json`, they write in turn.

mod directory;
mod reader;
mod record;
mod tables;

pub(super) use directory::refuse_sweep;
pub use directory::{Published, SweepDirectory, read_records};
pub use reader::{Cell, SweepTable};
pub use record::{EndState, HeadRecord, RunRecord};

/// The grid, and how far the sweep is.
pub const SWEEP_JSON: &str = "sweep.json";
/// A row for each run.
pub const RUNS: &str = "runs.parquet";
/// A row for each head of each run.
pub const HEADS: &str = "heads.parquet";
