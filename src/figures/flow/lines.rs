//! The lines of replicas: each of them, and their median.

use super::member::Member;
use crate::compare::quantile;
use crate::figures::curves::{Curve, Dash, Marks, Pen};

/// From so many replicas on there is a median.
pub(super) const FOR_MEDIAN: usize = 3;
/// With more lines of replicas in a plot, only those of the largest and the smallest coordinate are drawn.
pub(super) const MANY_LINES: usize = 80;

/// Of the only line, or of medians, in pixels.
pub(super) const WIDTH: f64 = 1.6;
/// Of each of a few replicas, or of many.
const NARROW: f64 = 1.1;
const THIN: f64 = 0.75;

/// The lines of one thing, of all its replicas.
pub(super) struct Replicas {
    /// To lie below.
    pub(super) single: Vec<Curve>,
    /// To lie on top.
    pub(super) median: Option<Curve>,
}

impl Replicas {
    /// `points` of each member, by ascending x. The pen is that of the median; lines below it are thin and solid.
    pub(super) fn of(
        members: &[Member<'_>],
        pen: Pen,
        points: impl Fn(&Member<'_>) -> Vec<(f64, f64)>,
    ) -> Self {
        let lines: Vec<(&Member<'_>, Vec<(f64, f64)>)> = members
            .iter()
            .map(|member| (member, points(member)))
            .collect();
        let whole = lines.iter().filter(|(member, _)| !member.ended_early());
        let whole: Vec<&[(f64, f64)]> = whole.map(|(_, points)| &points[..]).collect();
        let median = median(&whole);
        let (width, opacity, dash) = match members.len() {
            1 => (pen.width, 1.0, pen.dash),
            2 => (NARROW, 1.0, pen.dash),
            _ if median.is_none() => (THIN, 0.8, pen.dash),
            _ => (THIN, 0.45, Dash::Solid),
        };
        let below = Pen {
            width,
            opacity,
            dash,
            ..pen
        };
        let single = lines.into_iter().map(|(member, points)| Curve {
            points,
            pen: below,
            marks: match member.ended_early() {
                true => Marks::EndedEarly,
                false => Marks::None,
            },
        });
        Self {
            single: single.collect(),
            median: median.map(|points| Curve {
                points,
                pen,
                marks: Marks::None,
            }),
        }
    }
}

/// Whether the members have medians over time.
pub(super) fn have_medians(members: &[Member<'_>]) -> bool {
    let whole = members.iter().filter(|member| !member.ended_early());
    let times: Vec<&[f64]> = whole.map(|m| &m.followed.trajectory.times[..]).collect();
    times.len() >= FOR_MEDIAN && times.windows(2).all(|pair| pair[0] == pair[1])
}

/// The medians at each x; `None` if there are too few lines, or if they have other x.
fn median(lines: &[&[(f64, f64)]]) -> Option<Vec<(f64, f64)>> {
    let places = |line: &[(f64, f64)]| -> Vec<f64> { line.iter().map(|(x, _)| *x).collect() };
    let same = lines
        .windows(2)
        .all(|pair| places(pair[0]) == places(pair[1]));
    if lines.len() < FOR_MEDIAN || !same {
        return None;
    }
    let at = |at: usize, x: f64| {
        let mut values: Vec<f64> = lines.iter().map(|line| line[at].1).collect();
        values.sort_unstable_by(f64::total_cmp);
        (x, quantile(&values, 0.5))
    };
    let places = lines[0].iter().enumerate();
    Some(places.map(|(place, (x, _))| at(place, *x)).collect())
}

/// Lines of several things in one plot: the first thing's on top, all medians above all single lines.
pub(super) fn stack(replicas: Vec<Replicas>) -> Vec<Curve> {
    let (mut single, mut medians) = (Vec::new(), Vec::new());
    for of_one in replicas.into_iter().rev() {
        single.extend(of_one.single);
        medians.extend(of_one.median);
    }
    single.extend(medians);
    single
}
