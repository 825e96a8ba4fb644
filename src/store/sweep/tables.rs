//! `runs.parquet` and `heads.parquet`.

use std::{collections::BTreeMap, path::Path};

use super::{EndState, HeadRecord, RunRecord};
use crate::{
    Result,
    store::{
        Provenance,
        named_columns::{Column, replace},
    },
    train::sweep::{Grid, Key, TaskName, Value},
};

type Records = BTreeMap<usize, RunRecord>;

/// Writes a row for each run, by number: `index` and `task`; all keys of its configuration; `state` (`finished` or
/// `diverged`), `steps`, `accuracy`, `loss`, `has_learned`; of induction `sink_share` and `sink_share_last_layer` (sinks
/// among its heads), of classification `sparsity_score` (the mean over heads) and `max_flip_rate`; `non_finite_rows`;
/// `attnscope_version` and `device`; and `seconds` that it and the others took with which it was trained, `side_by_side` in all.
///
/// What a run that diverged does not have is null, and so is what has no number: the mean of scores of which one is
/// none, the flip rate where all samples have one label. Of attention functions whose weights may be negative,
/// `sparsity_score` is no share; it is there as the paper's program logs it.
pub(super) fn write_runs(
    path: &Path,
    grid: &Grid,
    records: &Records,
    provenance: &Provenance,
) -> Result<()> {
    let runs = || records.values();
    let number = |name, of: fn(&RunRecord) -> Option<f64>| {
        Column::some_float64(name, runs().map(of).map(finite))
    };
    let mut columns = identity(grid, runs());
    columns.extend([
        Column::words("state", runs().map(|run| run.state.name())),
        Column::int64("steps", runs().map(|run| run.steps as i64)),
        number("accuracy", |run| run.accuracy),
        number("loss", |run| run.loss),
        Column::booleans("has_learned", runs().map(|run| run.has_learned)),
    ]);
    columns.extend(match grid.task() {
        TaskName::Induction => [
            number("sink_share", RunRecord::sink_share),
            number("sink_share_last_layer", RunRecord::sink_share_last_layer),
        ],
        TaskName::Classification => [
            number("sparsity_score", RunRecord::sparsity_score),
            number("max_flip_rate", RunRecord::max_flip_rate),
        ],
    });
    columns.extend([
        Column::some_int64(
            "non_finite_rows",
            runs().map(|run| {
                let rows = run.heads.iter().map(|head| head.non_finite_rows as i64);
                (run.state == EndState::Finished).then(|| rows.sum())
            }),
        ),
        Column::words(
            "attnscope_version",
            runs().map(|run| run.attnscope_version.as_str()),
        ),
        Column::words("device", runs().map(|run| run.device.as_str())),
        Column::float64("seconds", runs().map(|run| run.seconds)),
        Column::int32("side_by_side", runs().map(|run| run.side_by_side as i32)),
    ]);
    replace(path, columns, &["index"], provenance)
}

/// Writes a row for each head of each run: what the run is as in `runs.parquet`, with its `state`, `accuracy` and
/// `has_learned`; `layer` and `head`; of induction `sink_score`, `sink_score_of_means`, `is_sink`, of classification
/// `sparsity_score`, `flip_rate`; and `non_finite_rows`. The heads of a run that diverged have nulls.
pub(super) fn write_heads(
    path: &Path,
    grid: &Grid,
    records: &Records,
    provenance: &Provenance,
) -> Result<()> {
    let unmeasured: BTreeMap<usize, Vec<HeadRecord>> = records
        .values()
        .filter(|run| run.state == EndState::Diverged)
        .map(|run| (run.index, heads_of(grid, run.index)))
        .collect();
    let rows: Vec<(&RunRecord, &HeadRecord)> = records
        .values()
        .flat_map(|run| {
            let heads = unmeasured.get(&run.index).unwrap_or(&run.heads);
            heads.iter().map(move |head| (run, head))
        })
        .collect();
    let runs = || rows.iter().map(|(run, _)| *run);
    let heads = || rows.iter().map(|(_, head)| *head);
    let number = |name, of: fn(&HeadRecord) -> Option<f64>| {
        Column::some_float64(name, heads().map(of).map(finite))
    };
    let mut columns = identity(grid, runs());
    columns.extend([
        Column::words("state", runs().map(|run| run.state.name())),
        Column::some_float64("accuracy", runs().map(|run| finite(run.accuracy))),
        Column::booleans("has_learned", runs().map(|run| run.has_learned)),
        Column::int32("layer", heads().map(|head| head.layer as i32)),
        Column::int32("head", heads().map(|head| head.head as i32)),
    ]);
    match grid.task() {
        TaskName::Induction => columns.extend([
            number("sink_score", |head| head.sink_score),
            number("sink_score_of_means", |head| head.sink_score_of_means),
            Column::booleans("is_sink", heads().map(|head| head.is_sink)),
        ]),
        TaskName::Classification => columns.extend([
            number("sparsity_score", |head| head.sparsity_score),
            number("flip_rate", |head| head.flip_rate),
        ]),
    }
    columns.push(Column::some_int64(
        "non_finite_rows",
        rows.iter().map(|(run, head)| {
            (run.state == EndState::Finished).then_some(head.non_finite_rows as i64)
        }),
    ));
    replace(path, columns, &["index", "layer", "head"], provenance)
}

/// What the runs are: `index`, `task` and every key.
fn identity<'a>(grid: &Grid, runs: impl Iterator<Item = &'a RunRecord> + Clone) -> Vec<Column> {
    let indices: Vec<usize> = runs.map(|run| run.index).collect();
    let values: Vec<BTreeMap<Key, &Value>> = indices
        .iter()
        .map(|&index| grid.values(index).into_iter().collect())
        .collect();
    let mut columns = vec![
        Column::int64("index", indices.iter().map(|&index| index as i64)),
        Column::word("task", grid.task().name(), indices.len()),
    ];
    for key in grid.task().keys() {
        // Every run has a value of every key.
        let values = values.iter().filter_map(|values| values.get(&key).copied());
        columns.push(key_column(key, values));
    }
    columns
}

fn key_column<'a>(key: Key, values: impl Iterator<Item = &'a Value>) -> Column {
    use crate::train::sweep::Kind;
    let name = key.name();
    match key.kind() {
        Kind::Bool => Column::booleans(
            name,
            values.map(|value| match value {
                Value::Bool(is) => Some(*is),
                _ => None,
            }),
        ),
        Kind::Whole => Column::some_int64(
            name,
            values.map(|value| match value {
                Value::Whole(number) => i64::try_from(*number).ok(),
                _ => None,
            }),
        ),
        Kind::Number => Column::some_float64(
            name,
            values.map(|value| match value {
                Value::Number(number) => Some(*number),
                _ => None,
            }),
        ),
        Kind::Word => {
            let words: Vec<String> = values.map(Value::to_string).collect();
            Column::words(name, words.iter().map(String::as_str))
        }
    }
}

/// The heads that a run has, without anything measured.
fn heads_of(grid: &Grid, run: usize) -> Vec<HeadRecord> {
    let configuration = grid.configuration(run);
    let heads = (0..configuration.num_layers)
        .flat_map(|layer| (0..configuration.num_heads).map(move |head| (layer, head)));
    heads
        .map(|(layer, head)| HeadRecord {
            layer,
            head,
            ..HeadRecord::default()
        })
        .collect()
}

fn finite(number: Option<f64>) -> Option<f64> {
    number.filter(|number| number.is_finite())
}
