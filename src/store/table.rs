//! The two parquet schemas, and how rows become files.
//!
//! All columns are required (never null), compressed with zstd, with statistics. Dictionaries serve the
//! integers, which repeat; floating-point numbers do not, so they are written plainly.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use arrow_array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::atomic::AtomicFile;
use super::{HeadRow, Provenance, SampleRow};
use crate::metrics::{HeadMeans, HeadSums};
use crate::{Error, Result};

/// `samples.parquet`: a row per (sample, layer, head).
pub(super) static SAMPLES: LazyLock<Arc<Schema>> = LazyLock::new(|| {
    schema(&[
        ("sample", DataType::Int64),
        ("layer", DataType::Int32),
        ("head", DataType::Int32),
        ("tokens", DataType::Int64),
        ("max_share_sum", DataType::Float64),
        ("first_share_sum", DataType::Float64),
        ("max_weight_sum", DataType::Float64),
        ("total_weight_sum", DataType::Float64),
        ("entropy_sum", DataType::Float64),
        ("non_finite_rows", DataType::Int64),
    ])
});

/// `heads.parquet`: a row per (layer, head), sums beside the means that people read.
pub(super) static HEADS: LazyLock<Arc<Schema>> = LazyLock::new(|| {
    schema(&[
        ("layer", DataType::Int32),
        ("head", DataType::Int32),
        ("samples", DataType::Int64),
        ("tokens", DataType::Int64),
        ("max_share_sum", DataType::Float64),
        ("first_share_sum", DataType::Float64),
        ("max_weight_sum", DataType::Float64),
        ("total_weight_sum", DataType::Float64),
        ("entropy_sum", DataType::Float64),
        ("sparsity_score", DataType::Float64),
        ("first_token_share", DataType::Float64),
        ("max_weight", DataType::Float64),
        ("total_weight", DataType::Float64),
        ("entropy", DataType::Float64),
        ("non_finite_rows", DataType::Int64),
    ])
});

fn schema(columns: &[(&str, DataType)]) -> Arc<Schema> {
    let fields = columns
        .iter()
        .map(|(name, data_type)| Field::new(*name, data_type.clone(), false))
        .collect::<Vec<_>>();
    Arc::new(Schema::new(fields))
}

/// A parquet table, written row group by row group.
pub(crate) struct TableWriter {
    writer: ArrowWriter<File>,
    file: AtomicFile,
    path: PathBuf,
}

impl TableWriter {
    /// Starts the file `path`, which appears with [`TableWriter::commit`]. `sorted_by` are the columns that
    /// order the rows, most significant first.
    pub(crate) fn create(
        path: &Path,
        schema: &Arc<Schema>,
        sorted_by: &[&str],
        provenance: &Provenance,
    ) -> Result<Self> {
        let file = AtomicFile::create(path)?;
        let writer = arrow_writer(file.handle()?, schema, sorted_by, provenance)
            .map_err(|error| parquet_error(path, error))?;
        Ok(Self {
            writer,
            file,
            path: path.to_path_buf(),
        })
    }

    /// Writes `batch` as one row group.
    pub(crate) fn write_row_group(&mut self, batch: &RecordBatch) -> Result<()> {
        self.write(batch)?;
        self.end_row_group()
    }

    /// Adds `batch` to the row group that is being written.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer
            .write(batch)
            .map_err(|error| parquet_error(&self.path, error))
    }

    /// Ends the row group.
    pub(crate) fn end_row_group(&mut self) -> Result<()> {
        self.writer
            .flush()
            .map_err(|error| parquet_error(&self.path, error))
    }

    /// Writes the footer and gives the file its name.
    pub(crate) fn commit(self) -> Result<()> {
        self.writer
            .close()
            .map_err(|error| parquet_error(&self.path, error))?;
        self.file.commit()
    }
}

fn arrow_writer(
    sink: File,
    schema: &Arc<Schema>,
    sorted_by: &[&str],
    provenance: &Provenance,
) -> Result<ArrowWriter<File>, ParquetError> {
    let mut sorting = Vec::new();
    for name in sorted_by {
        sorting.push(SortingColumn {
            column_idx: schema.index_of(name)? as i32,
            descending: false,
            nulls_first: false,
        });
    }
    let footer = provenance
        .iter()
        .map(|(key, value)| KeyValue::new(key.clone(), value.clone()))
        .collect();
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        // The caller says where a row group ends: one layer, however many samples.
        .set_max_row_group_row_count(None)
        .set_sorting_columns(Some(sorting))
        .set_key_value_metadata(Some(footer));
    for field in schema.fields() {
        if field.data_type().is_floating() {
            let column = ColumnPath::from(field.name().as_str());
            properties = properties.set_column_dictionary_enabled(column, false);
        }
    }
    // Arrow's own copy of the schema says nothing that parquet's types do not say here.
    let options = ArrowWriterOptions::new()
        .with_properties(properties.build())
        .with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(sink, Arc::clone(schema), options)
}

/// The rows as a batch of the schema [`SAMPLES`].
pub(super) fn samples_batch(path: &Path, rows: &[SampleRow]) -> Result<RecordBatch> {
    let sums = || rows.iter().map(|row| &row.sums);
    let mut columns: Vec<ArrayRef> = vec![
        int64(rows.iter().map(|row| row.sample)),
        int32(rows.iter().map(|row| row.layer)),
        int32(rows.iter().map(|row| row.head)),
    ];
    columns.extend(sum_columns(sums));
    columns.push(int64(sums().map(|sums| sums.non_finite_rows)));
    batch(path, &SAMPLES, columns)
}

/// The rows as a batch of the schema [`HEADS`].
pub(super) fn heads_batch(path: &Path, rows: &[HeadRow]) -> Result<RecordBatch> {
    let sums = || rows.iter().map(|row| &row.sums);
    let means: Vec<HeadMeans> = sums().map(HeadSums::means).collect();
    let mut columns: Vec<ArrayRef> = vec![
        int32(rows.iter().map(|row| row.layer)),
        int32(rows.iter().map(|row| row.head)),
        int64(rows.iter().map(|row| row.samples)),
    ];
    columns.extend(sum_columns(sums));
    columns.extend([
        float64(means.iter().map(|means| means.sparsity_score)),
        float64(means.iter().map(|means| means.first_token_share)),
        float64(means.iter().map(|means| means.max_weight)),
        float64(means.iter().map(|means| means.total_weight)),
        float64(means.iter().map(|means| means.entropy)),
    ]);
    columns.push(int64(sums().map(|sums| sums.non_finite_rows)));
    batch(path, &HEADS, columns)
}

/// `tokens` and the five sums, in the order of both schemas.
fn sum_columns<'a, I: Iterator<Item = &'a HeadSums>>(sums: impl Fn() -> I) -> [ArrayRef; 6] {
    [
        int64(sums().map(|sums| sums.tokens)),
        float64(sums().map(|sums| sums.max_share_sum)),
        float64(sums().map(|sums| sums.first_share_sum)),
        float64(sums().map(|sums| sums.max_weight_sum)),
        float64(sums().map(|sums| sums.total_weight_sum)),
        float64(sums().map(|sums| sums.entropy_sum)),
    ]
}

fn int32(values: impl Iterator<Item = i32>) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(values))
}

fn int64(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn float64(values: impl Iterator<Item = f64>) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(values))
}

fn batch(path: &Path, schema: &Arc<Schema>, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|error| parquet_error(path, error.into()))
}

/// Tells what the operating system refused (a full disk) from what is wrong with the file's contents.
pub(crate) fn parquet_error(path: &Path, error: ParquetError) -> Error {
    if let ParquetError::External(source) = error {
        return match source.downcast::<io::Error>() {
            Ok(source) if source.raw_os_error().is_some() => Error::io(path)(*source),
            Ok(source) => damaged(path, source.to_string()),
            Err(source) => damaged(path, source.to_string()),
        };
    }
    damaged(path, error.to_string())
}

/// The contents of `path` are not what they should be.
pub(super) fn damaged(path: &Path, message: impl Into<String>) -> Error {
    Error::Parquet {
        path: path.to_path_buf(),
        message: message.into(),
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    use std::fs::OpenOptions;

    use super::*;

    /// More rows than the parquet writer by itself puts into one row group.
    #[test]
    fn a_layer_is_one_row_group_however_large() {
        let row = SampleRow {
            sample: 1,
            layer: 0,
            head: 0,
            sums: HeadSums::default(),
        };
        let rows = vec![row; 1024 * 1024 + 1];
        let batch = samples_batch(Path::new("samples.parquet"), &rows).unwrap();
        let sink = tempfile::tempfile().unwrap();
        let mut writer = arrow_writer(sink, &SAMPLES, &[], &Provenance::new()).unwrap();
        writer.write(&batch).unwrap();
        writer.flush().unwrap();
        assert_eq!(writer.close().unwrap().num_row_groups(), 1);
    }

    /// `/dev/full` refuses every write the way a full disk does.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_io_error_with_its_remedy() {
        let path = Path::new("out/samples.parquet");
        let row = SampleRow {
            sample: 1,
            layer: 0,
            head: 0,
            sums: HeadSums::default(),
        };
        // Few rows fail when the footer flushes them, many while they are written.
        for rows in [vec![row; 10], vec![row; 100_000]] {
            let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
            let batch = samples_batch(path, &rows).unwrap();
            let error = arrow_writer(full, &SAMPLES, &["layer"], &Provenance::new())
                .and_then(|mut writer| {
                    writer.write(&batch)?;
                    writer.flush()?;
                    writer.close()
                })
                .map_err(|error| parquet_error(path, error))
                .unwrap_err();
            assert!(matches!(error, Error::Io { .. }), "{error:?}");
            let message = error.to_string();
            assert!(message.starts_with("out/samples.parquet: "), "{message}");
            assert!(message.contains("--resume"), "{message}");
        }
    }
}
