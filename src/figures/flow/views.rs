//! The panels of each experiment's figure.

use super::group::{Group, graded, ranked, solid};
use super::lines::{MANY_LINES, Replicas, stack};
use super::member::{Member, Quantity};
use crate::compare::quantile;
use crate::figures::axis::{Axis, Scale};
use crate::figures::colours::of_model;
use crate::figures::curves::{Curve, Marks, Pen};
use crate::figures::fit::{Fit, fit};
use crate::figures::panels::{Cells, Content, PLOT, Panel};
use crate::figures::sheet::{Entry, Key};
use crate::figures::text::Ruler;

const TIME: &str = "time t";
/// Of so many replicas each has a map of its weights.
pub(super) const MOST_MAPS: usize = 3;
/// More coordinates are not all drawn.
const MOST_COORDINATES: usize = 100;
/// Condition numbers further apart have a logarithmic axis.
const WIDE: f64 = 30.0;
/// No cell is larger.
const CELL: f64 = 40.0;

/// Scores, projections and weights of each group; loss and strength of all.
pub(super) fn whole(groups: &[Group<'_>]) -> Vec<Panel> {
    let mut panels = Vec::new();
    for group in groups {
        panels.push(coordinates(group, Quantity::Score));
        if group.first().has_projections() {
            panels.push(coordinates(group, Quantity::Projection));
        }
        panels.push(coordinates(group, Quantity::Weight));
    }
    panels.extend([loss(groups), strength(groups)]);
    panels
}

/// Scores and weights of each group; the loss of all.
pub(super) fn simplest(groups: &[Group<'_>]) -> Vec<Panel> {
    let kinds = [Quantity::Score, Quantity::Weight];
    let each = groups
        .iter()
        .flat_map(|group| kinds.map(|kind| coordinates(group, kind)));
    each.chain([loss(groups)]).collect()
}

/// The scores for each condition number on one scale; what they come to; loss and strength.
pub(super) fn conditioning(groups: &[Group<'_>]) -> Vec<Panel> {
    let of = |group: &Group<'_>| lines_of(group, Quantity::Score);
    let all: Vec<Curve> = groups.iter().flat_map(of).collect();
    let (_, common) = fit(
        &all,
        (Fit::Decades, TIME),
        (Fit::Round, words_of(Quantity::Score).1),
    );
    let mut panels: Vec<Panel> = groups
        .iter()
        .map(|group| Panel {
            y: common.clone(),
            ..coordinates(group, Quantity::Score)
        })
        .collect();
    panels.push(final_by_condition(groups, Quantity::Score));
    panels.push(final_by_condition(groups, Quantity::Weight));
    panels.extend([loss(groups), strength(groups)]);
    panels
}

/// Weights, lengths of columns and projections of each dimension; the last weights by rank, and the loss.
pub(super) fn tied(groups: &[Group<'_>]) -> Vec<Panel> {
    let kinds = [Quantity::Weight, Quantity::ColumnNorm, Quantity::Projection];
    let each = groups
        .iter()
        .flat_map(|group| kinds.map(|kind| coordinates(group, kind)));
    let ranked = |member: &Member<'_>| match member.records.checked_sub(1) {
        None => Vec::new(),
        Some(last) => (1..)
            .zip(&member.order)
            .map(|(rank, at)| {
                (
                    f64::from(rank),
                    member.entry(Quantity::Weight, last, 0, *at),
                )
            })
            .collect(),
    };
    let last = compared(
        groups,
        "last weights by rank",
        ranked,
        (Fit::Decades, "rank of the weight (1: largest)"),
        (Fit::RoundDecades, "weight σᵢ"),
    );
    each.chain([last, largest_weight(groups), loss(groups)])
        .collect()
}

/// The weights of each normalisation; the largest weight and the loss of all.
pub(super) fn normalizations(groups: &[Group<'_>]) -> Vec<Panel> {
    let each = groups
        .iter()
        .map(|group| coordinates(group, Quantity::Weight));
    each.chain([largest_weight(groups), loss(groups)]).collect()
}

/// The last weights of every row as a map, the largest of each row over time; the loss of all.
pub(super) fn rows(groups: &[Group<'_>], ruler: &Ruler) -> Vec<Panel> {
    let mut panels = Vec::new();
    for group in groups {
        for member in group.members.iter().take(MOST_MAPS) {
            panels.push(map(group, member, ruler));
        }
        let count = group.rows();
        let lines = (0..count).map(|row| {
            Replicas::of(&group.members, solid(graded(row, count)), |member| {
                member.over_time(|record| member.largest(Quantity::Weight, record, row))
            })
        });
        let mut rows = vec![0, count / 2, count - 1];
        rows.dedup();
        let entry = |row: usize| Entry {
            key: key(solid(graded(row, count))),
            label: format!("row {row}"),
        };
        panels.push(panel(
            group.title("largest weight of each row"),
            rows.into_iter().map(entry).collect(),
            stack(lines.collect()),
            (Fit::Decades, TIME),
            (Fit::Weights, "largest weight of the row"),
        ));
    }
    panels.push(loss(groups));
    panels
}

/// The ranks that are drawn of so many coordinates: the first, the last, and some between.
pub(super) fn drawn_ranks(count: usize) -> Vec<usize> {
    let most = count.min(MOST_COORDINATES);
    let nth = |at: usize| at * (count - 1) / (most.max(2) - 1);
    (0..most).map(nth).collect()
}

/// Whether every replica's lines are drawn, or only those of its first and last coordinate.
pub(super) fn draws_all(group: &Group<'_>) -> bool {
    group.members.len() * group.positions() <= MANY_LINES
        || !super::lines::have_medians(&group.members)
}

/// What a quantity is called in titles and on axes.
fn words_of(quantity: Quantity) -> (&'static str, &'static str) {
    match quantity {
        Quantity::Score => ("scores", "score aᵢ"),
        Quantity::Projection => ("projections", "projection uᵢ = (Vᵀβ)ᵢ"),
        Quantity::Weight => ("weights", "weight σᵢ"),
        Quantity::ColumnNorm => ("lengths of the columns", "length ‖U eᵢ‖"),
    }
}

/// A line over time for each coordinate, coloured by rank.
fn lines_of(group: &Group<'_>, quantity: Quantity) -> Vec<Curve> {
    let count = group.positions();
    let all = group.members.len() == 1 || draws_all(group);
    let replicas = drawn_ranks(count).into_iter().map(|rank| {
        let pen = solid(ranked(rank, count));
        let mut replicas = Replicas::of(&group.members, pen, |member| {
            let at = member.order[rank];
            member.over_time(|record| member.entry(quantity, record, 0, at))
        });
        if !all && rank > 0 && rank + 1 < count {
            replicas.single.clear();
        }
        replicas
    });
    stack(replicas.collect())
}

fn coordinates(group: &Group<'_>, quantity: Quantity) -> Panel {
    let (plural, title) = words_of(quantity);
    let tied = group.first().followed.run.problem.model().form() == crate::flow::model::Form::Tied;
    let title = match tied {
        true => title.replace('V', "U"),
        false => title.to_owned(),
    };
    let y = match quantity {
        Quantity::Weight => Fit::Weights,
        _ => Fit::Round,
    };
    panel(
        group.title(plural),
        Vec::new(),
        lines_of(group, quantity),
        (Fit::Decades, TIME),
        (y, &title),
    )
}

fn loss(groups: &[Group<'_>]) -> Panel {
    let points =
        |member: &Member<'_>| member.over_time(|record| member.followed.trajectory.losses[record]);
    compared(
        groups,
        "loss",
        points,
        (Fit::Decades, TIME),
        (Fit::RoundDecades, "loss L"),
    )
}

fn strength(groups: &[Group<'_>]) -> Panel {
    let points = |member: &Member<'_>| {
        member.over_time(|record| member.followed.trajectory.strengths[record])
    };
    compared(
        groups,
        "strength of the polarisation",
        points,
        (Fit::Decades, TIME),
        (Fit::Weights, "strength S(t) = ∫ ‖∂L/∂θ‖ dτ"),
    )
}

fn largest_weight(groups: &[Group<'_>]) -> Panel {
    let points = |member: &Member<'_>| {
        member.over_time(|record| member.largest(Quantity::Weight, record, 0))
    };
    compared(
        groups,
        "largest weight",
        points,
        (Fit::Decades, TIME),
        (Fit::Weights, "largest weight maxᵢ σᵢ"),
    )
}

/// One line for each group.
fn compared(
    groups: &[Group<'_>],
    title: &str,
    points: impl Fn(&Member<'_>) -> Vec<(f64, f64)>,
    x: (Fit, &str),
    y: (Fit, &str),
) -> Panel {
    let replicas = groups
        .iter()
        .map(|group| Replicas::of(&group.members, group.pen, &points));
    let named = groups.iter().filter(|group| !group.label.is_empty());
    let legend = named.map(|group| Entry {
        key: key(group.pen),
        label: group.label.clone(),
    });
    panel(
        title.to_owned(),
        legend.collect(),
        stack(replicas.collect()),
        x,
        y,
    )
}

/// The largest coordinate of the last records against the condition number: each run, and the medians.
fn final_by_condition(groups: &[Group<'_>], quantity: Quantity) -> Panel {
    let (mut singles, mut medians, mut legend) = (Vec::new(), Vec::new(), Vec::new());
    let mut range = (f64::INFINITY, 0.0);
    for (at, (label, series)) in Group::by_condition(groups).into_iter().enumerate() {
        let pen = solid(of_model(at));
        let mut line = Vec::new();
        for (number, group) in series {
            range = (number.min(range.0), number.max(range.1));
            let (early, whole) = last_largest(group, quantity);
            let single = |marks| {
                move |value: f64| Curve {
                    points: vec![(number, value)],
                    pen: Pen {
                        width: 0.6,
                        opacity: 0.45,
                        ..pen
                    },
                    marks,
                }
            };
            singles.extend(early.into_iter().map(single(Marks::Crosses)));
            if !whole.is_empty() {
                line.push((number, quantile(&whole, 0.5)));
            }
            if whole.len() > 1 {
                singles.extend(whole.into_iter().map(single(Marks::Discs)));
            }
        }
        medians.push(Curve {
            points: line,
            pen,
            marks: Marks::Discs,
        });
        if !label.is_empty() {
            legend.push(Entry {
                key: key(pen),
                label,
            });
        }
    }
    singles.extend(medians);
    let x = match range.1 > WIDE * range.0 {
        true => Fit::RoundDecades,
        false => Fit::Round,
    };
    let (title, y, y_title) = match quantity {
        Quantity::Weight => (
            "largest last weight",
            Fit::Weights,
            "largest weight maxᵢ σᵢ",
        ),
        _ => ("largest last score", Fit::Weights, "largest score maxᵢ aᵢ"),
    };
    let mut panel = panel(
        title.to_owned(),
        legend,
        singles,
        (x, "condition number κ"),
        (y, y_title),
    );
    // Discs at the ends are whole.
    if panel.x.scale == Scale::Linear {
        let aside = 0.03 * (panel.x.high - panel.x.low);
        (panel.x.low, panel.x.high) = (panel.x.low - aside, panel.x.high + aside);
    }
    panel
}

/// The largest coordinates of last records: of the runs that ended early, and of the others in ascending order.
fn last_largest(group: &Group<'_>, quantity: Quantity) -> (Vec<f64>, Vec<f64>) {
    let (mut early, mut whole) = (Vec::new(), Vec::new());
    for member in &group.members {
        let Some(last) = member.records.checked_sub(1) else {
            continue;
        };
        match member.ended_early() {
            true => early.push(member.largest(quantity, last, 0)),
            false => whole.push(member.largest(quantity, last, 0)),
        }
    }
    whole.sort_unstable_by(f64::total_cmp);
    (early, whole)
}

fn panel(
    title: String,
    legend: Vec<Entry>,
    curves: Vec<Curve>,
    x: (Fit, &str),
    y: (Fit, &str),
) -> Panel {
    let (x, y) = fit(&curves, x, y);
    Panel {
        title,
        legend,
        x,
        y,
        size: PLOT,
        content: Content::Curves(curves),
    }
}

/// The sign of a line in a legend.
pub(super) fn key(pen: Pen) -> Key {
    Key::Line(Pen {
        width: pen.width.max(2.0),
        ..pen
    })
}

/// The last weights: rows × coordinates.
fn map(group: &Group<'_>, member: &Member<'_>, ruler: &Ruler) -> Panel {
    let (rows, columns) = (member.rows, member.positions);
    let values: Vec<f64> = match member.records.checked_sub(1) {
        None => vec![f64::NAN; rows * columns],
        Some(last) => (0..rows * columns)
            .map(|at| member.entry(Quantity::Weight, last, at / columns, at % columns))
            .collect(),
    };
    let (low, high) = values
        .iter()
        .fold((0.0, 0.0), |(low, high): (f64, f64), &value| {
            (low.min(value), high.max(value))
        });
    let colours = match high <= 1.0 && high > 0.5 && low >= 0.0 {
        true => Axis::exact(0.0, 1.0, 5, "weight"),
        false => Axis::around(low, high, 5, "weight"),
    };
    let (width, height) = (
        PLOT.0.min(CELL * columns as f64),
        PLOT.1.min(CELL * rows as f64),
    );
    let names = |count: usize| -> Vec<i32> { (0..).take(count).collect() };
    let seed = member.followed.run.seed;
    let title = match group.members.len() {
        1 => "last weights".to_owned(),
        _ => format!("last weights, seed\u{a0}{seed}"),
    };
    Panel {
        title: group.title(&title),
        legend: Vec::new(),
        x: Axis::places(&names(columns), ruler, width, false, "coordinate i"),
        y: Axis::places(&names(rows), ruler, height, true, "row"),
        size: (width, height),
        content: Content::Cells(Cells {
            columns,
            values,
            colours,
            numbers: Vec::new(),
            has_bar: true,
            is_triangle: false,
        }),
    }
}
