//! The text column of one parquet file.

use std::cell::Cell;
use std::fmt::Display;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use arrow_array::{Array, cast::AsArray};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::basic::Compression;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, RowGroupMetaData};

use crate::{Error, Result};

/// Rows decoded at a time. Small, because a text can be megabytes long and all of them must stay within
/// the 2 GiB that the offsets of an Arrow string array can address.
const ROWS_AT_A_TIME: usize = 32;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread, now, is caught and becomes an error about a damaged file: a program's panic
/// hook has nothing to report then.
pub fn panics_are_caught() -> bool {
    GUARDED.get()
}

/// A parquet file whose text column exists and holds strings.
#[derive(Debug)]
pub(super) struct ParquetFile {
    path: PathBuf,
    text_column: String,
    rows: usize,
}

impl ParquetFile {
    /// Reads the footer.
    pub(super) fn open(path: &Path, text_column: &str) -> Result<Self> {
        let mut file = Self {
            path: path.into(),
            text_column: text_column.into(),
            rows: 0,
        };
        let (builder, column) = file.builder(PageIndexPolicy::Skip)?;
        file.rows = file
            .row_group_sizes(builder.metadata(), column)?
            .iter()
            .sum();
        Ok(file)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// Hands over the texts of `rows`, which ascend and differ, one by one; a null as the empty text.
    pub(super) fn visit(
        &self,
        rows: &[usize],
        visit: &mut dyn FnMut(String) -> Result<()>,
    ) -> Result<()> {
        // With the page index, pages without a wanted row are not even read.
        let (builder, column) = self.builder(PageIndexPolicy::Optional)?;

        // Only the row groups that hold a wanted row, and a selection counted from the first of them.
        let mut groups = Vec::new();
        let mut ranges = Vec::with_capacity(rows.len());
        let mut rest = rows;
        let (mut group_start, mut selected_start) = (0, 0);
        let sizes = self.row_group_sizes(builder.metadata(), column)?;
        for (group, size) in sizes.into_iter().enumerate() {
            let here = rest.partition_point(|&row| row < group_start + size);
            let (of_group, others) = rest.split_at(here);
            if !of_group.is_empty() {
                groups.push(group);
                ranges.extend(of_group.iter().map(|row| {
                    let row = row - group_start + selected_start;
                    row..row + 1
                }));
                selected_start += size;
            }
            group_start += size;
            rest = others;
        }

        let selection = RowSelection::from_consecutive_ranges(ranges.into_iter(), selected_start);
        let mask = ProjectionMask::roots(builder.parquet_schema(), [column]);
        let builder = builder
            .with_projection(mask)
            .with_row_groups(groups)
            .with_row_selection(selection)
            .with_batch_size(ROWS_AT_A_TIME);
        let mut reader = self.guarded(|| builder.build())?;
        let mut read = 0;
        while let Some(batch) = self.guarded(|| reader.next().transpose())? {
            let texts = batch.column(0).as_string_opt::<i32>().ok_or_else(|| {
                self.error(format!(
                    "column `{}` does not read as text",
                    self.text_column
                ))
            })?;
            for row in 0..texts.len() {
                read += 1;
                visit(match texts.is_null(row) {
                    true => String::new(),
                    false => texts.value(row).to_owned(),
                })?;
            }
        }
        if read != rows.len() {
            return Err(self.error(format!("{} rows were asked for, {read} read", rows.len())));
        }
        Ok(())
    }

    /// Opens the file, and finds the text column among its top-level columns.
    fn builder(
        &self,
        page_index: PageIndexPolicy,
    ) -> Result<(ParquetRecordBatchReaderBuilder<File>, usize)> {
        let file = File::open(&self.path).map_err(Error::io(&self.path))?;
        // Without the writer's Arrow schema, every kind of string (large, view, dictionary) reads as a
        // plain one, and a nested column next to the texts needs not be understood in detail.
        let options = ArrowReaderOptions::new()
            .with_skip_arrow_metadata(true)
            .with_page_index_policy(page_index);
        let builder =
            self.guarded(|| ParquetRecordBatchReaderBuilder::try_new_with_options(file, options))?;

        let columns = builder.schema().fields();
        let Some((column, field)) = columns.find(&self.text_column) else {
            return Err(Error::MissingColumn {
                path: self.path.clone(),
                column: self.text_column.clone(),
                available: columns.iter().map(|field| field.name().clone()).collect(),
            });
        };
        if *field.data_type() != DataType::Utf8 {
            return Err(Error::Dataset {
                path: self.path.clone(),
                message: format!(
                    "column `{}` is {}, not text (choose another with --text-column)",
                    self.text_column,
                    field.data_type()
                ),
            });
        }
        Ok((builder, column))
    }

    /// Rows of each row group, which the chunks of the text column (whose number is `column`) confirm.
    fn row_group_sizes(&self, metadata: &ParquetMetaData, column: usize) -> Result<Vec<usize>> {
        let schema = metadata.file_metadata().schema_descr();
        let leaf =
            (0..schema.num_columns()).find(|&leaf| schema.get_column_root_idx(leaf) == column);
        let leaf = leaf.ok_or_else(|| self.error("a column without values"))?;
        let size = |(i, group): (usize, &RowGroupMetaData)| {
            let (rows, chunk) = (group.num_rows(), group.column(leaf));
            if chunk.num_values() != rows {
                return Err(self.error(format!(
                    "row group {i} is said to have {rows} rows and {} texts",
                    chunk.num_values()
                )));
            }
            match chunk.compression() {
                Compression::UNCOMPRESSED
                | Compression::SNAPPY
                | Compression::GZIP(_)
                | Compression::ZSTD(_) => {}
                other => {
                    return Err(Error::Dataset {
                        path: self.path.clone(),
                        message: format!(
                            "column `{}` is compressed with {other}, which cannot be read here; \
                             rewrite the file with zstd, snappy or gzip",
                            self.text_column
                        ),
                    });
                }
            }
            usize::try_from(rows).map_err(|_| self.error(format!("row group {i} has {rows} rows")))
        };
        metadata.row_groups().iter().enumerate().map(size).collect()
    }

    /// Calls into the parquet crate. It checks most of what it reads, but some wrong bytes make
    /// it panic; a damaged file is no reason to, so that becomes an error like the others.
    fn guarded<T, E: Display>(&self, read: impl FnOnce() -> Result<T, E>) -> Result<T> {
        GUARDED.set(true);
        let outcome = catch_unwind(AssertUnwindSafe(read));
        GUARDED.set(false);
        match outcome {
            Ok(result) => result.map_err(|error| self.error(error)),
            Err(_) => Err(self.error("it is damaged")),
        }
    }

    /// Damage, as far as a user is concerned: the file is not what its writer meant.
    fn error(&self, message: impl Display) -> Error {
        Error::Dataset {
            path: self.path.clone(),
            message: format!("not a readable parquet file: {message}; fetch it again"),
        }
    }
}
