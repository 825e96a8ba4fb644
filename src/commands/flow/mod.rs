//! `attnscope flow`: the value-softmax model, followed.

mod arguments;
mod check;
mod experiment;
mod map;
mod output;
mod text;

use std::process::ExitCode;

use clap::Subcommand;

use crate::flow::experiments;

/// Follow the paper's value-softmax model: its experiments, its statements, phase maps
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Logistic loss, 8 scores: scores and projections polarise (the paper's Figure 2)
    Logistic(experiment::Args),
    /// Square loss, six normalisations (Figure 13)
    Square(experiment::Args),
    /// Logistic loss, six normalisations (Figure 13)
    Normalizations(experiment::Args),
    /// Regression, designs of growing condition number (Figures 3 and 12)
    Conditioning(experiment::Args),
    /// Cross-entropy to a target distribution (Figure 10)
    Kl(experiment::Args),
    /// One matrix for values and scores, four sizes (Figure 11)
    Tied(experiment::Args),
    /// Several rows of scores over the same values (Section 4.1); all start at 0 and stay equal unless --score-scale
    /// is above 0, like 0.1
    Rows(experiment::Args),
    /// All of them; --out gets a subdirectory for each
    All(experiment::Args),
    /// Hold the paper's statements against runs
    Check(check::Args),
    /// Where runs end, over a grid of two choices: a phase map
    Map(map::Args),
}

/// Runs the command.
pub fn run(args: Args, quiet: bool) -> anyhow::Result<ExitCode> {
    match args.what {
        What::Logistic(args) => experiment::run(args, &experiments::LOGISTIC, quiet),
        What::Square(args) => experiment::run(args, &experiments::SQUARE, quiet),
        What::Normalizations(args) => experiment::run(args, &experiments::NORMALIZATIONS, quiet),
        What::Conditioning(args) => experiment::run(args, &experiments::CONDITIONING, quiet),
        What::Kl(args) => experiment::run(args, &experiments::KL, quiet),
        What::Tied(args) => experiment::run(args, &experiments::TIED, quiet),
        What::Rows(args) => experiment::run(args, &experiments::ROWS, quiet),
        What::All(args) => experiment::run_all(args, quiet),
        What::Check(args) => check::run(args, quiet),
        What::Map(args) => map::run(args, quiet),
    }
}
