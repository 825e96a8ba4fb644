//! Attention by name: the functions that the paper compares (arXiv 2603.06248, Table 1), with and without
//! normalisation.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::function::{Activation, AttentionFunction};

/// A feature map and a function from scores to weights, and what the two are called together.
///
/// With queries q and keys k of width d, weights of query i on the keys j that it sees, before normalisation:
///
/// | names | weight | normalised |
/// |---|---|---|
/// | `softmax` | `exp(q·k/√d)` | divided by its sum |
/// | `uniform` | `1` | divided by its sum plus 1e-9 |
/// | `sigmoid_norm`, `sigmoid_unnorm` | `sigmoid(q·k/√d)` | `_norm`: divided by its sum plus 1e-9 |
/// | `linear`, `linear_unnorm` | `φ(q)·φ(k)`, φ = ELU + 1 | `linear`: divided by its sum plus 1e-9 |
/// | `coupled_linear_norm`, `coupled_linear_unnorm` | `φ(q·k/√d)`, φ = ELU + 1 | `_norm`: divided by its sum plus 1e-9 |
/// | `raw_dotproduct_norm`, `raw_dotproduct_unnorm` | `q·k/√d` | `_norm`: divided by max(\|sum\|, 1) |
/// | `mlp_norm`, `mlp_unnorm` | `mlp(q)·mlp(k)/√d` | `_norm`: divided by max(\|sum\|, 1) |
///
/// The weights of keys that a query does not see are 0 and in no sum. The names, the constants and the order of
/// operations are those of the paper's code (`src/attention.py` of github.com/tml-epfl/softmax).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionKind {
    name: &'static str,
    features: Features,
    function: AttentionFunction,
    is_scaled: bool,
}

/// Which [`FeatureMap`](super::FeatureMap) there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Features {
    /// None.
    Identity,
    /// ELU plus 1.
    Elu,
    /// A network, with weights of its own.
    Mlp,
}

/// What the paper's code adds to the sums it divides by.
const EPSILON: f64 = 1e-9;

/// Of scores that are scaled products of queries and keys themselves.
const fn of_scores(name: &'static str, function: AttentionFunction) -> AttentionKind {
    AttentionKind {
        name,
        features: Features::Identity,
        function,
        is_scaled: true,
    }
}

const fn normalized(activation: Activation) -> AttentionFunction {
    AttentionFunction::Normalized {
        activation,
        epsilon: EPSILON,
    }
}

const fn elementwise(activation: Activation) -> AttentionFunction {
    AttentionFunction::Elementwise {
        activation,
        logit_bias: 0.0,
    }
}

/// Not divided by its sum where that is small: weights may be negative.
const CLAMPED: AttentionFunction = AttentionFunction::Clamped {
    activation: Activation::Identity,
};

impl AttentionKind {
    /// All of them.
    pub const ALL: [AttentionKind; 12] = [
        of_scores("softmax", AttentionFunction::Softmax),
        of_scores("uniform", normalized(Activation::One)),
        of_scores("sigmoid_norm", normalized(Activation::Sigmoid)),
        of_scores("sigmoid_unnorm", elementwise(Activation::Sigmoid)),
        AttentionKind {
            features: Features::Elu,
            is_scaled: false,
            ..of_scores("linear", normalized(Activation::Identity))
        },
        AttentionKind {
            features: Features::Elu,
            is_scaled: false,
            ..of_scores("linear_unnorm", elementwise(Activation::Identity))
        },
        of_scores("coupled_linear_norm", normalized(Activation::Elu)),
        of_scores("coupled_linear_unnorm", elementwise(Activation::Elu)),
        of_scores("raw_dotproduct_norm", CLAMPED),
        of_scores("raw_dotproduct_unnorm", elementwise(Activation::Identity)),
        AttentionKind {
            features: Features::Mlp,
            ..of_scores("mlp_norm", CLAMPED)
        },
        AttentionKind {
            features: Features::Mlp,
            ..of_scores("mlp_unnorm", elementwise(Activation::Identity))
        },
    ];

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name == name)
    }

    /// As in configurations and tables.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// What is done to queries and keys.
    pub fn features(self) -> Features {
        self.features
    }

    /// From scores to weights.
    pub fn function(self) -> AttentionFunction {
        self.function
    }

    /// What multiplies the products of queries and keys of this width.
    pub fn scale(self, head_dim: usize) -> f64 {
        match self.is_scaled {
            true => 1.0 / (head_dim as f64).sqrt(),
            false => 1.0,
        }
    }

    /// Whether queries and keys have an influence on the weights.
    pub fn depends_on_scores(self) -> bool {
        self.function.activation() != Activation::One
    }

    /// Whether weights may be negative. Shares of a row's total, and entropies, mean nothing then.
    pub fn has_signed_weights(self) -> bool {
        self.function.activation() == Activation::Identity && self.features != Features::Elu
    }
}

/// As its name.
impl Serialize for AttentionKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

/// From its name; the error for one that there is not lists them all.
impl<'de> Deserialize<'de> for AttentionKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            D::Error::custom(format!("there is no `{name}`; take one of {names}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_differ() {
        for (at, kind) in AttentionKind::ALL.into_iter().enumerate() {
            assert_eq!(AttentionKind::named(kind.name()), Some(kind));
            let before = &AttentionKind::ALL[..at];
            assert!(before.iter().all(|other| other.name() != kind.name()));
        }
        assert_eq!(AttentionKind::named("sparsemax"), None);
    }

    #[test]
    fn four_kinds_have_signed_weights() {
        let signed = AttentionKind::ALL.map(|kind| kind.has_signed_weights());
        let names: Vec<&str> = AttentionKind::ALL
            .iter()
            .zip(signed)
            .filter_map(|(kind, signed)| signed.then_some(kind.name()))
            .collect();
        assert_eq!(
            names,
            [
                "raw_dotproduct_norm",
                "raw_dotproduct_unnorm",
                "mlp_norm",
                "mlp_unnorm"
            ]
        );
    }
}
