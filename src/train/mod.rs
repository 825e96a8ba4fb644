//! Training: tasks on which attention functions are compared, and what trains a small transformer on them
//! (arXiv 2603.06248, Section 4 and Appendix E).
//!
//! | file | what |
//! |---|---|
//! | [`tasks`] | induction and classification: their samples |
//! | [`batch`] | samples that go through the model together, and the loss |
//! | [`parameters`] | the variables of a model |
//! | `optimizer` | AdamW as PyTorch has it |
//! | [`trainer`] | one step after the other |
//! | [`replicas`] | models of one shape side by side |
//! | `stack` | the same as one program, for devices |
//! | [`settings`] | what is trained, on what, and how |
//! | [`configuration`] | settings by the keys of the paper's program |
//! | [`mod@run`] | whole runs: samples, epochs, how they ended |
//! | [`snapshot`] | a run between two steps, to go on from there |
//! | [`track`] | what the heads do with fixed samples while a model is trained |
//! | [`sweep`] | the runs of a grid |
//! | [`metrics`] | what is measured of a trained model: accuracy, sinks, sparsity, flip rates |
//! | [`checkpoint`] | a trained model as a directory that a scan takes |
//! | `threads` | which threads that runs on: a program that trains first calls [`leave_threads_to_rayon`] |
//!
//! The model itself is [`models::small_transformer`](crate::models::small_transformer).
//!
//! ```
//! use attnscope::layers::attention::AttentionKind;
//! use attnscope::models::small_transformer::{Config, MODEL_TYPE, PositionEmbedding};
//! use attnscope::random::{NumpyRandom, PythonRandom};
//! use attnscope::train::{Parameters, Trainer, tasks::{Classification, Task}};
//! use candle_core::{DType, Device};
//!
//! # fn main() -> attnscope::Result<()> {
//! let task = Task::Classification(Classification::default());
//! let config = Config {
//!     model_type: MODEL_TYPE.into(),
//!     hidden_size: 16,
//!     intermediate_size: 0,
//!     num_hidden_layers: 1,
//!     num_attention_heads: 2,
//!     vocab_size: task.vocab_size(),
//!     output_size: task.output_size(),
//!     attention_function: AttentionKind::named("sigmoid_norm").unwrap(),
//!     attention_intermediate_size: 0,
//!     position_embedding_type: PositionEmbedding::None,
//!     max_position_embeddings: 0,
//!     is_causal: false,
//!     use_layer_norm: true,
//!     layer_norm_eps: 1e-5,
//! };
//! let parameters = Parameters::random(config, &mut NumpyRandom::new(0), DType::F32, &Device::Cpu)?;
//! let mut trainer = Trainer::new(parameters, 1e-2)?;
//! let samples = task.samples(64, &mut PythonRandom::new(0))?;
//! let batch = task.batch(&samples);
//! let first = trainer.step(&batch)?;
//! for _ in 0..20 {
//!     trainer.step(&batch)?;
//! }
//! assert!(trainer.step(&batch)? < 0.5 * first);
//! # Ok(())
//! # }
//! ```

pub mod batch;
pub mod checkpoint;
pub mod configuration;
pub mod metrics;
mod optimizer;
pub mod parameters;
pub mod replicas;
pub mod run;
pub mod settings;
pub mod snapshot;
mod stack;
pub mod sweep;
pub mod tasks;
mod threads;
pub mod track;
pub mod trainer;

pub use batch::Batch;
pub use configuration::Configuration;
pub use parameters::Parameters;
pub use replicas::Replicas;
pub use run::{run, run_kept};
pub use settings::Settings;
pub use snapshot::Snapshot;
pub use threads::leave_threads_to_rayon;
pub use track::Tracking;
pub use trainer::Trainer;

use crate::Error;

fn invalid(field: &'static str, message: String) -> Error {
    Error::Train { field, message }
}
