//! Texts to token ids, with tokenizers small enough to be checked by hand.

use std::path::{Path, PathBuf};

use attnscope::Error;
use attnscope::corpus::{
    Preprocessing, Replacement, Rows, TextTokenizer, TextsSum, TokenLimits, TokenizedSamples,
};
use attnscope::random::PythonRandom;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, PaddingParams, Tokenizer, TruncationParams};

use super::file;

const LIMITS: TokenLimits = TokenLimits {
    max_seq_len: 256,
    vocab_size: 1 << 20,
};

/// Words `w0` … `w9` are ids 3 … 12, `<n>` is 2, `<bos>` 1, anything else `<unk>` 0.
fn words() -> Tokenizer {
    let names = ["<unk>", "<bos>", "<n>"].map(String::from).into_iter();
    let names = names.chain((0..10).map(|i| format!("w{i}")));
    let model = WordLevel::builder()
        .vocab(names.zip(0..).collect())
        .unk_token("<unk>".into())
        .build()
        .unwrap();
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(WhitespaceSplit));
    tokenizer
        .add_special_tokens([
            AddedToken::from("<bos>", true),
            AddedToken::from("<n>", true),
        ])
        .unwrap();
    tokenizer
}

fn with_bos(mut tokenizer: Tokenizer) -> Tokenizer {
    let template = TemplateProcessing::builder()
        .try_single("<bos> $A")
        .unwrap()
        .special_tokens(vec![("<bos>", 1)])
        .build()
        .unwrap();
    tokenizer.with_post_processor(Some(template));
    tokenizer
}

/// Byte-level BPE: the 256 bytes in order of their symbols, and merges for "th", "the", " the".
fn bytes() -> Tokenizer {
    let mut alphabet: Vec<String> = ByteLevel::alphabet()
        .into_iter()
        .map(String::from)
        .collect();
    alphabet.sort();
    alphabet.extend(["th", "the", "Ġthe"].map(String::from));
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let merges = vec![pair("t", "h"), pair("th", "e"), pair("Ġ", "the")];
    let model = BPE::builder()
        .vocab_and_merges(alphabet.into_iter().zip(0..).collect::<Vocab>(), merges)
        .build()
        .unwrap();
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer
}

struct Fixture {
    _dir: tempfile::TempDir,
    tokenizer: TextTokenizer,
    path: PathBuf,
}

fn load(tokenizer: &Tokenizer, preprocessing: Preprocessing) -> Fixture {
    let (dir, path) = file("tokenizer.json", tokenizer.to_string(false).unwrap());
    Fixture {
        tokenizer: TextTokenizer::from_file(&path, preprocessing).unwrap(),
        _dir: dir,
        path,
    }
}

fn gala() -> Preprocessing {
    Preprocessing {
        replace: vec![Replacement::new("\n", "<n>").unwrap()],
    }
}

fn rows_of(texts: &[&str]) -> (tempfile::TempDir, Rows) {
    let lines = texts
        .iter()
        .map(|text| serde_json::json!({ "text": text }).to_string() + "\n");
    let (dir, path) = file("texts.jsonl", lines.collect::<String>());
    let rows = Rows::open(&[path], "text").unwrap();
    (dir, rows)
}

fn ids(tokenized: &TokenizedSamples) -> Vec<(i64, Vec<u32>)> {
    let samples = tokenized.samples.iter();
    samples
        .map(|sample| (sample.sample, sample.input_ids.clone()))
        .collect()
}

#[test]
fn samples_keep_the_order_asked_for_and_their_row_numbers() {
    let fixture = load(&words(), gala());
    let (_dir, rows) = rows_of(&["w0 w1", "", "w2\nw3", "   ", "w9", "what w4"]);
    let tokenized = fixture
        .tokenizer
        .tokenize_rows(&rows, &[5, 1, 2, 3, 0], LIMITS, |_| Ok(()))
        .unwrap();
    let expected = [(5, vec![0, 7]), (2, vec![5, 2, 6]), (0, vec![3, 4])];
    assert_eq!(ids(&tokenized), expected);
    assert_eq!((tokenized.skipped, tokenized.tokens), (2, 7));
}

#[test]
fn special_tokens_are_the_tokenizers_own() {
    let plain = load(&words(), Preprocessing::default()).tokenizer;
    assert_eq!(plain.encode("w0").unwrap(), [3]);
    assert!(plain.special_tokens().unwrap().is_empty());

    let bos = load(&with_bos(words()), Preprocessing::default()).tokenizer;
    assert_eq!(bos.encode("w0").unwrap(), [1, 3]);
    assert_eq!(bos.special_tokens().unwrap(), ["<bos>"]);
    // One that the text spells out is a token of the text...
    assert_eq!(bos.encode("<bos>").unwrap(), [1, 1]);
    // ...while one around nothing is no text.
    assert!(bos.encode("").unwrap().is_empty());
}

#[test]
fn a_row_without_text_is_skipped_with_and_without_special_tokens() {
    let (_dir, path) = file(
        "a.jsonl",
        "{\"text\": null}\n{\"text\": \"\"}\n{\"text\": \"w0\"}\n",
    );
    let rows = Rows::open(&[path], "text").unwrap();
    for tokenizer in [words(), with_bos(words())] {
        let fixture = load(&tokenizer, Preprocessing::default());
        let tokenized = fixture
            .tokenizer
            .tokenize_rows(&rows, &[0, 1, 2], LIMITS, |_| Ok(()))
            .unwrap();
        assert_eq!(tokenized.skipped, 2);
        assert_eq!(tokenized.samples.len(), 1);
    }
}

#[test]
fn the_right_end_is_cut_special_tokens_counted() {
    let (_dir, rows) = rows_of(&["w0 w1 w2 w3 w4", "w5"]);
    let fixture = load(&with_bos(words()), Preprocessing::default());
    let limits = TokenLimits {
        max_seq_len: 3,
        ..LIMITS
    };
    let tokenized = fixture
        .tokenizer
        .tokenize_rows(&rows, &[0, 1], limits, |_| Ok(()))
        .unwrap();
    assert_eq!(ids(&tokenized), [(0, vec![1, 3, 4]), (1, vec![1, 8])]);
    assert_eq!(tokenized.tokens, 5);

    let limits = TokenLimits {
        max_seq_len: 0,
        ..LIMITS
    };
    let none = fixture
        .tokenizer
        .tokenize_rows(&rows, &[0], limits, |_| Ok(()));
    assert!(matches!(none, Err(Error::Usage(_))));
}

#[test]
fn truncation_and_padding_of_the_file_are_off() {
    let mut tokenizer = words();
    let truncation = TruncationParams {
        max_length: 2,
        ..Default::default()
    };
    tokenizer.with_truncation(Some(truncation)).unwrap();
    tokenizer.with_padding(Some(PaddingParams {
        strategy: tokenizers::PaddingStrategy::Fixed(8),
        ..Default::default()
    }));
    assert_eq!(
        tokenizer.encode("w0 w1 w2", true).unwrap().get_ids().len(),
        8
    );
    let fixture = load(&tokenizer, Preprocessing::default());
    assert_eq!(fixture.tokenizer.encode("w0 w1 w2").unwrap(), [3, 4, 5]);
}

#[test]
fn an_id_beyond_the_vocabulary_names_token_row_and_size() {
    let (_dir, rows) = rows_of(&["w0", "w1 w9 w8"]);
    let fixture = load(&words(), Preprocessing::default());
    let limits = |max_seq_len, vocab_size| TokenLimits {
        max_seq_len,
        vocab_size,
    };
    let run = |limits| {
        fixture
            .tokenizer
            .tokenize_rows(&rows, &[0, 1], limits, |_| Ok(()))
    };

    let error = run(limits(256, 11)).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert_eq!(
        error.to_string(),
        format!(
            "{}: token \"w9\" in row 1 of the dataset has id 12, but the model's vocabulary has 11 \
             tokens (ids 0 to 10); is this the tokenizer of this model?",
            fixture.path.display()
        )
    );
    // The largest id fits; and what the model does not get to see cannot hurt it.
    assert_eq!(run(limits(256, 13)).unwrap().tokens, 4);
    assert_eq!(run(limits(1, 5)).unwrap().tokens, 2);
}

#[test]
fn a_tokenizer_that_cannot_be_used() {
    let failed = |path: &Path| match TextTokenizer::from_file(path, Preprocessing::default()) {
        Err(error @ Error::Tokenizer { .. }) => error.to_string(),
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("{} was read", path.display()),
    };
    let (dir, path) = file("tokenizer.json", "{\"version\": \"1.0\"}");
    assert!(failed(&path).contains("not a usable tokenizer.json"));
    assert!(failed(&dir.path().join("none.json")).contains("the tokenizer cannot be read"));

    // A word-level model without an unknown token cannot say what to do with a strange word.
    let model = WordLevel::builder()
        .vocab([("w0".to_owned(), 0)].into_iter().collect())
        .unk_token("<unk>".into())
        .build()
        .unwrap();
    let fixture = load(&Tokenizer::new(model), Preprocessing::default());
    let (_dir, rows) = rows_of(&["w0", "stranger"]);
    let error = fixture
        .tokenizer
        .tokenize_rows(&rows, &[0, 1], LIMITS, |_| Ok(()))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("row 1 of the dataset: the text cannot be tokenised"),
        "{error}"
    );
}

#[test]
fn bytes_and_merges() {
    let fixture = load(&bytes(), Preprocessing::default());
    let tokenizer = bytes();
    let names = |text: &str| -> Vec<String> {
        let ids = fixture.tokenizer.encode(text).unwrap();
        ids.into_iter()
            .map(|id| tokenizer.id_to_token(id).unwrap())
            .collect()
    };
    assert_eq!(names("the the"), ["the", "Ġthe"]);
    assert_eq!(names("th é"), ["th", "Ġ", "Ã", "©"]);
}

/// A block ends after 1024 texts. Several of them, in random order, give what the `tokenizers` crate gives
/// for one text at a time.
#[test]
fn many_rows_give_what_single_texts_give() {
    let mut random = PythonRandom::new(8);
    let texts: Vec<String> = (0..3000)
        .map(|_| {
            let words = random.below(12);
            let words: Vec<String> = (0..words)
                .map(|_| format!("w{}", random.below(12)))
                .collect();
            words.join([" ", "\n", " the "][random.below(3)])
        })
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (_dir, rows) = rows_of(&texts);
    let wanted = random.sample(texts.len(), 2500).unwrap();
    let limits = TokenLimits {
        max_seq_len: 7,
        ..LIMITS
    };

    for reference in [with_bos(words()), bytes()] {
        let tokenizer = load(&reference, gala()).tokenizer;
        let mut progress = Vec::new();
        let tokenized = tokenizer
            .tokenize_rows(&rows, &wanted, limits, |done| {
                progress.push(done);
                Ok(())
            })
            .unwrap();
        assert_eq!(progress, [1024, 2048, 2500]);

        let mut expected = TokenizedSamples::default();
        for &row in &wanted {
            expected.texts.add(TextsSum::of(row, texts[row]));
            if texts[row].is_empty() {
                expected.skipped += 1;
                continue;
            }
            let encoding = reference.encode(texts[row].replace('\n', "<n>"), true);
            let mut input_ids = encoding.unwrap().get_ids().to_vec();
            input_ids.truncate(7);
            expected.tokens += input_ids.len();
            let sample = row as i64;
            expected
                .samples
                .push(attnscope::corpus::TokenizedSample { sample, input_ids });
        }
        assert!(expected.skipped > 50);
        assert_eq!(tokenized, expected);
    }
}

#[test]
fn progress_can_stop_the_work() {
    let (_dir, rows) = rows_of(&["w0"; 1500]);
    let fixture = load(&words(), Preprocessing::default());
    let indices: Vec<usize> = (0..1500).collect();
    let mut calls = 0;
    let stopped = fixture
        .tokenizer
        .tokenize_rows(&rows, &indices, LIMITS, |_| {
            calls += 1;
            Err(Error::Usage("stop".into()))
        });
    assert_eq!(stopped.unwrap_err().to_string(), "stop");
    assert_eq!(calls, 1);
}

/// A block ends after 4 MiB, too.
#[test]
fn a_text_larger_than_a_block() {
    let large = " ".repeat(4 << 20) + "w1";
    let (_dir, rows) = rows_of(&["w0", &large, "w2"]);
    let fixture = load(&words(), Preprocessing::default());
    let mut progress = Vec::new();
    let tokenized = fixture
        .tokenizer
        .tokenize_rows(&rows, &[0, 1, 2], LIMITS, |done| {
            progress.push(done);
            Ok(())
        })
        .unwrap();
    assert_eq!(progress, [2, 3]);
    assert_eq!(ids(&tokenized), [(0, vec![3]), (1, vec![4]), (2, vec![5])]);
}
