//! `unfinished.safetensors`: what a run that has not ended has made so far.
//!
//! | tensor | shape | what |
//! |---|---|---|
//! | `parameters.NAME` | that of the parameter | the parameter |
//! | `first_moments.NAME`, `second_moments.NAME` | the same | AdamW's m and v, if it has some |
//! | `loss` | 1 | sum of the losses of the epoch that is not over |
//! | `epochs` | (epochs, 5) | of those that are: number, steps, training loss, evaluation loss, accuracy |
//! | `tracked.steps` | records | steps before which it was looked at the tracked samples |
//! | `tracked.places` | (weights, 5) | sample, layer, head, query and key of the weights that are tracked |
//! | `tracked.weights`, `tracked.shares` | (records, weights) | the weights, and their shares |
//! | `tracked.value_norms` | (records, layers, 1 + heads) | norm of a value projection, then of its heads' rows |
//!
//! What there is none of is left out. The header's metadata say whose it is.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io,
    path::Path,
};

use candle_core::{Device, Result as TensorResult, Tensor, bail};
use safetensors::SafeTensors;

use crate::{
    Error, Result,
    store::{directory::refused, lock::lock_file, write_atomically},
    train::{
        Settings, Snapshot,
        metrics::Score,
        run::Epoch,
        track::{Record, TrackedWeight, ValueNorm},
    },
};

/// The file.
pub const UNFINISHED: &str = "unfinished.safetensors";

const LOCK: &str = ".attnscope-train.lock";

const VERSION: &str = "attnscope.version";
const COMMAND: &str = "attnscope.command";
const STEPS: &str = "steps";
const STARTED_AT: &str = "started_at";
const SECONDS: &str = "seconds";
const RESUMED: &str = "resumed";

/// How a run came where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// When it began (RFC 3339, UTC).
    pub started_at: String,
    /// For how long it has been trained.
    pub seconds: f64,
    /// How often it was resumed.
    pub resumed: u64,
}

/// Keeps other runs away from the directory `out` until the returned file is closed; the operating system does that
/// however the process ends.
///
/// # Errors
/// [`Error::OutDir`] if another process has it, and what the disk refuses.
pub fn lock(out: &Path) -> Result<File> {
    let lock = lock_file(out, &out.join(LOCK))?;
    lock.ok_or_else(|| {
        refused(
            out,
            "another process is training in it; wait for it, or choose another --out",
        )
    })
}

/// Removes what is here of a run whose results are written: without it there is nothing to resume.
pub fn remove(out: &Path) {
    // Beside `run.json` they mean nothing.
    let _ = fs::remove_file(out.join(UNFINISHED));
    let _ = fs::remove_file(out.join(LOCK));
}

/// Writes a run that `command` repeats into `out`, which must exist, in place of what was there of it before.
///
/// # Errors
/// What the disk refuses.
pub fn write(out: &Path, command: &str, progress: &Progress, snapshot: &Snapshot) -> Result<()> {
    let path = out.join(UNFINISHED);
    let metadata = [
        (VERSION, env!("CARGO_PKG_VERSION").to_owned()),
        (COMMAND, command.to_owned()),
        (STEPS, snapshot.steps.to_string()),
        (STARTED_AT, progress.started_at.clone()),
        (SECONDS, progress.seconds.to_string()),
        (RESUMED, progress.resumed.to_string()),
    ];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
    let bytes = safetensors::serialize(tensors(snapshot)?, Some(metadata.into()));
    let bytes = bytes.map_err(|error| Error::io(&path)(io::Error::other(error)))?;
    write_atomically(&path, &bytes)
}

/// Reads the run that `command` repeats from `out`.
///
/// # Errors
/// [`Error::OutDir`] for a run of other settings or another version, [`Error::Checkpoint`] for a damaged file, and what
/// the disk refuses.
pub fn read(out: &Path, settings: &Settings, command: &str) -> Result<(Progress, Snapshot)> {
    let path = out.join(UNFINISHED);
    let bytes = fs::read(&path).map_err(Error::io(&path))?;
    let damaged = |error: String| Error::Checkpoint {
        path: path.clone(),
        message: format!(
            "does not hold an unfinished run ({error}), so it cannot be resumed; remove it to begin anew, or choose \
             another --out"
        ),
    };
    let header = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(error.to_string()))?;
    let metadata = header.1.metadata().clone().unwrap_or_default();
    let field = |key: &str| {
        let value = metadata.get(key).map(String::as_str);
        value.ok_or_else(|| damaged(format!("its header has no `{key}`")))
    };
    check_owner(out, (field(VERSION)?, field(COMMAND)?), command)?;
    let not_a_number = |key: &str| damaged(format!("`{key}` of its header is no number"));
    let progress = Progress {
        started_at: field(STARTED_AT)?.into(),
        seconds: field(SECONDS)?.parse().map_err(|_| not_a_number(SECONDS))?,
        resumed: field(RESUMED)?.parse().map_err(|_| not_a_number(RESUMED))?,
    };
    let steps = field(STEPS)?.parse().map_err(|_| not_a_number(STEPS))?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu);
    let snapshot = tensors.and_then(|tensors| snapshot(&tensors, settings, steps));
    let snapshot = snapshot.map_err(|error| damaged(error.to_string()))?;
    Ok((progress, snapshot))
}

/// Whether the run is that of `command`, and of this version.
fn check_owner(out: &Path, (version, theirs): (&str, &str), command: &str) -> Result<()> {
    let message = if version != env!("CARGO_PKG_VERSION") {
        format!("holds an unfinished run of attnscope {version}; resume it with that version")
    } else if theirs != command {
        let ours: Vec<&str> = command.split(" --").collect();
        let others = theirs.split(" --").filter(|option| !ours.contains(option));
        let others = others.map(|option| match option.starts_with("attnscope") {
            true => option.to_owned(),
            false => format!("--{option}"),
        });
        format!(
            "holds another unfinished run ({}); repeat that run's options to resume it",
            others.collect::<Vec<_>>().join(" ")
        )
    } else {
        return Ok(());
    };
    Err(refused(out, format!("{message}, or choose another --out")))
}

fn tensors(snapshot: &Snapshot) -> TensorResult<BTreeMap<String, Tensor>> {
    let cpu = &Device::Cpu;
    let mut tensors = BTreeMap::new();
    for (name, parameter) in &snapshot.parameters {
        tensors.insert(format!("parameters.{name}"), parameter.clone());
    }
    for (name, (m, v)) in &snapshot.moments {
        tensors.insert(format!("first_moments.{name}"), m.clone());
        tensors.insert(format!("second_moments.{name}"), v.clone());
    }
    tensors.insert("loss".into(), Tensor::new(&[snapshot.loss], cpu)?);
    let epochs: Vec<Vec<f64>> = snapshot.epochs.iter().map(row_of).collect();
    if !epochs.is_empty() {
        tensors.insert("epochs".into(), Tensor::new(epochs, cpu)?);
    }
    let records = &snapshot.records;
    if let Some(first) = records.first() {
        let shape = (records.len(), first.weights.len());
        let all = || records.iter().flat_map(|record| &record.weights);
        let steps = records.iter().map(|record| record.step as i64);
        let places: Vec<Vec<u32>> = first.weights.iter().map(place_of).collect();
        let norms = records.iter().flat_map(|record| &record.value_norms);
        let norms = norms.flat_map(|layer| [layer.norm].into_iter().chain(layer.heads.clone()));
        let layers = first.value_norms.len();
        let of_tracked = [
            ("steps", Tensor::from_iter(steps, cpu)?),
            ("places", Tensor::new(places, cpu)?),
            (
                "weights",
                Tensor::from_iter(all().map(|w| w.weight), cpu)?.reshape(shape)?,
            ),
            (
                "shares",
                Tensor::from_iter(all().map(|w| w.share), cpu)?.reshape(shape)?,
            ),
            (
                "value_norms",
                Tensor::from_iter(norms, cpu)?.reshape((records.len(), layers, ()))?,
            ),
        ];
        tensors.extend(of_tracked.map(|(name, tensor)| (format!("tracked.{name}"), tensor)));
    }
    Ok(tensors)
}

fn snapshot(
    tensors: &HashMap<String, Tensor>,
    settings: &Settings,
    steps: usize,
) -> TensorResult<Snapshot> {
    let find = |name: &str| match tensors.get(name) {
        Some(tensor) => Ok(tensor),
        None => bail!("it has no tensor `{name}`"),
    };
    let (mut parameters, mut moments) = (BTreeMap::new(), BTreeMap::new());
    for parameter in settings.config.parameters() {
        let (name, shape) = (parameter.spec.name, parameter.spec.shape);
        let found = |kind: &str| {
            let name = format!("{kind}.{name}");
            let tensor = find(&name)?.clone();
            match tensor.dims() == shape {
                true => Ok(tensor),
                false => bail!(
                    "`{name}` has the shape {:?} instead of {shape:?}",
                    tensor.dims()
                ),
            }
        };
        if tensors.contains_key(&format!("first_moments.{name}")) {
            let of_parameter = (found("first_moments")?, found("second_moments")?);
            moments.insert(name.clone(), of_parameter);
        }
        let parameter = found("parameters")?;
        parameters.insert(name, parameter);
    }
    let epochs = match tensors.get("epochs") {
        Some(epochs) => epochs
            .to_vec2::<f64>()?
            .iter()
            .map(|row| epoch(row))
            .collect(),
        None => Ok(Vec::new()),
    };
    let snapshot = Snapshot {
        steps,
        loss: find("loss")?.reshape(())?.to_scalar()?,
        epochs: epochs?,
        records: match tensors.contains_key("tracked.steps") {
            true => records(|name| find(&format!("tracked.{name}")))?,
            false => Vec::new(),
        },
        parameters,
        moments,
    };
    if steps > settings.steps() || snapshot.epochs.len() != steps / settings.steps_per_epoch() {
        bail!("{} epochs do not make {steps} steps", snapshot.epochs.len());
    }
    Ok(snapshot)
}

fn row_of(epoch: &Epoch) -> Vec<f64> {
    let score = epoch.eval.unwrap_or(Score {
        loss: f64::NAN,
        accuracy: f64::NAN,
    });
    vec![
        epoch.epoch as f64,
        epoch.steps as f64,
        epoch.train_loss,
        score.loss,
        score.accuracy,
    ]
}

/// Of a run that goes on, so that the epoch has scores.
fn epoch(row: &[f64]) -> TensorResult<Epoch> {
    let &[epoch, steps, train_loss, loss, accuracy] = row else {
        bail!("`epochs` has {} columns instead of 5", row.len());
    };
    Ok(Epoch {
        epoch: epoch as usize,
        steps: steps as usize,
        train_loss,
        eval: Some(Score { loss, accuracy }),
    })
}

fn place_of(weight: &TrackedWeight) -> Vec<u32> {
    let (layer, head) = (weight.layer.into(), weight.head.into());
    vec![weight.sample, layer, head, weight.query, weight.key]
}

fn records<'a>(find: impl Fn(&str) -> TensorResult<&'a Tensor>) -> TensorResult<Vec<Record>> {
    let steps = find("steps")?.to_vec1::<i64>()?;
    let places = find("places")?.to_vec2::<u32>()?;
    let weights = find("weights")?.to_vec2::<f32>()?;
    let shares = find("shares")?.to_vec2::<f64>()?;
    let norms = find("value_norms")?.to_vec3::<f64>()?;
    let is_whole = [weights.len(), shares.len(), norms.len()] == [steps.len(); 3]
        && weights.iter().all(|row| row.len() == places.len())
        && shares.iter().all(|row| row.len() == places.len())
        && places.iter().all(|place| place.len() == 5);
    if !is_whole {
        bail!("the tensors of what was tracked do not fit together");
    }
    let rows = weights.iter().zip(&shares).zip(norms).zip(steps);
    Ok(rows
        .map(|(((weights, shares), norms), step)| {
            let weights = places.iter().zip(weights).zip(shares);
            let norms = norms.into_iter().map(|mut heads| ValueNorm {
                norm: heads.remove(0),
                heads,
            });
            Record {
                step: step as usize,
                weights: weights
                    .map(|((place, &weight), &share)| TrackedWeight {
                        sample: place[0],
                        layer: place[1] as u16,
                        head: place[2] as u16,
                        query: place[3],
                        key: place[4],
                        weight,
                        share,
                    })
                    .collect(),
                value_norms: norms.collect(),
            }
        })
        .collect())
}
