//! Feed-forward blocks.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, bail};

use super::{Linear, cpu};

/// SwiGLU (Shazeer, arXiv 2002.05202): `(silu(x Wgᵀ) ⊙ x Wuᵀ) Wdᵀ`.
///
/// Gate and up projection are one matrix, so that one large product replaces two.
#[derive(Debug, Clone)]
pub struct SwiGlu {
    gate_up_proj: Linear,
    down_proj: Linear,
}

impl SwiGlu {
    /// `gate_up`: (2 · intermediate_size, hidden_size), the gate's rows first; `down`: (hidden_size,
    /// intermediate_size).
    pub fn new(gate_up: Tensor, down: Tensor) -> Self {
        Self {
            gate_up_proj: Linear::new(gate_up),
            down_proj: Linear::new(down),
        }
    }

    /// (tokens, hidden_size) → (tokens, hidden_size).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let gated = silu_mul(self.gate_up_proj.forward(x)?)?;
        self.down_proj.forward(&gated)
    }
}

/// (tokens, 2n) → (tokens, n): `silu(x[:, ..n]) ⊙ x[:, n..]`.
///
/// The fused form writes the result over the gate, and returns a view: of the widest activations of a model
/// there is no second copy. `gate_up` must be nobody else's.
fn silu_mul(gate_up: Tensor) -> Result<Tensor> {
    let n = gate_up.dim(1)? / 2;
    if cpu::is_fusable(&gate_up) {
        gate_up.inplace_op1(&FusedSiluMul)?;
        return gate_up.narrow(1, 0, n);
    }
    gate_up.narrow(1, 0, n)?.silu()? * gate_up.narrow(1, n, n)?
}

struct FusedSiluMul;

impl InplaceOp1 for FusedSiluMul {
    fn name(&self) -> &'static str {
        "silu_mul"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (CpuStorage::F32(x), Some((start, end)), &[_, columns]) =
            (x, layout.contiguous_offsets(), layout.dims())
        else {
            bail!("silu_mul: a contiguous float32 matrix is needed")
        };
        cpu::for_each_row(&mut x[start..end], columns, |_, row| {
            let (gate, up) = row.split_at_mut(columns / 2);
            for (g, &u) in gate.iter_mut().zip(up.iter()) {
                *g = *g * cpu::sigmoid(*g) * u;
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn the_fused_form_equals_the_differentiable_one() -> Result<()> {
        // One row, as after a product that was padded, and many.
        for rows in [1, 3, 200] {
            let x =
                Tensor::randn(0f32, 4f32, (rows + 2, 2 * 37), &Device::Cpu)?.narrow(0, 0, rows)?;
            let tracked = Var::from_tensor(&x)?;
            let expected = silu_mul(tracked.as_tensor().clone())?;
            assert!(expected.track_op());
            let found = silu_mul(x)?;
            let difference = (found - expected.detach())?
                .abs()?
                .max_all()?
                .to_scalar::<f32>()?;
            let largest = expected.abs()?.max_all()?.to_scalar::<f32>()?;
            println!(
                "{rows} rows: largest difference {difference:.1e}, of values up to {largest:.0}"
            );
            // A few units in the last place.
            assert!(difference < 1e-6 * largest);
        }
        Ok(())
    }
}
