//! Real checkpoints, written by axlearn, against a plain reader that holds whole arrays in memory.

use std::{collections::BTreeMap, fs, path::PathBuf};

use attnscope::convert::{CONVERSION_JSON, OutputType};
use half::bf16;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use super::{request, run};
use crate::support;

/// Name → type, shape and bytes, of all weight files.
fn tensors(dir: &std::path::Path) -> BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> {
    let bytes = fs::read(dir.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let all = tensors.tensors().into_iter().map(|(name, view)| {
        let tensor = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
        (name, tensor)
    });
    all.collect()
}

fn cases() -> Vec<PathBuf> {
    let mut cases = vec![
        support::golden("gala-softmax-h4"),
        support::golden("gala-sigmoid-h6"),
    ];
    match support::oracle() {
        Some(oracle) => {
            let names = ["softmax-h4", "sigmoid-h4", "softmax-h6", "sigmoid-h6"];
            cases.extend(names.map(|name| oracle.join("gala").join(name)));
        }
        None => eprintln!("skipped: the checkpoints in no oracle directory"),
    }
    cases
}

#[test]
fn float32_keeps_every_bit_and_bfloat16_rounds_to_nearest_even() {
    for case in cases() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, out) = (dir.path().join("plain"), dir.path().join("out"));
        support::axlearn::convert(&case, &plain);
        super::convert_case(&case, &out);
        let (expected, found) = (tensors(&plain), tensors(&out));
        assert_eq!(
            expected.keys().collect::<Vec<_>>(),
            found.keys().collect::<Vec<_>>()
        );
        for (name, expected) in &expected {
            assert!(*expected == found[name], "{}: {name}", case.display());
        }
        let json = |dir: &PathBuf| -> serde_json::Value {
            serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap()
        };
        assert_eq!(json(&plain), json(&out));

        let half = dir.path().join("half");
        let described: serde_json::Value =
            serde_json::from_slice(&fs::read(case.join("config.json")).unwrap()).unwrap();
        let step = case.join("checkpoints/step_00250000");
        let mut request = request(&step, described["kind"].as_str().unwrap(), &half);
        request.dtype = OutputType::Bf16;
        run(&request).unwrap();
        for (name, (dtype, shape, bytes)) in tensors(&half) {
            assert_eq!((dtype, &shape), (Dtype::BF16, &expected[&name].1));
            let rounded = expected[&name].2.chunks_exact(4).flat_map(|float| {
                bf16::from_f32(f32::from_le_bytes(float.try_into().unwrap())).to_le_bytes()
            });
            assert!(rounded.eq(bytes), "{}: {name}", case.display());
        }
        assert_eq!(json(&half)["torch_dtype"], "bfloat16");
        println!("{}: {} tensors, every bit", case.display(), found.len());
    }
}

/// Whole trainer checkpoints, in which the layer axis is split, too: no reference tensors, but a sum, the first
/// and the last value of every array.
#[test]
fn layouts_with_a_split_layer_axis() {
    let Some(oracle) = support::oracle() else {
        eprintln!("skipped: no oracle directory");
        return;
    };
    for name in ["trainer-full", "trainer-full-dsd"] {
        let case = oracle.join("gala").join(name);
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let step = case.join("checkpoints/step_00250000");
        run(&request(&step, "softmax", &out)).unwrap();
        let found = tensors(&out);
        let floats = |name: &str| -> Vec<f64> {
            let (_, _, bytes) = &found[name];
            let floats = bytes.chunks_exact(4);
            floats
                .map(|float| f32::from_le_bytes(float.try_into().unwrap()) as f64)
                .collect()
        };
        let params: serde_json::Value =
            serde_json::from_slice(&fs::read(case.join("params.json")).unwrap()).unwrap();
        let layer = "decoder/transformer/repeat/layer";
        for (source, targets) in [
            (
                "decoder/emb/token_emb/weight".to_string(),
                vec!["model.embed_tokens.weight"],
            ),
            (
                format!("{layer}/self_attention/attention/o_proj/weight"),
                vec![
                    "model.layers.0.self_attn.o_proj.weight",
                    "model.layers.1.self_attn.o_proj.weight",
                ],
            ),
            (
                format!("{layer}/feed_forward/prenorm/scale"),
                vec![
                    "model.layers.0.pre_feedforward_layernorm.weight",
                    "model.layers.1.pre_feedforward_layernorm.weight",
                ],
            ),
        ] {
            // None of these is turned around: the bytes are those of the array.
            let bytes = targets.iter().flat_map(|target| &found[*target].2);
            let bytes: Vec<u8> = bytes.copied().collect();
            let digest = Sha256::digest(&bytes);
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(
                params[&source]["sha256"],
                digest.as_str(),
                "{name}: {source}"
            );
        }
        for (source, target) in [
            ("linear1_0", "gate"),
            ("linear1_1", "up"),
            ("linear2", "down"),
        ] {
            let expected = &params[format!("{layer}/feed_forward/{source}/weight")];
            let all =
                (0..2).flat_map(|i| floats(&format!("model.layers.{i}.mlp.{target}_proj.weight")));
            let sum: f64 = all.sum();
            let difference = (sum - expected["sum"].as_f64().unwrap()).abs();
            assert!(difference < 1e-3, "{name}: {source}: {difference}");
        }
    }
}

#[test]
fn the_record_has_the_checksums_of_the_files() {
    let dir = tempfile::tempdir().unwrap();
    super::convert_case(&support::golden("gala-softmax-h4"), dir.path());
    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.path().join(CONVERSION_JSON)).unwrap()).unwrap();
    let files = record["files"].as_object().unwrap();
    let names = crate::cli::names(dir.path());
    assert_eq!(files.len() + 1, names.len(), "{names:?}");
    for (name, file) in files {
        let bytes = fs::read(dir.path().join(name)).unwrap();
        assert_eq!(file["bytes"], bytes.len());
        let digest = Sha256::digest(&bytes);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(file["sha256"], digest.as_str());
    }
}
