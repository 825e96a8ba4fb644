//! `attnscope sweep`: all runs of a grid, trained until they are there.

mod progress;
mod text;

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, thread};

use candle_core::Device;
use clap::{ArgAction, builder::FalseyValueParser};

use self::progress::SweepProgress;
use super::{
    drawn::{drawn_or_said, names},
    terminal,
};
use crate::{
    Error, Result,
    corpus::Shard,
    figures::{Format, draw_sweep, is_sweep_figure, remove_figures, replace_figures},
    scan::device::open,
    store::sweep::{EndState, HEADS, RUNS, RunRecord, SWEEP_JSON, SweepTable},
    train::sweep::{self, Filter, Grid, Outcome, Request, Selection},
};

/// Train every run of a grid, and measure their heads: the paper's experiments, or your own
#[derive(Debug, clap::Args)]
pub struct Args {
    /// induction (8,640 runs) or classification (12,960), the paper's grids, or a YAML file of the form parameters:
    /// {name: {values: […]}}
    #[arg(env = "ATTNSCOPE_GRID")]
    grid: String,

    /// Directory for records, tables and figures; a sweep of the same grid that is there is continued
    #[arg(
        long,
        env = "ATTNSCOPE_OUT",
        value_name = "DIR",
        required_unless_present = "dry_run"
    )]
    out: Option<PathBuf>,

    /// cpu, cuda:N or metal; auto takes a GPU if there is one and this binary was built for it
    #[arg(long, env = "ATTNSCOPE_DEVICE", default_value = "cpu")]
    device: String,

    /// Runs that are trained at a time [default: one for each core; 16 on a GPU]
    #[arg(long, env = "ATTNSCOPE_JOBS", value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// Train only part I of N, counted from 0: one part on each of several machines, or beside each other
    #[arg(long, env = "ATTNSCOPE_SHARD", value_name = "I/N")]
    shard: Option<Shard>,

    /// Train only runs with one of these values of a key; again for another key (in the variable: after a semicolon)
    #[arg(long, env = "ATTNSCOPE_FILTER", value_name = "KEY=V1,V2,…", value_delimiter = ';', action = ArgAction::Append)]
    filter: Vec<String>,

    /// Train only the first N runs that the filters leave
    #[arg(long, env = "ATTNSCOPE_LIMIT", value_name = "N")]
    limit: Option<usize>,

    /// List the runs, and which are done; train nothing and write nothing
    #[arg(long, env = "ATTNSCOPE_DRY_RUN", value_parser = FalseyValueParser::new())]
    dry_run: bool,

    /// Print one JSON object instead of the table
    #[arg(long, env = "ATTNSCOPE_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args, quiet: bool) -> anyhow::Result<ExitCode> {
    let grid = Grid::named(&args.grid)?;
    let filters = args.filter.iter();
    let selection = Selection {
        filters: filters
            .map(|text| Filter::parse(text, &grid))
            .collect::<Result<_>>()?,
        limit: args.limit,
        shard: args.shard,
    };
    match (&args.out, args.dry_run) {
        (out, true) => {
            let plan = sweep::plan(&grid, &selection, out.as_deref())?;
            terminal::print(&match args.json {
                true => format!("{}\n", text::plan_to_json(&grid, &plan)),
                false => text::plan_to_text(&grid, &plan),
            })?;
            Ok(ExitCode::SUCCESS)
        }
        (Some(out), false) => {
            let (device, device_name) = open(&args.device)?;
            let request = Request {
                grid: &grid,
                selection,
                jobs: args.jobs.unwrap_or_else(|| jobs(&device)),
                out,
                device_name: &device_name,
            };
            Ok(train(&request, &device, args.json, quiet)?)
        }
        // The parser does not let it come to this.
        (None, false) => Err(Error::Usage("sweep needs --out DIR".into()).into()),
    }
}

/// Runs at a time, if nobody says: as many as a device computes in about the time of one.
fn jobs(device: &Device) -> NonZeroUsize {
    match device {
        Device::Cpu => thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        _ => const { NonZeroUsize::new(16).unwrap() },
    }
}

fn train(request: &Request<'_>, device: &Device, is_json: bool, quiet: bool) -> Result<ExitCode> {
    terminal::catch_signals();
    let progress = SweepProgress::new(request.grid, quiet);
    let outcome = sweep::run(request, device, &progress);
    progress.finish();
    let outcome = outcome?;
    let mut files = vec![SWEEP_JSON.into(), RUNS.into(), HEADS.into()];
    let drawn = draw(request);
    files.extend(drawn.iter().flatten().cloned());
    // A disk that is full takes nothing from what is printed.
    terminal::print(&match is_json {
        true => format!("{}\n", text::to_json(request.grid, &outcome, &files)),
        false => text::to_text(request.grid, &outcome),
    })?;
    drawn?;
    Ok(finished(request, &outcome))
}

/// Draws the tables that were just written in place of the figures of earlier ones, and says which files that makes.
fn draw(request: &Request<'_>) -> Result<Vec<String>> {
    let table = SweepTable::read(&request.out.join(RUNS))?;
    let written = draw_sweep(&table).and_then(|drawn| {
        for remark in &drawn.remarks {
            tracing::info!("{remark}");
        }
        replace_figures(&drawn.figures, &Format::ALL, request.out)
    });
    let files = drawn_or_said(written, "the tables")?;
    remove_figures(request.out, &files, is_sweep_figure)?;
    Ok(names(&files))
}

/// The exit code, with what there is to say about it.
fn finished(request: &Request<'_>, outcome: &Outcome) -> ExitCode {
    let ended = || {
        let runs = outcome.plan.runs.iter();
        runs.filter_map(|(run, _)| outcome.published.records.get(run))
    };
    let count = |is: fn(&&RunRecord) -> bool| ended().filter(is).count();
    let diverged = count(|run| run.state == EndState::Diverged);
    if diverged > 0 {
        tracing::warn!(
            "{diverged} of {} runs diverged; column state says which",
            ended().count()
        );
    }
    let odd = count(|run| run.heads.iter().any(|head| head.non_finite_rows > 0));
    if odd > 0 {
        tracing::warn!(
            "{odd} runs have attention rows that are not finite; column non_finite_rows says which"
        );
    }
    if outcome.is_stopped {
        terminal::say(&format!(
            "interrupted; the {} runs that are over are kept in {}: continue with the same command",
            ended().count(),
            request.out.display()
        ));
        return ExitCode::from(75);
    }
    ExitCode::SUCCESS
}
