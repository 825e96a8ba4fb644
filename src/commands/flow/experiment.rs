//! One experiment, or all of them.

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, time::SystemTime};

use anyhow::anyhow;
use clap::builder::FalseyValueParser;
use serde_json::json;

use super::arguments::{ChoiceArgs, FollowArgs, Method, repeated};
use super::{output, text};
use crate::commands::{progress::RunProgress, terminal};
use crate::figures::flow_figure_name;
use crate::flow::{
    choices::{Choices, check_memory},
    experiments::{ALL, Experiment},
    follow::{Backend, Integrator, Records, Settings, follow},
    trajectory::Followed,
};
use crate::machine::human;
use crate::store::flow::{ExperimentRecord, FlowManifest, SUMMARY, TRAJECTORIES};
use crate::store::rfc3339;
use crate::{Error, Result};

/// Runs that are named when they have diverged; the others are counted.
const NAMED: usize = 8;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    choices: ChoiceArgs,

    /// Runs of each problem, under the seeds S, S + 1, …
    #[arg(
        long,
        env = "ATTNSCOPE_REPLICAS",
        value_name = "R",
        default_value = "1"
    )]
    replicas: NonZeroUsize,

    #[command(flatten)]
    follow: FollowArgs,

    /// Records of each run, equally spaced in log t, beside its start
    #[arg(
        long,
        env = "ATTNSCOPE_RECORDS",
        value_name = "N",
        default_value = "200"
    )]
    records: NonZeroUsize,

    /// Directory for tables and figures; nothing is overwritten [default: they are not written]
    #[arg(long, env = "ATTNSCOPE_OUT", value_name = "DIR")]
    out: Option<PathBuf>,

    /// Print one JSON object instead of the table
    #[arg(long, env = "ATTNSCOPE_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// An experiment that is to be run.
struct Job<'a> {
    choices: Choices,
    integrator: Integrator,
    backend: Backend,
    records: usize,
    out: Option<PathBuf>,
    args: &'a Args,
}

/// Runs one experiment.
pub fn run(args: Args, experiment: &Experiment<'static>, quiet: bool) -> anyhow::Result<ExitCode> {
    let job = Job::new(&args, &args.choices, experiment, args.out.clone())?;
    if let Some(out) = &args.out {
        let figure = flow_figure_name(experiment.name);
        output::refuse_occupied(out, &[TRAJECTORIES, SUMMARY], &figure)?;
    }
    let followed = job.run(quiet)?;
    finish(&args, &followed)
}

/// Runs all experiments, one after the other, each with what applies to it.
pub fn run_all(args: Args, quiet: bool) -> anyhow::Result<ExitCode> {
    let out = |experiment: &Experiment| args.out.as_ref().map(|out| out.join(experiment.name));
    if let Some(out) = &args.out {
        output::refuse_occupied_by_any(out)?;
    }
    let mut jobs = Vec::new();
    for experiment in &ALL {
        let own = args.choices.of_all(experiment);
        jobs.push(Job::new(&args, &own, experiment, out(experiment))?);
    }
    let mut all = Vec::new();
    for job in jobs {
        let followed = job.run(quiet)?;
        if !args.json {
            let separator = if all.is_empty() { "" } else { "\n" };
            terminal::print(&format!("{separator}{}", text::summary(&followed)))?;
        }
        all.extend(followed);
    }
    if args.json {
        return finish(&args, &all);
    }
    failures(&args, &all)
}

impl<'a> Job<'a> {
    fn new(
        args: &'a Args,
        choices: &ChoiceArgs,
        experiment: &Experiment<'static>,
        out: Option<PathBuf>,
    ) -> Result<Self> {
        let integrator = args.follow.integrator(Method::Gd)?;
        let choices = choices.choices(experiment, args.replicas.get(), integrator)?;
        let records = args.records.get();
        let needed = choices.memory(records, true);
        check_memory(
            needed,
            "take fewer --replicas, fewer --records or a smaller --dim",
        )?;
        tracing::debug!("{}: about {} of memory", choices.name(), human(needed));
        Ok(Self {
            choices,
            integrator,
            backend: args.follow.backend()?,
            records,
            out,
            args,
        })
    }

    fn run(&self, quiet: bool) -> Result<Vec<Followed>> {
        let started = SystemTime::now();
        let runs = self.choices.runs()?;
        let progress = RunProgress::new(runs.len(), quiet);
        let followed = follow(
            runs,
            &Settings {
                backend: self.backend.clone(),
                integrator: self.integrator,
                records: Records::Logarithmic(self.records),
                keep_values: true,
            },
            |done| progress.done(done),
        );
        progress.finish();
        let followed = followed?;
        let seconds = started.elapsed().map_or(0.0, |time| time.as_secs_f64());
        tracing::info!(
            "{}: {} in {seconds:.1} s",
            self.choices.name(),
            text::count(followed.len(), "run")
        );
        if let Some(out) = &self.out {
            let manifest = FlowManifest {
                attnscope_version: env!("CARGO_PKG_VERSION").into(),
                command: self.repeated(),
                experiment: ExperimentRecord::of(&self.choices),
                axes: None,
                integrator: self.integrator.into(),
                records: self.records,
                device: self.backend.name(),
                runs: followed.len(),
                failed: (0..followed.len())
                    .filter(|&run| followed[run].failure.is_some())
                    .collect(),
                files: Vec::new(),
                started_at: rfc3339(started),
                finished_at: String::new(),
                seconds_following: seconds,
                seconds_writing: 0.0,
            };
            output::write(out, &followed, manifest)?;
            tracing::info!("{} written", out.display());
        }
        Ok(followed)
    }

    fn repeated(&self) -> String {
        let records = [("--records", self.args.records.to_string())];
        let name = self.choices.name();
        let (integrator, backend) = (self.integrator, &self.backend);
        repeated(name, &self.choices, integrator, backend, &[], &records)
    }
}

/// Prints what came of the runs; 1 if some diverged.
fn finish(args: &Args, followed: &[Followed]) -> anyhow::Result<ExitCode> {
    terminal::print(&match args.json {
        true => format!("{}\n", to_json(followed)),
        false => text::summary(followed),
    })?;
    failures(args, followed)
}

fn failures(args: &Args, followed: &[Followed]) -> anyhow::Result<ExitCode> {
    let failed: Vec<(usize, &Followed)> = followed
        .iter()
        .enumerate()
        .filter(|(_, followed)| followed.failure.is_some())
        .collect();
    let saved = match &args.out {
        Some(out) => format!("what was recorded before is saved in {}", out.display()),
        None => "nothing was saved, because there is no --out".into(),
    };
    let told = |followed: &Followed| match &followed.failure {
        Some(failure) => format!("{}: {failure}", text::describe(followed)),
        None => text::describe(followed),
    };
    match failed[..] {
        [] => Ok(ExitCode::SUCCESS),
        [(_, one)] => Err(anyhow!("{}; {saved}", told(one))),
        [..] => {
            for (run, followed) in failed.iter().take(NAMED) {
                tracing::warn!("run {run}, {}", told(followed));
            }
            Err(anyhow!(
                "{} of {} runs ended early, the first: {}; {saved}",
                failed.len(),
                followed.len(),
                told(failed[0].1)
            ))
        }
    }
}

/// `{"runs": […]}`. Weights and scores are lists of rows × dim numbers, row after row: of one row, the row.
fn to_json(followed: &[Followed]) -> serde_json::Value {
    let runs = followed.iter().map(|followed| {
        let (run, end) = (&followed.run, followed.end());
        let model = run.problem.model();
        let mut told = json!({
            "experiment": run.experiment,
            "sigma": run.sigma().name(),
            "seed": run.seed,
            "dim": model.positions(),
            "predictions": model.predictions(),
            "rows": model.rows(),
            "condition_number": run.condition_number,
            "rate": run.rate,
            "records": followed.trajectory.times.len(),
            "accepted": followed.effort.accepted,
            "rejected": followed.effort.rejected,
            "evaluations": followed.effort.evaluations,
            "failure": followed.failure.as_ref().map(Error::to_string),
        });
        let last = json!({
            "steps": end.map_or(0, |end| end.updates),
            "time": end.map(|end| end.time),
            "loss": end.map(|end| end.loss),
            "strength": end.map(|end| end.strength),
            "largest_weight": end.map(|end| end.largest_weight),
            "coordinate": end.and_then(|end| end.coordinate),
            "entropy": end.and_then(|end| end.entropy),
            "weights": end.map_or(&[][..], |end| end.weights),
            "scores": end.map_or(&[][..], |end| end.scores),
        });
        if let (Some(told), serde_json::Value::Object(last)) = (told.as_object_mut(), last) {
            told.extend(last);
        }
        told
    });
    json!({ "runs": runs.collect::<Vec<_>>() })
}
