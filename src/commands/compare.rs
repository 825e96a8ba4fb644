//! `attnscope compare`: two or more scans, held against each other.

use std::{collections::BTreeMap, fmt::Write, path::PathBuf, process::ExitCode};

use clap::builder::FalseyValueParser;

use super::terminal;
use crate::compare::{
    self, Comparison, Deals, Distance, Estimate, Metric, Request, SINK, ScanComparison,
    ScanSummary, Statistic,
};

/// Compare how the heads of two or more scans are distributed; the first scan is the reference
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Scan directories, or single parquet files of scans
    #[arg(required = true, value_name = "SCAN")]
    scans: Vec<PathBuf>,

    /// Directory for comparison.parquet and comparison.json [default: they are not written]
    #[arg(long, env = "ATTNSCOPE_OUT")]
    out: Option<PathBuf>,

    /// Compare scans of other texts, draws or lengths all the same
    #[arg(long, env = "ATTNSCOPE_FORCE", value_parser = FalseyValueParser::new())]
    force: bool,

    /// Seed of the permutations and the resamples
    #[arg(long, env = "ATTNSCOPE_SEED", default_value_t = 42)]
    seed: u64,

    /// Permutations for the p-values; all there are if they are no more; 0 for none
    #[arg(long, env = "ATTNSCOPE_PERMUTATIONS", default_value_t = 10_000)]
    permutations: u64,

    /// Resamples of the texts for the 95 % intervals; 0 for none
    #[arg(long, env = "ATTNSCOPE_RESAMPLES", default_value_t = 2_000)]
    resamples: u64,

    /// Print one JSON object instead of the tables
    #[arg(long, env = "ATTNSCOPE_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(out) = &args.out {
        compare::refuse_occupied(out)?;
    }
    let comparison = compare::compare(&Request {
        scans: args.scans,
        force: args.force,
        seed: args.seed,
        permutations: args.permutations,
        resamples: args.resamples,
    })?;
    for difference in &comparison.differences {
        tracing::warn!("{difference}: they are compared because of --force");
    }
    for remark in &comparison.remarks {
        tracing::warn!("{remark}");
    }
    if let Some(out) = &args.out {
        compare::write(&comparison, out)?;
        tracing::info!("{} written", out.display());
    }
    let mut text = String::new();
    if args.json {
        writeln!(text, "{}", serde_json::to_string(&comparison)?)?;
    } else {
        write_text(&mut text, &comparison)?;
    }
    terminal::print(&text)?;
    let non_finite: i64 = comparison
        .scans
        .iter()
        .map(|scan| scan.non_finite_rows)
        .sum();
    Ok(terminal::finished(u64::try_from(non_finite).unwrap_or(0)))
}

fn write_text(text: &mut String, comparison: &Comparison) -> std::fmt::Result {
    for scan in &comparison.scans {
        write_heading(text, scan)?;
    }
    let width = comparison
        .scans
        .iter()
        .map(|scan| scan.label.chars().count());
    let width = width.max().unwrap_or(0);
    for metric in Metric::ALL {
        writeln!(text, "\n{}", metric.description())?;
        write!(
            text,
            "{:width$}  heads     mean   95 % interval     median",
            ""
        )?;
        write!(text, "      5 %     25 %     75 %     95 %")?;
        if metric.has_thresholds() {
            write!(text, "   > 0.5   > 0.9")?;
        }
        writeln!(text)?;
        for scan in &comparison.scans {
            write!(text, "{:width$}  {:>5}", scan.label, scan.heads)?;
            for (statistic, estimate) in scan.metrics.get(&metric).into_iter().flatten() {
                write_statistic(text, *statistic, estimate)?;
            }
            writeln!(text)?;
        }
    }
    for pair in &comparison.comparisons {
        write_pair(text, pair)?;
    }
    write!(text, "\nsink heads (first-token share > {SINK}): ")?;
    let sinks: Vec<String> = comparison
        .scans
        .iter()
        .map(|scan| format!("{} {} of {}", scan.label, scan.sink_heads, scan.heads))
        .collect();
    writeln!(text, "{}", sinks.join(", "))?;
    if comparison.resamples > 0 {
        writeln!(
            text,
            "95 % intervals: {} resamples of the texts",
            comparison.resamples
        )?;
    }
    if !comparison.differences.is_empty() {
        writeln!(text, "\nthese scans did not measure the same thing")?;
        for difference in &comparison.differences {
            writeln!(text, "  {difference}")?;
        }
    }
    if !comparison.remarks.is_empty() {
        writeln!(text, "\nremarks")?;
        for remark in &comparison.remarks {
            writeln!(text, "  {remark}")?;
        }
    }
    Ok(())
}

fn write_heading(text: &mut String, scan: &ScanSummary) -> std::fmt::Result {
    let known = [&scan.model.attention_function, &scan.model.dtype];
    write!(text, "{} (", scan.label)?;
    for fact in known.into_iter().flatten() {
        write!(text, "{fact}, ")?;
    }
    writeln!(
        text,
        "{}): {} samples, {} tokens",
        scan.shape, scan.samples, scan.tokens
    )
}

fn write_statistic(
    text: &mut String,
    statistic: Statistic,
    estimate: &Estimate,
) -> std::fmt::Result {
    match statistic {
        Statistic::Mean => write!(
            text,
            "  {:>7.4}  {:>16}",
            estimate.value,
            interval(estimate)
        ),
        Statistic::ShareAbove05 | Statistic::ShareAbove09 => {
            write!(text, "  {:>5.1}%", 100.0 * estimate.value)
        }
        _ => write!(text, "  {:>7.4}", estimate.value),
    }
}

fn write_pair(text: &mut String, pair: &ScanComparison) -> std::fmt::Result {
    writeln!(text, "\n{} against {}", pair.scan, pair.reference)?;
    writeln!(
        text,
        "{:17}  {:23}  {:>8}  {:>18}  {:>8}  {:>15}",
        "", "", "", "95 % interval", "p", "p within layers"
    )?;
    for (metric, distances) in &pair.metrics {
        write_distances(text, *metric, distances)?;
    }
    let deals = |deals: Deals| match deals.exact {
        true => format!("all {} permutations of heads", deals.count),
        false => format!("{} permutations of heads", deals.count),
    };
    if let Some(over_all) = pair.permutations {
        write!(text, "p: {}", deals(over_all))?;
        if let Some(within) = pair.permutations_within_layers {
            write!(text, ", within layers {}", deals(within))?;
        }
        writeln!(
            text,
            "; heads of one model are not independent, so read p with care"
        )?;
    }
    Ok(())
}

fn write_distances(
    text: &mut String,
    metric: Metric,
    distances: &BTreeMap<Distance, compare::DistanceEstimate>,
) -> std::fmt::Result {
    for (at, (distance, found)) in distances.iter().enumerate() {
        let name = match distance {
            Distance::MeanDifference => "difference of means",
            Distance::Wasserstein => "Wasserstein-1",
            Distance::KolmogorovSmirnov => "Kolmogorov–Smirnov D",
        };
        let metric = if at == 0 { metric.name() } else { "" };
        writeln!(
            text,
            "{metric:17}  {name:23}  {:>8.4}  {:>18}  {:>8}  {:>15}",
            found.estimate.value,
            interval(&found.estimate),
            p_value(found.p_value),
            p_value(found.p_value_within_layers)
        )?;
    }
    Ok(())
}

fn interval(estimate: &Estimate) -> String {
    match (estimate.low, estimate.high) {
        (Some(low), Some(high)) => format!("{low:.4} … {high:.4}"),
        _ => "–".into(),
    }
}

fn p_value(p: Option<f64>) -> String {
    match p {
        Some(p) if p < 5e-5 => format!("{p:.1e}"),
        Some(p) => format!("{p:.4}"),
        None => "–".into(),
    }
}
