//! The parts a decoder is made of.
//!
//! Hidden states are *packed*: the tokens of all sequences of a batch stand one after the other in a
//! (tokens, hidden_size) tensor, and [`PackedSequences`] says where each sequence begins. There is no
//! padding to compute, to mask or to keep out of a statistic; only attention looks at the boundaries.
//!
//! Every part has two forms. Where a tensor carries gradients, the differentiable one is used (candle's
//! fused operations carry none and do not say so); otherwise, on the CPU, a fused one that makes one pass
//! over memory and uses all cores.

pub mod alibi;
pub mod attention;
pub(crate) mod cpu;
mod feed_forward;
pub(crate) mod lanes;
mod linear;
mod norm;
mod sequences;

pub use feed_forward::{GeluMlp, SwiGlu};
pub use linear::Linear;
pub use norm::{LayerNorm, RmsNorm};
pub use sequences::PackedSequences;
