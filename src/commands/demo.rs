//! `attnscope demo`: the whole way on what ships in the binary.

use std::{path::PathBuf, process::ExitCode};

use clap::builder::FalseyValueParser;

use super::{
    scan::scan,
    summary::{self, Results},
    terminal,
};
use crate::{
    Error,
    corpus::SampleSize,
    demo,
    metrics::Measures,
    scan::{Request, device, plan::Memory, sources},
};

/// Scan a tiny softmax and a tiny sigmoid model that ship with attnscope, and compare them
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory for the results, a scan directory per model [default: they are only printed]
    #[arg(long, env = "ATTNSCOPE_OUT")]
    out: Option<PathBuf>,

    /// Print one JSON object instead of the tables
    #[arg(long, env = "ATTNSCOPE_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args, quiet: bool) -> anyhow::Result<ExitCode> {
    terminal::catch_signals();
    let temporary = tempfile::tempdir().map_err(Error::io(std::env::temp_dir()))?;
    let files = demo::write_to(temporary.path())?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| temporary.path().join("out"));
    let (device, device_name) = device::open("cpu")?;
    let no_hub = || terminal::hub(true, true);
    let mut outcomes = Vec::new();
    for (asset, dir) in demo::models().iter().zip(&files.models) {
        let mut model = sources::ModelFiles::directory(dir);
        // They are in the binary; where they were unpacked means nothing later.
        model.name = asset.name.into();
        model.path = None;
        let mut dataset =
            sources::dataset(&files.corpus.display().to_string(), None, None, &no_hub)?;
        dataset.record.name = "demo".into();
        dataset.record.files = vec!["datasets/demo.jsonl (embedded)".into()];
        let request = Request {
            model,
            dataset,
            n_samples: SampleSize::All,
            seed: 42,
            max_seq_len: 256,
            batch_size: None,
            device: device.clone(),
            device_name: device_name.clone(),
            dtype: device::dtype("auto")?,
            memory: Memory::Auto,
            out: out.join(asset.name),
            // Typing the command twice with one --out is no mistake.
            resume: true,
            shard: None,
            measures: Measures::default(),
        };
        match scan(&request, quiet) {
            Ok(outcome) => outcomes.push(outcome),
            Err(Error::Interrupted { .. }) => {
                terminal::say("interrupted; run the command again");
                return Ok(ExitCode::from(75));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let scans: Vec<Results<'_>> = outcomes
        .iter()
        .map(|outcome| Results {
            run: &outcome.run,
            heads: &outcome.heads,
            activations: Vec::new(),
        })
        .collect();
    let text = if args.json {
        let scans: Vec<_> = scans.iter().map(summary::to_json).collect();
        format!(
            "{}\n",
            serde_json::json!({ "weights": "random", "scans": scans })
        )
    } else {
        let mut text = String::new();
        for scan in &scans {
            text += &summary::to_text(scan);
            text.push('\n');
        }
        text += "softmax against sigmoid, means over heads\n";
        text += &summary::side_by_side(&scans);
        text += "\nThe weights of both demo models are random: the numbers show that everything works, not how \
                 trained\nmodels behave.\n";
        if let Some(out) = &args.out {
            text += &format!("Results: {}\n", out.display());
        }
        text
    };
    terminal::print(&text)?;
    Ok(terminal::finished(
        outcomes
            .iter()
            .map(|outcome| outcome.run.non_finite_rows)
            .sum(),
    ))
}
