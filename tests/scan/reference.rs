//! The whole scan against a float64 forward pass that shares nothing with it.

use std::{fs, path::Path};

use attnscope::scan::plan::Memory;
use serde_json::json;
use tokenizers::Tokenizer;

use super::{
    FUNCTIONS, Fixture, SMALL, assert_close, batch_size, float64, random_texts, request, scan_rows,
};
use crate::support::gala;

/// float32 against float64, per mean over a sample's rows.
const BOUND: f64 = 1e-5;

/// Some of the gala pair's texts: whole ones, one with line breaks, a single word, nothing, and one that is cut off.
fn texts() -> Vec<String> {
    let corpus = gala::texts();
    let short = corpus.iter().min_by_key(|text| text.len()).unwrap();
    let broken = corpus.iter().find(|text| text.contains('\n')).unwrap();
    vec![
        corpus[1].clone(),
        broken.clone(),
        "a".into(),
        String::new(),
        short.clone(),
        corpus.join(" "),
        "\n\n".into(),
    ]
}

/// The ids the model must see: `<n>` for a line break, whatever the tokenizer makes of it, cut on the right.
fn ids(model: &Path, text: &str, max_seq_len: usize) -> Vec<u32> {
    let tokenizer = Tokenizer::from_file(model.join("tokenizer.json")).unwrap();
    let encoding = tokenizer.encode(text.replace('\n', "<n>"), true).unwrap();
    let mut ids = encoding.get_ids().to_vec();
    ids.truncate(max_seq_len);
    ids
}

#[test]
fn the_gala_pair() {
    let dir = tempfile::tempdir().unwrap();
    let files = gala::write_to(dir.path());
    let texts = texts();
    let lines: String = texts
        .iter()
        .map(|text| format!("{}\n", json!({ "text": text })))
        .collect();
    let path = dir.path().join("texts.jsonl");
    fs::write(&path, lines).unwrap();
    // More than one block of keys.
    let max_seq_len = 600;
    for model in &files.models {
        let samples: Vec<(i64, Vec<u32>)> = (0..)
            .zip(texts.iter().map(|text| ids(model, text, max_seq_len)))
            .filter(|(_, ids)| !ids.is_empty())
            .collect();
        let lengths: Vec<usize> = samples.iter().map(|(_, ids)| ids.len()).collect();
        assert!(lengths.len() == texts.len() - 1 && lengths.contains(&max_seq_len));
        println!("tokens of the samples: {lengths:?}");

        let name = model.file_name().unwrap().to_str().unwrap();
        let mut request = request(model, &path, &dir.path().join(format!("out-{name}")));
        request.max_seq_len = max_seq_len;
        let expected = float64::Model::open(model).sample_rows(&samples);
        assert_close(name, &scan_rows(&request), &expected, BOUND);
    }
}

/// Padding ids inside a text are attended to and not counted; samples are numbered by their rows in the dataset;
/// and models of one and of two layers are models, too.
#[test]
fn random_models() {
    let mut texts = random_texts(&[40, 0, 1, 7, 130, 2], SMALL[4]);
    texts[0][3] = 0;
    texts[0][17] = 0;
    texts[4][0] = 0;
    texts[5][1] = 0;
    let samples: Vec<(i64, Vec<u32>)> = (0..)
        .zip(texts.clone())
        .filter(|(_, ids)| !ids.is_empty())
        .collect();
    for function in FUNCTIONS {
        for layers in 1..=3 {
            let sizes = [layers, SMALL[1], SMALL[2], SMALL[3], SMALL[4]];
            let fixture = Fixture::new(function, sizes, &texts);
            let expected = float64::Model::open(&fixture.model).sample_rows(&samples);
            for (name, memory) in [
                ("resident", Memory::Resident),
                ("streamed", Memory::Streamed),
            ] {
                let mut request = fixture.request(name);
                request.memory = memory;
                request.batch_size = batch_size(2);
                let case = format!("{function}, {layers} layers, {name}");
                assert_close(&case, &scan_rows(&request), &expected, BOUND);
            }
        }
    }
}
