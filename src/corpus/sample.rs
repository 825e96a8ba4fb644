//! Which rows a scan takes, and which of them a shard takes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::random::PythonRandom;
use crate::{Error, Result};

/// How many rows to take: `--n-samples N` or `--n-samples all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleSize {
    /// Every row, in the order of the dataset; the seed plays no part.
    All,
    /// This many rows, drawn at random.
    Rows(usize),
}

impl FromStr for SampleSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "all" => Ok(SampleSize::All),
            _ => match text.parse() {
                Ok(n) if n > 0 => Ok(SampleSize::Rows(n)),
                _ => Err(Error::Usage(format!(
                    "`{text}` is no number of samples: a positive whole number or `all`"
                ))),
            },
        }
    }
}

impl fmt::Display for SampleSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SampleSize::All => formatter.write_str("all"),
            SampleSize::Rows(n) => n.fmt(formatter),
        }
    }
}

/// The rows that `random.seed(seed); random.sample(range(population), n)` picks in CPython, in that
/// order, without repetition; for [`SampleSize::All`] every row in order.
///
/// # Errors
/// [`Error::Usage`] for more rows than there are (CPython raises, too), and for none.
pub fn sample_rows(population: usize, n: SampleSize, seed: u64) -> Result<Vec<usize>> {
    match n {
        SampleSize::All => Ok((0..population).collect()),
        SampleSize::Rows(0) => Err(Error::Usage("0 samples leave nothing to measure".into())),
        SampleSize::Rows(n) => PythonRandom::new(seed)
            .sample(population, n)
            .ok_or_else(|| {
                Error::Usage(format!(
                    "{n} samples were asked for, but the dataset has {population} rows; \
                 use --n-samples {population} or --n-samples all"
                ))
            }),
    }
}

/// SHA-256, in hexadecimal, of the row numbers in decimal, joined by commas: what `run.json` keeps of
/// them. In Python: `hashlib.sha256(",".join(map(str, indices)).encode()).hexdigest()`.
pub fn indices_sha256(indices: &[usize]) -> String {
    let mut hasher = Sha256::new();
    for (i, index) in indices.iter().enumerate() {
        if i > 0 {
            hasher.update(b",");
        }
        hasher.update(index.to_string());
    }
    crate::hex(&hasher.finalize())
}

/// One of `count` parts of a scan: `--shard I/N`, `I` counted from 0 as in the file names
/// `samples-00003-of-00016.parquet`.
///
/// Shards are contiguous runs of the index list whose lengths differ by at most one, the longer ones
/// first (`Dataset.shard(contiguous=True)` in Hugging Face's `datasets`): all of them in order make up
/// the list, every row is in exactly one, and with `--n-samples all` each reads its own stretch of the
/// files.
///
/// In JSON it is the text of the option: `"3/16"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// Shard `index` of `count`.
    ///
    /// # Errors
    /// [`Error::Usage`] unless `index < count`.
    pub fn new(index: usize, count: usize) -> Result<Self> {
        if index < count {
            return Ok(Self { index, count });
        }
        Err(Error::Usage(match count {
            0 => "nothing can be cut into 0 shards".into(),
            _ => format!(
                "there is no shard {index}/{count}: shards are counted from 0, the last is {}/{count}",
                count - 1
            ),
        }))
    }

    /// Which shard this is, from 0.
    pub fn index(self) -> usize {
        self.index
    }

    /// How many shards there are.
    pub fn count(self) -> usize {
        self.count
    }

    /// This shard's part of `indices`.
    ///
    /// # Errors
    /// [`Error::Usage`], in every shard alike, where there are fewer rows than shards: a shard without
    /// rows would have no output to merge.
    pub fn of(self, indices: &[usize]) -> Result<&[usize]> {
        if indices.len() < self.count {
            return Err(Error::Usage(format!(
                "{} samples cannot be spread over {} shards; use at most {0} shards",
                indices.len(),
                self.count
            )));
        }
        let (length, longer) = (indices.len() / self.count, indices.len() % self.count);
        let start = |index: usize| length * index + longer.min(index);
        Ok(&indices[start(self.index)..start(self.index + 1)])
    }
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('/').map(|(i, n)| (i.parse(), n.parse()));
        match parts {
            Some((Ok(index), Ok(count))) => Shard::new(index, count),
            _ => Err(Error::Usage(format!(
                "`{text}` is no shard: I/N is needed, from 0/N to N-1/N, for example 3/16"
            ))),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.index, self.count)
    }
}

impl TryFrom<String> for Shard {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}
