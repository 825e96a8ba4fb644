//! attnscope measures how sparse the attention of pretrained language models is.

pub mod error;
pub mod metrics;
pub mod store;

pub use error::{Error, Result};
