//! Phase maps: where many runs end, over a grid of two choices.

use std::fmt;
use std::str::FromStr;

use rayon::prelude::*;

use super::choices::{Choices, check_memory};
use super::experiments::Run;
use super::follow::{Backend, Integrator, Records, Settings, follow};
use super::objective::invalid;
use super::sigma::Sigma;
use super::trajectory::Followed;
use crate::{Error, Result};

/// A choice that a map can vary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    /// [`Choices::dims`].
    Dim,
    /// [`Choices::predictions`].
    Predictions,
    /// [`Choices::condition_numbers`].
    ConditionNumber,
    /// [`Choices::samples`].
    Samples,
    /// [`Choices::rows`].
    Rows,
    /// [`Choices::sigmas`].
    Sigma,
    /// [`Choices::value_scale`].
    ValueScale,
    /// [`Choices::score_mean`].
    ScoreMean,
    /// [`Choices::score_scale`].
    ScoreScale,
    /// [`Choices::rate`].
    Rate,
    /// [`Choices::steps`].
    Steps,
    /// [`Choices::end_at`].
    Time,
}

impl Parameter {
    /// All.
    pub const ALL: [Parameter; 12] = [
        Parameter::Dim,
        Parameter::Predictions,
        Parameter::ConditionNumber,
        Parameter::Samples,
        Parameter::Rows,
        Parameter::Sigma,
        Parameter::ValueScale,
        Parameter::ScoreMean,
        Parameter::ScoreScale,
        Parameter::Rate,
        Parameter::Steps,
        Parameter::Time,
    ];

    /// As in arguments and tables.
    pub fn name(self) -> &'static str {
        match self {
            Parameter::Dim => "dim",
            Parameter::Predictions => "predictions",
            Parameter::ConditionNumber => "condition_number",
            Parameter::Samples => "samples",
            Parameter::Rows => "rows",
            Parameter::Sigma => "sigma",
            Parameter::ValueScale => "value_scale",
            Parameter::ScoreMean => "score_mean",
            Parameter::ScoreScale => "score_scale",
            Parameter::Rate => "rate",
            Parameter::Steps => "steps",
            Parameter::Time => "time",
        }
    }

    /// A value of it.
    fn parse(self, text: &str) -> Result<Value> {
        let wrong = |what: &str| invalid(self.name(), format!("`{text}` is no {what}"));
        match self {
            Parameter::Sigma => Ok(Value::Sigma(text.parse()?)),
            Parameter::Dim
            | Parameter::Predictions
            | Parameter::Samples
            | Parameter::Rows
            | Parameter::Steps => {
                let number = text.parse();
                number.map(Value::Whole).map_err(|_| wrong("whole number"))
            }
            _ => match text.parse() {
                Ok(number) if f64::is_finite(number) => Ok(Value::Number(number)),
                _ => Err(wrong("finite number")),
            },
        }
    }
}

/// One value of a [`Parameter`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Of what is counted.
    Whole(u64),
    /// Of what is measured.
    Number(f64),
    /// Of [`Parameter::Sigma`].
    Sigma(Sigma),
}

impl Value {
    /// As a number; σ has none.
    pub fn number(self) -> Option<f64> {
        match self {
            Value::Whole(number) => Some(number as f64),
            Value::Number(number) => Some(number),
            Value::Sigma(_) => None,
        }
    }

    fn whole(self) -> usize {
        match self {
            Value::Whole(number) => usize::try_from(number).unwrap_or(usize::MAX),
            Value::Number(_) | Value::Sigma(_) => 0,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Whole(number) => number.fmt(f),
            Value::Number(number) => number.fmt(f),
            Value::Sigma(sigma) => sigma.fmt(f),
        }
    }
}

/// What is varied in one direction: `NAME=V1,V2,…`.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    parameter: Parameter,
    values: Vec<Value>,
}

impl Axis {
    /// What is varied.
    pub fn parameter(&self) -> Parameter {
        self.parameter
    }

    /// Its values, at least one, each once, in the order in which they were given.
    pub fn values(&self) -> &[Value] {
        &self.values
    }
}

impl FromStr for Axis {
    type Err = Error;

    /// Fails for a name that is none, no values, and values that are none of the parameter's or there twice.
    fn from_str(text: &str) -> Result<Axis> {
        let names = || Parameter::ALL.map(Parameter::name).join(", ");
        let (name, values) = text.split_once('=').ok_or_else(|| {
            let message = format!("`{text}` is no NAME=V1,V2,…; NAME is one of {}", names());
            invalid("axis", message)
        })?;
        let found = Parameter::ALL.into_iter().find(|p| p.name() == name);
        let parameter = found.ok_or_else(|| {
            let message = format!("there is no `{name}`; take one of {}", names());
            invalid("axis", message)
        })?;
        if values.is_empty() {
            return Err(invalid(
                parameter.name(),
                format!("an axis needs values, like {name}=V1,V2"),
            ));
        }
        let mut parsed = Vec::new();
        for value in values.split(',') {
            let value = parameter.parse(value)?;
            if parsed.contains(&value) {
                let message = format!("{value} is there twice; give it once");
                return Err(invalid(parameter.name(), message));
            }
            parsed.push(value);
        }
        Ok(Axis {
            parameter,
            values: parsed,
        })
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<String> = self.values.iter().map(Value::to_string).collect();
        write!(f, "{}={}", self.parameter.name(), values.join(","))
    }
}

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
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// One problem, and its replicas; the axes replace two of its choices.
    pub choices: Choices,
    /// From left to right.
    pub x: Axis,
    /// From the top down.
    pub y: Axis,
    /// What is told.
    pub measure: Measure,
    /// With what runs are followed.
    pub integrator: Integrator,
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
        let cells = self.x.values.len() * self.y.values.len();
        cells.saturating_mul(self.choices.replicas)
    }

    /// The choices of a cell.
    fn at(&self, x: Value, y: Value) -> Result<Choices> {
        let mut choices = self.choices.clone();
        let mut settings = [(self.x.parameter, x), (self.y.parameter, y)];
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
        Ok(choices)
    }

    fn check(&self) -> Result<()> {
        if self.x.parameter == self.y.parameter {
            return Err(invalid(
                "axis",
                format!(
                    "{} is on both axes; vary something else on one of them",
                    self.x.parameter.name()
                ),
            ));
        }
        let is_time = |axis: &Axis| axis.parameter == Parameter::Time;
        let has_steps = |axis: &Axis| axis.parameter == Parameter::Steps;
        if (is_time(&self.x) || is_time(&self.y)) && self.integrator == Integrator::Descent {
            let message = "is of the flow; of gradient descent vary steps";
            return Err(invalid("time", message));
        }
        if [&self.x, &self.y].into_iter().any(is_time)
            && [&self.x, &self.y].into_iter().any(has_steps)
        {
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

/// Follows the runs of all cells at once, and calls `finished` with the number of those that are done.
///
/// # Errors
/// [`Error::Flow`] for two equal axes, for cells of more than one problem, and for what [`Choices::runs`] and [`follow`]
/// refuse; [`Error::DoesNotFit`] for more runs than memory holds. A run that fails is no error.
pub fn map(request: &Request, finished: impl Fn(usize) + Sync) -> Result<Map> {
    request.check()?;
    let mut settings = Vec::new();
    let mut needed = 0u64;
    for &y in &request.y.values {
        for &x in &request.x.values {
            let choices = request.at(x, y)?;
            request.check_cell(&choices)?;
            needed = needed.saturating_add(choices.memory(2, false));
            settings.push((x, y, choices));
        }
    }
    check_memory(needed, "take fewer replicas, fewer cells or smaller dims")?;
    let runs: Vec<Vec<Run>> = settings
        .par_iter()
        .map(|(_, _, choices)| choices.runs())
        .collect::<Result<_>>()?;
    let followed = follow(
        runs.into_iter().flatten().collect(),
        &Settings {
            backend: Backend::Fused,
            integrator: request.integrator,
            records: Records::Logarithmic(1),
            keep_values: false,
        },
        finished,
    )?;
    let mut followed = followed.into_iter();
    let mut first_failure = None;
    let mut cells = Vec::new();
    for (x, y, choices) in settings {
        let (mut failed, mut numbers) = (0, Vec::new());
        for mut followed in followed.by_ref().take(choices.replicas) {
            match followed.failure.take() {
                None => numbers.extend(request.measure.of(&followed)),
                Some(failure) => {
                    failed += 1;
                    first_failure.get_or_insert((x, y, failure));
                }
            }
        }
        cells.push(Cell {
            x,
            y,
            replicas: choices.replicas,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_read_as_they_are_written() {
        for text in [
            "dim=5,10,40",
            "condition_number=1,2.5,1000",
            "sigma=softmax,l1",
            "time=0.5",
        ] {
            assert_eq!(text.parse::<Axis>().unwrap().to_string(), text);
        }
        for (text, says) in [
            ("dim", "no NAME=V1,V2"),
            ("depth=3", "take one of dim, predictions"),
            ("dim=", "an axis needs values"),
            ("dim=5,", "`` is no whole number"),
            ("dim=2.5", "`2.5` is no whole number"),
            ("rate=fast", "`fast` is no finite number"),
            ("rate=inf", "`inf` is no finite number"),
            ("sigma=tanh", "there is no `tanh`"),
            ("rate=0.1,0.10", "0.1 is there twice"),
        ] {
            let error = text.parse::<Axis>().unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn four_numbers_of_many() {
        let spread = Spread::of(vec![4.0, 1.0, 2.0, 9.0]).unwrap();
        assert_eq!((spread.mean, spread.median), (4.0, 3.0));
        assert_eq!((spread.min, spread.max), (1.0, 9.0));
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]).unwrap().median, 2.0);
        assert_eq!(Spread::of(vec![]), None);
    }
}
