//! Models of one shape in training side by side.

use candle_core::{DType, Device};
use rayon::prelude::*;

use super::{Batch, Parameters, Settings, Trainer, optimizer};
use crate::{Result, random::NumpyRandom};

/// Models of one shape, each with its own parameters, learning rate and state of the optimiser. What becomes of
/// one does not depend on the others.
#[derive(Debug)]
pub struct Replicas {
    trainers: Vec<Trainer>,
}

impl Replicas {
    /// One for each run, in float32, with the parameters that its seed draws.
    ///
    /// # Errors
    /// A configuration that is no model.
    pub fn new(runs: &[Settings], device: &Device) -> Result<Self> {
        let trainer = |settings: &Settings| {
            let mut random = NumpyRandom::new(settings.seed);
            let parameters =
                Parameters::random(settings.config.clone(), &mut random, DType::F32, device)?;
            Trainer::new(parameters, optimizer::settings(settings.learning_rate))
        };
        Ok(Self {
            trainers: runs.par_iter().map(trainer).collect::<Result<_>>()?,
        })
    }

    /// The parameters of one of them as they are now.
    ///
    /// # Errors
    /// None but those of the tensor library.
    pub fn parameters(&self, replica: usize) -> Result<Parameters> {
        Ok(self.trainers[replica].parameters().clone())
    }

    /// A step of each that has a batch, and its loss before the step, which may be NaN or infinite.
    ///
    /// # Errors
    /// A batch that does not fit the model.
    pub fn step(&mut self, batches: &[Option<Batch>]) -> Result<Vec<Option<f64>>> {
        self.trainers
            .par_iter_mut()
            .zip(batches)
            .map(|(trainer, batch)| match batch {
                Some(batch) => trainer.step(batch).map(Some),
                None => Ok(None),
            })
            .collect()
    }
}
