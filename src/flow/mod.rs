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
//! | [`sigma`] | σ by name: the functions of [`layers::attention`](crate::layers::attention) |
//! | [`objective`] | L and g, in closed form |
//! | [`model`] | both together: one row of scores, several, or scores that are tied to the values |
//! | [`problem`] | a model and where it starts; the random draws of the paper's notebook |
//! | [`experiments`] | the notebook's experiments and their constants |
//! | [`choices`] | the same with other constants, and replicas under other seeds |
//! | [`follow`] | many runs at once, by gradient descent or along the flow itself |
//! | [`map`] | where runs end, over a grid of two choices |
//! | [`trajectory`] | what is recorded of a run |
//! | [`end`], [`series`] | the last record in a few numbers; every number over the records |
//! | [`descent`], [`dormand_prince`] | the two integrators |
//! | [`checks`] | the paper's statements, held against the records of a run |
//!
//! Everything is float64. Sums are taken in a fixed order, so that a run is the same bit for bit whenever it is
//! repeated with the same binary; NumPy adds in another order, so its runs differ from ours by rounding.
//!
//! ```
//! use attnscope::flow::experiments::SQUARE;
//! use attnscope::flow::follow::{Backend, Integrator, Records, Settings, follow};
//!
//! # fn main() -> attnscope::Result<()> {
//! let settings = Settings {
//!     backend: Backend::Fused,
//!     integrator: Integrator::Descent,
//!     records: Records::At(vec![0, 10, 100]),
//!     keep_values: false,
//! };
//! let followed = follow(SQUARE.runs()?, &settings, |_| ())?;
//! assert_eq!(followed[3].run.problem.model().sigma().name(), "softmax");
//! let losses = &followed[3].trajectory.losses;
//! assert!(losses[2] < losses[1]);
//! # Ok(())
//! # }
//! ```

pub mod checks;
pub mod choices;
mod dense;
pub mod descent;
pub mod dormand_prince;
pub mod end;
pub mod experiments;
pub mod follow;
mod kernel;
pub mod map;
pub mod model;
pub mod objective;
pub mod problem;
mod replicas;
pub mod series;
pub mod sigma;
mod svd;
mod tensors;
pub mod trajectory;
