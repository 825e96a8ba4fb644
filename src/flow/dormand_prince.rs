//! The gradient flow itself: `V̇ = −∂L/∂V`, `ȧ = −∂L/∂a`, `Ṡ = ‖∂L/∂θ‖`, by an adaptive pair of Runge–Kutta methods.
//!
//! Dormand and Prince's 5(4) pair (1980) with the continuous extension of order 4 and the step-size controller that
//! Hairer, Nørsett and Wanner describe (*Solving Ordinary Differential Equations I*, II.4–II.6). Every replica has its
//! own time, step size and error, so that it goes the same way whichever others are beside it.
//!
//! Where σ has a kink (|a|, max(0, a)) a step keeps to the branch in which it began, and ends where a score reaches 0. The
//! score stays there: the slopes on both sides of |a| point to 0 wherever one can arrive at it, and below that of
//! max(0, a) there is none. Once the slopes of |a| point away from 0 the score leaves again. The equations do not say to
//! which side, which makes no difference to weights and loss; here it is the one from which it came. That is the limit of
//! gradient descent at small rates, whose scores jump about the kink, too. A score that *starts* at 0 stays there,
//! as `sign(0) = 0` in the notebook has it.

use super::trajectory::Track;
use crate::{Error, Result};

/// How far a step may be off, entry by entry: `absolute + relative · |entry|`; and when to give up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerances {
    /// Of the size of an entry of V, a or S.
    pub relative: f64,
    /// Where an entry is near 0.
    pub absolute: f64,
    /// A run that is not done after so many steps fails. Explicit methods take as many where the fastest motion, even
    /// one that has long died out, is so much faster than the slowest.
    pub most_steps: u64,
}

impl Default for Tolerances {
    fn default() -> Self {
        Self {
            relative: 1e-9,
            absolute: 1e-12,
            most_steps: 10_000_000,
        }
    }
}

/// Some replicas, and arithmetic with their states.
pub(super) trait System {
    /// V, a and S of all replicas, or their slopes.
    type State;
    /// A number for each replica.
    type Factor;

    fn zeros(&self) -> Result<Self::State>;
    fn factor(&self, numbers: &[f64]) -> Result<Self::Factor>;
    /// Writes the flow's direction at `at`.
    fn slope(&mut self, at: &Self::State, out: &mut Self::State) -> Result<()>;
    /// `out = from + Σ factors_i · slopes_i`, over as many as there are factors.
    fn combine(
        &mut self,
        from: &Self::State,
        slopes: &[Self::State],
        factors: &[Self::Factor],
        out: &mut Self::State,
    ) -> Result<()>;
    /// Writes for each replica the largest `|Σ factors_i · slopes_i| / (absolute + relative · max(|from|, |to|))`.
    fn error(
        &mut self,
        from: &Self::State,
        to: &Self::State,
        slopes: &[Self::State],
        factors: &[Self::Factor],
        tolerances: Tolerances,
        out: &mut [f64],
    ) -> Result<()>;
    /// Replaces `to` by `from` for the chosen replicas.
    fn select(&mut self, chosen: &[bool], from: &Self::State, to: &mut Self::State) -> Result<()>;
    /// Appends a record of each replica that has a number of steps and a time to its track.
    fn record(
        &mut self,
        at: &Self::State,
        chosen: &[Option<(u64, f64)>],
        tracks: &mut [Track],
    ) -> Result<()>;
    /// Writes where in the step a score of each replica first comes to a kink or leaves it, if one does.
    fn crossings(
        &mut self,
        from: &Self::State,
        to: &Self::State,
        slopes: &[Self::State],
        steps: &[f64],
        out: &mut [Option<Crossing>],
    );
    /// Puts a score that has come to its kink onto it, or lets it go.
    fn settle(&mut self, at: &mut Self::State, replica: usize, crossing: Crossing);
}

/// A score at its kink.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crossing {
    /// Where in the step, 0 to 1.
    pub(super) place: f64,
    /// Which score, counted over all rows.
    pub(super) score: usize,
    /// Whether it leaves.
    pub(super) leaves: bool,
}

/// Slopes of a step; the last is the first of the next.
const STAGES: usize = 7;
/// Row i gives stage i + 1; the last row is the step itself, of order 5.
const A: [[f64; 6]; 6] = [
    [1.0 / 5.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [3.0 / 40.0, 9.0 / 40.0, 0.0, 0.0, 0.0, 0.0],
    [44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0, 0.0, 0.0, 0.0],
    [
        19372.0 / 6561.0,
        -25360.0 / 2187.0,
        64448.0 / 6561.0,
        -212.0 / 729.0,
        0.0,
        0.0,
    ],
    [
        9017.0 / 3168.0,
        -355.0 / 33.0,
        46732.0 / 5247.0,
        49.0 / 176.0,
        -5103.0 / 18656.0,
        0.0,
    ],
    [
        35.0 / 384.0,
        0.0,
        500.0 / 1113.0,
        125.0 / 192.0,
        -2187.0 / 6784.0,
        11.0 / 84.0,
    ],
];
/// The step of order 5 less the one of order 4.
const E: [f64; STAGES] = [
    71.0 / 57600.0,
    0.0,
    -71.0 / 16695.0,
    71.0 / 1920.0,
    -17253.0 / 339200.0,
    22.0 / 525.0,
    -1.0 / 40.0,
];

/// Factors of the slopes at the place `x` (0 to 1) of a step of length 1 (Hairer, Nørsett and Wanner, II.6).
pub(super) fn extension(x: f64) -> [f64; STAGES] {
    let b = &A[5];
    let rise = x * x * (3.0 - 2.0 * x);
    let bump = (x * (x - 1.0)).powi(2);
    [
        b[0] * rise + x * (x - 1.0).powi(2)
            - bump * 5.0 * (2558722523.0 - 31403016.0 * x) / 11282082432.0,
        0.0,
        b[2] * rise + bump * 100.0 * (882725551.0 - 15701508.0 * x) / 32700410799.0,
        b[3] * rise - bump * 25.0 * (443332067.0 - 31403016.0 * x) / 1880347072.0,
        b[4] * rise + bump * 32805.0 * (23143187.0 - 3489224.0 * x) / 199316789632.0,
        b[5] * rise - bump * 55.0 * (29972135.0 - 7076736.0 * x) / 822651844.0,
        x * x * (x - 1.0) + bump * 10.0 * (7414447.0 - 829305.0 * x) / 29380423.0,
    ]
}

/// The controller: a step that was off by `err` is followed by one `SAFETY · err^−EXPONENT · before^BETA` as long.
const SAFETY: f64 = 0.9;
const BETA: f64 = 0.04;
const EXPONENT: f64 = 0.2 - 0.75 * BETA;
const SHRINK: f64 = 0.2;
const GROW: f64 = 10.0;
/// A replica's way.
struct Clock<'a> {
    /// When to record.
    times: &'a [f64],
    /// The next of them.
    next: usize,
    time: f64,
    /// How long the next step is to be.
    step: f64,
    /// Of the last accepted step.
    error: f64,
    /// Whether the last step was made again.
    rejected: bool,
    failed: bool,
}

impl Clock<'_> {
    fn is_active(&self) -> bool {
        !self.failed && self.next < self.times.len()
    }

    /// Where the next step ends: not beyond the last record.
    fn end(&self) -> f64 {
        match self.times.last() {
            Some(&last) if self.is_active() => last.min(self.time + self.step),
            _ => self.time,
        }
    }

    /// Chooses the next step after one of length `step`, which was off by `error`.
    fn control(&mut self, step: f64, error: f64, accepted: bool) {
        let wanted = SAFETY * error.powf(-EXPONENT) * self.error.powf(BETA);
        let factor = match accepted {
            true if self.rejected => wanted.clamp(SHRINK, 1.0),
            true => wanted.clamp(SHRINK, GROW),
            false if error.is_finite() => (SAFETY * error.powf(-EXPONENT)).max(SHRINK),
            false => SHRINK,
        };
        self.step = step * factor;
        self.rejected = !accepted;
        if accepted {
            self.error = error.max(1e-4);
        }
    }
}

/// Follows every replica from `state` on through its times, which ascend from 0 or later, and records there.
pub(super) fn integrate<S: System>(
    system: &mut S,
    mut state: S::State,
    times: &[&[f64]],
    tolerances: Tolerances,
    tracks: &mut [Track],
) -> Result<()> {
    let count = times.len();
    let mut slopes = Vec::with_capacity(STAGES);
    for _ in 0..STAGES {
        slopes.push(system.zeros()?);
    }
    let (mut moved, mut between) = (system.zeros()?, system.zeros()?);
    system.slope(&state, &mut slopes[0])?;
    // A first step that changes nothing by more than a thousandth of 1 + |entry|.
    let unit = Tolerances {
        relative: 1.0,
        absolute: 1.0,
        ..tolerances
    };
    let one = [system.factor(&vec![1.0; count])?];
    let mut errors = vec![0.0; count];
    system.error(&state, &state, &slopes, &one, unit, &mut errors)?;
    let mut clocks: Vec<Clock> = times
        .iter()
        .zip(&errors)
        .map(|(times, &speed)| Clock {
            times,
            next: usize::from(times.first() == Some(&0.0)),
            time: 0.0,
            step: if speed > 0.0 { 1e-3 / speed } else { f64::MAX },
            error: 1e-4,
            rejected: false,
            failed: false,
        })
        .collect();
    let starts: Vec<_> = clocks
        .iter()
        .map(|clock| (clock.next > 0).then_some((0, 0.0)))
        .collect();
    system.record(&state, &starts, tracks)?;
    for track in tracks.iter_mut() {
        track.effort.evaluations = 1;
    }

    // What a step needs of its replicas; made once.
    let (mut ends, mut steps) = (vec![0.0; count], vec![0.0; count]);
    let mut accepted = vec![false; count];
    let mut crossings = vec![None; count];
    let mut factors = Factors::new(count);
    while clocks.iter().any(Clock::is_active) {
        for (r, clock) in clocks.iter().enumerate() {
            ends[r] = clock.end();
            steps[r] = ends[r] - clock.time;
        }
        for (stage, row) in A.iter().enumerate() {
            let (before, after) = slopes.split_at_mut(stage + 1);
            let factors = factors.fill(system, &steps, |_| &row[..=stage])?;
            system.combine(&state, before, factors, &mut moved)?;
            system.slope(&moved, &mut after[0])?;
        }
        let of_error = factors.fill(system, &steps, |_| &E)?;
        system.error(&state, &moved, &slopes, of_error, tolerances, &mut errors)?;
        for (r, clock) in clocks.iter().enumerate() {
            accepted[r] = clock.is_active() && errors[r] <= 1.0;
        }

        crossings.fill(None);
        system.crossings(&state, &moved, &slopes, &steps, &mut crossings);
        for (r, crossing) in crossings.iter_mut().enumerate() {
            *crossing = crossing.filter(|_| accepted[r]);
            if let Some(crossing) = crossing {
                ends[r] = clocks[r].time + crossing.place * steps[r];
            }
        }

        // Records within the step; several rounds where some replica has several.
        let is_due = |(r, clock): (usize, &Clock)| {
            let time = clock.times.get(clock.next);
            accepted[r] && time.is_some_and(|time| *time <= ends[r])
        };
        while clocks.iter().enumerate().any(is_due) {
            let mut chosen = vec![None; count];
            let mut places = vec![[0.0; STAGES]; count];
            for (r, clock) in clocks.iter_mut().enumerate() {
                let time = clock.times.get(clock.next).copied();
                if let Some(time) = time.filter(|time| accepted[r] && *time <= ends[r]) {
                    chosen[r] = Some((tracks[r].effort.accepted + 1, time));
                    places[r] = extension(((time - clock.time) / steps[r]).min(1.0));
                    clock.next += 1;
                }
            }
            let factors = factors.fill(system, &steps, |r| &places[r])?;
            system.combine(&state, &slopes, factors, &mut between)?;
            system.record(&between, &chosen, tracks)?;
        }

        let any_crossed = crossings.iter().any(Option::is_some);
        if any_crossed {
            let crossed: Vec<bool> = crossings.iter().map(Option::is_some).collect();
            let places: Vec<_> = crossings
                .iter()
                .map(|crossing| extension(crossing.map_or(1.0, |crossing| crossing.place)))
                .collect();
            let factors = factors.fill(system, &steps, |r| &places[r])?;
            system.combine(&state, &slopes, factors, &mut between)?;
            system.select(&crossed, &between, &mut moved)?;
        }
        system.select(&accepted, &moved, &mut state)?;
        if any_crossed {
            for (r, crossing) in crossings.iter().enumerate() {
                if let Some(crossing) = *crossing {
                    system.settle(&mut state, r, crossing);
                }
            }
            system.slope(&state, &mut slopes[0])?;
        } else {
            let (first, last) = slopes.split_at_mut(STAGES - 1);
            system.select(&accepted, &last[0], &mut first[0])?;
        }

        for (r, clock) in clocks.iter_mut().enumerate() {
            // Also of those that have just made their last record.
            if steps[r] == 0.0 {
                continue;
            }
            let effort = &mut tracks[r].effort;
            effort.evaluations += (STAGES - 1) as u64;
            effort.accepted += u64::from(accepted[r]);
            effort.rejected += u64::from(!accepted[r]);
            clock.control(steps[r], errors[r], accepted[r]);
            if accepted[r] {
                clock.time = ends[r];
            }
            let stuck = clock.time + clock.step <= clock.time;
            let made = effort.accepted + effort.rejected;
            if clock.is_active() && (stuck || made >= tolerances.most_steps) {
                clock.failed = true;
                fail(&mut tracks[r], clock, stuck, made);
            }
        }
    }
    Ok(())
}

/// The factors of the slopes, in memory that is used again.
struct Factors<F> {
    factors: Vec<F>,
    products: Vec<f64>,
}

impl<F> Factors<F> {
    fn new(count: usize) -> Self {
        Self {
            factors: Vec::with_capacity(STAGES),
            products: vec![0.0; count],
        }
    }

    /// The products of the steps with the numbers that each replica has, number by number.
    fn fill<'a, S: System<Factor = F>>(
        &mut self,
        system: &S,
        steps: &[f64],
        numbers: impl Fn(usize) -> &'a [f64],
    ) -> Result<&[F]> {
        self.factors.clear();
        for i in 0..numbers(0).len() {
            for (r, (product, step)) in self.products.iter_mut().zip(steps).enumerate() {
                *product = step * numbers(r)[i];
            }
            self.factors.push(system.factor(&self.products)?);
        }
        Ok(&self.factors)
    }
}

#[cold]
fn fail(track: &mut Track, clock: &Clock, stuck: bool, made: u64) {
    let (quantity, found, remedy) = match stuck {
        true => (
            "step size",
            clock.step,
            "the flow is too fast there to be followed; stop before it, or choose another sigma",
        ),
        false => (
            "number of steps",
            made as f64,
            "the flow is too stiff for this method; ask for less time, looser tolerances or more steps",
        ),
    };
    track.failure = Some(Error::Diverged {
        after: format!("{} steps, at t = {}", track.effort.accepted, clock.time),
        quantity,
        found: vec![found],
        recorded: track.len(),
        last_recorded: track.last_time(),
        remedy,
    });
}
