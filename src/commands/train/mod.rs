//! `attnscope train`: a small transformer trained on one of the paper's tasks, and what its heads do.

mod arguments;
mod text;

use std::{process::ExitCode, time::Instant};

use candle_core::Device;
use clap::Subcommand;

use self::arguments::{ClassificationArgs, InductionArgs, RunArgs};
use super::{progress::StepProgress, terminal};
use crate::{
    Result,
    train::{
        self, Settings, checkpoint,
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
    Ok(train(&settings, &args, quiet)?)
}

fn train(settings: &Settings, args: &RunArgs, quiet: bool) -> Result<ExitCode> {
    if let Some(out) = &args.out {
        checkpoint::refuse_occupied(out)?;
    }
    terminal::catch_signals();
    let began = Instant::now();
    let follower = Follower {
        progress: StepProgress::new(settings.steps(), quiet),
        num_epochs: settings.num_epochs,
    };
    let trained = train::run(settings, &Device::Cpu, &follower);
    follower.progress.finish();
    let trained = trained?;
    if trained.state == State::Stopped {
        terminal::say("interrupted; nothing is kept of a run that did not end");
        return Ok(ExitCode::from(75));
    }
    tracing::info!("trained in {:.1} s", began.elapsed().as_secs_f64());
    let is_finished = trained.state == State::Finished;
    if let (Some(out), true) = (&args.out, is_finished) {
        checkpoint::write(out, &settings.task, &trained.parameters)?;
        checkpoint::write_texts(out, &settings.task, &trained.eval_samples)?;
        tracing::info!("{} written", out.display());
    }
    let text = match args.json {
        true => format!("{}\n", text::to_json(settings, &trained)),
        false => text::to_text(settings, &trained),
    };
    terminal::print(&text)?;
    Ok(finished(&trained))
}

/// The exit code, with what there is to say about it.
fn finished(trained: &Trained) -> ExitCode {
    match &trained.evaluation {
        Some(evaluation) => terminal::finished(evaluation.non_finite_rows()),
        None => {
            terminal::say(
                "error: the loss is no longer finite, and nothing was written: take a smaller --lr",
            );
            ExitCode::FAILURE
        }
    }
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
