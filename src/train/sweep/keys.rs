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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// Below this, every whole number is one of float64.
const EXACT: f64 = (1u64 << 53) as f64;

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
                // As a file may have it: 1e3.
                Err(_) => match text.parse::<f64>() {
                    Ok(number) if number.fract() == 0.0 && (0.0..EXACT).contains(&number) => {
                        self.parse(&format!("{number}"))
                    }
                    _ => Err(wrong("no whole number of 0 or more")),
                },
            },
            (_, Kind::Number) => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::Number(number)),
                _ => Err(wrong("no number")),
            },
        }
    }

    /// The value that `configuration` has; `None` if its task has no such key.
    pub fn of(self, configuration: &Configuration) -> Option<Value> {
        Some(match self.field(&mut configuration.clone())? {
            Field::Bool(field) => Value::Bool(*field),
            Field::Whole(field) => Value::Whole(*field as u64),
            Field::Seed(field) => Value::Whole(u64::from(*field)),
            Field::Number(field) => Value::Number(*field),
            Field::AttentionType(field) => Value::Word(field.name().into()),
            Field::PositionalType(field) => {
                let mut known = POSITIONAL_TYPES.into_iter();
                let (name, _) = known.find(|known| known.1 == *field)?;
                Value::Word(name.into())
            }
        })
    }

    /// Gives `configuration` the value, which [`Key::parse`] has made. A key that its task does not have changes
    /// nothing.
    pub(super) fn put(self, value: &Value, configuration: &mut Configuration) {
        match (self.field(configuration), value) {
            (Some(Field::Bool(field)), Value::Bool(is)) => *field = *is,
            // What no machine can count is refused with what is merely too large.
            (Some(Field::Whole(field)), &Value::Whole(number)) => {
                *field = usize::try_from(number).unwrap_or(usize::MAX);
            }
            (Some(Field::Seed(field)), &Value::Whole(number)) => {
                *field = u32::try_from(number).unwrap_or(u32::MAX);
            }
            (Some(Field::Number(field)), Value::Number(number)) => *field = *number,
            (Some(Field::AttentionType(field)), Value::Word(name)) => {
                *field = AttentionKind::named(name).unwrap_or(*field);
            }
            (Some(Field::PositionalType(field)), Value::Word(name)) => {
                *field = positional_type(name).unwrap_or(*field);
            }
            // Values are of their key's kind.
            _ => {}
        }
    }

    /// What the key stands for; `None` if the task of `configuration` has no such key.
    fn field(self, configuration: &mut Configuration) -> Option<Field<'_>> {
        // Nothing is left out, so that there is no field without a key.
        let Configuration {
            task,
            attention_type,
            num_layers,
            num_heads,
            embed_dim,
            positional_type,
            use_mlp,
            use_layernorm,
            num_train,
            num_eval,
            num_epochs,
            batch_size,
            lr,
            seed,
        } = configuration;
        Some(match (self, task) {
            (Key::AttentionType, _) => Field::AttentionType(attention_type),
            (Key::NumLayers, _) => Field::Whole(num_layers),
            (Key::NumHeads, _) => Field::Whole(num_heads),
            (Key::EmbedDim, _) => Field::Whole(embed_dim),
            (Key::PositionalType, _) => Field::PositionalType(positional_type),
            (Key::UseMlp, _) => Field::Bool(use_mlp),
            (Key::UseLayernorm, _) => Field::Bool(use_layernorm),
            (Key::VocabSize, Task::Induction(task)) => Field::Whole(&mut task.vocab_size),
            (Key::VocabSize, Task::Classification(task)) => Field::Whole(&mut task.vocab_size),
            (Key::SeqLength, Task::Induction(task)) => Field::Whole(&mut task.seq_length),
            (Key::SeqLength, Task::Classification(task)) => Field::Whole(&mut task.seq_length),
            (Key::ShiftQueryToken, Task::Induction(task)) => {
                Field::Bool(&mut task.shift_query_token)
            }
            (Key::AuxLossWeight, Task::Induction(task)) => Field::Number(&mut task.aux_loss_weight),
            (Key::NumLabels, Task::Classification(task)) => Field::Whole(&mut task.num_labels),
            (Key::ShiftQueryToken | Key::AuxLossWeight, Task::Classification(_))
            | (Key::NumLabels, Task::Induction(_)) => return None,
            (Key::NumTrain, _) => Field::Whole(num_train),
            (Key::NumEval, _) => Field::Whole(num_eval),
            (Key::NumEpochs, _) => Field::Whole(num_epochs),
            (Key::BatchSize, _) => Field::Whole(batch_size),
            (Key::Lr, _) => Field::Number(lr),
            (Key::Seed, _) => Field::Seed(seed),
        })
    }
}

/// Where a configuration has a key's value.
enum Field<'a> {
    Bool(&'a mut bool),
    Whole(&'a mut usize),
    Seed(&'a mut u32),
    Number(&'a mut f64),
    AttentionType(&'a mut AttentionKind),
    PositionalType(&'a mut PositionEmbedding),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_value_of_its_own() {
        for task in TaskName::ALL {
            let defaults = task.defaults();
            for key in task.keys() {
                let text = match key.kind() {
                    Kind::Bool => (key.of(&defaults) == Some(Value::Bool(false))).to_string(),
                    Kind::Whole => "77".into(),
                    Kind::Number => "0.077".into(),
                    Kind::Word if key == Key::AttentionType => "mlp_norm".into(),
                    Kind::Word => "add".into(),
                };
                let value = key.parse(&text).unwrap();
                assert_ne!(key.of(&defaults).as_ref(), Some(&value), "{}", key.name());
                let mut configuration = defaults.clone();
                key.put(&value, &mut configuration);
                for other in task.keys() {
                    let expected = match other == key {
                        true => Some(value.clone()),
                        false => other.of(&defaults),
                    };
                    assert_eq!(other.of(&configuration), expected, "{}", key.name());
                }
            }
            let others = Key::ALL
                .into_iter()
                .filter(|key| task.keys().all(|own| own != *key));
            for key in others {
                assert_eq!(key.of(&defaults), None);
            }
        }
    }
}
