//! f of `σ_i = f(a_i) / n`: where it increases, and h = ∫ da / f′(a), in which scores repel each other.

use crate::flow::sigma::Sigma;
use crate::layers::attention::{Activation, AttentionFunction};

/// How scores become weights: f, and whether its sum divides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Weighting {
    activation: Activation,
    normalized: bool,
    /// Added to the sum.
    epsilon: f64,
    /// Added to every score.
    bias: f64,
}

impl Weighting {
    pub(super) fn of(sigma: Sigma) -> Weighting {
        let (epsilon, bias) = match sigma.function() {
            AttentionFunction::Softmax => (0.0, 0.0),
            AttentionFunction::Elementwise { logit_bias, .. } => (0.0, logit_bias),
            AttentionFunction::Normalized { epsilon, .. } => (epsilon, 0.0),
            AttentionFunction::Clamped { .. } => (0.0, 0.0),
        };
        // What is divided only where its sum is large counts as not divided: less is then said of it.
        let clamped = matches!(sigma.function(), AttentionFunction::Clamped { .. });
        Weighting {
            activation: sigma.function().activation(),
            normalized: sigma.function().is_normalized() && !clamped,
            epsilon,
            bias,
        }
    }

    pub(super) fn is_softmax(self) -> bool {
        self.activation == Activation::Exp && self.normalized
    }

    /// Whether weights sum to 1, up to epsilon.
    pub(super) fn is_normalized(self) -> bool {
        self.normalized
    }

    /// How far the sum of the weights of `scores` is from 1.
    pub(super) fn shortfall(self, scores: &[f64]) -> f64 {
        match self.epsilon {
            0.0 => 0.0,
            epsilon => epsilon / self.denominator(scores).abs(),
        }
    }

    /// Whether f′ or f″ jumps, at 0: where scores pass it, nothing that takes derivatives can be said.
    pub(super) fn is_kinked(self) -> bool {
        matches!(
            self.activation,
            Activation::Abs | Activation::Relu | Activation::Elu
        )
    }

    /// |f′(a_i)| / n of a row: ∂σ_i/∂a_i without the centred term.
    pub(super) fn slopes(self, scores: &[f64], weights: &[f64]) -> Vec<f64> {
        let n = match self.activation {
            Activation::Exp => return weights.iter().map(|w| w.abs()).collect(),
            _ if self.normalized => self.denominator(scores).abs(),
            _ => 1.0,
        };
        scores.iter().map(|&a| self.slope(a).abs() / n).collect()
    }

    /// Why Lemma D.4 says nothing about a row of scores: the smallest score where f does not increase, or n ≤ 0.
    pub(super) fn outside(self, scores: &[f64]) -> Option<String> {
        if let Some(i) = scores.iter().position(|&a| self.integral(a).is_none()) {
            return Some(format!(
                "score {i} is {:.3e}, where f does not increase",
                scores[i]
            ));
        }
        let n = self.denominator(scores);
        (n <= 0.0).then(|| format!("the sum of f is {n:.3e}; it must stay above 0"))
    }

    /// f′(a).
    pub(super) fn slope(self, a: f64) -> f64 {
        let a = a + self.bias;
        match self.activation {
            Activation::Exp => a.exp(),
            Activation::Sigmoid => 1.0 / (2.0 + a.exp() + (-a).exp()),
            Activation::Softplus => 1.0 / (1.0 + (-a).exp()),
            Activation::Elu => a.min(0.0).exp(),
            Activation::Relu => f64::from(u8::from(a > 0.0)),
            Activation::Identity => 1.0,
            Activation::One => 0.0,
            Activation::Abs => a.signum(),
            Activation::Square => 2.0 * a,
        }
    }

    /// h(a) = ∫ da / f′(a), up to a constant, where f increases; None elsewhere, and where no float64 holds it.
    pub(super) fn integral(self, a: f64) -> Option<f64> {
        let a = a + self.bias;
        let h = match self.activation {
            Activation::Exp => -(-a).exp(),
            Activation::Sigmoid => 2.0 * a + a.exp() - (-a).exp(),
            Activation::Softplus => a - (-a).exp(),
            Activation::Elu if a > 0.0 => a,
            Activation::Elu => 1.0 - (-a).exp(),
            Activation::Identity => a,
            Activation::One => return None,
            Activation::Relu | Activation::Abs | Activation::Square if a <= 0.0 => return None,
            Activation::Relu | Activation::Abs => a,
            Activation::Square => 0.5 * a.ln(),
        };
        h.is_finite().then_some(h)
    }

    fn value(self, a: f64) -> f64 {
        let a = a + self.bias;
        match self.activation {
            Activation::Exp => a.exp(),
            Activation::Sigmoid => 1.0 / (1.0 + (-a).exp()),
            Activation::Softplus => a.max(0.0) + (-a.abs()).exp().ln_1p(),
            Activation::Elu if a > 0.0 => a + 1.0,
            Activation::Elu => a.exp(),
            Activation::Relu => a.max(0.0),
            Activation::Identity => a,
            Activation::One => 1.0,
            Activation::Abs => a.abs(),
            Activation::Square => a * a,
        }
    }

    fn denominator(self, scores: &[f64]) -> f64 {
        scores.iter().map(|&a| self.value(a)).sum::<f64>() + self.epsilon
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// h′ f′ = 1 and f′ is the derivative of f, by central differences: truncation and rounding are about 1e-10.
    #[test]
    fn slopes_and_integrals_belong_together() {
        for sigma in Sigma::ALL {
            let weighting = Weighting::of(sigma);
            for a in [-1.5, -0.3, 0.1, 0.7, 2.5] {
                if weighting.integral(a).is_none() {
                    continue;
                }
                let step = 1e-5;
                let h = |a| weighting.integral(a).unwrap();
                let difference =
                    |f: &dyn Fn(f64) -> f64| (f(a + step) - f(a - step)) / (2.0 * step);
                let slope = weighting.slope(a);
                assert!((difference(&|a| weighting.value(a)) - slope).abs() < 1e-8);
                assert!((difference(&h) * slope - 1.0).abs() < 1e-7, "{sigma} {a}");
            }
        }
    }

    #[test]
    fn f_must_increase_and_n_stay_positive() {
        let outside = |sigma, scores: &[f64]| Weighting::of(sigma).outside(scores);
        for sigma in [Sigma::L1, Sigma::L2, Sigma::RELU] {
            assert!(outside(sigma, &[1.0, 0.5]).is_none());
            assert!(outside(sigma, &[1.0, -0.5]).unwrap().contains("score 1"));
        }
        assert!(outside(Sigma::SUM, &[1.0, -0.5]).is_none());
        assert!(
            outside(Sigma::SUM, &[0.5, -1.0])
                .unwrap()
                .contains("sum of f")
        );
        assert!(outside(Sigma::SOFTMAX, &[0.0, -10.0]).is_none());
        assert!(outside(Sigma::SOFTMAX, &[0.0, -1000.0]).is_some());
    }
}
