//! A run between two steps, so that it can go on from there as if nothing had happened.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{run::Epoch, track::Record};
use crate::Result;

/// All that a run has made so far. Samples and their order are no part of it: its seed gives them again.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Steps made.
    pub steps: usize,
    /// Sum of the losses of those that belong to the epoch which is not over.
    pub loss: f64,
    /// The epochs that are over.
    pub epochs: Vec<Epoch>,
    /// What was tracked.
    pub records: Vec<Record>,
    /// The parameters, by name, in main memory.
    pub parameters: BTreeMap<String, Tensor>,
    /// AdamW's first and second moments of a parameter, by its name and of its shape, in main memory. A parameter that
    /// has received no gradient has none.
    pub moments: BTreeMap<String, (Tensor, Tensor)>,
}

/// Somebody who keeps snapshots of a run.
pub trait Keeper {
    /// Whether it is time for one; asked before each step.
    fn is_due(&self) -> bool;

    /// Keeps it, in place of those before it.
    ///
    /// # Errors
    /// What shall end the run.
    fn keep(&mut self, snapshot: &Snapshot) -> Result<()>;
}
