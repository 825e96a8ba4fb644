//! What is written down of a run: what makes it that run, and what `run.json` says.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Request, plan::Plan, texts::Texts};
use crate::{
    corpus::{Batch, BatchLimit, Preprocessing, SampleSize},
    models::DecoderModel,
    store::{BatchPlan, Fingerprint, RunManifest, SamplingRecord, Timings},
};

/// The entry that says how many tokens a batch may have, where that was not the user's choice.
pub const BATCH_TOKENS: &str = "batch_tokens";

/// What must be the same for two processes to work on one run.
pub fn fingerprint(
    request: &Request,
    model: &dyn DecoderModel,
    texts: &Texts,
    weights: &str,
    limit: BatchLimit,
) -> Fingerprint {
    let (batch_size, batch_tokens) = match limit {
        BatchLimit::Samples(n) => (Some(n.get()), None),
        BatchLimit::Tokens(n) => (None, Some(n.get())),
    };
    BTreeMap::from([
        ("attnscope_version".into(), json!(env!("CARGO_PKG_VERSION"))),
        ("model".into(), json!(request.model.name)),
        ("model_revision".into(), json!(request.model.revision)),
        ("model_config".into(), model.config().clone()),
        ("weights".into(), json!(weights)),
        ("dataset".into(), json!(request.dataset.record.name)),
        (
            "dataset_revision".into(),
            json!(request.dataset.record.revision),
        ),
        ("text_column".into(), json!(request.dataset.text_column)),
        ("n_samples".into(), json!(texts.drawn)),
        ("seed".into(), json!(request.seed)),
        ("shard".into(), json!(request.shard)),
        ("max_seq_len".into(), json!(request.max_seq_len)),
        ("tokens_sha256".into(), json!(texts.tokens_sha256)),
        ("device".into(), json!(request.device_name)),
        ("dtype".into(), json!(request.dtype.as_str())),
        ("metrics".into(), json!(request.measures)),
        ("batch_size".into(), json!(batch_size)),
        (BATCH_TOKENS.into(), json!(batch_tokens)),
    ])
}

/// `run.json`, but for what is known only at the end.
pub fn run_manifest(
    request: &Request,
    model: &dyn DecoderModel,
    texts: &Texts,
    weights_fingerprint: String,
    plan: &Plan,
    batches: &[Batch],
) -> RunManifest {
    let mut dataset = request.dataset.record.clone();
    dataset.rows = texts.rows as u64;
    let most = |of: fn(&Batch) -> usize| batches.iter().map(of).max().unwrap_or(0) as u64;
    RunManifest {
        attnscope_version: env!("CARGO_PKG_VERSION").into(),
        model: request.model.record(
            model.model_type(),
            model.config().clone(),
            weights_fingerprint,
        ),
        dataset,
        sampling: SamplingRecord {
            n_samples: texts.drawn as u64,
            seed: matches!(request.n_samples, SampleSize::Rows(_)).then_some(request.seed),
            indices_sha256: Some(texts.indices_sha256.clone()),
            texts_sum: Some(texts.tokenized.texts),
            shard: request.shard,
            skipped: texts.tokenized.skipped as u64,
        },
        max_seq_len: request.max_seq_len as u64,
        special_tokens: texts.special_tokens.clone(),
        preprocessing: (texts.preprocessing != Preprocessing::default())
            .then(|| json!(texts.preprocessing).to_string()),
        metrics: request.measures,
        dtype: request.dtype.as_str().into(),
        device: request.device_name.clone(),
        executor: plan.executor.to_string(),
        batch_plan: Some(BatchPlan {
            samples: most(|b| b.samples.len()),
            tokens: most(|b| b.tokens),
        }),
        samples: texts.tokenized.samples.len() as u64,
        tokens: 0,
        non_finite_rows: 0,
        started_at: String::new(),
        finished_at: String::new(),
        resumed: 0,
        timings: Timings::default(),
        tokens_per_second: None,
        peak_memory_bytes: None,
        fingerprint: None,
        merged_from: Vec::new(),
    }
}
