//! The tables of sweeps, read back.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use arrow_array::{
    Array, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};

use super::RUNS;
use crate::{
    Result,
    store::{reader::read_batches, table::damaged},
};

/// An entry of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Whole(i64),
    /// A number.
    Number(f64),
    /// A text.
    Word(String),
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Null => f.write_str("null"),
            Cell::Bool(value) => value.fmt(f),
            Cell::Whole(value) => value.fmt(f),
            Cell::Number(value) => value.fmt(f),
            Cell::Word(value) => f.write_str(value),
        }
    }
}

/// A table of a sweep with all its columns.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepTable {
    path: PathBuf,
    columns: Vec<(String, Vec<Cell>)>,
    rows: usize,
}

impl SweepTable {
    /// Reads `path`, a table or the directory of a sweep, of which this is `runs.parquet`.
    ///
    /// # Errors
    /// [`Error::Parquet`](crate::Error::Parquet) for a file that is damaged or has columns of another kind.
    pub fn read(path: &Path) -> Result<Self> {
        let path = match path.is_dir() {
            true => path.join(RUNS),
            false => path.to_path_buf(),
        };
        let batches = read_batches(&path)?;
        let mut columns: Vec<(String, Vec<Cell>)> = Vec::new();
        let mut rows = 0;
        for batch in &batches {
            rows += batch.num_rows();
            append(&path, batch, &mut columns)?;
        }
        Ok(Self {
            path,
            columns,
            rows,
        })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The names of the columns.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// A column.
    ///
    /// # Errors
    /// [`Error::Parquet`](crate::Error::Parquet) if there is none of this name.
    pub fn column(&self, name: &str) -> Result<&[Cell]> {
        let mut named = self.columns.iter().filter(|(known, _)| known == name);
        match named.next() {
            Some((_, cells)) => Ok(cells),
            None if self.rows == 0 => Ok(&[]),
            None => Err(damaged(
                &self.path,
                format!("there is no column `{name}`. Is this a table of `attnscope sweep`?"),
            )),
        }
    }

    /// A column of numbers; `None` where there is none.
    ///
    /// # Errors
    /// As [`SweepTable::column`].
    pub fn numbers(&self, name: &str) -> Result<Vec<Option<f64>>> {
        let cells = self.column(name)?.iter();
        let numbers = cells.map(|cell| match cell {
            Cell::Number(number) => Some(*number),
            Cell::Whole(number) => Some(*number as f64),
            Cell::Null | Cell::Bool(_) | Cell::Word(_) => None,
        });
        Ok(numbers.collect())
    }
}

fn append(path: &Path, batch: &RecordBatch, columns: &mut Vec<(String, Vec<Cell>)>) -> Result<()> {
    let schema = batch.schema();
    for (at, (field, array)) in schema.fields().iter().zip(batch.columns()).enumerate() {
        let cells = cells(array.as_ref()).ok_or_else(|| {
            damaged(
                path,
                format!(
                    "column `{}` is of type {}, which no table of `attnscope sweep` has",
                    field.name(),
                    field.data_type()
                ),
            )
        })?;
        match columns.get_mut(at) {
            Some((_, known)) => known.extend(cells),
            None => columns.push((field.name().clone(), cells)),
        }
    }
    Ok(())
}

fn cells(array: &dyn Array) -> Option<Vec<Cell>> {
    let array_of = array.as_any();
    let cell = |of: &dyn Fn(usize) -> Cell| -> Vec<Cell> {
        (0..array.len())
            .map(|row| match array.is_null(row) {
                true => Cell::Null,
                false => of(row),
            })
            .collect()
    };
    if let Some(found) = array_of.downcast_ref::<BooleanArray>() {
        return Some(cell(&|row| Cell::Bool(found.value(row))));
    }
    if let Some(found) = array_of.downcast_ref::<Int32Array>() {
        return Some(cell(&|row| Cell::Whole(found.value(row).into())));
    }
    if let Some(found) = array_of.downcast_ref::<Int64Array>() {
        return Some(cell(&|row| Cell::Whole(found.value(row))));
    }
    if let Some(found) = array_of.downcast_ref::<Float64Array>() {
        return Some(cell(&|row| Cell::Number(found.value(row))));
    }
    let found = array_of.downcast_ref::<StringArray>()?;
    Some(cell(&|row| Cell::Word(found.value(row).to_owned())))
}
