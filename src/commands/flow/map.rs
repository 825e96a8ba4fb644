//! `attnscope flow map`: where runs end, over a grid of two choices.

use std::{
    num::NonZeroUsize,
    path::PathBuf,
    process::ExitCode,
    time::{Instant, SystemTime},
};

use anyhow::anyhow;
use clap::builder::{FalseyValueParser, PossibleValuesParser, TypedValueParser};
use serde_json::json;

use super::arguments::{ChoiceArgs, FollowArgs, Method, flag, repeated};
use super::output;
use super::text::{Side, Table, count};
use crate::commands::{drawn::write_drawn, progress::RunProgress, terminal};
use crate::figures::{MapAxis, PhaseMap, draw_phase_map, phase_map_name};
use crate::flow::{
    experiments::{ALL, Experiment, Family},
    follow::Integrator,
    map::{self, Axis, Cell, Map, Measure, Parameter, Plan, Request},
};
use crate::store::flow::{ExperimentRecord, FlowManifest, MAP, write_map};
use crate::store::{create_directory, rfc3339};
use crate::{Error, Result};

/// What a map of the conditioning experiment varies.
const DEFAULTS: [&str; 2] = [
    "condition_number=1,2,3,4,5,6,7,8,9,10",
    "dim=5,10,15,20,25,30,35,40",
];

/// Where runs end, over a grid of two choices: a phase map
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The experiment
    #[arg(long, env = "ATTNSCOPE_EXPERIMENT", value_name = "NAME", default_value = "conditioning", value_parser = experiments())]
    experiment: Experiment<'static>,

    /// What is varied from left to right: dim, predictions, condition_number, samples, rows, sigma, value_scale,
    /// score_mean, score_scale, rate, steps or time [default of conditioning: condition_number=1,2,…,10]
    #[arg(long, env = "ATTNSCOPE_X", value_name = "NAME=V1,V2,…")]
    x: Option<Axis>,

    /// What is varied from the top down [default of conditioning: dim=5,10,…,40]
    #[arg(long, env = "ATTNSCOPE_Y", value_name = "NAME=V1,V2,…")]
    y: Option<Axis>,

    /// largest_weight or entropy, at the end
    #[arg(long, env = "ATTNSCOPE_QUANTITY", value_name = "NAME", default_value = "largest_weight", value_parser = measures())]
    quantity: Measure,

    #[command(flatten)]
    choices: ChoiceArgs,

    /// Runs of each cell, under the seeds S, S + 1, …; the map shows their mean
    #[arg(
        long,
        env = "ATTNSCOPE_REPLICAS",
        value_name = "R",
        default_value = "32"
    )]
    replicas: NonZeroUsize,

    #[command(flatten)]
    follow: FollowArgs,

    /// Directory for map.parquet, the figure and run.json; nothing is overwritten [default: they are not written]
    #[arg(long, env = "ATTNSCOPE_OUT", value_name = "DIR")]
    out: Option<PathBuf>,

    /// Print one JSON object instead of the map
    #[arg(long, env = "ATTNSCOPE_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

fn experiments() -> impl TypedValueParser<Value = Experiment<'static>> {
    PossibleValuesParser::new(ALL.map(|experiment| experiment.name)).try_map(|name| {
        let named = ALL.into_iter().find(|experiment| experiment.name == name);
        named.ok_or("is no experiment")
    })
}

fn measures() -> impl TypedValueParser<Value = Measure> {
    PossibleValuesParser::new(Measure::ALL.map(Measure::name)).try_map(|name| {
        let named = Measure::ALL
            .into_iter()
            .find(|measure| measure.name() == name);
        named.ok_or("is no quantity")
    })
}

/// Runs the command.
pub fn run(args: Args, quiet: bool) -> anyhow::Result<ExitCode> {
    let request = request(&args)?;
    if let Some(out) = &args.out {
        let figure = phase_map_name(&quantity(&request));
        output::refuse_occupied(out, &[MAP], &figure)?;
    }
    let started = SystemTime::now();
    let plan = Plan::of(&request)?;
    if let Some(out) = &args.out {
        create_directory(out)?;
    }
    let progress = RunProgress::new(request.runs(), quiet);
    let map = plan.follow(|done| progress.done(done));
    progress.finish();
    let map = map?;
    let seconds = started.elapsed().map_or(0.0, |time| time.as_secs_f64());
    tracing::info!("{} in {seconds:.1} s", count(request.runs(), "run"));
    terminal::print(&match args.json {
        true => format!("{}\n", to_json(&request, &map)),
        false => to_text(&request, &map),
    })?;
    if let Some(out) = &args.out {
        let manifest = FlowManifest {
            attnscope_version: env!("CARGO_PKG_VERSION").into(),
            command: repeat(&request),
            experiment: ExperimentRecord::of(&request.choices),
            axes: Some([request.x.to_string(), request.y.to_string()]),
            time: request.time,
            integrator: request.integrator.into(),
            records: 1,
            device: request.backend.name(),
            runs: request.runs(),
            failed: Vec::new(),
            files: Vec::new(),
            started_at: rfc3339(started),
            finished_at: String::new(),
            seconds_following: seconds,
            seconds_writing: 0.0,
        };
        write(out, &request, &map, manifest)?;
        tracing::info!("{} written", out.display());
    }
    finish(&request, &map)
}

fn request(args: &Args) -> Result<Request> {
    let integrator = args.follow.integrator(Method::Flow)?;
    let [x, y] = axes(args)?;
    for parameter in args.choices.given() {
        let says_the_end = |p: Parameter| [Parameter::Steps, Parameter::Time].contains(&p);
        for axis in [&x, &y] {
            let other = axis.parameter();
            if other == parameter || (says_the_end(other) && says_the_end(parameter)) {
                return Err(Error::Usage(format!(
                    "{} is varied by the axis {other}; leave the flag out, or vary something else with --x and --y",
                    flag(parameter),
                    other = other.name()
                )));
            }
        }
    }
    // At a rate that varies, the same time is another number of updates in every cell.
    let is_rate = |axis: &Axis| axis.parameter() == Parameter::Rate;
    let (replicas, experiment) = (args.replicas.get(), &args.experiment);
    let (choices, time) = match [&x, &y].into_iter().any(is_rate) {
        true => (
            args.choices.constants(experiment, replicas),
            args.choices.time(integrator)?,
        ),
        false => (
            args.choices.choices(experiment, replicas, integrator)?,
            None,
        ),
    };
    Ok(Request {
        choices,
        time,
        x,
        y,
        measure: args.quantity,
        integrator,
        backend: args.follow.backend()?,
    })
}

/// The axes that were given, and of the defaults what they leave.
fn axes(args: &Args) -> Result<[Axis; 2]> {
    let is_regression = matches!(args.experiment.family, Family::Regression { .. });
    let default = |flag: &str, other: Option<&Axis>| -> Result<Axis> {
        if !is_regression {
            return Err(Error::Usage(format!(
                "a map of {} needs {flag}, for example {flag} dim=5,10,20",
                args.experiment.name
            )));
        }
        let [first, second] = [DEFAULTS[0].parse::<Axis>()?, DEFAULTS[1].parse()?];
        let is_taken = |axis: &Axis| other.is_some_and(|o| o.parameter() == axis.parameter());
        let in_order = if flag == "--x" {
            [first, second]
        } else {
            [second, first]
        };
        let [preferred, fallback] = in_order;
        Ok(if is_taken(&preferred) {
            fallback
        } else {
            preferred
        })
    };
    let x = match &args.x {
        Some(axis) => axis.clone(),
        None => default("--x", args.y.as_ref())?,
    };
    let y = match &args.y {
        Some(axis) => axis.clone(),
        None => default("--y", Some(&x))?,
    };
    Ok([x, y])
}

fn repeat(request: &Request) -> String {
    let mut said = vec![request.x.parameter(), request.y.parameter()];
    let mut more = vec![
        ("--experiment", request.choices.name().into()),
        ("--x", request.x.to_string()),
        ("--y", request.y.to_string()),
        ("--quantity", request.measure.name().into()),
    ];
    if let Some(time) = request.time {
        said.push(Parameter::Time);
        more.push((flag(Parameter::Time), time.to_string()));
    }
    let (choices, integrator) = (&request.choices, request.integrator);
    repeated("map", choices, integrator, &request.backend, &said, &more)
}

fn write(
    out: &std::path::Path,
    request: &Request,
    map: &Map,
    mut manifest: FlowManifest,
) -> Result<()> {
    let began = Instant::now();
    write_map(&out.join(MAP), request, map, &output::provenance(&manifest))?;
    manifest.files = vec![MAP.into()];
    let drawn = draw_phase_map(&phase_map(request, map)).map(|figure| vec![figure]);
    manifest
        .files
        .extend(write_drawn(out, drawn, "the tables")?);
    output::finish(out, manifest, began)
}

fn phase_map(request: &Request, map: &Map) -> PhaseMap {
    let axis = |axis: &Axis| MapAxis {
        name: name(axis.parameter()).into(),
        values: axis.values().iter().map(ToString::to_string).collect(),
    };
    let failed: usize = map.cells.iter().map(|cell| cell.failed).sum();
    let varied = [request.x.parameter(), request.y.parameter()];
    let is_varied = |parameter| varied.contains(&parameter);
    let choices = &request.choices;
    let end = match request.integrator {
        _ if is_varied(Parameter::Steps) || is_varied(Parameter::Time) => String::new(),
        Integrator::Descent => format!(", {} updates", choices.steps),
        Integrator::Flow(_) if request.time.is_some() => told_time(request.time),
        Integrator::Flow(_) if is_varied(Parameter::Rate) => {
            format!(", t = {} η", choices.steps)
        }
        Integrator::Flow(_) => told_time(Some(choices.rate * choices.steps as f64)),
    };
    let told = format!(
        "Experiment: {}, {}{end}",
        choices.name(),
        match request.integrator {
            Integrator::Descent => "gradient descent",
            Integrator::Flow(_) => "gradient flow",
        }
    );
    PhaseMap {
        x: axis(&request.x),
        y: axis(&request.y),
        quantity: quantity(request),
        cells: map
            .cells
            .iter()
            .map(|cell| cell.spread.map(|spread| spread.mean))
            .collect(),
        replicas: request.choices.replicas,
        note: match failed {
            0 => told,
            _ => format!(
                "{told}; {failed} of {} runs did not come to their end and are left out",
                request.runs()
            ),
        },
    }
}

/// `, t = 300`.
fn told_time(time: Option<f64>) -> String {
    time.map_or(String::new(), |time| {
        format!(", t = {}", map::Value::Number(time))
    })
}

/// What is varied, for a person.
fn name(parameter: Parameter) -> &'static str {
    match parameter {
        Parameter::Dim => "scores (d)",
        Parameter::Predictions => "entries of a prediction (p)",
        Parameter::ConditionNumber => "condition number (κ)",
        Parameter::Samples => "rows of the design (n)",
        Parameter::Rows => "rows of scores",
        Parameter::Sigma => "σ",
        Parameter::ValueScale => "scale of the values at the start",
        Parameter::ScoreMean => "mean of the scores at the start",
        Parameter::ScoreScale => "standard deviation of the scores at the start",
        Parameter::Rate => "rate (η)",
        Parameter::Steps => "steps",
        Parameter::Time => "time (t)",
    }
}

/// What the cells of the figure tell.
fn quantity(request: &Request) -> String {
    format!("final {}", words(request.measure))
}

/// Says how many runs failed. That is no failure of the map, which counts them, unless nothing else is left.
fn finish(request: &Request, map: &Map) -> anyhow::Result<ExitCode> {
    let failed: usize = map.cells.iter().map(|cell| cell.failed).sum();
    let Some((x, y, failure)) = &map.first_failure else {
        return Ok(ExitCode::SUCCESS);
    };
    let told = format!(
        "{failed} of {} runs did not come to their end and are left out, the first at {} = {x}, {} = {y}: {failure}",
        request.runs(),
        request.x.parameter().name(),
        request.y.parameter().name(),
    );
    match failed == request.runs() {
        true => Err(anyhow!("{told}")),
        false => {
            tracing::warn!("{told}");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn to_json(request: &Request, map: &Map) -> serde_json::Value {
    let value = |value: map::Value| match value {
        map::Value::Whole(number) => json!(number),
        map::Value::Number(number) => json!(number),
        map::Value::Sigma(sigma) => json!(sigma.name()),
    };
    let axis = |axis: &Axis| {
        let values: Vec<_> = axis.values().iter().copied().map(value).collect();
        json!({ "name": axis.parameter().name(), "values": values })
    };
    let cell = |cell: &Cell| {
        json!({
            "x": value(cell.x),
            "y": value(cell.y),
            "mean": cell.spread.map(|spread| spread.mean),
            "median": cell.spread.map(|spread| spread.median),
            "min": cell.spread.map(|spread| spread.min),
            "max": cell.spread.map(|spread| spread.max),
            "replicas": cell.replicas,
            "counted": cell.counted,
            "failed": cell.failed,
        })
    };
    json!({
        "experiment": request.choices.name(),
        "quantity": request.measure.name(),
        "x": axis(&request.x),
        "y": axis(&request.y),
        "replicas": request.choices.replicas,
        "seed": request.choices.seed,
        "cells": map.cells.iter().map(cell).collect::<Vec<_>>(),
    })
}

fn to_text(request: &Request, map: &Map) -> String {
    let (x, y) = (&request.x, &request.y);
    let corner = format!("{} \\ {}", y.parameter().name(), x.parameter().name());
    let columns: Vec<String> = x.values().iter().map(ToString::to_string).collect();
    let mut headings = vec![(corner.as_str(), Side::Right)];
    headings.extend(columns.iter().map(|name| (name.as_str(), Side::Right)));
    let mut table = Table::new(&headings);
    for (value, cells) in y.values().iter().zip(map.cells.chunks(x.values().len())) {
        let mut line = vec![value.to_string()];
        line.extend(cells.iter().map(|cell| match cell.spread {
            Some(spread) => format!("{:.4}", spread.mean),
            None => "–".into(),
        }));
        table.push(line);
    }
    format!(
        "{}: {} at the end, mean over {}\n{}",
        request.choices.name(),
        words(request.measure),
        count(request.choices.replicas, "seed"),
        table.to_text()
    )
}

/// A quantity for a person.
fn words(measure: Measure) -> &'static str {
    match measure {
        Measure::LargestWeight => "largest weight",
        Measure::Entropy => "entropy (nats)",
    }
}
