//! f of `σ_i = f(a_i) / n`: where it increases, and h = ∫ da / f′(a), in which scores repel each other.

use crate::flow::normalization::Normalization;

/// What is done to a single score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activation {
    Exp,
    Identity,
    Square,
    Abs,
    Relu,
    Sigmoid,
}

/// How scores become weights: f, and whether its sum divides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Weighting {
    activation: Activation,
    normalized: bool,
    /// Added to the sum.
    epsilon: f64,
}

impl Weighting {
    pub(super) fn of(normalization: Normalization) -> Weighting {
        let (activation, normalized, epsilon) = match normalization {
            Normalization::Softmax => (Activation::Exp, true, 0.0),
            Normalization::L1 => (Activation::Abs, true, 1e-10),
            Normalization::Sum => (Activation::Identity, true, 1e-10),
            Normalization::L2 => (Activation::Square, true, 1e-10),
            Normalization::Relu => (Activation::Relu, true, 1e-10),
            Normalization::Sigmoid => (Activation::Sigmoid, false, 0.0),
        };
        Weighting {
            activation,
            normalized,
            epsilon,
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

    /// Whether f has a kink, at 0: where scores touch it, nothing that takes derivatives can be said.
    pub(super) fn is_kinked(self) -> bool {
        matches!(self.activation, Activation::Abs | Activation::Relu)
    }

    /// The largest |∂σ_i/∂a_i| without the centred term, f′(a_i) / n, of a row.
    pub(super) fn largest_slope(self, scores: &[f64], weights: &[f64]) -> f64 {
        let n = match self.activation {
            Activation::Exp => return weights.iter().fold(0.0, |m, w| w.abs().max(m)),
            _ if self.normalized => self.denominator(scores).abs(),
            _ => 1.0,
        };
        let slopes = scores.iter().map(|&a| self.slope(a).abs());
        slopes.fold(0.0, f64::max) / n
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
        match self.activation {
            Activation::Exp => a.exp(),
            Activation::Identity => 1.0,
            Activation::Square => 2.0 * a,
            Activation::Abs => a.signum(),
            Activation::Relu => f64::from(u8::from(a > 0.0)),
            Activation::Sigmoid => 1.0 / (2.0 + a.exp() + (-a).exp()),
        }
    }

    /// h(a) = ∫ da / f′(a), up to a constant, where f increases; None elsewhere, and where no float64 holds it.
    pub(super) fn integral(self, a: f64) -> Option<f64> {
        let h = match self.activation {
            Activation::Exp => -(-a).exp(),
            Activation::Identity => a,
            Activation::Sigmoid => 2.0 * a + a.exp() - (-a).exp(),
            Activation::Square | Activation::Abs | Activation::Relu if a <= 0.0 => return None,
            Activation::Square => 0.5 * a.ln(),
            Activation::Abs | Activation::Relu => a,
        };
        h.is_finite().then_some(h)
    }

    fn value(self, a: f64) -> f64 {
        match self.activation {
            Activation::Exp => a.exp(),
            Activation::Identity => a,
            Activation::Square => a * a,
            Activation::Abs => a.abs(),
            Activation::Relu => a.max(0.0),
            Activation::Sigmoid => 1.0 / (1.0 + (-a).exp()),
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
        for normalization in Normalization::ALL {
            let weighting = Weighting::of(normalization);
            for a in [0.1, 0.7, 2.5] {
                let step = 1e-5;
                let h = |a| weighting.integral(a).unwrap();
                let difference =
                    |f: &dyn Fn(f64) -> f64| (f(a + step) - f(a - step)) / (2.0 * step);
                let slope = weighting.slope(a);
                assert!((difference(&|a| weighting.value(a)) - slope).abs() < 1e-8);
                assert!(
                    (difference(&h) * slope - 1.0).abs() < 1e-7,
                    "{normalization:?} {a}"
                );
            }
        }
    }

    #[test]
    fn f_must_increase_and_n_stay_positive() {
        let outside = |normalization, scores: &[f64]| Weighting::of(normalization).outside(scores);
        for normalization in [Normalization::L1, Normalization::L2, Normalization::Relu] {
            assert!(outside(normalization, &[1.0, 0.5]).is_none());
            assert!(
                outside(normalization, &[1.0, -0.5])
                    .unwrap()
                    .contains("score 1")
            );
        }
        assert!(outside(Normalization::Sum, &[1.0, -0.5]).is_none());
        assert!(
            outside(Normalization::Sum, &[0.5, -1.0])
                .unwrap()
                .contains("sum of f")
        );
        assert!(outside(Normalization::Softmax, &[0.0, -10.0]).is_none());
        assert!(outside(Normalization::Softmax, &[0.0, -1000.0]).is_some());
    }
}
