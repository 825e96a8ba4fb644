//! Normalisation: root-mean-square (Zhang & Sennrich, arXiv 1910.07467), and by mean and variance (Ba et al.,
//! arXiv 1607.06450).

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};

use super::cpu::{self, Rows};

/// `x / sqrt(mean(x²) + eps) · weight`, over consecutive groups of `weight.len()` elements of the last
/// dimension: the whole of it for a layer's norm, one head at a time for norms on queries and keys.
///
/// The mean is taken in float32 whatever the type of `x`.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    weight: Tensor,
    eps: f64,
}

impl RmsNorm {
    /// `weight`: (group,); `eps` is added to the mean square.
    pub fn new(weight: Tensor, eps: f64) -> Self {
        Self { weight, eps }
    }

    /// (tokens, n · group) → the same shape, contiguous.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if cpu::is_fusable(x) && !self.weight.track_op() {
            return x.apply_op2_no_bwd(&self.weight, &FusedNorm { eps: self.eps });
        }
        self.forward_tensor(x)
    }

    /// `residual + norm(x)`, the residual branch of a block that normalises its output.
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        if cpu::is_fusable(x) && cpu::is_fusable(residual) && !self.weight.track_op() {
            let op = FusedNormAdd {
                weight: self.weight.flatten_all()?.to_vec1()?,
                eps: self.eps,
            };
            return x.apply_op2_no_bwd(residual, &op);
        }
        residual + self.forward_tensor(x)?
    }

    fn forward_tensor(&self, x: &Tensor) -> Result<Tensor> {
        let dims = x.dims();
        let group = self.weight.elem_count();
        let last = dims.last().copied().unwrap_or(0);
        check_groups(last, group)?;
        let grouped = x
            .reshape((x.elem_count() / group, group))?
            .to_dtype(DType::F32)?;
        let mean_square = grouped.sqr()?.mean_keepdim(1)?;
        let normed = grouped.broadcast_div(&(mean_square + self.eps)?.sqrt()?)?;
        normed
            .broadcast_mul(&self.weight.to_dtype(DType::F32)?)?
            .to_dtype(x.dtype())?
            .reshape(dims)
    }
}

/// `(x − mean(x)) / sqrt(var(x) + eps) · weight + bias` over the last dimension; the variance is the mean square
/// distance from the mean. In float32, or float64 if `x` is.
///
/// Made of operations that carry gradients, which candle's own layer norm does not.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// `weight` and `bias`: (columns,); `eps` is added to the variance.
    pub fn new(weight: Tensor, bias: Tensor, eps: f64) -> Self {
        Self { weight, bias, eps }
    }

    /// (tokens, columns) → the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let dtype = match x.dtype() {
            DType::F64 => DType::F64,
            _ => DType::F32,
        };
        let wide = x.to_dtype(dtype)?;
        let centred = wide.broadcast_sub(&wide.mean_keepdim(1)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(1)? + self.eps)?.sqrt()?;
        centred
            .broadcast_div(&deviation)?
            .broadcast_mul(&self.weight.to_dtype(dtype)?)?
            .broadcast_add(&self.bias.to_dtype(dtype)?)?
            .to_dtype(x.dtype())
    }
}

fn check_groups(columns: usize, group: usize) -> Result<()> {
    if group == 0 || !columns.is_multiple_of(group) {
        bail!("rms_norm: {columns} columns do not divide into groups of {group}")
    }
    Ok(())
}

/// One row: `out = norm(x) · weight` group by group.
#[inline(always)]
fn norm_row(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    for (x, out) in x
        .chunks_exact(weight.len())
        .zip(out.chunks_exact_mut(weight.len()))
    {
        let mean_square = cpu::sum_by(x, |x| x * x) / weight.len() as f32;
        let factor = 1.0 / (mean_square + eps).sqrt();
        for ((out, &x), &w) in out.iter_mut().zip(x).zip(weight) {
            *out = x * factor * w;
        }
    }
}

struct FusedNorm {
    eps: f64,
}

impl CustomOp2 for FusedNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (CpuStorage::F32(weight), Some((start, end))) =
            (weight, weight_layout.contiguous_offsets())
        else {
            bail!("rms_norm: a contiguous float32 weight is needed")
        };
        let weight = &weight[start..end];
        let x = Rows::new(x, x_layout)?;
        check_groups(x.columns, weight.len())?;
        let mut out = vec![0f32; x.rows * x.columns];
        let eps = self.eps as f32;
        cpu::for_each_row(&mut out, x.columns, |i, out| {
            norm_row(x.row(i), weight, eps, out)
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

struct FusedNormAdd {
    weight: Vec<f32>,
    eps: f64,
}

impl CustomOp2 for FusedNormAdd {
    fn name(&self) -> &'static str {
        "rms_norm_add"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, residual) = (
            Rows::new(x, x_layout)?,
            Rows::new(residual, residual_layout)?,
        );
        check_groups(x.columns, self.weight.len())?;
        if (x.rows, x.columns) != (residual.rows, residual.columns) {
            bail!("rms_norm_add: the shapes of input and residual differ")
        }
        let mut out = vec![0f32; x.rows * x.columns];
        let eps = self.eps as f32;
        cpu::for_each_row(&mut out, x.columns, |i, out| {
            norm_row(x.row(i), &self.weight, eps, out);
            for (out, &r) in out.iter_mut().zip(residual.row(i)) {
                *out += r;
            }
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}
