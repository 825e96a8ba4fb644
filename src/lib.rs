//! attnscope measures how sparse the attention of pretrained language models is.

pub mod error;
pub mod hub;
pub mod metrics;

pub use error::{Error, Result};
