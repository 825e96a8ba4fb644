//! The keys of a configuration and their values.

use std::fmt;

use serde::Serialize;

use crate::{
    layers::attention::AttentionKind,
    models::small_transformer::PositionEmbedding,
    train::{
        Configuration,
        tasks::{Classification, Induction, Task},
    },
};

/// Which task a grid is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskName {
    /// [`Induction`].
    Induction,
    /// [`Classification`].
    Classification,
}

impl TaskName {
    /// Both.
    pub const ALL: [TaskName; 2] = [TaskName::Induction, TaskName::Classification];

    /// As in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            TaskName::Induction => "induction",
            TaskName::Classification => "classification",
        }
    }

    /// The paper's program.
    pub fn program(self) -> &'static str {
        match self {
            TaskName::Induction => "exp_induction.py",
            TaskName::Classification => "exp_classification.py",
        }
    }

    /// What the paper's program does if nothing else is said.
    pub fn defaults(self) -> Configuration {
        Configuration::of_paper(match self {
            TaskName::Induction => Task::Induction(Induction::default()),
            TaskName::Classification => Task::Classification(Classification::default()),
        })
    }

    /// All keys of its configurations.
    pub fn keys(self) -> impl Iterator<Item = Key> {
        let keys = Key::ALL.into_iter();
        keys.filter(move |key| match self {
            TaskName::Induction => *key != Key::NumLabels,
            TaskName::Classification => !matches!(key, Key::ShiftQueryToken | Key::AuxLossWeight),
        })
    }
}

/// A key of a configuration, as the paper's program has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// `attention_type`.
    AttentionType,
    /// `num_layers`.
    NumLayers,
    /// `num_heads`.
    NumHeads,
    /// `embed_dim`.
    EmbedDim,
    /// `positional_type`.
    PositionalType,
    /// `use_mlp`.
    UseMlp,
    /// `use_layernorm`.
    UseLayernorm,
    /// `vocab_size`.
    VocabSize,
    /// `seq_length`.
    SeqLength,
    /// `shift_query_token`, of induction.
    ShiftQueryToken,
    /// `aux_loss_weight`, of induction.
    AuxLossWeight,
    /// `num_labels`, of classification.
    NumLabels,
    /// `num_train`.
    NumTrain,
    /// `num_eval`.
    NumEval,
    /// `num_epochs`.
    NumEpochs,
    /// `batch_size`.
    BatchSize,
    /// `lr`.
    Lr,
    /// `seed`.
    Seed,
}

/// What kind of values a key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` and `false`.
    Bool,
    /// Whole numbers from 0 on.
    Whole,
    /// Finite numbers.
    Number,
    /// Names.
    Word,
}

/// A value of a key.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of [`Kind::Whole`].
    Whole(u64),
    /// Of [`Kind::Number`].
    Number(f64),
    /// Of [`Kind::Word`].
    Word(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => value.fmt(f),
            Value::Whole(value) => value.fmt(f),
            // A rate of 1e30 is more easily read like this than with its zeros.
            Value::Number(value) if *value != 0.0 && !(1e-5..1e7).contains(&value.abs()) => {
                write!(f, "{value:e}")
            }
            Value::Number(value) => value.fmt(f),
            Value::Word(value) => f.write_str(value),
        }
    }
}

const POSITIONAL_TYPES: [(&str, PositionEmbedding); 3] = [
    ("concat", PositionEmbedding::Concat),
    ("add", PositionEmbedding::Add),
    ("no", PositionEmbedding::None),
];

fn positional_type(name: &str) -> Option<PositionEmbedding> {
    let mut known = POSITIONAL_TYPES.into_iter();
    known.find(|known| known.0 == name).map(|(_, kind)| kind)
}

impl Key {
    /// All.
    pub const ALL: [Key; 18] = [
        Key::AttentionType,
        Key::NumLayers,
        Key::NumHeads,
        Key::EmbedDim,
        Key::PositionalType,
        Key::UseMlp,
        Key::UseLayernorm,
        Key::VocabSize,
        Key::SeqLength,
        Key::ShiftQueryToken,
        Key::AuxLossWeight,
        Key::NumLabels,
        Key::NumTrain,
        Key::NumEval,
        Key::NumEpochs,
        Key::BatchSize,
        Key::Lr,
        Key::Seed,
    ];

    /// As in grids and tables.
    pub fn name(self) -> &'static str {
        match self {
            Key::AttentionType => "attention_type",
            Key::NumLayers => "num_layers",
            Key::NumHeads => "num_heads",
            Key::EmbedDim => "embed_dim",
            Key::PositionalType => "positional_type",
            Key::UseMlp => "use_mlp",
            Key::UseLayernorm => "use_layernorm",
            Key::VocabSize => "vocab_size",
            Key::SeqLength => "seq_length",
            Key::ShiftQueryToken => "shift_query_token",
            Key::AuxLossWeight => "aux_loss_weight",
            Key::NumLabels => "num_labels",
            Key::NumTrain => "num_train",
            Key::NumEval => "num_eval",
            Key::NumEpochs => "num_epochs",
            Key::BatchSize => "batch_size",
            Key::Lr => "lr",
            Key::Seed => "seed",
        }
    }

    /// What its values are.
    pub fn kind(self) -> Kind {
        match self {
            Key::AttentionType | Key::PositionalType => Kind::Word,
            Key::UseMlp | Key::UseLayernorm | Key::ShiftQueryToken => Kind::Bool,
            Key::AuxLossWeight | Key::Lr => Kind::Number,
            Key::NumLayers
            | Key::NumHeads
            | Key::EmbedDim
            | Key::VocabSize
            | Key::SeqLength
            | Key::NumLabels
            | Key::NumTrain
            | Key::NumEval
            | Key::NumEpochs
            | Key::BatchSize
            | Key::Seed => Kind::Whole,
        }
    }

    /// Whether runs that differ in it alone can be trained side by side
    /// ([`Settings::has_shape_of`](crate::train::Settings::has_shape_of)).
    pub(super) fn is_free_in_a_shape(self) -> bool {
        matches!(self, Key::Seed | Key::Lr | Key::AuxLossWeight)
    }

    /// The value that `text` stands for; whether it goes with the others is not looked at. The error says what there
    /// is instead.
    pub(super) fn parse(self, text: &str) -> Result<Value, String> {
        let wrong = |needed: &str| format!("`{text}` is {needed}");
        match (self, self.kind()) {
            (Key::AttentionType, _) => match AttentionKind::named(text) {
                Some(_) => Ok(Value::Word(text.to_owned())),
                None => {
                    let names = AttentionKind::ALL.map(AttentionKind::name).join(", ");
                    Err(wrong(&format!("unknown; known are {names}")))
                }
            },
            (_, Kind::Word) => match positional_type(text) {
                Some(_) => Ok(Value::Word(text.to_owned())),
                None => {
                    let names = POSITIONAL_TYPES.map(|known| known.0).join(", ");
                    Err(wrong(&format!("unknown; known are {names}")))
                }
            },
            (_, Kind::Bool) => match text.to_ascii_lowercase().as_str() {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err(wrong("neither true nor false")),
            },
            (_, Kind::Whole) => match text.parse() {
                Ok(number) if self != Key::Seed || number <= u64::from(u32::MAX) => {
                    Ok(Value::Whole(number))
                }
                Ok(_) => Err(wrong("larger than 4294967295")),
                Err(_) => Err(wrong("no whole number of 0 or more")),
            },
            (_, Kind::Number) => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::Number(number)),
                _ => Err(wrong("no number")),
            },
        }
    }

    /// The value that `configuration` has; `None` if its task has no such key.
    pub fn of(self, configuration: &Configuration) -> Option<Value> {
        let c = configuration;
        let whole = |number: usize| Some(Value::Whole(number as u64));
        match (self, &c.task) {
            (Key::AttentionType, _) => Some(Value::Word(c.attention_type.name().into())),
            (Key::NumLayers, _) => whole(c.num_layers),
            (Key::NumHeads, _) => whole(c.num_heads),
            (Key::EmbedDim, _) => whole(c.embed_dim),
            (Key::PositionalType, _) => {
                let mut known = POSITIONAL_TYPES.into_iter();
                let named = known.find(|known| known.1 == c.positional_type);
                named.map(|(name, _)| Value::Word(name.into()))
            }
            (Key::UseMlp, _) => Some(Value::Bool(c.use_mlp)),
            (Key::UseLayernorm, _) => Some(Value::Bool(c.use_layernorm)),
            (Key::VocabSize, Task::Induction(task)) => whole(task.vocab_size),
            (Key::VocabSize, Task::Classification(task)) => whole(task.vocab_size),
            (Key::SeqLength, Task::Induction(task)) => whole(task.seq_length),
            (Key::SeqLength, Task::Classification(task)) => whole(task.seq_length),
            (Key::ShiftQueryToken, Task::Induction(task)) => {
                Some(Value::Bool(task.shift_query_token))
            }
            (Key::AuxLossWeight, Task::Induction(task)) => {
                Some(Value::Number(task.aux_loss_weight))
            }
            (Key::NumLabels, Task::Classification(task)) => whole(task.num_labels),
            (Key::ShiftQueryToken | Key::AuxLossWeight, Task::Classification(_))
            | (Key::NumLabels, Task::Induction(_)) => None,
            (Key::NumTrain, _) => whole(c.num_train),
            (Key::NumEval, _) => whole(c.num_eval),
            (Key::NumEpochs, _) => whole(c.num_epochs),
            (Key::BatchSize, _) => whole(c.batch_size),
            (Key::Lr, _) => Some(Value::Number(c.lr)),
            (Key::Seed, _) => Some(Value::Whole(c.seed.into())),
        }
    }

    /// Gives `configuration` the value, which [`Key::parse`] has made. A key that its task does not have changes
    /// nothing.
    pub(super) fn put(self, value: &Value, configuration: &mut Configuration) {
        let c = configuration;
        match (self, value, &mut c.task) {
            (Key::AttentionType, Value::Word(name), _) => {
                c.attention_type = AttentionKind::named(name).unwrap_or(c.attention_type);
            }
            (Key::PositionalType, Value::Word(name), _) => {
                c.positional_type = positional_type(name).unwrap_or(c.positional_type);
            }
            (Key::UseMlp, &Value::Bool(is), _) => c.use_mlp = is,
            (Key::UseLayernorm, &Value::Bool(is), _) => c.use_layernorm = is,
            (Key::ShiftQueryToken, &Value::Bool(is), Task::Induction(task)) => {
                task.shift_query_token = is;
            }
            (Key::AuxLossWeight, &Value::Number(number), Task::Induction(task)) => {
                task.aux_loss_weight = number;
            }
            (Key::Lr, &Value::Number(number), _) => c.lr = number,
            (Key::Seed, &Value::Whole(number), _) => {
                c.seed = u32::try_from(number).unwrap_or(u32::MAX);
            }
            (key, &Value::Whole(number), task) => {
                // What no machine can count is refused with what is merely too large.
                let number = usize::try_from(number).unwrap_or(usize::MAX);
                let size = match (key, task) {
                    (Key::NumLayers, _) => &mut c.num_layers,
                    (Key::NumHeads, _) => &mut c.num_heads,
                    (Key::EmbedDim, _) => &mut c.embed_dim,
                    (Key::VocabSize, Task::Induction(task)) => &mut task.vocab_size,
                    (Key::VocabSize, Task::Classification(task)) => &mut task.vocab_size,
                    (Key::SeqLength, Task::Induction(task)) => &mut task.seq_length,
                    (Key::SeqLength, Task::Classification(task)) => &mut task.seq_length,
                    (Key::NumLabels, Task::Classification(task)) => &mut task.num_labels,
                    (Key::NumTrain, _) => &mut c.num_train,
                    (Key::NumEval, _) => &mut c.num_eval,
                    (Key::NumEpochs, _) => &mut c.num_epochs,
                    (Key::BatchSize, _) => &mut c.batch_size,
                    _ => return,
                };
                *size = number;
            }
            _ => {}
        }
    }
}
