//! Which runs are trained together.

use std::collections::{BTreeMap, HashMap};

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
        // Where the runs of a shape are, and how many steps each of them has.
        let mut known: HashMap<usize, (usize, usize)> = HashMap::new();
        let mut steps = 0usize;
        for &(run, _) in runs.iter().filter(|(_, ended)| ended.is_none()) {
            let (at, of_run) = *known.entry(grid.shape(run)).or_insert_with(|| {
                shapes.push(Vec::new());
                let settings = grid.configuration(run).settings();
                (shapes.len() - 1, settings.steps())
            });
            shapes[at].push(run);
            steps = steps.saturating_add(of_run);
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
