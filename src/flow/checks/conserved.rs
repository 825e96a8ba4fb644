//! Lemma D.1: what the flow leaves as it is.

use super::records::{Records, largest};
use super::watch::Watch;
use super::{Finding, Statement, assumptions};
use crate::flow::objective::Objective;

pub(super) fn check(records: &Records<'_>) -> [Finding; 2] {
    [score_sum(records), orthogonal_values(records)]
}

fn score_sum(records: &Records<'_>) -> Finding {
    const QUANTITY: &str = "largest change of Σ a_i since the start";
    if let Err(reason) = assumptions::free_softmax(records) {
        return Finding::not_applicable(Statement::ScoreSum, QUANTITY, reason);
    }
    let d = records.positions;
    let mut watch = Watch::default();
    let (mut error, mut moved) = (0.0, 0.0f64);
    for k in 0..records.len() {
        error += d as f64 * records.errors(k).scores;
        for row in 0..records.rows {
            let starts = &records.start.scores[row * d..][..d];
            let start: f64 = starts.iter().sum();
            let scores = records.scores(k, row);
            let moves = scores
                .iter()
                .zip(starts)
                .map(|(a, start)| (a - start).abs());
            moved = moved.max(moves.sum());
            let change = (scores.iter().sum::<f64>() - start).abs();
            let size: f64 = scores.iter().map(|a| a.abs()).sum();
            let rounding = 2.0 * d as f64 * f64::EPSILON * (size + start.abs());
            watch.at_most(records.place(k), change, 0.0, error + rounding);
        }
    }
    // As if all scores had moved the same way.
    watch.finding_of_zero(Statement::ScoreSum, QUANTITY, moved)
}

fn orthogonal_values(records: &Records<'_>) -> Finding {
    const QUANTITY: &str = "largest change since the start of a value orthogonal to β";
    let statement = Statement::OrthogonalValues;
    if let Err(reason) = assumptions::free(records) {
        return Finding::not_applicable(statement, QUANTITY, reason);
    }
    let target = match records.model.objective() {
        Objective::Logistic { target } => target,
        other => {
            let reason = format!("it is about the logistic loss, not about {}", other.name());
            return Finding::not_applicable(statement, QUANTITY, reason);
        }
    };
    if target.iter().all(|&b| b == 0.0) {
        let reason = "β is 0, and nothing moves".to_owned();
        return Finding::not_applicable(statement, QUANTITY, reason);
    }
    orthogonal_change(records, target, statement, QUANTITY)
}

/// How far the part of V orthogonal to `target`, which is not 0, is from that at the start: the largest entry.
pub(super) fn orthogonal_change(
    records: &Records<'_>,
    target: &[f64],
    statement: Statement,
    quantity: &str,
) -> Finding {
    let square: f64 = target.iter().map(|b| b * b).sum();
    let d = records.positions;
    let mut watch = Watch::default();
    let (mut error, mut largest_move) = (0.0, 0.0f64);
    for k in 0..records.len() {
        // Projecting out takes the error of an entry and that of u, which β / ‖β‖² turns back.
        let of_projection = records.errors(k).projections
            * target.iter().fold(0.0f64, |m, b| m.max(b.abs()))
            / square;
        error += records.errors(k).values + of_projection;
        let (values, start) = (records.values(k), &records.start.values);
        let moved: Vec<f64> = values.iter().zip(start).map(|(v, w)| v - w).collect();
        largest_move = largest_move.max(largest(&moved));
        let mut along = vec![0.0; d];
        for (row, beta) in moved.chunks_exact(d).zip(target) {
            for (along, v) in along.iter_mut().zip(row) {
                *along += beta / square * v;
            }
        }
        for (row, beta) in moved.chunks_exact(d).zip(target) {
            for (along, v) in along.iter().zip(row) {
                watch.at_most(records.place(k), (v - beta * along).abs(), 0.0, error);
            }
        }
    }
    // As if V had moved orthogonally to β alone.
    watch.finding_of_zero(statement, quantity, largest_move)
}
