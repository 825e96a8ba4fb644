//! Trains the demo's tokenizer: a byte-pair encoding in the shape of gala's, small enough to ship.
//!
//! What it shares with gala's: the ids (`<pad>`, `</s>`, `<unk>`, `<mask>`, `<n>`, then the 256 bytes, then the
//! pieces), byte fallback for everything that is no piece, pieces that may span words but never end in a space,
//! digits that never join, a word boundary `▁` before the first word, no beginning or end token. Newlines never
//! reach it: `<n>` stands for them.
//!
//! One thing differs: a text that is a single newline and nothing else loses its word boundary.
//!
//! The merges are found here rather than by the trainer of `tokenizers`, which cannot keep pieces from ending in
//! a space, and whose choice among equally frequent pairs is its own. On 15 kB of text the plainest algorithm
//! will do: count all pairs, join the most frequent one, count again.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;
use serde_json::json;
use tokenizers::Tokenizer;

/// Ids 0 to 4. Only `<n>` is ever found in a text; the others are plain characters there, as in gala.
const CONTROL_PIECES: [&str; 5] = ["<pad>", "</s>", "<unk>", "<mask>", "<n>"];

/// Characters that occur less often are left to the byte pieces, so that the demo exercises them.
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

/// Trains on `texts` (newlines as they are) and returns a `tokenizer.json` with exactly `vocab_size` pieces.
pub fn train(texts: &[String], vocab_size: usize) -> Result<String> {
    let (pieces, merges) = find_pieces(&stretches(texts), vocab_size)?;
    let vocabulary: BTreeMap<&str, usize> = pieces
        .iter()
        .enumerate()
        .map(|(id, piece)| (piece.as_str(), id))
        .collect();
    let merges: Vec<[&str; 2]> = merges
        .iter()
        .map(|&(left, right)| [&*pieces[left], &*pieces[right]])
        .collect();
    let newline = CONTROL_PIECES[4];
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": [{
            "id": vocabulary[newline], "content": newline, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": true, "special": false,
        }],
        // A text gets one word boundary in front, whatever it begins with, and none after a newline. So <n> is looked
        // for in the normalised text, and in its normalised form, which the last step turns back into `<n>`.
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "Prepend", "prepend": BOUNDARY },
            { "type": "Replace", "pattern": { "String": " " }, "content": BOUNDARY },
            { "type": "Replace", "pattern": { "Regex": r"\A▁<n>\z" }, "content": newline },
        ] },
        "decoder": { "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": BOUNDARY }, "content": " " },
            { "type": "ByteFallback" },
            { "type": "Fuse" },
            { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
        ] },
        "model": {
            "type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocabulary, "merges": merges,
        },
    });
    // Once through the library that will read it: this checks the file and puts it into the usual form.
    let tokenizer =
        Tokenizer::from_bytes(serde_json::to_vec(&tokenizer)?).map_err(|error| anyhow!(error))?;
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

/// Pieces in the order of their ids, and the pairs of ids to join, the first pair first.
type Pieces = (Vec<String>, Vec<(usize, usize)>);

/// Control pieces, bytes and single characters, then joined pairs until there are `vocab_size` pieces.
fn find_pieces(stretches: &[String], vocab_size: usize) -> Result<Pieces> {
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
    let mut merges = Vec::new();
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
        merges.push(pair);
        for sequence in &mut sequences {
            join(sequence, pair, id);
        }
    }
    Ok((pieces, merges))
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
