//! What stands above the panels.

use super::group::{Group, graded, ranked, solid};
use super::lines::{FOR_MEDIAN, have_medians};
use super::member::{Member, Order};
use super::views::{MOST_MAPS, drawn_ranks, draws_all, key};
use crate::Error;
use crate::figures::decades;
use crate::figures::sheet::{Entry, Key};
use crate::figures::words::counted;

const PAPER: &str = "arXiv 2603.06248";
/// So many coordinates have an entry each.
const FEW: usize = 12;
/// So many runs that ended early are named; so many seeds are listed.
const NAMED: usize = 4;

pub(super) fn title(experiment: &str, has_rows: bool) -> String {
    let (subject, figure) = match experiment {
        "rows" => (
            "Rows of scores over common values: weights of each row".to_owned(),
            None,
        ),
        other if has_rows => (
            format!("Rows of scores over common values ({other}): weights of each row"),
            None,
        ),
        "logistic" => (
            "Logistic loss: scores, projections and weights over time".to_owned(),
            Some("Figure 2"),
        ),
        "conditioning" => (
            "Regression: scores by the condition number of the design".to_owned(),
            Some("Figures 3 and 12"),
        ),
        "kl" => (
            "Cross-entropy to a target distribution: scores and weights over time".to_owned(),
            Some("Figure 10"),
        ),
        "tied" => (
            "One matrix for values and scores: weights and columns over time".to_owned(),
            Some("Figure 11"),
        ),
        "square" => (
            "Square loss: weights over time, by normalisation".to_owned(),
            Some("Figure 13"),
        ),
        "normalizations" => (
            "Logistic loss: weights over time, by normalisation".to_owned(),
            Some("Figure 13"),
        ),
        other => (format!("{other}: scores and weights over time"), None),
    };
    match figure {
        Some(figure) => format!("{subject} (compare {figure} of {PAPER})"),
        None => subject,
    }
}

/// `1 row`, `4 rows`.
pub(super) fn rows(count: usize) -> String {
    counted(count, "row")
}

/// The colours of coordinates in the order of their last records, and the sign of runs that ended early.
pub(super) fn legend(groups: &[Group<'_>], order: Order) -> Vec<Entry> {
    let entry = |colour, label: String| Entry {
        key: key(solid(colour)),
        label,
    };
    let what = match order {
        Order::Scores => "score",
        Order::Weights => "weight",
    };
    let most = groups.iter().map(Group::positions).max().unwrap_or(0);
    let mut entries: Vec<Entry> = match groups {
        [group] if group.members.len() == 1 && most <= FEW => {
            let order = group.first().order.iter().enumerate();
            let named = order.map(|(rank, at)| {
                let label = format!("i\u{a0}=\u{a0}{at}");
                entry(ranked(rank, most), label)
            });
            named.collect()
        }
        _ => {
            let mut entries = vec![entry(ranked(0, most), format!("largest last {what}"))];
            if most > 3 {
                entries.push(entry(graded(0, 2), "next".into()));
            }
            if most > 2 {
                entries.push(entry(graded(1, 3), "median".into()));
            }
            if most > 1 {
                entries.push(entry(graded(1, 2), "smallest".into()));
            }
            entries
        }
    };
    entries.extend(ended_early(groups));
    entries
}

/// The sign of runs that ended early, if there are any.
pub(super) fn ended_early(groups: &[Group<'_>]) -> Vec<Entry> {
    let early = members(groups)
        .filter(|member| member.ended_early())
        .count();
    let entry = (early > 0).then(|| Entry {
        key: Key::EndedEarly,
        label: format!("ended early ({})", counted(early, "run")),
    });
    entry.into_iter().collect()
}

fn members<'g, 'a>(groups: &'g [Group<'a>]) -> impl Iterator<Item = &'g Member<'a>> {
    groups.iter().flat_map(|group| &group.members)
}

/// What was followed, what the lines are, and what is not seen.
pub(super) fn note(groups: &[Group<'_>], order: Option<Order>) -> String {
    let mut sentences = vec![facts(groups)];
    match order {
        Some(Order::Scores) => {
            sentences
                .push("Lines: coordinates i, coloured in the order of their last scores".into());
        }
        Some(Order::Weights) => {
            sentences
                .push("Lines: coordinates i, coloured in the order of their last weights".into());
        }
        None if groups.iter().any(|group| group.members.len() > MOST_MAPS) => {
            sentences.push(format!("Maps: the first {MOST_MAPS} seeds"));
        }
        None => {}
    }
    let most = groups.iter().map(Group::positions).max().unwrap_or(0);
    let drawn = drawn_ranks(most).len();
    if order.is_some() && drawn < most {
        sentences.push(format!(
            "At most {drawn} coordinates are drawn, spread over this order"
        ));
    }
    sentences.extend(replicas(groups, order.is_some()));
    let times = || members(groups).flat_map(|member| &member.followed.trajectory.times);
    if times().any(|time| *time == 0.0) && times().any(|time| *time > 0.0) {
        sentences.push("The start, t = 0, has no place on logarithmic axes".into());
    }
    let losses = members(groups).flat_map(|member| &member.followed.trajectory.losses);
    match losses.filter(|loss| **loss < decades::BOUNDS.0).count() {
        0 => {}
        1 => sentences.push("One recorded loss has vanished: below 10⁻³⁰⁰ it is not drawn".into()),
        many => sentences.push(format!(
            "{many} recorded losses have vanished: below 10⁻³⁰⁰ they are not drawn"
        )),
    }
    sentences.extend(failures(groups));
    sentences.join(". ")
}

/// What all runs have in common, and their seeds.
fn facts(groups: &[Group<'_>]) -> String {
    let mut facts = Vec::new();
    let common = |text: &dyn Fn(&Member<'_>) -> String| {
        let mut texts = members(groups).map(text);
        let first = texts.next()?;
        texts.all(|other| other == first).then_some(first)
    };
    facts.extend(common(&|member| member.sigma().to_owned()));
    facts.extend(common(&|member| {
        let (p, d) = (member.predictions(), member.positions);
        format!("V\u{a0}{p}\u{a0}×\u{a0}{d}")
    }));
    let is_flow = |member: &Member<'_>| member.followed.effort.accepted > 0;
    facts.extend(common(&|member| match is_flow(member) {
        true => "gradient flow".to_owned(),
        false => format!(
            "η\u{a0}=\u{a0}{}, t\u{a0}=\u{a0}η\u{a0}·\u{a0}updates",
            member.followed.run.rate
        ),
    }));
    if !members(groups).any(is_flow) {
        facts.extend(common(&|member| grouped(member.followed.run.steps)));
    }
    let mut seeds: Vec<u32> = members(groups)
        .map(|member| member.followed.run.seed)
        .collect();
    seeds.sort_unstable();
    seeds.dedup();
    let listed: Vec<String> = seeds.iter().map(u32::to_string).collect();
    facts.push(match seeds.len() {
        1 => format!("seed {}", listed[0]),
        few if few <= NAMED => format!("seeds {}", listed.join(", ")),
        many => format!("{many} seeds from {} to {}", listed[0], listed[many - 1]),
    });
    facts.join(", ")
}

/// `1 000 000 updates`.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    format!("{text}\u{a0}update{}", if count == 1 { "" } else { "s" })
}

/// How replicas are drawn.
fn replicas(groups: &[Group<'_>], has_coordinates: bool) -> Option<String> {
    let several = || groups.iter().filter(|group| group.members.len() > 1);
    let with_median = several()
        .filter(|group| have_medians(&group.members))
        .count();
    let said = match (several().count(), with_median) {
        (0, _) => return None,
        (_, 0) => format!(
            "Thin lines: one for each seed; no medians, which take {FOR_MEDIAN} runs with equal records that reached their end"
        ),
        (all, some) => format!(
            "Thin lines: one for each seed; thick: their medians at each time{}{}",
            if has_coordinates {
                ", coordinates of one rank together"
            } else {
                ""
            },
            if some < all {
                ", where at least three seeds have equal records"
            } else {
                ""
            },
        ),
    };
    Some(match !has_coordinates || several().all(draws_all) {
        true => said,
        false => format!("{said}; thin lines only of the first and the last coordinate"),
    })
}

/// Which runs ended early, and why.
fn failures(groups: &[Group<'_>]) -> Option<String> {
    let mut told = Vec::new();
    for group in groups {
        for member in &group.members {
            let Some(failure) = &member.followed.failure else {
                continue;
            };
            let mut run = format!("seed {}", member.followed.run.seed);
            if !group.label.is_empty() {
                run = format!("{} ({run})", group.label);
            }
            told.push(match failure {
                Error::Diverged {
                    after, quantity, ..
                } => format!("{run} diverged ({quantity}) after {after}"),
                other => format!("{run}: {other}"),
            });
        }
    }
    let more = told.len().saturating_sub(NAMED);
    told.truncate(NAMED);
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    (!told.is_empty()).then(|| format!("Ended early: {}", told.join("; ")))
}
