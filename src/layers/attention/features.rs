//! What is done to queries and keys before their product.

use candle_core::{Result, Shape, Tensor};

use super::function::Activation;
use crate::layers::{
    GeluMlp, cpu,
    operation::{self, Array, Operation},
};

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
            Self::Elu if operation::is_applicable(&[states]) => operation::apply1(states, FusedElu),
            Self::Elu => Activation::Elu.apply(states),
            Self::Mlp(mlp) => {
                let dims = states.dims();
                let heads = states.reshape((states.elem_count() / head_dim, head_dim))?;
                mlp.forward(&heads)?.reshape(dims)
            }
        }
    }
}

/// ELU plus 1.
struct FusedElu;

impl Operation<1> for FusedElu {
    const NAME: &'static str = "elu";

    fn forward(&self, [x]: [Array; 1]) -> Result<(Vec<f32>, Shape)> {
        let mut out = vec![0f32; x.entries.len()];
        cpu::with_simd(
            #[inline(always)]
            || {
                for (out, &x) in out.iter_mut().zip(x.entries) {
                    let below = cpu::exp(x);
                    *out = if x > 0.0 { x + 1.0 } else { below };
                }
            },
        );
        Ok((out, x.dims.into()))
    }

    fn backward(&self, [x]: [Array; 1], gradient: &[f32]) -> Result<[Option<Vec<f32>>; 1]> {
        let mut out = vec![0f32; x.entries.len()];
        cpu::with_simd(
            #[inline(always)]
            || {
                for ((out, &x), &g) in out.iter_mut().zip(x.entries).zip(gradient) {
                    let below = cpu::exp(x);
                    *out = g * if x > 0.0 { 1.0 } else { below };
                }
            },
        );
        Ok([Some(out)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fused_elu_has_the_value_and_the_slope() -> Result<()> {
        let features = |x: &[Tensor]| FeatureMap::Elu.forward(&(&x[0] * 3.0)?, 1);
        let worst = operation::tests::difference(&[&[100, 100]], features)?;
        println!("largest difference {worst:.1e}");
        assert!(worst < 1e-6, "{worst:e}");
        Ok(())
    }
}
