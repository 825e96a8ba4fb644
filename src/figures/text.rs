//! The font, and how much room a text takes.
//!
//! Figures name DejaVu Sans and, for viewers without it, Verdana, whose letters are as wide. The font comes out of
//! the `dejavu` crate (Bitstream Vera's licence: free to embed), so that a PNG needs no font of the machine's.

use skrifa::instance::{LocationRef, Size};
use skrifa::metrics::GlyphMetrics;
use skrifa::{FontRef, GlyphId, MetadataProvider};

/// What an SVG file asks its viewer for.
pub(super) const FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";

/// The font file.
pub(super) fn font_file() -> &'static [u8] {
    dejavu::sans::regular()
}

/// Measures texts. Sizes and widths are in pixels.
pub(super) struct Ruler {
    font: FontRef<'static>,
}

impl Ruler {
    /// `None` if the crate's font is no font.
    pub(super) fn new() -> Option<Self> {
        let font = FontRef::new(font_file()).ok()?;
        Some(Self { font })
    }

    /// The characters of `text` that the font has no glyph for.
    pub(super) fn missing(&self, text: &str) -> Vec<char> {
        let glyphs = self.font.charmap();
        text.chars().filter(|c| glyphs.map(*c).is_none()).collect()
    }

    /// How wide `text` is, without kerning.
    pub(super) fn width(&self, text: &str, size: f64) -> f64 {
        let glyphs = self.font.charmap();
        let size = size as f32;
        let metrics = GlyphMetrics::new(&self.font, Size::new(size), LocationRef::default());
        let advance = |character: char| match glyphs.map(character) {
            Some(glyph) => metrics.advance_width(glyph).unwrap_or(size),
            // Another font's glyph in a viewer, a box in a PNG: whichever is wider.
            None => size.max(metrics.advance_width(GlyphId::NOTDEF).unwrap_or(size)),
        };
        text.chars().map(|c| f64::from(advance(c))).sum()
    }

    /// The width of the widest.
    pub(super) fn widest<'a>(&self, texts: impl IntoIterator<Item = &'a str>, size: f64) -> f64 {
        let widths = texts.into_iter().map(|text| self.width(text, size));
        widths.fold(0.0, f64::max)
    }

    /// `text` in lines no wider than `width`, broken after a space or a sign that names are made with, or
    /// anywhere where there is none. Nothing is left out; a line holds one character at least.
    pub(super) fn wrap(&self, text: &str, size: f64, width: f64) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = String::new();
        for character in text.chars() {
            line.push(character);
            let count = line.chars().count();
            if count == 1 || self.width(line.trim_end(), size) <= width {
                continue;
            }
            let whole = line.len() - character.len_utf8();
            // A break that leaves a stub on the line is worse than one within a name.
            let after_sign = line[..whole].rfind([' ', '/', '-', '_', ',', ')', ':']);
            let at = match after_sign {
                Some(at) if at * 3 >= whole => at + 1,
                _ => whole,
            };
            let rest = line.split_off(at);
            lines.push(line.trim_end().to_owned());
            line = rest.trim_start().to_owned();
        }
        if !line.is_empty() || lines.is_empty() {
            lines.push(line.trim_end().to_owned());
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_loses_nothing_and_keeps_to_the_width() {
        let ruler = Ruler::new().unwrap();
        let name =
            "organisation/a-model-with_a_long.name-7b, mean 0.781 (/data/scans/模型/sigmoid)";
        for width in [5.0, 40.0, 90.0, 300.0, 3000.0] {
            let lines = ruler.wrap(name, 12.0, width);
            let kept: String = lines.concat().split(' ').collect();
            assert_eq!(kept, name.split(' ').collect::<String>());
            for line in &lines {
                assert!(
                    line.chars().count() == 1 || ruler.width(line, 12.0) <= width,
                    "{line}"
                );
            }
        }
        assert_eq!(ruler.wrap(name, 12.0, 3000.0).len(), 1);
        assert_eq!(ruler.wrap("", 12.0, 50.0), [""]);
    }
}
