//! Every element type that axlearn writes, read chunk by chunk.

use attnscope::checkpoint::axlearn::{AxlearnCheckpoint, ElementType, LocalFiles};
use half::{bf16, f16};
use serde_json::Value;

use crate::support;

/// One element as a number.
fn number(element_type: ElementType, bytes: &[u8]) -> f64 {
    match element_type {
        ElementType::Bool => f64::from(bytes[0]),
        ElementType::Int32 => i32::from_le_bytes(bytes.try_into().unwrap()).into(),
        ElementType::Uint32 => u32::from_le_bytes(bytes.try_into().unwrap()).into(),
        ElementType::Float16 => f16::from_le_bytes(bytes.try_into().unwrap()).into(),
        ElementType::Bfloat16 => bf16::from_le_bytes(bytes.try_into().unwrap()).into(),
        ElementType::Float32 => f32::from_le_bytes(bytes.try_into().unwrap()).into(),
        other => panic!("no fixture has {other:?}"),
    }
}

/// Nested lists, numbers and truth values as a flat list.
fn flat(value: &Value, out: &mut Vec<f64>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| flat(value, out)),
        Value::Bool(value) => out.push(f64::from(u8::from(*value))),
        value => out.push(value.as_f64().unwrap()),
    }
}

#[test]
fn every_element_type() {
    let Some(oracle) = support::oracle() else {
        eprintln!("skipped: no oracle directory");
        return;
    };
    let dir = oracle.join("gala/format-dtypes");
    let text = std::fs::read(dir.join("values.json")).unwrap();
    let values: Value = serde_json::from_slice(&text).unwrap();
    let checkpoint = AxlearnCheckpoint::open(LocalFiles::new(dir.join("step_00000001"))).unwrap();
    let mut seen = Vec::new();
    for (name, array) in checkpoint.arrays() {
        let layout = &array.layout;
        let size = layout.element_type.size();
        let mut found = vec![f64::NAN; layout.elements()];
        for place in layout.places() {
            let mut bytes = vec![0; layout.chunk_bytes()];
            let mut chunk = checkpoint.chunk(array, &place).unwrap();
            // In two parts, as it comes.
            let (one, two) = bytes.split_at_mut(size);
            chunk.fill(one).unwrap();
            chunk.fill(two).unwrap();
            chunk.finish().unwrap();
            for (i, element) in bytes.chunks_exact(size).enumerate() {
                let mut rest = i;
                let (mut at, mut stride) = (0, 1);
                for axis in (0..layout.shape.len()).rev() {
                    let within = rest % layout.chunks[axis];
                    rest /= layout.chunks[axis];
                    at += stride * (place[axis] * layout.chunks[axis] + within);
                    stride *= layout.shape[axis];
                }
                found[at] = number(layout.element_type, element);
            }
        }
        let mut expected = Vec::new();
        flat(&values[name.as_str()], &mut expected);
        // JSON may lose the last bit of a number.
        let is_equal =
            |(found, expected): (&f64, &f64)| (found - expected).abs() <= 1e-14 * expected.abs();
        assert_eq!(found.len(), expected.len(), "{name}");
        assert!(
            found.iter().zip(&expected).all(is_equal),
            "{name}: {found:?} {expected:?}"
        );
        seen.push(layout.element_type.name());
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(
        seen,
        ["bfloat16", "bool", "float16", "float32", "int32", "uint32"]
    );
}
