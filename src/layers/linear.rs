//! The linear layer of a decoder: weight as [out, in], with a bias or without.

use candle_core::{Result, Shape, Tensor, bail};

use super::{
    cpu,
    operation::{self, Array, Operation},
    product::{Matrix, multiply},
};

/// Rows of the smallest product. With fewer the product takes another path (for one row that of a matrix and a
/// vector), which adds up in another order, so that a short text alone would get other last bits than among others.
const MIN_ROWS: usize = 8;

/// y = x Wᵀ + b, for x of shape (tokens, in), W of shape (out, in) and b of shape (out,).
///
/// Or several at once: with W of shape (replicas, out, in) and b of shape (replicas, out), the first of as many equal
/// parts of the tokens goes through the first of them, and so on.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Without a bias. `weight`: (out, in), as checkpoints store it.
    pub fn new(weight: Tensor) -> Self {
        Self { weight, bias: None }
    }

    /// `weight`: (out, in), or (replicas, out, in); `bias`: (out,), or (replicas, out).
    pub fn with_bias(weight: Tensor, bias: Tensor) -> Self {
        Self {
            weight,
            bias: Some(bias),
        }
    }

    /// (tokens, in) → (tokens, out).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if let Some(arguments) = self.fusable(x) {
            return operation::apply3(arguments, FusedLinear);
        }
        if let (&[replicas, output, input], Some(bias)) = (self.weight.dims(), &self.bias) {
            let parts = x.reshape((replicas, x.dim(0)? / replicas, input))?;
            return parts
                .matmul(&self.weight.transpose(1, 2)?)?
                .broadcast_add(&bias.unsqueeze(1)?)?
                .reshape((x.dim(0)?, output));
        }
        let weight = self.weight.t()?;
        let product = match x.dim(0)? {
            rows @ 1..MIN_ROWS => x
                .pad_with_zeros(0, 0, MIN_ROWS - rows)?
                .matmul(&weight)?
                .narrow(0, 0, rows)?,
            _ => x.matmul(&weight)?,
        };
        match &self.bias {
            Some(bias) => product.broadcast_add(bias),
            None => Ok(product),
        }
    }

    /// x, W and b, if there is a fused form of them with gradients.
    pub(super) fn fusable<'a>(&'a self, x: &'a Tensor) -> Option<[&'a Tensor; 3]> {
        let arguments = [x, &self.weight, self.bias.as_ref()?];
        (self.weight.rank() == 2 && operation::is_applicable(&arguments)).then_some(arguments)
    }
}

/// x, W and b of the fused forms.
#[derive(Clone, Copy)]
pub(super) struct Arguments<'a> {
    x: Matrix<'a>,
    weight: Matrix<'a>,
    bias: &'a [f32],
    tokens: usize,
    input: usize,
    output: usize,
}

impl<'a> Arguments<'a> {
    pub(super) fn new([x, weight, bias]: [Array<'a>; 3]) -> Result<Self> {
        match (x.dims, weight.dims, bias.dims) {
            (&[tokens, input], &[output, columns], &[entries])
                if columns == input && entries == output =>
            {
                Ok(Self {
                    x: Matrix::dense(x.entries, tokens, input),
                    weight: Matrix::dense(weight.entries, output, input),
                    bias: bias.entries,
                    tokens,
                    input,
                    output,
                })
            }
            dims => bail!("linear: shapes {dims:?} of input, weight and bias do not fit"),
        }
    }

    /// Of the result.
    pub(super) fn shape(self) -> Shape {
        (self.tokens, self.output).into()
    }

    /// x Wᵀ + b.
    pub(super) fn value(self) -> Vec<f32> {
        let mut y = Vec::with_capacity(self.tokens * self.output);
        for _ in 0..self.tokens {
            y.extend_from_slice(self.bias);
        }
        let weight = self.weight.transposed();
        multiply(&mut y, self.tokens, self.output, self.x, weight, true);
        y
    }

    /// Of x, W and b, from that of the result.
    pub(super) fn gradients(self, gradient: &[f32]) -> [Option<Vec<f32>>; 3] {
        let Self {
            x,
            weight,
            tokens,
            input,
            output,
            ..
        } = self;
        let of_y = Matrix::dense(gradient, tokens, output);
        let mut of_x = vec![0f32; tokens * input];
        multiply(&mut of_x, tokens, input, of_y, weight, false);
        let mut of_weight = vec![0f32; output * input];
        multiply(&mut of_weight, output, input, of_y.transposed(), x, false);
        let mut of_bias = vec![0f32; output];
        cpu::with_simd(
            #[inline(always)]
            || operation::add_rows(&mut of_bias, gradient),
        );
        [Some(of_x), Some(of_weight), Some(of_bias)]
    }
}

struct FusedLinear;

impl Operation<3> for FusedLinear {
    const NAME: &'static str = "linear";

    fn forward(&self, arguments: [Array; 3]) -> Result<(Vec<f32>, Shape)> {
        let arguments = Arguments::new(arguments)?;
        Ok((arguments.value(), arguments.shape()))
    }

    fn backward(&self, arguments: [Array; 3], gradient: &[f32]) -> Result<[Option<Vec<f32>>; 3]> {
        Ok(Arguments::new(arguments)?.gradients(gradient))
    }
}

#[cfg(test)]
mod tests {
    use super::{operation::tests::difference, *};

    #[test]
    fn the_fused_form_has_the_value_and_the_gradients() -> Result<()> {
        for tokens in [1, 7, 33] {
            let worst = difference(&[&[tokens, 50], &[23, 50], &[23]], |x| {
                Linear::with_bias(x[1].clone(), x[2].clone()).forward(&x[0])
            })?;
            println!("{tokens} tokens: largest difference {worst:.1e}");
            assert!(worst < 1e-6, "{worst:e}");
        }
        Ok(())
    }

    /// Of three layers at once, each with its part of the tokens.
    #[test]
    fn replicas_are_layers_of_their_own() -> Result<()> {
        let device = candle_core::Device::Cpu;
        let random = |shape: &[usize]| Tensor::randn(0f64, 1.0, shape, &device);
        let (x, weight, bias) = (random(&[12, 5])?, random(&[3, 4, 5])?, random(&[3, 4])?);
        let together = Linear::with_bias(weight.clone(), bias.clone()).forward(&x)?;
        for replica in 0..3 {
            let layer = Linear::with_bias(weight.get(replica)?, bias.get(replica)?);
            let alone = layer.forward(&x.narrow(0, 4 * replica, 4)?)?;
            let difference = (together.narrow(0, 4 * replica, 4)? - alone)?
                .abs()?
                .max_all()?;
            assert!(difference.to_scalar::<f64>()? < 1e-14);
        }
        Ok(())
    }
}
