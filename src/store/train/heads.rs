//! `heads.parquet`: the metrics of the task, and the weights themselves as the paper's programs log them.

use std::path::Path;

use crate::{
    Result,
    store::{
        Provenance,
        named_columns::{Column, write_new},
    },
    train::metrics::{ClassificationHead, Heads, InductionHead},
};

const KEY: [&str; 2] = ["layer", "head"];

/// `layer`, `head`; of induction `sink_score`, `sink_score_of_means`, `is_sink`, `bos_weight` (`abs_attn_bos` of
/// `exp_induction.py`), `total_weight` (`abs_attn_all`); of classification `sparsity_score`, `flip_rate`, `max_weight`
/// (`abs_attn_max` of `exp_classification.py`), `total_weight` (`abs_attn_sum`); of both `non_finite_rows`.
pub(super) fn write(path: &Path, heads: &Heads, provenance: &Provenance) -> Result<()> {
    let columns = match heads {
        Heads::Induction(heads) => of_induction(heads),
        Heads::Classification(heads) => of_classification(heads),
    };
    write_new(path, columns, &KEY, provenance)
}

fn of_induction(heads: &[InductionHead]) -> Vec<Column> {
    let number =
        |name, of: fn(&InductionHead) -> f64| Column::number_or_null(name, heads.iter().map(of));
    vec![
        Column::int32(KEY[0], heads.iter().map(|head| head.layer as i32)),
        Column::int32(KEY[1], heads.iter().map(|head| head.head as i32)),
        number("sink_score", |head| head.sink_score),
        number("sink_score_of_means", |head| head.sink_score_of_means),
        Column::booleans("is_sink", heads.iter().map(InductionHead::is_sink)),
        number("bos_weight", |head| head.bos_weight),
        number("total_weight", |head| head.total_weight),
        Column::int64(
            "non_finite_rows",
            heads.iter().map(|head| head.non_finite_rows as i64),
        ),
    ]
}

fn of_classification(heads: &[ClassificationHead]) -> Vec<Column> {
    let number = |name, of: fn(&ClassificationHead) -> f64| {
        Column::number_or_null(name, heads.iter().map(of))
    };
    vec![
        Column::int32(KEY[0], heads.iter().map(|head| head.layer as i32)),
        Column::int32(KEY[1], heads.iter().map(|head| head.head as i32)),
        number("sparsity_score", |head| head.sparsity_score),
        number("flip_rate", |head| head.flip_rate),
        number("max_weight", |head| head.max_weight),
        number("total_weight", |head| head.total_weight),
        Column::int64(
            "non_finite_rows",
            heads.iter().map(|head| head.non_finite_rows as i64),
        ),
    ]
}
