//! Columns by name, with or without nulls.

use std::path::Path;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray,
};
use arrow_schema::{Field, Schema};

use crate::Result;
use crate::store::{Provenance, TableWriter, parquet_error};

/// A column of some rows.
pub(super) struct Column {
    name: &'static str,
    values: ArrayRef,
    nullable: bool,
}

impl Column {
    fn new(name: &'static str, values: impl Array + 'static, nullable: bool) -> Self {
        let values = Arc::new(values);
        Self {
            name,
            values,
            nullable,
        }
    }

    /// Texts that repeat.
    pub(super) fn words<'a>(name: &'static str, words: impl Iterator<Item = &'a str>) -> Self {
        Self::new(name, words.collect::<DictionaryArray<Int32Type>>(), false)
    }

    /// The same text in so many rows.
    pub(super) fn word(name: &'static str, word: &str, rows: usize) -> Self {
        Self::words(name, std::iter::repeat_n(word, rows))
    }

    /// Texts, or none.
    pub(super) fn texts(name: &'static str, texts: impl Iterator<Item = Option<String>>) -> Self {
        Self::new(name, texts.collect::<StringArray>(), true)
    }

    pub(super) fn booleans(name: &'static str, values: impl Iterator<Item = Option<bool>>) -> Self {
        Self::new(name, values.collect::<BooleanArray>(), true)
    }

    pub(super) fn some_int64(
        name: &'static str,
        numbers: impl Iterator<Item = Option<i64>>,
    ) -> Self {
        Self::new(name, numbers.collect::<Int64Array>(), true)
    }

    pub(super) fn int32(name: &'static str, numbers: impl Iterator<Item = i32>) -> Self {
        Self::new(name, Int32Array::from_iter_values(numbers), false)
    }

    pub(super) fn some_int32(
        name: &'static str,
        numbers: impl Iterator<Item = Option<i32>>,
    ) -> Self {
        Self::new(name, numbers.collect::<Int32Array>(), true)
    }

    pub(super) fn int64(name: &'static str, numbers: impl Iterator<Item = i64>) -> Self {
        Self::new(name, Int64Array::from_iter_values(numbers), false)
    }

    pub(super) fn float64(name: &'static str, numbers: impl Iterator<Item = f64>) -> Self {
        Self::new(name, Float64Array::from_iter_values(numbers), false)
    }

    /// Numbers, with null where there is NaN.
    pub(super) fn number_or_null(name: &'static str, numbers: impl Iterator<Item = f64>) -> Self {
        let kept = numbers.map(|number| Some(number).filter(|number| !number.is_nan()));
        Self::some_float64(name, kept)
    }

    pub(super) fn some_float64(
        name: &'static str,
        numbers: impl Iterator<Item = Option<f64>>,
    ) -> Self {
        Self::new(name, numbers.collect::<Float64Array>(), true)
    }
}

/// The rows as a batch.
pub(super) fn to_batch(path: &Path, columns: Vec<Column>) -> Result<RecordBatch> {
    let field = |column: &Column| {
        let data_type = column.values.data_type().clone();
        Field::new(column.name, data_type, column.nullable)
    };
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let values = columns.into_iter().map(|column| column.values).collect();
    RecordBatch::try_new(Arc::new(schema), values)
        .map_err(|error| parquet_error(path, error.into()))
}

/// Writes a small table as the new file `path`.
pub(super) fn write_new(
    path: &Path,
    columns: Vec<Column>,
    sorted_by: &[&str],
    provenance: &Provenance,
) -> Result<()> {
    written(path, columns, sorted_by, provenance)?.commit_new()
}

/// The same in place of a file that is there.
pub(super) fn replace(
    path: &Path,
    columns: Vec<Column>,
    sorted_by: &[&str],
    provenance: &Provenance,
) -> Result<()> {
    written(path, columns, sorted_by, provenance)?.commit()
}

fn written(
    path: &Path,
    columns: Vec<Column>,
    sorted_by: &[&str],
    provenance: &Provenance,
) -> Result<TableWriter> {
    let batch = to_batch(path, columns)?;
    let mut table = TableWriter::create(path, &batch.schema(), sorted_by, provenance)?;
    table.write_row_group(&batch)?;
    Ok(table)
}
