//! Many runs at once.
//!
//! Runs of one shape, form, σ and kind of objective are followed side by side, one per lane of a vector register, and
//! the groups on all cores; large models, whose values would leave the cache, one by one. A run has the same bits
//! whichever way it is followed.

use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{Device, DeviceLocation};
use rayon::prelude::*;

use super::descent::descend;
use super::dormand_prince::{Tolerances, integrate};
use super::experiments::Run;
use super::model::Form;
use super::objective::invalid;
use super::replicas::Replicas;
use super::tensors::TensorReplicas;
use super::trajectory::{Followed, Track};
use crate::Result;
use crate::layers::lanes::WIDTH;

/// Values of the largest model that is followed side by side with others: eight of them are 256 KiB.
const LARGEST_BESIDE: usize = 4096;

/// How runs are followed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Integrator {
    /// Plain gradient descent, [`Run::steps`] updates at the run's rate.
    Descent,
    /// The gradient flow up to t = rate × steps.
    Flow(Tolerances),
}

/// Where runs are followed.
#[derive(Debug, Clone)]
pub enum Backend {
    /// On the CPU, in one pass per step.
    Fused,
    /// In candle's operations, on a device that has float64. Of a descent that diverges, the record after it is known,
    /// not the update. The flow of functions with a kink (|a|, max(0, a)) has only the other form.
    Tensors(Device),
}

impl Backend {
    /// As in records and on the command line: `cpu`, `cuda:0`, ….
    pub fn name(&self) -> String {
        match self {
            Backend::Fused => "cpu".into(),
            Backend::Tensors(device) => match device.location() {
                DeviceLocation::Cpu => "cpu".into(),
                DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
                DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
            },
        }
    }
}

/// How runs are followed, and what is kept of them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where.
    pub backend: Backend,
    /// With what.
    pub integrator: Integrator,
    /// When.
    pub records: Records,
    /// Whether every record keeps V (or U).
    pub keep_values: bool,
}

/// When to record.
#[derive(Debug, Clone, PartialEq)]
pub enum Records {
    /// At the start, and at so many times that are equally spaced on a logarithmic axis, from one update (or t = rate)
    /// to the end. Gradient descent has fewer where they fall on the same update; of a flow that ends before 100 × rate
    /// the first is at a ten-thousandth of its end.
    Logarithmic(usize),
    /// After these numbers of updates (or at rate × these), which ascend; a run ends with the last.
    At(Vec<u64>),
}

impl Records {
    /// Numbers of updates, which ascend from 0; whole ones for gradient descent.
    fn updates(&self, run: &Run, whole: bool) -> Vec<f64> {
        match self {
            Records::At(updates) => updates.iter().map(|&at| at as f64).collect(),
            Records::Logarithmic(count) => {
                let (steps, last) = (run.steps as f64, count.saturating_sub(1).max(1) as f64);
                // Of a flow that ends soon after t = rate, or there, most would lie close to its end.
                let first = match whole || steps >= 100.0 {
                    true => 1.0,
                    false => 1e-4 * steps,
                };
                let spaced = (0..*count).map(|k| {
                    let at = match k as f64 {
                        k if k == last || *count == 1 => steps,
                        k => first * (steps / first).powf(k / last),
                    };
                    if whole { at.round() } else { at }
                });
                let mut updates: Vec<f64> = std::iter::once(0.0).chain(spaced).collect();
                updates.dedup_by(|b, a| *b <= *a);
                updates
            }
        }
    }
}

/// Follows `runs`, on all cores, and calls `finished` with the number of those that are done. The results are in the
/// order of the runs.
///
/// # Errors
/// [`Error::Flow`](crate::Error::Flow) for rates that are not above 0, for records that do not ascend, for tolerances
/// below the precision of float64, and for the flow of a tied form whose σ has a kink. A run that diverges is no
/// error: its [`Followed::failure`] says so.
pub fn follow(
    runs: Vec<Run>,
    settings: &Settings,
    finished: impl Fn(usize) + Sync,
) -> Result<Vec<Followed>> {
    for run in &runs {
        check(run, settings)?;
    }
    let groups = groups(&runs, &settings.backend);
    let done = AtomicUsize::new(0);
    let follow_group = |group: &Vec<usize>| {
        let members: Vec<&Run> = group.iter().map(|&at| &runs[at]).collect();
        let tracks = match &settings.backend {
            Backend::Fused => follow_fused(&members, settings),
            Backend::Tensors(device) => follow_tensors(&members, settings, device),
        }?;
        finished(done.fetch_add(members.len(), Ordering::Relaxed) + members.len());
        Ok(tracks)
    };
    let tracks: Vec<Vec<Track>> = match &settings.backend {
        Backend::Fused => groups.par_iter().map(follow_group).collect::<Result<_>>(),
        Backend::Tensors(_) => groups.iter().map(follow_group).collect(),
    }?;
    let mut by_run: Vec<Option<Track>> = runs.iter().map(|_| None).collect();
    for (at, track) in groups
        .into_iter()
        .flatten()
        .zip(tracks.into_iter().flatten())
    {
        by_run[at] = Some(track);
    }
    let finish = |(run, track): (Run, Option<Track>)| {
        track.unwrap_or_default().finish(run, settings.keep_values)
    };
    Ok(runs.into_par_iter().zip(by_run).map(finish).collect())
}

/// Fails for what [`follow`] refuses, before anything is followed.
pub(crate) fn check(run: &Run, settings: &Settings) -> Result<()> {
    check_rate(run.rate)?;
    if let Records::At(updates) = &settings.records
        && !updates.is_sorted_by(|a, b| a < b)
    {
        return Err(invalid("records", "must ascend, each once; sort them"));
    }
    if let Integrator::Flow(tolerances) = settings.integrator {
        let Tolerances {
            relative, absolute, ..
        } = tolerances;
        if !((1e-14..1.0).contains(&relative) && absolute > 0.0 && absolute.is_finite()) {
            return Err(invalid(
                "tolerances",
                format!(
                    "are {relative} and {absolute}; the relative one must lie between 1e-14 and 1, the absolute one above 0"
                ),
            ));
        }
        let model = run.problem.model();
        let has_kink = model.sigma().function().activation().has_kink();
        if has_kink && model.form() == Form::Tied {
            return Err(invalid(
                "sigma",
                format!(
                    "the flow of the tied form cannot pass the kink of {}; follow it by gradient descent",
                    model.sigma()
                ),
            ));
        }
        if has_kink && matches!(settings.backend, Backend::Tensors(_)) {
            return Err(invalid(
                "sigma",
                format!(
                    "the flow of {}, which has a kink, is followed on the CPU only; leave the device out",
                    model.sigma()
                ),
            ));
        }
    }
    Ok(())
}

/// Fails unless the rate η is finite and above 0.
pub(super) fn check_rate(rate: f64) -> Result<()> {
    match rate > 0.0 && rate.is_finite() {
        true => Ok(()),
        false => Err(invalid(
            "rate",
            format!("is {rate}; it must be above 0, like 0.1"),
        )),
    }
}

/// Runs that can be followed side by side.
fn groups(runs: &[Run], backend: &Backend) -> Vec<Vec<usize>> {
    let (width, largest) = match backend {
        Backend::Fused => (WIDTH, LARGEST_BESIDE),
        Backend::Tensors(_) => (usize::MAX, usize::MAX),
    };
    let alike = |a: &Run, b: &Run| {
        let (x, y) = (a.problem.model(), b.problem.model());
        x.is_like(y) && a.steps == b.steps
    };
    let mut groups: Vec<Vec<usize>> = Vec::new();
    // The groups that still have room, so that thousands of runs need not be compared with each other.
    let mut open: Vec<usize> = Vec::new();
    for (at, run) in runs.iter().enumerate() {
        let model = run.problem.model();
        let is_small = model.predictions() * model.positions() <= largest;
        let found = open
            .iter()
            .position(|&group| alike(&runs[groups[group][0]], run));
        match found.filter(|_| is_small) {
            Some(place) => {
                groups[open[place]].push(at);
                if groups[open[place]].len() == width {
                    open.swap_remove(place);
                }
            }
            None => {
                if is_small {
                    open.push(groups.len());
                }
                groups.push(vec![at]);
            }
        }
    }
    groups
}

fn follow_fused(runs: &[&Run], settings: &Settings) -> Result<Vec<Track>> {
    if let [run] = runs {
        return Ok(follow_beside([*run], settings)?.into());
    }
    // Lanes without a run of their own repeat the last.
    let lanes = std::array::from_fn(|i| runs[i.min(runs.len() - 1)]);
    let mut tracks: Vec<Track> = follow_beside::<WIDTH>(lanes, settings)?.into();
    tracks.truncate(runs.len());
    Ok(tracks)
}

fn follow_tensors(runs: &[&Run], settings: &Settings, device: &Device) -> Result<Vec<Track>> {
    let (mut replicas, state) = TensorReplicas::new(runs, device)?;
    let mut tracks: Vec<Track> = runs.iter().map(|_| Track::default()).collect();
    match settings.integrator {
        Integrator::Descent => {
            let rates: Vec<f64> = runs.iter().map(|run| run.rate).collect();
            replicas.descend(state, &rates, &settings.updates(runs[0]), &mut tracks)?;
        }
        Integrator::Flow(tolerances) => {
            let times: Vec<Vec<f64>> = runs.iter().map(|run| settings.times(run)).collect();
            let times: Vec<&[f64]> = times.iter().map(Vec::as_slice).collect();
            integrate(&mut replicas, state, &times, tolerances, &mut tracks)?;
        }
    }
    Ok(tracks)
}

fn follow_beside<const N: usize>(runs: [&Run; N], settings: &Settings) -> Result<[Track; N]> {
    match settings.integrator {
        Integrator::Descent => Ok(descend(runs, &settings.updates(runs[0]))),
        Integrator::Flow(tolerances) => {
            let times = runs.map(|run| settings.times(run));
            let times: Vec<&[f64]> = times.iter().map(Vec::as_slice).collect();
            let mut tracks: [Track; N] = std::array::from_fn(|_| Track::default());
            let (mut replicas, state) = Replicas::new(runs);
            integrate(&mut replicas, state, &times, tolerances, &mut tracks)?;
            Ok(tracks)
        }
    }
}

impl Settings {
    /// After how many updates of gradient descent to record.
    fn updates(&self, run: &Run) -> Vec<u64> {
        let at = self.records.updates(run, true).into_iter();
        at.map(|at| at as u64).collect()
    }

    /// At which times of the flow to record.
    fn times(&self, run: &Run) -> Vec<f64> {
        let at = self.records.updates(run, false).into_iter();
        at.map(|at| at * run.rate).collect()
    }
}
