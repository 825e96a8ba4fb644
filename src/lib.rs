//! attnscope measures how sparse the attention of pretrained language models is.

pub mod demo;
pub mod error;
pub mod manifest;
pub mod metrics;

pub use error::{Error, Result};
