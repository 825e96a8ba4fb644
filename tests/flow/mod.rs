//! The value-softmax model: gradients, trajectories against the notebook's, and what it refuses.

mod checks;
mod gradients;
mod integrators;
mod refusals;
mod trajectories;

use attnscope::flow::{
    model::{Form, Parameters},
    objective::Objective,
};
use attnscope::random::NumpyRandom;

/// p, d and n of the problems made here; they differ, so that a transposed product shows.
const PREDICTIONS: usize = 4;
const POSITIONS: usize = 5;
const SAMPLES: usize = 6;

fn randn(random: &mut NumpyRandom, count: usize) -> Vec<f64> {
    (0..count).map(|_| random.randn()).collect()
}

/// One of each objective, for predictions of [`PREDICTIONS`] entries.
fn objectives(random: &mut NumpyRandom) -> Vec<Objective> {
    vec![
        Objective::Logistic {
            target: randn(random, PREDICTIONS),
        },
        Objective::Square {
            target: randn(random, PREDICTIONS),
        },
        Objective::Regression {
            design: randn(random, SAMPLES * PREDICTIONS),
            target: randn(random, SAMPLES),
        },
        Objective::CrossEntropy {
            target: vec![0.125, 0.5, 0.25, 0.125],
        },
    ]
}

/// Random values, and scores of both signs that keep away from the kinks at 0 and whose sum does, too. In the tied
/// form the values are near the identity, so that this holds for what they make of the scores.
fn parameters(random: &mut NumpyRandom, form: Form) -> Parameters {
    let positions = positions(form);
    let scores = [0.9, -0.4, 1.3, -0.7, 0.5];
    let mut values = randn(random, PREDICTIONS * positions);
    if form == Form::Tied {
        for (at, value) in values.iter_mut().enumerate() {
            let diagonal = at / positions == at % positions;
            *value = 0.1 * *value + if diagonal { 1.0 } else { 0.0 };
        }
    }
    Parameters {
        values,
        scores: (0..rows(form))
            .flat_map(|row| {
                scores[..positions]
                    .iter()
                    .map(move |x| x + 0.1 * row as f64)
            })
            .collect(),
    }
}

fn positions(form: Form) -> usize {
    match form {
        Form::Free | Form::Rows(_) => POSITIONS,
        Form::Tied => PREDICTIONS,
    }
}

fn rows(form: Form) -> usize {
    match form {
        Form::Rows(rows) => rows,
        Form::Free | Form::Tied => 1,
    }
}
