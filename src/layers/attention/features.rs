//! What is done to queries and keys before their product.

use candle_core::{Result, Tensor};

use super::function::Activation;
use crate::layers::GeluMlp;

/// φ: turns every query and every key, head by head, into what their product is made of.
#[derive(Debug, Clone)]
pub enum FeatureMap {
    /// Nothing.
    Identity,
    /// ELU plus 1, entry by entry: always positive, and so is every product (Katharopoulos et al., arXiv 2006.16236).
    Elu,
    /// A network of two layers that all heads share, from head_dim to head_dim.
    Mlp(GeluMlp),
}

impl FeatureMap {
    /// (tokens, heads · head_dim) queries or keys → the same shape.
    pub fn forward(&self, states: &Tensor, head_dim: usize) -> Result<Tensor> {
        match self {
            Self::Identity => Ok(states.clone()),
            Self::Elu => Activation::Elu.apply(states),
            Self::Mlp(mlp) => {
                let dims = states.dims();
                let heads = states.reshape((states.elem_count() / head_dim, head_dim))?;
                mlp.forward(&heads)?.reshape(dims)
            }
        }
    }
}
