//! Arrays of every layout against the tensors that index arithmetic says they become.

use std::{path::Path, sync::atomic::AtomicU64, sync::atomic::Ordering};

use half::{bf16, f16};
use safetensors::Dtype;

use super::{
    elements::{self, Output},
    mapping::Mapping,
    scatter::{Limits, Scatter},
    verify,
};
use crate::{
    Result,
    checkpoint::{
        OutputFiles, OutputLayout, TensorSpec,
        axlearn::{AxlearnCheckpoint, LocalFiles},
    },
    random::PythonRandom,
};

#[path = "../../examples/axlearn_checkpoint/writer.rs"]
mod writer;

use writer::{Array, Mesh, Sizes};

const L: usize = 4;
const D: usize = 24;
const F: usize = 40;
const N: usize = 6;
const H: usize = 4;
const V: usize = 50;

const SIZES: Sizes = Sizes {
    num_hidden_layers: L,
    hidden_size: D,
    intermediate_size: F,
    num_attention_heads: N,
    vocab_size: V,
};

/// Every array and index has another value, exact in all element types: a float16 has 11 bits.
fn value(array: usize, index: usize) -> f32 {
    let bits = (array * 7919 + index).wrapping_mul(2654435761) >> 7;
    // 8 bits for the mantissa, a sign, and one of 16 exponents.
    let mantissa = (128 + bits % 128) as f32 / 128.0;
    let sign = if bits & 128 == 0 { 1.0 } else { -1.0 };
    sign * mantissa * 2f32.powi((bits >> 8 & 15) as i32 - 8)
}

/// The flat index in the source's array of element (r, c) of a tensor.
fn source_of(name: &str, r: usize, c: usize) -> (&'static str, usize) {
    let layer: usize = name
        .split('.')
        .nth(2)
        .and_then(|i| i.parse().ok())
        .unwrap_or(0);
    let part = name.trim_end_matches(".weight").rsplit('.').next().unwrap();
    let qkv = |p: usize| (((layer * 3 + p) * D + c) * N + r / H) * H + r % H;
    match part {
        "embed_tokens" => ("emb/token_emb/weight", r * D + c),
        "norm" => ("output_norm/scale", r),
        "q_proj" => ("qkv_proj/weight", qkv(0)),
        "k_proj" => ("qkv_proj/weight", qkv(1)),
        "v_proj" => ("qkv_proj/weight", qkv(2)),
        "o_proj" => ("o_proj/weight", ((layer * D + r) * N + c / H) * H + c % H),
        "gate_proj" => ("linear1_0/weight", (layer * D + c) * F + r),
        "up_proj" => ("linear1_1/weight", (layer * D + c) * F + r),
        "down_proj" => ("linear2/weight", (layer * F + c) * D + r),
        "q_norm" => ("scale_query/norm/scale", layer * H + r),
        "k_norm" => ("scale_key/norm/scale", layer * H + r),
        "input_layernorm" => ("self_attention/prenorm/scale", layer * D + r),
        "post_attention_layernorm" => ("self_attention/postnorm/scale", layer * D + r),
        "pre_feedforward_layernorm" => ("feed_forward/prenorm/scale", layer * D + r),
        "post_feedforward_layernorm" => ("feed_forward/postnorm/scale", layer * D + r),
        other => panic!("{other}"),
    }
}

/// Converts the checkpoint in `dir` and compares every element of every tensor, and every checksum.
fn check<const S: usize>(
    dir: &Path,
    arrays: &[Array],
    limits: Limits,
    layers: Option<usize>,
    output: &dyn Output<S>,
    as_bytes: impl Fn(f32) -> [u8; S],
) {
    let checkpoint = AxlearnCheckpoint::open(LocalFiles::new(dir)).unwrap();
    let mapping = Mapping::new(dir, checkpoint.arrays(), layers).unwrap();
    let tensors: Vec<TensorSpec> = mapping.tensors().cloned().collect();
    let dtype = if S == 2 { Dtype::BF16 } else { Dtype::F32 };
    let layout = OutputLayout::new(&tensors, dtype, u64::MAX).unwrap();
    let out = tempfile::tempdir().unwrap();
    let files = OutputFiles::open(out.path(), &layout).unwrap();
    let written = AtomicU64::new(0);
    let scatter = Scatter {
        checkpoint: &checkpoint,
        output: &files,
        limits,
        written: &|bytes| {
            written.fetch_add(bytes, Ordering::Relaxed);
        },
        go_on: &|| Ok(()),
    };
    let mut sums = std::collections::BTreeMap::new();
    for mapped in &mapping.arrays {
        let array = &checkpoint.arrays()[&mapped.source];
        let of_array = scatter.run(array, mapped, output).unwrap();
        sums.extend(mapped.tensors.iter().map(|t| t.name.clone()).zip(of_array));
    }
    let path = out.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let checkpoint = crate::checkpoint::Checkpoint::open(out.path()).unwrap();
    let mut elements = 0;
    for spec in &tensors {
        let (rows, columns) = (spec.shape[0], spec.shape.get(1).copied().unwrap_or(1));
        let offset = checkpoint.get(&spec.name).unwrap().offset as usize;
        for i in 0..rows * columns {
            let (source, index) = source_of(&spec.name, i / columns, i % columns);
            let array = arrays
                .iter()
                .position(|a| a.path.ends_with(source))
                .unwrap();
            let expected = as_bytes(value(array, index));
            let found = &bytes[offset + i * S..][..S];
            assert_eq!(found, expected, "{} element {i}", spec.name);
        }
        elements += rows * columns;
    }
    assert_eq!(written.into_inner(), (elements * S) as u64, "written once");
    verify::verify(out.path(), &tensors, &sums, &|_| Ok(())).unwrap();
    // A wrong element is found.
    let mut bytes = bytes;
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = verify::verify(out.path(), &tensors, &sums, &|_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("1 of"), "{error}");
}

fn limits() -> [Limits; 3] {
    let few = |streams, band, block, write| Limits {
        streams,
        band,
        block,
        write,
    };
    [Limits::default(), few(3, 300, 64, 100), few(1, 1, 1, 1)]
}

#[test]
fn every_layout_of_chunks_gives_the_same_tensors() {
    let mut random = PythonRandom::new(1);
    let meshes = [
        (1, 1, 1),
        (4, 1, 1),
        (8, 1, 1),
        (4, 2, 1),
        (2, 3, 2),
        (1, 1, 4),
        (24, 6, 2),
    ];
    let mut layouts: Vec<Vec<Array>> = meshes
        .map(|(fsdp, model, data)| writer::gala(&SIZES, Mesh { fsdp, model, data }))
        .into();
    // Splits that no mesh gives, of any axis.
    for _ in 0..23 {
        let mut arrays = writer::gala(
            &SIZES,
            Mesh {
                fsdp: 1,
                model: 1,
                data: 1,
            },
        );
        for array in &mut arrays {
            for chunk in &mut array.chunks {
                if random.below(2) == 0 {
                    continue; // Files enough.
                }
                let divisors: Vec<usize> =
                    (1..=*chunk).filter(|d| chunk.is_multiple_of(*d)).collect();
                *chunk = divisors[random.below(divisors.len())];
            }
        }
        layouts.push(arrays);
    }
    for (i, arrays) in layouts.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let dtype = [
            writer::Dtype::Float32,
            writer::Dtype::Bfloat16,
            writer::Dtype::Float16,
        ][i % 3];
        writer::write(dir.path(), arrays, dtype, i % 2 == 0, &value).unwrap();
        let limits = limits()[i / 3 % 3];
        let layers = [None, Some(1), Some(3)][i / 2 % 3];
        if i % 5 < 3 {
            check(
                dir.path(),
                arrays,
                limits,
                layers,
                &elements::F32,
                f32::to_le_bytes,
            );
        } else {
            let as_bytes = |x| bf16::from_f32(x).to_le_bytes();
            check(
                dir.path(),
                arrays,
                limits,
                layers,
                &elements::Bf16,
                as_bytes,
            );
        }
    }
}

#[test]
fn the_values_are_exact_in_every_type() {
    for i in 0..10_000 {
        let x = value(i % 13, i);
        assert_eq!(bf16::from_f32(x).to_f32(), x);
        assert_eq!(f16::from_f32(x).to_f32(), x);
    }
}

#[test]
fn an_error_between_steps_ends_the_work() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh {
        fsdp: 2,
        model: 1,
        data: 1,
    };
    writer::write(
        dir.path(),
        &writer::gala(&SIZES, mesh),
        writer::Dtype::Float32,
        false,
        &value,
    )
    .unwrap();
    let checkpoint = AxlearnCheckpoint::open(LocalFiles::new(dir.path()))?;
    let mapping = Mapping::new(dir.path(), checkpoint.arrays(), None)?;
    let tensors: Vec<TensorSpec> = mapping.tensors().cloned().collect();
    let layout = OutputLayout::new(&tensors, Dtype::F32, u64::MAX)?;
    let files = OutputFiles::open(dir.path(), &layout)?;
    let steps = AtomicU64::new(0);
    let scatter = Scatter {
        checkpoint: &checkpoint,
        output: &files,
        limits: Limits::default(),
        written: &|_| {},
        go_on: &|| match steps.fetch_add(1, Ordering::Relaxed) {
            0..=4 => Ok(()),
            _ => Err(crate::Error::Usage("enough".into())),
        },
    };
    // 4 layers of 3 projections.
    let mapped = mapping
        .arrays
        .iter()
        .find(|a| a.tensors.len() == 12)
        .unwrap();
    let array = &checkpoint.arrays()[&mapped.source];
    let error = scatter.run(array, mapped, &elements::F32).unwrap_err();
    assert_eq!(error.to_string(), "enough");
    assert_eq!(steps.into_inner(), 6);
    Ok(())
}
