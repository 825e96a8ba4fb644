//! Everything about a conversion that can be known, and refused, before anything is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use safetensors::Dtype;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    Request,
    config::{PAD_TOKEN_ID, config},
    elements::FloatType,
    mapping::Mapping,
    plan::{Plan, PlannedArray, PlannedFile},
    source::{Location, Source},
};
use crate::{
    Error, Result,
    checkpoint::{
        OutputLayout, TensorSpec,
        axlearn::{Array, AxlearnCheckpoint},
    },
    corpus::sentencepiece::SentencePieceModel,
    models::{DecoderModel, gala::Gala},
    store::Fingerprint,
};

/// Bytes of a weight file at most, unless a tensor is larger.
const MAX_FILE_BYTES: u64 = 4_000_000_000;

/// Arrays that are converted at the same time.
pub(super) const PARALLEL_ARRAYS: usize = 2;

/// A conversion that is ready to run.
pub(super) struct Prepared {
    pub checkpoint: AxlearnCheckpoint<Source>,
    pub mapping: Mapping,
    pub layout: OutputLayout,
    pub config: Value,
    pub tokenizer: Value,
    /// All of them, in the order of the architecture.
    pub tensors: Vec<TensorSpec>,
    pub plan: Plan,
    /// Everything that was asked for: a conversion in progress is continued only by the same.
    pub fingerprint: Fingerprint,
    /// Everything that decides the result: what was asked for, and what the source holds.
    pub source: Fingerprint,
    /// What each array of the mapping is: see [`stored_sha256`].
    pub stored_sha256: Vec<String>,
}

impl Prepared {
    pub fn new(request: &Request) -> Result<Self> {
        let source = Source::open(&request.checkpoint, &request.bucket)?;
        let checkpoint = AxlearnCheckpoint::open(source)?;
        let place = checkpoint.place();
        let mapping = Mapping::new(&place, checkpoint.arrays(), request.layers)?;
        check_sizes(request, &place, &mapping)?;
        check_types(&place, checkpoint.arrays())?;

        let (model, tokenizer_sha256) = tokenizer_model(request)?;
        let refused = |message: &str| Error::Tokenizer {
            path: request.tokenizer.display(),
            message: format!("{message}; is this the tokenizer of a gala?"),
        };
        let Some(eos_token_id) = model.eos_id() else {
            return Err(refused("has no piece that ends a text (`eos_id`)"));
        };
        if model.pad_id().is_some_and(|id| id != PAD_TOKEN_ID) {
            return Err(refused("pads with another id than 0, as axlearn does"));
        }
        let layers = request.layers.unwrap_or(mapping.sizes.num_hidden_layers);
        let config = config(
            &mapping,
            layers,
            &request.attention_function,
            eos_token_id,
            request.dtype.torch_dtype(),
        );
        let tensors = check_tensors(&mapping, &config)?;
        if model.vocab_size() > mapping.sizes.vocab_size {
            return Err(Error::Tokenizer {
                path: request.tokenizer.display(),
                message: format!(
                    "has {} pieces, and the model's embedding {} rows; is this the tokenizer of this checkpoint?",
                    model.vocab_size(),
                    mapping.sizes.vocab_size
                ),
            });
        }
        let tokenizer = model.tokenizer_json()?;
        if let Some(deviations) = model.deviations() {
            tracing::warn!("{}: {deviations}", request.tokenizer.display().display());
        }

        // In the order of the architecture, so that a layer's are side by side.
        let layout = OutputLayout::new(&tensors, request.dtype.safetensors(), MAX_FILE_BYTES)?;
        let plan = plan(request, &checkpoint, &mapping, &layout, layers);
        let fingerprint = Fingerprint::from([
            // One and the same from wherever the command is typed.
            (
                "checkpoint".into(),
                json!(place.canonicalize().unwrap_or(place)),
            ),
            ("layout_sha256".into(), json!(layout.sha256())),
            ("tokenizer_sha256".into(), json!(tokenizer_sha256)),
            ("layers".into(), json!(layers)),
            (
                "num_hidden_layers".into(),
                json!(mapping.sizes.num_hidden_layers),
            ),
            ("torch_dtype".into(), json!(request.dtype.torch_dtype())),
            (
                "attention_function".into(),
                json!(request.attention_function),
            ),
            ("text".into(), json!(request.preprocessing)),
        ]);
        let arrays = mapping.arrays.iter();
        let stored_sha256: Vec<String> = arrays
            .map(|mapped| stored_sha256(&checkpoint, &checkpoint.arrays()[&mapped.source]))
            .collect();
        let all = crate::hex(&Sha256::digest(stored_sha256.concat()));
        let mut source = fingerprint.clone();
        source.insert("stored_sha256".into(), json!(all));
        Ok(Self {
            checkpoint,
            mapping,
            layout,
            config,
            tokenizer,
            tensors,
            plan,
            fingerprint,
            source,
            stored_sha256,
        })
    }

    /// Bytes of the tensors that the `index`-th array of the mapping becomes.
    pub fn output_bytes(&self, index: usize) -> u64 {
        let tensors = self.mapping.arrays[index].tensors.iter();
        let elements: usize = tensors
            .map(|spec| spec.shape.iter().product::<usize>())
            .sum();
        elements as u64 * self.layout.dtype.bitsize() as u64 / 8
    }
}

/// Of the names and stored sizes of an array's chunks, and of what else tells them from others without reading
/// them: an array that agrees in all of these is the same.
fn stored_sha256(checkpoint: &AxlearnCheckpoint<Source>, array: &Array) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{:?}", array.layout));
    for (place, bytes) in array.layout.places().zip(&array.stored) {
        let path = array.chunk_path(&place);
        hash.update(&path);
        hash.update(bytes.to_le_bytes());
        hash.update(checkpoint.files().tag(&path).unwrap_or_default());
    }
    crate::hex(&hash.finalize())
}

fn tokenizer_model(request: &Request) -> Result<(SentencePieceModel, String)> {
    let path = request.tokenizer.display();
    let bytes = request
        .tokenizer
        .read(&request.bucket)
        .map_err(|error| match error {
            Error::Io { path, source } => Error::Tokenizer {
                path,
                message: format!("the SentencePiece model cannot be read: {source}"),
            },
            other => other,
        })?;
    let model = SentencePieceModel::from_bytes(&path, &bytes)?;
    Ok((model, crate::hex(&Sha256::digest(&bytes))))
}

/// Whether the checkpoint is the one that its manifest describes.
fn check_sizes(request: &Request, place: &Path, mapping: &Mapping) -> Result<()> {
    let Some((name, expected)) = &request.expected else {
        return Ok(());
    };
    let sizes = &mapping.sizes;
    let wrong: Vec<String> = [
        (
            "num_hidden_layers",
            expected.num_hidden_layers,
            sizes.num_hidden_layers,
        ),
        ("hidden_size", expected.hidden_size, sizes.hidden_size),
        (
            "intermediate_size",
            expected.intermediate_size,
            sizes.intermediate_size,
        ),
        (
            "num_attention_heads",
            expected.num_attention_heads,
            sizes.num_attention_heads,
        ),
        ("vocab_size", expected.vocab_size, sizes.vocab_size),
    ]
    .into_iter()
    .filter(|(_, expected, found)| expected != found)
    .map(|(field, expected, found)| format!("{field} is {found}, not {expected}"))
    .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Error::Checkpoint {
        path: place.to_path_buf(),
        message: format!(
            "is not {name}: {}; give --attention-function and --tokenizer in place of --config",
            wrong.join(", ")
        ),
    })
}

/// Whether all arrays are of types that weights have.
fn check_types(place: &Path, arrays: &BTreeMap<String, Array>) -> Result<()> {
    for (name, array) in arrays {
        if FloatType::new(array.layout.element_type).is_none() {
            return Err(Error::TensorMismatch {
                path: place.to_path_buf(),
                tensor: name.clone(),
                expected: "element type float32, bfloat16 or float16".into(),
                found: array.layout.element_type.name().into(),
            });
        }
    }
    Ok(())
}

/// Makes sure that the tensors are those of the architecture that `config` describes, each once and in its shape;
/// returns them in its order.
fn check_tensors(mapping: &Mapping, config: &Value) -> Result<Vec<TensorSpec>> {
    let path = PathBuf::from("config.json");
    let needed = Gala::new(&path, config.clone())?.tensors();
    let expected: BTreeSet<&TensorSpec> = needed.iter().collect();
    let made: BTreeSet<&TensorSpec> = mapping.tensors().collect();
    let names: Vec<String> = expected
        .symmetric_difference(&made)
        .map(|spec| format!("{} {:?}", spec.name, spec.shape))
        .collect();
    if names.is_empty() && needed.len() == mapping.tensors().count() {
        return Ok(needed);
    }
    Err(Error::MissingTensors { path, names })
}

fn plan(
    request: &Request,
    checkpoint: &AxlearnCheckpoint<Source>,
    mapping: &Mapping,
    layout: &OutputLayout,
    layers: usize,
) -> Plan {
    let arrays: Vec<PlannedArray> = mapping
        .arrays
        .iter()
        .map(|mapped| {
            let array = &checkpoint.arrays()[&mapped.source];
            PlannedArray {
                source: mapped.source.clone(),
                dtype: array.layout.element_type.name(),
                shape: array.layout.shape.clone(),
                chunks: array.layout.chunks.clone(),
                chunk_count: array.stored.len(),
                bytes: mapped.wanted(array).iter().map(|(_, bytes)| bytes).sum(),
                tensors: mapped.tensors.len(),
            }
        })
        .collect();
    let is_remote = matches!(request.checkpoint, Location::Bucket(_));
    // Any two may be under way at the same time.
    let mut largest: Vec<u64> = arrays.iter().map(|array| array.bytes).collect();
    largest.sort_unstable_by(|a, b| b.cmp(a));
    let spooled = largest.iter().take(PARALLEL_ARRAYS).sum();
    let parameters = mapping
        .tensors()
        .map(|spec| spec.shape.iter().product::<usize>() as u64)
        .sum();
    Plan {
        checkpoint: request.checkpoint.display().display().to_string(),
        tokenizer: request.tokenizer.display().display().to_string(),
        read_bytes: arrays.iter().map(|array| array.bytes).sum(),
        is_remote,
        files: layout
            .files
            .iter()
            .map(|file| PlannedFile {
                name: file.name.clone(),
                bytes: file.bytes,
            })
            .collect(),
        written_bytes: layout.bytes(),
        spooled_bytes: if is_remote { spooled } else { 0 },
        layers,
        num_hidden_layers: mapping.sizes.num_hidden_layers,
        parameters,
        torch_dtype: request.dtype.torch_dtype(),
        arrays,
    }
}

impl super::OutputType {
    /// As `config.json` has it.
    pub(super) fn torch_dtype(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
        }
    }

    fn safetensors(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::BF16,
        }
    }
}
