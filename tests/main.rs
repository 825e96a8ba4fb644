//! All integration tests, in one binary.

mod corpus;
mod demo;
mod golden;
mod support;
