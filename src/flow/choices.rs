//! An experiment with other constants than the notebook's, and replicas of it under other seeds.

use rayon::prelude::*;

use super::experiments::{Experiment, Family, Run};
use super::follow::check_rate;
use super::objective::invalid;
use super::problem::Dimensions;
use super::sigma::Sigma;
use crate::Result;

/// An experiment whose constants may be replaced one by one. The order of random draws stays that of
/// [`super::problem`], so that the constants of the notebook give the notebook's runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Choices {
    experiment: Experiment<'static>,
    /// Of NumPy's legacy generator, for the first replica; the others have the next ones.
    pub seed: u32,
    /// Runs of each problem.
    pub replicas: usize,
    /// d, the numbers of scores.
    pub dims: Vec<usize>,
    /// p, the entries of a prediction; as many as scores if there is none.
    pub predictions: Option<usize>,
    /// σ.
    pub sigmas: Vec<Sigma>,
    /// κ, of regressions; those of the experiment if there are none.
    pub condition_numbers: Option<Vec<f64>>,
    /// n, rows of a design; as many as a prediction has entries if there is none.
    pub samples: Option<usize>,
    /// Rows of scores; as many as each has entries if there is none.
    pub rows: Option<usize>,
    /// See [`Draw::value_scale`](super::problem::Draw).
    pub value_scale: f64,
    /// See [`Draw::score_mean`](super::problem::Draw).
    pub score_mean: f64,
    /// See [`Draw::score_scale`](super::problem::Draw).
    pub score_scale: f64,
    /// η.
    pub rate: f64,
    /// Updates.
    pub steps: u64,
}

impl Choices {
    /// The constants of the notebook, and one replica.
    pub fn of(experiment: &Experiment<'static>) -> Choices {
        let dims = experiment.dimensions.iter();
        Choices {
            experiment: *experiment,
            seed: experiment.seed,
            replicas: 1,
            dims: dims.map(|dimensions| dimensions.positions).collect(),
            predictions: None,
            sigmas: experiment.sigmas.to_vec(),
            condition_numbers: None,
            samples: None,
            rows: None,
            value_scale: experiment.value_scale,
            score_mean: experiment.score_mean,
            score_scale: experiment.score_scale,
            rate: experiment.rate,
            steps: experiment.steps,
        }
    }

    /// What the experiment is called.
    pub fn name(&self) -> &'static str {
        self.experiment.name
    }

    /// Lets a run end at `time`, whole updates or not: at the experiment's rate, or at the next smaller one that
    /// takes a whole number of updates.
    ///
    /// # Errors
    /// [`Error::Flow`](crate::Error::Flow) for a time that is not above 0, or too long to be counted in updates.
    pub fn end_at(&mut self, time: f64) -> Result<()> {
        if !(time > 0.0 && time.is_finite()) {
            let message = format!("is {time}; it must be above 0, like 1000");
            return Err(invalid("time", message));
        }
        let updates = time / self.rate;
        // Of a rate that is no rate, `runs` speaks.
        if !updates.is_finite() || updates <= 0.0 {
            return check_rate(self.rate);
        }
        if updates > MOST_STEPS {
            let message = format!(
                "is {time}, {updates:.1e} times the rate; take a shorter one or a larger rate"
            );
            return Err(invalid("time", message));
        }
        let nearest = updates.round().max(1.0);
        if (nearest * self.rate - time).abs() <= 1e-12 * time {
            self.steps = nearest as u64;
        } else {
            self.steps = updates.ceil() as u64;
            self.rate = time / self.steps as f64;
        }
        Ok(())
    }

    /// κ of the runs; empty where the experiment has none.
    pub fn all_condition_numbers(&self) -> &[f64] {
        match (&self.condition_numbers, self.experiment.family) {
            (Some(chosen), _) => chosen,
            (
                None,
                Family::Regression {
                    condition_numbers, ..
                },
            ) => condition_numbers,
            _ => &[],
        }
    }

    /// Different problems, each of which is run under every seed.
    pub fn problems(&self) -> usize {
        self.dims.len() * self.sigmas.len() * self.all_condition_numbers().len().max(1)
    }

    /// The seeds of the replicas.
    pub fn seeds(&self) -> impl ExactSizeIterator<Item = u32> + use<> {
        let first = self.seed;
        (0..self.replicas).map(move |at| first.wrapping_add(at as u32))
    }

    /// p, d, rows of scores and n (0 without a design) for this number of scores.
    fn shape(&self, positions: usize) -> Shape {
        let predictions = self.predictions.unwrap_or(positions);
        Shape {
            dimensions: Dimensions {
                predictions,
                positions,
            },
            rows: match self.experiment.family {
                Family::Rows(_) => self.rows.unwrap_or(positions),
                _ => 1,
            },
            samples: match self.experiment.family {
                Family::Regression { .. } => self.samples.unwrap_or(predictions),
                _ => 0,
            },
        }
    }

    /// Bytes that following all runs takes, about, with so many records of each.
    pub fn memory(&self, records: usize, keep_values: bool) -> u64 {
        let problems = self.sigmas.len() * self.all_condition_numbers().len().max(1);
        let runs = problems.saturating_mul(self.replicas) as f64;
        let bytes = self.dims.iter().map(|&dim| {
            let shape = self.shape(dim);
            let (p, d) = (
                shape.dimensions.predictions as f64,
                shape.dimensions.positions as f64,
            );
            let (rows, n) = (shape.rows as f64, shape.samples as f64);
            let state = p * d + rows * d + 1.0;
            let kept = rows * (2.0 * d + p) + 4.0 + if keep_values { p * d } else { 0.0 };
            let problem = 4.0 * p * d + 2.0 * rows * d + 3.0 * n * p + n;
            8.0 * runs * (problem + (records as f64 + 1.0) * (state + kept))
        });
        bytes.sum::<f64>() as u64
    }

    /// Bytes that writing tables and figures of the runs takes besides: of one run at a time what follows from its
    /// records, and pieces of a table whose size does not depend on the run.
    pub fn memory_to_write(&self, records: usize) -> u64 {
        let of_run = self.dims.iter().map(|&dim| {
            let shape = self.shape(dim);
            let numbers = shape.dimensions.positions as f64 + 2.0 * shape.rows as f64;
            8.0 * (records as f64 + 1.0) * numbers
        });
        of_run.fold(0.0, f64::max) as u64 + WRITING
    }

    /// The runs: for each number of scores, each σ and each condition number those under all seeds.
    ///
    /// # Errors
    /// [`Error::Flow`](crate::Error::Flow) for a choice that the experiment does not have, for nothing to choose from,
    /// for what is there twice, and for what [`Experiment::runs`] refuses.
    pub fn runs(&self) -> Result<Vec<Run>> {
        self.check()?;
        let mut runs = Vec::new();
        for &dim in &self.dims {
            let shape = self.shape(dim);
            let of_seed = |seed| {
                Experiment {
                    family: self.family(shape),
                    seed,
                    dimensions: &[shape.dimensions],
                    sigmas: &self.sigmas,
                    value_scale: self.value_scale,
                    score_mean: self.score_mean,
                    score_scale: self.score_scale,
                    rate: self.rate,
                    steps: self.steps,
                    ..self.experiment
                }
                .runs()
            };
            let seeds: Vec<u32> = self.seeds().collect();
            let mut by_seed: Vec<std::vec::IntoIter<Run>> = seeds
                .into_par_iter()
                .map(|seed| Ok(of_seed(seed)?.into_iter()))
                .collect::<Result<_>>()?;
            while by_seed.iter().any(|runs| runs.len() > 0) {
                runs.extend(by_seed.iter_mut().filter_map(Iterator::next));
            }
        }
        Ok(runs)
    }

    fn family(&self, shape: Shape) -> Family<'_> {
        match self.experiment.family {
            Family::Rows(_) => Family::Rows(shape.rows),
            Family::Regression { .. } => Family::Regression {
                samples: shape.samples,
                condition_numbers: self.all_condition_numbers(),
            },
            family => family,
        }
    }

    fn check(&self) -> Result<()> {
        let name = self.name();
        let family = self.experiment.family;
        let is_regression = matches!(family, Family::Regression { .. });
        for (field, given, applies, to) in [
            (
                "condition_number",
                self.condition_numbers.is_some(),
                is_regression,
                "it has no design; only conditioning has one",
            ),
            (
                "samples",
                self.samples.is_some(),
                is_regression,
                "it has no design; only conditioning has one",
            ),
            (
                "rows",
                self.rows.is_some(),
                matches!(family, Family::Rows(_)),
                "it has one row of scores; only rows has several",
            ),
            (
                "predictions",
                self.predictions.is_some(),
                family != Family::Tied,
                "its predictions have as many entries as there are scores; choose dim",
            ),
        ] {
            if given && !applies {
                return Err(invalid(field, format!("does not apply to {name}: {to}")));
            }
        }
        check_rate(self.rate)?;
        if self.steps == 0 {
            return Err(invalid("steps", "is 0; take at least one"));
        }
        if self.replicas == 0 {
            return Err(invalid("replicas", "is 0; take at least one"));
        }
        if u64::from(self.seed) + self.replicas as u64 > u64::from(u32::MAX) + 1 {
            return Err(invalid(
                "replicas",
                format!(
                    "{} from seed {} on go beyond the last seed, {}; take a smaller seed",
                    self.replicas,
                    self.seed,
                    u32::MAX
                ),
            ));
        }
        distinct("dim", &self.dims)?;
        distinct("sigma", &self.sigmas)?;
        if is_regression {
            distinct("condition_number", self.all_condition_numbers())?;
        }
        Ok(())
    }
}

/// A row group of a table in the making, with its columns, and a figure, in bytes.
const WRITING: u64 = 256 << 20;

/// A larger number of updates is not exact as a float64.
const MOST_STEPS: f64 = 9_007_199_254_740_992.0;

#[derive(Debug, Clone, Copy)]
struct Shape {
    dimensions: Dimensions,
    rows: usize,
    samples: usize,
}

/// Fails if there is nothing, or something twice.
fn distinct<T: PartialEq + std::fmt::Display>(field: &'static str, values: &[T]) -> Result<()> {
    if values.is_empty() {
        return Err(invalid(field, "there is none; give at least one"));
    }
    for (at, value) in values.iter().enumerate() {
        if values[..at].contains(value) {
            return Err(invalid(
                field,
                format!("{value} is there twice; give it once"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
