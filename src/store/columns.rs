//! How the rows of a scan's tables become columns, and back.

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use sha2::{Digest, Sha256};

use super::table::{damaged, parquet_error};
use super::{ActivationRow, HeadRow, LagRow, SampleRow};
use crate::Result;
use crate::metrics::{Extra, HeadSums, LagFit, Magnitudes, Measures, Metric};

/// The line through a head's attention by distance, in `heads.parquet`; NaN where there is none.
const LAG_SLOPE: &str = "lag_slope";
const LAG_R2: &str = "lag_r2";

/// A row of one of the tables.
pub(super) trait TableRow: Sized + Copy {
    /// What identifies a row and orders it, most significant first.
    const KEY: &'static [&'static str];

    /// The columns of the table that a scan of these measures writes, with their values. Those of no measures are in
    /// every such table.
    fn columns(rows: &[Self], measures: &Measures) -> Vec<Column>;

    /// The columns that more measures add and that [`TableRow::decode`] reads.
    fn optional_columns() -> Vec<(&'static str, DataType)> {
        Vec::new()
    }

    /// Appends the rows of a batch that has at least the columns of the schema.
    fn decode(path: &Path, batch: &RecordBatch, rows: &mut Vec<Self>) -> Result<()>;
}

/// A column by its name. None has nulls.
pub(super) struct Column {
    name: &'static str,
    values: ArrayRef,
}

impl Column {
    fn int32(name: &'static str, values: impl Iterator<Item = i32>) -> Self {
        let values = Arc::new(Int32Array::from_iter_values(values));
        Self { name, values }
    }

    fn int64(name: &'static str, values: impl Iterator<Item = i64>) -> Self {
        let values = Arc::new(Int64Array::from_iter_values(values));
        Self { name, values }
    }

    fn float64(name: &'static str, values: impl Iterator<Item = f64>) -> Self {
        let values = Arc::new(Float64Array::from_iter_values(values));
        Self { name, values }
    }
}

/// The rows as a batch.
pub(super) fn to_batch<R: TableRow>(
    path: &Path,
    rows: &[R],
    measures: &Measures,
) -> Result<RecordBatch> {
    let columns = R::columns(rows, measures);
    let schema = schema_of(&columns);
    let values = columns.into_iter().map(|column| column.values).collect();
    RecordBatch::try_new(Arc::new(schema), values)
        .map_err(|error| parquet_error(path, error.into()))
}

/// The schema of the table that a scan of these measures writes.
pub(super) fn schema<R: TableRow>(measures: &Measures) -> Arc<Schema> {
    Arc::new(schema_of(&R::columns(&[], measures)))
}

fn schema_of(columns: &[Column]) -> Schema {
    let field = |column: &Column| {
        Arc::new(Field::new(
            column.name,
            column.values.data_type().clone(),
            false,
        ))
    };
    Schema::new(columns.iter().map(field).collect::<Vec<_>>())
}

/// SHA-256 of the rows' values, column after column with its name, little-endian, as lower-case hexadecimal.
pub(super) fn sha256<R: TableRow>(rows: &[R], measures: &Measures) -> String {
    let mut hasher = Sha256::new();
    for column in R::columns(rows, measures) {
        hasher.update(column.name);
        let values = column.values.as_ref();
        if let Some(values) = values.as_primitive_opt::<Int32Type>() {
            values
                .values()
                .iter()
                .for_each(|v| hasher.update(v.to_le_bytes()));
        } else if let Some(values) = values.as_primitive_opt::<Int64Type>() {
            values
                .values()
                .iter()
                .for_each(|v| hasher.update(v.to_le_bytes()));
        } else if let Some(values) = values.as_primitive_opt::<Float64Type>() {
            values
                .values()
                .iter()
                .for_each(|v| hasher.update(v.to_le_bytes()));
        }
    }
    crate::hex(&hasher.finalize())
}

/// `samples.parquet`: a row per (sample, layer, head).
impl TableRow for SampleRow {
    const KEY: &'static [&'static str] = &["layer", "sample", "head"];

    fn columns(rows: &[Self], measures: &Measures) -> Vec<Column> {
        let mut columns = vec![
            Column::int64("sample", rows.iter().map(|row| row.sample)),
            Column::int32("layer", rows.iter().map(|row| row.layer)),
            Column::int32("head", rows.iter().map(|row| row.head)),
        ];
        let sums = || rows.iter().map(|row| &row.sums);
        columns.extend(sum_columns(sums));
        columns.extend(extra_columns(sums, measures));
        columns
    }

    fn optional_columns() -> Vec<(&'static str, DataType)> {
        all_extras()
    }

    fn decode(path: &Path, batch: &RecordBatch, rows: &mut Vec<Self>) -> Result<()> {
        let sample = values::<Int64Type>(path, batch, "sample")?;
        let layer = values::<Int32Type>(path, batch, "layer")?;
        let head = values::<Int32Type>(path, batch, "head")?;
        let sums = sums(path, batch)?;
        rows.extend(sums.into_iter().enumerate().map(|(row, sums)| SampleRow {
            sample: sample[row],
            layer: layer[row],
            head: head[row],
            sums,
        }));
        Ok(())
    }
}

/// `heads.parquet`: a row per (layer, head), sums beside the means that people read.
impl TableRow for HeadRow {
    const KEY: &'static [&'static str] = &["layer", "head"];

    fn columns(rows: &[Self], measures: &Measures) -> Vec<Column> {
        let mut columns = vec![
            Column::int32("layer", rows.iter().map(|row| row.layer)),
            Column::int32("head", rows.iter().map(|row| row.head)),
            Column::int64("samples", rows.iter().map(|row| row.samples)),
        ];
        let sums = || rows.iter().map(|row| &row.sums);
        let score = |metric: Metric| {
            Column::float64(metric.name(), sums().map(move |sums| metric.score(sums)))
        };
        let mut sum_columns = sum_columns(sums);
        let non_finite_rows = sum_columns.pop();
        columns.extend(sum_columns);
        columns.extend(Metric::BASE.map(score));
        columns.extend(non_finite_rows);
        columns.extend(extra_columns(sums, measures));
        let extras = Metric::of(measures).into_iter();
        columns.extend(
            extras
                .filter(|metric| !Metric::BASE.contains(metric))
                .map(score),
        );
        if measures.lags.is_some() {
            let fit = |of: fn(LagFit) -> f64| {
                rows.iter().map(move |row| row.lag_fit.map_or(f64::NAN, of))
            };
            columns.push(Column::float64(LAG_SLOPE, fit(|fit| fit.slope)));
            columns.push(Column::float64(LAG_R2, fit(|fit| fit.r2)));
        }
        columns
    }

    fn optional_columns() -> Vec<(&'static str, DataType)> {
        let mut columns = all_extras();
        columns.extend([LAG_SLOPE, LAG_R2].map(|name| (name, DataType::Float64)));
        columns
    }

    fn decode(path: &Path, batch: &RecordBatch, rows: &mut Vec<Self>) -> Result<()> {
        let layer = values::<Int32Type>(path, batch, "layer")?;
        let head = values::<Int32Type>(path, batch, "head")?;
        let samples = values::<Int64Type>(path, batch, "samples")?;
        let sums = sums(path, batch)?;
        let fits = match batch.column_by_name(LAG_SLOPE) {
            None => None,
            Some(_) => Some((
                values::<Float64Type>(path, batch, LAG_SLOPE)?,
                values::<Float64Type>(path, batch, LAG_R2)?,
            )),
        };
        let lag_fit = |row: usize| {
            let (slope, r2) = fits.map(|(slopes, r2)| (slopes[row], r2[row]))?;
            slope.is_finite().then_some(LagFit { slope, r2 })
        };
        rows.extend(sums.into_iter().enumerate().map(|(row, sums)| HeadRow {
            layer: layer[row],
            head: head[row],
            samples: samples[row],
            sums,
            lag_fit: lag_fit(row),
        }));
        Ok(())
    }
}

/// `lags.parquet`: a row per (layer, head, lag).
impl TableRow for LagRow {
    const KEY: &'static [&'static str] = &["layer", "head", "lag"];

    fn columns(rows: &[Self], _: &Measures) -> Vec<Column> {
        vec![
            Column::int32("layer", rows.iter().map(|row| row.layer)),
            Column::int32("head", rows.iter().map(|row| row.head)),
            Column::int32("lag", rows.iter().map(|row| row.lag)),
            Column::int64("rows", rows.iter().map(|row| row.rows)),
            Column::float64("share_sum", rows.iter().map(|row| row.share_sum)),
            Column::float64("mean_share", rows.iter().map(LagRow::mean_share)),
        ]
    }

    fn decode(path: &Path, batch: &RecordBatch, rows: &mut Vec<Self>) -> Result<()> {
        let layer = values::<Int32Type>(path, batch, "layer")?;
        let head = values::<Int32Type>(path, batch, "head")?;
        let lag = values::<Int32Type>(path, batch, "lag")?;
        let seen = values::<Int64Type>(path, batch, "rows")?;
        let share_sum = values::<Float64Type>(path, batch, "share_sum")?;
        rows.extend((0..batch.num_rows()).map(|row| LagRow {
            layer: layer[row],
            head: head[row],
            lag: lag[row],
            rows: seen[row],
            share_sum: share_sum[row],
        }));
        Ok(())
    }
}

/// `activations.parquet`: a row per (sample, layer).
impl TableRow for ActivationRow {
    const KEY: &'static [&'static str] = &["layer", "sample"];

    fn columns(rows: &[Self], _: &Measures) -> Vec<Column> {
        let found = || rows.iter().map(|row| row.magnitudes);
        vec![
            Column::int64("sample", rows.iter().map(|row| row.sample)),
            Column::int32("layer", rows.iter().map(|row| row.layer)),
            Column::int64("tokens", found().map(|found| found.tokens)),
            Column::float64("largest", found().map(|found| found.largest)),
            Column::int64("largest_token", found().map(|found| found.largest_token)),
            Column::int32("largest_dim", found().map(|found| found.largest_dim)),
            Column::float64("median", found().map(|found| found.median)),
            Column::int64("non_finite", found().map(|found| found.non_finite)),
        ]
    }

    fn decode(path: &Path, batch: &RecordBatch, rows: &mut Vec<Self>) -> Result<()> {
        let sample = values::<Int64Type>(path, batch, "sample")?;
        let layer = values::<Int32Type>(path, batch, "layer")?;
        let tokens = values::<Int64Type>(path, batch, "tokens")?;
        let largest = values::<Float64Type>(path, batch, "largest")?;
        let largest_token = values::<Int64Type>(path, batch, "largest_token")?;
        let largest_dim = values::<Int32Type>(path, batch, "largest_dim")?;
        let median = values::<Float64Type>(path, batch, "median")?;
        let non_finite = values::<Int64Type>(path, batch, "non_finite")?;
        rows.extend((0..batch.num_rows()).map(|row| ActivationRow {
            sample: sample[row],
            layer: layer[row],
            magnitudes: Magnitudes {
                tokens: tokens[row],
                largest: largest[row],
                largest_token: largest_token[row],
                largest_dim: largest_dim[row],
                median: median[row],
                non_finite: non_finite[row],
            },
        }));
        Ok(())
    }
}

/// Which of a table's columns a reader of `R` uses: those of every such table, and the optional ones that are there.
pub(super) fn wanted_columns<R: TableRow>(found: &Schema) -> Schema {
    let mut fields = schema_of(&R::columns(&[], &Measures::default()))
        .fields()
        .to_vec();
    for (name, data_type) in R::optional_columns() {
        if found.column_with_name(name).is_some() {
            fields.push(Arc::new(Field::new(name, data_type, false)));
        }
    }
    Schema::new(fields)
}

/// The columns of all [`Extra`]s.
fn all_extras() -> Vec<(&'static str, DataType)> {
    let data_type = |extra: Extra| match extra.is_count() {
        true => DataType::Int64,
        false => DataType::Float64,
    };
    Extra::ALL
        .map(|extra| (extra.name(), data_type(extra)))
        .to_vec()
}

/// `tokens`, the five sums and `non_finite_rows`.
fn sum_columns<'a, I: Iterator<Item = &'a HeadSums>>(sums: impl Fn() -> I) -> Vec<Column> {
    vec![
        Column::int64("tokens", sums().map(|sums| sums.tokens)),
        Column::float64("max_share_sum", sums().map(|sums| sums.max_share_sum)),
        Column::float64("first_share_sum", sums().map(|sums| sums.first_share_sum)),
        Column::float64("max_weight_sum", sums().map(|sums| sums.max_weight_sum)),
        Column::float64("total_weight_sum", sums().map(|sums| sums.total_weight_sum)),
        Column::float64("entropy_sum", sums().map(|sums| sums.entropy_sum)),
        Column::int64("non_finite_rows", sums().map(|sums| sums.non_finite_rows)),
    ]
}

/// What was measured beyond that.
fn extra_columns<'a, I: Iterator<Item = &'a HeadSums>>(
    sums: impl Fn() -> I,
    measures: &Measures,
) -> Vec<Column> {
    let extras = Extra::ALL.into_iter();
    let measured = extras.filter(|extra| extra.is_measured(measures));
    let column = |extra: Extra| {
        let values = sums().map(|sums| sums.extras[extra]);
        match extra.is_count() {
            true => Column::int64(extra.name(), values.map(|value| value as i64)),
            false => Column::float64(extra.name(), values),
        }
    };
    measured.map(column).collect()
}

fn sums(path: &Path, batch: &RecordBatch) -> Result<Vec<HeadSums>> {
    let tokens = values::<Int64Type>(path, batch, "tokens")?;
    let max_share = values::<Float64Type>(path, batch, "max_share_sum")?;
    let first_share = values::<Float64Type>(path, batch, "first_share_sum")?;
    let max_weight = values::<Float64Type>(path, batch, "max_weight_sum")?;
    let total_weight = values::<Float64Type>(path, batch, "total_weight_sum")?;
    let entropy = values::<Float64Type>(path, batch, "entropy_sum")?;
    let non_finite = values::<Int64Type>(path, batch, "non_finite_rows")?;
    let mut sums: Vec<HeadSums> = (0..batch.num_rows())
        .map(|row| HeadSums {
            tokens: tokens[row],
            max_share_sum: max_share[row],
            first_share_sum: first_share[row],
            max_weight_sum: max_weight[row],
            total_weight_sum: total_weight[row],
            entropy_sum: entropy[row],
            non_finite_rows: non_finite[row],
            ..HeadSums::default()
        })
        .collect();
    for extra in Extra::ALL {
        if batch.column_by_name(extra.name()).is_none() {
            continue;
        }
        let found: Vec<f64> = match extra.is_count() {
            true => {
                let counts = values::<Int64Type>(path, batch, extra.name())?;
                counts.iter().map(|&count| count as f64).collect()
            }
            false => values::<Float64Type>(path, batch, extra.name())?.to_vec(),
        };
        for (sums, value) in sums.iter_mut().zip(found) {
            sums.extras[extra] = value;
        }
    }
    Ok(sums)
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
