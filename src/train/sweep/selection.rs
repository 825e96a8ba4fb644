//! Which runs of a grid are wanted.

use std::collections::HashSet;

use serde::Serialize;

use super::{
    grid::{Grid, places_of},
    keys::{Key, Value},
};
use crate::{Error, Result, corpus::Shard};

/// Takes only runs that have one of some values.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    key: Key,
    values: Vec<Value>,
}

impl Filter {
    /// `key=value` or `key=value,value`, with values that the grid has.
    ///
    /// # Errors
    /// [`Error::Usage`] with the keys, or the values, that there are.
    pub fn parse(text: &str, grid: &Grid) -> Result<Self> {
        let usage = |message: String| match text {
            "" => Error::Usage(format!(
                "--filter (or ATTNSCOPE_FILTER) is empty and {message}"
            )),
            _ => Error::Usage(format!("--filter {text}: {message}")),
        };
        let Some((name, values)) = text.split_once('=') else {
            return Err(usage("needs the form key=value or key=value,value".into()));
        };
        let axis = grid.axes().iter().find(|axis| axis.key.name() == name);
        let Some(axis) = axis else {
            let mut known: Vec<&str> = grid.axes().iter().map(|axis| axis.key.name()).collect();
            known.sort_unstable();
            return Err(usage(format!(
                "`{name}` is no key of {}; there are {}",
                grid.task().name(),
                known.join(", ")
            )));
        };
        let mut wanted = Vec::new();
        for text in values.split(',') {
            let value = axis.key.parse(text.trim());
            match value {
                Ok(value) if axis.values.contains(&value) => wanted.push(value),
                Ok(_) | Err(_) => {
                    let known: Vec<String> = axis.values.iter().map(Value::to_string).collect();
                    return Err(usage(format!(
                        "`{text}` is no {name} of this grid, which has {}",
                        known.join(", ")
                    )));
                }
            }
        }
        Ok(Self {
            key: axis.key,
            values: wanted,
        })
    }

    fn takes(&self, key: Key, value: &Value) -> bool {
        key != self.key || self.values.contains(value)
    }

    /// As it is typed.
    pub fn text(&self) -> String {
        let values: Vec<String> = self.values.iter().map(Value::to_string).collect();
        format!("{}={}", self.key.name(), values.join(","))
    }
}

/// Which runs of a grid are wanted: of those that all filters take, the first so many, and of these a shard. All shards
/// of a selection together are the selection.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// All must agree.
    pub filters: Vec<Filter>,
    /// The first so many.
    pub limit: Option<usize>,
    /// A contiguous part of them.
    pub shard: Option<Shard>,
}

/// A selection as it is written down.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct SelectionRecord {
    filters: Vec<String>,
    limit: Option<usize>,
}

impl Selection {
    /// Their numbers, ascending.
    ///
    /// # Errors
    /// [`Error::Grid`] if one of those that filters and limit leave can be no run, whatever the shard is; runs that are
    /// not wanted need not be possible. [`Error::Usage`] if nothing is left, or less than one run for each shard.
    pub fn runs(&self, grid: &Grid) -> Result<Vec<usize>> {
        let runs = self.first_runs(grid);
        check(grid, &runs)?;
        if runs.is_empty() {
            return Err(Error::Usage(
                "no run is left; let --filter and --limit take at least one".into(),
            ));
        }
        match self.shard {
            None => Ok(runs),
            Some(shard) if runs.len() < shard.count() => Err(Error::Usage(format!(
                "{} runs cannot be spread over {} shards; use at most {0} shards",
                runs.len(),
                shard.count()
            ))),
            Some(shard) => Ok(shard.of(&runs)?.to_vec()),
        }
    }

    /// Those that filters and limit leave, ascending.
    fn first_runs(&self, grid: &Grid) -> Vec<usize> {
        // Of each axis, the places of the values that all filters take: the runs are their combinations.
        let axes: Vec<Vec<usize>> = (grid.axes().iter())
            .map(|axis| {
                let takes = |place: &usize| {
                    let mut filters = self.filters.iter();
                    filters.all(|filter| filter.takes(axis.key, &axis.values[*place]))
                };
                (0..axis.values.len()).filter(takes).collect()
            })
            .collect();
        // No more than the grid has.
        let all = axes.iter().map(Vec::len).product();
        (0..self.limit.unwrap_or(all).min(all))
            .map(|number| {
                let taken = places_of(number, axes.iter().map(Vec::len));
                grid.run_at(axes.iter().zip(taken).map(|(places, taken)| places[taken]))
            })
            .collect()
    }

    pub(super) fn record(&self) -> SelectionRecord {
        SelectionRecord {
            filters: self.filters.iter().map(Filter::text).collect(),
            limit: self.limit,
        }
    }
}

/// Fails unless all these runs can be. Keys that are free in a shape are checked by themselves, in whatever shape: so it
/// is enough to look at one run of each shape, and one with each of their values.
fn check(grid: &Grid, runs: &[usize]) -> Result<()> {
    let (mut shapes, mut free) = (HashSet::new(), HashSet::new());
    for &run in runs {
        let is_new_shape = shapes.insert(grid.shape(run));
        let mut is_new_value = false;
        for (axis, place) in grid.axes().iter().zip(grid.places(run)) {
            if axis.key.is_free_in_a_shape() && axis.values.len() > 1 {
                is_new_value |= free.insert((axis.key, place));
            }
        }
        if is_new_shape || is_new_value {
            grid.settings(run)?;
        }
    }
    Ok(())
}
