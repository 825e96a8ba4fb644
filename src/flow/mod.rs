//! The value-softmax model: a matrix of values and one row of attention scores, trained together on one target.
//!
//! Section 3 of "Gradient Flow Polarizes Softmax Outputs towards Low-Entropy Solutions" (arXiv 2603.06248). The
//! loss is `L(θ)` with the prediction `θ = V σ(a)`: `V` is p × d, a column of values per position; `a` holds the
//! d scores, `σ` turns them into weights. With `g = ∇L(θ)` and `J = ∂σ/∂a` the gradients are
//!
//! ```text
//! ∂L/∂V = g σᵀ        ∂L/∂a = Jᵀ Vᵀ g
//! ```
//!
//! and gradient descent at rate η is, after k updates, near the gradient flow at time t = η k.
//!
//! | | |
//! |---|---|
//! | [`normalization`] | σ and products with Jᵀ, in closed form |
//! | [`objective`] | L and g, in closed form |
//! | [`model`] | both together, with values of their own or tied to the scores: gradients of V and a |
//! | [`problem`] | a model and where it starts; the random draws of the paper's notebook |
//! | [`experiments`] | the notebook's experiments and their constants |
//! | [`descent`] | gradient descent, and what it records |
//! | [`follow`] | a run with its records |
//! | [`checks`] | the paper's statements, held against the records of a run |
//!
//! Everything is float64. Sums are taken in a fixed order, so that a run is the same bit for bit whenever it is
//! repeated with the same binary; NumPy adds in another order, so its runs differ from ours by rounding.
//!
//! ```
//! use attnscope::flow::{descent::{Descent, Trajectory}, experiments::SQUARE};
//!
//! # fn main() -> attnscope::Result<()> {
//! let run = &SQUARE.runs()?[0];
//! let mut trajectory = Trajectory::default();
//! Descent::new(&run.problem, run.rate)?.run(&[0, 10, 100], |snapshot| trajectory.push(snapshot))?;
//! assert!(trajectory.losses[2] < trajectory.losses[1]);
//! # Ok(())
//! # }
//! ```

pub mod checks;
mod dense;
pub mod descent;
pub mod experiments;
pub mod follow;
pub mod model;
pub mod normalization;
pub mod objective;
pub mod problem;
mod svd;
