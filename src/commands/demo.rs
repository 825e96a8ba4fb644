//! `attnscope demo`: the whole way on what ships in the binary.

use std::{path::PathBuf, process::ExitCode};

use clap::builder::FalseyValueParser;

use serde_json::{Value, json};

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
    train::metrics::{Evaluation, Heads, SINK_THRESHOLD},
};

/// What a model does on fresh samples of the task that it has learned.
struct OnTask {
    name: &'static str,
    accuracy: f64,
    heads: usize,
    /// Heads that are sinks by the paper's definition.
    sink_heads: usize,
    /// Of all heads.
    largest_sink_score: f64,
}

impl OnTask {
    fn of(name: &'static str, evaluation: &Evaluation) -> Self {
        let heads = match &evaluation.heads {
            Heads::Induction(heads) => heads.as_slice(),
            Heads::Classification(_) => &[],
        };
        Self {
            name,
            accuracy: evaluation.score.accuracy,
            heads: heads.len(),
            sink_heads: heads
                .iter()
                .filter(|head| head.is_sink() == Some(true))
                .count(),
            // A score that is no number is never the larger one.
            largest_sink_score: heads.iter().map(|h| h.sink_score).fold(f64::NAN, f64::max),
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "model": self.name,
            "accuracy": self.accuracy,
            "heads": self.heads,
            "sink_heads": self.sink_heads,
            "largest_sink_score": self.largest_sink_score,
        })
    }
}

/// What one sees, in words.
fn seen(models: &[OnTask]) -> String {
    let each = |of: &dyn Fn(&OnTask) -> String| {
        let each = models.iter().map(|m| format!("{} {}", m.name, of(m)));
        each.collect::<Vec<_>>().join(", ")
    };
    format!(
        "Right about what comes next, in {} new samples of the task that both were trained on:\n{}.\n\
         Sink heads, with more than {SINK_THRESHOLD} of their weight on the first token while the next one can only be \
         guessed:\n{}.\n\
         (The tables above have all rows of the attention, also that of the first token, which sees nothing else.)\n",
        demo::SAMPLES,
        each(&|m| format!("{:.1} %", 100.0 * m.accuracy)),
        each(&|m| {
            format!(
                "{} of {} (the most: {:.3})",
                m.sink_heads, m.heads, m.largest_sink_score
            )
        }),
    )
}

/// Scan a softmax and a sigmoid model, trained on the same task, that ship with attnscope, and compare them
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
    let (mut outcomes, mut on_task) = (Vec::new(), Vec::new());
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
            Ok(outcome) => {
                outcomes.push(outcome);
                on_task.push(OnTask::of(asset.name, &demo::evaluate(dir)?));
            }
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
            json!({
                "task": {
                    "name": "induction",
                    "samples": demo::SAMPLES,
                    "seed": demo::SEED,
                    "models": on_task.iter().map(OnTask::to_json).collect::<Vec<_>>(),
                },
                "scans": scans,
            })
        )
    } else {
        let mut text = String::new();
        for scan in &scans {
            text += &summary::to_text(scan);
            text.push('\n');
        }
        text += "softmax against sigmoid, means over heads\n";
        text += &summary::side_by_side(&scans);
        text.push('\n');
        text += &seen(&on_task);
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
