//! The files of figures.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Figure, Figures, Format, figure_names};
use crate::compare::Metric;
use crate::store::{self, AtomicFile};
use crate::{Error, Result};

/// Fails if `out` holds one of the figures that [`super::draw`] makes for `metrics` already: nothing is overwritten.
///
/// # Errors
/// [`Error::OutDir`] with the file's name.
pub fn refuse_occupied(out: &Path, metrics: &[Metric], formats: &[Format]) -> Result<()> {
    let names = figure_names(metrics);
    refuse(out, names.iter().map(String::as_str), formats)
}

fn refuse<'a>(out: &Path, names: impl Iterator<Item = &'a str>, formats: &[Format]) -> Result<()> {
    let paths = names.flat_map(|name| formats.iter().map(|format| path(out, name, *format)));
    store::refuse_existing(out, paths, "figure")
}

fn path(out: &Path, name: &str, format: Format) -> PathBuf {
    out.join(format!("{name}.{}", format.extension()))
}

/// Writes every figure in every format into `out`, which is created if need be, and says which files these are. All
/// are complete before the first gets its name.
///
/// # Errors
/// What [`refuse_occupied`] refuses, what the disk does, and [`Error::Figure`] for a picture too large for a PNG.
pub fn write(figures: &Figures, formats: &[Format], out: &Path) -> Result<Vec<PathBuf>> {
    let names = figures.figures.iter().map(|figure| figure.name.as_str());
    refuse(out, names, formats)?;
    store::create_directory(out)?;
    let mut files = Vec::new();
    for figure in &figures.figures {
        for format in formats {
            let path = path(out, &figure.name, *format);
            let mut file = AtomicFile::create(&path)?;
            file.write_all(&contents(figure, *format)?)
                .map_err(Error::io(&path))?;
            files.push((path, file));
        }
    }
    let mut written = Vec::new();
    for (path, file) in files {
        file.commit_new()?;
        written.push(path);
    }
    Ok(written)
}

fn contents(figure: &Figure, format: Format) -> Result<Vec<u8>> {
    match format {
        Format::Svg => Ok(figure.svg.clone().into_bytes()),
        Format::Png => figure.png(),
    }
}
