//! The experiments of the paper's notebook (`visualizations/toy_experiments.ipynb` of
//! <https://github.com/tml-epfl/softmax>) and their constants.
//!
//! Every constant can be replaced: `Experiment { seed: 7, steps: 1000, ..KL }.runs()`.

use super::problem::{Dimensions, Draw, Loss, Problem};
use super::sigma::Sigma;
use crate::Result;

/// What an experiment follows, and what it varies besides dimensions and normalisations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Family<'a> {
    /// [`Draw::logistic`].
    Logistic,
    /// [`Draw::rows`], with so many rows.
    Rows(usize),
    /// [`Draw::compared`].
    Compared(Loss),
    /// [`Draw::tied`].
    Tied,
    /// [`Draw::regression`].
    Regression {
        /// n, rows of the design matrix.
        samples: usize,
        /// κ, one run each.
        condition_numbers: &'a [f64],
    },
    /// [`Draw::cross_entropy`].
    CrossEntropy,
}

/// One experiment: a run for each of its dimensions, normalisations and condition numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Experiment<'a> {
    /// What it is called on the command line and in tables.
    pub name: &'static str,
    /// What is followed.
    pub family: Family<'a>,
    /// Of NumPy's legacy generator; every run starts with it.
    pub seed: u32,
    /// Shapes of V.
    pub dimensions: &'a [Dimensions],
    /// σ.
    pub sigmas: &'a [Sigma],
    /// See [`Draw::value_scale`].
    pub value_scale: f64,
    /// See [`Draw::score_mean`].
    pub score_mean: f64,
    /// See [`Draw::score_scale`].
    pub score_scale: f64,
    /// η of gradient descent.
    pub rate: f64,
    /// Updates of gradient descent.
    pub steps: u64,
}

/// One problem, and how it is to be followed.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The experiment it belongs to.
    pub experiment: &'static str,
    /// Of NumPy's legacy generator, from which the start was drawn.
    pub seed: u32,
    /// κ, of regressions.
    pub condition_number: Option<f64>,
    /// The model and its start.
    pub problem: Problem,
    /// η.
    pub rate: f64,
    /// Updates.
    pub steps: u64,
}

/// Scores and projections polarise under the logistic loss.
pub const LOGISTIC: Experiment = Experiment {
    name: "logistic",
    family: Family::Logistic,
    seed: 123,
    dimensions: &[Dimensions::square(8)],
    sigmas: &[Sigma::SOFTMAX],
    value_scale: 0.1,
    score_mean: 0.0,
    score_scale: 0.0,
    rate: 0.1,
    steps: 1_000_000,
};

/// Six normalisations under the square loss.
pub const SQUARE: Experiment = Experiment {
    name: "square",
    family: Family::Compared(Loss::Square),
    seed: 42,
    dimensions: &[Dimensions::square(10)],
    sigmas: &Sigma::COMPARED,
    value_scale: 0.1,
    score_mean: 1.0,
    score_scale: 0.1,
    rate: 0.1,
    steps: 5000,
};

/// Six normalisations under the logistic loss.
pub const NORMALIZATIONS: Experiment = Experiment {
    name: "normalizations",
    family: Family::Compared(Loss::Logistic),
    rate: 0.5,
    steps: 100_000,
    ..SQUARE
};

/// Regression with design matrices of growing condition number.
pub const CONDITIONING: Experiment = Experiment {
    name: "conditioning",
    family: Family::Regression {
        samples: 20,
        condition_numbers: &[1.0, 2.0, 3.0, 4.0, 5.0],
    },
    seed: 123,
    dimensions: &[Dimensions::square(20)],
    sigmas: &[Sigma::SOFTMAX],
    value_scale: 1e-5,
    score_mean: 0.0,
    score_scale: 1e-3,
    rate: 0.001,
    steps: 300_000,
};

/// Cross-entropy to a target distribution.
pub const KL: Experiment = Experiment {
    name: "kl",
    family: Family::CrossEntropy,
    dimensions: &[Dimensions::square(10)],
    steps: 10_000_000,
    ..LOGISTIC
};

/// One matrix for values and scores.
pub const TIED: Experiment = Experiment {
    name: "tied",
    family: Family::Tied,
    seed: 42,
    dimensions: &[
        Dimensions::square(10),
        Dimensions::square(20),
        Dimensions::square(50),
        Dimensions::square(100),
    ],
    sigmas: &[Sigma::SOFTMAX],
    value_scale: 1.0,
    score_mean: 1.0,
    score_scale: 0.1,
    rate: 0.05,
    steps: 10_000,
};

/// An attention matrix: as many rows of scores as positions, all with the same values and the same target (the paper's
/// Section 4.1; it is not in the notebook).
pub const ROWS: Experiment = Experiment {
    name: "rows",
    family: Family::Rows(8),
    ..LOGISTIC
};

/// All of them.
pub const ALL: [Experiment; 7] = [
    LOGISTIC,
    SQUARE,
    NORMALIZATIONS,
    CONDITIONING,
    KL,
    TIED,
    ROWS,
];

impl Experiment<'_> {
    /// The runs: for each of the dimensions, each normalisation, and within it each condition number.
    ///
    /// Fails if there are no such problems: dimensions of 0 or, for the tied form, that differ; condition
    /// numbers below 1; scales that are not finite.
    pub fn runs(&self) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        for &dimensions in self.dimensions {
            for &sigma in self.sigmas {
                let draw = Draw {
                    seed: self.seed,
                    dimensions,
                    sigma,
                    value_scale: self.value_scale,
                    score_mean: self.score_mean,
                    score_scale: self.score_scale,
                };
                let mut add = |condition_number, problem| {
                    runs.push(Run {
                        experiment: self.name,
                        seed: self.seed,
                        condition_number,
                        problem,
                        rate: self.rate,
                        steps: self.steps,
                    });
                };
                match self.family {
                    Family::Logistic => add(None, draw.logistic()?),
                    Family::Rows(rows) => add(None, draw.rows(rows)?),
                    Family::Compared(loss) => add(None, draw.compared(loss)?),
                    Family::Tied => add(None, draw.tied()?),
                    Family::CrossEntropy => add(None, draw.cross_entropy()?),
                    Family::Regression {
                        samples,
                        condition_numbers,
                    } => {
                        for &number in condition_numbers {
                            add(Some(number), draw.regression(samples, number)?);
                        }
                    }
                }
            }
        }
        Ok(runs)
    }
}

impl Run {
    /// σ.
    pub fn sigma(&self) -> Sigma {
        self.problem.model().sigma()
    }
}
