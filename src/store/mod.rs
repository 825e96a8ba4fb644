//! What a scan leaves on disk: parquet tables, the run manifest, and the parts of an unfinished run.
//!
//! - [`Parts`]: every finished unit of work is a small parquet file at once, so that a crash loses little;
//!   [`Parts::finish`] makes `samples.parquet` and `heads.parquet` of them.
//! - [`RunManifest`]: `run.json`, everything needed to repeat the run.
//! - [`SampleReader`], [`read_heads`]: reading the tables back, one file or shards.
//! - [`merge`]: several runs of disjoint samples become one.
//! - [`AtomicFile`]: how all of them are written.
//!
//! This room knows rows of numbers, nothing of tensors, models or texts; which of the samples are a run's own,
//! [`Shard`](crate::corpus::Shard) tells it.
//!
//! ```
//! use attnscope::metrics::HeadSums;
//! use attnscope::store::{Fingerprint, Parts, Provenance, SampleReader, SampleRow, read_heads};
//!
//! # fn main() -> attnscope::Result<()> {
//! # let temporary = tempfile::tempdir().map_err(attnscope::Error::io("out"))?;
//! # let out = temporary.path();
//! let fingerprint = Fingerprint::from([("seed".to_owned(), 42.into())]);
//! let mut parts = Parts::create(out, &fingerprint)?;
//!
//! let mut sums = HeadSums::default();
//! sums.add_row(0.5, 1.0, 0.25, 0.9);
//! let row = SampleRow { sample: 7, layer: 0, head: 0, sums };
//! parts.write(0, 0..1, &[row])?; // batch 0, layer 0
//!
//! parts.finish(1, &[7], None, &Provenance::new())?;
//! // … `RunManifest::write` comes here, then:
//! parts.remove()?;
//!
//! for layer in SampleReader::open(out)? {
//!     assert_eq!(layer?, [row]);
//! }
//! assert_eq!(read_heads(out)?[0].sums.means().first_token_share, 0.25 / (1.0 + 1e-9));
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;

use crate::metrics::HeadSums;

mod assemble;
mod atomic;
mod differences;
mod directory;
mod inspect;
mod lock;
mod manifest;
mod merge;
mod part_file;
mod parts;
mod reader;
mod table;

pub use atomic::{AtomicFile, remove_leftovers, write_atomically, write_json};
pub(crate) use atomic::{create_directory, sync_directory};
pub(crate) use differences::fingerprints_differ;
pub(crate) use directory::listing;
pub use directory::{RUN_JSON, heads_file_name, samples_file_name};
pub(crate) use inspect::{find_tables, read_layers};
pub(crate) use lock::lock;
pub use manifest::{
    BatchPlan, DatasetRecord, ModelRecord, RunManifest, SamplingRecord, Timings, rfc3339,
};
pub use merge::merge;
pub use parts::{Parts, Resumed};
pub(crate) use reader::TableKind;
pub use reader::{SampleReader, read_heads};
pub(crate) use table::{TableWriter, parquet_error};

/// Facts about a run, repeated in the footer of every table it writes.
///
/// They hold no times and no paths, so that two equal runs write the same bytes.
pub type Provenance = BTreeMap<String, String>;

/// Everything that decides a run's numbers and the way its work is cut into parts: an unfinished run is
/// continued only by a run with the same fingerprint.
pub type Fingerprint = BTreeMap<String, serde_json::Value>;

/// A row of `samples.parquet`: what one head did in one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleRow {
    /// Row index in the dataset.
    pub sample: i64,
    /// Layer, from 0.
    pub layer: i32,
    /// Head within the layer, from 0.
    pub head: i32,
    /// Sums over the sample's attention rows.
    pub sums: HeadSums,
}

/// A row of `heads.parquet`: what one head did in all samples.
///
/// The file also has the columns of [`HeadSums::means`]; they follow from the sums and are not kept here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadRow {
    /// Layer, from 0.
    pub layer: i32,
    /// Head within the layer, from 0.
    pub head: i32,
    /// Samples that entered the sums.
    pub samples: i64,
    /// Sums over all attention rows of all samples, added in the order of the sample indices.
    pub sums: HeadSums,
}
