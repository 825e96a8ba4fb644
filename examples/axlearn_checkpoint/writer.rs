//! Writes checkpoints as axlearn lays them out, of any size, in constant memory.
//!
//! `shared` by the example beside it and by tests, each of which uses a part of it.
#![allow(dead_code)]

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use half::{bf16, f16};
use rayon::prelude::*;

/// The sizes of a gala, by the names of `config.json`.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub num_hidden_layers: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_attention_heads: usize,
    pub vocab_size: usize,
}

/// An array: its path below `model/decoder/`, its shape, and the shape of its chunks.
#[derive(Debug, Clone)]
pub struct Array {
    pub path: &'static str,
    pub shape: Vec<usize>,
    pub chunks: Vec<usize>,
}

/// How the training mesh splits the arrays; 1 is not at all.
#[derive(Debug, Clone, Copy)]
pub struct Mesh {
    /// Of the axis that axlearn shards over `fsdp`.
    pub fsdp: usize,
    /// Of the axis that axlearn shards over `model`.
    pub model: usize,
    /// Of the first axis that can be divided: `max_data_shard_degree`.
    pub data: usize,
}

/// Type of the elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    Float32,
    Bfloat16,
    Float16,
}

impl Dtype {
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Float32 => ("float32", "<f4"),
            Self::Bfloat16 => ("bfloat16", "bfloat16"),
            Self::Float16 => ("float16", "<f2"),
        }
    }

    fn put(self, value: f32, bytes: &mut Vec<u8>) {
        match self {
            Self::Float32 => bytes.extend(value.to_le_bytes()),
            Self::Bfloat16 => bytes.extend(bf16::from_f32(value).to_le_bytes()),
            Self::Float16 => bytes.extend(f16::from_f32(value).to_le_bytes()),
        }
    }
}

const LAYER: &str = "transformer/repeat/layer/";

/// The arrays of a gala decoder, split as a mesh splits them where the sizes divide.
pub fn gala(sizes: &Sizes, mesh: Mesh) -> Vec<Array> {
    let (l, d, f, n, v) = (
        sizes.num_hidden_layers,
        sizes.hidden_size,
        sizes.intermediate_size,
        sizes.num_attention_heads,
        sizes.vocab_size,
    );
    let h = d / n;
    // Path, shape, axis of `fsdp`, axis of `model`.
    type Row = (&'static str, Vec<usize>, Option<usize>, Option<usize>);
    let rows: [Row; 13] = [
        ("emb/token_emb/weight", vec![v, d], None, Some(1)),
        ("output_norm/scale", vec![d], None, None),
        (
            "transformer/repeat/layer/feed_forward/linear1_0/weight",
            vec![l, d, f],
            Some(1),
            Some(2),
        ),
        (
            "transformer/repeat/layer/feed_forward/linear1_1/weight",
            vec![l, d, f],
            Some(1),
            Some(2),
        ),
        (
            "transformer/repeat/layer/feed_forward/linear2/weight",
            vec![l, f, d],
            Some(2),
            Some(1),
        ),
        (
            "transformer/repeat/layer/feed_forward/postnorm/scale",
            vec![l, d],
            None,
            None,
        ),
        (
            "transformer/repeat/layer/feed_forward/prenorm/scale",
            vec![l, d],
            None,
            None,
        ),
        (
            "transformer/repeat/layer/self_attention/attention/i_proj/qkv_proj/weight",
            vec![l, 3, d, n, h],
            Some(2),
            Some(3),
        ),
        (
            "transformer/repeat/layer/self_attention/attention/o_proj/weight",
            vec![l, d, n, h],
            Some(1),
            Some(2),
        ),
        (
            "transformer/repeat/layer/self_attention/attention/scale_key/norm/scale",
            vec![l, h],
            None,
            None,
        ),
        (
            "transformer/repeat/layer/self_attention/attention/scale_query/norm/scale",
            vec![l, h],
            None,
            None,
        ),
        (
            "transformer/repeat/layer/self_attention/postnorm/scale",
            vec![l, d],
            None,
            None,
        ),
        (
            "transformer/repeat/layer/self_attention/prenorm/scale",
            vec![l, d],
            None,
            None,
        ),
    ];
    debug_assert!(rows.iter().filter(|row| row.0.starts_with(LAYER)).count() == 11);
    let arrays = rows.into_iter().map(|(path, shape, fsdp, model)| {
        let mut chunks = shape.clone();
        let mut split = |axis: usize, degree: usize| {
            let divides = chunks[axis] % degree == 0;
            if divides {
                chunks[axis] /= degree;
            }
            divides
        };
        fsdp.map(|axis| split(axis, mesh.fsdp));
        model.map(|axis| split(axis, mesh.model));
        let _ = (0..shape.len()).any(|axis| split(axis, mesh.data));
        Array {
            path,
            shape,
            chunks,
        }
    });
    arrays.collect()
}

/// Writes the step directory `dir` with these arrays. The element at the flat index `i` of the array `a` is
/// `value(a, i)`. Frames have no content size, as TensorStore wrote them in 2024, unless `content_size`.
pub fn write(
    dir: &Path,
    arrays: &[Array],
    dtype: Dtype,
    content_size: bool,
    value: &(dyn Fn(usize, usize) -> f32 + Sync),
) -> io::Result<()> {
    let tasks: Vec<(usize, Vec<usize>)> = arrays
        .iter()
        .enumerate()
        .flat_map(|(index, array)| {
            let grid: Vec<usize> = array
                .shape
                .iter()
                .zip(&array.chunks)
                .map(|(s, c)| s / c)
                .collect();
            let count: usize = grid.iter().product();
            (0..count).map(move |chunk| (index, unravel(chunk, &grid)))
        })
        .collect();
    for array in arrays {
        let folder = folder(dir, array);
        fs::create_dir_all(&folder)?;
        let (_, typestr) = dtype.names();
        let text = format!(
            r#"{{"chunks":{},"compressor":{{"id":"zstd","level":1}},"dimension_separator":".","dtype":"{typestr}","fill_value":null,"filters":null,"order":"C","shape":{},"zarr_format":2}}"#,
            list(&array.chunks),
            list(&array.shape)
        );
        fs::write(folder.join(".zarray"), text)?;
    }
    tasks.par_iter().try_for_each(|(index, place)| {
        let array = &arrays[*index];
        let name: Vec<String> = place.iter().map(usize::to_string).collect();
        let file = BufWriter::new(File::create(folder(dir, array).join(name.join(".")))?);
        let mut encoder = zstd::stream::write::Encoder::new(file, 1)?;
        let size =
            array.chunks.iter().product::<usize>() * if dtype == Dtype::Float32 { 4 } else { 2 };
        encoder.set_pledged_src_size(content_size.then_some(size as u64))?;
        let mut bytes = Vec::new();
        rows(array, place, |start, length| {
            (start..start + length).for_each(|i| dtype.put(value(*index, i), &mut bytes));
            if bytes.len() >= 1 << 20 {
                encoder.write_all(&bytes)?;
                bytes.clear();
            }
            Ok(())
        })?;
        encoder.write_all(&bytes)?;
        encoder.finish()?.flush()
    })?;
    fs::write(dir.join("index"), index(arrays, dtype))
}

fn folder(dir: &Path, array: &Array) -> std::path::PathBuf {
    dir.join("gda/model/decoder").join(array.path)
}

/// `index`, the optimizer's state included, which is not there.
fn index(arrays: &[Array], dtype: Dtype) -> String {
    let mut entries = vec![r#"["step", 250000]"#.to_string()];
    let described = |prefix: &str, array: &Array| {
        let shape: Vec<String> = array.shape.iter().map(usize::to_string).collect();
        let shape = match &shape[..] {
            [one] => format!("({one},)"),
            more => format!("({})", more.join(", ")),
        };
        format!(
            r#"["{prefix}/decoder/{}", {{"dtype": "{}", "shape": "{shape}"}}]"#,
            array.path,
            dtype.names().0
        )
    };
    entries.extend(
        arrays
            .iter()
            .map(|array| described("learner/optimizer/1/0/mu", array)),
    );
    entries.extend(arrays.iter().map(|array| described("model", array)));
    entries.push(r#"["prng_key", {"dtype": "uint32", "shape": "(4,)"}]"#.into());
    format!("[{}]", entries.join(", "))
}

/// Calls `row` with the first flat index and the length of each run along the last axis of a chunk.
fn rows(
    array: &Array,
    place: &[usize],
    mut row: impl FnMut(usize, usize) -> io::Result<()>,
) -> io::Result<()> {
    let Some((&length, outer)) = array.chunks.split_last() else {
        return row(0, 1);
    };
    for i in 0..outer.iter().product::<usize>() {
        let mut within = unravel(i, outer);
        within.push(0);
        let start = (0..array.shape.len()).fold(0, |flat, axis| {
            flat * array.shape[axis] + place[axis] * array.chunks[axis] + within[axis]
        });
        row(start, length)?;
    }
    Ok(())
}

fn unravel(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut indices = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        indices[axis] = flat % shape[axis];
        flat /= shape[axis];
    }
    indices
}

fn list(numbers: &[usize]) -> String {
    let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
    format!("[{}]", numbers.join(","))
}

/// A number that looks drawn from a normal distribution, of standard deviation `sigma`, and is a function of the
/// array and the index alone. The mantissa is random to its last bit, as trained weights are: that is what decides
/// how well they compress.
pub fn normal(array: usize, index: usize, sigma: f32) -> f32 {
    let mut z = ((array as u64) << 48 | index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    // The sum of four uniform numbers has the variance 1/3.
    let sum: u32 = (0..4).map(|i| (z >> (16 * i)) as u32 & 0xffff).sum();
    let centred = (sum as f32 + (z >> 40) as f32 / (1u32 << 24) as f32) / 65536.0 - 2.0;
    centred * 3f32.sqrt() * sigma
}
