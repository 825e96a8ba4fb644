//! A scan's scores as a table and as JSON.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::Result;
use crate::metrics::{LagFit, Metric};
use crate::store::{ActivationRow, HeadRow, RunManifest, activations_file_name, read_activations};

/// Heads listed one by one.
const SPARSEST: usize = 10;
/// A head above this sparsity score is called sparse.
const SPARSE: f64 = 0.9;

/// What a scan has found.
pub struct Results<'a> {
    pub run: &'a RunManifest,
    pub heads: &'a [HeadRow],
    /// Empty where they were not measured.
    pub activations: Vec<ActivationRow>,
}

impl<'a> Results<'a> {
    /// The results in `out`, of which `run` and `heads` are at hand.
    pub fn read(run: &'a RunManifest, heads: &'a [HeadRow], out: &Path) -> Result<Self> {
        let activations = match run.metrics.activations {
            true => read_activations(&out.join(activations_file_name(run.sampling.shard)))?,
            false => Vec::new(),
        };
        Ok(Self {
            run,
            heads,
            activations,
        })
    }
}

/// `--json`: everything a program needs of a scan.
pub fn to_json(results: &Results<'_>) -> Value {
    let Results {
        run,
        heads,
        activations,
    } = results;
    let heads: Vec<Value> = heads
        .iter()
        .map(|head| {
            let mut object = json!({
                "layer": head.layer,
                "head": head.head,
                "non_finite_rows": head.sums.non_finite_rows,
            });
            for metric in Metric::of(&run.metrics) {
                object[metric.name()] = json!(metric.score(&head.sums));
            }
            if run.metrics.lags.is_some() {
                object["lag_slope"] = json!(head.lag_fit.map(|fit| fit.slope));
                object["lag_r2"] = json!(head.lag_fit.map(|fit| fit.r2));
            }
            object
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
        "metrics": run.metrics,
        "heads": heads,
        "activations": (run.metrics.activations).then(|| layers_as_json(activations)),
    })
}

/// Of every layer: means over the samples of the largest and the median magnitude, and the largest of all.
fn layers_as_json(activations: &[ActivationRow]) -> Vec<Value> {
    let layers = activations.chunk_by(|a, b| a.layer == b.layer);
    layers
        .map(|rows| {
            let of = |value: fn(&ActivationRow) -> f64| Spread::of(rows.iter().map(value));
            let largest = of(|row| row.magnitudes.largest);
            json!({
                "layer": rows[0].layer,
                "largest": largest.max,
                "mean_largest": largest.mean,
                "mean_median": of(|row| row.magnitudes.median).mean,
                "non_finite": rows.iter().map(|row| row.magnitudes.non_finite).sum::<i64>(),
            })
        })
        .collect()
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
pub fn to_text(results: &Results<'_>) -> String {
    let Results {
        run,
        heads,
        activations,
    } = results;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_text(&mut text, run, heads)
        .and_then(|()| write_measures(&mut text, run, heads))
        .and_then(|()| write_activations(&mut text, activations));
    text
}

/// What was measured beyond the scores of every scan: its spread over the heads.
fn write_measures(text: &mut String, run: &RunManifest, heads: &[HeadRow]) -> std::fmt::Result {
    let measures = &run.metrics;
    let mut lines: Vec<(String, Spread)> = Vec::new();
    for metric in Metric::of(measures) {
        if Metric::BASE.contains(&metric) {
            continue;
        }
        let scores = heads.iter().map(|head| metric.score(&head.sums));
        let name = format!("{}{}", metric.name(), metric.parameters(measures));
        lines.push((name, Spread::of(scores)));
    }
    if let Some(window) = measures.lags {
        let fit = |of: fn(LagFit) -> f64| {
            Spread::of(heads.iter().filter_map(|head| head.lag_fit.map(of)))
        };
        let window = format!("lag_slope (lags {} to {})", window.min, window.max);
        lines.push((window, fit(|fit| fit.slope)));
        lines.push(("lag_r2".into(), fit(|fit| fit.r2)));
    }
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n{:30}     mean      min      max", "over heads")?;
    for (name, spread) in lines {
        writeln!(
            text,
            "{name:30}  {:>7.4}  {:>7.4}  {:>7.4}",
            spread.mean, spread.min, spread.max
        )?;
    }
    Ok(())
}

/// Magnitudes of the hidden states after every layer.
fn write_activations(text: &mut String, activations: &[ActivationRow]) -> std::fmt::Result {
    if activations.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "\nactivations: magnitudes of the hidden states after each layer, means over samples"
    )?;
    writeln!(text, "layer      largest     median    largest / median")?;
    for rows in activations.chunk_by(|a, b| a.layer == b.layer) {
        let of = |value: fn(&ActivationRow) -> f64| Spread::of(rows.iter().map(value)).mean;
        let (largest, median) = (
            of(|row| row.magnitudes.largest),
            of(|row| row.magnitudes.median),
        );
        writeln!(
            text,
            "{:>5}  {largest:>11.3}  {median:>9.4}  {:>18.1}",
            rows[0].layer,
            largest / median
        )?;
    }
    Ok(())
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
pub fn side_by_side(scans: &[Results<'_>]) -> String {
    let mut text = String::new();
    let _ = write_side_by_side(&mut text, scans);
    text
}

fn write_side_by_side(text: &mut String, scans: &[Results<'_>]) -> std::fmt::Result {
    let layers = scans
        .iter()
        .flat_map(|scan| scan.heads.iter().map(|h| h.layer + 1))
        .max()
        .unwrap_or(0);
    write!(text, "{:>5}", "")?;
    for scan in scans {
        write!(text, "  {:^35}", scan.run.model.name)?;
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
        for scan in scans {
            let of_layer = || {
                scan.heads
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
