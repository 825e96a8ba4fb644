//! Tokens as a person reads them.

use std::fmt::Write;

use tokenizers::Tokenizer;

/// How a vocabulary spells its pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// In characters, with `▁` for a space and `<0xE2>` for a single byte, as SentencePiece does.
    Characters,
    /// A character for each byte, `Ġ` for a space for instance, as GPT-2 does.
    Bytes,
}

impl Spelling {
    /// The spelling of a tokenizer's vocabulary.
    pub fn of(tokenizer: &Tokenizer) -> Self {
        let decoder = serde_json::to_string(&tokenizer.get_decoder()).unwrap_or_default();
        match decoder.contains(r#""ByteLevel""#) {
            true => Spelling::Bytes,
            false => Spelling::Characters,
        }
    }
}

/// A piece of a vocabulary with everything visible: `▁` is a space, `⏎` a line feed, `⇥` a tabulator, `␍` a carriage
/// return. What is only a part of a character is its bytes, `<0xE2><0x80>`.
pub fn label(piece: &str, spelling: Spelling) -> String {
    let text = match spelling {
        Spelling::Characters => piece.to_owned(),
        Spelling::Bytes => {
            // Added tokens are spelled in characters even there; of these a space is the one that occurs.
            let bytes: Option<Vec<u8>> = piece.chars().map(byte_of).collect();
            match bytes.map(String::from_utf8) {
                Some(Ok(text)) => text,
                Some(Err(error)) => error.as_bytes().iter().fold(String::new(), |mut text, b| {
                    // Writing to a string does not fail.
                    let _ = write!(text, "<0x{b:02X}>");
                    text
                }),
                None => piece.to_owned(),
            }
        }
    };
    text.chars()
        .map(|c| match c {
            ' ' => '▁',
            '\n' => '⏎',
            '\t' => '⇥',
            '\r' => '␍',
            other => other,
        })
        .collect()
}

/// The byte that stands behind a character of a byte-level vocabulary (`bytes_to_unicode` of GPT-2's encoder):
/// printable ones stand for themselves, the others are numbered from U+0100 on.
fn byte_of(character: char) -> Option<u8> {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let code = u32::from(character);
    match u8::try_from(code) {
        Ok(byte) => is_printable(byte).then_some(byte),
        Err(_) => (0..=u8::MAX)
            .filter(|&byte| !is_printable(byte))
            .nth(usize::try_from(code.checked_sub(0x100)?).ok()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_left_alone_but_for_what_cannot_be_seen() {
        for (piece, expected) in [
            ("▁the", "▁the"),
            ("<0x0A>", "<0x0A>"),
            ("<n>", "<n>"),
            ("a b\n", "a▁b⏎"),
            ("Ġ", "Ġ"),
        ] {
            assert_eq!(label(piece, Spelling::Characters), expected);
        }
    }

    /// Pieces of GPT-2's vocabulary: `Ġthe` is ` the`, `Ċ` a line feed, `âĢĶ` an em dash, `âĢ` the beginning of one.
    #[test]
    fn bytes_become_the_characters_they_are() {
        for (piece, expected) in [
            ("Ġthe", "▁the"),
            ("ĊĊ", "⏎⏎"),
            ("ĉ", "⇥"),
            ("âĢĶ", "—"),
            ("âĢ", "<0xE2><0x80>"),
            ("Ã©", "é"),
            ("<|endoftext|>", "<|endoftext|>"),
        ] {
            assert_eq!(label(piece, Spelling::Bytes), expected);
        }
    }
}
