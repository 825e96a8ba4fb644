//! All integration tests, in one binary: one module per room.

mod cli;
mod compare;
mod convert;
mod corpus;
mod demo;
mod golden;
mod hub;
mod inspect;
mod page;
mod scan;
mod store;
mod support;
