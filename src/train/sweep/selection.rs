//! Which runs of a grid are wanted.

use serde::Serialize;

use super::{
    grid::Grid,
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
        let usage = |message: String| Error::Usage(format!("--filter {text}: {message}"));
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

    fn takes(&self, values: &[(Key, &Value)]) -> bool {
        values
            .iter()
            .any(|(key, value)| *key == self.key && self.values.contains(value))
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
    /// [`Error::Grid`] if one of those that the filters take can be no run, whatever limit and shard are;
    /// [`Error::Usage`] if nothing is left, or less than one run for each shard.
    pub fn runs(&self, grid: &Grid) -> Result<Vec<usize>> {
        let takes = |run: &usize| {
            let values = grid.values(*run);
            self.filters.iter().all(|filter| filter.takes(&values))
        };
        let mut runs: Vec<usize> = (0..grid.runs()).filter(takes).collect();
        for &run in &runs {
            grid.settings(run)?;
        }
        runs.truncate(self.limit.unwrap_or(usize::MAX));
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

    pub(super) fn record(&self) -> SelectionRecord {
        SelectionRecord {
            filters: self.filters.iter().map(Filter::text).collect(),
            limit: self.limit,
        }
    }
}
