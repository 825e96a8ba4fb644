//! `map.parquet`: a row for each cell of a phase map.

use std::path::Path;

use crate::Result;
use crate::flow::map::{Axis, Cell, Map, Request, Spread, Value};
use crate::store::Provenance;
use crate::store::named_columns::{Column, write_new};

/// Writes the table as the new file `path`: the cell (`x_name`, `x`, `y_name`, `y`; a text for σ, a number for everything
/// else), `quantity`, its `mean`, `median`, `min` and `max` over the runs that have it, `replicas` (runs), `counted`
/// (those that have it) and `failed` (those that did not come to their end). Row by row: y, and within it x.
///
/// # Errors
/// What the disk refuses, and [`Error::OutDir`](crate::Error::OutDir) for a file that is there.
pub fn write_map(path: &Path, request: &Request, map: &Map, provenance: &Provenance) -> Result<()> {
    let cells = &map.cells;
    let rows = cells.len();
    let count = |name, of: fn(&Cell) -> usize| {
        Column::int64(name, cells.iter().map(|cell| of(cell) as i64))
    };
    let number = |name, of: fn(&Spread) -> f64| {
        Column::some_float64(name, cells.iter().map(|cell| cell.spread.as_ref().map(of)))
    };
    let name = |name, axis: &Axis| Column::word(name, axis.parameter().name(), rows);
    let columns = vec![
        name("x_name", &request.x),
        values("x", cells, |cell| cell.x),
        name("y_name", &request.y),
        values("y", cells, |cell| cell.y),
        Column::word("quantity", request.measure.name(), rows),
        number("mean", |spread| spread.mean),
        number("median", |spread| spread.median),
        number("min", |spread| spread.min),
        number("max", |spread| spread.max),
        count("replicas", |cell| cell.replicas),
        count("counted", |cell| cell.counted),
        count("failed", |cell| cell.failed),
    ];
    write_new(path, columns, &[], provenance)
}

fn values(name: &'static str, cells: &[Cell], of: fn(&Cell) -> Value) -> Column {
    let numbers: Option<Vec<f64>> = cells.iter().map(|cell| of(cell).number()).collect();
    match numbers {
        Some(numbers) => Column::float64(name, numbers.into_iter()),
        None => {
            let words: Vec<String> = cells.iter().map(|cell| of(cell).to_string()).collect();
            Column::words(name, words.iter().map(String::as_str))
        }
    }
}
