//! A parquet table in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// An entry of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Null,
    Number(f64),
    Text(String),
}

impl Cell {
    #[track_caller]
    pub fn number(&self) -> f64 {
        match self {
            Cell::Number(number) => *number,
            other => panic!("{other:?} is no number"),
        }
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Cell::Number(number)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.into())
    }
}

/// The columns of a table, with their types as parquet has them.
pub struct Frame {
    /// `run INT32 REQUIRED, …`
    pub columns: String,
    pub footer: BTreeMap<String, String>,
    rows: Vec<BTreeMap<String, Cell>>,
}

impl Frame {
    pub fn read(path: &Path) -> Frame {
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
        let metadata = builder.metadata().file_metadata().clone();
        let columns = metadata.schema_descr().columns().iter().map(|column| {
            let repetition = column.self_type().get_basic_info().repetition();
            format!("{} {} {repetition}", column.name(), column.physical_type())
        });
        let columns = columns.collect::<Vec<_>>().join(", ");
        let facts = metadata.key_value_metadata().cloned().unwrap_or_default();
        let footer = facts
            .into_iter()
            .map(|fact| (fact.key, fact.value.unwrap_or_default()))
            .collect();
        let mut rows = Vec::new();
        for batch in builder.build().unwrap() {
            let batch = batch.unwrap();
            let names = batch.schema();
            for row in 0..batch.num_rows() {
                let cells = names.fields().iter().zip(batch.columns());
                let cells = cells.map(|(field, column)| (field.name().clone(), cell(column, row)));
                rows.push(cells.collect());
            }
        }
        Frame {
            columns,
            footer,
            rows,
        }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The rows whose cells are these.
    pub fn filter(&self, wanted: &[(&str, Cell)]) -> Vec<&BTreeMap<String, Cell>> {
        let is_wanted =
            |row: &&BTreeMap<String, Cell>| wanted.iter().all(|(name, cell)| row[*name] == *cell);
        self.rows.iter().filter(is_wanted).collect()
    }

    /// The numbers of a column in the rows whose cells are these.
    pub fn numbers(&self, column: &str, wanted: &[(&str, Cell)]) -> Vec<f64> {
        let rows = self.filter(wanted).into_iter();
        rows.map(|row| row[column].number()).collect()
    }

    pub fn rows(&self) -> &[BTreeMap<String, Cell>] {
        &self.rows
    }
}

fn cell(column: &ArrayRef, row: usize) -> Cell {
    if column.is_null(row) {
        return Cell::Null;
    }
    match column.data_type() {
        DataType::Int32 => Cell::Number(column.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Cell::Number(column.as_primitive::<Int64Type>().value(row) as f64),
        DataType::Float64 => Cell::Number(column.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => Cell::Number(u8::from(column.as_boolean().value(row)).into()),
        DataType::Utf8 => Cell::Text(column.as_string::<i32>().value(row).into()),
        other => panic!("{other}"),
    }
}
