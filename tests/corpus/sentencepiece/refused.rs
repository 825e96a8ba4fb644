//! Models that no `tokenizer.json` can stand for, or that contradict themselves. They are written here field by field.

use attnscope::Error;

use super::{bytes, golden, read};

const NORMAL: u64 = 1;
const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;
const UNUSED: u64 = 5;
const BYTE: u64 = 6;

/// A number without sign; the sixty-four bits of a negative one.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn number(field: u64, number: i64) -> Vec<u8> {
    [varint(field << 3), varint(number as u64)].concat()
}

fn message(field: u64, content: &[u8]) -> Vec<u8> {
    [
        &*varint(field << 3 | 2),
        &*varint(content.len() as u64),
        content,
    ]
    .concat()
}

fn piece(text: &str, score: f32, kind: u64) -> Vec<u8> {
    let score = [&[2 << 3 | 5][..], &score.to_le_bytes()].concat();
    let fields = [message(1, text.as_bytes()), score, number(3, kind as i64)];
    message(1, &fields.concat())
}

/// A model: pieces with falling scores, settings of the trainer and of the normaliser.
struct Model {
    pieces: Vec<Vec<u8>>,
    trainer: Vec<u8>,
    normalizer: Vec<u8>,
    rest: Vec<u8>,
}

impl Model {
    /// A byte-pair model with `<unk>` and one special piece of each name, that writes spaces as `▁`, and nothing else.
    fn new(pieces: &[(&str, u64)]) -> Self {
        let first = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)];
        let pieces = first.iter().chain(pieces).enumerate();
        Self {
            pieces: pieces
                .map(|(id, (text, kind))| piece(text, -(id as f32), *kind))
                .collect(),
            trainer: number(3, 2),
            normalizer: number(4, 0),
            rest: Vec::new(),
        }
    }

    fn trainer(mut self, field: u64, value: i64) -> Self {
        self.trainer.extend(number(field, value));
        self
    }

    fn normalizer(mut self, field: u64, value: i64) -> Self {
        self.normalizer.extend(number(field, value));
        self
    }

    fn charsmap(mut self, map: &[u8]) -> Self {
        self.normalizer.extend(message(2, map));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let specs = [message(2, &self.trainer), message(3, &self.normalizer)];
        [self.pieces.concat(), specs.concat(), self.rest.clone()].concat()
    }
}

/// Ids 3 to 6. With `<`, the special pieces are not made of unknown characters only.
const LETTERS: [(&str, u64); 4] = [("<", NORMAL), ("a", NORMAL), ("b", NORMAL), ("ab", NORMAL)];

fn with(pieces: &[(&'static str, u64)]) -> Model {
    Model::new(&[&LETTERS, pieces].concat())
}

/// The message of the error, which names the file and says what to do.
fn refusal(bytes: &[u8]) -> String {
    match read(bytes).and_then(|model| model.tokenizer_json()) {
        Err(error @ Error::Tokenizer { .. }) => {
            assert_eq!(error.exit_code(), 3);
            let message = error.to_string();
            assert!(message.starts_with("some/tokenizer.model: "), "{message}");
            assert!(message.contains("; "), "no remedy: {message}");
            message
        }
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it was converted"),
    }
}

#[track_caller]
fn assert_refused(model: &Model, words: &[&str]) {
    let message = refusal(&model.bytes());
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
}

#[test]
fn the_model_that_the_others_are_made_from_is_fine() {
    for model in [with(&[]), with(&[("<n>", USER_DEFINED)])] {
        let json = read(&model.bytes()).unwrap().tokenizer_json().unwrap();
        assert_eq!(json["model"]["merges"], serde_json::json!([["a", "b"]]));
    }
}

#[test]
fn other_kinds_of_models_by_name() {
    for (name, number) in [("unigram", 1), ("word", 3), ("char", 4)] {
        let message = refusal(&bytes(name));
        let expected =
            format!("`trainer_spec.model_type` is {number} ({name}); supported: 2 (bpe)");
        assert!(message.contains(&expected), "{message}");
    }
    assert_refused(
        &with(&[]).trainer(3, 9),
        &["model_type` is 9 (an unknown type)"],
    );
}

#[test]
fn what_is_no_model() {
    for (content, word) in [
        (&b""[..], "no `pieces`"),
        (b"{\"version\": \"1.0\"}", "another format"),
        (b"\x00\x01\x02", "another format"),
    ] {
        let message = refusal(content);
        assert!(message.contains(word), "{message}");
        assert!(
            message.contains("not a usable SentencePiece model"),
            "{message}"
        );
    }
    let whole = with(&[]);
    let pieces = whole.pieces.concat();
    assert!(refusal(&pieces).contains("`normalizer_spec`"));
    let first = [&*pieces, &message(2, &whole.trainer)].concat();
    assert!(refusal(&first).contains("cut off"));
    let missing = golden("sentencepiece/there-is-none.model");
    let error = attnscope::corpus::sentencepiece::SentencePieceModel::from_file(&missing);
    let Err(error @ Error::Tokenizer { .. }) = error else {
        panic!("it was read");
    };
    assert!(error.to_string().contains("it cannot be read"), "{error}");
}

#[test]
fn pieces_that_contradict_each_other() {
    assert_refused(
        &with(&[("ab", NORMAL)]),
        &["the pieces 6 and 7 are both \"ab\""],
    );
    assert_refused(&with(&[("</s>", NORMAL)]), &["the pieces 2 and 7"]);
    assert_refused(&with(&[("", NORMAL)]), &["`pieces[7].piece` is \"\""]);
    assert_refused(
        &with(&[("a\0", NORMAL)]),
        &["`pieces[7].piece`", "zero byte"],
    );
    assert_refused(&with(&[("x", 7)]), &["`pieces[7].type` is 7"]);
    assert_refused(&with(&[("<unk2>", UNKNOWN)]), &["2 are (ids [0, 7])"]);
    assert_refused(
        &with(&[]).trainer(40, 4),
        &["`trainer_spec.unk_id` is 4", "has id 0"],
    );
    let mut model = with(&[]);
    model.pieces[4] = piece("a", f32::NAN, NORMAL);
    assert_refused(&model, &["`pieces[4].score` is NaN"]);
    model.pieces[4] = piece("a", 0.0, NORMAL);
    model.pieces[0] = piece("<unk>", 0.0, CONTROL);
    assert_refused(&model, &["of type UNKNOWN, 0 are"]);
}

#[test]
fn special_ids_that_do_not_fit() {
    for (field, name) in [(41, "bos_id"), (42, "eos_id"), (43, "pad_id")] {
        let message = format!("`trainer_spec.{name}` is 99");
        assert_refused(&with(&[]).trainer(field, 99), &[&message, "0 to 6"]);
        assert_refused(&with(&[]).trainer(field, -2), &["is -2", "0 to 6"]);
        assert_refused(
            &with(&[]).trainer(field, 4),
            &[name, "an ordinary piece (\"a\""],
        );
    }
}

#[test]
fn bytes_that_are_not_complete() {
    let names: Vec<String> = (0..256).map(|byte| format!("<0x{byte:02X}>")).collect();
    let model = |count: usize| {
        let mut model = with(&[]).trainer(35, 1);
        let bytes = names[..count].iter().map(|name| piece(name, 0.0, BYTE));
        model.pieces.extend(bytes);
        model
    };
    assert!(read(&model(256).bytes()).is_ok());
    assert_refused(&model(255), &["only 255 of 256"]);
    assert_refused(
        &model(0),
        &["`trainer_spec.byte_fallback`", "only 0 of 256"],
    );
    assert_refused(
        &with(&[("<0x41>", BYTE)]),
        &["`trainer_spec.byte_fallback` is false"],
    );
    let mut wrong = model(256);
    wrong.pieces.push(piece("<0xab>", 0.0, BYTE));
    assert_refused(&wrong, &["<0xab>", "names none"]);
}

#[test]
fn settings_without_an_equivalent() {
    assert_refused(&with(&[("abab", UNUSED)]), &["\"abab\"", "UNUSED"]);
    assert_refused(&with(&[]).trainer(24, 1), &["treat_whitespace_as_suffix"]);
    let mut model = with(&[]);
    model.rest = message(5, &message(2, b"map"));
    assert_refused(&model, &["denormalizer_spec"]);
}

/// Two pieces with one score: of `aba`, SentencePiece joins what is on the left, a ranking always the same one.
#[test]
fn scores_that_are_not_unique() {
    let mut model = with(&[("ba", NORMAL)]);
    model.pieces[7] = piece("ba", -6.0, NORMAL);
    assert_refused(&model, &["\"ab\" and \"ba\" have the same score"]);
    // Where nothing is ever joined to one of them it does not matter.
    model.pieces[7] = piece("bba", -6.0, NORMAL);
    assert!(read(&model.bytes()).unwrap().tokenizer_json().is_ok());
}

#[test]
fn pieces_of_what_is_no_piece() {
    assert_refused(&with(&[("qa", NORMAL)]), &["\"qa\" is joined from \"q\""]);
}

#[test]
fn names_that_would_be_found_in_texts() {
    assert_refused(
        &with(&[("x", CONTROL)]),
        &["'x'", "Control"].map(|word| word.trim_matches('\'')),
    );
    // All unknown: `tokenizers` would look this up between two symbols, and there is no border to cut it at.
    let name = ("☃☃", CONTROL);
    assert!(
        read(&with(&[name]).bytes())
            .unwrap()
            .tokenizer_json()
            .is_ok()
    );
    assert_refused(
        &with(&[name, ("<n>", USER_DEFINED)]),
        &["☃☃", "unknown characters"],
    );
}

#[test]
fn symbols_that_the_normaliser_changes() {
    let spaced = || with(&[("a b", USER_DEFINED)]);
    assert_refused(&spaced(), &["user-defined symbol \"a b\""]);
    assert_refused(&spaced().normalizer(5, 0).normalizer(4, 1), &["\"a b\""]);
    assert!(
        read(&spaced().normalizer(5, 0).bytes())
            .unwrap()
            .tokenizer_json()
            .is_ok()
    );
    // The map of `rules` deletes #.
    let map = charsmap("rules");
    assert_refused(
        &with(&[("<#>", USER_DEFINED)]).charsmap(&map),
        &["user-defined symbol \"<#>\""],
    );
    assert!(
        read(&with(&[("<n>", USER_DEFINED)]).charsmap(&map).bytes())
            .unwrap()
            .tokenizer_json()
            .is_ok()
    );
}

#[test]
fn maps_without_an_equivalent() {
    let message = refusal(&bytes("strings"));
    assert!(message.contains("such as \"x y\""), "{message}");
    // This one makes two spaces of U+200B.
    let trimmed = with(&[]).charsmap(&charsmap("rules")).normalizer(4, 1);
    assert_refused(&trimmed, &["two spaces in a row (\"  \")"]);

    for (map, word) in [
        (&b"ab"[..], "no length"),
        (b"\x08\0\0\0abcd", "8 bytes is announced, 4 follow"),
        (b"\x03\0\0\0abc", "no sequence of 32-bit units"),
        (b"\0\0\0\0", "its trie is empty"),
        (b"\x04\0\0\0\0\0\0\0", "out of itself"),
        (b"\x04\0\0\0\0\0\0\0\xff", "not UTF-8"),
    ] {
        let model = with(&[]).charsmap(map);
        assert_refused(&model, &["`normalizer_spec.precompiled_charsmap`", word]);
    }
}

/// The character map of one of the models, found by its field in the settings of the normaliser.
fn charsmap(name: &str) -> Vec<u8> {
    let whole = bytes(name);
    let head = message(1, b"user_defined");
    let at = whole
        .windows(head.len())
        .position(|window| window == head)
        .unwrap()
        + head.len();
    assert_eq!(whole[at], 2 << 3 | 2);
    let (mut length, mut shift, mut at) = (0, 0, at + 1);
    loop {
        length |= usize::from(whole[at] & 0x7F) << shift;
        shift += 7;
        at += 1;
        if whole[at - 1] < 0x80 {
            return whole[at..at + length].to_vec();
        }
    }
}
