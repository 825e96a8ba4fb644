//! How parquet tables are written.
//!
//! Columns are compressed with zstd, with statistics; those of scans are required (never null). Dictionaries serve the
//! integers and texts, which repeat; floating-point numbers do not, so they are written plainly.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::Provenance;
use super::atomic::AtomicFile;
use super::columns::{TableRow, schema, to_batch};
use crate::metrics::Measures;
use crate::{Error, Result};

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
        self.finish()?.commit()
    }

    /// The same, except that a file which has got the name meanwhile keeps it.
    pub(crate) fn commit_new(self) -> Result<()> {
        self.finish()?.commit_new()
    }

    fn finish(self) -> Result<AtomicFile> {
        self.writer
            .close()
            .map_err(|error| parquet_error(&self.path, error))?;
        Ok(self.file)
    }
}

/// A table of rows of one kind, written row group by row group.
pub(super) struct RowWriter<'a> {
    table: TableWriter,
    measures: &'a Measures,
}

impl<'a> RowWriter<'a> {
    /// Starts the file `path` for rows of the kind `R`, with the columns of these measures.
    pub(super) fn create<R: TableRow>(
        path: &Path,
        measures: &'a Measures,
        provenance: &Provenance,
    ) -> Result<Self> {
        let table = TableWriter::create(path, &schema::<R>(measures), R::KEY, provenance)?;
        Ok(Self { table, measures })
    }

    /// Writes `rows` as one row group.
    pub(super) fn write<R: TableRow>(&mut self, rows: &[R]) -> Result<()> {
        let batch = to_batch(&self.table.path, rows, self.measures)?;
        self.table.write_row_group(&batch)
    }

    /// Writes the footer and gives the file its name.
    pub(super) fn commit(self) -> Result<()> {
        self.table.commit()
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

    use super::super::SampleRow;
    use super::*;
    use crate::metrics::HeadSums;

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
        let none = Measures::default();
        let batch = to_batch(Path::new("samples.parquet"), &rows, &none).unwrap();
        let sink = tempfile::tempfile().unwrap();
        let schema = schema::<SampleRow>(&none);
        let mut writer = arrow_writer(sink, &schema, &[], &Provenance::new()).unwrap();
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
            let none = Measures::default();
            let batch = to_batch(path, &rows, &none).unwrap();
            let schema = schema::<SampleRow>(&none);
            let error = arrow_writer(full, &schema, &["layer"], &Provenance::new())
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
