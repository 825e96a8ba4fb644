//! The picture in pixels.

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};

use super::Figure;
use super::canvas::failed;
use super::text::font_file;
use crate::Result;

/// Pixels of a PNG file for each of the SVG file's.
pub const PIXEL_RATIO: u32 = 2;

/// The bytes of a PNG file: the figure's SVG, [`PIXEL_RATIO`] times as large, with the built-in font only.
pub(super) fn encode(figure: &Figure) -> Result<Vec<u8>> {
    let refused = |message: String| failed(&figure.name, message);
    let mut options = Options::default();
    options.fontdb_mut().load_font_data(font_file().to_vec());
    let tree = Tree::from_str(&figure.svg, &options).map_err(|error| refused(error.to_string()))?;
    let (width, height) = (figure.width * PIXEL_RATIO, figure.height * PIXEL_RATIO);
    let mut pixels = Pixmap::new(width, height)
        .ok_or_else(|| refused(format!("{width} × {height} pixels are too many")))?;
    let ratio = PIXEL_RATIO as f32;
    resvg::render(
        &tree,
        Transform::from_scale(ratio, ratio),
        &mut pixels.as_mut(),
    );
    pixels
        .encode_png()
        .map_err(|error| refused(error.to_string()))
}
