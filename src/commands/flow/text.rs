//! Followed runs as tables for a person.

use std::fmt::Write;

use crate::compare::quantile;
use crate::flow::end::End;
use crate::flow::map::Value;
use crate::flow::trajectory::Followed;

/// From so many replicas on a second table tells how they are distributed.
const MANY: usize = 3;
/// What it tells of them.
const QUANTILES: [(&str, f64); 5] = [
    ("smallest", 0.0),
    ("25 %", 0.25),
    ("median", 0.5),
    ("75 %", 0.75),
    ("largest", 1.0),
];

/// `1 run`, `2 runs`.
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// `conditioning (softmax, dim 20, κ 5, seed 123)`.
pub fn describe(followed: &Followed) -> String {
    let run = &followed.run;
    let number = run.condition_number.map_or(String::new(), |number| {
        format!(", κ {}", Value::Number(number))
    });
    format!(
        "{} ({}, dim {}{number}, seed {})",
        run.experiment,
        run.sigma(),
        run.problem.model().positions(),
        run.seed
    )
}

/// A line for each run, and where there are many replicas, how they are distributed.
pub fn summary(followed: &[Followed]) -> String {
    let has_number = followed
        .iter()
        .any(|followed| followed.run.condition_number.is_some());
    let mut lines = Table::new(&[
        ("experiment", Side::Left),
        ("sigma", Side::Left),
        ("dim", Side::Right),
        ("κ", Side::Right),
        ("seed", Side::Right),
        ("t", Side::Right),
        ("loss", Side::Right),
        ("largest weight", Side::Right),
        ("at", Side::Right),
        ("entropy", Side::Right),
        ("strength", Side::Right),
        ("", Side::Left),
    ]);
    for followed in followed {
        let mut cells = problem(followed);
        cells.push(followed.run.seed.to_string());
        let end = followed.end();
        let number = |of: &dyn Fn(&End<'_>) -> Option<String>| {
            end.as_ref().and_then(of).unwrap_or_else(|| "–".into())
        };
        cells.extend([
            number(&|end| Some(time(end.time))),
            number(&|end| Some(format!("{:.4e}", end.loss))),
            number(&|end| Some(decimals(end.largest_weight))),
            number(&|end| end.coordinate.map(|at| at.to_string())),
            number(&|end| end.entropy.map(|entropy| format!("{entropy:.4}"))),
            number(&|end| Some(decimals(end.strength))),
            match followed.failure {
                Some(_) => "ended early".into(),
                None => String::new(),
            },
        ]);
        lines.push(cells);
    }
    if !has_number {
        lines.drop_column(3);
    }
    let mut text = lines.to_text();
    let groups: Vec<&[Followed]> = followed
        .chunk_by(|a, b| problem(a) == problem(b))
        .filter(|group| group.len() >= MANY)
        .collect();
    if !groups.is_empty() {
        // Writing to a string does not fail.
        let _ = write!(text, "\n{}", spread(&groups, has_number));
    }
    text
}

/// What the replicas of a run have in common: experiment, σ, d, κ.
fn problem(followed: &Followed) -> Vec<String> {
    let run = &followed.run;
    let condition_number = run.condition_number;
    vec![
        run.experiment.into(),
        run.sigma().to_string(),
        run.problem.model().positions().to_string(),
        condition_number.map_or(String::new(), |number| Value::Number(number).to_string()),
    ]
}

fn spread(groups: &[&[Followed]], has_number: bool) -> String {
    let mut lines = Table::new(&[
        ("over seeds", Side::Left),
        ("sigma", Side::Left),
        ("dim", Side::Right),
        ("κ", Side::Right),
        ("runs", Side::Right),
        ("", Side::Left),
        ("loss", Side::Right),
        ("largest weight", Side::Right),
        ("entropy", Side::Right),
        ("strength", Side::Right),
    ]);
    for group in groups {
        let finished = group.iter().filter(|followed| followed.failure.is_none());
        let ends: Vec<End<'_>> = finished.filter_map(Followed::end).collect();
        let sorted = |of: fn(&End<'_>) -> Option<f64>| {
            let mut numbers: Vec<f64> = ends.iter().filter_map(of).collect();
            numbers.sort_by(f64::total_cmp);
            numbers
        };
        let losses = sorted(|end| Some(end.loss));
        let others = [
            sorted(|end| Some(end.largest_weight)),
            sorted(|end| end.entropy),
            sorted(|end| Some(end.strength)),
        ];
        for (name, q) in QUANTILES {
            let mut cells = problem(&group[0]);
            cells.extend([ends.len().to_string(), name.into()]);
            let number = |sorted: &[f64], text: fn(f64) -> String| match sorted {
                [] => "–".into(),
                _ => text(quantile(sorted, q)),
            };
            cells.push(number(&losses, |loss| format!("{loss:.4e}")));
            cells.extend(others.iter().map(|sorted| number(sorted, decimals)));
            lines.push(cells);
        }
    }
    if !has_number {
        lines.drop_column(3);
    }
    lines.to_text()
}

/// `0.9749`; `4.7378e149` of what has no place in a column; never `-0.0000`.
fn decimals(number: f64) -> String {
    match number.abs() < 1e6 {
        true if number.abs() < 0.5e-4 => "0.0000".into(),
        true => format!("{number:.4}"),
        false => format!("{number:.4e}"),
    }
}

/// `1000`, `100000.5`, `1e7`.
fn time(time: f64) -> String {
    match time {
        t if t != 0.0 && !(1e-3..1e6).contains(&t) => format!("{t:e}"),
        t => {
            let text = format!("{t:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

/// On which side of its column a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Columns as wide as their texts.
pub struct Table {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these headings.
    pub fn new(headings: &[(&str, Side)]) -> Self {
        let names = headings.iter().map(|(name, _)| (*name).to_owned());
        Self {
            sides: headings.iter().map(|(_, side)| *side).collect(),
            rows: vec![names.collect()],
        }
    }

    /// Adds a row, with a text for each heading.
    pub fn push(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    fn drop_column(&mut self, column: usize) {
        self.sides.remove(column);
        for row in &mut self.rows {
            row.remove(column);
        }
    }

    /// A line for each row.
    pub fn to_text(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.sides.len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, side), &width) in row.iter().zip(&self.sides).zip(&widths) {
                let gap = if line.is_empty() { "" } else { "  " };
                // Writing to a string does not fail.
                let _ = match side {
                    Side::Left => write!(line, "{gap}{cell:<width$}"),
                    Side::Right => write!(line, "{gap}{cell:>width$}"),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_texts() {
        let mut table = Table::new(&[("κ", Side::Left), ("t", Side::Right), ("", Side::Left)]);
        table.push(vec!["äb".into(), "10".into(), String::new()]);
        table.push(vec!["c".into(), "7".into(), "end".into()]);
        assert_eq!(table.to_text(), "κ    t\näb  10\nc    7  end\n");
    }

    #[test]
    fn no_zero_has_a_sign() {
        for (number, expected) in [
            (-0.0, "0.0000"),
            (-4e-5, "0.0000"),
            (-6e-5, "-0.0001"),
            (6e-5, "0.0001"),
            (1e200, "1.0000e200"),
        ] {
            assert_eq!(decimals(number), expected);
        }
    }

    #[test]
    fn times_are_short() {
        for (number, expected) in [
            (0.0, "0"),
            (1000.0, "1000"),
            (0.25, "0.25"),
            (1e6, "1e6"),
            (99999.9, "99999.9"),
            (1e-5, "1e-5"),
        ] {
            assert_eq!(time(number), expected);
        }
    }
}
