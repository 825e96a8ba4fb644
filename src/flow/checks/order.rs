//! Theorem 3.2 and Lemma D.4: order, potential and repulsion of scores and projections.

use super::records::Records;
use super::watch::Watch;
use super::{Finding, Statement, assumptions};

/// Order, potential, repulsion and extremes, under the assumption of the loss.
pub(super) fn theorem(records: &Records<'_>) -> Vec<Finding> {
    let order = match assumptions::polarising(records) {
        Ok(order) => order,
        Err(reason) => {
            return [
                (Statement::Order, ORDER),
                (Statement::Potential, POTENTIAL),
                (Statement::Repulsion, REPULSION),
                (Statement::Extremes, EXTREMES),
            ]
            .map(|(statement, quantity)| {
                Finding::not_applicable(statement, quantity, reason.clone())
            })
            .into();
        }
    };
    let integrals = Integrals::new(records);
    let mut findings = order_kept(records, &order).to_vec();
    findings.push(match &integrals.left {
        Some((0, reason)) => {
            Finding::not_applicable(Statement::Potential, POTENTIAL, reason.clone())
        }
        _ => potential(records, &integrals)
            .finding(Statement::Potential, integrals.name(POTENTIAL, records)),
    });
    findings.extend(repulsion(records, &order, &integrals));
    findings.extend(extremes(records, &order));
    findings
}

/// No crossing for every increasing f.
pub(super) fn lemma(records: &Records<'_>) -> Vec<Finding> {
    let applies = assumptions::no_crossing(records).and_then(|()| {
        let integrals = Integrals::new(records);
        match &integrals.left {
            Some((0, reason)) => Err(reason.clone()),
            _ => Ok(integrals),
        }
    });
    let statement = Statement::NoCrossing;
    match applies {
        Err(reason) => [POTENTIAL, CROSSING]
            .map(|quantity| Finding::not_applicable(statement, quantity, reason.clone()))
            .into(),
        Ok(integrals) => vec![
            potential(records, &integrals).finding(statement, integrals.name(POTENTIAL, records)),
            crossing(records, &integrals).finding(statement, integrals.name(CROSSING, records)),
        ],
    }
}

const ORDER: &str = "smallest gap of neighbours after the start";
const POTENTIAL: &str =
    "smallest growth of (h(a_i) − h(a_j)) (u_i − u_j) between records, all pairs";
const REPULSION: &str = "smallest growth of a gap between records";
const EXTREMES: &str = "smallest move of the extreme scores away from the others";
const CROSSING: &str =
    "smallest gap, in its first sign, of pairs whose scores and projections once agreed";

/// h(a) of all records up to the first where it has none.
struct Integrals {
    /// records × rows × d.
    integrals: Vec<f64>,
    /// Their errors by the updates since the record before.
    errors: Vec<f64>,
    records: usize,
    /// The first record that is left out, and why.
    left: Option<(usize, String)>,
}

impl Integrals {
    fn new(records: &Records<'_>) -> Integrals {
        let (mut integrals, mut errors) = (Vec::new(), Vec::new());
        for k in 0..records.len() {
            let outside =
                (0..records.rows).find_map(|row| records.weighting.outside(records.scores(k, row)));
            if let Some(reason) = outside {
                let time = records.time(k);
                let left = Some((k, format!("at t = {time:.3e} {reason}")));
                return Integrals {
                    integrals,
                    errors,
                    records: k,
                    left,
                };
            }
            for &a in records.all_scores(k) {
                let h = records.weighting.integral(a).unwrap_or(f64::NAN);
                let error = records.errors(k).scores / records.weighting.slope(a);
                integrals.push(h);
                errors.push(error + 4.0 * f64::EPSILON * h.abs());
            }
        }
        Integrals {
            integrals,
            errors,
            records: records.len(),
            left: None,
        }
    }

    fn name(&self, quantity: &str, records: &Records<'_>) -> String {
        match self.left {
            Some((k, _)) => format!(
                "{quantity}, before t = {:.3e}, where f stops increasing",
                records.time(k)
            ),
            None => quantity.to_owned(),
        }
    }

    /// h(a_i) − h(a_j) at record k, and its error by the updates since the record before.
    fn gap(&self, k: usize, row: usize, records: &Records<'_>, i: usize, j: usize) -> (f64, f64) {
        let start = (k * records.rows + row) * records.positions;
        (
            self.integrals[start + i] - self.integrals[start + j],
            self.errors[start + i] + self.errors[start + j],
        )
    }
}

/// u_i − u_j at record k, and its error by the updates since the record before.
fn projection_gap(records: &Records<'_>, k: usize, i: usize, j: usize) -> (f64, f64) {
    let u = records.projections(k);
    (u[i] - u[j], 2.0 * records.errors(k).projections)
}

fn order_kept(records: &Records<'_>, order: &[usize]) -> [Finding; 2] {
    let (mut projections, mut scores) = (Watch::default(), Watch::default());
    let (mut projection_error, mut score_error) = (0.0, 0.0);
    for k in 0..records.len() {
        projection_error += 2.0 * records.errors(k).projections;
        score_error += 2.0 * records.errors(k).scores;
        if records.time(k) == 0.0 {
            continue;
        }
        let place = records.place(k);
        for pair in order.windows(2) {
            let u = records.projections(k);
            let gap = u[pair[0]] - u[pair[1]];
            projections.at_least(place, gap, 0.0, projection_error);
            for row in 0..records.rows {
                let a = records.scores(k, row);
                let gap = a[pair[0]] - a[pair[1]];
                scores.at_least(place, gap, 0.0, score_error);
            }
        }
    }
    [(projections, "of u"), (scores, "of a")]
        .map(|(watch, of)| watch.finding(Statement::Order, format!("{ORDER}, {of}")))
}

/// The potential must grow, whatever its sign.
fn potential(records: &Records<'_>, integrals: &Integrals) -> Watch {
    let mut watch = Watch::default();
    for k in 1..integrals.records {
        let place = records.place(k);
        for row in 0..records.rows {
            for i in 0..records.positions {
                for j in i + 1..records.positions {
                    let (h_before, _) = integrals.gap(k - 1, row, records, i, j);
                    let (h, h_error) = integrals.gap(k, row, records, i, j);
                    let (u_before, _) = projection_gap(records, k - 1, i, j);
                    let (u, u_error) = projection_gap(records, k, i, j);
                    let growth = h * u - h_before * u_before;
                    let error = h.abs().max(h_before.abs()) * u_error
                        + u.abs().max(u_before.abs()) * h_error
                        + h_error * u_error;
                    watch.at_least(place, growth, 0.0, error);
                }
            }
        }
    }
    watch
}

fn repulsion(records: &Records<'_>, order: &[usize], integrals: &Integrals) -> [Finding; 2] {
    let (mut projections, mut scores) = (Watch::default(), Watch::default());
    for k in 1..records.len() {
        let place = records.place(k);
        // The gap of any pair is a sum of gaps of neighbours.
        for pair in order.windows(2) {
            let (i, j) = (pair[0], pair[1]);
            let (u, error) = projection_gap(records, k, i, j);
            let growth = u - projection_gap(records, k - 1, i, j).0;
            projections.at_least(place, growth, 0.0, error);
            for row in 0..records.rows {
                if k < integrals.records {
                    let (h, error) = integrals.gap(k, row, records, i, j);
                    let growth = h - integrals.gap(k - 1, row, records, i, j).0;
                    scores.at_least(place, growth, 0.0, error);
                }
            }
        }
    }
    [
        projections.finding(Statement::Repulsion, format!("{REPULSION}, of u")),
        scores.finding(
            Statement::Repulsion,
            integrals.name(&format!("{REPULSION}, of h(a)"), records),
        ),
    ]
}

fn extremes(records: &Records<'_>, order: &[usize]) -> Vec<Finding> {
    let (Some(&first), Some(&last)) = (order.first(), order.last()) else {
        return Vec::new();
    };
    let mut watch = Watch::default();
    for k in 1..records.len() {
        let (place, error) = (records.place(k), records.errors(k).scores);
        for row in 0..records.rows {
            let (a, before) = (records.scores(k, row), records.scores(k - 1, row));
            watch.at_least(place, a[first] - before[first], 0.0, error);
            watch.at_least(place, before[last] - a[last], 0.0, error);
        }
    }
    vec![watch.finding(Statement::Extremes, EXTREMES)]
}

/// Once scores and projections of a pair have the same order, neither changes.
fn crossing(records: &Records<'_>, integrals: &Integrals) -> Watch {
    let mut watch = Watch::default();
    for row in 0..records.rows {
        for i in 0..records.positions {
            for j in i + 1..records.positions {
                let (mut h_error, mut u_error) = (0.0, 0.0);
                let mut sign = None;
                for k in 0..integrals.records {
                    let (u, error) = projection_gap(records, k, i, j);
                    u_error += error;
                    // The gap of the scores has the sign of that of h, and an error that can be summed.
                    let a = records.scores(k, row);
                    let a = a[i] - a[j];
                    h_error += 2.0 * records.errors(k).scores;
                    match sign {
                        Some(sign) => {
                            watch.at_least(records.place(k), sign * u, 0.0, u_error);
                            watch.at_least(records.place(k), sign * a, 0.0, h_error);
                        }
                        None if u.abs() > u_error && a.abs() > h_error && u * a > 0.0 => {
                            sign = Some(u.signum());
                        }
                        None => {}
                    }
                }
            }
        }
    }
    watch
}
