//! Figures beside tables.

use std::path::{Path, PathBuf};

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
    Ok(names(&drawn_or_said(written, rest)?))
}

/// The files that were written; none if there is something that could not be drawn, which is said, and that `rest` stands.
///
/// # Errors
/// All others.
pub fn drawn_or_said(written: Result<Vec<PathBuf>>, rest: &str) -> Result<Vec<PathBuf>> {
    match written {
        Err(error @ Error::Figure { .. }) => {
            tracing::warn!("{error}; {rest} have everything");
            Ok(Vec::new())
        }
        written => written,
    }
}

/// Without their directories.
pub fn names(files: &[PathBuf]) -> Vec<String> {
    let names = files.iter().filter_map(|path| path.file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}
