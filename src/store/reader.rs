//! Reading the tables back, a row group (in files of ours: a layer) at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::Schema;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::ParquetMetaData;

use super::table::{self, damaged, parquet_error};
use super::{HeadRow, Provenance, SampleRow, directory};
use crate::metrics::HeadSums;
use crate::{Error, Result};

/// Rows decoded at once.
const BATCH_ROWS: usize = 16 * 1024;

/// An open parquet file whose columns have been checked against a schema. Columns that the schema does not
/// have are ignored: later versions may add some.
pub(super) struct TableFile {
    file: File,
    metadata: ArrowReaderMetadata,
    projection: ProjectionMask,
    path: PathBuf,
}

impl TableFile {
    pub(super) fn open(path: &Path, schema: &Schema) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = without_panic(path, || {
            ArrowReaderMetadata::load(&file, options).map_err(|error| parquet_error(path, error))
        })?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        check_footer(metadata.metadata(), length).map_err(|message| damaged(path, message))?;
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
        let pairs = self.metadata.metadata().file_metadata();
        pairs
            .key_value_metadata()
            .into_iter()
            .flatten()
            .filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?)))
            .collect()
    }

    /// All rows of one row group, turned into whatever `decode` makes of a batch.
    fn read<T>(
        &self,
        row_group: usize,
        decode: impl Fn(&Path, &RecordBatch, &mut Vec<T>) -> Result<()>,
    ) -> Result<Vec<T>> {
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
                decode(path, &batch, &mut rows)?;
            }
            Ok(rows)
        })
    }

    /// The rows of one row group of a samples table.
    pub(super) fn sample_rows(&self, row_group: usize) -> Result<Vec<SampleRow>> {
        self.read(row_group, |path, batch, rows| {
            let sample = values::<Int64Type>(path, batch, "sample")?;
            let layer = values::<Int32Type>(path, batch, "layer")?;
            let head = values::<Int32Type>(path, batch, "head")?;
            let sums = sums(path, batch)?;
            rows.extend(sums.enumerate().map(|(row, sums)| SampleRow {
                sample: sample[row],
                layer: layer[row],
                head: head[row],
                sums,
            }));
            Ok(())
        })
    }

    fn head_rows(&self, row_group: usize) -> Result<Vec<HeadRow>> {
        self.read(row_group, |path, batch, rows| {
            let layer = values::<Int32Type>(path, batch, "layer")?;
            let head = values::<Int32Type>(path, batch, "head")?;
            let samples = values::<Int64Type>(path, batch, "samples")?;
            let sums = sums(path, batch)?;
            rows.extend(sums.enumerate().map(|(row, sums)| HeadRow {
                layer: layer[row],
                head: head[row],
                samples: samples[row],
                sums,
            }));
            Ok(())
        })
    }
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
    let table = TableFile::open(path, &Schema::empty())?;
    let (kind, schema) = match table.metadata.schema().column_with_name("sample") {
        Some(_) => (TableKind::Samples, &table::SAMPLES),
        None => (TableKind::Heads, &table::HEADS),
    };
    TableFile::open(path, schema)?;
    Ok((kind, table.provenance()))
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

/// A column without nulls, as a slice.
fn values<'a, T: ArrowPrimitiveType>(
    path: &Path,
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a [T::Native]> {
    let column = batch
        .column_by_name(name)
        .and_then(|column| column.as_primitive_opt::<T>())
        .ok_or_else(|| damaged(path, format!("column `{name}` cannot be decoded")))?;
    if column.null_count() > 0 {
        let nulls = column.null_count();
        return Err(damaged(
            path,
            format!("column `{name}`: {nulls} nulls; every row needs a value"),
        ));
    }
    Ok(column.values())
}

fn sums<'a>(
    path: &Path,
    batch: &'a RecordBatch,
) -> Result<impl Iterator<Item = HeadSums> + use<'a>> {
    let tokens = values::<Int64Type>(path, batch, "tokens")?;
    let max_share = values::<Float64Type>(path, batch, "max_share_sum")?;
    let first_share = values::<Float64Type>(path, batch, "first_share_sum")?;
    let max_weight = values::<Float64Type>(path, batch, "max_weight_sum")?;
    let total_weight = values::<Float64Type>(path, batch, "total_weight_sum")?;
    let entropy = values::<Float64Type>(path, batch, "entropy_sum")?;
    let non_finite = values::<Int64Type>(path, batch, "non_finite_rows")?;
    Ok((0..batch.num_rows()).map(move |row| HeadSums {
        tokens: tokens[row],
        max_share_sum: max_share[row],
        first_share_sum: first_share[row],
        max_weight_sum: max_weight[row],
        total_weight_sum: total_weight[row],
        entropy_sum: entropy[row],
        non_finite_rows: non_finite[row],
    }))
}

/// The rows of a scan, a row group at a time: an iterator of `Result<Vec<SampleRow>>`.
///
/// In files that attnscope wrote, a row group is one layer, sorted by (sample, head), and layers ascend;
/// shards come one after the other. Memory is one row group's rows.
pub struct SampleReader {
    /// Files not opened yet, last first.
    files: Vec<PathBuf>,
    current: TableFile,
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
            current: TableFile::open(&first, &table::SAMPLES)?,
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
            self.current = TableFile::open(&file, &table::SAMPLES)?;
            self.next_row_group = 0;
        }
        self.next_row_group += 1;
        self.current.sample_rows(self.next_row_group - 1).map(Some)
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
        let table = TableFile::open(&file, &table::HEADS)?;
        let mut seen = BTreeMap::new();
        for row_group in 0..table.row_groups() {
            for row in table.head_rows(row_group)? {
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
                    })
                    .or_insert(row);
            }
        }
    }
    Ok(heads.into_values().collect())
}
