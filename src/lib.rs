//! attnscope measures how sparse the attention of pretrained language models is.

pub mod corpus;
pub mod error;
pub mod metrics;
pub mod random;

pub use error::{Error, Result};
