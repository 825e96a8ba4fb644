//! SentencePiece models against the original library, and models that are refused.

use std::fmt::Write;
use std::path::Path;

use attnscope::Error;
use attnscope::corpus::sentencepiece::SentencePieceModel;
use attnscope::corpus::{Preprocessing, TextTokenizer};
use attnscope::random::PythonRandom;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{file, golden, json, numbers, oracle};

mod refused;

/// The models that are converted.
const MODELS: [&str; 9] = [
    "gala",
    "words",
    "default",
    "rules",
    "spaces",
    "bare",
    "unescaped",
    "symbols",
    "trimmed",
];

fn bytes(name: &str) -> Vec<u8> {
    let path = golden(&format!("sentencepiece/{name}.model"));
    let packed = path.with_extension("model.zst");
    match packed.exists() {
        true => zstd::decode_all(&*std::fs::read(packed).unwrap()).unwrap(),
        false => std::fs::read(path).unwrap(),
    }
}

fn read(bytes: &[u8]) -> attnscope::Result<SentencePieceModel> {
    SentencePieceModel::from_bytes(Path::new("some/tokenizer.model"), bytes)
}

fn load(name: &str) -> (SentencePieceModel, Value) {
    let expected = json(&golden(&format!("sentencepiece/{name}.json")));
    (read(&bytes(name)).unwrap(), expected)
}

fn tokenizer(model: &SentencePieceModel) -> TextTokenizer {
    let (_dir, path) = file(
        "tokenizer.json",
        model.tokenizer_json().unwrap().to_string(),
    );
    TextTokenizer::from_file(&path, Preprocessing::default()).unwrap()
}

fn ids(tokenizer: &TextTokenizer, text: &str) -> Vec<usize> {
    let ids = tokenizer.encode(text).unwrap();
    ids.into_iter().map(|id| id as usize).collect()
}

/// Texts and ids, and how many of them come out otherwise.
fn compare(tokenizer: &TextTokenizer, cases: &Value) -> (usize, Vec<String>) {
    let cases = cases.as_array().unwrap();
    let differs = |case: &&Value| {
        let text = case[0].as_str().unwrap();
        ids(tokenizer, text) != numbers(&case[1])
    };
    let different = cases.iter().filter(differs);
    (
        cases.len(),
        different.map(|case| case[0].to_string()).collect(),
    )
}

#[test]
fn ids_are_those_of_the_original_library() {
    for name in MODELS {
        let (model, expected) = load(name);
        let (cases, different) = compare(&tokenizer(&model), &expected["cases"]);
        println!("{name}: {cases} texts");
        assert!(cases > 250, "{name}: only {cases} texts");
        assert!(different.is_empty(), "{name}: {different:?}");
    }
}

#[test]
fn long_texts_are_no_exception() {
    for name in MODELS {
        let (model, expected) = load(name);
        let tokenizer = tokenizer(&model);
        let cases = expected["long"].as_array().unwrap();
        assert!(cases.len() >= 8);
        for case in cases {
            let unit = case["unit"].as_str().unwrap();
            let text = format!(
                "b{}b",
                unit.repeat(case["times"].as_u64().unwrap() as usize)
            );
            let mut joined = String::new();
            for id in ids(&tokenizer, &text) {
                let comma = if joined.is_empty() { "" } else { "," };
                write!(joined, "{comma}{id}").unwrap();
            }
            let digest: String = Sha256::digest(&joined)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(digest, case["sha256_of_comma_joined"], "{name}: {unit:?}");
        }
    }
}

/// Models with a character map say that they can deviate, and do; where `tokenizers` no longer does, the
/// documentation is to be changed. The others never do, whatever is in a text.
#[test]
fn deviations_are_where_they_are_said_to_be() {
    let mut deviating = 0;
    for name in MODELS {
        let (model, expected) = load(name);
        let has_map = ["default", "rules", "spaces"].contains(&name);
        assert_eq!(model.deviations().is_some(), has_map, "{name}");
        let (cases, different) = compare(&tokenizer(&model), &expected["marks"]);
        assert_eq!(cases > 0, has_map, "{name}");
        deviating += different.len();
        println!(
            "{name}: {} of {cases} texts with marks differ",
            different.len()
        );
    }
    assert!(deviating > 0);
}

#[test]
fn sizes_and_special_pieces() {
    for name in MODELS {
        let (model, expected) = load(name);
        assert_eq!(model.vocab_size() as u64, expected["vocab_size"]);
        for (field, id) in [
            ("pad_id", model.pad_id()),
            ("eos_id", model.eos_id()),
            ("bos_id", model.bos_id()),
            ("unk_id", model.unk_id()),
        ] {
            assert_eq!(id.map_or(-1, i64::from), expected[field], "{name}: {field}");
        }
    }
}

/// No token is added, and special pieces typed in a text stay text, in the whole of every vocabulary: what a piece's
/// own text gives between symbols is what it gives there with a letter nobody knows on either side.
#[test]
fn names_of_pieces_are_text() {
    let (model, _) = load("symbols");
    let json = model.tokenizer_json().unwrap();
    assert_eq!(json["added_tokens"], serde_json::json!([]));
    assert!(json["post_processor"].is_null());
    let tokenizer = tokenizer(&model);
    // A line end is a symbol there, `ж` unknown; the first of these is the space in front.
    let alone = |text: &str| ids(&tokenizer, &format!("\n{text}\n"))[2..].to_vec();
    let fenced = |text: &str| ids(&tokenizer, &format!("\nж{text}ж\n"))[3..].to_vec();
    let newline = json["model"]["vocab"]["\n"].as_u64().unwrap() as usize;
    let mut compared = 0;
    for (name, id) in json["model"]["vocab"].as_object().unwrap() {
        let mut expected = fenced(name);
        assert_eq!(expected.pop(), Some(newline));
        assert_eq!(expected.pop(), Some(0), "the last ж");
        expected.push(newline);
        assert_eq!(alone(name), expected, "{name} ({id})");
        compared += 1;
    }
    assert_eq!(compared, model.vocab_size());
}

/// Gala's own tokenizer, which cannot be shipped.
#[test]
fn gala_has_all_of_its_458_cases() {
    let Some(path) = oracle("gala/tokenizer/bpe_32k_c4.model") else {
        return;
    };
    let model = SentencePieceModel::from_file(&path).unwrap();
    assert_eq!(model.vocab_size(), 32000);
    let ids_of = [
        model.pad_id(),
        model.eos_id(),
        model.unk_id(),
        model.bos_id(),
    ];
    assert_eq!(ids_of, [Some(0), Some(1), Some(2), None]);
    assert_eq!(model.deviations(), None);
    let converted = model.tokenizer_json().unwrap().to_string();
    let library = tokenizers::Tokenizer::from_bytes(&converted).unwrap();
    let tokenizer = tokenizer(&model);
    let (mut cases, mut decoded) = (0, 0);
    for name in ["cases", "fuzz"] {
        let expected = json(&path.with_file_name(format!("{name}.json")));
        for case in expected["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap().replace('\n', "<n>");
            let expected = numbers(&case["ids"]);
            assert_eq!(ids(&tokenizer, &text), expected, "{text:?}");
            cases += 1;
            if let Some(text) = case["decoded"].as_str() {
                let ids: Vec<u32> = expected.iter().map(|&id| id as u32).collect();
                assert_eq!(library.decode(&ids, false).unwrap(), text);
                decoded += 1;
            }
        }
    }
    assert_eq!((cases, decoded), (458, 58));
}

/// Files of all lengths, and with any bytes changed: whatever is accepted can be used.
#[test]
fn damaged_files_are_errors_and_never_worse() {
    let mut random = PythonRandom::new(11);
    let (mut refused, mut accepted) = (0, 0);
    for name in ["rules", "symbols"] {
        let whole = bytes(name);
        for length in (0..whole.len()).step_by(7) {
            match read(&whole[..length]) {
                Err(error @ Error::Tokenizer { .. }) => {
                    assert!(
                        error.to_string().contains("some/tokenizer.model"),
                        "{error}"
                    );
                }
                Err(other) => panic!("{other}"),
                // What comes after the normaliser's settings is empty.
                Ok(_) => assert!(length + 2 >= whole.len(), "{name}: {length}"),
            }
        }
        for _ in 0..600 {
            let mut damaged = whole.clone();
            for _ in 0..1 + random.below(4) {
                // Half of them in the last quarter, where the map is.
                let quarter = whole.len() / 4;
                let at = match random.below(2) {
                    0 => random.below(whole.len()),
                    _ => whole.len() - 1 - random.below(quarter),
                };
                damaged[at] = random.below(256) as u8;
            }
            match read(&damaged).and_then(|model| model.tokenizer_json()) {
                Err(Error::Tokenizer { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
                Ok(json) => {
                    accepted += 1;
                    let tokenizer = tokenizers::Tokenizer::from_bytes(json.to_string()).unwrap();
                    for text in ["abc ABC ß日本語 \r\n#´", "\u{3000}x\u{301}\u{0}"] {
                        tokenizer.encode(text, true).unwrap();
                    }
                }
            }
        }
    }
    println!("{refused} refused, {accepted} accepted");
    assert!(refused > 200 && accepted > 50);
}
