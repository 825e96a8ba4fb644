//! Texts by row number, whatever kind of file they lie in.

use std::path::{Path, PathBuf};

use super::line_rows::{LineFile, LineFormat};
use super::parquet_rows::ParquetFile;
use crate::{Error, Result};

/// The rows of one or many data files, numbered through in the order of the files, as Hugging Face's
/// `datasets` numbers them:
///
/// | extension | a row is | its text |
/// |---|---|---|
/// | `.parquet` | a row | the text column; it has to be a top-level string column |
/// | `.jsonl`, `.ndjson`, `.json` | a line with one JSON object; blank lines are no rows | the field named like the text column; other rows may lack it where the first one has it |
/// | `.txt` | a line, **blank lines too**, so that numbers agree with the `text` loader | the line without its end; the column is called `text` |
///
/// A text that is null or missing reads as the empty text, which has no tokens and will be counted as
/// skipped. A line ends at `\n`, `\r\n` or `\r`. A byte order mark at the start of a file is no text.
///
/// Opening reads the footers of parquet files and finds the lines of the others; texts are read when
/// asked for, so that a file may be larger than the memory.
#[derive(Debug)]
pub struct Rows {
    files: Vec<DataFile>,
    /// `starts[i]` is the number of the first row of file `i`; the last entry is the number of rows.
    starts: Vec<usize>,
}

#[derive(Debug)]
enum DataFile {
    Parquet(ParquetFile),
    Lines(LineFile),
}

impl Rows {
    /// Opens `files`, each by its extension, in the order given.
    ///
    /// # Errors
    /// [`Error::Dataset`] for another kind of file, a damaged one, a text column that holds no strings,
    /// or no row in all; [`Error::MissingColumn`] where a file has no such column; [`Error::Usage`]
    /// without any file; [`Error::Io`].
    pub fn open(files: &[PathBuf], text_column: &str) -> Result<Self> {
        let first = files
            .first()
            .ok_or_else(|| Error::Usage("the dataset has no data files".into()))?;
        let mut rows = Self {
            files: Vec::with_capacity(files.len()),
            starts: vec![0],
        };
        let mut total = 0;
        for path in files {
            let file = DataFile::open(path, text_column)?;
            total += file.len();
            rows.files.push(file);
            rows.starts.push(total);
        }
        if total == 0 {
            return Err(Error::Dataset {
                path: first.clone(),
                message: match files.len() {
                    1 => "the dataset is empty: the file has no rows".into(),
                    n => format!("the dataset is empty: none of its {n} files has rows"),
                },
            });
        }
        Ok(rows)
    }

    /// Number of rows of all files; never 0.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a dataset without rows does not open"
    )]
    pub fn len(&self) -> usize {
        self.starts[self.files.len()]
    }

    /// The texts of the given rows, in the order of `indices`, which may name a row more than once.
    /// Memory is proportional to these texts.
    ///
    /// # Errors
    /// As [`Rows::visit`].
    pub fn read(&self, indices: &[usize]) -> Result<Vec<String>> {
        let mut texts = vec![String::new(); indices.len()];
        self.visit(indices, |position, text| {
            texts[position] = text;
            Ok(())
        })?;
        Ok(texts)
    }

    /// Calls `visit(position, text)` once for every position of `indices`, **in the order of the row
    /// numbers**: each file is gone through once, from its start to its end, and at most a few dozen
    /// rows are in memory. An error of `visit` ends the reading and is returned.
    ///
    /// # Errors
    /// [`Error::Dataset`] for a number beyond the last row, a damaged parquet file, a malformed line
    /// (by number), a field that is not a string, and bytes that are not UTF-8 (by position).
    pub fn visit(
        &self,
        indices: &[usize],
        mut visit: impl FnMut(usize, String) -> Result<()>,
    ) -> Result<()> {
        let mut positions: Vec<usize> = (0..indices.len()).collect();
        positions.sort_unstable_by_key(|&position| (indices[position], position));
        let mut positions = positions.as_slice();

        for (file, bounds) in self.files.iter().zip(self.starts.windows(2)) {
            let (start, end) = (bounds[0], bounds[1]);
            let here = positions.partition_point(|&position| indices[position] < end);
            let (of_file, rest) = positions.split_at(here);
            positions = rest;
            if of_file.is_empty() {
                continue;
            }
            // One run of equal numbers per row, as a file reads a row once.
            let runs: Vec<&[usize]> = of_file
                .chunk_by(|&a, &b| indices[a] == indices[b])
                .collect();
            let wanted: Vec<usize> = runs.iter().map(|run| indices[run[0]] - start).collect();
            let mut runs = runs.into_iter();
            file.visit(&wanted, &mut |text| {
                if let Some([first, others @ ..]) = runs.next() {
                    for &position in others {
                        visit(position, text.clone())?;
                    }
                    visit(*first, text)?;
                }
                Ok(())
            })?;
        }
        match positions.first() {
            None => Ok(()),
            Some(&position) => Err(Error::Dataset {
                path: self.files[self.files.len() - 1].path().to_path_buf(),
                message: format!(
                    "there is no row {}: the dataset has {} rows, counted from 0",
                    indices[position],
                    self.len()
                ),
            }),
        }
    }
}

impl DataFile {
    fn open(path: &Path, text_column: &str) -> Result<Self> {
        let extension = path
            .extension()
            .map(|extension| extension.to_string_lossy().to_lowercase());
        let format = match extension.as_deref() {
            Some("parquet") => {
                return Ok(DataFile::Parquet(ParquetFile::open(path, text_column)?));
            }
            Some("jsonl" | "ndjson" | "json") => LineFormat::Json {
                text_column: text_column.into(),
            },
            Some("txt") if text_column == "text" => LineFormat::Text,
            Some("txt") => {
                return Err(Error::MissingColumn {
                    path: path.into(),
                    column: text_column.into(),
                    available: vec!["text".into()],
                });
            }
            Some("gz" | "zst" | "xz" | "bz2" | "zip") => {
                return Err(Error::Dataset {
                    path: path.into(),
                    message: "compressed files cannot be read row by row; decompress it first"
                        .into(),
                });
            }
            _ => {
                return Err(Error::Dataset {
                    path: path.into(),
                    message: "the kind of file is not known by its name; supported: \
                              .parquet, .jsonl, .ndjson, .json (one object per line), .txt"
                        .into(),
                });
            }
        };
        Ok(DataFile::Lines(LineFile::open(path, format)?))
    }

    fn path(&self) -> &Path {
        match self {
            DataFile::Parquet(file) => file.path(),
            DataFile::Lines(file) => file.path(),
        }
    }

    fn len(&self) -> usize {
        match self {
            DataFile::Parquet(file) => file.len(),
            DataFile::Lines(file) => file.len(),
        }
    }

    /// Hands over the texts of `rows`, which ascend and differ, one by one.
    fn visit(&self, rows: &[usize], visit: &mut dyn FnMut(String) -> Result<()>) -> Result<()> {
        match self {
            DataFile::Parquet(file) => file.visit(rows, visit),
            DataFile::Lines(file) => file.visit(rows, visit),
        }
    }
}
