//! What is kept of a run, and the lines of a record.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    store::{Fingerprint, table::damaged},
};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndState {
    /// With its last epoch.
    Finished,
    /// With a loss that was not finite.
    Diverged,
}

impl EndState {
    /// As in tables.
    pub fn name(self) -> &'static str {
        match self {
            EndState::Finished => "finished",
            EndState::Diverged => "diverged",
        }
    }
}

/// What is kept of a run that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its number in the grid, from 0.
    pub index: usize,
    /// All keys with their values, and the task.
    pub configuration: Fingerprint,
    /// Version of attnscope that trained it.
    pub attnscope_version: String,
    /// What computed it: `cpu`, `cuda:N` or `metal`.
    pub device: String,
    /// How it ended.
    pub state: EndState,
    /// Steps of the optimiser.
    pub steps: u64,
    /// Share of the evaluation samples whose answer is right; `None` of a run that diverged.
    #[serde(with = "exact")]
    pub accuracy: Option<f64>,
    /// On evaluation samples; `None` of a run that diverged.
    #[serde(with = "exact")]
    pub loss: Option<f64>,
    /// Whether the accuracy is what the paper calls learned; `None` of a run that diverged.
    pub has_learned: Option<bool>,
    /// Layer by layer; none of a run that diverged.
    pub heads: Vec<HeadRecord>,
    /// That the runs took which were trained together with this one.
    pub seconds: f64,
    /// How many these were.
    pub side_by_side: usize,
}

impl RunRecord {
    /// Share of sinks among its heads; `None` where one has no score.
    pub fn sink_share(&self) -> Option<f64> {
        sink_share(self.heads.iter())
    }

    /// The same of the last layer's.
    pub fn sink_share_last_layer(&self) -> Option<f64> {
        let last = self.heads.iter().map(|head| head.layer).max();
        sink_share(self.heads.iter().filter(|head| Some(head.layer) == last))
    }

    /// Mean over its heads; `None` where one has none.
    pub fn sparsity_score(&self) -> Option<f64> {
        mean(self.heads.iter().map(|head| head.sparsity_score))
    }

    /// The largest of its heads.
    pub fn max_flip_rate(&self) -> Option<f64> {
        let rates = self.heads.iter().filter_map(|head| head.flip_rate);
        rates.reduce(f64::max)
    }
}

fn sink_share<'a>(heads: impl Iterator<Item = &'a HeadRecord>) -> Option<f64> {
    mean(heads.map(|head| head.is_sink.map(|is| f64::from(u8::from(is)))))
}

/// `None` without numbers, and if one is missing.
fn mean(numbers: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let numbers = numbers.collect::<Option<Vec<f64>>>()?;
    (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

/// What is kept of a head. A number that is not finite is `None`, and so is what its task does not have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HeadRecord {
    /// Layer, from 0.
    pub layer: usize,
    /// Head within the layer, from 0.
    pub head: usize,
    /// Of induction: mean share of the first token's weight.
    #[serde(with = "exact", default, skip_serializing_if = "Option::is_none")]
    pub sink_score: Option<f64>,
    /// Of induction: the first token's weight in all rows, as a share of their total.
    #[serde(with = "exact", default, skip_serializing_if = "Option::is_none")]
    pub sink_score_of_means: Option<f64>,
    /// Of induction: whether it is a sink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_sink: Option<bool>,
    /// Of classification: mean share of the largest weight.
    #[serde(with = "exact", default, skip_serializing_if = "Option::is_none")]
    pub sparsity_score: Option<f64>,
    /// Of classification: how often one foreign token turns the prediction.
    #[serde(with = "exact", default, skip_serializing_if = "Option::is_none")]
    pub flip_rate: Option<f64>,
    /// Rows that are in no mean.
    pub non_finite_rows: u64,
}

/// Numbers as texts: of a JSON number, its reader may lose the last bit.
mod exact {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub fn serialize<S: Serializer>(
        number: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        number
            .map(|number| number.to_string())
            .serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let number = text.map(|text| text.parse().map_err(D::Error::custom));
        number.transpose()
    }
}

/// The lines of a record.
pub(super) struct Lines {
    pub(super) records: Vec<RunRecord>,
    /// Bytes up to the end of the last whole line; what follows was torn by a crash.
    pub(super) whole: u64,
    /// Whether something follows.
    pub(super) is_torn: bool,
}

/// Reads the record `path`; nothing, if it is not there.
///
/// # Errors
/// [`Error::Parquet`] for what no crash has done: a line that has its end and is no run.
pub(super) fn read(path: &Path) -> Result<Lines> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        read => read.map_err(Error::io(path))?,
    };
    let mut lines = Lines {
        records: Vec::new(),
        whole: 0,
        is_torn: false,
    };
    for (number, line) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
        // Only the last one can be without.
        if !line.ends_with(b"\n") {
            lines.is_torn = true;
            break;
        }
        let record = serde_json::from_slice(line).map_err(|error| {
            let message = format!(
                "line {number} is no run: {error}; remove the line, and the run is trained again"
            );
            damaged(path, message)
        })?;
        lines.records.push(record);
        lines.whole += line.len() as u64;
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_bit_for_bit() {
        for number in [0.1 + 0.2, 1.0 / 3.0, 5e-324, f64::MAX, 0.95] {
            let head = HeadRecord {
                sink_score: Some(number),
                ..HeadRecord::default()
            };
            let line = serde_json::to_string(&head).unwrap();
            let back: HeadRecord = serde_json::from_str(&line).unwrap();
            assert_eq!(back.sink_score.map(f64::to_bits), Some(number.to_bits()));
            assert_eq!(back.flip_rate, None);
        }
    }
}
