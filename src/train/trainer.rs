//! One step after the other.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor, backprop::GradStore};
use rayon::prelude::*;

use super::{Batch, Parameters, Snapshot, invalid, optimizer::AdamW};
use crate::{Result, models::small_transformer::Network};

/// Tokens of the parts of a batch that go through the model one by one on the CPU: with these, what a layer computes
/// stays in the second-level cache.
pub(super) const PART_TOKENS: usize = 384;

/// A model in training.
#[derive(Debug)]
pub struct Trainer {
    parameters: Parameters,
    network: Network,
    optimizer: AdamW,
}

impl Trainer {
    /// Begins with these parameters, which it changes. The learning rate is that of AdamW, whose other settings are
    /// PyTorch's defaults.
    ///
    /// # Errors
    /// None but those of the tensor library.
    pub fn new(parameters: Parameters, learning_rate: f64) -> Result<Self> {
        let variables = parameters.variables().values().cloned();
        Ok(Self {
            network: parameters.network()?,
            optimizer: AdamW::new(variables, &[learning_rate]),
            parameters,
        })
    }

    /// The parameters as they are now.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Takes parameters and moments from a snapshot.
    ///
    /// # Errors
    /// A snapshot of another model.
    pub(super) fn go_on(&mut self, from: &Snapshot) -> Result<()> {
        let device = self.network.device();
        let mut moments = Vec::new();
        for (name, variable) in self.parameters.variables() {
            let Some(parameter) = from.parameters.get(name) else {
                let message = format!("the snapshot has none that is called {name}");
                return Err(invalid("parameters", message));
            };
            variable.set(&parameter.to_device(device)?)?;
            moments.push(match from.moments.get(name) {
                Some((m, v)) => Some((m.to_device(device)?, v.to_device(device)?)),
                None => None,
            });
        }
        self.optimizer.go_on(from.steps, moments);
        Ok(())
    }

    /// AdamW's first and second moments of a parameter, by its name.
    pub(super) fn moments(&self) -> BTreeMap<&str, &(Tensor, Tensor)> {
        let names = self.parameters.variables().keys();
        let moments = names.zip(self.optimizer.moments());
        moments
            .filter_map(|(name, moments)| Some((name.as_str(), moments?)))
            .collect()
    }

    /// One step of the optimiser on the whole batch. Returns the loss before it, which may be NaN or infinite.
    ///
    /// On the CPU the batch is shared among threads. Its parts, and the order in which their gradients are added up, do
    /// not depend on how many there are.
    ///
    /// # Errors
    /// A batch that does not fit the model.
    pub fn step(&mut self, batch: &Batch) -> Result<f64> {
        let parts = match self.network.device().is_cpu() {
            true => batch.parts(PART_TOKENS),
            false => vec![batch.clone()],
        };
        let parts = parts
            .par_iter()
            .map(|part| self.backward(part))
            .collect::<Result<Vec<_>>>()?;
        self.optimizer.step(|variable| {
            let gradients = parts.iter().map(|(_, gradients)| gradients.get(variable));
            gradients.flatten().cloned().collect()
        })?;
        let mut sum = 0.0;
        for (loss, _) in parts {
            sum += loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        }
        Ok(sum)
    }

    /// A batch's loss and its gradients.
    fn backward(&self, batch: &Batch) -> Result<(Tensor, GradStore)> {
        let output = self
            .network
            .forward(&batch.input_ids, &batch.sequences, false)?;
        let loss = batch.loss(&output.logits)?;
        let gradients = loss.backward()?;
        Ok((loss.detach(), gradients))
    }
}
