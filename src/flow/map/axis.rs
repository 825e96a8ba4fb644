//! What a map varies, and over which values.

use std::fmt;
use std::str::FromStr;

#[cfg(doc)]
use crate::flow::choices::Choices;
use crate::flow::objective::invalid;
use crate::flow::sigma::Sigma;
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

    pub(super) fn whole(self) -> usize {
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
            // Not as hundreds of digits.
            Value::Number(number) if *number != 0.0 && !(1e-4..1e7).contains(&number.abs()) => {
                fmt::LowerExp::fmt(number, f)
            }
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
            "condition_number=1000000,1e200",
            "score_mean=-1e-5,-0.001,0",
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
}
