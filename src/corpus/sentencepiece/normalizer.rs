//! What SentencePiece does to a text before it looks for pieces, in the words of `tokenizers`.

use serde_json::{Value, json};
use tokenizers::normalizers::Precompiled;

use super::charsmap::CharacterMap;
use super::proto::NormalizerSpec;
use super::{Problem, SPACE};

/// The rules that come with SentencePiece and have strings of several characters in their maps. What those are is known:
/// letters with combining marks, and jamo.
const BUILT_IN: [&str; 4] = ["nfkc", "nmt_nfkc", "nfkc_cf", "nmt_nfkc_cf"];

/// With a newline behind it, it makes the one grapheme cluster of several characters in plain text.
const RETURN: &str = "\r";

/// The settings, and the character map if there is one.
pub(super) struct Normalizer {
    name: String,
    map: Option<CharacterMap>,
    /// The bytes of `map`.
    charsmap: Vec<u8>,
    /// A space is put in front of every text.
    pub add_dummy_prefix: bool,
    /// Spaces at either end go, and several in a row become one.
    remove_extra_whitespaces: bool,
    /// Spaces are written `▁`.
    escape_whitespaces: bool,
}

impl Normalizer {
    pub fn new(spec: NormalizerSpec) -> Result<Self, Problem> {
        let (add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces) = (
            spec.add_dummy_prefix(),
            spec.remove_extra_whitespaces(),
            spec.escape_whitespaces(),
        );
        let name = spec.name().to_owned();
        let charsmap = spec.precompiled_charsmap.unwrap_or_default();
        let map = match charsmap.is_empty() {
            true => None,
            false => Some(CharacterMap::parse(&charsmap).map_err(|error| {
                Problem::Damaged(format!("`normalizer_spec.precompiled_charsmap`: {error}"))
            })?),
        };
        Ok(Self {
            name,
            map,
            charsmap,
            add_dummy_prefix,
            remove_extra_whitespaces,
            escape_whitespaces,
        })
    }

    /// Whether there is a character map, which `tokenizers` does not apply exactly as SentencePiece does.
    pub fn has_map(&self) -> bool {
        self.map.is_some()
    }

    /// Refuses what the steps of [`Normalizer::json`] would not do as SentencePiece does it.
    pub fn check(&self, symbols: &[&str]) -> Result<(), Problem> {
        for symbol in symbols {
            // SentencePiece looks for symbols before and after it has normalised the text. Where both see the same
            // symbol, looking once, afterwards, is enough.
            let spaces = self.escape_whitespaces || self.remove_extra_whitespaces;
            let changed = (spaces && symbol.contains(' '))
                || self.map.as_ref().is_some_and(|map| {
                    let mut starts = symbol.char_indices();
                    starts.any(|(start, _)| map.longest_prefix(&symbol[start..]).is_some())
                });
            if changed {
                return Err(Problem::Unsupported(format!(
                    "the normaliser would change the user-defined symbol {symbol:?}, and tokenizer.json has no \
                     way to keep it from that"
                )));
            }
        }
        let Some(map) = &self.map else {
            return Ok(());
        };
        if !BUILT_IN.contains(&&*self.name)
            && let Some(string) = map.string_of_several()
        {
            return Err(Problem::Unsupported(format!(
                "`normalizer_spec.precompiled_charsmap` is not one of SentencePiece's own ({}; this is {:?}), and replaces \
                 strings of several characters, such as {string:?}, which `tokenizers` would not find",
                BUILT_IN.join(", "),
                self.name
            )));
        }
        let is_stable = |character: char| {
            character.is_ascii() && !map.has_string_beginning(character.encode_utf8(&mut [0; 4]))
        };
        if let Some(text) = self.carriage_return()
            && !text.chars().all(is_stable)
        {
            return Err(Problem::Unsupported(format!(
                "`normalizer_spec.precompiled_charsmap` turns a carriage return into {text:?}, which `tokenizers` would \
                 not do before a newline"
            )));
        }
        if self.remove_extra_whitespaces
            && let Some(wide) = map.replacements().find(|text| text.contains("  "))
        {
            return Err(Problem::Unsupported(format!(
                "`normalizer_spec.precompiled_charsmap` has a replacement with two spaces in a row ({wide:?}), \
                 which would be lost to `remove_extra_whitespaces`"
            )));
        }
        if self.prefix_comes_first() && map.has_string_beginning(self.space()) {
            return Err(Problem::Unsupported(format!(
                "`normalizer_spec.precompiled_charsmap` changes {:?}, the prefix of every text",
                self.space()
            )));
        }
        Ok(())
    }

    /// The `normalizer` of tokenizer.json, null for none.
    pub fn json(&self) -> Result<Value, Problem> {
        let replace = |regex: &str, content: &str| {
            let pattern = json!({ "Regex": regex });
            json!({ "type": "Replace", "pattern": pattern, "content": content })
        };
        let prefix = json!({ "type": "Prepend", "prepend": self.space() });
        let mut steps = Vec::new();
        if self.prefix_comes_first() {
            steps.push(prefix.clone());
        }
        if let Some(text) = self.carriage_return() {
            steps.push(replace(RETURN, &text));
        }
        if self.map.is_some() {
            let map = Precompiled::from(&self.charsmap).map_err(|error| {
                Problem::Damaged(format!("`normalizer_spec.precompiled_charsmap`: {error}"))
            })?;
            steps.push(json!(map));
        }
        if self.remove_extra_whitespaces {
            steps.push(replace(r"\A +", ""));
            steps.push(replace(" {2,}", " "));
        }
        if self.add_dummy_prefix && !self.prefix_comes_first() {
            steps.push(prefix);
        }
        if self.escape_whitespaces {
            steps.push(replace(" ", SPACE));
        }
        if self.remove_extra_whitespaces {
            // Last, as SentencePiece does: this takes a `▁` that was typed, too, and the prefix if it is all there is.
            // The look behind keeps a long run in the middle from being tried at each of its characters.
            let space = self.space();
            steps.push(replace(&format!(r"(?<!{space}){space}++\z"), ""));
        }
        Ok(match steps.is_empty() {
            true => Value::Null,
            false => json!({ "type": "Sequence", "normalizers": steps }),
        })
    }

    /// What becomes of a carriage return, if anything does. It is done before the map: `tokenizers` would look up the
    /// whole of a line end by its first character, and lose the newline.
    fn carriage_return(&self) -> Option<String> {
        let map = self.map.as_ref()?;
        map.has_string_beginning(RETURN).then(|| map.apply(RETURN))
    }

    /// A text all of whose characters the map deletes still gets its prefix, but `Prepend` leaves empty texts alone.
    /// (Where spaces at the ends are removed, such a prefix goes the same way, and the order does not matter.)
    fn prefix_comes_first(&self) -> bool {
        self.add_dummy_prefix && self.map.is_some() && !self.remove_extra_whitespaces
    }

    /// A space as pieces have it.
    fn space(&self) -> &'static str {
        match self.escape_whitespaces {
            true => SPACE,
            false => " ",
        }
    }
}
