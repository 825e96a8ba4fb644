//! Reading the tables back, a row group (in files of ours: a layer) at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;

use super::columns::{TableRow, wanted_columns};
use super::table::{damaged, parquet_error};
use super::{ActivationRow, HeadRow, LagRow, Provenance, SampleRow, directory};
use crate::{Error, Result};

/// Rows decoded at once.
const BATCH_ROWS: usize = 16 * 1024;

/// An open parquet file whose columns have been checked against those of its kind of rows. Columns that such rows
/// do not have are ignored: later versions may add some.
pub(super) struct TableFile<R> {
    file: File,
    metadata: ArrowReaderMetadata,
    projection: ProjectionMask,
    path: PathBuf,
    rows: PhantomData<R>,
}

impl<R: TableRow> TableFile<R> {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let (file, metadata) = open(path)?;
        let schema = wanted_columns::<R>(metadata.schema());
        let mut wanted = Vec::new();
        for field in schema.fields() {
            let (column, found) =
                metadata
                    .schema()
                    .column_with_name(field.name())
                    .ok_or_else(|| {
                        let columns = metadata.schema().fields().iter();
                        let columns: Vec<&String> = columns.map(|field| field.name()).collect();
                        damaged(
                            path,
                            format!(
                                "there is no column `{}`; columns: {}. Is this a file of `attnscope scan`?",
                                field.name(),
                                directory::listing(&columns)
                            ),
                        )
                    })?;
            if found.data_type() != field.data_type() {
                return Err(damaged(
                    path,
                    format!(
                        "column `{}`: expected {}, found {}; cast it, or write the file anew with `attnscope scan`",
                        field.name(),
                        field.data_type(),
                        found.data_type()
                    ),
                ));
            }
            wanted.push(column);
        }
        let projection = ProjectionMask::roots(metadata.parquet_schema(), wanted);
        Ok(Self {
            file,
            metadata,
            projection,
            path: path.to_path_buf(),
            rows: PhantomData,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn row_groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// The key-value pairs of the footer.
    pub(super) fn provenance(&self) -> Provenance {
        provenance(&self.metadata)
    }

    /// Whether row group `i` holds layer `i` and nothing else, for all of them, as its statistics say: so it is in
    /// files that attnscope wrote.
    pub(super) fn row_groups_are_layers(&self) -> bool {
        let groups = self.metadata.metadata().row_groups();
        groups.iter().zip(0..).all(|(group, layer)| {
            let columns = group.columns().iter();
            let mut layers = columns.filter(|column| column.column_path().string() == "layer");
            match layers.next().and_then(|column| column.statistics()) {
                Some(Statistics::Int32(found)) => {
                    [found.min_opt(), found.max_opt()] == [Some(&layer), Some(&layer)]
                }
                _ => false,
            }
        })
    }

    /// All rows of one row group.
    pub(super) fn rows(&self, row_group: usize) -> Result<Vec<R>> {
        let path = &self.path;
        let file = self.file.try_clone().map_err(Error::io(path))?;
        without_panic(path, || {
            let batches =
                ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
                    .with_row_groups(vec![row_group])
                    .with_projection(self.projection.clone())
                    .with_batch_size(BATCH_ROWS)
                    .build()
                    .map_err(|error| parquet_error(path, error))?;
            let mut rows = Vec::new();
            for batch in batches {
                let batch = batch.map_err(|error| parquet_error(path, error.into()))?;
                R::decode(path, &batch, &mut rows)?;
            }
            Ok(rows)
        })
    }
}

/// All rows of a table of any columns.
pub(super) fn read_batches(path: &Path) -> Result<Vec<RecordBatch>> {
    let (file, metadata) = open(path)?;
    without_panic(path, || {
        let batches = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| parquet_error(path, error))?;
        batches
            .map(|batch| batch.map_err(|error| parquet_error(path, error.into())))
            .collect()
    })
}

/// Which of a scan's two tables a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableKind {
    /// A row per (sample, layer, head).
    Samples,
    /// A row per (layer, head).
    Heads,
}

/// Which table the file `path` is, by its columns, and the facts in its footer.
pub(super) fn describe(path: &Path) -> Result<(TableKind, Provenance)> {
    let (_, metadata) = open(path)?;
    let has = |name: &str| metadata.schema().column_with_name(name).is_some();
    if has("lag") || has("largest_token") {
        return Err(damaged(
            path,
            "is a table of lags or activations; name the scan's directory, its samples.parquet or its heads.parquet",
        ));
    }
    let kind = match metadata.schema().column_with_name("sample") {
        Some(_) => {
            TableFile::<SampleRow>::open(path)?;
            TableKind::Samples
        }
        None => {
            TableFile::<HeadRow>::open(path)?;
            TableKind::Heads
        }
    };
    Ok((kind, provenance(&metadata)))
}

fn open(path: &Path) -> Result<(File, ArrowReaderMetadata)> {
    let file = File::open(path).map_err(Error::io(path))?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = without_panic(path, || {
        ArrowReaderMetadata::load(&file, options).map_err(|error| parquet_error(path, error))
    })?;
    let length = file.metadata().map_err(Error::io(path))?.len();
    check_footer(metadata.metadata(), length).map_err(|message| damaged(path, message))?;
    Ok((file, metadata))
}

fn provenance(metadata: &ArrowReaderMetadata) -> Provenance {
    let pairs = metadata.metadata().file_metadata();
    pairs
        .key_value_metadata()
        .into_iter()
        .flatten()
        .filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?)))
        .collect()
}

/// Runs the parquet decoder, which panics over some damaged pages ("Decoder for dict should have been set")
/// instead of returning an error.
fn without_panic<T>(path: &Path, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    // Whatever a panic leaves half-changed is dropped here: the closures own it or only read.
    panic::catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| {
        Err(damaged(
            path,
            "the file is damaged and cannot be decoded; copy it anew, or scan again",
        ))
    })
}

/// Checks what the parquet reader takes on trust: that columns lie inside the file. Without this a damaged
/// footer could ask for any amount of memory.
fn check_footer(metadata: &ParquetMetaData, length: u64) -> Result<(), String> {
    for (index, group) in metadata.row_groups().iter().enumerate() {
        for column in group.columns() {
            let start = column
                .dictionary_page_offset()
                .unwrap_or(column.data_page_offset());
            let end = start.checked_add(column.compressed_size());
            let inside = start >= 0
                && column.compressed_size() >= 0
                && end.is_some_and(|end| end.unsigned_abs() <= length);
            if !inside {
                return Err(format!(
                    "row group {index}, column `{}`: the footer is damaged",
                    column.column_path()
                ));
            }
        }
    }
    Ok(())
}

/// The rows of a scan, a row group at a time: an iterator of `Result<Vec<SampleRow>>`.
///
/// In files that attnscope wrote, a row group is one layer, sorted by (sample, head), and layers ascend;
/// shards come one after the other. Memory is one row group's rows.
pub struct SampleReader {
    /// Files not opened yet, last first.
    files: Vec<PathBuf>,
    current: TableFile<SampleRow>,
    next_row_group: usize,
}

impl SampleReader {
    /// Opens the samples of `path`: a scan's output directory with `samples.parquet` or all of its shards, or
    /// one such file by its own name.
    pub fn open(path: &Path) -> Result<Self> {
        let mut files = directory::samples_files(path)?;
        files.reverse();
        let first = files
            .pop()
            .ok_or_else(|| damaged(path, "there is no samples.parquet here"))?;
        Ok(Self {
            files,
            current: TableFile::open(&first)?,
            next_row_group: 0,
        })
    }

    /// The footer's facts about the run, of the file that is being read.
    pub fn provenance(&self) -> Provenance {
        self.current.provenance()
    }

    fn next_rows(&mut self) -> Result<Option<Vec<SampleRow>>> {
        while self.next_row_group == self.current.row_groups() {
            let Some(file) = self.files.pop() else {
                return Ok(None);
            };
            self.current = TableFile::open(&file)?;
            self.next_row_group = 0;
        }
        self.next_row_group += 1;
        self.current.rows(self.next_row_group - 1).map(Some)
    }
}

impl Iterator for SampleReader {
    type Item = Result<Vec<SampleRow>>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.next_rows();
        if rows.is_err() {
            // An error ends the stream: what follows a damaged row group is no complete scan.
            self.files.clear();
            self.next_row_group = self.current.row_groups();
        }
        rows.transpose()
    }
}

/// The per-head sums of a scan, sorted by (layer, head): from its output directory, or from one file by name.
///
/// Where the directory holds shards, all of them must be there and their sums are added.
pub fn read_heads(path: &Path) -> Result<Vec<HeadRow>> {
    let mut heads: BTreeMap<(i32, i32), HeadRow> = BTreeMap::new();
    for file in directory::heads_files(path)? {
        let table = TableFile::<HeadRow>::open(&file)?;
        let mut seen = BTreeMap::new();
        for row_group in 0..table.row_groups() {
            for row in table.rows(row_group)? {
                if seen.insert((row.layer, row.head), ()).is_some() {
                    return Err(damaged(
                        &file,
                        format!("layer {}, head {} occurs twice", row.layer, row.head),
                    ));
                }
                heads
                    .entry((row.layer, row.head))
                    .and_modify(|sum| {
                        sum.samples += row.samples;
                        sum.sums.merge(&row.sums);
                        sum.lag_fit = None;
                    })
                    .or_insert(row);
            }
        }
    }
    Ok(heads.into_values().collect())
}

/// Attention by distance of a scan that has measured it, sorted by (layer, head, lag): from its output directory, or
/// from one file by name.
///
/// Where the directory holds shards, all of them must be there and their sums are added.
pub fn read_lags(path: &Path) -> Result<Vec<LagRow>> {
    let mut lags: BTreeMap<(i32, i32, i32), LagRow> = BTreeMap::new();
    for row in all_rows::<LagRow>(directory::lags_files(path)?)? {
        lags.entry((row.layer, row.head, row.lag))
            .and_modify(|sum| {
                sum.rows += row.rows;
                sum.share_sum += row.share_sum;
            })
            .or_insert(row);
    }
    Ok(lags.into_values().collect())
}

/// The activations of a scan that has measured them, sorted by (layer, sample): from its output directory, all shards
/// of it, or from one file by name.
pub fn read_activations(path: &Path) -> Result<Vec<ActivationRow>> {
    let mut rows = all_rows::<ActivationRow>(directory::activations_files(path)?)?;
    rows.sort_by_key(|row| (row.layer, row.sample));
    Ok(rows)
}

fn all_rows<R: TableRow>(files: Vec<PathBuf>) -> Result<Vec<R>> {
    let mut rows = Vec::new();
    for file in files {
        let table = TableFile::<R>::open(&file)?;
        for row_group in 0..table.row_groups() {
            rows.extend(table.rows(row_group)?);
        }
    }
    Ok(rows)
}
