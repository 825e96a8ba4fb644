//! From scores to weights: every attention function, for tensors and for rows of float64 numbers.

use candle_core::{D, Result, Tensor};

use crate::layers::lanes::{Lanes, dot, exp, keep_lanes_together, largest, sigmoid, sum};

/// Of a row divided by the size of its sum, the sum's size is 1 but for rounding, far less than this.
const CLAMPED: f64 = 1e-12;

/// How a row of scores s becomes a row of weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AttentionFunction {
    /// `exp(s_j) / Σ exp(s_k)`: rows sum to 1.
    Softmax,
    /// `f(s_j + logit_bias)`, element by element: rows sum to anything (for the sigmoid: Ramapuram et al.,
    /// arXiv 2409.04431, whose bias is −ln of the training length).
    Elementwise {
        /// f.
        activation: Activation,
        /// Added to every score.
        logit_bias: f64,
    },
    /// `f(s_j) / n` with `n = Σ f(s_k) + epsilon` (arXiv 2603.06248, Appendix D.2).
    Normalized {
        /// f.
        activation: Activation,
        /// Keeps n from 0.
        epsilon: f64,
    },
    /// `f(s_j) / n` with `n = max(|Σ f(s_k)|, 1)`: for an f that may be negative, whose sum may be near 0.
    Clamped {
        /// f.
        activation: Activation,
    },
}

/// f: what is done to a single score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// 1, whatever the score is: divided by its sum, the uniform attention.
    One,
    /// `exp(s)`.
    Exp,
    /// `1 / (1 + exp(−s))`.
    Sigmoid,
    /// `log(1 + exp(s))`.
    Softplus,
    /// `s + 1` for s > 0, `exp(s)` otherwise: ELU plus 1, always positive.
    Elu,
    /// `max(0, s)`; at 0 its slope is 0.
    Relu,
    /// `s`.
    Identity,
    /// `|s|`; at 0 its slope is 0.
    Abs,
    /// `s²`.
    Square,
}

impl AttentionFunction {
    /// Element by element `1 / (1 + exp(−s_j − logit_bias))`.
    pub const fn sigmoid(logit_bias: f64) -> Self {
        Self::Elementwise {
            activation: Activation::Sigmoid,
            logit_bias,
        }
    }

    /// (…, keys) scores → weights of the same shape, in candle's operations that carry gradients. Where `masked`,
    /// which is broadcast, is not 0, a weight is exactly 0 and takes no part in its row's sum. A softmax needs at
    /// least one score per row that is not masked.
    pub(crate) fn weights(self, scores: &Tensor, masked: Option<&Tensor>) -> Result<Tensor> {
        let fill = |scores: &Tensor, value: f64| -> Result<Tensor> {
            let Some(masked) = masked else {
                return Ok(scores.clone());
            };
            let value = Tensor::new(value, scores.device())?.to_dtype(scores.dtype())?;
            masked
                .broadcast_as(scores.shape())?
                .where_cond(&value.broadcast_as(scores.shape())?, scores)
        };
        match self {
            // `ops::softmax` carries gradients, its `_last_dim` twin does not.
            Self::Softmax => candle_nn::ops::softmax(&fill(scores, f64::NEG_INFINITY)?, D::Minus1),
            Self::Elementwise {
                activation,
                logit_bias,
            } => {
                let scores = match logit_bias {
                    0.0 => scores.clone(),
                    bias => (scores + bias)?,
                };
                fill(&activation.apply(&scores)?, 0.0)
            }
            Self::Normalized {
                activation,
                epsilon,
            } => {
                let weights = fill(&activation.apply(scores)?, 0.0)?;
                weights.broadcast_div(&(weights.sum_keepdim(D::Minus1)? + epsilon)?)
            }
            Self::Clamped { activation } => {
                let weights = fill(&activation.apply(scores)?, 0.0)?;
                let size = weights.sum_keepdim(D::Minus1)?.abs()?;
                weights.broadcast_div(&size.maximum(&size.ones_like()?)?)
            }
        }
    }

    /// The slopes f′ / n of [`Self::row`], for the `weights` that [`Self::weights`] made of `scores` without a mask.
    pub(crate) fn slopes(self, scores: &Tensor, weights: &Tensor) -> Result<Tensor> {
        match self {
            Self::Softmax => Ok(weights.clone()),
            Self::Elementwise {
                activation,
                logit_bias,
            } => activation.slope(&(scores + logit_bias)?),
            Self::Normalized {
                activation,
                epsilon,
            } => {
                let n = (activation.apply(scores)?.sum_keepdim(D::Minus1)? + epsilon)?;
                activation.slope(scores)?.broadcast_div(&n)
            }
            Self::Clamped { activation } => {
                let size = activation.apply(scores)?.sum_keepdim(D::Minus1)?.abs()?;
                let n = size.maximum(&size.ones_like()?)?;
                activation.slope(scores)?.broadcast_div(&n)
            }
        }
    }

    /// [`Self::pull_back`] for every row of (…, keys) tensors.
    pub(crate) fn pull_back_rows(
        self,
        weights: &Tensor,
        slopes: &Tensor,
        x: &Tensor,
    ) -> Result<Tensor> {
        if !self.is_normalized() {
            return slopes * x;
        }
        let mut mean = (weights * x)?.sum_keepdim(D::Minus1)?;
        if let Self::Clamped { .. } = self {
            let total = weights.sum_keepdim(D::Minus1)?;
            let divided = total.abs()?.gt(1.0 - CLAMPED)?.to_dtype(total.dtype())?;
            mean = ((mean * total.sign()?)? * divided)?;
        }
        slopes * x.broadcast_sub(&mean)?
    }

    /// Weights of one row, and its `slopes` f′(s_i) / n, from which [`Self::pull_back`] makes products with the
    /// Jacobian. All slices have the row's length. Where f has a kink, `sides` says which of its branches is meant,
    /// as [`Activation::side`] does.
    #[inline(always)]
    pub(crate) fn row<const N: usize>(
        self,
        scores: &[Lanes<N>],
        sides: Option<&[Lanes<N>]>,
        weights: &mut [Lanes<N>],
        slopes: &mut [Lanes<N>],
    ) {
        match self {
            Self::Softmax => {
                softmax(scores, weights);
                slopes.copy_from_slice(weights);
            }
            Self::Elementwise {
                activation,
                logit_bias,
            } => {
                activation.row(scores, logit_bias, sides, weights, slopes);
            }
            Self::Normalized {
                activation,
                epsilon,
            } => {
                activation.row(scores, 0.0, sides, weights, slopes);
                let n = sum(weights) + Lanes::splat(epsilon);
                divide(weights, slopes, n);
            }
            Self::Clamped { activation } => {
                activation.row(scores, 0.0, sides, weights, slopes);
                let n = sum(weights).abs().max(Lanes::ONE);
                divide(weights, slopes, n);
            }
        }
    }

    /// Writes `Jᵀ x` to `out`, J being ∂weights/∂scores of the row that gave `weights` and `slopes`: `slope_i (x_i −
    /// σᵀx)` for whatever is divided by its sum, without the mean for what is not, and minus the mean for what is
    /// divided by the size of a negative sum.
    #[inline(always)]
    pub(crate) fn pull_back<const N: usize>(
        self,
        weights: &[Lanes<N>],
        slopes: &[Lanes<N>],
        x: &[Lanes<N>],
        out: &mut [Lanes<N>],
    ) {
        let mut mean = match self.is_normalized() {
            true => dot(weights, x),
            false => Lanes::ZERO,
        };
        if let Self::Clamped { .. } = self {
            // ±1 if the row was divided by the size of its sum, and less in size if not.
            mean = mean
                * sum(weights).map(|total| match total.abs() > 1.0 - CLAMPED {
                    true => total.signum(),
                    false => 0.0,
                });
        }
        for ((out, slope), x) in out.iter_mut().zip(slopes).zip(x) {
            keep_lanes_together::<N>();
            *out = *slope * (*x - mean);
        }
    }

    /// Whether weights are divided by their row's sum, or its size.
    pub fn is_normalized(self) -> bool {
        !matches!(self, Self::Elementwise { .. })
    }

    /// f; the exponential for the softmax.
    pub fn activation(self) -> Activation {
        match self {
            Self::Softmax => Activation::Exp,
            Self::Elementwise { activation, .. }
            | Self::Normalized { activation, .. }
            | Self::Clamped { activation } => activation,
        }
    }
}

impl Activation {
    /// All of them.
    pub const ALL: [Activation; 9] = [
        Activation::One,
        Activation::Exp,
        Activation::Sigmoid,
        Activation::Softplus,
        Activation::Elu,
        Activation::Relu,
        Activation::Identity,
        Activation::Abs,
        Activation::Square,
    ];

    /// f of every entry, in candle's operations that carry gradients.
    pub(super) fn apply(self, scores: &Tensor) -> Result<Tensor> {
        match self {
            // No gradient reaches the scores, which have no influence.
            Self::One => scores.ones_like(),
            Self::Exp => scores.exp(),
            // Unlike `ops::sigmoid`'s neighbours, it carries gradients.
            Self::Sigmoid => candle_nn::ops::sigmoid(scores),
            // max(0, s) + log(1 + exp(−|s|)), not the exponential of a large number.
            Self::Softplus => scores.relu()? + (scores.abs()?.neg()?.exp()? + 1.0)?.log()?,
            Self::Elu => scores.elu(1.0)? + 1.0,
            Self::Relu => scores.relu(),
            Self::Identity => Ok(scores.clone()),
            Self::Abs => scores.abs(),
            Self::Square => scores.sqr(),
        }
    }

    /// f′ of every entry.
    fn slope(self, scores: &Tensor) -> Result<Tensor> {
        match self {
            Self::Exp => scores.exp(),
            Self::Sigmoid => {
                let value = candle_nn::ops::sigmoid(scores)?;
                &value * (1.0 - &value)?
            }
            Self::Softplus => candle_nn::ops::sigmoid(scores),
            Self::One => scores.zeros_like(),
            Self::Elu => scores.minimum(0.0)?.exp(),
            Self::Relu => scores.gt(0.0)?.to_dtype(scores.dtype()),
            Self::Identity => scores.ones_like(),
            Self::Abs => {
                let sign = |mask: Tensor| mask.to_dtype(scores.dtype());
                sign(scores.gt(0.0)?)? - sign(scores.lt(0.0)?)?
            }
            Self::Square => scores * 2.0,
        }
    }

    /// f and f′ of a row.
    #[inline(always)]
    fn row<const N: usize>(
        self,
        scores: &[Lanes<N>],
        logit_bias: f64,
        sides: Option<&[Lanes<N>]>,
        values: &mut [Lanes<N>],
        slopes: &mut [Lanes<N>],
    ) {
        let bias = Lanes::splat(logit_bias);
        match self {
            Self::One => each(scores, bias, values, slopes, |_| (Lanes::ONE, Lanes::ZERO)),
            Self::Exp => each(scores, bias, values, slopes, |s| (s.exp(), s.exp())),
            Self::Sigmoid => each(scores, bias, values, slopes, |s| {
                let value = s.map(sigmoid);
                (value, value * (Lanes::ONE - value))
            }),
            Self::Softplus => each(scores, bias, values, slopes, |s| {
                (s.map(softplus), s.map(sigmoid))
            }),
            Self::Elu => each(scores, bias, values, slopes, |s| {
                (s.map(|s| elu(s).0), s.map(|s| elu(s).1))
            }),
            Self::Identity => each(scores, bias, values, slopes, |s| (s, Lanes::ONE)),
            Self::Square => each(scores, bias, values, slopes, |s| (s * s, s + s)),
            Self::Relu | Self::Abs => {
                let places = scores.iter().zip(values).zip(slopes).enumerate();
                for (at, ((score, value), slope)) in places {
                    keep_lanes_together::<N>();
                    let score = *score + bias;
                    let side = match sides {
                        Some(sides) => sides[at],
                        None => score.map(|s| self.side(s)),
                    };
                    (*value, *slope) = (side * score, side);
                }
            }
        }
    }

    /// Whether f′ jumps, at 0.
    pub(crate) fn has_kink(self) -> bool {
        matches!(self, Self::Relu | Self::Abs)
    }

    /// Of a function with a kink, which is linear on both sides of it: its slope at `score`, and 0 at the kink.
    /// A NaN is passed on.
    #[inline(always)]
    pub(crate) fn side(self, score: f64) -> f64 {
        let below = if self == Self::Abs { -1.0 } else { 0.0 };
        let side = if score < 0.0 { below } else { 1.0 };
        if score == 0.0 {
            0.0
        } else if score.is_nan() {
            score
        } else {
            side
        }
    }

    /// Whether f increases everywhere (is monotone, as Appendix D.2 of arXiv 2603.06248 asks).
    pub fn is_increasing(self) -> bool {
        match self {
            Self::Exp | Self::Sigmoid | Self::Softplus | Self::Elu | Self::Identity => true,
            Self::One | Self::Relu | Self::Abs | Self::Square => false,
        }
    }
}

/// Writes `f(score + bias)` and its slope for every score.
#[inline(always)]
fn each<const N: usize>(
    scores: &[Lanes<N>],
    bias: Lanes<N>,
    values: &mut [Lanes<N>],
    slopes: &mut [Lanes<N>],
    f: impl Fn(Lanes<N>) -> (Lanes<N>, Lanes<N>),
) {
    for ((score, value), slope) in scores.iter().zip(values).zip(slopes) {
        keep_lanes_together::<N>();
        (*value, *slope) = f(*score + bias);
    }
}

#[inline(always)]
fn divide<const N: usize>(weights: &mut [Lanes<N>], slopes: &mut [Lanes<N>], n: Lanes<N>) {
    for (weight, slope) in weights.iter_mut().zip(slopes) {
        keep_lanes_together::<N>();
        *weight = *weight / n;
        *slope = *slope / n;
    }
}

/// Writes `exp(x_i) / Σ exp(x_k)` to `out`.
#[inline(always)]
pub(crate) fn softmax<const N: usize>(x: &[Lanes<N>], out: &mut [Lanes<N>]) {
    let largest = largest(x);
    for (out, x) in out.iter_mut().zip(x) {
        keep_lanes_together::<N>();
        *out = (*x - largest).exp();
    }
    let total = sum(out);
    for out in out {
        keep_lanes_together::<N>();
        *out = *out / total;
    }
}

/// log(1 + e^s).
#[inline(always)]
fn softplus(s: f64) -> f64 {
    let positive = if s < 0.0 { 0.0 } else { s };
    positive + exp(-s.abs()).ln_1p()
}

/// ELU + 1 and its slope.
#[inline(always)]
fn elu(s: f64) -> (f64, f64) {
    let e = exp(s);
    if s > 0.0 { (s + 1.0, 1.0) } else { (e, e) }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    /// The row form and its product with the Jacobian against the tensor form and its automatic gradient.
    #[test]
    fn rows_agree_with_tensors() {
        let scores = [-2.5, -0.3, 0.4, 1.1, 3.0];
        let x = [0.7, -1.3, 0.2, 2.0, -0.6];
        let lanes = |x: &[f64]| -> Vec<Lanes<1>> { x.iter().map(|x| Lanes([*x])).collect() };
        let mut functions = vec![AttentionFunction::Softmax];
        for activation in Activation::ALL {
            functions.push(AttentionFunction::Elementwise {
                activation,
                logit_bias: -0.1,
            });
            functions.push(AttentionFunction::Normalized {
                activation,
                epsilon: 1e-10,
            });
        }
        // Identity: a sum above 1, one below −1, and one between.
        for activation in [Activation::Identity, Activation::Sigmoid] {
            functions.push(AttentionFunction::Clamped { activation });
        }
        let rows = [1.0, -1.0, 0.3].map(|factor| scores.map(|score| score * factor));
        let cases = functions.iter().flat_map(|f| rows.map(|row| (*f, row)));
        let mut worst = 0.0f64;
        for (function, scores) in cases {
            let zeros = || vec![Lanes::<1>::ZERO; scores.len()];
            let (mut weights, mut slopes, mut found) = (zeros(), zeros(), zeros());
            function.row(&lanes(&scores), None, &mut weights, &mut slopes);
            function.pull_back(&weights, &slopes, &lanes(&x), &mut found);

            let variable = Var::new(&scores, &Device::Cpu).unwrap();
            let tensor = function.weights(&variable, None).unwrap();
            let product = (&tensor * Tensor::new(&x, &Device::Cpu).unwrap()).unwrap();
            let gradients = product.sum_all().unwrap().backward().unwrap();
            let expected: Vec<f64> = match gradients.get(&variable) {
                Some(gradient) => gradient.to_vec1().unwrap(),
                None => {
                    assert_eq!(function.activation(), Activation::One);
                    vec![0.0; scores.len()]
                }
            };
            let weights_expected: Vec<f64> = tensor.to_vec1().unwrap();
            let largest = expected.iter().fold(1.0f64, |m, x| m.max(x.abs()));
            for (found, expected) in found.iter().zip(&expected) {
                worst = worst.max((found.0[0] - expected).abs() / largest);
            }
            let x = Tensor::new(&x, &Device::Cpu).unwrap();
            let slopes_tensor = function.slopes(&variable, &tensor).unwrap();
            let slopes_expected: Vec<f64> = slopes_tensor.to_vec1().unwrap();
            let pulled = function.pull_back_rows(&tensor, &slopes_tensor, &x);
            let pulled: Vec<f64> = pulled.unwrap().to_vec1().unwrap();
            for (pulled, expected) in pulled.iter().zip(&expected) {
                worst = worst.max((pulled - expected).abs() / largest);
            }
            let rows = weights.iter().zip(&weights_expected);
            for (found, expected) in rows.chain(slopes.iter().zip(&slopes_expected)) {
                worst = worst.max((found.0[0] - expected).abs());
            }
        }
        println!("largest difference {worst:.1e}");
        assert!(worst < 1e-14, "{worst:e}");
    }

    #[test]
    fn kinks_have_the_slope_zero() {
        for activation in [Activation::Abs, Activation::Relu] {
            assert_eq!(activation.side(0.0), 0.0);
            assert_eq!(activation.side(2.0), 1.0);
            assert!(activation.side(f64::NAN).is_nan());
        }
        assert_eq!(Activation::Abs.side(-2.0), -1.0);
        assert_eq!(Activation::Relu.side(-2.0), 0.0);
    }
}
