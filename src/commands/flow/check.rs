//! `attnscope flow check`: the paper's statements, held against runs.

use std::{fmt::Write, num::NonZeroUsize, process::ExitCode, time::Instant};

use anyhow::anyhow;
use clap::builder::{FalseyValueParser, PossibleValuesParser, TypedValueParser};
use serde_json::json;

use super::arguments::{Method, RunArgs};
use super::text::{Side, Table, count, describe};
use crate::commands::{progress::RunProgress, terminal};
use crate::flow::{
    checks::{self, Finding, SQUARE_FROM_ZERO, Statement, Verdict, check},
    experiments::{ALL, Experiment},
    follow::{Records, Settings, follow},
    trajectory::Followed,
};
use crate::{Error, Result, machine};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Experiments whose runs are checked: those of the notebook, and square-from-zero, which meets the assumptions
    /// about the square loss [default: all]
    #[arg(value_name = "EXPERIMENT", value_parser = experiments())]
    experiments: Vec<Experiment<'static>>,

    #[command(flatten)]
    runs: RunArgs,

    /// Records of each run that are checked, equally spaced in log t
    #[arg(
        long,
        env = "ATTNSCOPE_RECORDS",
        value_name = "N",
        default_value = "400"
    )]
    records: NonZeroUsize,

    /// Print one JSON object instead of the tables
    #[arg(long, env = "ATTNSCOPE_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Those that meet the assumptions first, then the others.
fn all() -> Vec<Experiment<'static>> {
    let mut all = checks::EXACT.to_vec();
    all.extend(ALL.into_iter().filter(|experiment| {
        checks::EXACT
            .iter()
            .all(|exact| exact.name != experiment.name)
    }));
    all
}

fn experiments() -> impl TypedValueParser<Value = Experiment<'static>> {
    let names = ALL.map(|experiment| experiment.name);
    let names = names.into_iter().chain([SQUARE_FROM_ZERO.name]);
    PossibleValuesParser::new(names).try_map(|name| {
        let named = all().into_iter().find(|experiment| experiment.name == name);
        named.ok_or("is no experiment")
    })
}

/// A run, and what was found of it; nothing if it did not come to its end.
struct Checked {
    followed: Followed,
    findings: Vec<Finding>,
}

/// Runs the command.
pub fn run(args: Args, quiet: bool) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let checked = follow_and_check(&args, quiet)?;
    let totals = Totals::of(&checked);
    tracing::info!(
        "{} followed and checked in {:.1} s",
        count(checked.len(), "run"),
        started.elapsed().as_secs_f64()
    );
    terminal::print(&match args.json {
        true => format!("{}\n", to_json(&checked, &totals)),
        false => to_text(&checked, &totals),
    })?;
    match (totals.failed, totals.violated) {
        (0, 0) => Ok(ExitCode::SUCCESS),
        (0, violated) => Err(anyhow!("{} violated", count(violated, "statement"))),
        (failed, violated) => Err(anyhow!(
            "{} ended early and could not be checked; {} violated",
            count(failed, "run"),
            count(violated, "statement")
        )),
    }
}

fn follow_and_check(args: &Args, quiet: bool) -> Result<Vec<Checked>> {
    let integrator = args.runs.follow.integrator(Method::Flow)?;
    let backend = args.runs.follow.backend()?;
    let experiments = match &args.experiments[..] {
        [] => all(),
        named => named.to_vec(),
    };
    if experiments.len() > 1 {
        args.runs.choices.check_some_has(&experiments)?;
    }
    let (mut runs, mut needed) = (Vec::new(), 0u64);
    let mut all_choices = Vec::new();
    for (at, experiment) in experiments.iter().enumerate() {
        if experiments[..at]
            .iter()
            .any(|other| other.name == experiment.name)
        {
            return Err(Error::Usage(format!(
                "{} is there twice; name it once",
                experiment.name
            )));
        }
        let own = match experiments.len() {
            1 => Some(args.runs.choices.clone()),
            _ => args.runs.choices.of_all(experiment, integrator),
        };
        let Some(own) = own else { continue };
        let choices = own.choices(experiment, args.runs.replicas.get(), integrator)?;
        needed = needed.saturating_add(choices.memory(args.records.get(), true));
        all_choices.push(choices);
    }
    machine::check_memory(
        needed,
        "take fewer --replicas, fewer --records or a smaller --dim",
    )?;
    for choices in &all_choices {
        runs.extend(choices.runs()?);
    }
    let progress = RunProgress::new(runs.len(), quiet);
    let followed = follow(
        runs,
        &Settings {
            backend: backend.clone(),
            integrator,
            records: Records::Logarithmic(args.records.get()),
            keep_values: true,
        },
        |done| progress.done(done),
    );
    progress.finish();
    let checked = followed?.into_iter().map(|followed| {
        let findings = match followed.failure {
            None => check(&followed, integrator)?,
            Some(_) => Vec::new(),
        };
        Ok(Checked { followed, findings })
    });
    checked.collect()
}

/// How many findings, over all runs.
#[derive(Debug, Default)]
struct Totals {
    holds: usize,
    violated: usize,
    discretisation: usize,
    not_applicable: usize,
    /// Runs that ended early.
    failed: usize,
}

impl Totals {
    fn of(checked: &[Checked]) -> Self {
        let mut totals = Self::default();
        for run in checked {
            totals.failed += usize::from(run.followed.failure.is_some());
            for finding in &run.findings {
                match finding.verdict {
                    Verdict::Holds => totals.holds += 1,
                    Verdict::Violated { discretisation, .. } => {
                        totals.violated += 1;
                        totals.discretisation += usize::from(discretisation);
                    }
                    Verdict::NotApplicable { .. } => totals.not_applicable += 1,
                }
            }
        }
        totals
    }
}

fn to_text(checked: &[Checked], totals: &Totals) -> String {
    let mut text = String::new();
    for run in checked {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", describe(&run.followed));
        if let Some(failure) = &run.followed.failure {
            let _ = writeln!(text, "  not checked: {failure}\n");
            continue;
        }
        let mut table = Table::new(&[
            ("  statement", Side::Left),
            ("what was measured", Side::Left),
            ("worst", Side::Right),
            ("bound", Side::Right),
            ("at t", Side::Right),
            ("", Side::Left),
        ]);
        let mut silent: Vec<(&str, Vec<&str>)> = Vec::new();
        for finding in &run.findings {
            if let Verdict::NotApplicable { reason } = &finding.verdict {
                let name = finding.statement.name();
                match silent.iter_mut().find(|(other, _)| other == reason) {
                    Some((_, names)) if !names.contains(&name) => names.push(name),
                    Some(_) => {}
                    None => silent.push((reason, vec![name])),
                }
                continue;
            }
            let number = |of: fn(&checks::Measured) -> f64| {
                let worst = finding.worst.as_ref();
                worst.map_or("–".into(), |worst| format!("{:.2e}", of(worst)))
            };
            table.push(vec![
                format!("  {}", finding.statement.name()),
                finding.quantity.clone(),
                number(|worst| worst.value),
                number(|worst| worst.bound),
                number(|worst| worst.time),
                verdict(&finding.verdict),
            ]);
        }
        text.push_str(&table.to_text());
        for (reason, names) in silent {
            let _ = writeln!(text, "  {}: does not apply: {reason}", names.join(", "));
        }
        text.push('\n');
    }
    let Totals {
        holds,
        violated,
        discretisation,
        not_applicable,
        ..
    } = totals;
    let _ = write!(text, "{holds} hold, {violated} violated");
    if *discretisation > 0 {
        let _ = write!(
            text,
            " ({discretisation} of them because gradient descent is not the flow)"
        );
    }
    let _ = writeln!(
        text,
        ", {not_applicable} do not apply; {}",
        count(checked.len(), "run")
    );
    text
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Violated {
            time,
            updates,
            size,
            discretisation,
        } => format!(
            "VIOLATED at t = {time:.4e}, step {updates}, by {size:.1e}{}",
            match discretisation {
                true => ": the rate is not 0",
                false => "",
            }
        ),
        Verdict::Holds | Verdict::NotApplicable { .. } => "holds".into(),
    }
}

fn to_json(checked: &[Checked], totals: &Totals) -> serde_json::Value {
    let finding = |finding: &Finding| {
        let (name, violation, reason) = match &finding.verdict {
            Verdict::Holds => ("holds", None, None),
            Verdict::NotApplicable { reason } => ("not_applicable", None, Some(reason)),
            Verdict::Violated {
                time,
                updates,
                size,
                discretisation,
            } => {
                let violation = json!({
                    "time": time,
                    "step": updates,
                    "size": size,
                    "discretisation": discretisation,
                });
                ("violated", Some(violation), None)
            }
        };
        let worst = finding.worst.map(|worst| {
            json!({
                "value": worst.value,
                "bound": worst.bound,
                "time": worst.time,
                "step": worst.updates,
            })
        });
        json!({
            "statement": finding.statement.name(),
            "quantity": finding.quantity,
            "worst": worst,
            "verdict": name,
            "violation": violation,
            "reason": reason,
        })
    };
    let run = |checked: &Checked| {
        let run = &checked.followed.run;
        json!({
            "experiment": run.experiment,
            "sigma": run.sigma().name(),
            "dim": run.problem.model().positions(),
            "condition_number": run.condition_number,
            "seed": run.seed,
            "failure": checked.followed.failure.as_ref().map(Error::to_string),
            "findings": checked.findings.iter().map(finding).collect::<Vec<_>>(),
        })
    };
    let statements = Statement::ALL.map(
        |statement| json!({ "name": statement.name(), "description": statement.description() }),
    );
    json!({
        "statements": statements,
        "runs": checked.iter().map(run).collect::<Vec<_>>(),
        "holds": totals.holds,
        "violated": totals.violated,
        "discretisation": totals.discretisation,
        "not_applicable": totals.not_applicable,
        "failed": totals.failed,
    })
}
