//! attnscope measures how sparse the attention of pretrained language models is.

pub mod checkpoint;
pub mod commands;
pub mod corpus;
pub mod demo;
pub mod error;
pub mod hub;
pub mod layers;
pub mod manifest;
pub mod metrics;
pub mod models;
pub mod observe;
pub mod random;
pub mod scan;
pub mod store;

pub use error::{Error, Result};
