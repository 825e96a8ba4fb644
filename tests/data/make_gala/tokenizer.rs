//! Trains the pair's tokenizer: a small SentencePiece model in the shape of gala's, and converted as gala's is.
//!
//! What it shares with gala's: the ids (`<pad>`, `</s>`, `<unk>`, `<mask>`, `<n>`, then the 256 bytes, then the
//! pieces), byte fallback for everything that is no piece, pieces that may span words but never end in a space,
//! digits that never join, a word boundary `▁` before the first word, no beginning or end token. Newlines never
//! reach it: `<n>` stands for them.
//!
//! The pieces are found here rather than by SentencePiece's trainer, which is no Rust. On 15 kB of text the plainest
//! algorithm will do: count all pairs, join the most frequent one, count again.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use attnscope::corpus::sentencepiece::SentencePieceModel;
use prost::Message;
use serde::Deserialize;
use tokenizers::Tokenizer;

/// Ids 0 to 4. Only `<n>` is ever found in a text; the others are plain characters there, as in gala.
const CONTROL_PIECES: [&str; 5] = ["<pad>", "</s>", "<unk>", "<mask>", "<n>"];

/// Characters that occur less often are left to the byte pieces, so that the tests exercise them.
const MIN_CHARACTER_COUNT: usize = 4;
/// Longest piece in characters, SentencePiece's own limit.
const MAX_PIECE_CHARACTERS: usize = 16;
const BOUNDARY: char = '▁';

/// The texts of a corpus in JSON lines.
pub fn texts(corpus: &str) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Row {
        text: String,
    }
    corpus
        .lines()
        .map(|line| Ok(serde_json::from_str::<Row>(line)?.text))
        .collect()
}

/// As much of `sentencepiece_model.proto` as the pair's model says; its defaults do for the rest.
#[derive(prost::Message)]
struct Model {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, required, tag = "2")]
    trainer_spec: TrainerSpec,
    #[prost(message, required, tag = "3")]
    normalizer_spec: NormalizerSpec,
}

#[derive(prost::Message)]
struct Piece {
    #[prost(string, required, tag = "1")]
    piece: String,
    #[prost(float, required, tag = "2")]
    score: f32,
    /// 1 normal, 2 unknown, 3 control, 4 user-defined, 6 byte.
    #[prost(int32, required, tag = "3")]
    kind: i32,
}

#[derive(prost::Message)]
struct TrainerSpec {
    /// 2 is byte-pair encoding.
    #[prost(int32, required, tag = "3")]
    model_type: i32,
    #[prost(bool, required, tag = "35")]
    byte_fallback: bool,
    #[prost(int32, required, tag = "40")]
    unk_id: i32,
    #[prost(int32, required, tag = "41")]
    bos_id: i32,
    #[prost(int32, required, tag = "42")]
    eos_id: i32,
    #[prost(int32, required, tag = "43")]
    pad_id: i32,
}

#[derive(prost::Message)]
struct NormalizerSpec {
    #[prost(string, required, tag = "1")]
    name: String,
    #[prost(bool, required, tag = "4")]
    remove_extra_whitespaces: bool,
}

/// Trains on `texts` (newlines as they are) and returns a SentencePiece model with exactly `vocab_size` pieces.
pub fn train(texts: &[String], vocab_size: usize) -> Result<Vec<u8>> {
    let pieces = find_pieces(&stretches(texts), vocab_size)?;
    let pieces = pieces.into_iter().enumerate().map(|(id, piece)| {
        let (kind, score) = match id {
            2 => (2, 0.0),
            4 => (4, 0.0),
            0..5 => (3, 0.0),
            5..=260 => (6, 0.0),
            // What was found first is joined first.
            _ => (1, 261.0 - id as f32),
        };
        Piece { piece, score, kind }
    });
    let model = Model {
        pieces: pieces.collect(),
        trainer_spec: TrainerSpec {
            model_type: 2,
            byte_fallback: true,
            unk_id: 2,
            bos_id: -1,
            eos_id: 1,
            pad_id: 0,
        },
        normalizer_spec: NormalizerSpec {
            name: "identity".into(),
            remove_extra_whitespaces: false,
        },
    };
    Ok(model.encode_to_vec())
}

/// The `tokenizer.json` of such a model.
pub fn convert(model: &[u8]) -> Result<String> {
    let tokenizer =
        SentencePieceModel::from_bytes("gala.model".as_ref(), model)?.tokenizer_json()?;
    // Once through the library that will read it, for the usual form.
    let tokenizer = Tokenizer::from_bytes(tokenizer.to_string()).map_err(|error| anyhow!(error))?;
    tokenizer.to_string(false).map_err(|error| anyhow!(error))
}

/// The stretches of text within which pieces may grow: lines, cut at rare characters and around every digit.
fn stretches(texts: &[String]) -> Vec<String> {
    let texts: Vec<String> = texts
        .iter()
        .map(|text| format!(" {text}").replace(' ', "▁"))
        .collect();
    let mut counts: BTreeMap<char, usize> = BTreeMap::new();
    for character in texts.iter().flat_map(|text| text.chars()) {
        *counts.entry(character).or_default() += 1;
    }
    let mut stretches = vec![String::new()];
    for text in &texts {
        for character in text.chars() {
            if character.is_ascii_digit() {
                stretches.extend([character.to_string(), String::new()]);
            } else if character == '\n' || counts[&character] < MIN_CHARACTER_COUNT {
                stretches.push(String::new());
            } else if let Some(stretch) = stretches.last_mut() {
                stretch.push(character);
            }
        }
        stretches.push(String::new());
    }
    stretches
}

/// Pieces in the order of their ids: control pieces, bytes and single characters, then joined pairs until there are `vocab_size` pieces.
fn find_pieces(stretches: &[String], vocab_size: usize) -> Result<Vec<String>> {
    let mut pieces: Vec<String> = CONTROL_PIECES
        .iter()
        .map(|piece| piece.to_string())
        .collect();
    pieces.extend((0..=255).map(|byte: u8| format!("<0x{byte:02X}>")));
    let mut character_ids: BTreeMap<char, usize> = stretches
        .iter()
        .flat_map(|s| s.chars())
        .map(|c| (c, 0))
        .collect();
    for (character, id) in &mut character_ids {
        *id = pieces.len();
        pieces.push(character.to_string());
    }

    let mut sequences: Vec<Vec<usize>> = stretches
        .iter()
        .map(|stretch| {
            stretch
                .chars()
                .map(|character| character_ids[&character])
                .collect()
        })
        .collect();
    while pieces.len() < vocab_size {
        let mut counts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for pair in sequences.iter().flat_map(|sequence| sequence.windows(2)) {
            *counts.entry((pair[0], pair[1])).or_default() += 1;
        }
        let joinable = |&(left, right): &(usize, usize)| {
            !pieces[right].ends_with(BOUNDARY)
                && pieces[left].chars().count() + pieces[right].chars().count()
                    <= MAX_PIECE_CHARACTERS
        };
        // Of equally frequent pairs the one with the lower ids.
        let (pair, _) = counts
            .into_iter()
            .filter(|(pair, count)| *count > 1 && joinable(pair))
            .max_by_key(|&(pair, count)| (count, std::cmp::Reverse(pair)))
            .with_context(|| {
                format!(
                    "the text yields only {} of {vocab_size} pieces; give more",
                    pieces.len()
                )
            })?;
        let joined = format!("{}{}", pieces[pair.0], pieces[pair.1]);
        // Two pairs can spell the same piece.
        let id = pieces
            .iter()
            .position(|piece| *piece == joined)
            .unwrap_or(pieces.len());
        if id == pieces.len() {
            pieces.push(joined);
        }
        for sequence in &mut sequences {
            join(sequence, pair, id);
        }
    }
    Ok(pieces)
}

/// Replaces every `pair` in `sequence` by `id`, from left to right.
fn join(sequence: &mut Vec<usize>, pair: (usize, usize), id: usize) {
    let mut kept = 0;
    let mut read = 0;
    while read < sequence.len() {
        let joins = sequence.get(read) == Some(&pair.0) && sequence.get(read + 1) == Some(&pair.1);
        sequence[kept] = if joins { id } else { sequence[read] };
        read += if joins { 2 } else { 1 };
        kept += 1;
    }
    sequence.truncate(kept);
}
