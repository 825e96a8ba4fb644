//! What a scan leaves on disk: parquet tables, the run manifest, and the parts of an unfinished run.
//!
//! - [`Parts`]: every finished unit of work is a small parquet file at once, so that a crash loses little;
//!   [`Parts::finish`] makes `samples.parquet` and `heads.parquet` of them.
//!   What more a scan measures adds columns to both, and the tables `lags.parquet` and `activations.parquet`.
//! - [`RunManifest`]: `run.json`, everything needed to repeat the run.
//! - [`SampleReader`], [`read_heads`], [`read_lags`], [`read_activations`]: reading the tables back, one file or shards.
//! - [`merge`]: several runs of disjoint samples become one.
//! - [`flow`]: trajectories, summaries and phase maps of the value-softmax model.
//! - [`train`]: heads, epochs and what was tracked of a small transformer in training.
//! - [`sweep`]: the runs of a grid: the record of those that ended, and tables of them.
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
//! parts.write(0, 0..1, vec![row])?; // batch 0, layer 0
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
use std::ops::Range;

use crate::metrics::{HeadSums, LagFit, LagSums, Magnitudes};

mod assemble;
mod atomic;
mod columns;
mod differences;
mod directory;
pub mod flow;
mod inspect;
mod lock;
mod manifest;
mod merge;
mod named_columns;
mod part_file;
mod parts;
mod reader;
pub mod sweep;
mod table;
pub mod train;

pub(crate) use assemble::{only_in, sum_heads};
pub use atomic::{AtomicFile, remove_leftovers, write_atomically, write_json};
pub(crate) use atomic::{create_directory, sync_directory};
pub(crate) use differences::fingerprints_differ;
pub use directory::{
    RUN_JSON, activations_file_name, heads_file_name, lags_file_name, samples_file_name,
};
pub(crate) use directory::{listing, refuse_existing};
pub(crate) use inspect::{find_tables, read_complete_heads, read_layers};
pub(crate) use lock::lock;
pub use manifest::{
    BatchPlan, DatasetRecord, ModelRecord, RunManifest, SamplingRecord, Timings, rfc3339,
};
pub use merge::merge;
pub use parts::{Parts, Resumed};
pub(crate) use reader::TableKind;
pub use reader::{SampleReader, read_activations, read_heads, read_lags};
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
    /// The power law fitted to attention by distance, where that was measured and there is one. Shards that lie
    /// together have none: it does not add up.
    pub lag_fit: Option<LagFit>,
}

/// A row of `lags.parquet`: how much one head looks so many positions back, over all samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LagRow {
    /// Layer, from 0.
    pub layer: i32,
    /// Head within the layer, from 0.
    pub head: i32,
    /// Query position less key position; 0 is the diagonal.
    pub lag: i32,
    /// Rows that have a key at this lag.
    pub rows: i64,
    /// Σ of their shares on it.
    pub share_sum: f64,
}

impl LagRow {
    /// The rows of one head.
    pub(crate) fn of_head(
        layer: i32,
        head: i32,
        lags: &LagSums,
    ) -> impl Iterator<Item = LagRow> + use<'_> {
        let sums = lags.rows.iter().zip(&lags.share_sums);
        (0..)
            .zip(sums)
            .map(move |(lag, (&rows, &share_sum))| LagRow {
                layer,
                head,
                lag,
                rows,
                share_sum,
            })
    }

    /// The mean share at this lag; NaN without rows.
    pub fn mean_share(&self) -> f64 {
        match self.rows {
            rows if rows > 0 => self.share_sum / rows as f64,
            _ => f64::NAN,
        }
    }
}

/// A row of `activations.parquet`: the hidden states of one sample after one layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ActivationRow {
    /// Row index in the dataset.
    pub sample: i64,
    /// Layer whose output this is, from 0.
    pub layer: i32,
    /// How large their elements are.
    pub magnitudes: Magnitudes,
}

/// Rows of all tables: of one batch, or of one layer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// What every scan measures, and what adds to it.
    pub samples: Vec<SampleRow>,
    /// Of `samples` together; empty where lags are not measured.
    pub lags: Vec<LagRow>,
    /// Empty where activations are not measured.
    pub activations: Vec<ActivationRow>,
}

impl From<Vec<SampleRow>> for Rows {
    fn from(samples: Vec<SampleRow>) -> Self {
        Self {
            samples,
            ..Self::default()
        }
    }
}

impl Rows {
    /// Appends those of `other`.
    pub fn append(&mut self, other: Rows) {
        self.samples.extend(other.samples);
        self.lags.extend(other.lags);
        self.activations.extend(other.activations);
    }

    /// Those of some layers.
    pub(crate) fn of_layers(&self, layers: &Range<i32>) -> Rows {
        let is_in = |layer: i32| layers.contains(&layer);
        Rows {
            samples: self
                .samples
                .iter()
                .filter(|r| is_in(r.layer))
                .copied()
                .collect(),
            lags: self
                .lags
                .iter()
                .filter(|r| is_in(r.layer))
                .copied()
                .collect(),
            activations: self
                .activations
                .iter()
                .filter(|r| is_in(r.layer))
                .copied()
                .collect(),
        }
    }
}
