//! Lemma 3.5 and Appendix C.1: the square loss.

use super::records::Records;
use super::watch::Watch;
use super::{Finding, Statement, assumptions, conserved};
use crate::flow::objective::Objective;
use crate::flow::svd;

pub(super) fn check(records: &Records<'_>) -> Vec<Finding> {
    let mut findings = rank_one(records).to_vec();
    findings.extend(finite(records));
    findings
}

fn rank_one(records: &Records<'_>) -> [Finding; 2] {
    const RANK: &str = "ratio of V's second to its first singular value";
    const DIRECTION: &str = "largest value orthogonal to β";
    let statement = Statement::RankOne;
    let not_applicable = |reason: String| {
        [RANK, DIRECTION]
            .map(|quantity| Finding::not_applicable(statement, quantity, reason.clone()))
    };
    if let Err(reason) = assumptions::square(records) {
        return not_applicable(reason);
    }
    let target = records.model.objective().target();
    if target.iter().all(|&b| b == 0.0) {
        return not_applicable("β is 0, and nothing moves".to_owned());
    }
    let (p, d) = (records.predictions, records.positions);
    let size = ((p * d) as f64).sqrt();
    let mut ranks = Watch::default();
    let mut error = 0.0;
    for k in 0..records.len() {
        error += records.errors(k).values;
        let values = svd::singular_values(records.values(k), p, d).unwrap_or_default();
        if let [first, second, ..] = values[..]
            && first > 0.0
        {
            let error = size * (error / first + f64::EPSILON);
            ranks.at_most(records.place(k), second / first, 0.0, error);
        }
    }
    [
        ranks.finding_of_zero(statement, RANK, 1.0),
        conserved::orthogonal_change(records, target, statement, DIRECTION),
    ]
}

/// With ‖σ‖² ≥ 1/d, Lemma D.2 makes `d‖g‖/dt ≤ −‖g‖ / d`: so ‖g‖ falls like exp(−t/d), and from t on S grows by at most
/// d ‖g(t)‖. What scores can still do follows from that.
fn finite(records: &Records<'_>) -> [Finding; 3] {
    const DECAY: &str = "‖g‖ over what exp(−Δt/d) makes of the record before, minus 1";
    const INTEGRAL: &str =
        "growth of S from a record to the last, over d times the fall of ‖g‖, minus 1";
    const SHORT: &str = "what is left at least, as t → ∞, for the weights beside the largest";
    let statement = Statement::FiniteIntegral;
    let applies = || {
        if !matches!(records.model.objective(), Objective::Square { .. }) {
            return Err(format!(
                "it is about the square loss, not about {}",
                records.model.objective().name()
            ));
        }
        assumptions::free_softmax(records)?;
        assumptions::same_rows(records)?;
        match records.len() {
            0 | 1 => Err("there are too few records to measure it".to_owned()),
            count => Ok(count - 1),
        }
    };
    let last = match applies() {
        Ok(last) => last,
        Err(reason) => {
            return [DECAY, INTEGRAL, SHORT]
                .map(|quantity| Finding::not_applicable(statement, quantity, reason.clone()));
        }
    };
    let d = records.positions as f64;
    let norms: Vec<f64> = (0..=last).map(|k| records.gradient_norm(k)).collect();
    // How far ‖g‖ may be off because V and a are, by the updates since the record before.
    let error = |k: usize| {
        let errors = records.errors(k);
        errors.displacement + errors.gradient
    };

    let mut decay = Watch::default();
    for k in 1..=last {
        let most = norms[k - 1] * (-(records.time(k) - records.time(k - 1)) / d).exp();
        let error = error(k) + records.errors(k - 1).gradient;
        if most > error {
            decay.at_most(records.place(k), norms[k] / most - 1.0, 0.0, error / most);
        }
    }

    let mut integral = Watch::default();
    let mut since = 0.0;
    for k in (0..last).rev() {
        since += records.errors(k + 1).strength + d * error(k + 1);
        let growth = records.trajectory.strengths[last] - records.trajectory.strengths[k];
        let most = d * (norms[k] - norms[last]);
        let error = since + d * records.errors(k).gradient;
        if most > error {
            integral.at_most(records.place(k), growth / most - 1.0, 0.0, error / most);
        }
    }

    let mut short = Watch::default();
    let left = d * norms[last];
    // |ȧ_i| ≤ 2 ‖g‖ max_j ‖V_j‖, and the columns of V grow by at most ∫ ‖g‖.
    let moves = 4.0 * (records.largest_column(last) + left) * left;
    for row in 0..records.rows {
        let weights = records.weights(last, row);
        let heaviest = weights.iter().fold(0.0f64, |m, w| m.max(*w));
        let others: f64 = weights.iter().sum::<f64>() - heaviest;
        // Nothing beside the largest is one-hot.
        let nothing = d * f64::EPSILON;
        short.at_least(records.place(last), others * (-moves).exp(), nothing, 0.0);
    }
    let short = match moves {
        // A factor of e and more says nothing about where the run would end.
        1.0.. => Finding::not_applicable(
            statement,
            SHORT,
            format!(
                "at the end, at t = {:.3e}, a gap of scores may still move by {moves:.3e}; it takes more than about \
                 t = {:.3e} until that is below 1",
                records.time(last),
                records.time(last) + d * moves.ln().max(1.0)
            ),
        ),
        _ => short.finding(statement, SHORT),
    };
    [
        decay.finding(statement, DECAY),
        integral.finding(statement, INTEGRAL),
        short,
    ]
}
