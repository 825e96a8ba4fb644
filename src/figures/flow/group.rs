//! Runs that differ in their seeds only.

use plotters::style::RGBColor;

use super::lines::WIDTH;
use super::member::Member;
use crate::figures::colours::{of_model, scale};
use crate::figures::curves::{Dash, Pen};
use crate::flow::model::Form;

/// The part of the colour scale that stands out from white.
const SCALE: f64 = 0.88;
/// As many lines of one dash have colours of their own.
const PALETTE: usize = 6;
/// Lines are so much wider than those that lie on top of them: where all are the same, the edges of each are seen.
const WIDER: f64 = 0.55;

/// The replicas of one problem.
pub(super) struct Group<'a> {
    /// At least one.
    pub(super) members: Vec<Member<'a>>,
    kind: Kind,
    /// What tells it from the other groups of the figure; empty if there is no other.
    pub(super) label: String,
    /// Of what compares groups.
    pub(super) pen: Pen,
}

/// What replicas have in common.
#[derive(Clone, PartialEq)]
struct Kind {
    sigma: &'static str,
    condition_number: Option<f64>,
    objective: &'static str,
    form: Form,
    rows: usize,
    positions: usize,
    predictions: usize,
    rate: f64,
}

impl Kind {
    fn of(member: &Member<'_>) -> Self {
        let run = &member.followed.run;
        let model = run.problem.model();
        Self {
            sigma: member.sigma(),
            condition_number: run.condition_number,
            objective: model.objective().name(),
            form: model.form(),
            rows: member.rows,
            positions: member.positions,
            predictions: member.predictions(),
            rate: run.rate,
        }
    }
}

impl<'a> Group<'a> {
    /// Groups in the order of their first members.
    pub(super) fn all(members: Vec<Member<'a>>) -> Vec<Self> {
        let mut kinds: Vec<Kind> = Vec::new();
        let mut groups: Vec<Vec<Member<'a>>> = Vec::new();
        for member in members {
            let kind = Kind::of(&member);
            match kinds.iter().position(|other| *other == kind) {
                Some(at) => groups[at].push(member),
                None => {
                    kinds.push(kind);
                    groups.push(vec![member]);
                }
            }
        }
        let (labels, is_ordered) = labels(&kinds);
        let count = groups.len();
        let named = groups.into_iter().zip(kinds).zip(labels).enumerate();
        let group = |(at, ((members, kind), label))| Self {
            members,
            kind,
            label,
            pen: match is_ordered {
                true => solid(graded(at, count)),
                false => Pen {
                    width: WIDTH - 0.2 + WIDER * (at % PALETTE) as f64,
                    dash: Dash::of_round(at / PALETTE),
                    ..solid(of_model(at))
                },
            },
        };
        named.map(group).collect()
    }

    /// Groups that differ in their condition numbers only, by ascending number, with what tells these series apart.
    pub(super) fn by_condition(groups: &[Self]) -> Vec<(String, Vec<(f64, &Self)>)> {
        let mut kinds: Vec<Kind> = Vec::new();
        let mut series: Vec<Vec<(f64, &Self)>> = Vec::new();
        for group in groups {
            let Some(number) = group.kind.condition_number else {
                continue;
            };
            let kind = Kind {
                condition_number: None,
                ..group.kind.clone()
            };
            match kinds.iter().position(|other| *other == kind) {
                Some(at) => series[at].push((number, group)),
                None => {
                    kinds.push(kind);
                    series.push(vec![(number, group)]);
                }
            }
        }
        for groups in &mut series {
            groups.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        labels(&kinds).0.into_iter().zip(series).collect()
    }

    pub(super) fn first(&self) -> &Member<'a> {
        &self.members[0]
    }

    pub(super) fn rows(&self) -> usize {
        self.first().rows
    }

    /// d
    pub(super) fn positions(&self) -> usize {
        self.first().positions
    }

    /// `quantity`, with the label if there is one.
    pub(super) fn title(&self, quantity: &str) -> String {
        match self.label.is_empty() {
            true => quantity.to_owned(),
            false => format!("{}: {quantity}", self.label),
        }
    }
}

/// A line of this colour.
pub(super) fn solid(colour: RGBColor) -> Pen {
    Pen {
        colour,
        width: WIDTH,
        opacity: 1.0,
        dash: Dash::Solid,
    }
}

/// The colour of the coordinate of this rank, 0 being the largest, which stands out.
pub(super) fn ranked(rank: usize, count: usize) -> RGBColor {
    match rank {
        0 => of_model(1),
        _ => graded(rank, count),
    }
}

/// The colour of the `at`-th of `count` things that have an order: dark is first.
pub(super) fn graded(at: usize, count: usize) -> RGBColor {
    scale(SCALE * at as f64 / (count.max(2) - 1) as f64)
}

/// What tells the kinds apart, and whether this is one ascending number.
fn labels(kinds: &[Kind]) -> (Vec<String>, bool) {
    type Part = (fn(&Kind) -> String, fn(&Kind) -> Option<f64>);
    let parts: [Part; 8] = [
        (|kind| kind.sigma.to_owned(), |_| None),
        (
            |kind| match kind.condition_number {
                Some(number) => format!("κ\u{a0}=\u{a0}{number}"),
                None => "no κ".to_owned(),
            },
            |kind| kind.condition_number,
        ),
        (
            |kind| format!("d\u{a0}=\u{a0}{}", kind.positions),
            |kind| Some(kind.positions as f64),
        ),
        (
            |kind| format!("p\u{a0}=\u{a0}{}", kind.predictions),
            |kind| Some(kind.predictions as f64),
        ),
        (
            |kind| super::words::rows(kind.rows),
            |kind| Some(kind.rows as f64),
        ),
        (|kind| format!("{} loss", kind.objective), |_| None),
        (
            |kind| match kind.form {
                Form::Tied => "tied".to_owned(),
                Form::Free | Form::Rows(_) => "free".to_owned(),
            },
            |_| None,
        ),
        (
            |kind| format!("η\u{a0}=\u{a0}{}", kind.rate),
            |kind| Some(kind.rate),
        ),
    ];
    let square = kinds.iter().all(|kind| kind.positions == kind.predictions);
    let varies = |(at, (text, _)): &(usize, &Part)| {
        let differs = kinds
            .windows(2)
            .any(|pair| text(&pair[0]) != text(&pair[1]));
        // Of square shapes one number says all.
        differs && !(square && *at == 3)
    };
    let told: Vec<&Part> = parts
        .iter()
        .enumerate()
        .filter(varies)
        .map(|(_, part)| part)
        .collect();
    let is_ordered = match told[..] {
        [(_, number)] => kinds
            .iter()
            .map(number)
            .is_sorted_by(|a, b| a.is_some() && a < b),
        _ => false,
    };
    let label = |kind: &Kind| {
        let parts: Vec<String> = told.iter().map(|(text, _)| text(kind)).collect();
        parts.join(", ")
    };
    (kinds.iter().map(label).collect(), is_ordered)
}
