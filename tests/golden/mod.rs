//! The forward pass against axlearn's own results (README.md beside this file says where they come from).

use std::{collections::HashMap, path::Path};

use attnscope::{
    checkpoint::{Checkpoint, Weights},
    layers::PackedSequences,
    metrics::HeadSums,
    models::{self, LayerPart},
    observe::{AttentionMaps, AttentionObserver, LayerAttention},
};
use candle_core::{DType, Device, IndexOp, Tensor};

use crate::support;

/// Keeps everything a layer reports.
#[derive(Default)]
struct Recorder {
    maps: bool,
    rows: Vec<attnscope::metrics::RowStatistics>,
    /// For each layer and each sequence with tokens, its (heads, q_len, kv_len) map.
    weights: Vec<Vec<Tensor>>,
    /// The sequence that was last seen.
    sequence: Option<usize>,
}

impl AttentionObserver for Recorder {
    fn wants_attn_weights(&self, _: usize, _: usize) -> bool {
        self.maps
    }

    fn observe(&mut self, attention: &LayerAttention<'_>) -> candle_core::Result<()> {
        self.rows.push(attention.rows.clone());
        self.weights.push(Vec::new());
        self.sequence = None;
        Ok(())
    }

    fn observe_maps(&mut self, maps: &AttentionMaps<'_>) -> candle_core::Result<()> {
        let layer = self.weights.last_mut().unwrap();
        let known = match self.sequence == Some(maps.sequence) {
            true => layer.pop(),
            false => None,
        };
        self.sequence = Some(maps.sequence);
        layer.push(match known {
            Some(known) => Tensor::cat(&[&known, maps.attn_weights], 0)?,
            None => maps.attn_weights.clone(),
        });
        Ok(())
    }
}

/// The largest difference seen under each name.
#[derive(Default)]
struct Worst(Vec<(&'static str, f64, f64)>);

impl Worst {
    fn note(&mut self, name: &'static str, bound: f64, difference: f64) {
        let at = match self.0.iter().position(|w| w.0 == name) {
            Some(at) => at,
            None => {
                self.0.push((name, bound, 0.0));
                self.0.len() - 1
            }
        };
        if difference > self.0[at].2 || difference.is_nan() {
            self.0[at].2 = difference;
        }
    }

    fn report(&self, case: &str) {
        for (name, bound, found) in &self.0 {
            println!("{case:<22} {name:<24} {found:.2e}  (bound {bound:.0e})");
        }
        for (name, bound, found) in &self.0 {
            assert!(
                found <= bound,
                "{case}: {name} differs by {found:.3e}, more than {bound:.0e}"
            );
        }
    }
}

fn difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    let cpu = |t: &Tensor| {
        t.to_device(&Device::Cpu)
            .unwrap()
            .to_dtype(DType::F64)
            .unwrap()
    };
    (cpu(a) - cpu(b))
        .unwrap()
        .abs()
        .unwrap()
        .max_all()
        .unwrap()
        .to_scalar()
        .unwrap()
}

/// A right-padded row is two sequences: the text up to its last non-pad token, and the pads after it, which
/// axlearn lets attend only to each other.
fn lengths(input_ids: &[Vec<i64>]) -> Vec<usize> {
    input_ids
        .iter()
        .flat_map(|row| {
            let text = row
                .iter()
                .rposition(|&id| id != 0)
                .map_or(0, |last| last + 1);
            [text, row.len() - text]
        })
        .collect()
}

fn check_case(case: &Path, device: &Device, name: &str) {
    let dir = tempfile::tempdir().unwrap();
    crate::convert::convert_case(case, dir.path());
    let expected: HashMap<String, Tensor> =
        candle_core::safetensors::load(case.join("expected.safetensors"), &Device::Cpu).unwrap();
    let model = models::open(dir.path()).unwrap();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    checkpoint.check(&model.tensors()).unwrap();
    let weights = Weights {
        checkpoint: &checkpoint,
        device: device.clone(),
        dtype: DType::F32,
    };
    let heads = model.sizes().num_attention_heads;
    let layers = model.sizes().num_hidden_layers;
    let mut worst = Worst::default();

    for batch in ["main", "edge", "long"] {
        let get = |key: &str| expected.get(&format!("{batch}.{key}"));
        let input_ids: Vec<Vec<i64>> = get("input_ids")
            .unwrap()
            .to_dtype(DType::I64)
            .unwrap()
            .to_vec2()
            .unwrap();
        let (count, length) = (input_ids.len(), input_ids[0].len());
        let ids: Vec<u32> = input_ids.iter().flatten().map(|&id| id as u32).collect();
        let sequences = PackedSequences::from_lengths(&lengths(&input_ids));

        // Twice: with the maps asked for, and without.
        for maps in [true, false] {
            let mut recorder = Recorder {
                maps,
                ..Recorder::default()
            };
            let mut hidden = model.embed(&weights, &ids, &sequences).unwrap();
            for i in 0..layers {
                let layer = model.load_layer(&weights, i, LayerPart::Whole).unwrap();
                hidden = layer
                    .forward(&hidden, &sequences, &mut recorder)
                    .unwrap()
                    .unwrap();
                if let Some(outputs) = get("layer_outputs") {
                    let found = hidden.reshape((count, length, ())).unwrap();
                    worst.note(
                        "layer outputs",
                        1e-4,
                        difference(&found, &outputs.i(i).unwrap()),
                    );
                }
            }
            if let (true, Some(probs)) = (maps, get("probs")) {
                for i in 0..layers {
                    let found = padded_maps(&recorder.weights[i], &sequences, count, length, heads);
                    worst.note(
                        "attention weights",
                        5e-5,
                        difference(&found, &probs.i(i).unwrap()),
                    );
                }
            }
            let head = model.load_head(&weights).unwrap();
            let normed = head.norm(&hidden).unwrap();
            let found = normed.reshape((count, length, ())).unwrap();
            worst.note(
                "hidden states",
                1e-4,
                difference(&found, get("hidden_states").unwrap()),
            );
            check_logits(&head.logits(&normed).unwrap(), length, &get, &mut worst);
            check_rows(&recorder, (count, length, heads), &get, &mut worst);
            check_scores(&recorder, &ids, &*model, &get, &mut worst);
        }
        // The last layer, loaded only up to its attention weights, reports the same rows.
        let mut hidden = model.embed(&weights, &ids, &sequences).unwrap();
        let (mut whole, mut part) = (Recorder::default(), Recorder::default());
        for i in 0..layers {
            let layer = model.load_layer(&weights, i, LayerPart::Whole).unwrap();
            let next = layer
                .forward(&hidden, &sequences, &mut whole)
                .unwrap()
                .unwrap();
            if i == layers - 1 {
                let layer = model
                    .load_layer(&weights, i, LayerPart::AttentionWeights)
                    .unwrap();
                assert!(
                    layer
                        .forward(&hidden, &sequences, &mut part)
                        .unwrap()
                        .is_none()
                );
            }
            hidden = next;
        }
        for (a, b) in whole.rows[layers - 1].max.iter().zip(&part.rows[0].max) {
            worst.note("last layer, partial", 1e-6, f64::from((a - b).abs()));
        }
    }
    worst.report(name);
}

/// The maps of all sequences as one (batch, heads, length, length) tensor; zero between sequences.
fn padded_maps(
    maps: &[Tensor],
    sequences: &PackedSequences,
    count: usize,
    length: usize,
    heads: usize,
) -> Tensor {
    let mut data = vec![0f32; count * heads * length * length];
    let ranges = sequences.ranges().filter(|r| !r.is_empty());
    for (range, map) in ranges.zip(maps) {
        let (row, from) = (range.start / length, range.start % length);
        let map: Vec<Vec<Vec<f32>>> = map.to_vec3().unwrap();
        for (h, map) in map.iter().enumerate() {
            for (q, weights) in map.iter().enumerate() {
                let at = ((row * heads + h) * length + from + q) * length + from;
                data[at..at + weights.len()].copy_from_slice(weights);
            }
        }
    }
    Tensor::from_vec(data, (count, heads, length, length), &Device::Cpu).unwrap()
}

type Get<'a> = dyn Fn(&str) -> Option<&'a Tensor> + 'a;

fn check_logits(logits: &Tensor, length: usize, get: &Get, worst: &mut Worst) {
    let logits: Vec<Vec<f32>> = logits.to_vec2().unwrap();
    let positions: Vec<Vec<i64>> = get("logits_positions")
        .unwrap()
        .to_dtype(DType::I64)
        .unwrap()
        .to_vec2()
        .unwrap();
    let rows: Vec<Vec<f32>> = get("logits_at_positions").unwrap().to_vec2().unwrap();
    for (position, row) in positions.iter().zip(&rows) {
        let found = &logits[position[0] as usize * length + position[1] as usize];
        for (a, b) in found.iter().zip(row) {
            worst.note("logits", 1e-4, f64::from((a - b).abs()));
        }
    }
    let first: Vec<Vec<f32>> = get("logits_first64")
        .unwrap()
        .flatten_to(1)
        .unwrap()
        .to_vec2()
        .unwrap();
    let sums: Vec<f32> = get("logits_lse")
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap();
    for ((found, row), sum) in logits.iter().zip(&first).zip(&sums) {
        for (a, b) in found.iter().zip(row) {
            worst.note("logits", 1e-4, f64::from((a - b).abs()));
        }
        let max = found.iter().cloned().fold(f32::MIN, f32::max);
        let lse = found
            .iter()
            .map(|x| f64::from(x - max).exp())
            .sum::<f64>()
            .ln()
            + f64::from(max);
        worst.note("log-sum-exp of logits", 1e-4, (lse - f64::from(*sum)).abs());
    }
}

fn check_rows(recorder: &Recorder, shape: (usize, usize, usize), get: &Get, worst: &mut Worst) {
    let (count, length, heads) = shape;
    for (key, name) in [
        ("max", "row maximum"),
        ("total", "row total"),
        ("first", "row first weight"),
    ] {
        let expected = get(&format!("query_{key}_weight")).unwrap();
        for (i, rows) in recorder.rows.iter().enumerate() {
            let found = match key {
                "max" => &rows.max,
                "total" => &rows.total,
                _ => &rows.first,
            };
            let found = Tensor::from_slice(found, (heads, count, length), &Device::Cpu)
                .unwrap()
                .transpose(0, 1)
                .unwrap();
            let expected = expected.i(i).unwrap();
            if key == "first" {
                // For pads axlearn's key 0 is the text's first token (weight 0), ours the first pad.
                let ids = get("input_ids").unwrap().to_dtype(DType::F32).unwrap();
                let text = ids
                    .ne(0f32)
                    .unwrap()
                    .to_dtype(DType::F32)
                    .unwrap()
                    .unsqueeze(1)
                    .unwrap();
                let a = found.broadcast_mul(&text).unwrap();
                let b = expected.broadcast_mul(&text).unwrap();
                worst.note(name, 5e-5, difference(&a, &b));
            } else if key == "total" {
                // A sum of up to 256 weights: in units of its size, where that is more than 1.
                let unit = expected.maximum(1f32).unwrap();
                worst.note(
                    name,
                    5e-5,
                    difference(&(found / &unit).unwrap(), &(expected / unit).unwrap()),
                );
            } else {
                worst.note(name, 5e-5, difference(&found, &expected));
            }
        }
    }
}

fn check_scores(
    recorder: &Recorder,
    ids: &[u32],
    model: &dyn models::DecoderModel,
    get: &Get,
    worst: &mut Worst,
) {
    let expected = |key: &str| -> Vec<Vec<f64>> { get(key).unwrap().to_vec2().unwrap() };
    let scores = [
        "max_proportion",
        "first_proportion",
        "max_weight",
        "total_weight",
    ]
    .map(|key| expected(&format!("score_{key}")));
    for (i, rows) in recorder.rows.iter().enumerate() {
        for h in 0..model.sizes().num_attention_heads {
            let mut sums = HeadSums::default();
            for (t, &id) in ids
                .iter()
                .enumerate()
                .filter(|(_, id)| model.counts_as_query(**id))
            {
                let at = h * ids.len() + t;
                assert!(id != 0);
                sums.add_row(
                    rows.max[at],
                    rows.total[at],
                    rows.first[at],
                    rows.entropy[at],
                );
            }
            let means = sums.means();
            let found = [
                means.sparsity_score,
                means.first_token_share,
                means.max_weight,
                means.total_weight,
            ];
            let names = [
                "sparsity_score",
                "first_token_share",
                "max_weight",
                "total_weight",
            ];
            for ((name, found), expected) in names.iter().zip(found).zip(&scores) {
                worst.note(name, 1e-5, (found - expected[i][h]).abs());
            }
        }
    }
}

#[test]
fn committed_models_match_axlearn() {
    for device in support::devices() {
        for name in ["gala-softmax-h4", "gala-sigmoid-h6"] {
            check_case(&support::golden(name), &device, name);
        }
    }
}

#[test]
fn oracle_models_match_axlearn() {
    let Some(oracle) = support::oracle() else {
        println!("skipped: no reference results at $ATTNSCOPE_ORACLE or ../shared/oracle");
        return;
    };
    let mut cases: Vec<_> = std::fs::read_dir(oracle.join("gala"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("expected.safetensors").is_file())
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "{} holds no case", oracle.display());
    for case in cases {
        for device in support::devices() {
            check_case(&case, &device, &case.file_name().unwrap().to_string_lossy());
        }
    }
}
