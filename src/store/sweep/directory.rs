//! The directory of a sweep, as one process writes to it.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::{Value, json};

use super::{EndState, HEADS, RUNS, RunRecord, SWEEP_JSON, record, tables};
use crate::{
    Error, Result,
    corpus::Shard,
    store::{
        RUN_JSON, create_directory,
        differences::fingerprints_differ,
        directory::refused,
        lock::{lock_file, lock_in_turn},
        refuse_existing, remove_leftovers, sync_directory,
        train::unfinished::UNFINISHED,
        write_json,
    },
    train::sweep::Grid,
};

const RECORD: &str = "runs";
const LOCKS: &str = ".attnscope-sweep";

/// A sweep's directory, to which this process adds the runs of its shard.
pub struct SweepDirectory<'a> {
    dir: PathBuf,
    grid: &'a Grid,
    selection: Value,
    shard: Option<Shard>,
    record: File,
    record_path: PathBuf,
    /// Bytes of the record's whole lines.
    whole: u64,
    /// Whether something may follow them.
    is_torn: bool,
    /// Of all shards, as far as they are known here.
    records: BTreeMap<usize, RunRecord>,
    /// Until it is closed, nobody else computes this shard.
    _lock: File,
}

/// Tables that have just been written, and that no other process replaces before this is dropped.
pub struct Published {
    /// All runs that ended, by number.
    pub records: BTreeMap<usize, RunRecord>,
    _lock: File,
}

impl<'a> SweepDirectory<'a> {
    /// Opens the directory, which is created if need be, reads what is done, and locks the shard. `selection` says
    /// which runs of the grid are meant.
    ///
    /// # Errors
    /// [`Error::OutDir`] for a directory of another grid or with other things in it, and where another process computes
    /// runs that may be the same ones; [`Error::Parquet`] for a record that is damaged.
    pub fn open(
        dir: &Path,
        grid: &'a Grid,
        selection: impl Serialize,
        shard: Option<Shard>,
    ) -> Result<Self> {
        let selection = json!(selection);
        refuse_run(dir)?;
        create_directory(dir)?;
        let turn = lock_in_turn(dir)?;
        remove_leftovers(dir)?;
        let claim = claim(dir, grid)?;
        let lock = lock_shard(dir, &selection, shard)?;
        if claim != Claim::Manifest {
            // Before the record, so that nobody takes the directory for another grid's.
            write_manifest(dir, grid, &selection, shard, &gather_files(dir, grid)?)?;
        }
        let record_path = dir.join(shard_name(RECORD, shard, ".jsonl"));
        let lines = record::read(&record_path)?;
        let record = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&record_path)
            .map_err(Error::io(&record_path))?;
        sync_directory(dir)?;
        let mut directory = Self {
            dir: dir.to_path_buf(),
            grid,
            selection,
            shard,
            record,
            record_path,
            whole: lines.whole,
            is_torn: lines.is_torn,
            records: BTreeMap::new(),
            _lock: lock,
        };
        if lines.is_torn {
            tracing::warn!(
                "{}: the last line was torn by a crash and is left out",
                directory.record_path.display()
            );
            directory.cut()?;
        }
        directory.records = directory.gather()?;
        drop(turn);
        Ok(directory)
    }

    /// The runs that ended, by number, those of other shards as far as they were known when the directory was opened.
    pub fn records(&self) -> &BTreeMap<usize, RunRecord> {
        &self.records
    }

    /// Adds a run for good: when this returns, it is on the disk.
    ///
    /// # Errors
    /// What the disk refuses; the run is then not there.
    pub fn add(&mut self, run: RunRecord) -> Result<()> {
        let mut line = serde_json::to_vec(&run)
            .map_err(|error| Error::io(&self.record_path)(std::io::Error::other(error)))?;
        line.push(b'\n');
        if self.is_torn {
            self.cut()?;
        }
        let written = self.record.write_all(&line);
        if let Err(error) = written.and_then(|()| self.record.sync_data()) {
            // Behind half a line there must be no other. What cannot be cut off now is so before the next one, or by
            // whoever opens the record.
            self.is_torn = true;
            let _ = self.cut();
            return Err(Error::io(&self.record_path)(error));
        }
        self.whole += line.len() as u64;
        self.records.insert(run.index, run);
        Ok(())
    }

    /// Takes from the record what follows its whole lines.
    fn cut(&mut self) -> Result<()> {
        self.record
            .set_len(self.whole)
            .and_then(|()| self.record.sync_all())
            .map_err(Error::io(&self.record_path))?;
        self.is_torn = false;
        Ok(())
    }

    /// Makes the tables and `sweep.json` anew, of all runs of all shards.
    ///
    /// # Errors
    /// What the disk refuses, and records that are damaged.
    pub fn publish(&self) -> Result<Published> {
        let turn = lock_in_turn(&self.dir)?;
        // Its tables have the same names.
        refuse_run(&self.dir)?;
        let records = self.gather()?;
        let provenance = [
            ("attnscope.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("attnscope.sweep", self.grid.task().name().to_owned()),
        ];
        let provenance = provenance.map(|(key, value)| (key.to_owned(), value));
        let provenance = provenance.into_iter().collect();
        tables::write_runs(&self.dir.join(RUNS), self.grid, &records, &provenance)?;
        tables::write_heads(&self.dir.join(HEADS), self.grid, &records, &provenance)?;
        write_manifest(&self.dir, self.grid, &self.selection, self.shard, &records)?;
        Ok(Published {
            records,
            _lock: turn,
        })
    }

    fn gather(&self) -> Result<BTreeMap<usize, RunRecord>> {
        gather_files(&self.dir, self.grid)
    }
}

fn write_manifest(
    dir: &Path,
    grid: &Grid,
    selection: &Value,
    shard: Option<Shard>,
    records: &BTreeMap<usize, RunRecord>,
) -> Result<()> {
    let ended = |state: EndState| records.values().filter(|run| run.state == state).count();
    let manifest = json!({
        "attnscope_version": env!("CARGO_PKG_VERSION"),
        "grid": grid.fingerprint(),
        "selection": selection,
        "shard": shard,
        "runs": grid.runs(),
        "finished": ended(EndState::Finished),
        "diverged": ended(EndState::Diverged),
        "left": grid.runs() - records.len(),
    });
    write_json(&dir.join(SWEEP_JSON), &manifest)
}

/// The runs that ended, by number, of all shards in `dir`. A directory that is not there, or holds no sweep, has none.
///
/// # Errors
/// As [`SweepDirectory::open`], but for processes at work.
pub fn read_records(dir: &Path, grid: &Grid) -> Result<BTreeMap<usize, RunRecord>> {
    refuse_run(dir)?;
    if !dir.exists() || claim(dir, grid)? == Claim::Nothing {
        return Ok(BTreeMap::new());
    }
    gather_files(dir, grid)
}

/// The records of all shards; of a run that two of them have, the first by the names of the files.
fn gather_files(dir: &Path, grid: &Grid) -> Result<BTreeMap<usize, RunRecord>> {
    let names = names(dir)?.into_iter();
    let mut paths: Vec<PathBuf> = names
        .filter(|name| is_record(name))
        .map(|name| dir.join(name))
        .collect();
    paths.sort();
    let mut records = BTreeMap::new();
    for path in paths {
        for run in record::read(&path)?.records {
            check_run(&path, &run, grid)?;
            records.entry(run.index).or_insert(run);
        }
    }
    Ok(records)
}

/// Fails if `dir` holds the records of a sweep, or says that it will.
///
/// # Errors
/// [`Error::OutDir`] with the file's name.
pub(in crate::store) fn refuse_sweep(dir: &Path) -> Result<()> {
    let mut found = Vec::new();
    if dir.is_dir() {
        found = names(dir)?;
        found.retain(|name| name == SWEEP_JSON || is_record(name));
    }
    refuse_existing(dir, found.iter().map(|name| dir.join(name)), "sweep")
}

fn is_record(name: &str) -> bool {
    shard_of(name, RECORD, ".jsonl").is_some()
}

/// Fails if `dir` holds a run of another kind, or one that has not ended.
fn refuse_run(dir: &Path) -> Result<()> {
    let files = [RUN_JSON, UNFINISHED].map(|name| dir.join(name));
    refuse_existing(dir, files.into_iter(), "run")
}

/// What makes a directory that of a sweep.
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    /// Its `sweep.json`.
    Manifest,
    /// Its records, from which a `sweep.json` that was lost can be made.
    Records,
    /// It is of none.
    Nothing,
}

/// Whether `dir` is the directory of a sweep of this grid.
fn claim(dir: &Path, grid: &Grid) -> Result<Claim> {
    let path = dir.join(SWEEP_JSON);
    let names = names(dir)?;
    let record = names.iter().find(|name| is_record(name));
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if let Some(record) = record {
                // Whether they are of this grid they say themselves.
                return match gather_files(dir, grid)?.is_empty() {
                    false => Ok(Claim::Records),
                    true => Err(refused(
                        &dir.join(record),
                        "holds no run, and there is no sweep.json; remove it, or choose another --out",
                    )),
                };
            }
            let tables = [RUNS, HEADS].map(|name| dir.join(name));
            refuse_existing(dir, tables.into_iter(), "table of something else")?;
            return Ok(Claim::Nothing);
        }
        Err(error) => return Err(Error::io(&path)(error)),
    };
    let remedy = match record.is_some() {
        true => "remove it, and it is made anew from the records beside it",
        false => "choose another --out, or remove the file",
    };
    let manifest: Value = serde_json::from_slice(&text)
        .map_err(|error| refused(&path, format!("is no sweep: {error}; {remedy}")))?;
    let Ok(theirs) = serde_json::from_value(manifest["grid"].clone()) else {
        return Err(refused(&path, format!("names no grid; {remedy}")));
    };
    match fingerprints_differ(&theirs, &grid.fingerprint()) {
        None => Ok(Claim::Manifest),
        Some(difference) => Err(refused(
            dir,
            format!("holds the sweep of another grid: {difference}; choose another --out"),
        )),
    }
}

/// Locks the shard, and makes sure that nobody computes one that may have runs of this one.
fn lock_shard(dir: &Path, selection: &Value, shard: Option<Shard>) -> Result<File> {
    let path = dir.join(shard_name(LOCKS, shard, ".lock"));
    let told = |shard: Option<Shard>| match shard {
        None => "this sweep".to_owned(),
        Some(shard) => format!("shard {shard} of this sweep"),
    };
    let busy = |other: Option<Shard>| {
        let what = told(other);
        refused(
            dir,
            format!("another process is computing {what}; wait for it, or choose another --out"),
        )
    };
    let Some(mut lock) = lock_file(dir, &path)? else {
        return Err(busy(shard));
    };
    let text = selection.to_string();
    for name in names(dir)? {
        let Some(other) = shard_of(&name, LOCKS, ".lock").filter(|other| *other != shard) else {
            continue;
        };
        let other_path = dir.join(&name);
        let is_apart = shard.map(Shard::count) == other.map(Shard::count)
            && fs::read_to_string(&other_path).is_ok_and(|theirs| theirs == text);
        if !is_apart && lock_file(dir, &other_path)?.is_none() {
            return Err(busy(other));
        }
    }
    lock.set_len(0)
        .and_then(|()| lock.write_all(text.as_bytes()))
        .map_err(Error::io(&path))?;
    Ok(lock)
}

/// Fails unless the run is what the grid has under its number.
fn check_run(path: &Path, run: &RunRecord, grid: &Grid) -> Result<()> {
    let difference = match run.index < grid.runs() {
        true => fingerprints_differ(&run.configuration, &grid.identity(run.index)),
        false => Some(format!("the grid has {} runs", grid.runs())),
    };
    match difference {
        None => Ok(()),
        Some(difference) => Err(refused(
            path,
            format!(
                "run {} is not what it is in this grid: {difference}; choose another --out",
                run.index
            ),
        )),
    }
}

/// `runs.jsonl`, or `runs-00003-of-00016.jsonl` for a shard.
fn shard_name(stem: &str, shard: Option<Shard>, end: &str) -> String {
    match shard {
        None => format!("{stem}{end}"),
        Some(shard) => format!("{stem}-{:05}-of-{:05}{end}", shard.index(), shard.count()),
    }
}

/// The shard, or the whole, to which [`shard_name`] gives this name, if there is one.
fn shard_of(name: &str, stem: &str, end: &str) -> Option<Option<Shard>> {
    let numbers = name.strip_prefix(stem)?.strip_suffix(end)?;
    let shard = match numbers.strip_prefix('-').and_then(|n| n.split_once("-of-")) {
        None => None,
        Some((index, count)) => Some(Shard::new(index.parse().ok()?, count.parse().ok()?).ok()?),
    };
    (shard_name(stem, shard, end) == name).then_some(shard)
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(dir).map_err(Error::io(dir))?;
    let names = entries.map(|entry| {
        let entry = entry.map_err(Error::io(dir))?;
        Ok(entry.file_name().to_string_lossy().into_owned())
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_finds_its_files_again() {
        let shard = Shard::new(3, 16).unwrap();
        assert_eq!(
            shard_name(RECORD, Some(shard), ".jsonl"),
            "runs-00003-of-00016.jsonl"
        );
        assert_eq!(
            shard_of("runs-00003-of-00016.jsonl", RECORD, ".jsonl"),
            Some(Some(shard))
        );
        assert_eq!(shard_of("runs.jsonl", RECORD, ".jsonl"), Some(None));
        for other in [
            "runs-3-of-16.jsonl",
            "runs-00016-of-00016.jsonl",
            "runs.parquet",
            "runs-old.jsonl",
            "heads.jsonl",
        ] {
            assert_eq!(shard_of(other, RECORD, ".jsonl"), None, "{other}");
        }
    }
}
