//! The command line: one file per subcommand. Presentation only; the work is done in the other rooms.
//!
//! Data goes to stdout, progress and logs to stderr.

mod compare;
mod comparison_text;
mod convert;
mod converted;
mod datasets;
mod demo;
mod download;
mod drawn;
mod figures;
mod flow;
mod inspect;
mod measures;
mod merge;
mod models;
mod progress;
mod report;
mod scan;
mod summary;
mod sweep;
mod terminal;
mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand, builder::FalseyValueParser};

/// Measures how sparse the attention of pretrained language models is, head by head.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Print nothing on stderr but errors
    #[arg(short, long, global = true, env = "ATTNSCOPE_QUIET", value_parser = FalseyValueParser::new())]
    quiet: bool,

    /// Say more on stderr; twice for everything (RUST_LOG overrides this)
    #[arg(short, long, global = true, env = "ATTNSCOPE_VERBOSE", action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Scan(scan::Args),
    Merge(merge::Args),
    Compare(compare::Args),
    Figures(figures::Args),
    Report(report::Args),
    Inspect(inspect::Args),
    Flow(flow::Args),
    Train(train::Args),
    Sweep(sweep::Args),
    Convert(convert::Args),
    Download(download::Args),
    Models(models::Args),
    Datasets(datasets::Args),
}

/// Parses the command line, runs the command, and turns its result into an exit code: 0 done, 1 failure,
/// 2 usage, 3 bad model, data or tokenizer, 4 network, 5 does not fit in memory, 6 finished but non-finite
/// rows were found, 75 interrupted and resumable.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    terminal::init_logging(cli.quiet, cli.verbose);
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !crate::corpus::panics_are_caught() {
            report(panic);
        }
    }));
    if matches!(cli.command, Command::Train(_) | Command::Sweep(_)) {
        // SAFETY: nothing has been started yet.
        unsafe { crate::train::leave_threads_to_rayon() };
    }
    let quiet = cli.quiet;
    let result = match cli.command {
        Command::Demo(args) => demo::run(args, quiet),
        Command::Scan(args) => scan::run(args, quiet),
        Command::Merge(args) => merge::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Figures(args) => figures::run(args),
        Command::Report(args) => report::run(args),
        Command::Inspect(args) => inspect::run(args, quiet),
        Command::Flow(args) => flow::run(args, quiet),
        Command::Train(args) => train::run(args, quiet),
        Command::Sweep(args) => sweep::run(args, quiet),
        Command::Convert(args) => convert::run(args, quiet),
        Command::Download(args) => download::run(args, quiet),
        Command::Models(args) => models::run(args),
        Command::Datasets(args) => datasets::run(args),
    };
    result.unwrap_or_else(|error| {
        terminal::say(&format!("error: {error}"));
        let code = error
            .downcast_ref::<crate::Error>()
            .map_or(1, crate::Error::exit_code);
        ExitCode::from(code)
    })
}
