//! Phase maps: where many runs end, over a grid of two choices.

mod axis;

pub use axis::{Axis, Parameter, Value};

use rayon::prelude::*;

use crate::flow::choices::Choices;
use crate::flow::experiments::Run;
use crate::flow::follow::{Backend, Integrator, Records, Settings, check, follow};
use crate::flow::objective::invalid;
use crate::flow::trajectory::Followed;
use crate::machine::check_memory;
use crate::{Error, Result};

/// What a cell tells of where a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// [`End::largest_weight`](super::end::End::largest_weight).
    LargestWeight,
    /// [`End::entropy`](super::end::End::entropy), in nats.
    Entropy,
}

impl Measure {
    /// All.
    pub const ALL: [Measure; 2] = [Measure::LargestWeight, Measure::Entropy];

    /// As in arguments and tables.
    pub fn name(self) -> &'static str {
        match self {
            Measure::LargestWeight => "largest_weight",
            Measure::Entropy => "entropy",
        }
    }

    fn of(self, followed: &Followed) -> Option<f64> {
        let end = followed.end()?;
        match self {
            Measure::LargestWeight => Some(end.largest_weight),
            Measure::Entropy => end.entropy,
        }
    }
}

/// A map to be made.
#[derive(Debug, Clone)]
pub struct Request {
    /// One problem, and its replicas; the axes replace two of its choices.
    pub choices: Choices,
    /// Where the flow of every run ends, whatever its rate; if there is none, the choices or an axis say it.
    pub time: Option<f64>,
    /// From left to right.
    pub x: Axis,
    /// From the top down.
    pub y: Axis,
    /// What is told.
    pub measure: Measure,
    /// With what runs are followed.
    pub integrator: Integrator,
    /// Where it is followed.
    pub backend: Backend,
}

/// A pair of values, and where its replicas ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Of the horizontal axis.
    pub x: Value,
    /// Of the vertical one.
    pub y: Value,
    /// Runs.
    pub replicas: usize,
    /// Those that did not come to their end; they enter no number.
    pub failed: usize,
    /// Those that have the number: neither failed, nor with an entropy that is undefined.
    pub counted: usize,
    /// Mean, median, smallest and largest number of those; None if there are none.
    pub spread: Option<Spread>,
}

/// Some numbers in four.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The one in the middle, or the mean of both that are.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of numbers that are finite; None of none.
    pub fn of(mut numbers: Vec<f64>) -> Option<Spread> {
        numbers.sort_by(f64::total_cmp);
        let (min, max) = (*numbers.first()?, *numbers.last()?);
        let (half, count) = (numbers.len() / 2, numbers.len());
        Some(Spread {
            mean: numbers.iter().sum::<f64>() / count as f64,
            median: match count % 2 {
                0 => 0.5 * (numbers[half - 1] + numbers[half]),
                _ => numbers[half],
            },
            min,
            max,
        })
    }
}

/// A map.
#[derive(Debug)]
pub struct Map {
    /// Row by row: y × x.
    pub cells: Vec<Cell>,
    /// Why the first of the failed runs failed, and where it is.
    pub first_failure: Option<(Value, Value, Error)>,
}

impl Request {
    /// All runs.
    pub fn runs(&self) -> usize {
        let cells = self.x.values().len() * self.y.values().len();
        cells.saturating_mul(self.choices.replicas)
    }

    /// The choices of a cell.
    fn at(&self, x: Value, y: Value) -> Result<Choices> {
        let mut choices = self.choices.clone();
        let mut settings = [(self.x.parameter(), x), (self.y.parameter(), y)];
        // A time is counted in updates at a rate, which may be the other one.
        settings.sort_by_key(|(parameter, _)| *parameter == Parameter::Time);
        for (parameter, value) in settings {
            match (parameter, value) {
                (Parameter::Sigma, Value::Sigma(sigma)) => choices.sigmas = vec![sigma],
                (Parameter::Dim, value) => choices.dims = vec![value.whole()],
                (Parameter::Predictions, value) => choices.predictions = Some(value.whole()),
                (Parameter::Samples, value) => choices.samples = Some(value.whole()),
                (Parameter::Rows, value) => choices.rows = Some(value.whole()),
                (Parameter::Steps, Value::Whole(steps)) => choices.steps = steps,
                (Parameter::ConditionNumber, Value::Number(number)) => {
                    choices.condition_numbers = Some(vec![number]);
                }
                (Parameter::ValueScale, Value::Number(scale)) => choices.value_scale = scale,
                (Parameter::ScoreMean, Value::Number(mean)) => choices.score_mean = mean,
                (Parameter::ScoreScale, Value::Number(scale)) => choices.score_scale = scale,
                (Parameter::Rate, Value::Number(rate)) => choices.rate = rate,
                (Parameter::Time, Value::Number(time)) => choices.end_at(time)?,
                // An axis has no other values.
                _ => {}
            }
        }
        if let Some(time) = self.time {
            choices.end_at(time)?;
        }
        Ok(choices)
    }

    fn check(&self) -> Result<()> {
        if self.x.parameter() == self.y.parameter() {
            return Err(invalid(
                "axis",
                format!(
                    "{} is on both axes; vary something else on one of them",
                    self.x.parameter().name()
                ),
            ));
        }
        let is_time = |axis: &Axis| axis.parameter() == Parameter::Time;
        let has_steps = |axis: &Axis| axis.parameter() == Parameter::Steps;
        let axes = [&self.x, &self.y];
        let some_time = axes.into_iter().any(is_time);
        if (some_time || self.time.is_some()) && self.integrator == Integrator::Descent {
            let message = "is of the flow; of gradient descent vary steps";
            return Err(invalid("time", message));
        }
        let ends = [
            some_time,
            axes.into_iter().any(has_steps),
            self.time.is_some(),
        ];
        if ends.into_iter().filter(|says| *says).count() > 1 {
            return Err(invalid(
                "axis",
                "time and steps both say when a run ends; vary one",
            ));
        }
        Ok(())
    }

    fn check_cell(&self, choices: &Choices) -> Result<()> {
        let sizes = [
            ("dim", choices.dims.len()),
            ("sigma", choices.sigmas.len()),
            (
                "condition_number",
                choices.all_condition_numbers().len().max(1),
            ),
        ];
        match sizes.into_iter().find(|(_, count)| *count != 1) {
            None => Ok(()),
            Some((field, count)) => Err(invalid(
                field,
                format!(
                    "{} has {count} of them, and a cell of a map one; choose one, or put them on an axis",
                    choices.name()
                ),
            )),
        }
    }
}

/// The runs of a map, drawn and found possible.
#[derive(Debug)]
pub struct Plan {
    settings: Settings,
    measure: Measure,
    replicas: usize,
    cells: Vec<(Value, Value)>,
    runs: Vec<Run>,
}

impl Plan {
    /// Draws the runs of all cells.
    ///
    /// # Errors
    /// [`Error::Flow`] for two equal axes, for cells of more than one problem, and for what [`Choices::runs`] and
    /// [`follow`] refuse; [`Error::DoesNotFit`] for more runs than memory holds.
    pub fn of(request: &Request) -> Result<Plan> {
        request.check()?;
        let (mut cells, mut all_choices) = (Vec::new(), Vec::new());
        let mut needed = 0u64;
        for &y in request.y.values() {
            for &x in request.x.values() {
                let choices = request.at(x, y)?;
                request.check_cell(&choices)?;
                needed = needed.saturating_add(choices.memory(2, false));
                cells.push((x, y));
                all_choices.push(choices);
            }
        }
        check_memory(needed, "take fewer replicas, fewer cells or smaller dims")?;
        let runs: Vec<Vec<Run>> = all_choices
            .par_iter()
            .map(Choices::runs)
            .collect::<Result<_>>()?;
        let runs: Vec<Run> = runs.into_iter().flatten().collect();
        let settings = Settings {
            backend: request.backend.clone(),
            integrator: request.integrator,
            records: Records::Logarithmic(1),
            keep_values: false,
        };
        runs.iter().try_for_each(|run| check(run, &settings))?;
        Ok(Plan {
            settings,
            measure: request.measure,
            replicas: request.choices.replicas,
            cells,
            runs,
        })
    }

    /// Follows them all at once, and calls `finished` with the number of those that are done. A run that fails is no
    /// error.
    ///
    /// # Errors
    /// Those of [`follow`].
    pub fn follow(self, finished: impl Fn(usize) + Sync) -> Result<Map> {
        let followed = follow(self.runs, &self.settings, finished)?;
        let mut followed = followed.into_iter();
        let mut first_failure = None;
        let mut cells = Vec::new();
        for (x, y) in self.cells {
            let (mut failed, mut numbers) = (0, Vec::new());
            for mut followed in followed.by_ref().take(self.replicas) {
                match followed.failure.take() {
                    None => numbers.extend(self.measure.of(&followed)),
                    Some(failure) => {
                        failed += 1;
                        first_failure.get_or_insert((x, y, failure));
                    }
                }
            }
            cells.push(Cell {
                x,
                y,
                replicas: self.replicas,
                failed,
                counted: numbers.len(),
                spread: Spread::of(numbers),
            });
        }
        Ok(Map {
            cells,
            first_failure,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_numbers_of_many() {
        let spread = Spread::of(vec![4.0, 1.0, 2.0, 9.0]).unwrap();
        assert_eq!((spread.mean, spread.median), (4.0, 3.0));
        assert_eq!((spread.min, spread.max), (1.0, 9.0));
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]).unwrap().median, 2.0);
        assert_eq!(Spread::of(vec![]), None);
    }
}
