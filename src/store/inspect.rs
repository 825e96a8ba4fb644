//! What a path that a person names holds of a scan: which tables, and what is known of the run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[cfg(doc)]
use super::SampleReader;
use super::assemble::{check_layer, check_samples, sort_samples};
use super::directory::{self, RUN_JSON, heads_file_name, refused, run_files, samples_file_name};
use super::manifest::RunManifest;
use super::reader::{TableFile, TableKind, describe};
use super::table::damaged;
use super::{HeadRow, Parts, Provenance, SampleRow, read_heads};
use crate::corpus::TextsSum;
use crate::{Error, Result};

/// Facts in which the shards of one run may differ.
const OF_A_SHARD: [&str; 3] = ["attnscope.shard", "attnscope.device", TEXTS_SUM];
/// Facts that the first versions did not record.
const ADDED_LATER: [&str; 2] = [TEXTS_SUM, "attnscope.attention_function"];
const TEXTS_SUM: &str = "attnscope.texts_sum";

/// The tables of a finished scan.
pub(crate) struct Tables {
    /// What to hand to [`SampleReader::open`] or [`super::read_heads`]: a directory, or the one file there is.
    pub(crate) path: PathBuf,
    pub(crate) kind: TableKind,
    /// The directory's manifest; a single file has none, and neither may a directory that tables were copied to.
    pub(crate) run: Option<RunManifest>,
    /// What the run's manifest, or else the footers of the tables, say. Without `attnscope.shard` where all
    /// shards of a run lie together.
    pub(crate) provenance: Provenance,
    /// Whether these are several shards, of which the manifest describes one at most.
    is_set: bool,
}

impl Tables {
    /// Checks that the tables have as many samples and tokens as the manifest says.
    pub(crate) fn check_totals(&self, (samples, tokens): (i64, i64)) -> Result<()> {
        let Some(run) = self.run.as_ref().filter(|_| !self.is_set) else {
            return Ok(());
        };
        let announced = (run.samples as i64, run.tokens as i64);
        if announced == (samples, tokens) {
            return Ok(());
        }
        Err(damaged(
            &self.path,
            format!(
                "the table has {samples} samples with {tokens} tokens, {RUN_JSON} says {} with {}; rows were lost or \
                 added, copy the files anew, or scan again",
                announced.0, announced.1
            ),
        ))
    }
}

/// Finds the tables of `path`: a finished scan's output directory, one with all shards of a table, or one
/// parquet file. Samples come before heads, which follow from them.
///
/// # Errors
/// [`Error::OutDir`] where there is no scan or an unfinished one; [`Error::Parquet`] where a table is damaged,
/// shards are missing, or files of different runs lie together.
pub(crate) fn find_tables(path: &Path) -> Result<Tables> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => find_in_directory(path),
        Ok(found) if !found.is_file() => Err(refused(
            path,
            "is neither a directory nor a file; name the output directory of a scan",
        )),
        Ok(_) => {
            let (kind, provenance) = describe(path)?;
            Ok(Tables {
                path: path.to_path_buf(),
                kind,
                run: None,
                provenance,
                is_set: false,
            })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(refused(
            path,
            "is not there; name the output directory of a scan, or one of its parquet files",
        )),
        Err(error) => Err(Error::io(path)(error)),
    }
}

fn find_in_directory(dir: &Path) -> Result<Tables> {
    let found = run_files(dir)?;
    let has_run = found.iter().any(|name| name == RUN_JSON);
    if !has_run && Parts::unfinished(dir)?.is_some() {
        return Err(refused(
            dir,
            "holds an unfinished run; finish it with --resume first",
        ));
    }
    let of = |stem: &str| -> Vec<&String> {
        let tables = found.iter().filter(|name| name.starts_with(stem));
        tables.collect()
    };
    let (kind, names) = match (of("samples"), of("heads")) {
        (samples, _) if !samples.is_empty() => (TableKind::Samples, samples),
        (_, heads) if !heads.is_empty() => (TableKind::Heads, heads),
        _ => {
            return Err(refused(
                dir,
                "holds neither samples.parquet nor heads.parquet; name the output directory of a finished scan",
            ));
        }
    };
    let run = match has_run {
        true => Some(RunManifest::read(dir)?),
        false => None,
    };
    // One shard alone is a scan of its samples if the manifest says that it is that shard.
    let shard = run.as_ref().and_then(|run| run.sampling.shard);
    let own_name = match kind {
        TableKind::Samples => samples_file_name(shard),
        TableKind::Heads => heads_file_name(shard),
    };
    let path = match shard.is_some() && names == [&own_name] {
        true => dir.join(own_name),
        false => dir.to_path_buf(),
    };
    let files = match kind {
        TableKind::Samples => directory::samples_files(&path)?,
        TableKind::Heads => directory::heads_files(&path)?,
    };
    let mut footers = Vec::with_capacity(files.len());
    for file in files {
        let facts = describe(&file)?.1;
        footers.push((file, facts));
    }
    let is_set = footers.len() > 1;
    let provenance = shared_facts(dir, footers, run.as_ref())?;
    Ok(Tables {
        path,
        kind,
        run,
        provenance,
        is_set,
    })
}

/// Checks that the facts in the footer of a run's table are the run's.
///
/// # Errors
/// [`Error::Parquet`] naming the fact in which it is not.
pub(super) fn check_footer(
    dir: &Path,
    run: &RunManifest,
    file: &Path,
    facts: Provenance,
) -> Result<()> {
    shared_facts(dir, vec![(file.to_path_buf(), facts)], Some(run)).map(drop)
}

/// What the manifest and the footers of all files say; they must say the same.
fn shared_facts(
    dir: &Path,
    files: Vec<(PathBuf, Provenance)>,
    run: Option<&RunManifest>,
) -> Result<Provenance> {
    let is_set = files.len() > 1;
    let comparable = |mut facts: Provenance| {
        facts.retain(|key, _| {
            key.starts_with("attnscope.") && !(is_set && OF_A_SHARD.contains(&key.as_str()))
        });
        facts
    };
    let mut shared: Option<(String, Provenance)> = run.map(|run| {
        let manifest = dir.join(RUN_JSON).display().to_string();
        (manifest, comparable(run.provenance()))
    });
    // The texts of a set are those of all its shards.
    let mut texts = Some(TextsSum::default());
    for (file, facts) in files {
        let own = facts.get(TEXTS_SUM).and_then(|text| text.parse().ok());
        texts = texts.zip(own).map(|(mut sum, own)| {
            sum.add(own);
            sum
        });
        let facts = comparable(facts);
        // Tables that another program has written anew say nothing.
        if facts.is_empty() && run.is_some() {
            continue;
        }
        let Some((other, expected)) = &shared else {
            shared = Some((file.display().to_string(), facts));
            continue;
        };
        let keys = facts.keys().chain(expected.keys());
        let is_unknown = |key: &str| {
            // Tables of earlier versions do not have it.
            ADDED_LATER.contains(&key) && !(facts.contains_key(key) && expected.contains_key(key))
        };
        if let Some(key) = keys
            .into_iter()
            .find(|key| facts.get(*key) != expected.get(*key) && !is_unknown(key))
        {
            let value = |facts: &Provenance| match facts.get(key) {
                Some(value) => format!("`{value}`"),
                None => "nothing".into(),
            };
            let message = format!(
                "its footer says {} for `{key}`, {other} says {}; the files are of different runs, keep each run in a directory of its own",
                value(&facts),
                value(expected)
            );
            return Err(damaged(&file, message));
        }
    }
    let mut facts = shared.map(|(_, facts)| facts).unwrap_or_default();
    if let (true, Some(texts)) = (is_set, texts) {
        facts.insert(TEXTS_SUM.into(), texts.to_string());
    }
    Ok(facts)
}

/// [`read_heads`], if these are all heads of all layers, from layer 0 and head 0 on.
pub(crate) fn read_complete_heads(path: &Path) -> Result<Vec<HeadRow>> {
    let heads = read_heads(path)?;
    for (layer, rows) in (0..).zip(heads.chunk_by(|a, b| a.layer == b.layer)) {
        for (head, row) in (0..).zip(rows) {
            if (row.layer, row.head) != (layer, head) {
                let message = format!(
                    "layer {layer}, head {head} is missing; copy the file anew, or scan again"
                );
                return Err(damaged(path, message));
            }
        }
    }
    Ok(heads)
}

/// Hands on the rows of every layer, from the lowest up, each sorted by (sample, head) and complete: every head of
/// every sample exactly once, the same samples in all layers.
///
/// Of files as attnscope writes them, one layer is in memory; of others, which may hold their rows in any order, all.
pub(crate) fn read_layers(
    path: &Path,
    each: &mut dyn FnMut(i32, Vec<SampleRow>) -> Result<()>,
) -> Result<()> {
    let mut samples: Option<Vec<i64>> = None;
    let mut hand_on = |layer: i32, mut rows: Vec<SampleRow>| {
        sort_samples(&mut rows);
        let found = check_layer(layer, &rows).map_err(|message| damaged(path, message))?;
        let samples = samples.get_or_insert_with(|| found.clone());
        check_samples(layer, samples, &found).map_err(|message| damaged(path, message))?;
        each(layer, rows)
    };
    let tables = directory::samples_files(path)?
        .iter()
        .map(|file| TableFile::<SampleRow>::open(file))
        .collect::<Result<Vec<_>>>()?;
    // A shard may have nothing but empty texts.
    let with_rows: Vec<_> = tables
        .iter()
        .filter(|table| table.row_groups() > 0)
        .collect();
    let n_layers = with_rows.iter().map(|table| table.row_groups()).max();
    let by_layer = |table: &&TableFile<SampleRow>| {
        table.row_groups_are_layers() && Some(table.row_groups()) == n_layers
    };
    if with_rows.iter().all(by_layer) {
        for (layer, row_group) in (0..).zip(0..n_layers.unwrap_or(0)) {
            let mut rows = Vec::new();
            for table in &with_rows {
                rows.extend(table.rows(row_group)?);
            }
            hand_on(layer, rows)?;
        }
        return Ok(());
    }
    let mut layers: BTreeMap<i32, Vec<SampleRow>> = BTreeMap::new();
    for table in with_rows {
        for row_group in 0..table.row_groups() {
            for row in table.rows(row_group)? {
                layers.entry(row.layer).or_default().push(row);
            }
        }
    }
    for (expected, (layer, rows)) in (0..).zip(layers) {
        if layer != expected {
            return Err(damaged(
                path,
                format!("layer {expected} is missing; copy the file anew, or scan again"),
            ));
        }
        hand_on(layer, rows)?;
    }
    Ok(())
}
