//! `summary.parquet`: a row for each run.

use std::path::Path;

use super::Run;
use crate::Result;
use crate::flow::end::End;
use crate::flow::model::Model;
use crate::store::Provenance;
use crate::store::named_columns::{Column, write_new};

/// Writes the table as the new file `path`: what a run is (`run`, `experiment`, `sigma`, `dim`, `predictions`, `rows`,
/// `condition_number`, `seed`, `rate`), its last record (`step`, `time`, `loss`, `strength`, `largest_weight`,
/// `coordinate`, `entropy`), what it took (`records`, `accepted`, `rejected`, `evaluations`) and why it ended early
/// (`failure`).
///
/// Of several rows `largest_weight` and `entropy` are means, and `coordinate` is null unless it is the same in all.
/// Entropies are of the weights divided by their sum, null where a weight is below 0 or all are 0.
///
/// # Errors
/// What the disk refuses, and [`Error::OutDir`](crate::Error::OutDir) for a file that is there.
pub fn write_summary(path: &Path, runs: &[Run<'_>], provenance: &Provenance) -> Result<()> {
    let ends: Vec<Option<End<'_>>> = runs.iter().map(|run| run.followed.end()).collect();
    let followed = || runs.iter().map(|run| run.followed);
    let size = |name, of: fn(&Model) -> usize| {
        let sizes = followed().map(|followed| of(followed.run.problem.model()) as i32);
        Column::int32(name, sizes)
    };
    let number = |name, of: fn(&End<'_>) -> Option<f64>| {
        Column::some_float64(name, ends.iter().map(|end| end.as_ref().and_then(of)))
    };
    let effort =
        |name, of: fn(&Run<'_>) -> u64| Column::int64(name, runs.iter().map(|run| of(run) as i64));
    let step = |end: &Option<End<'_>>| end.map_or(0, |end| end.updates as i64);
    let coordinate = |end: &Option<End<'_>>| Some(end.as_ref()?.coordinate? as i32);
    let columns = vec![
        Column::int32("run", runs.iter().map(|run| run.number)),
        Column::words(
            "experiment",
            followed().map(|followed| followed.run.experiment),
        ),
        Column::words(
            "sigma",
            followed().map(|followed| followed.run.sigma().name()),
        ),
        size("dim", Model::positions),
        size("predictions", Model::predictions),
        size("rows", Model::rows),
        Column::some_float64(
            "condition_number",
            followed().map(|followed| followed.run.condition_number),
        ),
        Column::int64(
            "seed",
            followed().map(|followed| i64::from(followed.run.seed)),
        ),
        Column::float64("rate", followed().map(|followed| followed.run.rate)),
        Column::int64("step", ends.iter().map(step)),
        number("time", |end| Some(end.time)),
        number("loss", |end| Some(end.loss)),
        number("strength", |end| Some(end.strength)),
        number("largest_weight", |end| Some(end.largest_weight)),
        Column::some_int32("coordinate", ends.iter().map(coordinate)),
        number("entropy", |end| end.entropy),
        effort("records", |run| run.followed.trajectory.times.len() as u64),
        effort("accepted", |run| run.followed.effort.accepted),
        effort("rejected", |run| run.followed.effort.rejected),
        effort("evaluations", |run| run.followed.effort.evaluations),
        Column::texts(
            "failure",
            followed().map(|followed| followed.failure.as_ref().map(ToString::to_string)),
        ),
    ];
    write_new(path, columns, &["run"], provenance)
}
