//! One step after the other.

use candle_nn::{AdamW, Optimizer, ParamsAdamW};

use super::{
    Parameters,
    tasks::{Batch, Task},
};
use crate::{Result, models::small_transformer::Network};

/// A model in training.
#[derive(Debug)]
pub struct Trainer {
    parameters: Parameters,
    network: Network,
    optimizer: AdamW,
}

impl Trainer {
    /// Begins with these parameters, which it changes.
    ///
    /// # Errors
    /// None but those of the tensor library.
    pub fn new(parameters: Parameters, settings: ParamsAdamW) -> Result<Self> {
        let variables = parameters.variables().values().cloned().collect();
        Ok(Self {
            network: parameters.network()?,
            optimizer: AdamW::new(variables, settings)?,
            parameters,
        })
    }

    /// The parameters as they are now.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// One step of the optimiser on the whole batch. Returns the loss before it, which may be NaN or infinite.
    ///
    /// # Errors
    /// A batch that does not fit the model.
    pub fn step(&mut self, task: &Task, batch: &Batch) -> Result<f64> {
        let output = self
            .network
            .forward(&batch.input_ids, &batch.sequences, false)?;
        let loss = task.loss(&output.logits, batch)?;
        self.optimizer.step(&loss.backward()?)?;
        Ok(loss.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?)
    }
}
