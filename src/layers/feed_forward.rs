//! Feed-forward blocks.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::{
    Linear,
    cpu::{self, Rows},
};

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
        let gated = silu_mul(&self.gate_up_proj.forward(x)?)?;
        self.down_proj.forward(&gated)
    }
}

/// (tokens, 2n) → (tokens, n): `silu(x[:, ..n]) ⊙ x[:, n..]`.
pub(crate) fn silu_mul(gate_up: &Tensor) -> Result<Tensor> {
    if cpu::is_fusable(gate_up) {
        return gate_up.apply_op1_no_bwd(&FusedSiluMul);
    }
    let n = gate_up.dim(1)? / 2;
    gate_up.narrow(1, 0, n)?.silu()? * gate_up.narrow(1, n, n)?
}

struct FusedSiluMul;

impl CustomOp1 for FusedSiluMul {
    fn name(&self) -> &'static str {
        "silu_mul"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = Rows::new(x, layout)?;
        if x.columns % 2 != 0 {
            bail!(
                "silu_mul: an even number of columns is needed, found {}",
                x.columns
            )
        }
        let n = x.columns / 2;
        let mut out = vec![0f32; x.rows * n];
        cpu::for_each_row(&mut out, n, |i, out| {
            let (gate, up) = x.row(i).split_at(n);
            for ((out, &g), &u) in out.iter_mut().zip(gate).zip(up) {
                *out = g * cpu::sigmoid(g) * u;
            }
        });
        Ok((CpuStorage::F32(out), Shape::from((x.rows, n))))
    }
}
