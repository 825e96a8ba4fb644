//! Fused operations that carry gradients, for training on the CPU in float32.
//!
//! An [`Operation`] knows its result and its gradients, both over plain memory; [`apply`] makes it a part of candle's
//! graph. It runs on the thread that calls it: training shares a batch among threads, not an operation.

use super::cpu;
use candle_core::{CpuStorage, CustomOp1, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};

/// A function of N contiguous float32 tensors.
pub(crate) trait Operation<const N: usize>: Send + Sync {
    /// For messages.
    const NAME: &'static str;

    /// The result, and its shape.
    fn forward(&self, arguments: [Array; N]) -> Result<(Vec<f32>, Shape)>;

    /// The gradients of the arguments, each of its argument's length, from that of the result; `None` for an argument
    /// that has no influence.
    fn backward(&self, arguments: [Array; N], gradient: &[f32]) -> Result<[Option<Vec<f32>>; N]>;
}

/// A contiguous tensor in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Array<'a> {
    pub(crate) entries: &'a [f32],
    pub(crate) dims: &'a [usize],
}

impl Array<'_> {
    /// Length of the last dimension; 1 for a scalar.
    pub(crate) fn columns(&self) -> usize {
        self.dims.last().copied().unwrap_or(1)
    }

    fn new<'a>(storage: &'a CpuStorage, layout: &'a Layout) -> Result<Array<'a>> {
        let (CpuStorage::F32(entries), Some((start, end))) = (storage, layout.contiguous_offsets())
        else {
            bail!("a contiguous float32 tensor in main memory is needed")
        };
        Ok(Array {
            entries: &entries[start..end],
            dims: layout.dims(),
        })
    }
}

/// Whether [`apply`] may be used, and somebody wants gradients.
pub(crate) fn is_applicable(arguments: &[&Tensor]) -> bool {
    arguments.iter().any(|tensor| tensor.track_op())
        && arguments.iter().all(|tensor| {
            tensor.device().is_cpu() && tensor.dtype() == DType::F32 && tensor.is_contiguous()
        })
}

/// The operation on these arguments, as a tensor of candle's graph.
pub(crate) fn apply1(x: &Tensor, operation: impl Operation<1> + 'static) -> Result<Tensor> {
    x.apply_op1(Node(operation))
}

/// The operation on these arguments, as a tensor of candle's graph.
pub(crate) fn apply3(
    [x, y, z]: [&Tensor; 3],
    operation: impl Operation<3> + 'static,
) -> Result<Tensor> {
    x.apply_op3(y, z, Node(operation))
}

/// Calls `f` with the entries of contiguous float32 tensors in main memory.
pub(crate) fn with_arrays<const N: usize, R>(
    tensors: [&Tensor; N],
    f: impl FnOnce([Array; N]) -> Result<R>,
) -> Result<R> {
    let parts = tensors.map(Tensor::storage_and_layout);
    let mut arrays = [Array {
        entries: &[],
        dims: &[],
    }; N];
    for (array, (storage, layout)) in arrays.iter_mut().zip(&parts) {
        *array = Array::new(cpu::cpu_storage(storage)?, layout)?;
    }
    f(arrays)
}

/// What an operation is for candle.
struct Node<T>(T);

impl<T> Node<T> {
    fn backward<const N: usize>(
        &self,
        arguments: [&Tensor; N],
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; N]>
    where
        T: Operation<N>,
    {
        let gradient = gradient.contiguous()?;
        let gradients = with_arrays([&gradient], |[gradient]| {
            with_arrays(arguments, |arrays| {
                self.0.backward(arrays, gradient.entries)
            })
        })?;
        let mut tensors = [const { None }; N];
        for (tensor, (argument, gradient)) in
            tensors.iter_mut().zip(arguments.iter().zip(gradients))
        {
            if let Some(gradient) = gradient {
                *tensor = Some(Tensor::from_vec(
                    gradient,
                    argument.shape(),
                    argument.device(),
                )?);
            }
        }
        Ok(tensors)
    }
}

impl<T: Operation<1>> CustomOp1 for Node<T> {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (entries, shape) = self.0.forward([Array::new(x, layout)?])?;
        Ok((CpuStorage::F32(entries), shape))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let [x] = self.backward([x], gradient)?;
        Ok(x)
    }
}

impl<T: Operation<3>> CustomOp3 for Node<T> {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
        z: &CpuStorage,
        z_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let arguments = [
            Array::new(x, x_layout)?,
            Array::new(y, y_layout)?,
            Array::new(z, z_layout)?,
        ];
        let (entries, shape) = self.0.forward(arguments)?;
        Ok((CpuStorage::F32(entries), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        z: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [x, y, z] = self.backward([x, y, z], gradient)?;
        Ok((x, y, z))
    }
}

/// Adds every row of `rows` to `sums`, column by column.
#[inline(always)]
pub(crate) fn add_rows(sums: &mut [f32], rows: &[f32]) {
    for row in rows.chunks_exact(sums.len().max(1)) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += x;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::random::NumpyRandom;

    /// The largest difference between `f` in float32, where it is an operation, and in float64, where it is not: of its
    /// value and of the gradients of its arguments along a random direction, each in units of its largest entry. The
    /// arguments, of these shapes, are drawn from the standard normal distribution.
    pub(crate) fn difference(
        shapes: &[&[usize]],
        f: impl Fn(&[Tensor]) -> Result<Tensor>,
    ) -> Result<f64> {
        let mut random = NumpyRandom::new(7);
        let mut draw = |shape: &[usize]| {
            let entries = (0..shape.iter().product()).map(|_| random.randn());
            Tensor::from_vec(entries.collect::<Vec<f64>>(), shape, &Device::Cpu)
        };
        let drawn = shapes.iter().map(|shape| draw(shape));
        let drawn = drawn.collect::<Result<Vec<_>>>()?;
        let mut direction = None;
        let mut results = Vec::new();
        for dtype in [DType::F64, DType::F32] {
            let arguments = drawn.iter().map(|x| Var::from_tensor(&x.to_dtype(dtype)?));
            let arguments = arguments.collect::<Result<Vec<_>>>()?;
            let tensors: Vec<Tensor> = arguments.iter().map(|x| x.as_tensor().clone()).collect();
            let value = f(&tensors)?;
            let direction = match &direction {
                Some(direction) => direction,
                None => direction.insert(draw(value.dims())?),
            };
            let along = (&value * direction.to_dtype(dtype)?)?.sum_all()?;
            let gradients = along.backward()?;
            let mut result = vec![value.detach()];
            for argument in &arguments {
                result.push(match gradients.get(argument) {
                    Some(gradient) => gradient.clone(),
                    None => argument.zeros_like()?,
                });
            }
            results.push(result);
        }
        let largest = |x: &Tensor| x.abs()?.max_all()?.to_scalar::<f64>();
        let mut worst = 0.0f64;
        for (expected, found) in results[0].iter().zip(&results[1]) {
            let difference = largest(&(found.to_dtype(DType::F64)? - expected)?)?;
            assert!(difference.is_finite());
            worst = worst.max(difference / largest(expected)?.max(1e-30));
        }
        Ok(worst)
    }

    #[test]
    fn other_tensors_are_left_alone() -> Result<()> {
        let x = Var::zeros((3, 4), DType::F32, &Device::Cpu)?;
        assert!(is_applicable(&[x.as_tensor()]));
        assert!(!is_applicable(&[&x.detach()]));
        assert!(!is_applicable(&[&x.t()?]));
        assert!(!is_applicable(&[&x.to_dtype(DType::F64)?]));
        Ok(())
    }
}
