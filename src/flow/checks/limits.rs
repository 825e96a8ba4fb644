//! Theorem 3.3 and Lemma B.1: where scores and values go under the logistic loss.
//!
//! Once one weight dominates, with `S ~ log t` as a clock: `u_1` grows like S, a ratio r = σ_i / σ_1 falls like
//! `dr/dS ~ −r² u_1`, so `1 − σ_1` like `1 / S²`; `du_i/dS = r ‖β‖²` is then summable, and σ_1(V) / σ_2(V) grows like S.
//! The loss falls like 1 / t.

use super::records::Records;
use super::watch::Watch;
use super::{Finding, Statement, assumptions};
use crate::flow::svd;

/// The weight that has to be passed before the limit shows.
const DOMINANT: f64 = 0.75;
/// A growth of the last decade over that of the one before. 1 is growth like log t; what converges like t^(−α) has
/// 10^(−α), what diverges like t^α the inverse.
const STEADY: (f64, f64) = (0.5, 2.0);
/// d log L / d log t of the last decade; −1 is expected.
const LOSS_SLOPE: f64 = -0.5;

const ONE_HOT: &str = "growth per decade of 1 / √(1 − σ_1), the last over the one before";
const RATIOS: &str = "smallest growth of a_1 − a_i between records";
const LOSS: &str = "d log L / d log t of the last decade";
const STRENGTH: &str = "growth per decade of S, the last over the one before";
const BOUNDED: &str = "growth per decade of u_i for i > 1, the last over the one before";
const RANK_ONE: &str =
    "growth per decade of the ratio of V's first two singular values, the last over the one before";

pub(super) fn check(records: &Records<'_>) -> Vec<Finding> {
    let order = assumptions::logistic(records);
    let decades = order
        .clone()
        .and_then(|order| Decades::new(records, order[0]));
    let mut findings = Vec::new();
    findings.push(match order {
        Ok(order) => ratios(records, &order),
        Err(reason) => Finding::not_applicable(Statement::OneHot, RATIOS, reason),
    });
    match decades {
        Ok(decades) => {
            findings.push(one_hot(records, &decades));
            findings.push(loss(records, &decades));
            findings.push(strength(records, &decades));
            findings.push(bounded(records, &decades));
            findings.push(rank_one(records, &decades));
        }
        Err(reason) => findings.extend(
            [
                (Statement::OneHot, ONE_HOT),
                (Statement::OneHot, LOSS),
                (Statement::Strength, STRENGTH),
                (Statement::Bounded, BOUNDED),
                (Statement::RankOneLimit, RANK_ONE),
            ]
            .map(|(statement, quantity)| {
                Finding::not_applicable(statement, quantity, reason.clone())
            }),
        ),
    }
    findings
}

/// The last record, and those a decade and two of t before it.
struct Decades {
    /// The coordinate whose weight grows.
    first: usize,
    at: [usize; 3],
}

impl Decades {
    /// Fails with the reason why the limit does not show yet.
    fn new(records: &Records<'_>, first: usize) -> Result<Decades, String> {
        let weight = |k: usize| {
            let rows = (0..records.rows).map(|row| records.weights(k, row)[first]);
            rows.fold(f64::INFINITY, f64::min)
        };
        let Some(last) = records.len().checked_sub(1) else {
            return Err("there are no records".to_owned());
        };
        let end = records.time(last);
        let dominant = (0..=last)
            .rev()
            .take_while(|&k| weight(k) >= DOMINANT)
            .last();
        let Some(dominant) = dominant else {
            return Err(format!(
                "limits show over two decades of t after the largest weight has passed {DOMINANT}; \
                 it is {:.3} at the end, at t = {end:.3e}",
                weight(last)
            ));
        };
        let from = records.time(dominant);
        if end < 100.0 * from || from == 0.0 {
            return Err(format!(
                "limits show over two decades of t after the largest weight has passed {DOMINANT}, which it does at \
                 t = {from:.3e}; the records end at t = {end:.3e}"
            ));
        }
        let before = |time: f64| {
            // The times of gradient descent are rounded products.
            let at = (0..=last)
                .rev()
                .find(|&k| records.time(k) <= time * (1.0 + 1e-9));
            at.filter(|&k| records.time(k) >= time / 2.0)
                .ok_or_else(|| {
                    format!(
                        "limits need a record between t = {:.3e} and {time:.3e}",
                        time / 2.0
                    )
                })
        };
        Ok(Decades {
            first,
            at: [before(end / 100.0)?, before(end / 10.0)?, last],
        })
    }

    /// Growth of `y` per decade in the first and the second of them, and the error of either, if that of `y` is
    /// `error` for the updates up to a record since the one before.
    fn growth(
        &self,
        records: &Records<'_>,
        y: impl Fn(usize) -> f64,
        error: impl Fn(usize) -> f64,
    ) -> [(f64, f64); 2] {
        [0, 1].map(|decade| {
            let (from, to) = (self.at[decade], self.at[decade + 1]);
            let length = (records.time(to) / records.time(from)).log10();
            let error: f64 = (from + 1..=to).map(&error).sum();
            ((y(to) - y(from)) / length, error / length)
        })
    }

    /// Whether `y` grows in both decades, and about as much.
    fn like_log(
        &self,
        records: &Records<'_>,
        y: impl Fn(usize) -> f64,
        error: impl Fn(usize) -> f64,
    ) -> Watch {
        let [(before, before_error), (growth, growth_error)] = self.growth(records, y, error);
        let mut watch = Watch::default();
        let [_, middle, last] = self.at.map(|k| records.place(k));
        if before <= before_error {
            // Growth that cannot be told from none.
            watch.at_least(middle, before, before_error, 0.0);
        } else {
            let ratio = growth / before;
            let error = (growth_error + ratio.abs() * before_error) / before;
            watch.at_least(last, ratio, STEADY.0, error);
            watch.at_most(last, ratio, STEADY.1, error);
        }
        watch
    }
}

/// σ_i / σ_1 falls all along: its logarithm at the rate s (σ_1 (u_1 − ū) − σ_i (u_i − ū)).
fn ratios(records: &Records<'_>, order: &[usize]) -> Finding {
    let mut watch = Watch::default();
    for k in 1..records.len() {
        let error = 2.0 * records.errors(k).scores;
        for row in 0..records.rows {
            let (a, before) = (records.scores(k, row), records.scores(k - 1, row));
            for &i in &order[1..] {
                let gap = |a: &[f64]| a[order[0]] - a[i];
                watch.at_least(records.place(k), gap(a) - gap(before), 0.0, error);
            }
        }
    }
    watch.finding(Statement::OneHot, RATIOS)
}

fn one_hot(records: &Records<'_>, decades: &Decades) -> Finding {
    let row_rest = |k: usize, row: usize| {
        let weights = records.weights(k, row).iter().enumerate();
        let others = weights.filter(|(i, _)| *i != decades.first);
        others.map(|(_, weight)| weight).sum::<f64>()
    };
    // Of the row that is farthest from one-hot. An error of a is the relative one of a ratio.
    let rest = |k: usize| {
        let rows = (0..records.rows).map(|row| row_rest(k, row));
        rows.fold(0.0, f64::max).sqrt().recip()
    };
    let error = |k: usize| 2.0 * records.errors(k).scores * rest(k);
    decades
        .like_log(records, rest, error)
        .finding(Statement::OneHot, ONE_HOT)
}

fn loss(records: &Records<'_>, decades: &Decades) -> Finding {
    let [_, from, to] = decades.at;
    let losses = &records.trajectory.losses;
    let length = (records.time(to) / records.time(from)).ln();
    let slope = (losses[to] / losses[from]).ln() / length;
    let error = [from, to].map(|k| records.errors(k).loss / losses[k]);
    let mut watch = Watch::default();
    watch.at_most(records.place(to), slope, LOSS_SLOPE, error[0] + error[1]);
    watch.finding(Statement::OneHot, LOSS)
}

fn strength(records: &Records<'_>, decades: &Decades) -> Finding {
    let strength = |k: usize| records.trajectory.strengths[k];
    decades
        .like_log(records, strength, |k| records.errors(k).strength)
        .finding(Statement::Strength, STRENGTH)
}

fn bounded(records: &Records<'_>, decades: &Decades) -> Finding {
    let mut watch = Watch::default();
    for i in (0..records.positions).filter(|&i| i != decades.first) {
        let projection = |k: usize| records.projections(k)[i];
        let error = |k: usize| records.errors(k).projections;
        let [(before, before_error), (growth, growth_error)] =
            decades.growth(records, projection, error);
        let place = records.place(decades.at[2]);
        if before > before_error {
            let ratio = growth / before;
            let error = (growth_error + ratio.abs() * before_error) / before;
            watch.at_most(place, ratio, 1.0, error);
        } else {
            watch.at_most(place, growth, 0.0, growth_error);
        }
    }
    watch.finding(Statement::Bounded, BOUNDED)
}

fn rank_one(records: &Records<'_>, decades: &Decades) -> Finding {
    let statement = Statement::RankOneLimit;
    let (p, d) = (records.predictions, records.positions);
    if p < 2 {
        let reason = "a prediction of one entry makes every V rank one".to_owned();
        return Finding::not_applicable(statement, RANK_ONE, reason);
    }
    let size = ((p * d) as f64).sqrt();
    let pair = |k: usize| {
        let values = svd::singular_values(records.values(k), p, d).unwrap_or_default();
        (
            values.first().copied().unwrap_or(f64::NAN),
            values.get(1).copied().unwrap_or(f64::NAN),
        )
    };
    let error = |k: usize| size * (records.errors(k).values + f64::EPSILON * pair(k).0);
    let last = decades.at[2];
    let (first, second) = pair(last);
    let reached = records.errors_since_start(last, |errors| errors.values) * size
        + size * f64::EPSILON * first;
    if second <= reached {
        let mut watch = Watch::default();
        watch.at_most(records.place(last), second / first, 0.0, reached / first);
        return watch.finding_of_zero(statement, "ratio of V's second to its first singular value");
    }
    let ratio = |k: usize| pair(k).0 / pair(k).1;
    let relative = |k: usize| error(k) * (1.0 + ratio(k)) / pair(k).1;
    decades
        .like_log(records, ratio, relative)
        .finding(statement, RANK_ONE)
}
