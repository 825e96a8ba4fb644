//! The flags of `attnscope train`. Where none is given, the paper's own settings hold.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{ArgAction, ValueEnum, builder::FalseyValueParser};

use crate::{
    layers::attention::AttentionKind,
    models::small_transformer::PositionEmbedding,
    train::{
        Configuration, Tracking,
        tasks::{Classification, Induction, Task},
    },
};

#[derive(Debug, clap::Args)]
pub struct InductionArgs {
    /// Tokens without the symbols of shifted ones, BOS among them
    #[arg(long, env = "ATTNSCOPE_VOCAB_SIZE", default_value_t = Induction::default().vocab_size)]
    vocab_size: usize,

    /// Tokens of a sequence, the answer included
    #[arg(long, env = "ATTNSCOPE_SEQ_LENGTH", default_value_t = Induction::default().seq_length)]
    seq_length: usize,

    /// Whether a token that comes again is another symbol then
    #[arg(long, env = "ATTNSCOPE_SHIFT_QUERY_TOKEN", action = ArgAction::Set, default_value_t = true)]
    shift_query_token: bool,

    /// What the other positions weigh in the loss, the last one weighing 1
    #[arg(long, env = "ATTNSCOPE_AUX_LOSS_WEIGHT", default_value_t = Induction::default().aux_loss_weight)]
    aux_loss_weight: f64,

    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Debug, clap::Args)]
pub struct ClassificationArgs {
    /// Tokens of all groups, and CLS
    #[arg(long, env = "ATTNSCOPE_VOCAB_SIZE", default_value_t = Classification::default().vocab_size)]
    vocab_size: usize,

    /// Tokens of a sequence, CLS included
    #[arg(long, env = "ATTNSCOPE_SEQ_LENGTH", default_value_t = Classification::default().seq_length)]
    seq_length: usize,

    /// Groups, of equal size
    #[arg(long, env = "ATTNSCOPE_NUM_LABELS", default_value_t = Classification::default().num_labels)]
    num_labels: usize,

    #[command(flatten)]
    pub run: RunArgs,
}

/// The model, the run, and what becomes of it.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// One of the functions of the paper's Table 1, such as softmax, sigmoid_unnorm or mlp_norm
    #[arg(long, env = "ATTNSCOPE_ATTENTION_TYPE", default_value = "softmax", value_parser = kind)]
    attention_type: AttentionKind,

    /// Layers
    #[arg(long, env = "ATTNSCOPE_NUM_LAYERS", default_value_t = 2)]
    num_layers: usize,

    /// Heads per layer
    #[arg(long, env = "ATTNSCOPE_NUM_HEADS", default_value_t = 4)]
    num_heads: usize,

    /// Width of the model; feed-forward blocks are four times as wide
    #[arg(long, env = "ATTNSCOPE_EMBED_DIM", default_value_t = 128)]
    embed_dim: usize,

    /// How positions come to the tokens [default: concat for induction, no for classification]
    #[arg(long, env = "ATTNSCOPE_POSITIONAL_TYPE")]
    positional_type: Option<PositionalType>,

    /// Whether layers have feed-forward blocks
    #[arg(long, env = "ATTNSCOPE_USE_MLP", action = ArgAction::Set, default_value_t = true)]
    use_mlp: bool,

    /// Whether there are layer norms
    #[arg(long, env = "ATTNSCOPE_USE_LAYERNORM", action = ArgAction::Set, default_value_t = true)]
    use_layernorm: bool,

    /// Samples to learn from [default: 100000 for induction, 10000 for classification]
    #[arg(long, env = "ATTNSCOPE_NUM_TRAIN")]
    num_train: Option<usize>,

    /// Samples to measure on
    #[arg(long, env = "ATTNSCOPE_NUM_EVAL", default_value_t = 1000)]
    num_eval: usize,

    /// Times that every sample is learned from
    #[arg(long, env = "ATTNSCOPE_NUM_EPOCHS", default_value_t = 10)]
    num_epochs: usize,

    /// Samples of a step
    #[arg(long, env = "ATTNSCOPE_BATCH_SIZE", default_value_t = 256)]
    batch_size: usize,

    /// Learning rate of AdamW
    #[arg(long, env = "ATTNSCOPE_LR", default_value_t = 1e-3)]
    lr: f64,

    /// cpu, cuda:N or metal; auto takes a GPU if there is one and this binary was built for it
    #[arg(long, env = "ATTNSCOPE_DEVICE", default_value = "cpu")]
    pub device: String,

    /// Decides samples, parameters and order; the samples are those of Python's random.seed(S)
    #[arg(long, env = "ATTNSCOPE_SEED", default_value_t = 0)]
    seed: u32,

    /// Steps between two looks at what the heads do with fixed samples, and at the norms of the value projections; 0:
    /// none [default: an epoch]
    #[arg(long, env = "ATTNSCOPE_TRACK_EVERY", value_name = "N")]
    track_every: Option<usize>,

    /// Directory for the model, as a checkpoint that can be scanned, the texts of the evaluation samples, tables and
    /// figures; nothing is overwritten [default: they are not written]
    #[arg(long, env = "ATTNSCOPE_OUT", value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Continue the run that --out holds, if it was interrupted
    #[arg(long, env = "ATTNSCOPE_RESUME", value_parser = FalseyValueParser::new(), requires = "out")]
    pub resume: bool,

    /// Print one JSON object instead of the table
    #[arg(long, env = "ATTNSCOPE_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PositionalType {
    /// Half of the width each
    Concat,
    /// Added
    Add,
    /// None
    No,
}

fn kind(name: &str) -> Result<AttentionKind, String> {
    AttentionKind::named(name).ok_or_else(|| {
        let names = AttentionKind::ALL.map(AttentionKind::name).join(", ");
        format!("take one of {names}")
    })
}

impl InductionArgs {
    pub fn configuration(&self) -> Configuration {
        self.run.configuration(Task::Induction(Induction {
            vocab_size: self.vocab_size,
            seq_length: self.seq_length,
            shift_query_token: self.shift_query_token,
            aux_loss_weight: self.aux_loss_weight,
        }))
    }
}

impl ClassificationArgs {
    pub fn configuration(&self) -> Configuration {
        self.run.configuration(Task::Classification(Classification {
            vocab_size: self.vocab_size,
            seq_length: self.seq_length,
            num_labels: self.num_labels,
        }))
    }
}

impl RunArgs {
    /// When the run is tracked.
    pub fn tracking(&self) -> Tracking {
        match self.track_every.map(NonZeroUsize::new) {
            None => Tracking::Epochs,
            Some(None) => Tracking::Never,
            Some(Some(every)) => Tracking::Steps(every),
        }
    }

    fn configuration(&self, task: Task) -> Configuration {
        let paper = Configuration::of_paper(task);
        Configuration {
            attention_type: self.attention_type,
            num_layers: self.num_layers,
            num_heads: self.num_heads,
            embed_dim: self.embed_dim,
            positional_type: match self.positional_type {
                None => paper.positional_type,
                Some(PositionalType::Concat) => PositionEmbedding::Concat,
                Some(PositionalType::Add) => PositionEmbedding::Add,
                Some(PositionalType::No) => PositionEmbedding::None,
            },
            use_mlp: self.use_mlp,
            use_layernorm: self.use_layernorm,
            num_train: self.num_train.unwrap_or(paper.num_train),
            num_eval: self.num_eval,
            num_epochs: self.num_epochs,
            batch_size: self.batch_size,
            lr: self.lr,
            seed: self.seed,
            task: paper.task,
        }
    }
}
