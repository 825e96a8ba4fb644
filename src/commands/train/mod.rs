//! `attnscope train`: a small transformer trained on one of the paper's tasks, and what its heads do.

mod arguments;
mod output;
mod repeated;
mod text;
mod unfinished;

use std::{path::Path, process::ExitCode, time::Instant};

use clap::Subcommand;

use self::{
    arguments::{ClassificationArgs, InductionArgs, RunArgs},
    repeated::repeated,
    unfinished::Unfinished,
};
use super::{progress::StepProgress, terminal};
use crate::{
    Error, Result,
    scan::device::open,
    store::train::TrainManifest,
    train::{
        self, Configuration, Settings,
        run::{Epoch, State, Trained, Watcher},
        tasks::Task,
    },
};

/// Train a small transformer on one of the paper's tasks, and measure its heads
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// To continue a pair of tokens as it went before: which heads become sinks (the paper's Figure 4)
    Induction(InductionArgs),
    /// To tell from which group of tokens a set was drawn: how much one token decides (Figure 6)
    Classification(ClassificationArgs),
}

/// Runs the command.
pub fn run(args: Args, quiet: bool) -> anyhow::Result<ExitCode> {
    Ok(match args.what {
        What::Induction(args) => train(&args.configuration(), &args.run, quiet),
        What::Classification(args) => train(&args.configuration(), &args.run, quiet),
    }?)
}

fn train(configuration: &Configuration, args: &RunArgs, quiet: bool) -> Result<ExitCode> {
    let settings = &Settings {
        tracking: args.tracking(),
        ..configuration.settings()
    };
    settings.check()?;
    let (device, device_name) = open(&args.device)?;
    let track_every = settings.tracking.every(settings);
    let command = repeated(configuration, track_every, &device_name);
    let (mut unfinished, from) = match &args.out {
        Some(out) => {
            let begun = Unfinished::begin(out, settings, &command, args.resume)?;
            (Some(begun.0), begun.1)
        }
        None => (None, None),
    };
    terminal::catch_signals();
    let began = Instant::now();
    let follower = Follower {
        progress: StepProgress::new(settings.steps(), quiet),
        num_epochs: settings.num_epochs,
    };
    let trained = match &mut unfinished {
        Some(unfinished) => train::run_kept(settings, &device, &follower, from, unfinished),
        None => train::run(settings, &device, &follower),
    };
    follower.progress.finish();
    let trained = trained?;
    if trained.state == State::Stopped {
        return interrupted(unfinished);
    }
    tracing::info!("trained in {:.1} s", began.elapsed().as_secs_f64());
    let written = match unfinished {
        Some(unfinished) => {
            let mut manifest = TrainManifest::of(settings, &trained, command.clone());
            manifest.device = device_name;
            manifest.came_here(unfinished.progress());
            let written = output::write(&unfinished.out, settings, &trained, manifest);
            if written.is_ok() {
                unfinished.end();
            }
            written
        }
        None => Ok(Vec::new()),
    };
    // A disk that is full takes nothing from what is printed.
    let files = written.as_deref().unwrap_or_default();
    let text = match args.json {
        true => format!("{}\n", text::to_json(settings, &trained, files)),
        false => text::to_text(settings, &trained),
    };
    terminal::print(&text)?;
    written?;
    if let Some(out) = &args.out {
        tracing::info!("{} written", out.display());
    }
    Ok(finished(settings, &trained, args.out.as_deref()))
}

/// What is said of a run that was stopped.
fn interrupted(unfinished: Option<Unfinished>) -> Result<ExitCode> {
    match unfinished {
        Some(unfinished) => Err(Error::Interrupted {
            continue_with: "--resume",
            out: unfinished.out.clone(),
        }),
        None => {
            terminal::say("interrupted; without --out nothing is kept of it");
            Ok(ExitCode::from(75))
        }
    }
}

/// The exit code, with what there is to say about it.
fn finished(settings: &Settings, trained: &Trained, out: Option<&Path>) -> ExitCode {
    if let Some(evaluation) = &trained.evaluation {
        return terminal::finished(evaluation.non_finite_rows());
    }
    let kept = match out {
        Some(out) => format!("its epochs are in {}, without a model", out.display()),
        None => "nothing was written".into(),
    };
    terminal::say(&format!(
        "error: the loss is no longer finite; {kept}: take a smaller --lr{}",
        match settings.task {
            Task::Induction(_) => " or --aux-loss-weight",
            Task::Classification(_) => "",
        }
    ));
    ExitCode::FAILURE
}

struct Follower {
    progress: StepProgress,
    num_epochs: usize,
}

impl Watcher for Follower {
    fn stepped(&self, done: usize, _total: usize) {
        self.progress.done(done);
    }

    fn epoch(&self, _run: usize, epoch: &Epoch) {
        if let Some(eval) = epoch.eval {
            self.progress.above(|| {
                tracing::info!(
                    "epoch {}/{}: loss {:.4}, on evaluation samples {:.4}, accuracy {:.4}",
                    epoch.epoch,
                    self.num_epochs,
                    epoch.train_loss,
                    eval.loss,
                    eval.accuracy
                );
            });
        }
    }

    fn is_stopped(&self) -> bool {
        terminal::is_stopped()
    }
}
