//! Normalisation: root-mean-square (Zhang & Sennrich, arXiv 1910.07467), and by mean and variance (Ba et al.,
//! arXiv 1607.06450).

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};

use super::{
    cpu::{self, Rows},
    operation::{self, Array, Operation},
};

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
/// It carries gradients, which candle's own layer norm does not. With weight and bias of shape (replicas, columns), the
/// first of as many equal parts of the rows has the first of them, and so on.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// `weight` and `bias`: (columns,), or (replicas, columns); `eps` is added to the variance.
    pub fn new(weight: Tensor, bias: Tensor, eps: f64) -> Self {
        Self { weight, bias, eps }
    }

    /// (tokens, columns) → the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let arguments = [x, &self.weight, &self.bias];
        if self.weight.rank() == 1 && operation::is_applicable(&arguments) {
            return operation::apply3(arguments, FusedLayerNorm { eps: self.eps });
        }
        let dtype = match x.dtype() {
            DType::F64 => DType::F64,
            _ => DType::F32,
        };
        let wide = x.to_dtype(dtype)?;
        let centred = wide.broadcast_sub(&wide.mean_keepdim(1)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(1)? + self.eps)?.sqrt()?;
        let normed = centred.broadcast_div(&deviation)?;
        let (weight, bias) = (self.weight.to_dtype(dtype)?, self.bias.to_dtype(dtype)?);
        let scaled = match *self.weight.dims() {
            [replicas, columns] => normed
                .reshape((replicas, x.dim(0)? / replicas, columns))?
                .broadcast_mul(&weight.unsqueeze(1)?)?
                .broadcast_add(&bias.unsqueeze(1)?)?
                .reshape(x.shape())?,
            _ => normed.broadcast_mul(&weight)?.broadcast_add(&bias)?,
        };
        scaled.to_dtype(x.dtype())
    }
}

/// Of x, weight and bias.
struct FusedLayerNorm {
    eps: f64,
}

impl FusedLayerNorm {
    fn check(x: Array, weight: Array, bias: Array) -> Result<()> {
        let columns = x.columns();
        if columns == 0 || weight.dims != [columns] || bias.dims != [columns] {
            bail!(
                "layer_norm: shapes {:?}, {:?}, {:?} of input, weight and bias do not fit",
                x.dims,
                weight.dims,
                bias.dims
            )
        }
        Ok(())
    }

    /// Mean of a row, and the reciprocal of its standard deviation.
    #[inline(always)]
    fn moments(&self, row: &[f32]) -> (f32, f32) {
        let count = row.len() as f32;
        let mean = cpu::sum_by(row, |x| x) / count;
        let variance = cpu::sum_by(row, |x| (x - mean) * (x - mean)) / count;
        (mean, 1.0 / (variance + self.eps as f32).sqrt())
    }
}

impl Operation<3> for FusedLayerNorm {
    const NAME: &'static str = "layer_norm";

    fn forward(&self, [x, weight, bias]: [Array; 3]) -> Result<(Vec<f32>, Shape)> {
        Self::check(x, weight, bias)?;
        let columns = x.columns();
        let mut out = vec![0f32; x.entries.len()];
        cpu::with_simd(
            #[inline(always)]
            || {
                let rows = x.entries.chunks_exact(columns);
                for (row, out) in rows.zip(out.chunks_exact_mut(columns)) {
                    let (mean, factor) = self.moments(row);
                    let parameters = weight.entries.iter().zip(bias.entries);
                    for ((out, x), (weight, bias)) in out.iter_mut().zip(row).zip(parameters) {
                        *out = (x - mean) * factor * weight + bias;
                    }
                }
            },
        );
        Ok((out, x.dims.into()))
    }

    /// With n = (x − mean) · factor: `factor (g w − mean(g w) − n mean(g w n))`, `Σ g n` and `Σ g`.
    fn backward(
        &self,
        [x, weight, bias]: [Array; 3],
        gradient: &[f32],
    ) -> Result<[Option<Vec<f32>>; 3]> {
        Self::check(x, weight, bias)?;
        let columns = x.columns();
        let mut of_x = vec![0f32; x.entries.len()];
        let mut of_weight = vec![0f32; columns];
        let mut of_bias = vec![0f32; columns];
        // n and g w of a row.
        let (mut normed, mut upstream) = (vec![0f32; columns], vec![0f32; columns]);
        cpu::with_simd(
            #[inline(always)]
            || {
                let rows = x.entries.chunks_exact(columns);
                let gradients = gradient.chunks_exact(columns);
                for ((row, gradient), of_x) in
                    rows.zip(gradients).zip(of_x.chunks_exact_mut(columns))
                {
                    let (mean, factor) = self.moments(row);
                    for (normed, x) in normed.iter_mut().zip(row) {
                        *normed = (x - mean) * factor;
                    }
                    for ((up, g), w) in upstream.iter_mut().zip(gradient).zip(weight.entries) {
                        *up = g * w;
                    }
                    for ((sum, g), n) in of_weight.iter_mut().zip(gradient).zip(&normed) {
                        *sum += g * n;
                    }
                    operation::add_rows(&mut of_bias, gradient);
                    let along = cpu::dot(&upstream, &normed) / columns as f32;
                    let mean = cpu::sum_by(&upstream, |x| x) / columns as f32;
                    for ((of_x, up), n) in of_x.iter_mut().zip(&upstream).zip(&normed) {
                        *of_x = factor * (up - mean - n * along);
                    }
                }
            },
        );
        Ok([Some(of_x), Some(of_weight), Some(of_bias)])
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

#[cfg(test)]
mod tests {
    use super::{operation::tests::difference, *};

    #[test]
    fn the_fused_layer_norm_has_the_value_and_the_gradients() -> Result<()> {
        for columns in [1, 5, 128] {
            let worst = difference(&[&[9, columns], &[columns], &[columns]], |x| {
                LayerNorm::new(x[1].clone(), x[2].clone(), 1e-5).forward(&x[0])
            })?;
            println!("{columns} columns: largest difference {worst:.1e}");
            // Of one column nothing is left to have a gradient.
            assert!(worst < 2e-6 || columns == 1, "{worst:e}");
        }
        Ok(())
    }
}
