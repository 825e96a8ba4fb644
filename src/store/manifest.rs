//! `run.json`: what was run, on what, how, and how long it took.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::atomic::write_json;
use super::directory::RUN_JSON;
use super::{Fingerprint, Provenance};
use crate::corpus::{Shard, TextsSum};
use crate::metrics::Measures;
use crate::{Error, Result};

/// Everything needed to repeat a run, and what it cost.
///
/// What is unknown or does not apply is `None` and written as `null`. Unknown keys are ignored when reading,
/// so that older versions read what newer ones write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunManifest {
    /// Version of attnscope that computed the numbers.
    pub attnscope_version: String,
    /// Which weights.
    pub model: ModelRecord,
    /// Which texts.
    pub dataset: DatasetRecord,
    /// Which of the texts.
    pub sampling: SamplingRecord,
    /// Samples were cut to this many tokens.
    pub max_seq_len: u64,
    /// Which special tokens were added, in words.
    pub special_tokens: String,
    /// What was done to the text before tokenisation, in words.
    pub preprocessing: Option<String>,
    /// What was measured beyond the statistics of every scan.
    #[serde(default)]
    pub metrics: Measures,
    /// Element type of the weights and activations: `f32`, `bf16`, `f16`.
    pub dtype: String,
    /// `cpu`, `cuda:0`, `metal`; of a merged run all that took part.
    pub device: String,
    /// `resident` or `streamed`; of a merged run all that took part.
    pub executor: String,
    /// How samples were put together; `None` for a merged run whose parts differ.
    pub batch_plan: Option<BatchPlan>,
    /// Samples that were scanned.
    pub samples: u64,
    /// Tokens (valid query positions) of these samples.
    pub tokens: u64,
    /// Attention rows with a NaN or infinite statistic, over all layers and heads.
    pub non_finite_rows: u64,
    /// When the run began, before all interruptions (RFC 3339, UTC).
    pub started_at: String,
    /// When it finished.
    pub finished_at: String,
    /// How often it was resumed.
    pub resumed: u64,
    /// Where the time went.
    pub timings: Timings,
    /// Tokens through the whole model, without the time for reading and tokenising texts.
    pub tokens_per_second: Option<f64>,
    /// Largest resident set of the process; of a merged run the largest of any.
    pub peak_memory_bytes: Option<u64>,
    /// What [`super::Parts`] compares before it resumes; `None` for a merged run.
    pub fingerprint: Option<Fingerprint>,
    /// The directories that a merged run was made of.
    #[serde(default)]
    pub merged_from: Vec<String>,
}

/// Which weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// As given on the command line, or the manifest's name.
    pub name: String,
    /// Local directory, if it was not taken from the Hub.
    pub path: Option<String>,
    /// Hub repository.
    pub repo: Option<String>,
    /// Resolved commit of the repository.
    pub revision: Option<String>,
    /// `model_type` of `config.json`.
    pub model_type: String,
    /// `config.json`, whole.
    pub config: serde_json::Value,
    /// Identifies the weights, wherever they were stored.
    pub weights_fingerprint: Option<String>,
}

/// Which texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetRecord {
    /// As given on the command line, or the manifest's name.
    pub name: String,
    /// The files that were read, in order.
    #[serde(default)]
    pub files: Vec<String>,
    /// Hub repository.
    pub repo: Option<String>,
    /// Resolved commit of the repository.
    pub revision: Option<String>,
    /// The dataset's configuration (subset).
    pub config: Option<String>,
    /// The split, of a dataset on the Hub.
    pub split: Option<String>,
    /// The column or field with the text.
    pub text_column: Option<String>,
    /// Rows of the whole dataset.
    pub rows: u64,
}

/// Which of the texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SamplingRecord {
    /// Samples drawn, before sharding; of merged runs their sum.
    pub n_samples: u64,
    /// `None` if all rows were taken, or if merged runs had different seeds.
    pub seed: Option<u64>,
    /// SHA-256 of the drawn row indices, before sharding, so that all shards of a run agree on it;
    /// `None` for merged runs that drew different ones.
    pub indices_sha256: Option<String>,
    /// Checksum of the texts that this run, or this shard, saw.
    #[serde(default)]
    pub texts_sum: Option<TextsSum>,
    /// The share of the samples that this run took; `None` for all.
    pub shard: Option<Shard>,
    /// Samples without a single token.
    pub skipped: u64,
}

/// How samples are put together into batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchPlan {
    /// At most so many samples.
    pub samples: u64,
    /// At most so many tokens, padding included.
    pub tokens: u64,
}

/// Seconds of wall-clock time; of a merged run the sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// From start to end of the process that finished the run.
    pub seconds_total: Option<f64>,
    /// Reading and converting weights.
    pub seconds_load: Option<f64>,
    /// Reading and tokenising texts.
    pub seconds_tokenize: Option<f64>,
    /// Forward passes.
    pub seconds_compute: Option<f64>,
    /// Writing parts and tables.
    pub seconds_write: Option<f64>,
}

impl RunManifest {
    /// Writes `run.json` into the run's output directory.
    pub fn write(&self, out: &Path) -> Result<()> {
        write_json(&out.join(RUN_JSON), self)
    }

    /// Reads the `run.json` of a run's output directory.
    pub fn read(out: &Path) -> Result<Self> {
        let path = out.join(RUN_JSON);
        let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
        let mut json = serde_json::Deserializer::from_str(&text);
        serde_path_to_error::deserialize(&mut json).map_err(|error| Error::Config {
            path,
            field: error.path().to_string(),
            message: format!(
                "{}; name the directory of an `attnscope scan`, whose {RUN_JSON} is not meant to be edited",
                error.inner()
            ),
        })
    }

    /// The facts for the footers of the run's tables: those that decide the numbers, none that change from one
    /// run to its repetition (times, memory, executor, paths).
    pub fn provenance(&self) -> Provenance {
        let facts = [
            ("version", Some(self.attnscope_version.clone())),
            ("model", Some(self.model.name.clone())),
            ("model_repo", self.model.repo.clone()),
            ("model_revision", self.model.revision.clone()),
            ("model_type", Some(self.model.model_type.clone())),
            (
                "attention_function",
                (self.model.config.get("attention_function"))
                    .and_then(|function| function.as_str())
                    .map(str::to_owned),
            ),
            (
                "weights_fingerprint",
                self.model.weights_fingerprint.clone(),
            ),
            ("dataset", Some(self.dataset.name.clone())),
            ("dataset_repo", self.dataset.repo.clone()),
            ("dataset_revision", self.dataset.revision.clone()),
            ("dataset_config", self.dataset.config.clone()),
            ("split", self.dataset.split.clone()),
            ("text_column", self.dataset.text_column.clone()),
            ("n_samples", Some(self.sampling.n_samples.to_string())),
            ("seed", self.sampling.seed.map(|seed| seed.to_string())),
            ("indices_sha256", self.sampling.indices_sha256.clone()),
            ("texts_sum", self.sampling.texts_sum.map(String::from)),
            ("shard", self.sampling.shard.map(|shard| shard.to_string())),
            ("max_seq_len", Some(self.max_seq_len.to_string())),
            ("special_tokens", Some(self.special_tokens.clone())),
            ("preprocessing", self.preprocessing.clone()),
            (
                "metrics",
                (!self.metrics.is_empty()).then(|| self.metrics.to_string()),
            ),
            ("dtype", Some(self.dtype.clone())),
            ("device", Some(self.device.clone())),
        ];
        facts
            .into_iter()
            .filter_map(|(name, value)| Some((format!("attnscope.{name}"), value?)))
            .collect()
    }
}

/// The time in UTC, to the second: `2026-03-09T11:20:05Z`.
pub fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
