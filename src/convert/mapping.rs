//! Which tensors the arrays of an axlearn gala checkpoint become.
//!
//! Every size follows from the arrays' shapes. Nothing is left over and nothing is missing: an array that the
//! table does not have, one that the checkpoint does not have, and shapes that do not fit together are all
//! refused, each by name.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    Error, Result,
    checkpoint::{
        TensorSpec,
        axlearn::{Array, ArrayLayout, unravel},
    },
    models::Sizes,
};

/// One array of axlearn's `decoder`.
struct Rule {
    /// Its path below `model/decoder/`.
    source: &'static str,
    /// Its axes: `l` layers, `p` query, key and value, `v` vocabulary, `d` hidden_size, `f` intermediate_size,
    /// `n` heads, `h` head_dim. `l` and `p` come first and choose the tensor; the others are its matrix.
    axes: &'static str,
    /// Which of the matrix axes are the tensor's rows. Those that are left are its columns.
    rows: &'static str,
    /// The tensors, one for each index of `p`; `{i}` is the index of `l`.
    tensors: &'static [&'static str],
}

/// axlearn's names and axes (`attention.py`, `layers.py`, `decoder.py`) and those of the checkpoint directory. A
/// linear weight of axlearn is [in, out], but `o_proj` is [out, in]; here all of them are [out, in].
const GALA: [Rule; 13] = [
    Rule {
        source: "emb/token_emb/weight",
        axes: "vd",
        rows: "v",
        tensors: &["model.embed_tokens.weight"],
    },
    Rule {
        source: "transformer/repeat/layer/self_attention/prenorm/scale",
        axes: "ld",
        rows: "d",
        tensors: &["model.layers.{i}.input_layernorm.weight"],
    },
    Rule {
        source: "transformer/repeat/layer/self_attention/attention/i_proj/qkv_proj/weight",
        axes: "lpdnh",
        rows: "nh",
        tensors: &[
            "model.layers.{i}.self_attn.q_proj.weight",
            "model.layers.{i}.self_attn.k_proj.weight",
            "model.layers.{i}.self_attn.v_proj.weight",
        ],
    },
    Rule {
        source: "transformer/repeat/layer/self_attention/attention/scale_query/norm/scale",
        axes: "lh",
        rows: "h",
        tensors: &["model.layers.{i}.self_attn.q_norm.weight"],
    },
    Rule {
        source: "transformer/repeat/layer/self_attention/attention/scale_key/norm/scale",
        axes: "lh",
        rows: "h",
        tensors: &["model.layers.{i}.self_attn.k_norm.weight"],
    },
    Rule {
        source: "transformer/repeat/layer/self_attention/attention/o_proj/weight",
        axes: "ldnh",
        rows: "d",
        tensors: &["model.layers.{i}.self_attn.o_proj.weight"],
    },
    Rule {
        source: "transformer/repeat/layer/self_attention/postnorm/scale",
        axes: "ld",
        rows: "d",
        tensors: &["model.layers.{i}.post_attention_layernorm.weight"],
    },
    Rule {
        source: "transformer/repeat/layer/feed_forward/prenorm/scale",
        axes: "ld",
        rows: "d",
        tensors: &["model.layers.{i}.pre_feedforward_layernorm.weight"],
    },
    Rule {
        source: "transformer/repeat/layer/feed_forward/linear1_0/weight",
        axes: "ldf",
        rows: "f",
        tensors: &["model.layers.{i}.mlp.gate_proj.weight"],
    },
    Rule {
        source: "transformer/repeat/layer/feed_forward/linear1_1/weight",
        axes: "ldf",
        rows: "f",
        tensors: &["model.layers.{i}.mlp.up_proj.weight"],
    },
    Rule {
        source: "transformer/repeat/layer/feed_forward/linear2/weight",
        axes: "lfd",
        rows: "d",
        tensors: &["model.layers.{i}.mlp.down_proj.weight"],
    },
    Rule {
        source: "transformer/repeat/layer/feed_forward/postnorm/scale",
        axes: "ld",
        rows: "d",
        tensors: &["model.layers.{i}.post_feedforward_layernorm.weight"],
    },
    Rule {
        source: "output_norm/scale",
        axes: "d",
        rows: "d",
        tensors: &["model.norm.weight"],
    },
];

/// Far beyond any model, and small enough for a list of all tensors.
const MAX_LAYERS: usize = 10_000;

/// The subtree of axlearn's model that gala consists of.
const DECODER: &str = "decoder/";

/// An array and the tensors it becomes.
///
/// Its first axes choose the tensor; of the rest the first is the axis `A` and the others together are the axis
/// `B`: the matrix of a tensor stands there as [A, B].
#[derive(Debug, Clone)]
pub(super) struct MappedArray {
    /// The array's path below `model/`.
    pub source: String,
    /// How many axes choose the tensor.
    pub outer: usize,
    /// Whether the tensor is [B, A] rather than [A, B].
    pub transposed: bool,
    /// The tensors, in the order of the outer axes. Of a partial conversion those of the layers that are wanted,
    /// which come first.
    pub tensors: Vec<TensorSpec>,
}

impl MappedArray {
    /// Which of the tensors the `matrix`-th matrix is, of the chunks at `place` along the outer axes; beyond
    /// those that there are if its layer is not wanted.
    pub fn tensor(&self, layout: &ArrayLayout, place: &[usize], matrix: usize) -> usize {
        let within = unravel(matrix, &layout.chunks[..self.outer]);
        (0..self.outer).fold(0, |flat, axis| {
            flat * layout.shape[axis] + place[axis] * layout.chunks[axis] + within[axis]
        })
    }

    /// Matrices in each chunk.
    pub fn matrices(&self, layout: &ArrayLayout) -> usize {
        layout.chunks[..self.outer].iter().product()
    }

    /// The chunk files that are read, and how many bytes of each: all, or in proportion where it ends with
    /// layers that are not wanted.
    pub fn wanted(&self, array: &Array) -> Vec<(String, u64)> {
        let layout = &array.layout;
        let all = self.matrices(layout);
        let chunks = layout.places().zip(&array.stored);
        let chunks = chunks.filter_map(|(place, &bytes)| {
            let wanted = (0..all)
                .take_while(|matrix| self.tensor(layout, &place, *matrix) < self.tensors.len())
                .count();
            let bytes = (bytes as u128 * wanted as u128).div_ceil(all as u128) as u64;
            (wanted > 0).then(|| (array.chunk_path(&place), bytes))
        });
        chunks.collect()
    }
}

/// All arrays of a checkpoint and the tensors they become.
#[derive(Debug)]
pub(super) struct Mapping {
    /// In the order of the table.
    pub arrays: Vec<MappedArray>,
    /// The sizes of the whole model.
    pub sizes: Sizes,
}

impl Mapping {
    /// Holds `arrays` (paths below `model/`) against the table, for a model with the first `layers` layers of
    /// the checkpoint; `None` is all. `place` is for messages.
    pub fn new(
        place: &Path,
        arrays: &BTreeMap<String, Array>,
        layers: Option<usize>,
    ) -> Result<Self> {
        check_names(place, arrays)?;
        let sizes = solve(place, arrays)?;
        let layers = layers.unwrap_or(sizes[&'l']);
        if layers == 0 || layers > sizes[&'l'] {
            return Err(Error::Usage(format!(
                "--layers 0..{layers}: the checkpoint has {} layers",
                sizes[&'l']
            )));
        }
        let arrays = GALA.iter().map(|rule| rule.mapped(&sizes, layers));
        Ok(Self {
            arrays: arrays.collect(),
            sizes: Sizes {
                hidden_size: sizes[&'d'],
                intermediate_size: sizes[&'f'],
                num_hidden_layers: sizes[&'l'],
                num_attention_heads: sizes[&'n'],
                head_dim: sizes[&'h'],
                vocab_size: sizes[&'v'],
            },
        })
    }

    /// All tensors, in the order of the arrays.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorSpec> {
        self.arrays.iter().flat_map(|array| &array.tensors)
    }
}

impl Rule {
    fn mapped(&self, sizes: &BTreeMap<char, usize>, layers: usize) -> MappedArray {
        let outer = self
            .axes
            .chars()
            .take_while(|axis| "lp".contains(*axis))
            .count();
        let matrix = &self.axes[outer..];
        let size = |axes: &str| axes.chars().map(|axis| sizes[&axis]).product::<usize>();
        let shape = match size(matrix) / size(self.rows) {
            1 if matrix.len() == 1 => vec![size(self.rows)],
            columns => vec![size(self.rows), columns],
        };
        let layers = if self.axes.starts_with('l') {
            layers
        } else {
            1
        };
        let tensors = (0..layers).flat_map(|i| {
            let shape = shape.clone();
            self.tensors.iter().map(move |name| {
                TensorSpec::new(name.replace("{i}", &i.to_string()), shape.clone())
            })
        });
        MappedArray {
            source: format!("{DECODER}{}", self.source),
            outer,
            transposed: !matrix.starts_with(self.rows),
            tensors: tensors.collect(),
        }
    }
}

/// Whether the arrays are those of the table.
fn check_names(place: &Path, arrays: &BTreeMap<String, Array>) -> Result<()> {
    let expected: Vec<String> = GALA
        .iter()
        .map(|rule| format!("{DECODER}{}", rule.source))
        .collect();
    let unknown: Vec<&str> = arrays
        .keys()
        .filter(|name| !expected.contains(name))
        .map(String::as_str)
        .collect();
    let missing: Vec<&str> = expected
        .iter()
        .filter(|name| !arrays.contains_key(*name))
        .map(String::as_str)
        .collect();
    if unknown.is_empty() && missing.is_empty() {
        return Ok(());
    }
    let list = |what: &str, names: &[&str]| match names {
        [] => String::new(),
        names => format!("\n  {what}: {}", names.join(", ")),
    };
    Err(Error::Checkpoint {
        path: place.to_path_buf(),
        message: format!(
            "this is not a gala decoder (the model below `model/`; only gala can be converted):{}{}",
            list("not of gala", &unknown),
            list("missing", &missing)
        ),
    })
}

/// The size of every axis, on which all arrays have to agree.
fn solve(place: &Path, arrays: &BTreeMap<String, Array>) -> Result<BTreeMap<char, usize>> {
    let mut sizes: BTreeMap<char, (usize, &str)> =
        BTreeMap::from([('p', (3, "query, key, value"))]);
    let mut wrong = Vec::new();
    for rule in &GALA {
        let name = format!("{DECODER}{}", rule.source);
        let layout = &arrays[&name].layout;
        if layout.shape.len() != rule.axes.len() {
            wrong.push(format!(
                "{name} has the shape {:?}, but {} axes are needed",
                layout.shape,
                rule.axes.len()
            ));
            continue;
        }
        for (axis, &size) in rule.axes.chars().zip(&layout.shape) {
            let (expected, by) = *sizes.entry(axis).or_insert((size, rule.source));
            if size != expected {
                wrong.push(format!(
                    "{name} has the shape {:?}, and {} there is {size}, but {expected} in {by}",
                    layout.shape,
                    axis_name(axis)
                ));
            }
        }
    }
    if let Some((layers, _)) = sizes.get(&'l')
        && *layers > MAX_LAYERS
    {
        wrong.push(format!(
            "there are {layers} layers, and no more than {MAX_LAYERS} are believed"
        ));
    }
    if let [Some(d), Some(n), Some(h)] =
        ['d', 'n', 'h'].map(|axis| sizes.get(&axis).map(|size| size.0))
        && n.checked_mul(h) != Some(d)
    {
        wrong.push(format!(
            "{n} heads of width {h} do not make a hidden_size of {d}, as gala's do"
        ));
    }
    if !wrong.is_empty() {
        return Err(Error::Checkpoint {
            path: PathBuf::from(place),
            message: format!("the arrays do not fit together:\n  {}", wrong.join("\n  ")),
        });
    }
    Ok(sizes
        .into_iter()
        .map(|(axis, (size, _))| (axis, size))
        .collect())
}

fn axis_name(axis: char) -> &'static str {
    match axis {
        'l' => "num_hidden_layers",
        'p' => "the number of projections",
        'v' => "vocab_size",
        'd' => "hidden_size",
        'f' => "intermediate_size",
        'n' => "num_attention_heads",
        _ => "head_dim",
    }
}
