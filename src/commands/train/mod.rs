//! `attnscope train`: a small transformer trained on one of the paper's tasks, and what its heads do.

mod arguments;
mod output;
mod repeated;
mod text;

use std::{path::Path, process::ExitCode, time::SystemTime};

use clap::Subcommand;

use self::arguments::{ClassificationArgs, InductionArgs, RunArgs};
use super::{progress::StepProgress, terminal};
use crate::{
    Result,
    scan::device::open,
    store::create_directory,
    train::{
        self, Settings,
        run::{Epoch, State, Trained, Watcher},
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
    let (settings, args) = match args.what {
        What::Induction(args) => (args.settings(), args.run),
        What::Classification(args) => (args.settings(), args.run),
    };
    let settings = Settings {
        tracking: args.tracking(),
        ..settings
    };
    Ok(train(&settings, &args, quiet)?)
}

fn train(settings: &Settings, args: &RunArgs, quiet: bool) -> Result<ExitCode> {
    settings.check()?;
    let (device, device_name) = open(&args.device)?;
    if let Some(out) = &args.out {
        output::refuse_occupied(out)?;
        // What cannot be written to is not learned of after an hour.
        create_directory(out)?;
    }
    terminal::catch_signals();
    let started = SystemTime::now();
    let follower = Follower {
        progress: StepProgress::new(settings.steps(), quiet),
        num_epochs: settings.num_epochs,
    };
    let trained = train::run(settings, &device, &follower);
    follower.progress.finish();
    let trained = trained?;
    if trained.state == State::Stopped {
        terminal::say("interrupted; nothing is kept of a run that did not end");
        return Ok(ExitCode::from(75));
    }
    let seconds = started.elapsed().map_or(0.0, |time| time.as_secs_f64());
    tracing::info!("trained in {seconds:.1} s");
    let written = match &args.out {
        Some(out) => output::write(out, settings, &trained, &device_name, started),
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
    Ok(finished(&trained, args.out.as_deref()))
}

/// The exit code, with what there is to say about it.
fn finished(trained: &Trained, out: Option<&Path>) -> ExitCode {
    if let Some(evaluation) = &trained.evaluation {
        return terminal::finished(evaluation.non_finite_rows());
    }
    let kept = match out {
        Some(out) => format!("its epochs are in {}, without a model", out.display()),
        None => "nothing was written".into(),
    };
    terminal::say(&format!(
        "error: the loss is no longer finite; {kept}: take a smaller --lr"
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
