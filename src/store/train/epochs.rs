//! `epochs.parquet`.

use std::path::Path;

use crate::{
    Result,
    store::{
        Provenance,
        named_columns::{Column, write_new},
    },
    train::{metrics::Score, run::Epoch},
};

/// `epoch`, `steps` (made until its end), `train_loss` (mean over its steps; null if one was not finite), and of the
/// evaluation samples after it `eval_loss` and `accuracy` (null if it ended early).
pub(super) fn write(path: &Path, epochs: &[Epoch], provenance: &Provenance) -> Result<()> {
    let count = |name, of: fn(&Epoch) -> usize| {
        Column::int64(name, epochs.iter().map(|epoch| of(epoch) as i64))
    };
    let score = |name, of: fn(Score) -> f64| {
        let scores = epochs.iter().map(|epoch| epoch.eval.map_or(f64::NAN, of));
        Column::number_or_null(name, scores)
    };
    let columns = vec![
        count("epoch", |epoch| epoch.epoch),
        count("steps", |epoch| epoch.steps),
        Column::number_or_null("train_loss", epochs.iter().map(|epoch| epoch.train_loss)),
        score("eval_loss", |score| score.loss),
        score("accuracy", |score| score.accuracy),
    ];
    write_new(path, columns, &["epoch"], provenance)
}
