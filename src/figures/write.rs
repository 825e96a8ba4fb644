//! The files of figures.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::canvas::failed;
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
    refuse_occupied_names(out, names.iter().map(String::as_str), formats)
}

/// Fails if `out` holds a file of one of the figures with these names already: nothing is overwritten.
///
/// # Errors
/// [`Error::OutDir`] with the file's name.
pub fn refuse_occupied_names<'a>(
    out: &Path,
    names: impl IntoIterator<Item = &'a str>,
    formats: &[Format],
) -> Result<()> {
    let names = names.into_iter();
    let paths = names.flat_map(|name| formats.iter().map(|format| path(out, name, *format)));
    store::refuse_existing(out, paths, "figure")
}

fn path(out: &Path, name: &str, format: Format) -> PathBuf {
    out.join(format!("{name}.{}", format.extension()))
}

/// Writes the figures of scans as [`write_figures`] does.
///
/// # Errors
/// Those of [`write_figures`].
pub fn write(figures: &Figures, formats: &[Format], out: &Path) -> Result<Vec<PathBuf>> {
    write_figures(&figures.figures, formats, out)
}

/// Writes every figure in every format into `out`, which is created if need be, and says which files these are. All
/// are complete before the first gets its name.
///
/// # Errors
/// [`Error::OutDir`] if one of the files is there already, what the disk does, and [`Error::Figure`] for a picture too
/// large for a PNG and for two figures of one name.
pub fn write_figures(figures: &[Figure], formats: &[Format], out: &Path) -> Result<Vec<PathBuf>> {
    let names = figures.iter().map(|figure| figure.name.as_str());
    refuse_occupied_names(out, names, formats)?;
    put(figures, formats, out, AtomicFile::commit_new)
}

/// The same, except that files which are there already are replaced.
///
/// # Errors
/// What the disk does, and [`Error::Figure`] as [`write_figures`].
pub fn replace_figures(figures: &[Figure], formats: &[Format], out: &Path) -> Result<Vec<PathBuf>> {
    put(figures, formats, out, AtomicFile::commit)
}

/// Removes the figures in `out` whose names, without their ends, `is_old` says yes to, but for the files `kept`.
///
/// # Errors
/// What the disk refuses.
pub fn remove_figures(out: &Path, kept: &[PathBuf], is_old: impl Fn(&str) -> bool) -> Result<()> {
    for entry in fs::read_dir(out).map_err(Error::io(out))? {
        let path = entry.map_err(Error::io(out))?.path();
        let ends = Format::ALL.map(Format::extension);
        let is_figure = path
            .extension()
            .is_some_and(|end| ends.iter().any(|e| end == *e));
        let name = path.file_stem().and_then(|name| name.to_str());
        if is_figure && name.is_some_and(&is_old) && !kept.contains(&path) {
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
    }
    Ok(())
}

fn put(
    figures: &[Figure],
    formats: &[Format],
    out: &Path,
    commit: fn(AtomicFile) -> Result<()>,
) -> Result<Vec<PathBuf>> {
    for (at, figure) in figures.iter().enumerate() {
        if figures[..at].iter().any(|other| other.name == figure.name) {
            return Err(failed(
                &figure.name,
                "there are two of this name; write them into directories of their own",
            ));
        }
    }
    store::create_directory(out)?;
    let mut files = Vec::new();
    for figure in figures {
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
        commit(file)?;
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
