//! Problems that meet the assumptions of the statements exactly.

use crate::flow::experiments::{Experiment, Family, LOGISTIC, NORMALIZATIONS, SQUARE};
use crate::flow::problem::Loss;
use crate::flow::sigma::Sigma;

/// Assumption 3.4: the square loss under the softmax from V(0) = 0. (The notebook's starts from 0.1 · randn.)
pub const SQUARE_FROM_ZERO: Experiment = Experiment {
    name: "square-from-zero",
    family: Family::Compared(Loss::Square),
    sigmas: &[Sigma::SOFTMAX],
    value_scale: 0.0,
    ..SQUARE
};

/// One experiment for each set of assumptions: 3.1 (the notebook's logistic one meets it), 3.4, and the free start of
/// Lemma D.4.
pub const EXACT: [Experiment; 3] = [LOGISTIC, SQUARE_FROM_ZERO, NORMALIZATIONS];
