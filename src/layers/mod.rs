//! The parts a decoder is made of.
//!
//! Hidden states are *packed*: the tokens of all sequences of a batch stand one after the other in a
//! (tokens, hidden_size) tensor, and [`PackedSequences`] says where each sequence begins. There is no
//! padding to compute, to mask or to keep out of a statistic; only attention looks at the boundaries.
//!
//! Every part is made of candle's operations that carry gradients (its fused ones carry none and do not say so), for
//! any device and element type. Two fused forms stand beside it for float32 on the CPU: one without gradients that makes
//! one pass over memory and uses all cores, for scans; and one with gradients (`operation`), for training.

pub mod alibi;
pub mod attention;
pub(crate) mod cpu;
mod feed_forward;
pub(crate) mod lanes;
mod linear;
mod norm;
pub(crate) mod operation;
mod product;
mod sequences;

pub use feed_forward::{GeluMlp, SwiGlu};
pub use linear::Linear;
pub use norm::{LayerNorm, RmsNorm};
pub use sequences::PackedSequences;
