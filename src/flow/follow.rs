//! A run that was followed, and what became of it.

use super::descent::Trajectory;
use super::experiments::Run;
use crate::Error;

/// A run and its records.
#[derive(Debug)]
pub struct Followed {
    /// What was followed.
    pub run: Run,
    /// What was recorded, up to the failure if there was one.
    pub trajectory: Trajectory,
    /// Why it ended early: [`Error::Diverged`].
    pub failure: Option<Error>,
}
