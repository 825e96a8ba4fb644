//! Which texts a scan saw, in one number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A checksum of texts with their row numbers, whatever their order: the sum of the SHA-256 of each, as four numbers
/// modulo 2⁶⁴. That of a scan is the sum of those of its shards.
///
/// It tells whether two scans saw the same texts in the same rows; nobody who wants to deceive is kept from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TextsSum([u64; 4]);

impl TextsSum {
    /// That of a single text, as it is in the dataset, before anything is done to it.
    pub fn of(row: usize, text: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update((row as u64).to_le_bytes());
        hash.update(text);
        let hash = hash.finalize();
        let mut sum = [0; 4];
        for (sum, bytes) in sum.iter_mut().zip(hash.as_chunks::<8>().0) {
            *sum = u64::from_le_bytes(*bytes);
        }
        Self(sum)
    }

    /// Adds the texts that `other` is of.
    pub fn add(&mut self, other: TextsSum) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum = sum.wrapping_add(more);
        }
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for TextsSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|sum| write!(f, "{sum:016x}"))
    }
}

impl From<TextsSum> for String {
    fn from(sum: TextsSum) -> Self {
        sum.to_string()
    }
}

impl FromStr for TextsSum {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not 64 hexadecimal digits");
        let mut sum = [0; 4];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        for (at, sum) in sum.iter_mut().enumerate() {
            *sum = u64::from_str_radix(&text[16 * at..][..16], 16).map_err(|_| wrong())?;
        }
        Ok(Self(sum))
    }
}

impl TryFrom<String> for TextsSum {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        let texts = [(3, "a"), (7, "b"), (7, ""), (8, "")];
        let sum = |order: &[usize]| {
            let mut sum = TextsSum::default();
            for &at in order {
                sum.add(TextsSum::of(texts[at].0, texts[at].1));
            }
            sum
        };
        let all = sum(&[0, 1, 2, 3]);
        assert_eq!(all, sum(&[2, 0, 3, 1]));
        assert_eq!(all, all.to_string().parse().unwrap());
        for other in [&[0, 1, 2][..], &[0, 1, 3], &[0, 1, 2, 2], &[]] {
            assert_ne!(all, sum(other));
        }
        assert_ne!(TextsSum::of(3, "a"), TextsSum::of(4, "a"));
        for wrong in ["", "12", &"g".repeat(64), &"é".repeat(32)] {
            assert!(wrong.parse::<TextsSum>().is_err(), "{wrong}");
        }
    }
}
