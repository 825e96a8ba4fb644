//! What the commands of the flow are told: constants of an experiment, and how its runs are followed.

use std::num::NonZeroUsize;

use clap::ValueEnum;

use crate::Error;
use crate::flow::choices::Choices;
use crate::flow::dormand_prince::Tolerances;
use crate::flow::experiments::{Experiment, Family};
use crate::flow::follow::{Backend, Integrator};
use crate::flow::map::Parameter;
use crate::flow::sigma::Sigma;
use crate::scan::device::open;

/// Constants that replace those of the paper's notebook.
#[derive(Debug, Clone, clap::Args)]
pub struct ChoiceArgs {
    /// Seed of the random draws [default: the notebook's, 123 or 42]
    #[arg(
        long,
        env = "ATTNSCOPE_SEED",
        value_name = "S",
        allow_hyphen_values = true
    )]
    seed: Option<u32>,

    /// Scores (d); several values are several runs [default: the notebook's]
    #[arg(
        long,
        env = "ATTNSCOPE_DIM",
        value_name = "D",
        allow_hyphen_values = true,
        value_delimiter = ','
    )]
    dim: Vec<usize>,

    /// Entries of a prediction (p) [default: as --dim]
    #[arg(
        long,
        env = "ATTNSCOPE_PREDICTIONS",
        value_name = "P",
        allow_hyphen_values = true
    )]
    predictions: Option<usize>,

    /// What turns scores into weights; several are several runs [default: the notebook's]
    #[arg(
        long,
        env = "ATTNSCOPE_SIGMA",
        value_name = "NAME",
        value_delimiter = ','
    )]
    sigma: Vec<Sigma>,

    /// Largest over smallest singular value of the design; several are several runs (conditioning)
    /// [default: 1,2,3,4,5]
    #[arg(
        long,
        env = "ATTNSCOPE_CONDITION_NUMBER",
        value_name = "K",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    condition_number: Vec<f64>,

    /// Rows of the design (conditioning) [default: as --predictions]
    #[arg(
        long,
        env = "ATTNSCOPE_SAMPLES",
        value_name = "N",
        allow_hyphen_values = true
    )]
    samples: Option<usize>,

    /// Rows of scores (rows) [default: as --dim]
    #[arg(
        long,
        env = "ATTNSCOPE_ROWS",
        value_name = "N",
        allow_hyphen_values = true
    )]
    rows: Option<usize>,

    /// Values start as this times randn (tied: times the identity) [default: the notebook's]
    #[arg(
        long,
        env = "ATTNSCOPE_VALUE_SCALE",
        value_name = "X",
        allow_hyphen_values = true
    )]
    value_scale: Option<f64>,

    /// Scores start around this [default: the notebook's]
    #[arg(
        long,
        env = "ATTNSCOPE_SCORE_MEAN",
        value_name = "X",
        allow_hyphen_values = true
    )]
    score_mean: Option<f64>,

    /// Scores start with this standard deviation; at 0 all rows of `rows` are the same, 0.1 tells them apart
    /// [default: the notebook's; of logistic, kl and rows 0]
    #[arg(
        long,
        env = "ATTNSCOPE_SCORE_SCALE",
        value_name = "X",
        allow_hyphen_values = true
    )]
    score_scale: Option<f64>,

    /// Rate of gradient descent; the flow ends at t = rate × steps [default: the notebook's]
    #[arg(
        long,
        env = "ATTNSCOPE_LR",
        value_name = "R",
        allow_hyphen_values = true
    )]
    lr: Option<f64>,

    /// Updates [default: the notebook's]
    #[arg(
        long,
        env = "ATTNSCOPE_STEPS",
        value_name = "N",
        allow_hyphen_values = true,
        conflicts_with = "time"
    )]
    steps: Option<u64>,

    /// Where the flow ends, in place of --steps
    #[arg(
        long,
        env = "ATTNSCOPE_TIME",
        value_name = "T",
        allow_hyphen_values = true
    )]
    time: Option<f64>,
}

impl ChoiceArgs {
    /// The experiment with these constants, `replicas` times, up to the chosen time.
    pub fn choices(
        &self,
        experiment: &Experiment<'static>,
        replicas: usize,
        integrator: Integrator,
    ) -> Result<Choices, Error> {
        let mut choices = self.constants(experiment, replicas);
        if let Some(time) = self.time(integrator)? {
            choices.end_at(time)?;
        }
        Ok(choices)
    }

    /// The experiment with these constants but the time, which means updates only at a known rate.
    pub fn constants(&self, experiment: &Experiment<'static>, replicas: usize) -> Choices {
        let mut choices = Choices::of(experiment);
        choices.replicas = replicas;
        if let Some(seed) = self.seed {
            choices.seed = seed;
        }
        if !self.dim.is_empty() {
            choices.dims.clone_from(&self.dim);
        }
        if !self.sigma.is_empty() {
            choices.sigmas.clone_from(&self.sigma);
        }
        if !self.condition_number.is_empty() {
            choices.condition_numbers = Some(self.condition_number.clone());
        }
        choices.predictions = self.predictions;
        choices.samples = self.samples;
        choices.rows = self.rows;
        for (constant, chosen) in [
            (&mut choices.value_scale, self.value_scale),
            (&mut choices.score_mean, self.score_mean),
            (&mut choices.score_scale, self.score_scale),
            (&mut choices.rate, self.lr),
        ] {
            if let Some(chosen) = chosen {
                *constant = chosen;
            }
        }
        if let Some(steps) = self.steps {
            choices.steps = steps;
        }
        choices
    }

    /// Where the flow ends, if that was said.
    pub fn time(&self, integrator: Integrator) -> Result<Option<f64>, Error> {
        match self.time {
            Some(_) if integrator == Integrator::Descent => Err(Error::Usage(
                "--time is of --integrator flow; give --steps for gradient descent".into(),
            )),
            time => Ok(time),
        }
    }

    /// Those that were given.
    pub fn given(&self) -> Vec<Parameter> {
        let given = [
            (Parameter::Dim, !self.dim.is_empty()),
            (Parameter::Predictions, self.predictions.is_some()),
            (
                Parameter::ConditionNumber,
                !self.condition_number.is_empty(),
            ),
            (Parameter::Samples, self.samples.is_some()),
            (Parameter::Rows, self.rows.is_some()),
            (Parameter::Sigma, !self.sigma.is_empty()),
            (Parameter::ValueScale, self.value_scale.is_some()),
            (Parameter::ScoreMean, self.score_mean.is_some()),
            (Parameter::ScoreScale, self.score_scale.is_some()),
            (Parameter::Rate, self.lr.is_some()),
            (Parameter::Steps, self.steps.is_some()),
            (Parameter::Time, self.time.is_some()),
        ];
        let given = given.into_iter().filter(|(_, is_given)| *is_given);
        given.map(|(parameter, _)| parameter).collect()
    }

    /// Those of these constants that the experiment, one of several, has. None if it has none of the σ: the flow of
    /// the tied form cannot pass a kink. What is left out for that is said.
    pub fn of_all(
        &self,
        experiment: &Experiment<'static>,
        integrator: Integrator,
    ) -> Option<ChoiceArgs> {
        let mut own = self.clone();
        if !has(experiment, Parameter::ConditionNumber) {
            own.condition_number.clear();
        }
        if !has(experiment, Parameter::Samples) {
            own.samples = None;
        }
        if !has(experiment, Parameter::Rows) {
            own.rows = None;
        }
        if !has(experiment, Parameter::Predictions) {
            own.predictions = None;
        }
        if experiment.family == Family::Tied && integrator != Integrator::Descent {
            let has_kink = |sigma: &Sigma| sigma.function().activation().has_kink();
            let (kinked, smooth): (Vec<Sigma>, _) = own.sigma.into_iter().partition(has_kink);
            for sigma in &kinked {
                tracing::warn!(
                    "{} is left out with {sigma}: its flow cannot pass the kink; follow it by gradient descent",
                    experiment.name
                );
            }
            own.sigma = smooth;
            if own.sigma.is_empty() && !kinked.is_empty() {
                return None;
            }
        }
        Some(own)
    }

    /// Fails if something was given that none of these experiments has.
    pub fn check_some_has(&self, experiments: &[Experiment<'static>]) -> Result<(), Error> {
        let lost = |parameter: &Parameter| {
            !experiments
                .iter()
                .any(|experiment| has(experiment, *parameter))
        };
        match self.given().into_iter().find(lost) {
            None => Ok(()),
            Some(parameter) => {
                let names = experiments.iter().map(|experiment| experiment.name);
                Err(Error::Usage(format!(
                    "{} applies to none of {}; leave it out, or name an experiment that has it",
                    flag(parameter),
                    names.collect::<Vec<_>>().join(", ")
                )))
            }
        }
    }
}

/// Whether an experiment has such a constant.
fn has(experiment: &Experiment<'static>, parameter: Parameter) -> bool {
    match parameter {
        Parameter::ConditionNumber | Parameter::Samples => {
            matches!(experiment.family, Family::Regression { .. })
        }
        Parameter::Rows => matches!(experiment.family, Family::Rows(_)),
        Parameter::Predictions => experiment.family != Family::Tied,
        _ => true,
    }
}

/// How runs are followed.
#[derive(Debug, Clone, clap::Args)]
pub struct FollowArgs {
    /// gd: gradient descent; flow: the gradient flow itself [default: gd; of check and map: flow]
    #[arg(long, env = "ATTNSCOPE_INTEGRATOR")]
    integrator: Option<Method>,

    /// Relative error of a step of the flow, entry by entry [default: 1e-9]
    #[arg(
        long,
        env = "ATTNSCOPE_RTOL",
        value_name = "X",
        allow_hyphen_values = true
    )]
    rtol: Option<f64>,

    /// Absolute error of a step of the flow [default: 1e-12]
    #[arg(
        long,
        env = "ATTNSCOPE_ATOL",
        value_name = "X",
        allow_hyphen_values = true
    )]
    atol: Option<f64>,

    /// Steps of the flow after which a run is given up [default: 10000000]
    #[arg(
        long,
        env = "ATTNSCOPE_MAX_STEPS",
        value_name = "N",
        allow_hyphen_values = true
    )]
    max_steps: Option<u64>,

    /// cpu: one pass per step, eight runs at a time on every core; cuda:N: all runs as one batch of tensors
    #[arg(long, env = "ATTNSCOPE_DEVICE", default_value = "cpu")]
    device: String,
}

/// Runs, how often, and how they are followed: of an experiment and of its check.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub choices: ChoiceArgs,

    /// Runs of each problem, under the seeds S, S + 1, …
    #[arg(
        long,
        env = "ATTNSCOPE_REPLICAS",
        value_name = "R",
        default_value = "1"
    )]
    pub replicas: NonZeroUsize,

    #[command(flatten)]
    pub follow: FollowArgs,
}

/// An integrator by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Gradient descent
    Gd,
    /// The gradient flow
    Flow,
}

impl FollowArgs {
    /// Where runs are followed. `auto` is the CPU, which only thousands of runs leave behind.
    pub fn backend(&self) -> Result<Backend, Error> {
        match self.device.as_str() {
            "cpu" | "auto" => Ok(Backend::Fused),
            "metal" => Err(Error::Usage(
                "--device metal: Metal has no float64, which the flow needs; use cpu or cuda:N"
                    .into(),
            )),
            other => Ok(Backend::Tensors(open(other)?.0)),
        }
    }

    /// The integrator, `default` if none is named.
    pub fn integrator(&self, default: Method) -> Result<Integrator, Error> {
        let method = self.integrator.unwrap_or(default);
        let given = [
            ("--rtol", self.rtol.is_some()),
            ("--atol", self.atol.is_some()),
            ("--max-steps", self.max_steps.is_some()),
        ];
        match (method, given.into_iter().find(|(_, given)| *given)) {
            (Method::Gd, Some((flag, _))) => Err(Error::Usage(format!(
                "{flag} is of --integrator flow; gradient descent has no tolerance"
            ))),
            (Method::Gd, None) => Ok(Integrator::Descent),
            (Method::Flow, _) => {
                let usual = Tolerances::default();
                Ok(Integrator::Flow(Tolerances {
                    relative: self.rtol.unwrap_or(usual.relative),
                    absolute: self.atol.unwrap_or(usual.absolute),
                    most_steps: self.max_steps.unwrap_or(usual.most_steps),
                }))
            }
        }
    }
}

/// The command `attnscope flow <what>` with every constant in it, so that it repeats the runs exactly. `varied` are
/// those that axes, or `more`, say.
pub fn repeated(
    what: &str,
    choices: &Choices,
    integrator: Integrator,
    backend: &Backend,
    varied: &[Parameter],
    more: &[(&str, String)],
) -> String {
    fn list<T: ToString>(values: &[T]) -> Option<String> {
        let values: Vec<String> = values.iter().map(T::to_string).collect();
        (!values.is_empty()).then(|| values.join(","))
    }
    fn one<T: ToString>(value: T) -> Option<String> {
        Some(value.to_string())
    }
    let constants = [
        (Parameter::Dim, list(&choices.dims)),
        (Parameter::Predictions, choices.predictions.and_then(one)),
        (Parameter::Samples, choices.samples.and_then(one)),
        (Parameter::Rows, choices.rows.and_then(one)),
        (Parameter::Sigma, list(&choices.sigmas)),
        (
            Parameter::ConditionNumber,
            list(choices.all_condition_numbers()),
        ),
        (Parameter::ValueScale, one(choices.value_scale)),
        (Parameter::ScoreMean, one(choices.score_mean)),
        (Parameter::ScoreScale, one(choices.score_scale)),
        (Parameter::Rate, one(choices.rate)),
        (Parameter::Steps, one(choices.steps)),
    ];
    let mut command = format!("attnscope flow {what}");
    let mut add = |flag: &str, value: &str| command.push_str(&format!(" {flag} {value}"));
    add("--seed", &choices.seed.to_string());
    add("--replicas", &choices.replicas.to_string());
    for (parameter, value) in constants {
        let ends = |other: &Parameter| [Parameter::Steps, Parameter::Time].contains(other);
        let is_varied = varied
            .iter()
            .any(|other| *other == parameter || (ends(other) && ends(&parameter)));
        if let Some(value) = value.filter(|_| !is_varied) {
            add(flag(parameter), &value);
        }
    }
    match integrator {
        Integrator::Descent => add("--integrator", "gd"),
        Integrator::Flow(tolerances) => {
            add("--integrator", "flow");
            add("--rtol", &tolerances.relative.to_string());
            add("--atol", &tolerances.absolute.to_string());
            add("--max-steps", &tolerances.most_steps.to_string());
        }
    }
    add("--device", &backend.name());
    for (flag, value) in more {
        add(flag, value);
    }
    command
}

/// What says this constant on the command line.
pub fn flag(parameter: Parameter) -> &'static str {
    match parameter {
        Parameter::Dim => "--dim",
        Parameter::Predictions => "--predictions",
        Parameter::ConditionNumber => "--condition-number",
        Parameter::Samples => "--samples",
        Parameter::Rows => "--rows",
        Parameter::Sigma => "--sigma",
        Parameter::ValueScale => "--value-scale",
        Parameter::ScoreMean => "--score-mean",
        Parameter::ScoreScale => "--score-scale",
        Parameter::Rate => "--lr",
        Parameter::Steps => "--steps",
        Parameter::Time => "--time",
    }
}
