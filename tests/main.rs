//! All integration tests, in one binary: one module per room.

mod cli;
mod compare;
mod convert;
mod corpus;
mod demo;
mod figures;
mod flow;
mod gala;
mod golden;
mod hub;
mod inspect;
mod page;
mod report;
mod scan;
mod store;
mod support;
mod train;
