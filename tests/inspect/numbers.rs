//! The weights and the numbers against other programs, a float64 forward pass, an observer of our own, and a scan.

use std::{collections::HashMap, fs, path::Path};

use attnscope::{
    checkpoint::{Checkpoint, Weights},
    inspect::{Outcome, Request, Selection},
    layers::PackedSequences,
    metrics::HeadSums,
    models::{self, LayerPart},
    observe::{AttentionMaps, AttentionObserver, LayerAttention},
    store::SampleReader,
};
use candle_core::{DType, Device, IndexOp, Tensor};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use super::{PageFile, TableHead, bits, request, row, run, side, table, words};
use crate::{
    scan,
    support::{self, gala},
};

fn gala_models(dir: &Path) -> [std::path::PathBuf; 2] {
    gala::write_to(dir).models
}

/// The ids the model must see: `<n>` for a line break.
fn ids(model: &Path, text: &str) -> Vec<u32> {
    let tokenizer = Tokenizer::from_file(model.join("tokenizer.json")).unwrap();
    let encoding = tokenizer.encode(text.replace('\n', "<n>"), true).unwrap();
    encoding.get_ids().to_vec()
}

#[test]
fn weights_are_those_of_a_float64_forward_pass() {
    let dir = tempfile::tempdir().unwrap();
    for model in gala_models(dir.path()) {
        let text = format!("{}\nand a second line", words(90));
        run(&request(&model, &text, &model));
        let ids = ids(&model, &text);
        let expected = scan::float64::Model::open(&model).forward(&ids);
        let found = table(&model.join("weights.parquet"));
        assert_eq!(found.len(), expected.len() * expected[0].heads.len());
        let mut largest = vec![0f64; expected.len()];
        for TableHead {
            layer,
            head,
            weights,
        } in found
        {
            assert_eq!(side(&weights), ids.len());
            for (query, expected) in expected[layer].heads[head].iter().enumerate() {
                for (found, expected) in row(&weights, query).iter().zip(&expected.weights) {
                    let difference = (f64::from(*found) - expected).abs();
                    assert!(difference.is_finite());
                    largest[layer] = largest[layer].max(difference);
                }
            }
        }
        // What float32 leaves out of the hidden states, large scores make larger: layer by layer it adds up.
        let layers: Vec<String> = largest.iter().map(|l| format!("{l:.1e}")).collect();
        println!(
            "{}: {} tokens, {}",
            model.display(),
            ids.len(),
            layers.join(" ")
        );
        assert!(largest[0] < 2e-5, "{largest:?}");
        assert!(largest.iter().all(|largest| *largest < 2e-4), "{largest:?}");
    }
}

#[test]
fn weights_are_axlearns() {
    for name in ["gala-softmax-h4", "gala-sigmoid-h6"] {
        let case = support::golden(name);
        let file = case.join("expected.safetensors");
        let expected: HashMap<String, Tensor> =
            candle_core::safetensors::load(file, &Device::Cpu).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("model");
        crate::convert::convert_case(&case, &model);
        fs::write(model.join("tokenizer.json"), scan::word_tokenizer(64)).unwrap();
        let (mut largest, mut compared) = (0f64, 0);
        for batch in ["main", "edge", "long"] {
            let get = |key: &str| expected.get(&format!("{batch}.{key}"));
            let Some(probs) = get("probs") else { continue };
            let input_ids: Vec<Vec<i64>> = get("input_ids")
                .unwrap()
                .to_dtype(DType::I64)
                .unwrap()
                .to_vec2()
                .unwrap();
            for (i, row_ids) in input_ids.iter().enumerate() {
                // Trailing pads are no part of the text.
                let end = 1 + row_ids.iter().rposition(|&id| id != 0).unwrap();
                let ids: Vec<u32> = row_ids[..end].iter().map(|&id| id as u32).collect();
                let out = dir.path().join(format!("{batch}-{i}"));
                fs::create_dir(&out).unwrap();
                run(&request(&model, &scan::spelled(&ids), &out));
                for found in table(&out.join("weights.parquet")) {
                    let map: Vec<Vec<f32>> = probs
                        .i((found.layer, i, found.head))
                        .unwrap()
                        .to_vec2()
                        .unwrap();
                    assert_eq!(side(&found.weights), end);
                    for (query, expected) in map[..end].iter().enumerate() {
                        for (a, b) in row(&found.weights, query).iter().zip(expected) {
                            largest = largest.max(f64::from((a - b).abs()));
                            compared += 1;
                        }
                    }
                }
            }
        }
        println!("{name}: {compared} weights, {largest:.1e}");
        assert!(
            compared > 10_000 && largest < 5e-5,
            "{compared}, {largest:e}"
        );
    }
}

/// Keeps the maps as they are handed over.
#[derive(Default)]
struct Recorder {
    /// (layer, head) and the whole map.
    maps: Vec<(usize, usize, Vec<Vec<f32>>)>,
}

impl AttentionObserver for Recorder {
    fn wants_attn_weights(&self, _: usize, _: usize) -> bool {
        true
    }

    fn observe(&mut self, _: &LayerAttention<'_>) -> candle_core::Result<()> {
        Ok(())
    }

    fn observe_maps(&mut self, maps: &AttentionMaps<'_>) -> candle_core::Result<()> {
        for (i, head) in maps.heads.clone().enumerate() {
            let map = maps.attn_weights.i(i)?.to_vec2()?;
            self.maps.push((maps.layer_idx, head, map));
        }
        Ok(())
    }
}

fn observed(model_dir: &Path, ids: &[u32]) -> Recorder {
    let model = models::open(model_dir).unwrap();
    let checkpoint = Checkpoint::open(model_dir).unwrap();
    let weights = Weights {
        checkpoint: &checkpoint,
        device: Device::Cpu,
        dtype: DType::F32,
    };
    let sequences = PackedSequences::from_lengths(&[ids.len()]);
    let mut recorder = Recorder::default();
    let mut hidden = model.embed(&weights, ids, &sequences).unwrap();
    let layers = model.sizes().num_hidden_layers;
    for i in 0..layers {
        let part = match i + 1 == layers {
            true => LayerPart::AttentionWeights,
            false => LayerPart::Whole,
        };
        let layer = model.load_layer(&weights, i, part).unwrap();
        if let Some(next) = layer.forward(&hidden, &sequences, &mut recorder).unwrap() {
            hidden = next;
        }
    }
    recorder
}

#[test]
fn page_table_and_observer_agree_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    for model in gala_models(dir.path()) {
        // All of it is on the page: as the overview where that is the map itself, and beside it where it is not.
        for (count, block) in [(60, 1), (420, 3)] {
            let out = model.join(format!("of-{count}"));
            fs::create_dir(&out).unwrap();
            let text = words(count);
            let outcome = run(&request(&model, &text, &out));
            assert_eq!(outcome.block, block, "{} tokens", outcome.tokens);
            let page = PageFile::open(&out.join("page.html"));
            let table = table(&out.join("weights.parquet"));
            let observed = observed(&model, &ids(&model, &text)).maps;
            assert_eq!(table.len(), observed.len());
            for (found, (layer, head, map)) in table.iter().zip(&observed) {
                assert_eq!((found.layer, found.head), (*layer, *head));
                for (query, expected) in map.iter().enumerate() {
                    let (seen, unseen) = expected.split_at(query + 1);
                    assert_eq!(bits(row(&found.weights, query)), bits(seen));
                    assert!(unseen.iter().all(|weight| *weight == 0.0));
                }
                let on_page = match block {
                    1 => page.overviews(*layer)[*head].clone(),
                    _ => page.exact(*layer, *head).unwrap(),
                };
                assert_eq!(bits(&on_page), bits(&found.weights));
            }
        }
    }
}

#[test]
fn overviews_are_plain_maxima() {
    let dir = tempfile::tempdir().unwrap();
    let model = &gala_models(dir.path())[1];
    let outcome = run(&request(model, &words(420), model));
    let n = outcome.block;
    let page = PageFile::open(&model.join("page.html"));
    for found in table(&model.join("weights.parquet")) {
        let side = side(&found.weights);
        assert_eq!(side, outcome.tokens);
        let overview = &page.overviews(found.layer)[found.head];
        assert_eq!(super::side(overview), side.div_ceil(n));
        for i in 0..side.div_ceil(n) {
            for j in 0..=i {
                let queries = i * n..((i + 1) * n).min(side);
                let weights = queries.flat_map(|query| {
                    let row = row(&found.weights, query);
                    row[(j * n).min(row.len())..((j + 1) * n).min(row.len())].to_vec()
                });
                let max = weights.fold(f32::MIN, f32::max);
                assert_eq!(row(overview, i)[j], max, "cell {i}, {j}");
            }
        }
    }
}

/// The sums of one head, from its weights, in float64.
fn sums(weights: &[f32], counted: &[bool]) -> HeadSums {
    let mut sums = HeadSums::default();
    for (query, _) in counted.iter().enumerate().filter(|(_, counted)| **counted) {
        let row: Vec<f64> = row(weights, query).iter().map(|&w| f64::from(w)).collect();
        let total: f64 = row.iter().sum();
        let max = row.iter().copied().fold(0.0, f64::max);
        sums.tokens += 1;
        sums.max_share_sum += max / (total + 1e-9);
        sums.first_share_sum += row[0] / (total + 1e-9);
        sums.max_weight_sum += max;
        sums.total_weight_sum += total;
        sums.entropy_sum -= row
            .iter()
            .map(|weight| weight / total)
            .filter(|share| *share > 0.0)
            .map(|share| share * share.ln())
            .sum::<f64>();
    }
    sums
}

#[test]
fn numbers_are_those_of_a_scan_and_of_the_table() {
    let dir = tempfile::tempdir().unwrap();
    for model in gala_models(dir.path()) {
        let text = words(150);
        let outcome = run(&request(&model, &text, &model));
        let texts = model.join("text.jsonl");
        fs::write(&texts, format!("{}\n", json!({ "text": text }))).unwrap();
        let scan = attnscope::scan::Request {
            max_seq_len: 2048,
            ..scan::request(&model, &texts, &model.join("scan"))
        };
        attnscope::scan::run(&scan, &super::Silent).unwrap();
        let scanned: Vec<_> = SampleReader::open(&model.join("scan"))
            .unwrap()
            .flat_map(Result::unwrap)
            .collect();
        let table = table(&model.join("weights.parquet"));
        assert_eq!(scanned.len(), outcome.heads.len());
        let counted = vec![true; outcome.tokens];
        let mut largest = [0f64; 5];
        for ((head, scanned), found) in outcome.heads.iter().zip(&scanned).zip(&table) {
            assert_eq!(
                (head.layer as i32, head.head as i32),
                (scanned.layer, scanned.head)
            );
            assert_eq!(head.sums, scanned.sums, "bit for bit");
            let of_table = scan::means(&sums(&found.weights, &counted));
            for (i, (a, b)) in of_table.iter().zip(scan::means(&scanned.sums)).enumerate() {
                largest[i] = largest[i].max((a - b).abs() / b.abs().max(1.0));
            }
            let max = found.weights.iter().copied().fold(0.0, f32::max);
            assert_eq!(head.largest, max);
        }
        let [a, b, c, d, e] = largest;
        println!(
            "{}: scan against table {a:.1e} {b:.1e} {c:.1e} {d:.1e} {e:.1e}",
            model.display()
        );
        assert!(
            largest.iter().all(|difference| *difference < 2e-6),
            "{largest:?}"
        );

        // The page says the same.
        let facts = PageFile::open(&model.join("page.html")).facts();
        let column = |name: &str| -> Vec<f64> {
            let bytes = super::bytes(&facts["numbers"][name]);
            let (values, _) = bytes.as_chunks::<8>();
            values.iter().map(|b| f64::from_le_bytes(*b)).collect()
        };
        let of = |mean: fn(&attnscope::metrics::HeadMeans) -> f64| -> Vec<f64> {
            outcome
                .heads
                .iter()
                .map(|head| mean(&head.sums.means()))
                .collect()
        };
        assert_eq!(column("sparsity_score"), of(|means| means.sparsity_score));
        assert_eq!(
            column("first_token_share"),
            of(|means| means.first_token_share)
        );
        assert_eq!(column("max_weight"), of(|means| means.max_weight));
        assert_eq!(column("total_weight"), of(|means| means.total_weight));
        assert_eq!(column("entropy"), of(|means| means.entropy));
    }
}

#[test]
fn the_footer_says_where_the_weights_come_from() {
    let dir = tempfile::tempdir().unwrap();
    let model = &gala_models(dir.path())[0];
    // `é` is a token of the pair's tokenizer, the dash is three bytes.
    let text = "The cat — é\nsat";
    let request = Request {
        layers: Selection::These([1, 3].into()),
        heads: Selection::These([0, 5].into()),
        ..request(model, text, model)
    };
    let outcome: Outcome = run(&request);
    let file = fs::File::open(model.join("weights.parquet")).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let footer: HashMap<String, String> = reader
        .metadata()
        .file_metadata()
        .key_value_metadata()
        .unwrap()
        .iter()
        .map(|entry| (entry.key.clone(), entry.value.clone().unwrap()))
        .collect();
    let said = |key: &str| footer[&format!("attnscope.{key}")].as_str();
    let ids = ids(model, text);
    let tokens: Vec<String> = serde_json::from_str(said("tokens")).unwrap();
    assert_eq!(
        tokens,
        [
            "▁The", "▁c", "at", "▁", "<0xE2>", "<0x80>", "<0x94>", "▁", "é", "<n>", "s", "at"
        ]
        .map(String::from),
    );
    assert_eq!(
        serde_json::from_str::<Vec<u32>>(said("input_ids")).unwrap(),
        ids
    );
    // `printf 'The cat — é\nsat' | sha256sum`
    assert_eq!(
        said("text_sha256"),
        "b7748c7f2f35535603da48106c6ae4e57e286dde7057f408c91d2c07db399f06"
    );
    assert_eq!(said("text_tokens"), "12");
    assert_eq!(said("model_type"), "gala");
    assert_eq!(said("attention_function"), "softmax");
    assert_eq!(said("dtype"), "f32");
    assert_eq!(said("special_tokens"), "as tokenizer.json says: none");
    assert!(said("preprocessing").contains("<n>"));
    assert_eq!(said("weights_fingerprint").len(), 64);
    let places = |list: &[(usize, usize)]| list.to_vec();
    let of_table: Vec<_> = table(&model.join("weights.parquet"))
        .iter()
        .map(|head| (head.layer, head.head))
        .collect();
    assert_eq!(of_table, places(&[(1, 0), (1, 5), (3, 0), (3, 5)]));
    let of_outcome: Vec<_> = outcome
        .heads
        .iter()
        .map(|head| (head.layer, head.head))
        .collect();
    assert_eq!(of_outcome, of_table);

    let facts = PageFile::open(&request.out).facts();
    assert_eq!(facts["tokens"], json!(tokens));
    assert_eq!(facts["layers"], json!([1, 3]));
    assert_eq!(facts["heads"], json!([0, 5]));
    assert_eq!(facts["text"]["sha256"], said("text_sha256"));
    assert_eq!(facts["text"]["file"], Value::Null);
}
