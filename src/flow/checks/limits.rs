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
/// How many times what turns V towards rank one has to exceed each of what delays it.
const DOMINATES: f64 = 3.0;
/// The growth of V's ratio over what S makes it. 1 in the limit; before, what delays it takes at most 1/4, 1/3 and 1/6 off
/// (see [`Blocks`]), and nothing grows at all where V keeps its ratio.
const RATIO_GROWTH: (f64, f64) = (0.25, 2.0);

const ONE_HOT: &str = "growth per decade of 1 / √(1 − σ_1), the last over the one before";
const RATIOS: &str = "smallest growth of a_1 − a_i between records";
const LOSS: &str = "d log L / d log t of the last decade";
const STRENGTH: &str = "growth per decade of S, the last over the one before";
const BOUNDED: &str = "growth per decade of u_i for i > 1, the last over the one before";
const RANK_ONE: &str = "growth in the last decade of the ratio of V's first two singular values, over what that of S makes it";

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

    /// Whether `y` grows in both decades, and about as much. Growth of the first that cannot be told from none leaves
    /// nothing to hold the second against; a fall contradicts it.
    fn like_log(
        &self,
        records: &Records<'_>,
        statement: Statement,
        quantity: &str,
        y: impl Fn(usize) -> f64,
        error: impl Fn(usize) -> f64,
    ) -> Finding {
        let [(before, before_error), (growth, growth_error)] = self.growth(records, y, error);
        let [_, middle, last] = self.at.map(|k| records.place(k));
        let mut watch = Watch::default();
        if before < -before_error {
            watch.at_least(middle, before, 0.0, before_error);
        } else if before > before_error {
            let ratio = growth / before;
            // Of growth − bound · before, in units of `before`.
            let error = |bound: f64| (growth_error + bound * before_error) / before;
            watch.at_least(last, ratio, STEADY.0, error(STEADY.0));
            watch.at_most(last, ratio, STEADY.1, error(STEADY.1));
        } else {
            let reason = format!(
                "the growth of the decade before the last is {before:.3e}, which its error of {before_error:.3e} does \
                 not tell from none"
            );
            return Finding::not_applicable(statement, quantity, reason);
        }
        watch.finding(statement, quantity)
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
    decades.like_log(records, Statement::OneHot, ONE_HOT, rest, error)
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
    let error = |k: usize| records.errors(k).strength;
    decades.like_log(records, Statement::Strength, STRENGTH, strength, error)
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
            let error = (growth_error + before_error) / before;
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
        let quantity = "ratio of V's second to its first singular value";
        return watch.finding_of_zero(statement, quantity, 1.0);
    }
    let [_, from, to] = decades.at;
    let blocks = [from, to].map(|k| Blocks::new(records, k, decades.first));
    let limit = match Blocks::limit(&blocks) {
        Ok(limit) => limit,
        Err(reason) => return Finding::not_applicable(statement, RANK_ONE, reason),
    };
    let strengths = &records.trajectory.strengths;
    // Rows that start alike push x alike.
    let pushed = (records.rows as f64).sqrt() * (strengths[to] - strengths[from]);
    let ratio = |k: usize| pair(k).0 / pair(k).1;
    let growth = ratio(to) - ratio(from);
    let between = || from + 1..=to;
    let ratio_error: f64 = between()
        .map(|k| error(k) * (1.0 + ratio(k)) / pair(k).1)
        .sum();
    let pushed_error =
        (records.rows as f64).sqrt() * between().map(|k| records.errors(k).strength).sum::<f64>();
    if pushed <= pushed_error {
        let reason = format!(
            "the growth of S over the last decade is {pushed:.3e}, which its error of {pushed_error:.3e} does not tell \
             from none"
        );
        return Finding::not_applicable(statement, RANK_ONE, reason);
    }
    let of_limit = growth.abs() * reached;
    let mut watch = Watch::default();
    let place = records.place(to);
    let measured = growth * limit / pushed;
    let error = |bound: f64| (ratio_error * limit + of_limit + bound * pushed_error) / pushed;
    watch.at_least(place, measured, RATIO_GROWTH.0, error(RATIO_GROWTH.0));
    watch.at_most(place, measured, RATIO_GROWTH.1, error(RATIO_GROWTH.1));
    watch.finding(statement, RANK_ONE)
}

/// V, in a basis of predictions that begins with β / ‖β‖ and one of positions that begins with the first:
///
/// ```text
/// x  rᵀ
/// c  R
/// ```
///
/// Only x grows without bound, by ∫ σ_1 ‖g‖ dτ; c and R stay as they are (D.1), and r is bounded. As x → ∞ the second
/// singular value of V goes to s, the first of R, and σ_1(V) / σ_2(V) grows by Δx / s. What delays it is, relatively:
/// with κ = ‖c‖ ‖r‖ / (x s), at most κ² / (1 − κ)², since σ_2 is about s (1 ± κ); `(‖c‖² + ‖r‖²) / (2 x²)`, since σ_1
/// is longer than x; and ‖c‖ ‖Δr‖ / (s Δx). While these are not small, the ratio may do anything: det V may pass
/// through 0, where it has a pole.
struct Blocks {
    /// x = u_1 / ‖β‖.
    corner: f64,
    /// ‖c‖.
    column: f64,
    /// r = u_i / ‖β‖ for i > 1.
    row: Vec<f64>,
    /// The first singular value of R.
    rest: f64,
}

impl Blocks {
    fn new(records: &Records<'_>, k: usize, first: usize) -> Blocks {
        let target = records.model.objective().target();
        let square: f64 = target.iter().map(|b| b * b).sum();
        let (u, d) = (records.projections(k), records.positions);
        let mut across = records.values(k).to_vec();
        for (values, beta) in across.chunks_exact_mut(d).zip(target) {
            for (v, u) in values.iter_mut().zip(u) {
                *v -= beta * u / square;
            }
        }
        let mut column = 0.0;
        for values in across.chunks_exact_mut(d) {
            column += values[first] * values[first];
            values[first] = 0.0;
        }
        let rest = svd::singular_values(&across, records.predictions, d).unwrap_or_default();
        let others = u.iter().enumerate().filter(|(i, _)| *i != first);
        Blocks {
            corner: u[first] / square.sqrt(),
            column: column.sqrt(),
            row: others.map(|(_, u)| u / square.sqrt()).collect(),
            rest: rest.first().copied().unwrap_or(f64::NAN),
        }
    }

    /// The limit of V's second singular value, or why it does not show in the decade that begins and ends with these.
    fn limit([from, to]: &[Blocks; 2]) -> Result<f64, String> {
        let length = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
        for at in [from, to] {
            let row = length(&mut at.row.iter().copied());
            let needed = (DOMINATES * at.column * row / at.rest)
                .max(DOMINATES.sqrt() * at.column.hypot(row));
            if at.corner.is_nan() || needed.is_nan() || at.corner < needed {
                return Err(format!(
                    "it is not in its limit yet: u_1 / ‖β‖ is {:.3e}, and has to reach {needed:.3e} for one \
                     direction to dominate V",
                    at.corner
                ));
            }
        }
        let turned = length(&mut from.row.iter().zip(&to.row).map(|(x, y)| y - x));
        let grown = to.corner - from.corner;
        if grown.abs() * to.rest < DOMINATES * to.column * turned {
            return Err(format!(
                "it is not in its limit yet: the other projections still move, by {turned:.3e} ‖β‖ in the last decade, \
                 while u_1 grows by {grown:.3e} ‖β‖"
            ));
        }
        Ok(to.rest)
    }
}
