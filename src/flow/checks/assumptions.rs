//! What the paper assumes of a run, and the sentence that says which of it is not met.

use super::records::Records;
use crate::flow::model::Form;
use crate::flow::objective::Objective;

/// The coordinates from the largest to the smallest, or why the assumption is not met.
type Order = Result<Vec<usize>, String>;

/// The assumption of Theorem 3.2 and its analogue for the square loss: 3.1 or 3.4.
pub(super) fn polarising(records: &Records<'_>) -> Order {
    match records.model.objective() {
        Objective::Logistic { .. } => logistic(records),
        Objective::Square { .. } => square(records),
        other => Err(format!(
            "it is about the logistic loss (Assumption 3.1) and the square loss (Assumption 3.4), not about {}",
            other.name()
        )),
    }
}

/// Assumption 3.1: logistic loss, softmax, a(0) = 0, u(0) strictly ordered.
pub(super) fn logistic(records: &Records<'_>) -> Order {
    if !matches!(records.model.objective(), Objective::Logistic { .. }) {
        return Err(format!(
            "it is about the logistic loss, not about {}",
            records.model.objective().name()
        ));
    }
    free_softmax(records)?;
    if let Some(i) = records.start.scores.iter().position(|&a| a != 0.0) {
        return Err(format!(
            "Assumption 3.1 asks for a(0) = 0; score {i} starts at {:.3e}",
            records.start.scores[i]
        ));
    }
    let projections = records.model.projections(&records.start.values);
    let projections = projections.ok().flatten().unwrap_or_default();
    strictly_ordered(&projections, "Assumption 3.1", "projections u(0)")
}

/// Assumption 3.4: square loss, softmax, V(0) = 0, a(0) strictly ordered.
pub(super) fn square(records: &Records<'_>) -> Order {
    if !matches!(records.model.objective(), Objective::Square { .. }) {
        return Err(format!(
            "it is about the square loss, not about {}",
            records.model.objective().name()
        ));
    }
    free_softmax(records)?;
    from_zero(records)?;
    same_rows(records)?;
    strictly_ordered(
        &records.start.scores[..records.positions],
        "Assumption 3.4",
        "scores a(0)",
    )
}

/// What Lemma D.4 is about: a gradient along β, a normalisation, one row. That f increases is asked of each record.
pub(super) fn no_crossing(records: &Records<'_>) -> Result<(), String> {
    free(records)?;
    match records.model.objective() {
        Objective::Logistic { .. } => {}
        Objective::Square { .. } => from_zero(records)?,
        other => {
            return Err(format!(
                "it is about the logistic and the square loss, not about {}",
                other.name()
            ));
        }
    }
    if !records.weighting.is_normalized() {
        return Err(format!(
            "it is about weights that are divided by their sum; {} is applied element by element",
            records.model.sigma()
        ));
    }
    same_rows(records)?;
    if records.positions < 2 {
        return Err("there is only one score".to_owned());
    }
    Ok(())
}

/// Values of their own.
pub(super) fn free(records: &Records<'_>) -> Result<(), String> {
    match records.model.form() {
        Form::Free | Form::Rows(_) => Ok(()),
        Form::Tied => {
            Err("it is about values and scores of their own; here one matrix makes both".to_owned())
        }
    }
}

/// Values of their own under a softmax.
pub(super) fn free_softmax(records: &Records<'_>) -> Result<(), String> {
    free(records)?;
    if !records.weighting.is_softmax() {
        return Err(format!(
            "it is about the softmax, not about {}",
            records.model.sigma()
        ));
    }
    Ok(())
}

/// Rows that start alike stay alike, and each is a model of its own; others push the same values about.
pub(super) fn same_rows(records: &Records<'_>) -> Result<(), String> {
    let mut rows = records.start.scores.chunks_exact(records.positions);
    let first = rows.next();
    match rows.position(|row| Some(row) != first) {
        Some(row) => Err(format!(
            "it is about one row of scores, or rows that start alike; row {} differs from row 0",
            row + 1
        )),
        None => Ok(()),
    }
}

fn from_zero(records: &Records<'_>) -> Result<(), String> {
    let largest = records
        .start
        .values
        .iter()
        .fold(0.0f64, |m, v| m.max(v.abs()));
    if largest > 0.0 {
        return Err(format!(
            "Assumption 3.4 asks for V(0) = 0; its largest entry is {largest:.3e}"
        ));
    }
    Ok(())
}

fn strictly_ordered(entries: &[f64], assumption: &str, what: &str) -> Order {
    if entries.len() < 2 {
        return Err("there is only one score".to_owned());
    }
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by(|&i, &j| entries[j].total_cmp(&entries[i]));
    match order
        .windows(2)
        .find(|pair| entries[pair[0]] <= entries[pair[1]])
    {
        Some(pair) => Err(format!(
            "{assumption} asks for distinct {what}; entries {} and {} are both {:.3e}",
            pair[0], pair[1], entries[pair[0]]
        )),
        None => Ok(order),
    }
}
