//! Feed-forward blocks.

use std::{f64::consts::FRAC_1_SQRT_2, sync::OnceLock};

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Shape, Tensor, bail};

use super::{
    Linear, cpu,
    linear::Arguments,
    operation::{self, Array, Operation},
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
        let gated = silu_mul(self.gate_up_proj.forward(x)?)?;
        self.down_proj.forward(&gated)
    }
}

/// `gelu(x W₁ᵀ + b₁) W₂ᵀ + b₂`.
#[derive(Debug, Clone)]
pub struct GeluMlp {
    up_proj: Linear,
    down_proj: Linear,
}

impl GeluMlp {
    /// `up`: W₁ of shape (inner, in) and b₁; `down`: W₂ of shape (out, inner) and b₂.
    pub fn new(up: Linear, down: Linear) -> Self {
        Self {
            up_proj: up,
            down_proj: down,
        }
    }

    /// (tokens, in) → (tokens, out).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inner = match self.up_proj.fusable(x) {
            Some(arguments) => operation::apply3(arguments, FusedGeluLinear::default())?,
            None => gelu(&self.up_proj.forward(x)?)?,
        };
        self.down_proj.forward(&inner)
    }
}

/// The exact GELU (Hendrycks & Gimpel, arXiv 1606.08415): `x Φ(x)`, Φ being the normal distribution function.
///
/// Made of the error function and not of candle's `gelu_erf`, in whose gradient 1/√(2π) has six digits.
fn gelu(x: &Tensor) -> Result<Tensor> {
    let phi = ((x * FRAC_1_SQRT_2)?.erf()?.affine(0.5, 0.5))?;
    x * phi
}

/// `gelu(x Wᵀ + b)`, of x, W and b.
#[derive(Default)]
struct FusedGeluLinear {
    /// Of the GELU, from the forward pass: they cost an exponential each, as the values do.
    slopes: OnceLock<Vec<f32>>,
}

impl FusedGeluLinear {
    /// gelu(x) and its slope, with an error of Φ below 2e-7 (Abramowitz & Stegun, Handbook of Mathematical Functions,
    /// 7.1.26, for the part beyond |x|).
    #[inline(always)]
    fn gelu(x: f32) -> (f32, f32) {
        const FRAC_1_SQRT_TAU: f32 = 0.398_942_3;
        let bell = cpu::exp(-0.5 * x * x);
        let t = 1.0 / (1.0 + 0.327_591_1 * FRAC_1_SQRT_2 as f32 * x.abs());
        let mut p = 1.061_405_4f32;
        p = p * t - 1.453_152;
        p = p * t + 1.421_413_7;
        p = p * t - 0.284_496_74;
        p = p * t + 0.254_829_6;
        let beyond = 0.5 * p * t * bell;
        let distribution = if x < 0.0 { beyond } else { 1.0 - beyond };
        (x * distribution, distribution + x * FRAC_1_SQRT_TAU * bell)
    }
}

impl Operation<3> for FusedGeluLinear {
    const NAME: &'static str = "gelu_linear";

    fn forward(&self, arguments: [Array; 3]) -> Result<(Vec<f32>, Shape)> {
        let arguments = Arguments::new(arguments)?;
        let mut values = arguments.value();
        let mut slopes = vec![0f32; values.len()];
        cpu::with_simd(
            #[inline(always)]
            || {
                for (value, slope) in values.iter_mut().zip(&mut slopes) {
                    (*value, *slope) = Self::gelu(*value);
                }
            },
        );
        // A second pass would find the same.
        let _ = self.slopes.set(slopes);
        Ok((values, arguments.shape()))
    }

    fn backward(&self, arguments: [Array; 3], gradient: &[f32]) -> Result<[Option<Vec<f32>>; 3]> {
        let arguments = Arguments::new(arguments)?;
        let Some(slopes) = self.slopes.get() else {
            bail!("gelu_linear: there was no forward pass")
        };
        let mut of_inner = vec![0f32; slopes.len()];
        cpu::with_simd(
            #[inline(always)]
            || {
                for ((inner, g), slope) in of_inner.iter_mut().zip(gradient).zip(slopes) {
                    *inner = g * slope;
                }
            },
        );
        Ok(arguments.gradients(&of_inner))
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
    use candle_core::{D, DType, Device, Var};

    use super::*;

    /// Against Φ as the integral of the normal density (Simpson's rule), and Φ + x φ as the slope.
    #[test]
    fn gelu_is_exact_and_so_is_its_slope() -> Result<()> {
        let density = |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let distribution = |x: f64| {
            const STEPS: usize = 2000;
            let h = x / STEPS as f64;
            let sum: f64 = (0..=STEPS)
                .map(|i| match i {
                    0 | STEPS => density(i as f64 * h),
                    i => density(i as f64 * h) * if i % 2 == 1 { 4.0 } else { 2.0 },
                })
                .sum();
            0.5 + sum * h / 3.0
        };
        let xs: Vec<f64> = (-40..=40).map(|i| f64::from(i) * 0.1).collect();
        let variable = Var::new(xs.as_slice(), &Device::Cpu)?;
        let values = gelu(&variable)?;
        let slopes = values.sum(D::Minus1)?.backward()?;
        let slopes: Vec<f64> = slopes.get(&variable).unwrap().to_vec1()?;
        let mut worst = 0.0f64;
        for ((x, value), slope) in xs.iter().zip(values.to_vec1::<f64>()?).zip(slopes) {
            let phi = distribution(*x);
            worst = worst.max((value - x * phi).abs());
            worst = worst.max((slope - (phi + x * density(*x))).abs());
        }
        println!("largest difference {worst:.1e}");
        assert!(worst < 1e-12, "{worst:e}");
        Ok(())
    }

    #[test]
    fn the_fused_mlp_has_the_value_and_the_gradients() -> Result<()> {
        let shapes: [&[usize]; 5] = [&[33, 10], &[40, 10], &[40], &[6, 40], &[6]];
        let worst = operation::tests::difference(&shapes, |x| {
            let up = Linear::with_bias(x[1].clone(), x[2].clone());
            let down = Linear::with_bias(x[3].clone(), x[4].clone());
            GeluMlp::new(up, down).forward(&x[0])
        })?;
        println!("largest difference {worst:.1e}");
        assert!(worst < 2e-6, "{worst:e}");
        Ok(())
    }

    #[test]
    fn the_fused_gelu_has_the_value_and_the_slope() -> Result<()> {
        let xs: Vec<f32> = (-10_000..=10_000).map(|i| i as f32 * 1e-3).collect();
        let wide = Tensor::new(xs.as_slice(), &Device::Cpu)?.to_dtype(DType::F64)?;
        let variable = Var::from_tensor(&wide)?;
        let values = gelu(&variable)?;
        let slopes = values.sum(D::Minus1)?.backward()?;
        let slopes: Vec<f64> = slopes.get(&variable).unwrap().to_vec1()?;
        let mut worst = 0.0f64;
        for ((x, value), slope) in xs.iter().zip(values.to_vec1::<f64>()?).zip(slopes) {
            let found = FusedGeluLinear::gelu(*x);
            let scale = f64::from(x.abs()).max(1.0);
            worst = worst.max((f64::from(found.0) - value).abs() / scale);
            worst = worst.max((f64::from(found.1) - slope).abs());
        }
        println!("largest difference {worst:.1e}");
        assert!(worst < 3e-7, "{worst:e}");
        Ok(())
    }

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
