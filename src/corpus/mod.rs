//! From data files to batches of token ids.
//!
//! ```text
//! files ── rows ──► sample ──► tokenize ──► batches
//!          Rows     sample_rows  TextTokenizer  plan_batches
//!                   Shard
//! ```
//!
//! [`Rows`] numbers the texts of parquet, JSON-lines and text files as Hugging Face's `datasets` does;
//! [`sample_rows`] draws row numbers as CPython's `random.sample` does; [`TextTokenizer`] reads those
//! rows and keeps their token ids; [`plan_batches`] groups them. Everything here blocks, and takes
//! paths of local files: fetching them is the business of the Hub's room. [`sentencepiece`] makes a `tokenizer.json`
//! for a model that came without one.
//!
//! ```
//! use attnscope::corpus::{BatchLimit, SampleSize, plan_batches, sample_rows};
//!
//! // random.seed(42); random.sample(range(10000), 4)
//! let rows = sample_rows(10_000, SampleSize::Rows(4), 42)?;
//! assert_eq!(rows, [1824, 409, 4506, 4012]);
//!
//! // Had these rows 3, 9, 2 and 5 tokens: two batches of at most 10 tokens, the longest sample first.
//! let batches = plan_batches(&[3, 9, 2, 5], BatchLimit::Tokens(10.try_into().unwrap()));
//! let positions: Vec<_> = batches.iter().map(|batch| batch.samples.as_slice()).collect();
//! assert_eq!(positions, [&[1][..], &[3, 0, 2]]);
//! # Ok::<(), attnscope::Error>(())
//! ```

mod batches;
pub mod labels;
mod line_rows;
mod parquet_rows;
mod preprocessing;
mod rows;
mod sample;
pub mod sentencepiece;
mod texts_sum;
mod tokenize;

pub use batches::{Batch, BatchLimit, plan_batches};
pub use parquet_rows::panics_are_caught;
pub use preprocessing::{Preprocessing, Replacement};
pub use rows::Rows;
pub use sample::{SampleSize, Shard, indices_sha256, sample_rows};
pub use texts_sum::TextsSum;
pub use tokenize::{TextTokenizer, TextTokens, TokenLimits, TokenizedSample, TokenizedSamples};
