//! Models of one shape in training side by side.

use candle_core::{DType, Device};
use rayon::prelude::*;

use super::{Batch, Parameters, Settings, Trainer, stack::Stack};
use crate::{Result, random::NumpyRandom};

/// Models of one shape, each with its own parameters, learning rate and state of the optimiser. What becomes of one does
/// not depend on the others.
#[derive(Debug)]
pub struct Replicas(Form);

#[derive(Debug)]
enum Form {
    /// Side by side on the cores of the CPU, where the parts of all their batches are what threads share.
    Separate(Vec<Trainer>),
    /// As one program, on a device that wants large operations.
    Stacked(Box<Stack>),
}

impl Replicas {
    /// One for each run, in float32, with the parameters that its seed draws; on a device that is not the CPU,
    /// [stacked](Replicas::stacked).
    ///
    /// # Errors
    /// A configuration that is no model.
    pub fn new(runs: &[Settings], device: &Device) -> Result<Self> {
        if !device.is_cpu() && runs.len() > 1 {
            return Self::stacked(runs, device);
        }
        let trainers = runs
            .par_iter()
            .map(|settings| Trainer::new(parameters(settings, device)?, settings.learning_rate))
            .collect::<Result<_>>()?;
        Ok(Self(Form::Separate(trainers)))
    }

    /// As one program, of tensors with one more dimension. The numbers are the same but for rounding.
    ///
    /// # Errors
    /// As [`Replicas::new`], and runs of different shapes.
    pub fn stacked(runs: &[Settings], device: &Device) -> Result<Self> {
        let replicas = runs
            .par_iter()
            .map(|settings| Ok((parameters(settings, device)?, settings.learning_rate)))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self(match Stack::new(&replicas)? {
            Some(stack) => Form::Stacked(Box::new(stack)),
            None => Form::Separate(Vec::new()),
        }))
    }

    /// The parameters of one of them as they are now.
    ///
    /// # Errors
    /// None but those of the tensor library.
    pub fn parameters(&self, replica: usize) -> Result<Parameters> {
        match &self.0 {
            Form::Separate(trainers) => Ok(trainers[replica].parameters().clone()),
            Form::Stacked(stack) => stack.parameters(replica),
        }
    }

    /// What trains one of them; `None` where they are one program.
    pub(super) fn trainer(&mut self, replica: usize) -> Option<&mut Trainer> {
        match &mut self.0 {
            Form::Separate(trainers) => trainers.get_mut(replica),
            Form::Stacked(_) => None,
        }
    }

    /// A step of each that has a batch, and its loss before the step, which may be NaN or infinite.
    ///
    /// # Errors
    /// A batch that does not fit the model.
    pub fn step(&mut self, batches: &[Option<Batch>]) -> Result<Vec<Option<f64>>> {
        match &mut self.0 {
            Form::Separate(trainers) => trainers
                .par_iter_mut()
                .zip(batches)
                .map(|(trainer, batch)| match batch {
                    Some(batch) => trainer.step(batch).map(Some),
                    None => Ok(None),
                })
                .collect(),
            Form::Stacked(stack) => stack.step(batches),
        }
    }
}

/// Before the first step.
fn parameters(settings: &Settings, device: &Device) -> Result<Parameters> {
    let mut random = NumpyRandom::new(settings.seed);
    Parameters::random(settings.config.clone(), &mut random, DType::F32, device)
}
