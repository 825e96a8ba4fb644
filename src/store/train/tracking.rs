//! `tracking.parquet` and `value_norms.parquet`.

use std::path::Path;

use arrow_array::RecordBatch;

use crate::{
    Result,
    store::{
        Provenance, TableWriter,
        named_columns::{Column, to_batch, write_new},
    },
    train::{
        run::Trained,
        tasks::Task,
        track::{Record, Track, TrackedWeight},
    },
};

/// Rows of a row group, at least: records are short, and many share one.
const ROW_GROUP: usize = 1 << 20;
const KEY: [&str; 6] = ["step", "sample", "layer", "head", "query", "key"];

/// `step`, `sample` (its number among the evaluation samples), `layer`, `head`, `query` and `key` (positions),
/// `query_token` and `key_token` (what stands there), `weight`, `share` (of the row's total).
pub(super) fn write_weights(
    path: &Path,
    task: &Task,
    trained: &Trained,
    provenance: &Provenance,
) -> Result<()> {
    let schema = weights(path, task, trained, &[])?.schema();
    let mut writer = TableWriter::create(path, &schema, &KEY, provenance)?;
    let mut in_group = 0;
    for record in &trained.track.records {
        writer.write(&weights(path, task, trained, std::slice::from_ref(record))?)?;
        in_group += record.weights.len();
        if in_group >= ROW_GROUP {
            writer.end_row_group()?;
            in_group = 0;
        }
    }
    if in_group > 0 {
        writer.end_row_group()?;
    }
    writer.commit_new()
}

fn weights(path: &Path, task: &Task, trained: &Trained, records: &[Record]) -> Result<RecordBatch> {
    let all = || records.iter().flat_map(|record| &record.weights);
    let steps = records
        .iter()
        .flat_map(|record| std::iter::repeat_n(record.step as i64, record.weights.len()));
    let place = |name, of: fn(&TrackedWeight) -> u32| {
        Column::int32(name, all().map(|weight| of(weight) as i32))
    };
    let token = |name, of: fn(&TrackedWeight) -> u32| {
        let ids = all().map(|weight| {
            let sample = &trained.eval_samples[weight.sample as usize];
            sample.input_ids[of(weight) as usize]
        });
        let names: Vec<String> = ids.map(|id| task.token(id)).collect();
        Column::words(name, names.iter().map(String::as_str))
    };
    to_batch(
        path,
        vec![
            Column::int64(KEY[0], steps),
            place(KEY[1], |weight| weight.sample),
            place(KEY[2], |weight| weight.layer.into()),
            place(KEY[3], |weight| weight.head.into()),
            place(KEY[4], |weight| weight.query),
            place(KEY[5], |weight| weight.key),
            token("query_token", |weight| weight.query),
            token("key_token", |weight| weight.key),
            Column::number_or_null("weight", all().map(|weight| f64::from(weight.weight))),
            Column::number_or_null("share", all().map(|weight| weight.share)),
        ],
    )
}

/// `step`, `layer`, `head` (null: the whole matrix), `norm`.
pub(super) fn write_norms(path: &Path, track: &Track, provenance: &Provenance) -> Result<()> {
    let rows: Vec<(i64, i32, Option<i32>, f64)> = track
        .records
        .iter()
        .flat_map(|record| {
            let layers = (0..).zip(&record.value_norms);
            layers.flat_map(move |(layer, norm)| {
                let heads = (0..).zip(&norm.heads);
                let heads = heads.map(|(head, &norm)| (Some(head), norm));
                let all = [(None, norm.norm)].into_iter().chain(heads);
                all.map(move |(head, norm)| (record.step as i64, layer, head, norm))
            })
        })
        .collect();
    let columns = vec![
        Column::int64("step", rows.iter().map(|row| row.0)),
        Column::int32("layer", rows.iter().map(|row| row.1)),
        Column::some_int32("head", rows.iter().map(|row| row.2)),
        Column::number_or_null("norm", rows.iter().map(|row| row.3)),
    ];
    write_new(path, columns, &["step", "layer"], provenance)
}
