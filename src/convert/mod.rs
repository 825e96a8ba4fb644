//! From axlearn's checkpoints to checkpoint directories.
//!
//! [`run`] reads the arrays of a gala decoder where they are, on this machine or in a bucket, and writes
//! safetensors with `config.json` and `tokenizer.json` beside them. Chunks are read as streams and written once,
//! in memory that depends on the size of one matrix (`scatter`); what each array becomes is one table
//! (`mapping`). A conversion that was interrupted, or killed, continues with the arrays that are not finished
//! and with the bytes that have not been fetched (`work`).
//!
//! Until everything is there the output directory holds nothing but a hidden working directory; `config.json`,
//! without which a directory is no checkpoint, comes last.

mod config;
mod elements;
mod mapping;
mod plan;
mod prepare;
mod record;
mod scatter;
mod source;
mod verify;
mod work;

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

pub use plan::{Plan, PlannedArray, PlannedFile};
pub use record::{CONVERSION_JSON, Conversion, ConvertedFile};
pub use source::Location;

use prepare::{PARALLEL_ARRAYS, Prepared};
use scatter::{Limits, Scatter};
use work::WorkDir;

use crate::{
    Error, Result,
    checkpoint::{OutputFiles, axlearn::Files},
    corpus::Preprocessing,
    hub::bucket::BucketSettings,
    machine,
    manifest::{ModelManifest, ModelSizes},
};

/// How soon a stop is noticed by those who wait for the network.
const POLL: Duration = Duration::from_millis(10);

/// What to convert, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// The step directory of the axlearn checkpoint.
    pub checkpoint: Location,
    /// The SentencePiece model that belongs to it.
    pub tokenizer: Location,
    /// `softmax` or `sigmoid`: the arrays are the same.
    pub attention_function: String,
    /// What is done to texts before they are tokenised; it goes into the result.
    pub preprocessing: Preprocessing,
    /// Name and sizes of the model that this has to be.
    pub expected: Option<(String, ModelSizes)>,
    /// Convert the first so many layers; none for all.
    pub layers: Option<usize>,
    /// Element type of the result.
    pub dtype: OutputType,
    /// The directory for the result.
    pub out: PathBuf,
    /// Read the result back and compare every tensor with the source.
    pub verify: bool,
    /// How buckets are reached.
    pub bucket: BucketSettings,
}

/// Element types of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputType {
    /// float32: every bit of the source.
    F32,
    /// bfloat16: rounded to nearest, ties to even.
    Bf16,
}

/// What a conversion is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Arrays become tensors.
    Converting,
    /// The result is read back.
    Verifying,
    /// Checksums of the files are taken.
    Hashing,
}

/// Told how a conversion proceeds.
pub trait Watcher: Sync {
    /// The plan is made, and not refused.
    fn planned(&self, plan: &Plan);

    /// A stage begins, of so many bytes in total, of which `done` are done already.
    fn begin(&self, stage: Stage, total: u64, done: u64);

    /// So many more bytes of the stage are done; `received` have come over the network in all.
    fn advance(&self, bytes: u64, received: u64);

    /// Whether the conversion should stop; asked between matrices.
    fn is_stopped(&self) -> bool;
}

/// What a conversion leaves.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was to be done.
    pub plan: Plan,
    /// `conversion.json`.
    pub conversion: Conversion,
    /// Whether it had been finished before, and nothing was converted.
    pub was_finished: bool,
    /// Whether the result was read back and found to be right.
    pub was_verified: bool,
    /// Bytes that came over the network.
    pub received_bytes: u64,
    /// How long it took.
    pub seconds: f64,
}

/// Where the conversion of a known model is kept that was given no directory, among the `assets` of libraries (see
/// [`HubSettings`](crate::hub::HubSettings)).
pub fn cache_dir(assets: &Path, name: &str, dtype: OutputType) -> PathBuf {
    assets
        .join("attnscope/converted")
        .join(format!("{name}-{}", dtype.torch_dtype()))
}

/// The finished conversion of a known model among the `assets`; the exact one where there are two.
pub fn cached(assets: &Path, name: &str) -> Option<PathBuf> {
    let types = [OutputType::F32, OutputType::Bf16];
    types
        .into_iter()
        .find_map(|dtype| cached_as(assets, name, dtype))
}

/// The finished conversion of a known model to an element type among the `assets`.
pub fn cached_as(assets: &Path, name: &str, dtype: OutputType) -> Option<PathBuf> {
    let dir = cache_dir(assets, name, dtype);
    dir.join("config.json").is_file().then_some(dir)
}

/// What [`run`] would do. Reads `index`, the arrays' descriptions, the listing of their chunks and the tokenizer.
///
/// # Errors
/// As [`run`], as far as they do not concern the output.
pub fn plan(request: &Request) -> Result<Plan> {
    Ok(Prepared::new(request)?.plan)
}

/// Runs a conversion to its end.
///
/// # Errors
/// [`Error::Checkpoint`], [`Error::TensorMismatch`] or [`Error::Tokenizer`] for a source that is incomplete,
/// damaged, or not a gala decoder; [`Error::OutDir`] if the output directory holds something else;
/// [`Error::DoesNotFit`] if the disk is too small; those of the network; and [`Error::Interrupted`] when the
/// watcher stops it: what was done stays, and the same request continues it.
pub fn run(request: &Request, watcher: &dyn Watcher) -> Result<Outcome> {
    let started = Instant::now();
    let prepared = Prepared::new(request)?;
    watcher.planned(&prepared.plan);
    let before = finished(request, &prepared)?;
    let was_finished = before.is_some();
    let conversion = match before {
        Some(conversion) => {
            WorkDir::clean(&request.out)?;
            if request.verify {
                let sums = conversion.checksums();
                verify(request, &request.out, &prepared, &sums, watcher)?;
            }
            conversion
        }
        None => convert(request, &prepared, watcher)?,
    };
    Ok(Outcome {
        conversion,
        was_finished,
        was_verified: request.verify,
        received_bytes: prepared.checkpoint.files().received(),
        seconds: started.elapsed().as_secs_f64(),
        plan: prepared.plan,
    })
}

/// The record of this conversion in the output directory, if it is finished.
fn finished(request: &Request, prepared: &Prepared) -> Result<Option<Conversion>> {
    let refused = |message: String| Error::OutDir {
        path: request.out.clone(),
        message,
    };
    if request.out.is_file() {
        return Err(refused("is a file; a directory is needed".into()));
    }
    if let Some(conversion) = Conversion::read(&request.out)?
        && request.out.join("config.json").is_file()
    {
        if let Some(differences) =
            crate::store::fingerprints_differ(&conversion.source, &prepared.source)
        {
            return Err(refused(format!(
                "holds another conversion: {differences}; choose another --out"
            )));
        }
        let missing = conversion.missing(&request.out);
        if let Some(path) = missing.first() {
            return Err(refused(format!(
                "holds this conversion, but {} is missing or has another size; remove the directory and convert again",
                path.display()
            )));
        }
        return Ok(Some(conversion));
    }
    if !WorkDir::path(&request.out).is_dir() {
        let there = work::result_names(prepared)
            .into_iter()
            .find(|name| request.out.join(name).exists());
        if let Some(name) = there {
            return Err(refused(format!(
                "holds {name}, which is not of this conversion; choose another --out"
            )));
        }
    }
    Ok(None)
}

fn convert(request: &Request, prepared: &Prepared, watcher: &dyn Watcher) -> Result<Conversion> {
    check_disk(request, prepared)?;
    let mut work = WorkDir::open(&request.out, prepared)?;
    // Another process may have come to its end meanwhile.
    if let Some(conversion) = finished(request, prepared)? {
        work.remove();
        return Ok(conversion);
    }
    if let Some(rest) = work.pending(prepared)? {
        prepared.checkpoint.files().begin(work.dir())?;
        let bytes_of = |arrays: &mut dyn Iterator<Item = usize>| -> u64 {
            arrays.map(|array| prepared.output_bytes(array)).sum()
        };
        let total = bytes_of(&mut (0..prepared.mapping.arrays.len()));
        let left = bytes_of(&mut rest.iter().copied());
        watcher.begin(Stage::Converting, total, total - left);
        convert_arrays(request, prepared, &mut work, rest, watcher)?;
    }
    work.take_back(prepared)?;
    let sums = work.checksums(prepared);
    work.write_descriptions(request, prepared)?;
    if request.verify {
        verify(request, work.dir(), prepared, &sums, watcher)?;
    }
    work.publish(request, prepared, &sums, watcher)
}

/// Converts the arrays `rest`, some of them at the same time.
fn convert_arrays(
    request: &Request,
    prepared: &Prepared,
    work: &mut WorkDir,
    rest: Vec<usize>,
    watcher: &dyn Watcher,
) -> Result<()> {
    let source = prepared.checkpoint.files();
    let dir = work.dir().to_path_buf();
    let output = OutputFiles::open(&dir, &prepared.layout)?;
    let stop = AtomicBool::new(false);
    let scatter = Scatter {
        checkpoint: &prepared.checkpoint,
        output: &output,
        limits: Limits::default(),
        written: &|bytes| watcher.advance(bytes, source.received()),
        go_on: &|| match watcher.is_stopped() || stop.load(Ordering::Relaxed) {
            true => Err(request.interrupted()),
            false => Ok(()),
        },
    };
    let rest = Mutex::new(VecDeque::from(rest));
    let work = Mutex::new(work);
    let one = |index: usize| -> Result<()> {
        let mapped = &prepared.mapping.arrays[index];
        let array = &prepared.checkpoint.arrays()[&mapped.source];
        let wanted = mapped.wanted(array);
        source.expect(&wanted)?;
        let sums = match request.dtype {
            OutputType::F32 => scatter.run(array, mapped, &elements::F32)?,
            OutputType::Bf16 => scatter.run(array, mapped, &elements::Bf16)?,
        };
        output.sync()?;
        locked(&work).finish(prepared, index, &sums)?;
        source.release(&wanted)
    };
    let first_error = Mutex::new(None);
    let worker = || {
        loop {
            let Some(index) = locked(&rest).pop_front() else {
                return;
            };
            if let Err(error) = one(index) {
                stop.store(true, Ordering::Relaxed);
                // Later ones are only that this one has stopped them.
                locked(&first_error).get_or_insert(error);
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..PARALLEL_ARRAYS).map(|_| scope.spawn(worker)).collect();
        while !workers.iter().all(|worker| worker.is_finished()) {
            // A worker that waits for the network asks nobody whether to go on.
            if watcher.is_stopped() || stop.load(Ordering::Relaxed) {
                source.stop();
            }
            std::thread::sleep(POLL);
        }
    });
    let first_error = first_error
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    match first_error {
        // Whatever it says, the stop is what it comes from.
        Some(_) if watcher.is_stopped() => Err(request.interrupted()),
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn verify(
    request: &Request,
    dir: &Path,
    prepared: &Prepared,
    sums: &BTreeMap<String, u64>,
    watcher: &dyn Watcher,
) -> Result<()> {
    watcher.begin(Stage::Verifying, prepared.layout.bytes(), 0);
    verify::verify(dir, &prepared.tensors, sums, &|bytes| {
        watcher.advance(bytes, 0);
        request.go_on(watcher)
    })
}

fn check_disk(request: &Request, prepared: &Prepared) -> Result<()> {
    let there = work::bytes_in(&WorkDir::path(&request.out));
    let needed = prepared.layout.bytes() + prepared.plan.spooled_bytes;
    match machine::available_on_disk(&request.out) {
        Some(free) if free + there < needed => Err(Error::DoesNotFit(format!(
            "{}: the conversion needs {} there, and the disk has {} left: choose another --out, --dtype bf16, or \
             fewer --layers",
            request.out.display(),
            machine::human(needed - there),
            machine::human(free)
        ))),
        _ => Ok(()),
    }
}

impl Request {
    /// The conversion of a known model, as its manifest describes it; `None` if the manifest names no axlearn
    /// checkpoint.
    pub fn of_manifest(
        manifest: &ModelManifest,
        dtype: OutputType,
        out: &Path,
        bucket: &BucketSettings,
    ) -> Option<Self> {
        let axlearn = manifest.axlearn.as_ref()?;
        Some(Self {
            checkpoint: Location::new(&axlearn.checkpoint),
            tokenizer: Location::new(&axlearn.tokenizer),
            attention_function: manifest.attention_function.clone(),
            preprocessing: manifest.text.clone(),
            expected: Some((manifest.name.clone(), manifest.sizes.clone())),
            layers: None,
            dtype,
            out: out.to_path_buf(),
            verify: false,
            bucket: bucket.clone(),
        })
    }

    /// An error if the watcher wants to stop.
    fn go_on(&self, watcher: &dyn Watcher) -> Result<()> {
        match watcher.is_stopped() {
            true => Err(self.interrupted()),
            false => Ok(()),
        }
    }

    fn interrupted(&self) -> Error {
        Error::Interrupted {
            out: self.out.clone(),
            continue_with: "the same command",
        }
    }
}

/// A lock that stays usable when a thread that held it has panicked: the panic itself goes on.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
