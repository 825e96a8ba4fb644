//! Which runs are trained together.

use std::collections::BTreeMap;

use super::grid::Grid;
use crate::store::sweep::{EndState, RunRecord};

/// What there is to do of a selection.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The numbers of all runs of the selection, ascending, with how they ended if they did.
    pub runs: Vec<(usize, Option<EndState>)>,
    /// Those that are left, by shape: runs of one shape can be trained side by side.
    pub(super) shapes: Vec<Vec<usize>>,
    /// Steps of all that are left.
    pub steps: usize,
}

impl Plan {
    pub(super) fn of(
        grid: &Grid,
        selected: Vec<usize>,
        records: &BTreeMap<usize, RunRecord>,
    ) -> Self {
        let ended = |run: usize| records.get(&run).map(|record| record.state);
        let runs: Vec<_> = selected.iter().map(|&run| (run, ended(run))).collect();
        let mut shapes: Vec<Vec<usize>> = Vec::new();
        let mut known: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
        let mut steps = 0usize;
        for &(run, _) in runs.iter().filter(|(_, ended)| ended.is_none()) {
            let axes = grid.axes().iter().zip(grid.places(run));
            let shape = axes
                .filter(|(axis, _)| !axis.key.is_free_in_a_shape())
                .map(|(_, place)| place);
            let at = *known.entry(shape.collect()).or_insert_with(|| {
                shapes.push(Vec::new());
                shapes.len() - 1
            });
            shapes[at].push(run);
            steps = steps.saturating_add(grid.configuration(run).settings().steps());
        }
        Self {
            runs,
            shapes,
            steps,
        }
    }

    /// Runs that have ended.
    pub fn done(&self) -> usize {
        self.runs.len() - self.left()
    }

    /// Runs that have not.
    pub fn left(&self) -> usize {
        self.shapes.iter().map(Vec::len).sum()
    }
}
