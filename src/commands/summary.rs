//! A scan's scores as a table and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::store::{HeadRow, RunManifest};

/// Heads listed one by one.
const SPARSEST: usize = 10;
/// A head above this sparsity score is called sparse.
const SPARSE: f64 = 0.9;

/// `--json`: everything a program needs of a scan.
pub fn to_json(run: &RunManifest, heads: &[HeadRow]) -> Value {
    let heads: Vec<Value> = heads
        .iter()
        .map(|head| {
            let means = head.sums.means();
            json!({
                "layer": head.layer,
                "head": head.head,
                "sparsity_score": means.sparsity_score,
                "first_token_share": means.first_token_share,
                "max_weight": means.max_weight,
                "total_weight": means.total_weight,
                "entropy": means.entropy,
                "non_finite_rows": head.sums.non_finite_rows,
            })
        })
        .collect();
    json!({
        "model": run.model.name,
        "attention_function": run.model.config.get("attention_function"),
        "dataset": run.dataset.name,
        "samples": run.samples,
        "skipped": run.sampling.skipped,
        "tokens": run.tokens,
        "non_finite_rows": run.non_finite_rows,
        "seconds": run.timings.seconds_total,
        "tokens_per_second": run.tokens_per_second,
        "peak_memory_bytes": run.peak_memory_bytes,
        "heads": heads,
    })
}

/// Mean, smallest and largest of some scores; NaN of none.
struct Spread {
    mean: f64,
    min: f64,
    max: f64,
    sparse: usize,
}

impl Spread {
    fn of(scores: impl Iterator<Item = f64>) -> Self {
        let mut spread = Self {
            mean: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            sparse: 0,
        };
        let mut n = 0;
        for score in scores.filter(|score| score.is_finite()) {
            n += 1;
            spread.mean += score;
            spread.min = spread.min.min(score);
            spread.max = spread.max.max(score);
            spread.sparse += usize::from(score > SPARSE);
        }
        match n {
            0 => Self {
                mean: f64::NAN,
                min: f64::NAN,
                max: f64::NAN,
                sparse: 0,
            },
            _ => Self {
                mean: spread.mean / f64::from(n),
                ..spread
            },
        }
    }
}

/// The summary a person reads: per layer, over all, and the sparsest heads.
pub fn to_text(run: &RunManifest, heads: &[HeadRow]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_text(&mut text, run, heads);
    text
}

fn write_text(text: &mut String, run: &RunManifest, heads: &[HeadRow]) -> std::fmt::Result {
    let function = run
        .model
        .config
        .get("attention_function")
        .and_then(Value::as_str);
    let layers = heads.iter().map(|head| head.layer + 1).max().unwrap_or(0);
    writeln!(
        text,
        "{} ({}, {} layers × {} heads) on {}: {} samples, {} tokens{}",
        run.model.name,
        function.unwrap_or(&run.model.model_type),
        layers,
        heads.iter().map(|head| head.head + 1).max().unwrap_or(0),
        run.dataset.name,
        run.samples,
        run.tokens,
        match run.sampling.skipped {
            0 => String::new(),
            n => format!(" ({n} texts without a token were skipped)"),
        }
    )?;
    writeln!(text, "\nsparsity score (mean of max / total)")?;
    writeln!(text, "layer     mean      min      max   heads > {SPARSE}")?;
    let line = |text: &mut String, name: &str, of: &dyn Fn(&&HeadRow) -> bool| {
        let spread = Spread::of(
            heads
                .iter()
                .filter(|h| of(h))
                .map(|h| h.sums.means().sparsity_score),
        );
        writeln!(
            text,
            "{name:>5}  {:>7.4}  {:>7.4}  {:>7.4}  {:>12}",
            spread.mean, spread.min, spread.max, spread.sparse
        )
    };
    for layer in 0..layers {
        line(text, &layer.to_string(), &|head| head.layer == layer)?;
    }
    line(text, "all", &|_| true)?;

    let mut sparsest: Vec<&HeadRow> = heads
        .iter()
        .filter(|head| head.sums.means().sparsity_score.is_finite())
        .collect();
    sparsest.sort_by(|a, b| {
        b.sums
            .means()
            .sparsity_score
            .total_cmp(&a.sums.means().sparsity_score)
    });
    sparsest.truncate(SPARSEST);
    writeln!(text, "\nthe {} sparsest heads", sparsest.len())?;
    writeln!(
        text,
        "layer  head  sparsity score  first-token share  max weight  total weight  entropy (nats)"
    )?;
    for head in sparsest {
        let means = head.sums.means();
        writeln!(
            text,
            "{:>5}  {:>4}  {:>14.4}  {:>17.4}  {:>10.4}  {:>12.4}  {:>14.4}",
            head.layer,
            head.head,
            means.sparsity_score,
            means.first_token_share,
            means.max_weight,
            means.total_weight,
            means.entropy
        )?;
    }
    if run.non_finite_rows > 0 {
        let affected = heads
            .iter()
            .filter(|head| head.sums.non_finite_rows > 0)
            .count();
        writeln!(
            text,
            "\n{} attention rows in {affected} of {} heads are not finite; they enter no mean",
            run.non_finite_rows,
            heads.len()
        )?;
    }
    Ok(())
}

/// Two scans layer by layer: mean sparsity score and first-token share.
pub fn side_by_side(scans: &[(&RunManifest, &[HeadRow])]) -> String {
    let mut text = String::new();
    let _ = write_side_by_side(&mut text, scans);
    text
}

fn write_side_by_side(text: &mut String, scans: &[(&RunManifest, &[HeadRow])]) -> std::fmt::Result {
    let layers = scans
        .iter()
        .flat_map(|(_, heads)| heads.iter().map(|h| h.layer + 1))
        .max()
        .unwrap_or(0);
    write!(text, "{:>5}", "")?;
    for (run, _) in scans {
        write!(text, "  {:^35}", run.model.name)?;
    }
    write!(text, "\nlayer")?;
    for _ in scans {
        write!(
            text,
            "  {:>11}{:>12}{:>12}",
            "sparsity", "max weight", "first"
        )?;
    }
    writeln!(text)?;
    for layer in (0..layers).map(Some).chain([None]) {
        match layer {
            Some(layer) => write!(text, "{layer:>5}")?,
            None => write!(text, "{:>5}", "all")?,
        }
        for (_, heads) in scans {
            let of_layer = || {
                heads
                    .iter()
                    .filter(|head| layer.is_none_or(|layer| head.layer == layer))
            };
            let mean = |value: fn(&HeadRow) -> f64| Spread::of(of_layer().map(value)).mean;
            write!(
                text,
                "  {:>11.4}{:>12.4}{:>12.4}",
                mean(|h| h.sums.means().sparsity_score),
                mean(|h| h.sums.means().max_weight),
                mean(|h| h.sums.means().first_token_share)
            )?;
        }
        writeln!(text)?;
    }
    Ok(())
}
