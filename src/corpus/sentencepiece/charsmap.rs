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

    /// The length in bytes of the longest string with a replacement that `text` begins with.
    pub fn longest_prefix(&self, text: &str) -> Option<usize> {
        let mut longest = None;
        let mut base = offset(*self.trie.first()?);
        for (index, byte) in text.bytes().enumerate() {
            let unit = *self.trie.get(base ^ usize::from(byte))?;
            if byte == 0 || label(unit) != u32::from(byte) {
                break;
            }
            base ^= usize::from(byte) ^ offset(unit);
            if has_value(unit) {
                longest = Some(index + 1);
            }
        }
        longest
    }

    /// Whether a string that begins with `start` has a replacement.
    pub fn has_string_beginning(&self, start: &str) -> bool {
        let mut base = self.trie.first().map(|root| offset(*root));
        for byte in start.bytes() {
            base = base.and_then(|base| {
                let unit = *self.trie.get(base ^ usize::from(byte))?;
                let goes_on = label(unit) == u32::from(byte);
                goes_on.then(|| base ^ usize::from(byte) ^ offset(unit))
            });
        }
        base.is_some()
    }

    fn replacement(&self, value: usize) -> Option<&str> {
        let rest = self.replacements.get(value..)?;
        rest.find('\0').map(|end| &rest[..end])
    }

    /// All values, after checking that every unit which a search could look at exists, and every value
    /// points to a replacement.
    fn values(&self) -> Result<Vec<usize>, String> {
        let root = *self.trie.first().ok_or("its trie is empty")?;
        let mut values = Vec::new();
        // Tries share their ends, so that several units lead to one.
        let mut seen = HashSet::new();
        let mut waiting = vec![offset(root)];
        while let Some(base) = waiting.pop() {
            if !seen.insert(base) {
                continue;
            }
            if base | 0xFF >= self.trie.len() {
                return Err(format!(
                    "its trie leads out of itself, to unit {}",
                    base | 0xFF
                ));
            }
            for byte in 1..=0xFF {
                let unit = self.trie[base ^ byte];
                if label(unit) != byte as u32 {
                    continue;
                }
                let next = base ^ byte ^ offset(unit);
                waiting.push(next);
                if has_value(unit) {
                    let value = *self
                        .trie
                        .get(next)
                        .ok_or_else(|| format!("its trie leads out of itself, to unit {next}"))?;
                    let value = (value & !(1 << 31)) as usize;
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
