//! Several runs over disjoint samples become one, exactly: the shards of a run merge into the files that the
//! run would have written alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::assemble::{
    Target, assemble, check_activations, check_lags, check_layer, check_samples,
};
use super::columns::TableRow;
use super::differences::{differences, sentence};
use super::directory::{
    RUN_JSON, activations_file_name, lags_file_name, listing, refused, run_files, samples_file_name,
};
use super::inspect::check_footer;
use super::manifest::{RunManifest, Timings};
use super::reader::TableFile;
use super::table::damaged;
use super::{ActivationRow, LagRow, Parts, Rows, SampleRow};
use crate::corpus::Shard;
use crate::{Error, Result};

/// One finished run.
struct Input {
    dir: PathBuf,
    run: RunManifest,
    table: TableFile<SampleRow>,
    /// If they were measured.
    lags: Option<TableFile<LagRow>>,
    activations: Option<TableFile<ActivationRow>>,
    /// Ascending.
    samples: Vec<i64>,
}

/// Merges finished runs into `out`, which must hold no run yet: either all shards of one run, or unsharded runs
/// of the same model and dataset that drew different samples.
///
/// Sums are added in the order of the sample indices, whatever the order of `inputs`. Memory is the rows of
/// one layer.
pub fn merge(inputs: &[PathBuf], out: &Path) -> Result<RunManifest> {
    if inputs.len() < 2 {
        return Err(Error::Usage(
            "merge needs at least two output directories of scans".into(),
        ));
    }
    refuse_occupied(out)?;
    let mut inputs = inputs
        .iter()
        .map(|dir| Input::open(dir))
        .collect::<Result<Vec<_>>>()?;
    for input in &inputs[1..] {
        input.check_same_run(&inputs[0])?;
    }
    check_shards(&inputs)?;
    let n_layers = check_layer_counts(&inputs)?;
    let samples = all_samples(&inputs)?;
    // The manifest, too, must not depend on the order in which the directories were named.
    inputs.sort_by_key(|input| (input.run.sampling.shard, input.samples.first().copied()));

    let run = merged_manifest(&inputs);
    let layers = (0..n_layers).map(|layer| layer_rows(&inputs, layer));
    let target = Target {
        dir: out,
        shard: None,
        measures: &run.metrics,
        provenance: &run.provenance(),
    };
    assemble(&target, out, &samples, layers)?;
    run.write(out)?;
    Ok(run)
}

/// Opens a table that a run must have, and that must be its own.
fn open_table<R: TableRow>(dir: &Path, run: &RunManifest, name: String) -> Result<TableFile<R>> {
    let path = dir.join(&name);
    if !path.is_file() {
        let message =
            format!("has no {name}, which {RUN_JSON} speaks of; copy it here, or scan again");
        return Err(refused(dir, message));
    }
    let table = TableFile::<R>::open(&path)?;
    check_footer(dir, run, &path, table.provenance())?;
    Ok(table)
}

impl Input {
    fn open(dir: &Path) -> Result<Self> {
        let found = run_files(dir)?;
        if !found.iter().any(|name| name == RUN_JSON) {
            let message = match Parts::unfinished(dir)? {
                Some(_) => "holds an unfinished run; finish it with --resume before merging".into(),
                None => format!("has no {RUN_JSON}; name the output directory of a finished scan"),
            };
            return Err(refused(dir, message));
        }
        let run = RunManifest::read(dir)?;
        let name = samples_file_name(run.sampling.shard);
        let tables: Vec<&String> = found
            .iter()
            .filter(|name| name.starts_with("samples"))
            .collect();
        if tables != [&name] {
            let message = format!(
                "{RUN_JSON} describes {name}, but the directory has {}; every run or shard needs a directory of its own",
                if tables.is_empty() {
                    "no samples".to_owned()
                } else {
                    listing(&tables)
                },
            );
            return Err(refused(dir, message));
        }
        let (measures, shard) = (run.metrics, run.sampling.shard);
        let table = open_table(dir, &run, name)?;
        let lags = match measures.lags {
            Some(_) => Some(open_table(dir, &run, lags_file_name(shard))?),
            None => None,
        };
        let activations = match measures.activations {
            true => Some(open_table(dir, &run, activations_file_name(shard))?),
            false => None,
        };
        for (path, row_groups) in [
            lags.as_ref().map(|t| (t.path(), t.row_groups())),
            activations.as_ref().map(|t| (t.path(), t.row_groups())),
        ]
        .into_iter()
        .flatten()
        {
            if row_groups != table.row_groups() {
                let message = format!(
                    "holds {row_groups} layers, {} holds {}; one of the files is incomplete, scan it again",
                    table.path().display(),
                    table.row_groups()
                );
                return Err(damaged(path, message));
            }
        }
        let mut input = Self {
            dir: dir.to_path_buf(),
            run,
            table,
            lags,
            activations,
            samples: Vec::new(),
        };
        if input.table.row_groups() > 0 {
            input.samples = input.read_layer(0)?.1;
        }
        Ok(input)
    }

    /// The rows and the samples of one layer.
    fn read_layer(&self, layer: usize) -> Result<(Rows, Vec<i64>)> {
        let path = self.table.path();
        let rows = Rows {
            samples: self.table.rows(layer)?,
            lags: match &self.lags {
                Some(lags) => lags.rows(layer)?,
                None => Vec::new(),
            },
            activations: match &self.activations {
                Some(activations) => activations.rows(layer)?,
                None => Vec::new(),
            },
        };
        let number = i32::try_from(layer).map_err(|_| damaged(path, "too many layers"))?;
        let samples = check_layer(number, &rows.samples).map_err(|message| {
            damaged(
                path,
                format!(
                    "row group {layer}: {message}; merge the files as `attnscope scan` wrote them"
                ),
            )
        })?;
        if let Some(lags) = &self.lags {
            check_lags(number, &rows.samples, &rows.lags)
                .map_err(|message| damaged(lags.path(), message))?;
        }
        if let Some(activations) = &self.activations {
            check_activations(number, &samples, &rows.activations)
                .map_err(|message| damaged(activations.path(), message))?;
        }
        Ok((rows, samples))
    }

    fn check_same_run(&self, first: &Input) -> Result<()> {
        let differing = differences(&identity(&first.run), &identity(&self.run));
        if differing.is_empty() {
            return Ok(());
        }
        let message = format!(
            "does not belong together with {} (“there”): {}; merge only runs with the same options",
            first.dir.display(),
            sentence(&differing)
        );
        Err(refused(&self.dir, message))
    }
}

/// What runs that are merged must have in common: everything that decides the numbers of a sample, and for
/// shards the draw that they share. Where the files lay, the device and the executor may differ.
fn identity(run: &RunManifest) -> Value {
    let RunManifest {
        model,
        dataset,
        sampling,
        ..
    } = run;
    let mut identity = json!({
        "attnscope_version": run.attnscope_version,
        "model": {
            "repo": model.repo,
            "revision": model.revision,
            "model_type": model.model_type,
            "config": model.config,
            "weights_fingerprint": model.weights_fingerprint,
        },
        "dataset": {
            "repo": dataset.repo,
            "revision": dataset.revision,
            "config": dataset.config,
            "split": dataset.split,
            "text_column": dataset.text_column,
            "rows": dataset.rows,
        },
        "max_seq_len": run.max_seq_len,
        "special_tokens": run.special_tokens,
        "preprocessing": run.preprocessing,
        "dtype": run.dtype,
        "metrics": run.metrics,
        "sampling": { "shards": sampling.shard.map(Shard::count) },
    });
    if sampling.shard.is_some() {
        identity["sampling"] = json!({
            "shards": sampling.shard.map(Shard::count),
            "n_samples": sampling.n_samples,
            "seed": sampling.seed,
            "indices_sha256": sampling.indices_sha256,
        });
    }
    identity
}

/// If these are shards, all of them must be there, each once. (That all have the same count has been checked.)
fn check_shards(inputs: &[Input]) -> Result<()> {
    let mut by_index: BTreeMap<usize, &Input> = BTreeMap::new();
    let mut count = 0;
    for input in inputs {
        let Some(shard) = input.run.sampling.shard else {
            return Ok(());
        };
        count = shard.count();
        if let Some(other) = by_index.insert(shard.index(), input) {
            let message = format!(
                "is shard {shard}, and so is {}; name each shard once",
                other.dir.display()
            );
            return Err(refused(&input.dir, message));
        }
    }
    let missing: Vec<String> = (0..count)
        .filter(|index| !by_index.contains_key(index))
        .map(|index| format!("{index}/{count}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "shards {} are missing; scan them and name all {count} directories",
        listing(&missing)
    )))
}

/// The number of layers, which all runs must share; a shard without samples has no rows to tell.
fn check_layer_counts(inputs: &[Input]) -> Result<usize> {
    let mut with_rows = inputs.iter().filter(|input| !input.samples.is_empty());
    let Some(first) = with_rows.next() else {
        return Ok(0);
    };
    let n_layers = first.table.row_groups();
    match with_rows.find(|input| input.table.row_groups() != n_layers) {
        None => Ok(n_layers),
        Some(other) => Err(damaged(
            other.table.path(),
            format!(
                "holds {} layers, {} holds {n_layers}; one of the files is incomplete, scan it again",
                other.table.row_groups(),
                first.table.path().display()
            ),
        )),
    }
}

/// All samples, ascending; none may be in two runs.
fn all_samples(inputs: &[Input]) -> Result<Vec<i64>> {
    let mut owners: BTreeMap<i64, &Input> = BTreeMap::new();
    for input in inputs {
        let mut duplicates: BTreeMap<&Path, Vec<i64>> = BTreeMap::new();
        for &sample in &input.samples {
            if let Some(other) = owners.insert(sample, input) {
                duplicates.entry(&other.dir).or_default().push(sample);
            }
        }
        if let Some((other, samples)) = duplicates.first_key_value() {
            let message = format!(
                "{} samples are in {}, too: {}; a sample may count only once, so leave out one of the runs",
                samples.len(),
                other.display(),
                listing(samples)
            );
            return Err(refused(&input.dir, message));
        }
    }
    Ok(owners.into_keys().collect())
}

/// The rows of one layer of all runs, each run's checked against its own samples.
fn layer_rows(inputs: &[Input], layer: usize) -> Result<Rows> {
    let mut rows = Rows::default();
    for input in inputs.iter().filter(|input| !input.samples.is_empty()) {
        let (theirs, samples) = input.read_layer(layer)?;
        // Fits: `read_layer` has converted it.
        check_samples(layer as i32, &input.samples, &samples)
            .map_err(|message| damaged(input.table.path(), message))?;
        rows.append(theirs);
    }
    Ok(rows)
}

/// The manifest of the runs together: facts that they share, sums of what adds up.
fn merged_manifest(inputs: &[Input]) -> RunManifest {
    let first = &inputs[0].run;
    let runs = || inputs.iter().map(|input| &input.run);
    let sum = |value: fn(&RunManifest) -> u64| runs().map(value).sum::<u64>();
    let mut sampling = first.sampling.clone();
    sampling.skipped = sum(|run| run.sampling.skipped);
    let texts = runs().map(|run| run.sampling.texts_sum);
    sampling.texts_sum = texts
        .reduce(|sum, texts| {
            let (mut sum, texts) = (sum?, texts?);
            sum.add(texts);
            Some(sum)
        })
        .flatten();
    if sampling.shard.take().is_none() {
        sampling.n_samples = sum(|run| run.sampling.n_samples);
        sampling.seed = shared(runs().map(|run| run.sampling.seed)).flatten();
        sampling.indices_sha256 = None;
    }
    let timings = Timings {
        seconds_total: total(runs().map(|run| run.timings.seconds_total)),
        seconds_load: total(runs().map(|run| run.timings.seconds_load)),
        seconds_tokenize: total(runs().map(|run| run.timings.seconds_tokenize)),
        seconds_compute: total(runs().map(|run| run.timings.seconds_compute)),
        seconds_write: total(runs().map(|run| run.timings.seconds_write)),
    };
    let tokens = sum(|run| run.tokens);
    RunManifest {
        sampling,
        device: together(runs().map(|run| run.device.as_str())),
        executor: together(runs().map(|run| run.executor.as_str())),
        batch_plan: shared(runs().map(|run| run.batch_plan)).flatten(),
        samples: sum(|run| run.samples),
        tokens,
        non_finite_rows: sum(|run| run.non_finite_rows),
        // RFC 3339 in UTC and whole seconds sorts as text.
        started_at: runs()
            .map(|run| &run.started_at)
            .min()
            .cloned()
            .unwrap_or_default(),
        finished_at: runs()
            .map(|run| &run.finished_at)
            .max()
            .cloned()
            .unwrap_or_default(),
        resumed: sum(|run| run.resumed),
        timings,
        tokens_per_second: timings
            .seconds_total
            .filter(|seconds| *seconds > 0.0)
            .map(|seconds| tokens as f64 / seconds),
        peak_memory_bytes: runs().filter_map(|run| run.peak_memory_bytes).max(),
        fingerprint: None,
        merged_from: inputs
            .iter()
            .map(|input| input.dir.display().to_string())
            .collect(),
        ..first.clone()
    }
}

/// The value that all have, if all have the same.
fn shared<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}

/// The sum, unless one is unknown.
fn total(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    values.sum()
}

/// The distinct names, in alphabetical order.
fn together<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.flat_map(|name| name.split(", ")).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

fn refuse_occupied(out: &Path) -> Result<()> {
    let found = run_files(out)?;
    if !found.is_empty() || Parts::unfinished(out)?.is_some() {
        let what = if found.is_empty() {
            "an unfinished run".to_owned()
        } else {
            format!("a run ({})", listing(&found))
        };
        return Err(refused(
            out,
            format!("already holds {what}; choose another --out"),
        ));
    }
    Ok(())
}
