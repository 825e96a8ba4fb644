//! Figures beside tables.

use std::path::Path;

use crate::{
    Error, Result,
    figures::{Figure, Format, write_figures},
};

/// Writes figures into `out`, and says which files that makes. What cannot be drawn, for example because there is too much
/// for one picture, is said, and `rest` (`the tables`) stands.
///
/// # Errors
/// What the disk refuses, and files that are there.
pub fn write_drawn(out: &Path, drawn: Result<Vec<Figure>>, rest: &str) -> Result<Vec<String>> {
    let written = drawn.and_then(|figures| match write_figures(&figures, &Format::ALL, out) {
        Err(error @ Error::Figure { .. }) => {
            tracing::warn!("{error}; there is only the SVG");
            write_figures(&figures, &[Format::Svg], out)
        }
        written => written,
    });
    match written {
        Ok(files) => {
            let names = files.iter().filter_map(|path| path.file_name());
            Ok(names
                .map(|name| name.to_string_lossy().into_owned())
                .collect())
        }
        Err(error @ Error::Figure { .. }) => {
            tracing::warn!("{error}; {rest} have everything");
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}
