//! attnscope measures how sparse the attention of pretrained language models is.

pub mod checkpoint;
pub mod error;
pub mod layers;
pub mod metrics;
pub mod models;
pub mod observe;

pub use error::{Error, Result};
