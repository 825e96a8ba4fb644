//! `run.json` of followed models: what was run, how, and how long it took.

use serde::Serialize;

use crate::flow::choices::Choices;
use crate::flow::dormand_prince::Tolerances;
use crate::flow::follow::Integrator;

/// Everything needed to repeat a run, and what it cost.
#[derive(Debug, Clone, Serialize)]
pub struct FlowManifest {
    /// Version of attnscope that computed the numbers.
    pub attnscope_version: String,
    /// The command that repeats the run, with every choice in it.
    pub command: String,
    /// The constants that were used.
    pub experiment: ExperimentRecord,
    /// What is varied by a phase map, horizontally and vertically, as `NAME=V1,V2,…`; what it replaces of the constants.
    pub axes: Option<[String; 2]>,
    /// Where every run of a phase map ends, if its rate is varied and a time was chosen: in place of the constants'
    /// updates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<f64>,
    /// What followed the runs.
    pub integrator: IntegratorRecord,
    /// Records of each run that were asked for, beside its start.
    pub records: usize,
    /// `cpu`.
    pub device: String,
    /// Runs.
    pub runs: usize,
    /// Numbers of the runs that did not come to their end.
    pub failed: Vec<usize>,
    /// The files beside this one.
    pub files: Vec<String>,
    /// When the run began (RFC 3339, UTC).
    pub started_at: String,
    /// When it finished.
    pub finished_at: String,
    /// Drawing the starts and following the runs, in seconds.
    pub seconds_following: f64,
    /// Writing tables and figures, in seconds.
    pub seconds_writing: f64,
}

/// The constants of an experiment.
#[derive(Debug, Clone, Serialize)]
pub struct ExperimentRecord {
    /// Its name.
    pub name: &'static str,
    /// The seed of the first replica; the others have the next ones.
    pub seed: u32,
    /// Runs of each problem.
    pub replicas: usize,
    /// Numbers of scores.
    pub dims: Vec<usize>,
    /// Entries of a prediction; null: as many as scores.
    pub predictions: Option<usize>,
    /// σ, by name.
    pub sigmas: Vec<&'static str>,
    /// κ; empty without a design.
    pub condition_numbers: Vec<f64>,
    /// Rows of the design, where there is one; null: as many as entries of a prediction.
    pub samples: Option<usize>,
    /// Rows of scores, where there are several; null: as many as scores.
    pub rows: Option<usize>,
    /// Values were drawn as this times randn.
    pub value_scale: f64,
    /// Scores were drawn around this.
    pub score_mean: f64,
    /// Scores were drawn with this standard deviation.
    pub score_scale: f64,
    /// η.
    pub rate: f64,
    /// Updates; for the flow, the end is at this times the rate.
    pub steps: u64,
}

impl ExperimentRecord {
    /// Of these choices.
    pub fn of(choices: &Choices) -> Self {
        Self {
            name: choices.name(),
            seed: choices.seed,
            replicas: choices.replicas,
            dims: choices.dims.clone(),
            predictions: choices.predictions,
            sigmas: choices.sigmas.iter().map(|sigma| sigma.name()).collect(),
            condition_numbers: choices.all_condition_numbers().to_vec(),
            samples: choices.samples,
            rows: choices.rows,
            value_scale: choices.value_scale,
            score_mean: choices.score_mean,
            score_scale: choices.score_scale,
            rate: choices.rate,
            steps: choices.steps,
        }
    }
}

/// What followed the runs.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "method")]
pub enum IntegratorRecord {
    /// Gradient descent.
    #[serde(rename = "gd")]
    Descent,
    /// The flow, by Dormand and Prince's pair.
    #[serde(rename = "flow")]
    Flow {
        /// Of an entry's size.
        relative_tolerance: f64,
        /// Of entries near 0.
        absolute_tolerance: f64,
        /// Steps after which a run is given up.
        most_steps: u64,
    },
}

impl From<Integrator> for IntegratorRecord {
    fn from(integrator: Integrator) -> Self {
        match integrator {
            Integrator::Descent => IntegratorRecord::Descent,
            Integrator::Flow(Tolerances {
                relative,
                absolute,
                most_steps,
            }) => IntegratorRecord::Flow {
                relative_tolerance: relative,
                absolute_tolerance: absolute,
                most_steps,
            },
        }
    }
}
