//! attnscope measures how sparse the attention of pretrained language models is: for every head of a
//! checkpoint, how much of a row's weight sits on one token, and how much on the first.
//!
//! # The way of the data
//!
//! ```text
//! models/*.toml, datasets/*.toml      manifests: what exists, where, which revision
//!         │ manifest
//!         ▼
//! hub ──► checkpoint ──► models (layers) ──► observe ──► metrics ──► store (parquet)
//!  └────► corpus (rows → sample → tokens → batches) ─┘
//!                        └────────── scan drives all of it ─────────┘
//!
//! hub ──► checkpoint::axlearn ──► convert ──► checkpoint directory
//! ```
//!
//! | room | what it does |
//! |---|---|
//! | [`allocator`] | the allocator of the programs |
//! | [`commands`] | the command line: one file per subcommand |
//! | [`manifest`] | known models and datasets, and what an argument stands for |
//! | [`hub`] | downloads from the Hugging Face Hub (cache, resume, checksum, offline) and from public buckets |
//! | [`checkpoint`] | weights on disk, read lazily |
//! | [`corpus`] | rows of parquet, jsonl or txt files, sampled, tokenised, put into batches; SentencePiece models |
//! | [`layers`] | what a model is made of; attention with row statistics |
//! | [`models`] | decoder architectures, one file per family |
//! | [`observe`] | what a forward pass tells about each layer's attention |
//! | [`metrics`] | row statistics, mergeable per-head sums, and all scores of a head with formula and source |
//! | [`scan`] | the plan and the two executors |
//! | [`store`] | parquet tables, parts of unfinished runs, the run manifest |
//! | [`compare`] | scans held against each other: distances, permutation tests, intervals over the texts |
//! | [`report`] | scans as one page to look at |
//! | [`inspect`] | one text: the attention map of every head, as a page and as a table |
//! | [`page`] | self-contained interactive pages: scripts, charts and data in one HTML file |
//! | [`figures`] | histograms, heat maps, scores by layer and scatter plots of scans, curves of flows, phase maps, bars of sweeps, as SVG and PNG |
//! | [`flow`] | the value-softmax model: losses, normalisations, both integrators from the paper's starting points, its statements, phase maps |
//! | [`train`] | the tasks on which attention functions are compared, the training of small transformers, and sweeps over grids of them |
//! | [`demo`] | the checkpoints and texts that ship in the binary |
//! | [`machine`] | how much memory and disk there is |
//! | [`random`] | CPython's and NumPy's random numbers |
//!
//! # A scan, in a program
//!
//! ```
//! use attnscope::corpus::SampleSize;
//! use attnscope::scan::{self, Progress, Request, Watcher, device, plan::{Memory, Plan}, sources};
//!
//! struct Silent;
//! impl Progress for Silent {
//!     fn advance(&self, _tokens: u64) {}
//! }
//! impl Watcher for Silent {
//!     fn tokenized(&self, _done: usize, _total: usize) {}
//!     fn planned(&self, _plan: &Plan, _token_layers: u64, _done: u64) {}
//!     fn is_stopped(&self) -> bool { false }
//! }
//!
//! # fn main() -> attnscope::Result<()> {
//! # let temporary = tempfile::tempdir().map_err(attnscope::Error::io("tmp"))?;
//! let files = attnscope::demo::write_to(temporary.path())?;
//! let no_hub = || unreachable!("both are files");
//! let (device, device_name) = device::open("cpu")?;
//! let outcome = scan::run(
//!     &Request {
//!         model: sources::ModelFiles::directory(&files.models[0]),
//!         dataset: sources::dataset(&files.corpus.display().to_string(), None, None, &no_hub)?,
//!         n_samples: SampleSize::Rows(8),
//!         seed: 42,
//!         max_seq_len: 64,
//!         batch_size: None,
//!         device,
//!         device_name,
//!         dtype: device::dtype("auto")?,
//!         memory: Memory::Auto,
//!         out: temporary.path().join("scan"),
//!         resume: false,
//!         shard: None,
//!         measures: Default::default(),
//!     },
//!     &Silent,
//! )?;
//! for head in &outcome.heads {
//!     let means = head.sums.means();
//!     assert!(means.sparsity_score > 0.0 && means.sparsity_score <= 1.0);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # A conversion, in a program
//!
//! ```no_run
//! use attnscope::convert::{self, OutputType, Plan, Request, Stage, Watcher};
//! use attnscope::hub::bucket::BucketSettings;
//!
//! struct Silent;
//! impl Watcher for Silent {
//!     fn planned(&self, _plan: &Plan) {}
//!     fn begin(&self, _stage: Stage, _total: u64, _done: u64) {}
//!     fn advance(&self, _bytes: u64, _received: u64) {}
//!     fn is_stopped(&self) -> bool { false }
//! }
//!
//! # fn main() -> attnscope::Result<()> {
//! let models = attnscope::manifest::models()?;
//! let (out, bucket) = ("gala-7b-sigmoid".as_ref(), BucketSettings::from_env()?);
//! if let Some(request) = Request::of_manifest(&models[0], OutputType::Bf16, out, &bucket) {
//!     println!("{}", convert::plan(&request)?);
//!     let outcome = convert::run(&Request { verify: true, ..request }, &Silent)?;
//!     println!("{} tensors", outcome.conversion.tensors.len());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # A comparison, in a program
//!
//! ```
//! use attnscope::compare::{self, Distance, Metric, Request};
//!
//! # fn main() -> attnscope::Result<()> {
//! let scans = ["small-softmax", "small-sigmoid"];
//! let comparison = compare::compare(&Request {
//!     scans: scans.map(|name| format!("tests/golden/compare/{name}.parquet").into()).to_vec(),
//!     force: false,
//!     seed: 42,
//!     permutations: 1000,
//!     resamples: 100,
//! })?;
//! let distance = &comparison.comparisons[0].metrics[&Metric::TotalWeight][&Distance::Wasserstein];
//! assert!(distance.estimate.low > Some(0.0) && distance.p_value < Some(0.01));
//! # Ok(())
//! # }
//! ```
//!
//! # Scores of rows you computed yourself
//!
//! ```
//! let mut sums = attnscope::metrics::HeadSums::default();
//! sums.add_row(0.5, 1.0, 0.25, 1.04); // max, total, first, entropy
//! sums.add_row(0.9, 1.0, 0.9, 0.33);
//! assert!((sums.means().sparsity_score - 0.7).abs() < 1e-6);
//! ```
//!
//! # Attention with statistics
//!
//! ```
//! use attnscope::layers::{PackedSequences, attention::{Attention, AttentionFunction, States, Wanted}};
//! use candle_core::{Device, Tensor};
//!
//! # fn main() -> candle_core::Result<()> {
//! let sequences = PackedSequences::from_lengths(&[3, 5]); // two texts, no padding
//! let states = || Tensor::randn(0f32, 1f32, (sequences.tokens(), 2 * 4), &Device::Cpu);
//! let attention = Attention {
//!     function: AttentionFunction::Softmax,
//!     num_heads: 2,
//!     head_dim: 4,
//!     scale: 0.5,
//!     alibi_slopes: None,
//!     causal: true,
//! };
//! let wanted = Wanted { rows: true, ..Wanted::default() };
//! let states = States { query: &states()?, key: &states()?, value: None };
//! let rows = attention.forward(states, &sequences, wanted)?.rows.unwrap_or_default();
//! assert_eq!(rows.max[0], 1.0); // the first query sees only itself
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

pub mod allocator;
pub mod checkpoint;
pub mod commands;
pub mod compare;
pub mod convert;
pub mod corpus;
pub mod demo;
pub mod error;
pub mod figures;
pub mod flow;
pub mod hub;
pub mod inspect;
pub mod layers;
pub mod machine;
pub mod manifest;
pub mod metrics;
pub mod models;
pub mod observe;
pub mod page;
pub mod random;
pub mod report;
pub mod scan;
pub mod store;
pub mod train;

pub use error::{Error, Result};

/// Lower-case hexadecimal digits, as checksums are written.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
