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
pub struct Series {
    /// Which.
    pub quantity: Quantity,
    /// The row of scores that it is of, from 0; none of what all rows share.
    pub row: Option<usize>,
    /// Its place, from 0; none of a number that is alone.
    pub coordinate: Option<usize>,
    /// The records that it is known of.
    pub records: Range<usize>,
    /// One for each of these records; NaN where it is undefined.
    pub values: Vec<f64>,
}

impl Followed {
    /// All quantities, by name, row and coordinate. Projections and values are known as far as values were kept.
    ///
    /// # Errors
    /// [`Error::Flow`](crate::Error::Flow) for a trajectory that is not of the run's shapes.
    pub fn series(&self) -> Result<Vec<Series>> {
        let model = self.run.problem.model();
        let (p, d, rows) = (model.predictions(), model.positions(), model.rows());
        let trajectory = &self.trajectory;
        let records = trajectory.times.len();
        let mut all = Vec::new();
        let mut add = |quantity, row, coordinate, values: Vec<f64>| {
            all.push(Series {
                quantity,
                row,
                coordinate,
                records: records - values.len()..records,
                values,
            });
        };
        add(Quantity::Loss, None, None, trajectory.losses.clone());
        add(Quantity::Strength, None, None, trajectory.strengths.clone());
        for row in 0..rows {
            let of_row = trajectory.weights.chunks_exact(d).skip(row).step_by(rows);
            let concentrations: Vec<Concentration> = of_row.filter_map(Concentration::of).collect();
            let entropies = concentrations
                .iter()
                .map(|found| found.entropy.unwrap_or(f64::NAN));
            add(Quantity::Entropy, Some(row), None, entropies.collect());
            let largest = concentrations.iter().map(|found| found.largest);
            add(Quantity::MaxWeight, Some(row), None, largest.collect());
            for (quantity, numbers, width) in [
                (Quantity::Prediction, &trajectory.predictions, p),
                (Quantity::Score, &trajectory.scores, d),
                (Quantity::Weight, &trajectory.weights, d),
            ] {
                for at in 0..width {
                    let place = numbers.iter().skip(row * width + at);
                    let over_time = place.step_by(rows * width).copied();
                    add(quantity, Some(row), Some(at), over_time.collect());
                }
            }
        }
        let kept = trajectory.values.chunks_exact(p * d);
        let projections: Option<Vec<Vec<f64>>> = kept
            .clone()
            .map(|values| model.projections(values))
            .collect::<Result<_>>()?;
        if let Some(projections) = projections.filter(|projections| !projections.is_empty()) {
            for at in 0..d {
                let over_time = projections.iter().map(|of_record| of_record[at]);
                add(Quantity::Projection, None, Some(at), over_time.collect());
            }
        }
        for (at, &value) in kept.last().into_iter().flatten().enumerate() {
            add(Quantity::Value, None, Some(at), vec![value]);
        }
        all.sort_by_key(|series| (series.quantity, series.row, series.coordinate));
        Ok(all)
    }
}
