//! Models of one shape as one program: every tensor has one more dimension, so that a device computes all of them with
//! the same few large operations.

use std::collections::BTreeMap;

use candle_core::{DType, IndexOp, Tensor, Var};

use super::{Batch, Parameters, optimizer::AdamW};
use crate::{
    Result,
    models::small_transformer::{Config, Network},
};

/// Models of one shape in training, with the tensors of all of them stacked.
#[derive(Debug)]
pub(super) struct Stack {
    config: Config,
    /// (replicas, …) each.
    variables: BTreeMap<String, Var>,
    network: Network,
    optimizer: AdamW,
    replicas: usize,
}

impl Stack {
    /// Of these parameters, all of one configuration, each with its learning rate.
    pub(super) fn new(replicas: &[(Parameters, f64)]) -> Result<Option<Self>> {
        let Some((first, _)) = replicas.first() else {
            return Ok(None);
        };
        let mut variables = BTreeMap::new();
        for name in first.variables().keys() {
            let tensors = replicas.iter().map(|(parameters, _)| {
                let variable = parameters.variables().get(name);
                variable.map(Var::as_tensor)
            });
            let tensors: Vec<&Tensor> = tensors.flatten().collect();
            let stacked = Var::from_tensor(&Tensor::stack(&tensors, 0)?)?;
            variables.insert(name.clone(), stacked);
        }
        let source = |name: &str, _: &[usize]| -> Result<Tensor> {
            // The configuration names the parameters, and each of them was stacked.
            Ok(variables[name].as_tensor().clone())
        };
        let rates: Vec<f64> = replicas.iter().map(|(_, rate)| *rate).collect();
        Ok(Some(Self {
            config: first.config().clone(),
            network: Network::new(first.config(), &source)?,
            optimizer: AdamW::new(variables.values().cloned(), &rates),
            variables,
            replicas: replicas.len(),
        }))
    }

    /// The parameters of one of them as they are now.
    pub(super) fn parameters(&self, replica: usize) -> Result<Parameters> {
        let source = |name: &str, _: &[usize]| -> Result<Tensor> {
            Ok(self.variables[name].as_tensor().i(replica)?.copy()?)
        };
        Parameters::new(self.config.clone(), &source)
    }

    /// A step of all of them, each on its batch, and their losses before it. One that has no batch, because its run is
    /// over, goes on with that of another, and nobody looks at it.
    pub(super) fn step(&mut self, batches: &[Option<Batch>]) -> Result<Vec<Option<f64>>> {
        let Some(substitute) = batches.iter().flatten().next() else {
            return Ok(vec![None; batches.len()]);
        };
        let each = batches
            .iter()
            .map(|batch| batch.as_ref().unwrap_or(substitute));
        let batch = Batch::joined(each);
        let output = self
            .network
            .forward(&batch.input_ids, &batch.sequences, false)?;
        let losses = batch.losses(&output.logits, self.replicas)?;
        let gradients = losses.sum_all()?.backward()?;
        self.optimizer
            .step(|variable| gradients.get(variable).cloned().into_iter().collect())?;
        let losses = losses.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let of_runs = losses.into_iter().zip(batches);
        Ok(of_runs
            .map(|(loss, batch)| batch.as_ref().map(|_| loss))
            .collect())
    }
}
