//! Plain gradient descent: `V ← V − η ∂L/∂V` and `a ← a − η ∂L/∂a`, both gradients at the same point.
//!
//! Our runs and the notebook's differ by rounding, which most of these dynamics damp. They amplify it
//! - where a score stands at a kink ([`L1`](super::sigma::Sigma::L1) under the logistic loss): one
//!   update carries it across 0 and the next one back to nearly 0, at times within 1e-17, and the sign of that rest
//!   decides the side of the next jump; a rest of exactly 0 stays. From the first such decision on runs differ by about
//!   one update of the score;
//! - where the slope of the logistic loss is small: the notebook's comparison of normalisations takes it as
//!   `1 − 1 / (1 + exp(−m))`, which has an absolute error of 1e-16, ours has that relative to the slope;
//! - where a residual has vanished: square losses end near the square of its rounding, 1e-32.

use super::experiments::Run;
use super::kernel::{Kernel, State};
use super::trajectory::Track;
use crate::Error;
use crate::layers::cpu::with_simd;
use crate::layers::lanes::{Lanes, keep_lanes_together};

/// Follows N alike runs through the same numbers of updates, and records after those of `at`, which ascend.
pub(super) fn descend<const N: usize>(runs: [&Run; N], at: &[u64]) -> [Track; N] {
    let mut kernel = Kernel::new(runs.map(|run| run.problem.model()));
    let mut state = State::new(runs[0].problem.model(), runs.map(|run| run.problem.start()));
    let rates = Lanes(runs.map(|run| run.rate));
    let mut tracks: [Track; N] = std::array::from_fn(|_| Track::default());
    let mut updates = 0;
    for &next in at {
        loop {
            let is_finite = with_simd(
                #[inline(always)]
                || advance(&mut kernel, &mut state, rates, &mut updates, next),
            );
            if is_finite {
                break;
            }
            if !retire(&kernel, &mut state, &runs, &mut tracks, updates) {
                return tracks;
            }
        }
        for (lane, (run, track)) in runs.iter().zip(&mut tracks).enumerate() {
            if track.failure.is_none() {
                let time = run.rate * updates as f64;
                track.record(updates, time, state.entries.iter().map(|x| x.0[lane]));
            }
        }
    }
    for track in tracks.iter_mut().filter(|track| track.failure.is_none()) {
        track.effort.evaluations = updates;
    }
    tracks
}

/// Makes updates until there are `next`; stops, and says so, where a number is infinite or NaN.
#[inline(always)]
fn advance<const N: usize>(
    kernel: &mut Kernel<N>,
    state: &mut State<N>,
    rates: Lanes<N>,
    updates: &mut u64,
    next: u64,
) -> bool {
    loop {
        kernel.forward(state);
        // 0 · x is 0 for a finite x and NaN otherwise. An infinite or undefined value makes its prediction so,
        // whatever its weight (∞ · 0 is NaN).
        let mut check = Lanes::ZERO;
        for x in &state.entries[state.score_entries()] {
            keep_lanes_together::<N>();
            check += *x * Lanes::ZERO;
        }
        for x in &kernel.prediction {
            keep_lanes_together::<N>();
            check += *x * Lanes::ZERO;
        }
        if check != Lanes::ZERO {
            return false;
        }
        if *updates == next {
            return true;
        }
        kernel.backward(state);
        kernel.descend(rates, state);
        *updates += 1;
    }
}

/// Ends the runs that have left the finite numbers; their lanes go on as copies of one that has not. Whether there
/// is one.
fn retire<const N: usize>(
    kernel: &Kernel<N>,
    state: &mut State<N>,
    runs: &[&Run; N],
    tracks: &mut [Track; N],
    updates: u64,
) -> bool {
    let finite = |entries: &[Lanes<N>], lane: usize| entries.iter().all(|x| x.0[lane].is_finite());
    let scores = &state.entries[state.score_entries()];
    let lives: [bool; N] =
        std::array::from_fn(|lane| finite(scores, lane) && finite(&kernel.prediction, lane));
    for (lane, (run, track)) in runs.iter().zip(&mut *tracks).enumerate() {
        if !lives[lane] && track.failure.is_none() {
            let (quantity, entries) = match finite(scores, lane) {
                false => ("score", scores),
                true => ("prediction", kernel.prediction.as_slice()),
            };
            track.effort.evaluations = updates;
            track.failure = Some(Error::Diverged {
                after: format!("{updates} updates at rate {}", run.rate),
                quantity,
                found: entries.iter().map(|x| x.0[lane]).collect(),
                recorded: track.len(),
                last_recorded: track.last_time(),
                remedy: "take a smaller rate",
            });
        }
    }
    let Some(alive) = (0..N).find(|&lane| lives[lane] && tracks[lane].failure.is_none()) else {
        return false;
    };
    for (lane, lives) in lives.iter().enumerate() {
        if !lives {
            state.copy_lane(alive, lane);
        }
    }
    true
}
