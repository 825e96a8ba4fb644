//! One experiment, or all of them.

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, time::SystemTime};

use anyhow::anyhow;
use clap::builder::FalseyValueParser;
use serde_json::json;

use super::arguments::{ChoiceArgs, Method, RunArgs, repeated};
use super::{output, text};
use crate::commands::{progress::RunProgress, terminal};
use crate::figures::flow_figure_name;
use crate::flow::{
    choices::Choices,
    experiments::{ALL, Experiment, Run},
    follow::{Records, Settings, check, follow},
    trajectory::Followed,
};
use crate::machine::{check_memory, human};
use crate::store::flow::{ExperimentRecord, FlowManifest, SUMMARY, TRAJECTORIES};
use crate::store::{create_directory, rfc3339};
use crate::{Error, Result};

/// Runs that are named when they have diverged; the others are counted.
const NAMED: usize = 8;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    runs: RunArgs,

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
    settings: Settings,
    runs: Vec<Run>,
    records: usize,
    out: Option<PathBuf>,
    args: &'a Args,
}

/// Runs that were followed, and whether they could be written.
struct Done {
    followed: Vec<Followed>,
    written: Result<()>,
}

/// Runs one experiment.
pub fn run(args: Args, experiment: &Experiment<'static>, quiet: bool) -> anyhow::Result<ExitCode> {
    if let Some(out) = &args.out {
        let figure = flow_figure_name(experiment.name);
        output::refuse_occupied(out, &[TRAJECTORIES, SUMMARY], &figure)?;
    }
    let job = Job::new(&args, &args.runs.choices, experiment, args.out.clone())?;
    let done = job.run(quiet)?;
    let mut told = Told::default();
    told.add(&args, &done.followed)?;
    told.finish(&args, done.written)
}

/// Runs all experiments, one after the other, each with what applies to it.
pub fn run_all(args: Args, quiet: bool) -> anyhow::Result<ExitCode> {
    let out = |experiment: &Experiment| args.out.as_ref().map(|out| out.join(experiment.name));
    if let Some(out) = &args.out {
        output::refuse_occupied_by_any(out)?;
    }
    let integrator = args.runs.follow.integrator(Method::Gd)?;
    // What is wrong with the last is known before the first is written.
    let mut jobs = Vec::new();
    for experiment in &ALL {
        if let Some(own) = args.runs.choices.of_all(experiment, integrator) {
            jobs.push(Job::new(&args, &own, experiment, out(experiment))?);
        }
    }
    if let Some(out) = &args.out {
        create_directory(out)?;
    }
    let (mut told, mut written) = (Told::default(), Ok(()));
    for job in jobs {
        let done = job.run(quiet)?;
        told.add(&args, &done.followed)?;
        written = done.written;
        // What a disk refuses of one it would refuse of the next.
        if written.is_err() {
            break;
        }
    }
    told.finish(&args, written)
}

impl<'a> Job<'a> {
    fn new(
        args: &'a Args,
        choices: &ChoiceArgs,
        experiment: &Experiment<'static>,
        out: Option<PathBuf>,
    ) -> Result<Self> {
        let integrator = args.runs.follow.integrator(Method::Gd)?;
        let choices = choices.choices(experiment, args.runs.replicas.get(), integrator)?;
        let records = args.records.get();
        let mut needed = choices.memory(records, true);
        if out.is_some() {
            needed = needed.saturating_add(choices.memory_to_write(records));
        }
        check_memory(
            needed,
            "take fewer --replicas, fewer --records or a smaller --dim",
        )?;
        tracing::debug!("{}: about {} of memory", choices.name(), human(needed));
        let settings = Settings {
            backend: args.runs.follow.backend()?,
            integrator,
            records: Records::Logarithmic(records),
            keep_values: true,
        };
        let runs = choices.runs()?;
        runs.iter().try_for_each(|run| check(run, &settings))?;
        Ok(Self {
            choices,
            settings,
            runs,
            records,
            out,
            args,
        })
    }

    /// Follows and writes. The directory is there, or refused, before the first run is followed.
    fn run(mut self, quiet: bool) -> Result<Done> {
        if let Some(out) = &self.out {
            create_directory(out)?;
        }
        let started = SystemTime::now();
        let runs = std::mem::take(&mut self.runs);
        let progress = RunProgress::new(runs.len(), quiet);
        let followed = follow(runs, &self.settings, |done| progress.done(done));
        progress.finish();
        let followed = followed?;
        let seconds = started.elapsed().map_or(0.0, |time| time.as_secs_f64());
        tracing::info!(
            "{}: {} in {seconds:.1} s",
            self.choices.name(),
            text::count(followed.len(), "run")
        );
        let mut written = Ok(());
        if let Some(out) = &self.out {
            let manifest = FlowManifest {
                attnscope_version: env!("CARGO_PKG_VERSION").into(),
                command: self.repeated(),
                experiment: ExperimentRecord::of(&self.choices),
                axes: None,
                time: None,
                integrator: self.settings.integrator.into(),
                records: self.records,
                device: self.settings.backend.name(),
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
            written = output::write(out, &followed, manifest);
            if written.is_ok() {
                tracing::info!("{} written", out.display());
            }
        }
        Ok(Done { followed, written })
    }

    fn repeated(&self) -> String {
        let records = [("--records", self.args.records.to_string())];
        let name = self.choices.name();
        let (integrator, backend) = (self.settings.integrator, &self.settings.backend);
        repeated(name, &self.choices, integrator, backend, &[], &records)
    }
}

/// What is to be told when all is done; the runs themselves are dropped before.
#[derive(Default)]
struct Told {
    runs: usize,
    json: Vec<serde_json::Value>,
    /// Runs that ended early, by number, and why.
    failed: Vec<(usize, String)>,
}

impl Told {
    /// Prints the table of these runs, or keeps what JSON tells of them.
    fn add(&mut self, args: &Args, followed: &[Followed]) -> Result<()> {
        match args.json {
            true => self.json.extend(followed.iter().map(to_json)),
            false => {
                let separator = if self.runs == 0 { "" } else { "\n" };
                terminal::print(&format!("{separator}{}", text::summary(followed)))?;
            }
        }
        for (run, followed) in (self.runs..).zip(followed) {
            if let Some(failure) = &followed.failure {
                let told = format!("{}: {failure}", text::describe(followed));
                self.failed.push((run, told));
            }
        }
        self.runs += followed.len();
        Ok(())
    }

    /// Prints what is left; 1 if runs diverged or could not be written.
    fn finish(self, args: &Args, written: Result<()>) -> anyhow::Result<ExitCode> {
        if args.json {
            terminal::print(&format!("{}\n", json!({ "runs": self.json })))?;
        }
        let saved = match &args.out {
            Some(out) => format!("tables and figures are in {}", out.display()),
            None => "nothing was saved, because there is no --out".into(),
        };
        if written.is_err() || self.failed.len() > 1 {
            for (run, told) in self.failed.iter().take(NAMED) {
                tracing::warn!("run {run}, {told}");
            }
        }
        written?;
        match &self.failed[..] {
            [] => Ok(ExitCode::SUCCESS),
            [(_, told)] => Err(anyhow!("{told}; {saved}")),
            [(_, first), ..] => Err(anyhow!(
                "{} of {} runs ended early, the first: {first}; {saved}",
                self.failed.len(),
                self.runs,
            )),
        }
    }
}

/// A run. Weights and scores are lists of rows × dim numbers, row after row: of one row, the row.
fn to_json(followed: &Followed) -> serde_json::Value {
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
}
