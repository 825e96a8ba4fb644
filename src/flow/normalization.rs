//! From scores to weights, and back: the six normalisations that the paper's notebook compares.
//!
//! They are functions of one row of float64 scores and keep the notebook's 1e-10 in the denominators, which
//! [`layers::attention`](crate::layers::attention), made for models, does not have.

use super::dense::dot;

/// What the notebook adds to the denominators of all normalisations but the softmax.
const EPSILON: f64 = 1e-10;

/// σ: how d scores become d weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Normalization {
    /// `exp(a_i) / Σ exp(a_k)`.
    Softmax,
    /// `|a_i| / n` with `n = Σ |a_k| + 1e-10`.
    L1,
    /// `a_i / n` with `n = Σ a_k + 1e-10`: weights may be negative, and grow without bound where n nears 0.
    Sum,
    /// `a_i² / n` with `n = Σ a_k² + 1e-10`.
    L2,
    /// `max(0, a_i) / n` with `n = Σ max(0, a_k) + 1e-10`.
    Relu,
    /// `1 / (1 + exp(−a_i))`, element by element: weights sum to anything.
    Sigmoid,
}

impl Normalization {
    /// All of them, in the notebook's order.
    pub const ALL: [Normalization; 6] = [
        Normalization::L1,
        Normalization::Sum,
        Normalization::L2,
        Normalization::Softmax,
        Normalization::Relu,
        Normalization::Sigmoid,
    ];

    /// Lower-case name, as in tables and arguments.
    pub fn name(self) -> &'static str {
        match self {
            Normalization::Softmax => "softmax",
            Normalization::L1 => "l1",
            Normalization::Sum => "sum",
            Normalization::L2 => "l2",
            Normalization::Relu => "relu",
            Normalization::Sigmoid => "sigmoid",
        }
    }

    /// Writes σ(scores) to `weights`, which is as long, and returns the denominator n that [`Self::pull_back`]
    /// needs (for the softmax after its largest score was subtracted; 1 for the sigmoid, which has none).
    pub(super) fn apply(self, scores: &[f64], weights: &mut [f64]) -> f64 {
        match self {
            Normalization::Softmax => softmax(scores, weights),
            Normalization::L1 => normalized(scores, weights, f64::abs),
            Normalization::Sum => normalized(scores, weights, |a| a),
            Normalization::L2 => normalized(scores, weights, |a| a * a),
            Normalization::Relu => normalized(scores, weights, positive),
            Normalization::Sigmoid => {
                for (weight, &score) in weights.iter_mut().zip(scores) {
                    *weight = logistic(score);
                }
                1.0
            }
        }
    }

    /// Writes `Jᵀ x` to `out`, where `weights` and `denominator` are what [`Self::apply`] made of `scores`.
    ///
    /// With `σ_i = f(a_i) / n` and `n = Σ f(a_k) + 1e-10` it is `f′(a_i) (x_i − σᵀx) / n`, whatever the constant in
    /// n; at the kinks f′ is 0.
    pub(super) fn pull_back(
        self,
        scores: &[f64],
        weights: &[f64],
        denominator: f64,
        x: &[f64],
        out: &mut [f64],
    ) {
        let n = denominator;
        let mean = match self {
            Normalization::Sigmoid => 0.0,
            _ => dot(x, weights),
        };
        let coordinates = scores.iter().zip(weights).zip(x);
        for (out, ((&a, &weight), &x)) in out.iter_mut().zip(coordinates) {
            let centred = x - mean;
            *out = match self {
                Normalization::Softmax => weight * centred,
                Normalization::L1 => centred * (sign(a) / n),
                Normalization::Sum => centred / n,
                Normalization::L2 => (2.0 * a / n) * centred,
                Normalization::Relu => {
                    if a > 0.0 {
                        centred / n
                    } else {
                        0.0
                    }
                }
                Normalization::Sigmoid => weight * (1.0 - weight) * x,
            };
        }
    }
}

/// Writes `exp(x_i) / Σ exp(x_k)` to `out` and returns the sum, both after subtracting the largest x.
pub(super) fn softmax(x: &[f64], out: &mut [f64]) -> f64 {
    // NaN is passed on, as `f64::max` would not.
    let largest = x
        .iter()
        .fold(f64::NEG_INFINITY, |m, &x| if x <= m { m } else { x });
    let mut sum = 0.0;
    for (out, &x) in out.iter_mut().zip(x) {
        *out = (x - largest).exp();
        sum += *out;
    }
    for out in out {
        *out /= sum;
    }
    sum
}

/// `1 / (1 + exp(−x))`, without overflow and with full relative precision for negative x.
pub(super) fn logistic(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

fn normalized(scores: &[f64], weights: &mut [f64], f: impl Fn(f64) -> f64) -> f64 {
    let mut sum = 0.0;
    for (weight, &score) in weights.iter_mut().zip(scores) {
        *weight = f(score);
        sum += *weight;
    }
    let n = sum + EPSILON;
    for weight in weights {
        *weight /= n;
    }
    n
}

/// `max(0, a)`, passing NaN on.
fn positive(a: f64) -> f64 {
    if a <= 0.0 { 0.0 } else { a }
}

/// −1, 0 or 1; `f64::signum` gives 1 for 0.
fn sign(a: f64) -> f64 {
    if a == 0.0 { 0.0 } else { a.signum() }
}
