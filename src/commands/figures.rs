//! `attnscope figures`: plots of one scan, or of several beside each other.

use std::{fmt::Write, path::PathBuf, process::ExitCode};

use clap::ValueEnum;
use clap::builder::{FalseyValueParser, PossibleValuesParser, TypedValueParser};
use serde_json::json;

use super::terminal;
use crate::compare::Metric;
use crate::figures::{self, Format, Request};

/// Draw scans: histograms, a map of all heads, scores by layer, sparsity against first-token share
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Scan directories, or single parquet files of scans
    #[arg(required = true, value_name = "SCAN")]
    scans: Vec<PathBuf>,

    /// Directory for the figures; none is overwritten
    #[arg(long, env = "ATTNSCOPE_OUT")]
    out: PathBuf,

    /// Kinds of files
    #[arg(
        long,
        env = "ATTNSCOPE_FORMAT",
        value_delimiter = ',',
        default_value = "svg,png"
    )]
    format: Vec<FileFormat>,

    /// Metrics of the maps and of the scores by layer; may be repeated
    #[arg(long, env = "ATTNSCOPE_METRIC", value_delimiter = ',', default_value = "sparsity_score", value_parser = metrics())]
    metric: Vec<Metric>,

    /// Draw scans of other texts, draws or lengths all the same; the figures say so
    #[arg(long, env = "ATTNSCOPE_FORCE", value_parser = FalseyValueParser::new())]
    force: bool,

    /// Print one JSON object instead of the files' names
    #[arg(long, env = "ATTNSCOPE_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FileFormat {
    Svg,
    Png,
}

impl From<FileFormat> for Format {
    fn from(format: FileFormat) -> Self {
        match format {
            FileFormat::Svg => Format::Svg,
            FileFormat::Png => Format::Png,
        }
    }
}

/// A metric by the name of its column.
fn metrics() -> impl TypedValueParser<Value = Metric> {
    PossibleValuesParser::new(Metric::ALL.map(Metric::name)).try_map(|name| {
        let named = Metric::ALL.into_iter().find(|metric| metric.name() == name);
        named.ok_or("is no metric")
    })
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut formats: Vec<Format> = Vec::new();
    for format in args.format {
        if !formats.contains(&format.into()) {
            formats.push(format.into());
        }
    }
    figures::refuse_occupied(&args.out, &args.metric, &formats)?;
    let drawn = figures::draw(&Request {
        scans: args.scans,
        force: args.force,
        metrics: args.metric,
    })?;
    for difference in &drawn.differences {
        tracing::warn!("{difference}: they are drawn because of --force");
    }
    for remark in &drawn.remarks {
        tracing::warn!("{remark}");
    }
    let files = figures::write(&drawn, &formats, &args.out)?;
    let files: Vec<String> = files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let mut text = String::new();
    if args.json {
        let told = json!({
            "files": files,
            "scans": drawn.scans,
            "differences": drawn.differences,
            "remarks": drawn.remarks,
        });
        writeln!(text, "{told}")?;
    } else {
        for file in &files {
            writeln!(text, "{file}")?;
        }
    }
    terminal::print(&text)?;
    let non_finite: i64 = drawn.scans.iter().map(|scan| scan.non_finite_rows).sum();
    Ok(terminal::finished(u64::try_from(non_finite).unwrap_or(0)))
}
