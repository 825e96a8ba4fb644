//! User-defined symbols: pieces that are found before anything is joined.
//!
//! A first pre-tokenizer makes every symbol a word of its own, and the model, told to look words up before it joins
//! anything (`ignore_merges`), finds it. The model would find every other word that is the name of a piece, too:
//! `</s>` typed alone on a line would become the control piece. [`Cuts`] knows those names, and where
//! joining would leave a border in them. A second pre-tokenizer cuts such a word there: neither
//! part is joined differently for it, and neither is a name.

use std::collections::{BTreeMap, HashMap};

use super::joining::Joiner;
use super::pieces::byte_piece;

/// The symbols, for finding them in a text.
pub(super) struct Symbols<'a> {
    all: Vec<&'a str>,
    by_first: HashMap<char, Vec<&'a str>>,
}

impl<'a> Symbols<'a> {
    pub fn new(all: Vec<&'a str>) -> Self {
        let mut by_first: HashMap<char, Vec<&str>> = HashMap::new();
        for symbol in &all {
            if let Some(first) = symbol.chars().next() {
                by_first.entry(first).or_default().push(symbol);
            }
        }
        Self { all, by_first }
    }

    pub fn all(&self) -> &[&'a str] {
        &self.all
    }

    /// Whether a symbol occurs anywhere in `text`.
    pub fn occur_in(&self, text: &str) -> bool {
        text.char_indices().any(|(start, first)| {
            let symbols = self.by_first.get(&first);
            symbols.is_some_and(|symbols| {
                symbols
                    .iter()
                    .any(|symbol| text[start..].starts_with(symbol))
            })
        })
    }

    /// A regular expression for the symbols, of several at one place the longest.
    pub fn regex(&self) -> String {
        let mut symbols = self.all.clone();
        symbols.sort_by_key(|symbol| (std::cmp::Reverse(symbol.len()), *symbol));
        alternatives(symbols)
    }
}

/// Where to cut the words that would be taken for pieces they are not.
#[derive(Default)]
pub(super) struct Cuts {
    /// From the word to its first part and the rest.
    cuts: BTreeMap<String, (String, String)>,
}

impl Cuts {
    /// Cuts `name` behind the first piece that joining leaves in it; `false` if there is no border in it, since
    /// unknown characters in a row become one unknown piece.
    #[must_use]
    pub fn add(&mut self, name: &str, joiner: &Joiner, byte_fallback: bool) -> bool {
        let parts = joiner.join(name).parts;
        let is_unknown = |part: &&&str| !joiner.is_piece(part);
        let first: usize = match parts.iter().take_while(is_unknown).count() {
            0 => parts.first().map_or(0, |part| part.len()),
            _ if byte_fallback => parts[0].len(),
            unknown => parts[..unknown].iter().map(|part| part.len()).sum(),
        };
        let (first, rest) = name.split_at(first);
        if !rest.is_empty() {
            let cut = (first.to_owned(), rest.to_owned());
            self.cuts.insert(name.to_owned(), cut);
        }
        !rest.is_empty()
    }

    /// A regular expression for the first parts of these words, and how often it must be applied: where the rest
    /// of a word is such a word again, it takes another cut. `None` if there are no such words.
    pub fn regex(&self) -> Option<(String, usize)> {
        let mut depths: HashMap<&str, usize> = HashMap::new();
        // Shorter words first: a rest is shorter than its word.
        let mut words: Vec<&str> = self.cuts.keys().map(String::as_str).collect();
        words.sort_by_key(|word| word.len());
        for word in words {
            let rest = self.cuts[word].1.as_str();
            depths.insert(word, 1 + depths.get(rest).copied().unwrap_or(0));
        }
        let depth = depths.into_values().max()?;

        let mut rests: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (first, rest) in self.cuts.values() {
            rests.entry(first).or_default().push(rest);
        }
        let words = rests
            .into_iter()
            .map(|(first, rests)| format!("{}(?=(?:{})\\z)", escaped(first), rests_regex(rests)));
        let words: Vec<String> = words.collect();
        Some((format!("\\A(?:{})", words.join("|")), depth))
    }
}

/// The alternatives, with the 256 bytes in short if they are among them.
fn rests_regex(rests: Vec<&str>) -> String {
    let bytes: Vec<String> = (0..=u8::MAX).map(byte_piece).collect();
    // What comes before differs from model to model: `<` alone or more of the name.
    for start in 1.."<0x".len() + 1 {
        let of_bytes = |rest: &&str| bytes.iter().any(|byte| &byte[start..] == *rest);
        let (in_bytes, others): (Vec<&str>, Vec<&str>) =
            rests.iter().partition(|rest| of_bytes(rest));
        if in_bytes.len() == bytes.len() {
            let bytes = format!("{}[0-9A-F]{{2}}>", &"<0x"[start..]);
            return match others.is_empty() {
                true => bytes,
                false => format!("{bytes}|{}", alternatives(others)),
            };
        }
    }
    alternatives(rests)
}

fn alternatives<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let escaped: Vec<String> = texts.into_iter().map(escaped).collect();
    escaped.join("|")
}

/// A text as a regular expression that matches nothing else.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if r"\.+*?()|[]{}^$".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}
