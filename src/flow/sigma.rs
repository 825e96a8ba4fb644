//! σ by name: the attention functions that a row of scores can be given to.
//!
//! The names of the first six are those of the paper's notebook, with its 1e-10 in the denominators; the others follow
//! Appendix D.2, where any increasing f can stand for the exponential: `softplus` is `softplus(a_i) / Σ softplus(a_k)`,
//! and `softplus_unnorm` the same without the quotient.

use std::fmt;
use std::str::FromStr;

use super::objective::invalid;
use crate::Error;
use crate::layers::attention::{Activation, AttentionFunction};

/// What the notebook adds to the denominators of all normalisations but the softmax.
const EPSILON: f64 = 1e-10;

/// An attention function and its name here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sigma {
    name: &'static str,
    function: AttentionFunction,
}

const fn normalized(name: &'static str, activation: Activation) -> Sigma {
    Sigma {
        name,
        function: AttentionFunction::Normalized {
            activation,
            epsilon: EPSILON,
        },
    }
}

const fn elementwise(name: &'static str, activation: Activation) -> Sigma {
    Sigma {
        name,
        function: AttentionFunction::Elementwise {
            activation,
            logit_bias: 0.0,
        },
    }
}

impl Sigma {
    /// `exp(a_i) / Σ exp(a_k)`.
    pub const SOFTMAX: Sigma = Sigma {
        name: "softmax",
        function: AttentionFunction::Softmax,
    };
    /// `|a_i| / n` with `n = Σ |a_k| + 1e-10`.
    pub const L1: Sigma = normalized("l1", Activation::Abs);
    /// `a_i / n` with `n = Σ a_k + 1e-10`: weights may be negative, and grow without bound where n nears 0.
    pub const SUM: Sigma = normalized("sum", Activation::Identity);
    /// `a_i² / n` with `n = Σ a_k² + 1e-10`.
    pub const L2: Sigma = normalized("l2", Activation::Square);
    /// `max(0, a_i) / n` with `n = Σ max(0, a_k) + 1e-10`.
    pub const RELU: Sigma = normalized("relu", Activation::Relu);
    /// `1 / (1 + exp(−a_i))`, element by element: weights sum to anything.
    pub const SIGMOID: Sigma = elementwise("sigmoid", Activation::Sigmoid);

    /// The six that the notebook compares, in its order.
    pub const COMPARED: [Sigma; 6] = [
        Self::L1,
        Self::SUM,
        Self::L2,
        Self::SOFTMAX,
        Self::RELU,
        Self::SIGMOID,
    ];

    /// All: what is divided by its sum, and what is not.
    pub const ALL: [Sigma; 16] = [
        Self::SOFTMAX,
        Self::L1,
        Self::SUM,
        Self::L2,
        Self::RELU,
        normalized("softplus", Activation::Softplus),
        normalized("elu", Activation::Elu),
        normalized("sigmoid_norm", Activation::Sigmoid),
        Self::SIGMOID,
        elementwise("linear", Activation::Identity),
        elementwise("relu_unnorm", Activation::Relu),
        elementwise("softplus_unnorm", Activation::Softplus),
        elementwise("elu_unnorm", Activation::Elu),
        elementwise("exp_unnorm", Activation::Exp),
        elementwise("abs_unnorm", Activation::Abs),
        elementwise("square_unnorm", Activation::Square),
    ];

    /// Names of an f, or of another table, that mean one of [`Self::ALL`].
    const ALIASES: [(&str, &str); 7] = [
        ("exp", "softmax"),
        ("abs", "l1"),
        ("identity", "sum"),
        ("square", "l2"),
        ("relu_norm", "relu"),
        ("sigmoid_unnorm", "sigmoid"),
        ("linear_unnorm", "linear"),
    ];

    /// As in tables and arguments.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// What it computes.
    pub fn function(self) -> AttentionFunction {
        self.function
    }
}

impl fmt::Display for Sigma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for Sigma {
    type Err = Error;

    /// Fails with all names for one that there is not.
    fn from_str(name: &str) -> Result<Self, Error> {
        let alias = Self::ALIASES.iter().find(|(alias, _)| *alias == name);
        let wanted = alias.map_or(name, |(_, meant)| meant);
        let found = Self::ALL.into_iter().find(|sigma| sigma.name == wanted);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            let aliases = Self::ALIASES.map(|(alias, meant)| format!("{alias} = {meant}"));
            invalid(
                "sigma",
                format!(
                    "there is no `{name}`; take one of {names} ({})",
                    aliases.join(", ")
                ),
            )
        })
    }
}
