//! Every combination of some values.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    keys::{Key, TaskName, Value},
    yaml,
};
use crate::{
    Error, Result,
    store::Fingerprint,
    train::{Configuration, Settings},
};

/// Runs of a grid, at most.
const MOST_RUNS: usize = 10_000_000;

/// All values of a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What is varied, or held.
    pub key: Key,
    /// At least one.
    pub values: Vec<Value>,
}

/// A grid: every combination of the values of all keys of its task. The runs are counted from 0, with the first key of
/// the file changing most slowly and the last one fastest, as in loops that are nested in the file's order.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    path: PathBuf,
    task: TaskName,
    /// Those of the file in its order, then all others of the task with their one default.
    axes: Vec<Axis>,
    /// How many of them the file names.
    named: usize,
    runs: usize,
}

impl Grid {
    /// The paper's grid for a task: 8,640 runs of induction (Table 2) or 12,960 of classification (Table 3).
    ///
    /// # Errors
    /// None.
    pub fn of_paper(task: TaskName) -> Result<Self> {
        match task {
            TaskName::Induction => Self::parse(
                "(built in) induction.yaml".as_ref(),
                include_str!("induction.yaml"),
            ),
            TaskName::Classification => Self::parse(
                "(built in) classification.yaml".as_ref(),
                include_str!("classification.yaml"),
            ),
        }
    }

    /// The paper's of this name, or else that of a file.
    ///
    /// # Errors
    /// [`Error::Grid`] for a file that is no grid, or cannot be read.
    pub fn named(name: &str) -> Result<Self> {
        let paper = TaskName::ALL.into_iter().find(|task| task.name() == name);
        if let Some(task) = paper {
            return Self::of_paper(task);
        }
        let path = Path::new(name);
        let text = fs::read_to_string(path).map_err(|error| Error::Grid {
            path: path.into(),
            message: format!(
                "cannot be read: {error}; name a YAML file, `induction` or `classification`"
            ),
        })?;
        Self::parse(path, &text)
    }

    /// From the text of the file `path`, which messages name.
    ///
    /// # Errors
    /// [`Error::Grid`] naming the key that is unknown, missing or wrong.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let yaml::Contents { task, parameters } = yaml::read(path, text)?;
        let defaults = task.defaults();
        let named = parameters.len();
        let mut axes: Vec<Axis> = Vec::new();
        for (key, values) in parameters {
            axes.push(Axis { key, values });
        }
        for key in task.keys() {
            if axes.iter().all(|axis| axis.key != key) {
                let values = key.of(&defaults).into_iter().collect();
                axes.push(Axis { key, values });
            }
        }
        let runs = axes.iter().try_fold(1usize, |runs, axis| {
            let runs = runs.checked_mul(axis.values.len())?;
            (runs <= MOST_RUNS).then_some(runs)
        });
        Ok(Self {
            runs: runs.ok_or_else(|| Error::Grid {
                path: path.into(),
                message: format!("has more than {MOST_RUNS} runs"),
            })?,
            path: path.into(),
            task,
            axes,
            named,
        })
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is learned.
    pub fn task(&self) -> TaskName {
        self.task
    }

    /// All keys of the task with their values: those of the file in its order, then the others with their defaults.
    pub fn axes(&self) -> &[Axis] {
        &self.axes
    }

    /// The number of runs.
    pub fn runs(&self) -> usize {
        self.runs
    }

    /// The values of a run, in the order of [`Grid::axes`].
    pub fn values(&self, run: usize) -> Vec<(Key, &Value)> {
        let places = self.places(run);
        let axes = self.axes.iter().zip(places);
        axes.map(|(axis, place)| (axis.key, &axis.values[place]))
            .collect()
    }

    /// Which value of each axis a run has.
    pub(super) fn places(&self, run: usize) -> Vec<usize> {
        places_of(run, self.counts())
    }

    /// The run that has these values, one of each axis.
    pub(super) fn run_at(&self, places: impl Iterator<Item = usize>) -> usize {
        self.counts()
            .zip(places)
            .fold(0, |run, (count, place)| run * count + place)
    }

    /// How many values each axis has.
    fn counts(&self) -> impl DoubleEndedIterator<Item = usize> {
        self.axes.iter().map(|axis| axis.values.len())
    }

    /// The first run that can be trained side by side with this one: with the first value of every key that is
    /// [free in a shape](Key::is_free_in_a_shape).
    pub(super) fn shape(&self, run: usize) -> usize {
        let places = self.axes.iter().zip(self.places(run));
        self.run_at(
            places.map(|(axis, place)| match axis.key.is_free_in_a_shape() {
                true => 0,
                false => place,
            }),
        )
    }

    /// The configuration of a run.
    pub fn configuration(&self, run: usize) -> Configuration {
        let mut configuration = self.task.defaults();
        for (key, value) in self.values(run) {
            key.put(value, &mut configuration);
        }
        configuration
    }

    /// The settings of a run, if there can be such a run.
    ///
    /// # Errors
    /// [`Error::Grid`] with what the file says of the run.
    pub fn settings(&self, run: usize) -> Result<Settings> {
        let settings = self.configuration(run).settings();
        match settings.check() {
            Ok(()) => Ok(settings),
            Err(error) => {
                let what = match error {
                    Error::Train { field, message } => format!("{field}: {message}"),
                    other => other.to_string(),
                };
                Err(Error::Grid {
                    path: self.path.clone(),
                    message: format!("there is no run {run} ({}): {what}", self.describe(run)),
                })
            }
        }
    }

    /// What the file says of a run: `seed 0, attention_type softmax`.
    pub fn describe(&self, run: usize) -> String {
        words(self.values(run).into_iter().take(self.named))
    }

    /// What tells a run from the others: its values of keys that have several.
    pub fn distinguish(&self, run: usize) -> String {
        let values = self.values(run).into_iter().zip(&self.axes);
        let varied = values.filter(|(_, axis)| axis.values.len() > 1);
        words(varied.map(|(value, _)| value))
    }

    /// The whole configuration of a run, defaults included, by which it is known again.
    pub fn identity(&self, run: usize) -> Fingerprint {
        let values = self.values(run).into_iter();
        values
            .map(|(key, value)| (key.name().to_owned(), serde_json::json!(value)))
            .chain([("task".to_owned(), self.task.name().into())])
            .collect()
    }

    /// The task, all values of all keys, and the order of those keys that have several, by which a grid is known again.
    pub fn fingerprint(&self) -> Fingerprint {
        let axes = self.axes.iter();
        let varied = axes.clone().filter(|axis| axis.values.len() > 1);
        let order: Vec<&str> = varied.map(|axis| axis.key.name()).collect();
        axes.map(|axis| (axis.key.name().to_owned(), serde_json::json!(axis.values)))
            .chain([
                ("task".to_owned(), self.task.name().into()),
                ("order".to_owned(), serde_json::json!(order)),
            ])
            .collect()
    }
}

fn words<'a>(values: impl Iterator<Item = (Key, &'a Value)>) -> String {
    let told: Vec<String> = values
        .map(|(key, value)| format!("{} {value}", key.name()))
        .collect();
    told.join(", ")
}

/// The digits of `number`, each below its count, the last one changing fastest.
pub(super) fn places_of(
    number: usize,
    counts: impl DoubleEndedIterator<Item = usize>,
) -> Vec<usize> {
    let mut left = number;
    let mut places: Vec<usize> = counts
        .rev()
        .map(|count| {
            let place = left % count;
            left /= count;
            place
        })
        .collect();
    places.reverse();
    places
}
