//! A followed run, as a figure reads it.

use crate::Result;
use crate::figures::canvas::failed;
use crate::flow::trajectory::Followed;

/// By what the coordinates of a run are ordered: their last records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Scores,
    Weights,
}

/// What each coordinate of a record has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    /// a_i
    Score,
    /// u_i = (Vᵀβ)_i
    Projection,
    /// σ_i
    Weight,
    /// ‖U e_i‖
    ColumnNorm,
}

/// A run, its shapes checked.
pub(super) struct Member<'a> {
    pub(super) followed: &'a Followed,
    pub(super) records: usize,
    pub(super) rows: usize,
    /// d
    pub(super) positions: usize,
    /// Coordinates of the first row, from that with the largest last entry on.
    pub(super) order: Vec<usize>,
    /// records × d, of losses that have a β.
    projections: Option<Vec<f64>>,
}

impl<'a> Member<'a> {
    /// Fails, in the name of the figure, if the trajectory has other shapes than the model.
    pub(super) fn of(followed: &'a Followed, order: Order, figure: &str) -> Result<Self> {
        let (model, trajectory) = (followed.run.problem.model(), &followed.trajectory);
        let records = trajectory.updates.len();
        let (d, p) = (model.positions(), model.predictions());
        let rows = match records * d {
            0 => 1,
            entries => trajectory.weights.len() / entries,
        };
        let seed = followed.run.seed;
        let expect = |list: &str, found: usize, expected: usize| match found == expected {
            true => Ok(()),
            false => Err(failed(
                figure,
                format!(
                    "the run of seed {seed} has {records} records, but {found} {list} instead of {expected}; follow it again"
                ),
            )),
        };
        expect("times", trajectory.times.len(), records)?;
        expect("losses", trajectory.losses.len(), records)?;
        expect("strengths", trajectory.strengths.len(), records)?;
        expect(
            "weights",
            trajectory.weights.len(),
            records * rows.max(1) * d,
        )?;
        expect("scores", trajectory.scores.len(), records * rows * d)?;
        expect("values", trajectory.values.len(), records * p * d)?;
        let mut member = Self {
            followed,
            records,
            rows,
            positions: d,
            order: (0..d).collect(),
            projections: projections(followed)?,
        };
        if let Some(last) = records.checked_sub(1) {
            let by = match order {
                Order::Scores => Quantity::Score,
                Order::Weights => Quantity::Weight,
            };
            let mut order = std::mem::take(&mut member.order);
            order.sort_by(|a, b| {
                let [a, b] = [a, b].map(|at| member.entry(by, last, 0, *at));
                b.total_cmp(&a)
            });
            member.order = order;
        }
        Ok(member)
    }

    /// p
    pub(super) fn predictions(&self) -> usize {
        self.followed.run.problem.model().predictions()
    }

    pub(super) fn sigma(&self) -> &'static str {
        self.followed.run.problem.model().sigma().name()
    }

    pub(super) fn ended_early(&self) -> bool {
        self.followed.failure.is_some()
    }

    pub(super) fn has_projections(&self) -> bool {
        self.projections.is_some()
    }

    /// A coordinate in a record; only scores and weights have rows.
    pub(super) fn entry(&self, of: Quantity, record: usize, row: usize, at: usize) -> f64 {
        let (trajectory, d) = (&self.followed.trajectory, self.positions);
        let in_row = (record * self.rows + row) * d + at;
        match of {
            Quantity::Score => trajectory.scores[in_row],
            Quantity::Weight => trajectory.weights[in_row],
            Quantity::Projection => match &self.projections {
                Some(projections) => projections[record * d + at],
                None => f64::NAN,
            },
            Quantity::ColumnNorm => {
                let p = self.predictions();
                let values = &trajectory.values[record * p * d..(record + 1) * p * d];
                let squares = (0..p).map(|row| values[row * d + at].powi(2));
                squares.sum::<f64>().sqrt()
            }
        }
    }

    /// The largest coordinate of a row in a record.
    pub(super) fn largest(&self, of: Quantity, record: usize, row: usize) -> f64 {
        let entries = (0..self.positions).map(|at| self.entry(of, record, row, at));
        entries.fold(f64::NEG_INFINITY, f64::max)
    }

    /// A value of each record over time.
    pub(super) fn over_time(&self, value: impl Fn(usize) -> f64) -> Vec<(f64, f64)> {
        let times = self.followed.trajectory.times.iter().enumerate();
        times.map(|(record, &time)| (time, value(record))).collect()
    }
}

fn projections(followed: &Followed) -> Result<Option<Vec<f64>>> {
    let model = followed.run.problem.model();
    let mut projections = Vec::new();
    let entries = model.predictions() * model.positions();
    for values in followed.trajectory.values.chunks_exact(entries) {
        match model.projections(values)? {
            Some(of_record) => projections.extend(of_record),
            None => return Ok(None),
        }
    }
    Ok(Some(projections))
}
