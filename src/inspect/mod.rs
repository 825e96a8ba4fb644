//! One text under a model: the attention map of every head, as a page to look at and as a table to compute with.
//!
//! [`run`] sends the text through the layers, one after the other, and takes the maps as they come: each is pooled
//! for the page, packed in full if the page has room for it, written to the table if there is one, and dropped.
//! Memory grows neither with the depth of the model nor with the number of its heads.
//!
//! ```
//! use attnscope::inspect::{self, Request, Selection, Text};
//! # use attnscope::scan::{Progress, Watcher, plan::Plan};
//! use attnscope::scan::{device, sources::ModelFiles};
//!
//! # struct Silent;
//! # impl Progress for Silent {
//! #     fn advance(&self, _tokens: u64) {}
//! # }
//! # impl Watcher for Silent {
//! #     fn tokenized(&self, _done: usize, _total: usize) {}
//! #     fn planned(&self, _plan: &Plan, _token_layers: u64, _done: u64) {}
//! #     fn is_stopped(&self) -> bool { false }
//! # }
//! # fn main() -> attnscope::Result<()> {
//! # let temporary = tempfile::tempdir().map_err(attnscope::Error::io("tmp"))?;
//! # let files = attnscope::demo::write_to(temporary.path())?;
//! let (device, device_name) = device::open("cpu")?;
//! let outcome = inspect::run(
//!     &Request {
//!         model: ModelFiles::directory(&files.models[0]),
//!         text: Text { text: "BOS 7 31 4 22 7'".into(), path: None },
//!         layers: Selection::All,
//!         heads: Selection::These([0, 3].into()),
//!         max_seq_len: 2048.try_into().unwrap(),
//!         device,
//!         device_name,
//!         dtype: device::dtype("auto")?,
//!         out: temporary.path().join("page.html"),
//!         weights: Some(temporary.path().join("weights.parquet")),
//!         max_page_bytes: 64 << 20,
//!         command: "attnscope inspect …".into(),
//!     },
//!     &Silent, // a `scan::Watcher`
//! )?;
//! assert!(outcome.heads.len() == 4 && outcome.heads.iter().all(|head| head.is_exact));
//! # Ok(())
//! # }
//! ```

mod budget;
mod maps;
mod pictures;
mod plan;
mod selection;
mod table;
mod text;
mod top;
mod triangle;
mod view;

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device};
use serde_json::json;

pub use maps::{HeadMap, Maps};
pub use selection::Selection;
pub use text::{Prepared, Text};
pub use triangle::Triangle;

use pictures::Pictures;
use table::WeightsTable;

use crate::{
    Error, Result,
    checkpoint::{Checkpoint, Weights},
    corpus::Preprocessing,
    metrics::HeadSums,
    models, page,
    scan::{Watcher, sources::ModelFiles},
    store::{Provenance, create_directory},
};

/// What to look at, and what to make of it.
#[derive(Debug, Clone)]
pub struct Request {
    /// The checkpoint.
    pub model: ModelFiles,
    /// The text.
    pub text: Text,
    /// Which layers.
    pub layers: Selection,
    /// Which heads of each of them.
    pub heads: Selection,
    /// Tokens of the text that are looked at.
    pub max_seq_len: NonZeroUsize,
    /// Where it is computed.
    pub device: Device,
    /// How the device is called: `cpu`, `cuda:0`, `metal`.
    pub device_name: String,
    /// Element type of weights and activations.
    pub dtype: DType,
    /// The page to write.
    pub out: PathBuf,
    /// The table of weights to write, if one is wanted.
    pub weights: Option<PathBuf>,
    /// Largest page, in bytes.
    pub max_page_bytes: u64,
    /// The command that gives the same page, but for `--layers`, `--heads`, `--max-page-mib` and the files: the page
    /// says with it how to see what it leaves out.
    pub command: String,
}

/// What one head does with the text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Head {
    /// Layer, from 0.
    pub layer: usize,
    /// Head within the layer, from 0.
    pub head: usize,
    /// The sums that a scan of this text would have.
    pub sums: HeadSums,
    /// The largest weight of its map.
    pub largest: f32,
    /// Whether the page holds its exact weights, and not only the overview.
    pub is_exact: bool,
}

/// What [`run`] has made.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Tokens that were looked at.
    pub tokens: usize,
    /// Tokens of the whole text.
    pub uncut: usize,
    /// Of the text.
    pub text_sha256: String,
    /// The chosen heads, by layer and head.
    pub heads: Vec<Head>,
    /// A cell of the overview is the largest of so many times so many weights.
    pub block: usize,
    /// Of the heads without exact weights the page has so many of every query, the largest.
    pub top: usize,
    /// Bytes of the page.
    pub page_bytes: u64,
    /// Bytes that suffice for a page with all exact weights; no more than `page_bytes` if it has them.
    pub whole_page_bytes: u64,
}

/// Looks at a text, and writes the page and, if wanted, the table.
///
/// # Errors
/// [`Error::OutDir`] if a file is there already; [`Error::Usage`] for a layer or head that is not there, a text
/// without tokens, or a page size in which nothing fits; [`Error::DoesNotFit`] if memory or disk are too small;
/// [`Error::Interrupted`] when the watcher stops it, with nothing written; and what is wrong with the model. Nothing
/// is written before all is computed.
pub fn run(request: &Request, watcher: &dyn Watcher) -> Result<Outcome> {
    refuse_occupied(request)?;
    let model = models::open(&request.model.dir)?;
    models::refuse_signed_weights(&*model, &request.model.dir)?;
    if !model.attention().causal {
        return Err(Error::Config {
            path: request.model.dir.join("config.json"),
            field: "is_causal".into(),
            message: "is false, and the page has room only for what queries see of earlier positions; a scan takes \
                      the model"
                .into(),
        });
    }
    let sizes = model.sizes();
    let layers = request
        .layers
        .of(sizes.num_hidden_layers, "--layers", "layers")?;
    let heads = request
        .heads
        .of(sizes.num_attention_heads, "--heads", "heads")?;
    let checkpoint = Checkpoint::open(&request.model.dir)?;
    checkpoint.check(&model.tensors())?;
    let text = Prepared::new(
        &request.text,
        &*model,
        &request.model,
        request.max_seq_len.get(),
    )?;
    let tokens = text.tokens.input_ids.len();
    models::check_length(&*model, tokens)?;

    let facts = view::Facts {
        request,
        model: &*model,
        text: &text,
        weights_fingerprint: checkpoint.fingerprint()?,
        text_sha256: request.text.sha256(),
        layers: &layers,
        heads: &heads,
    };
    let n_heads = layers.len() * heads.len();
    let page_bytes = view::bytes_without_pictures(&facts)?;
    let mut pictures = Pictures::new(tokens, n_heads, page_bytes, request.max_page_bytes)?;
    // All exact weights in base64, as if nothing could be packed: what a page can hold at most.
    let all = (n_heads as u64).saturating_mul(triangle::elements(tokens) as u64);
    let most = page_bytes.saturating_add(all.saturating_mul(2 * 4));
    let plan = plan::memory(
        &*model,
        &request.device,
        request.dtype,
        tokens,
        request.max_page_bytes.min(most),
    )?;
    let mut table = match &request.weights {
        None => None,
        Some(path) => {
            plan::disk(path, n_heads, tokens)?;
            create_parent(path)?;
            Some(WeightsTable::create(path, &provenance(&facts))?)
        }
    };

    let weights = Weights {
        checkpoint: &checkpoint,
        device: request.device.clone(),
        dtype: request.dtype,
    };
    let check_stop = || match watcher.is_stopped() {
        true => Err(Error::Interrupted {
            out: request.out.clone(),
            continue_with: "the same command",
        }),
        false => Ok(()),
    };
    let maps = Maps {
        model: &*model,
        weights: &weights,
        input_ids: &text.tokens.input_ids,
        layers: &layers,
        heads: &heads,
        check_stop: &check_stop,
        progress: watcher,
    };
    watcher.planned(&plan, (maps.depth() * tokens) as u64, 0);
    maps.visit(&mut |block| {
        if let Some(table) = &mut table {
            for head in &block {
                table.write(head)?;
            }
        }
        pictures.add(&block);
        Ok(())
    })?;

    let pictures = pictures.finish();
    let page = view::page(&facts, &pictures)?;
    // Both are complete before either gets its name.
    let page = page.prepare(&request.out)?;
    if let Some(table) = table {
        table.commit()?;
    }
    page.commit_new()?;
    let page_bytes = std::fs::metadata(&request.out).map_err(Error::io(&request.out))?;
    Ok(Outcome {
        tokens,
        uncut: text.tokens.uncut,
        text_sha256: facts.text_sha256.clone(),
        block: pictures.block,
        top: pictures.top,
        page_bytes: page_bytes.len(),
        whole_page_bytes: pictures.whole_page_bytes,
        heads: pictures.heads,
    })
}

fn refuse_occupied(request: &Request) -> Result<()> {
    page::refuse_occupied(&request.out)?;
    let Some(weights) = &request.weights else {
        return Ok(());
    };
    let absolute = |path: &Path| std::path::absolute(path).ok();
    if absolute(weights) == absolute(&request.out) {
        return Err(Error::Usage(format!(
            "--weights and --out both name {}; the table and the page are two files",
            weights.display()
        )));
    }
    match std::fs::symlink_metadata(weights) {
        Err(_) => Ok(()),
        Ok(_) => Err(Error::OutDir {
            path: weights.clone(),
            message: "is there already and is not overwritten; choose another --weights".into(),
        }),
    }
}

fn create_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => create_directory(parent),
        _ => Ok(()),
    }
}

/// The footer of the table.
fn provenance(facts: &view::Facts) -> Provenance {
    let (request, text) = (facts.request, facts.text);
    let preprocessing = &text.preprocessing;
    let entries = [
        ("version", Some(env!("CARGO_PKG_VERSION").to_owned())),
        ("model", Some(request.model.name.clone())),
        ("model_repo", request.model.repo.clone()),
        ("model_revision", request.model.revision.clone()),
        ("model_type", Some(facts.model.model_type().to_owned())),
        (
            "attention_function",
            Some(facts.model.attention_function().to_owned()),
        ),
        (
            "weights_fingerprint",
            Some(facts.weights_fingerprint.clone()),
        ),
        ("text_sha256", Some(facts.text_sha256.clone())),
        ("text_tokens", Some(text.tokens.uncut.to_string())),
        ("tokens", Some(json!(text.tokens.labels).to_string())),
        ("input_ids", Some(json!(text.tokens.input_ids).to_string())),
        ("max_seq_len", Some(request.max_seq_len.to_string())),
        ("special_tokens", Some(text.special_tokens.clone())),
        (
            "preprocessing",
            (*preprocessing != Preprocessing::default()).then(|| json!(preprocessing).to_string()),
        ),
        ("dtype", Some(request.dtype.as_str().to_owned())),
        ("device", Some(request.device_name.clone())),
    ];
    entries
        .into_iter()
        .filter_map(|(name, value)| Some((format!("attnscope.{name}"), value?)))
        .collect()
}
