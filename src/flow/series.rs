//! A trajectory, number by number: each quantity of each row and coordinate over the records.

use std::ops::Range;

use super::end::Concentration;
use super::trajectory::Followed;
use crate::Result;

/// What is recorded, by the names that tables use, in alphabetical order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    /// Of a row's weights divided by their sum, in nats; undefined where a weight is below 0 or all are 0.
    Entropy,
    /// L.
    Loss,
    /// The largest weight of a row.
    MaxWeight,
    /// θ of a row, p coordinates.
    Prediction,
    /// Vᵀβ (Uᵀβ), d coordinates, of the losses that have a β.
    Projection,
    /// a of a row, d coordinates.
    Score,
    /// S.
    Strength,
    /// V or U, p × d coordinates, row-major; of the last record only.
    Value,
    /// σ of a row, d coordinates.
    Weight,
}

impl Quantity {
    /// As in the column `quantity`.
    pub fn name(self) -> &'static str {
        match self {
            Quantity::Entropy => "entropy",
            Quantity::Loss => "loss",
            Quantity::MaxWeight => "max_weight",
            Quantity::Prediction => "prediction",
            Quantity::Projection => "projection",
            Quantity::Score => "score",
            Quantity::Strength => "strength",
            Quantity::Value => "value",
            Quantity::Weight => "weight",
        }
    }
}

/// One number over the records.
#[derive(Debug, Clone, PartialEq)]
pub struct Series<'a> {
    /// Which.
    pub quantity: Quantity,
    /// The row of scores that it is of, from 0; none of what all rows share.
    pub row: Option<usize>,
    /// Its place, from 0; none of a number that is alone.
    pub coordinate: Option<usize>,
    /// The records that it is known of.
    pub records: Range<usize>,
    /// Where its numbers lie: the first of these, and from there one every so many.
    numbers: &'a [f64],
    every: usize,
}

impl Series<'_> {
    /// One number for each of the records; NaN where it is undefined.
    pub fn values(&self) -> impl Iterator<Item = f64> {
        self.numbers.iter().step_by(self.every).copied()
    }
}

/// A run with what follows from its records. The series are parts of it: of many numbers at few records there would be
/// more lists than numbers.
#[derive(Debug)]
pub struct AllSeries<'a> {
    followed: &'a Followed,
    /// Records × rows.
    entropies: Vec<f64>,
    /// Records × rows.
    largest: Vec<f64>,
    /// Records × d; empty where there are none.
    projections: Vec<f64>,
}

impl Followed {
    /// All quantities. Projections and values are known as far as values were kept.
    ///
    /// # Errors
    /// [`Error::Flow`](crate::Error::Flow) for a trajectory that is not of the run's shapes.
    pub fn series(&self) -> Result<AllSeries<'_>> {
        let model = self.run.problem.model();
        let (p, d) = (model.predictions(), model.positions());
        let of_rows = self.trajectory.weights.chunks_exact(d);
        let (entropies, largest) = of_rows
            .filter_map(Concentration::of)
            .map(|found| (found.entropy.unwrap_or(f64::NAN), found.largest))
            .unzip();
        let mut projections = Vec::new();
        for values in self.trajectory.values.chunks_exact(p * d) {
            match model.projections(values)? {
                Some(of_record) => projections.extend(of_record),
                None => break,
            }
        }
        Ok(AllSeries {
            followed: self,
            entropies,
            largest,
            projections,
        })
    }
}

impl AllSeries<'_> {
    /// One by one, by name, row and coordinate.
    pub fn iter(&self) -> impl Iterator<Item = Series<'_>> {
        let model = self.followed.run.problem.model();
        let (p, d, rows) = (model.predictions(), model.positions(), model.rows());
        let trajectory = &self.followed.trajectory;
        let values = trajectory.values.chunks_exact(p * d).next_back();
        let of_rows = |quantity, numbers, width: Option<usize>| {
            self.places(quantity, numbers, Some(rows), width)
        };
        of_rows(Quantity::Entropy, &self.entropies, None)
            .chain(self.places(Quantity::Loss, &trajectory.losses, None, None))
            .chain(of_rows(Quantity::MaxWeight, &self.largest, None))
            .chain(of_rows(
                Quantity::Prediction,
                &trajectory.predictions,
                Some(p),
            ))
            .chain(self.places(Quantity::Projection, &self.projections, None, Some(d)))
            .chain(of_rows(Quantity::Score, &trajectory.scores, Some(d)))
            .chain(self.places(Quantity::Strength, &trajectory.strengths, None, None))
            .chain(self.places(
                Quantity::Value,
                values.unwrap_or_default(),
                None,
                Some(p * d),
            ))
            .chain(of_rows(Quantity::Weight, &trajectory.weights, Some(d)))
    }

    /// The series of a quantity: `numbers` are records × rows × width; nothing of no numbers.
    fn places<'b>(
        &'b self,
        quantity: Quantity,
        numbers: &'b [f64],
        rows: Option<usize>,
        width: Option<usize>,
    ) -> impl Iterator<Item = Series<'b>> {
        let every = rows.unwrap_or(1) * width.unwrap_or(1);
        let all = self.followed.trajectory.times.len();
        let records = all - numbers.len() / every..all;
        let count = if numbers.is_empty() { 0 } else { every };
        (0..count).map(move |place| Series {
            quantity,
            row: rows.map(|_| place / width.unwrap_or(1)),
            coordinate: width.map(|width| place % width),
            records: records.clone(),
            numbers: &numbers[place..],
            every,
        })
    }
}
