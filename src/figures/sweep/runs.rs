//! The runs of a table, by what they have in common.

use crate::Result;
use crate::layers::attention::AttentionKind;
use crate::store::sweep::{Cell, SweepTable};
use crate::train::sweep::Key;

/// A run of the table.
pub(super) struct Run {
    /// Where it is in the table.
    pub(super) row: usize,
    /// Which attention function it has: a place in [`FAMILIES`].
    pub(super) family: usize,
    pub(super) is_normalized: bool,
    pub(super) has_signed_weights: bool,
    pub(super) is_finished: bool,
    pub(super) has_learned: bool,
    /// Of the keys that have several values in the table.
    values: Vec<String>,
}

/// The runs of a table.
pub(super) struct Runs {
    pub(super) runs: Vec<Run>,
    /// Keys with several values in the table, but for attention function and seed.
    pub(super) varied: Vec<String>,
    /// The values of each of them, ascending.
    values: Vec<Vec<String>>,
}

/// Attention functions, normalised or not, as they stand beside each other; a label may have two lines.
pub(super) const FAMILIES: [(&str, &str); 7] = [
    ("softmax", "softmax"),
    ("uniform", "uniform"),
    ("sigmoid", "sigmoid"),
    ("linear", "linear"),
    ("coupled_linear", "coupled\nlinear"),
    ("raw_dotproduct", "raw dot\nproduct"),
    ("mlp", "mlp"),
];

/// Which of [`FAMILIES`] a name is of, and whether it is normalised.
fn family(name: &str) -> Option<(usize, bool)> {
    let (stem, is_normalized) = match name.strip_suffix("_unnorm") {
        Some(stem) => (stem, false),
        None => (name.strip_suffix("_norm").unwrap_or(name), true),
    };
    let at = FAMILIES.iter().position(|(known, _)| *known == stem)?;
    Some((at, is_normalized))
}

/// Whether there is such a function at all.
pub(super) fn exists(wanted: usize, is_normalized: bool) -> bool {
    AttentionKind::ALL
        .iter()
        .any(|kind| family(kind.name()) == Some((wanted, is_normalized)))
}

impl Runs {
    pub(super) fn of(table: &SweepTable) -> Result<Self> {
        let is = |cell: &Cell, word: &str| matches!(cell, Cell::Word(found) if found == word);
        let (mut varied, mut values, mut columns) = (Vec::new(), Vec::new(), Vec::new());
        for key in Key::ALL {
            let is_column = table.names().any(|name| name == key.name());
            if matches!(key, Key::AttentionType | Key::Seed) || !is_column {
                continue;
            }
            let cells = table.column(key.name())?;
            let mut known: Vec<&Cell> = Vec::new();
            for cell in cells {
                if !known.contains(&cell) {
                    known.push(cell);
                }
            }
            if known.len() > 1 {
                known.sort_by(|one, other| order(one).total_cmp(&order(other)));
                varied.push(key.name().to_owned());
                values.push(known.iter().map(ToString::to_string).collect());
                columns.push(cells);
            }
        }
        let attention = table.column("attention_type")?;
        let (states, learned) = (table.column("state")?, table.column("has_learned")?);
        let runs = (0..table.rows()).filter_map(|row| {
            let name = attention[row].to_string();
            let (family, is_normalized) = family(&name)?;
            let kind = AttentionKind::named(&name);
            Some(Run {
                row,
                family,
                is_normalized,
                has_signed_weights: kind.is_some_and(AttentionKind::has_signed_weights),
                is_finished: is(&states[row], "finished"),
                has_learned: learned[row] == Cell::Bool(true),
                values: columns.iter().map(|cells| cells[row].to_string()).collect(),
            })
        });
        Ok(Self {
            runs: runs.collect(),
            varied,
            values,
        })
    }

    pub(super) fn finished(&self) -> usize {
        self.runs.iter().filter(|run| run.is_finished).count()
    }

    /// The runs by the values of some keys that vary, with what the values are. Combinations without a run are not there.
    pub(super) fn groups(&self, keys: &[&str]) -> Vec<(String, Vec<&Run>)> {
        let mut groups: Vec<(String, Vec<&Run>)> =
            vec![(String::new(), self.runs.iter().collect())];
        for key in keys {
            let Some(at) = self.varied.iter().position(|varied| varied == key) else {
                continue;
            };
            let split = groups.iter().flat_map(|(label, runs)| {
                self.values[at].iter().map(move |value| {
                    let runs = runs.iter().copied().filter(|run| run.values[at] == *value);
                    let gap = if label.is_empty() { "" } else { ", " };
                    (format!("{label}{gap}{key} = {value}"), runs.collect())
                })
            });
            groups = split.collect();
        }
        groups.retain(|(_, runs)| !runs.is_empty());
        groups
    }
}

/// Numbers ascend, words stay as they came.
fn order(cell: &Cell) -> f64 {
    match cell {
        Cell::Whole(number) => *number as f64,
        Cell::Number(number) => *number,
        Cell::Bool(is) => f64::from(u8::from(*is)),
        Cell::Null | Cell::Word(_) => 0.0,
    }
}
