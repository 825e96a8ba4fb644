//! The character map of a normaliser: which strings become which.
//!
//! The format is a length in bytes (u32, little endian), a trie of that length, and the replacements, each
//! ended by a zero byte. The trie is a double array in the form of darts-clone, one u32 per unit: bits 0 to 7 are the
//! byte that leads to a unit (bit 31 marks a value instead), bit 8 says that a string ends here, bits 10 to 30
//! are the offset to the next units, in steps of 256 where bit 9 is set. The value of a string is where its
//! replacement begins.

use std::collections::HashSet;

/// A character map that was read to its last unit and is sound.
pub(super) struct CharacterMap {
    trie: Vec<u32>,
    replacements: String,
}

/// A place in the trie: the units of the bytes that can follow are at `0 ^ byte`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Node(usize);

impl CharacterMap {
    /// Reads a map. Everything that a search could reach is checked: the `tokenizers` crate, which will read the
    /// same bytes, takes it on trust.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (length, rest) = bytes.split_first_chunk().ok_or("it has no length")?;
        let length = u32::from_le_bytes(*length) as usize;
        let (trie, replacements) = rest.split_at_checked(length).ok_or_else(|| {
            format!(
                "a trie of {length} bytes is announced, {} follow",
                rest.len()
            )
        })?;
        let (units, []) = trie.as_chunks() else {
            return Err(format!(
                "a trie of {length} bytes is no sequence of 32-bit units"
            ));
        };
        if units.is_empty() {
            return Err("its trie is empty".into());
        }
        let replacements = std::str::from_utf8(replacements)
            .map_err(|error| format!("the replacements are not UTF-8: {error}"))?;
        let map = Self {
            trie: units.iter().map(|unit| u32::from_le_bytes(*unit)).collect(),
            replacements: replacements.to_owned(),
        };
        map.values()?;
        Ok(map)
    }

    /// The replacements that are in use, in no order, some of them more than once.
    pub fn replacements(&self) -> impl Iterator<Item = &str> {
        // Sound since `parse`.
        let values = self.values().unwrap_or_default();
        values
            .into_iter()
            .filter_map(|value| self.replacement(value))
    }

    /// The longest string with a replacement that `text` begins with, in bytes, and its replacement.
    pub fn longest_prefix(&self, text: &str) -> Option<(usize, &str)> {
        let mut longest = None;
        let mut node = self.root();
        for (index, byte) in text.bytes().enumerate() {
            let Some((next, value)) = self.step(node, byte) else {
                break;
            };
            node = next;
            if let Some(replacement) = value.and_then(|value| self.replacement(value)) {
                longest = Some((index + 1, replacement));
            }
        }
        longest
    }

    /// Whether a string that begins with `start` has a replacement.
    pub fn has_string_beginning(&self, start: &str) -> bool {
        let mut bytes = start.bytes();
        bytes
            .try_fold(self.root(), |node, byte| {
                self.step(node, byte).map(|(next, _)| next)
            })
            .is_some()
    }

    /// The text with everything replaced as SentencePiece does it: from the left, the longest string first.
    pub fn apply(&self, mut text: &str) -> String {
        let mut replaced = String::new();
        while let Some(first) = text.chars().next() {
            let (length, replacement) = self
                .longest_prefix(text)
                .filter(|(length, _)| text.is_char_boundary(*length))
                .unwrap_or_else(|| {
                    let length = first.len_utf8();
                    (length, &text[..length])
                });
            replaced.push_str(replacement);
            text = &text[length..];
        }
        replaced
    }

    /// A string of more than one character that has a replacement, for a message.
    pub fn string_of_several(&self) -> Option<String> {
        let mut waiting = vec![(Vec::new(), self.root())];
        while let Some((bytes, node)) = waiting.pop() {
            let is_character = std::str::from_utf8(&bytes).is_ok_and(|text| !text.is_empty());
            for byte in 1..=u8::MAX {
                let Some((next, _)) = self.step(node, byte) else {
                    continue;
                };
                let longer = [&*bytes, &[byte]].concat();
                // No character takes more than four bytes.
                if is_character || longer.len() > 4 {
                    return Some(self.completed(longer, next));
                }
                waiting.push((longer, next));
            }
        }
        None
    }

    /// The first string that begins with `bytes`, or as much of it as fits in a message.
    fn completed(&self, mut bytes: Vec<u8>, mut node: Node) -> String {
        let next = |node| (1..=u8::MAX).find_map(|byte| Some((byte, self.step(node, byte)?.0)));
        while bytes.len() < 32
            && let Some((byte, following)) = next(node)
        {
            bytes.push(byte);
            node = following;
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn root(&self) -> Node {
        Node(offset(self.trie[0]))
    }

    /// Where a byte leads from a node, and the value of the string that ends there.
    fn step(&self, node: Node, byte: u8) -> Option<(Node, Option<usize>)> {
        let position = node.0 ^ usize::from(byte);
        let unit = *self.trie.get(position)?;
        if byte == 0 || label(unit) != u32::from(byte) {
            return None;
        }
        let next = position ^ offset(unit);
        let value = has_value(unit).then(|| self.trie.get(next)).flatten();
        Some((Node(next), value.map(|value| (value & !(1 << 31)) as usize)))
    }

    fn replacement(&self, value: usize) -> Option<&str> {
        let rest = self.replacements.get(value..)?;
        rest.find('\0').map(|end| &rest[..end])
    }

    /// All values, after checking that every unit which a search could look at exists, and every value
    /// points to a replacement.
    fn values(&self) -> Result<Vec<usize>, String> {
        let mut values = Vec::new();
        // Tries share their ends, so that several strings lead to one node.
        let mut seen = HashSet::new();
        let mut waiting = vec![self.root()];
        while let Some(node) = waiting.pop() {
            if !seen.insert(node) {
                continue;
            }
            let last = node.0 | 0xFF;
            if last >= self.trie.len() {
                return Err(format!("its trie leads out of itself, to unit {last}"));
            }
            for (next, value) in (1..=u8::MAX).filter_map(|byte| self.step(node, byte)) {
                waiting.push(next);
                if let Some(value) = value {
                    self.replacement(value)
                        .ok_or_else(|| format!("there is no replacement at byte {value}"))?;
                    values.push(value);
                }
            }
        }
        Ok(values)
    }
}

fn label(unit: u32) -> u32 {
    unit & (1 << 31 | 0xFF)
}

fn has_value(unit: u32) -> bool {
    unit >> 8 & 1 == 1
}

fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & 1 << 9) >> 6)) as usize
}
