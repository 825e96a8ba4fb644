//! Replicas side by side on the CPU: the lanes of a [`Kernel`] as something that an integrator can move.

use super::dormand_prince::{Crossing, System, Tolerances, extension};
use super::experiments::Run;
use super::kernel::{Kernel, State};
use super::model::Model;
use super::trajectory::Track;
use crate::Result;
use crate::layers::attention::Activation;
use crate::layers::cpu::with_simd;
use crate::layers::lanes::{Lanes, keep_lanes_together};

/// How near to a step's start a score may come to its kink or leave it: time must go on.
const EARLIEST: f64 = 1e-9;

/// N alike runs.
pub(super) struct Replicas<'a, const N: usize> {
    model: &'a Model,
    kernel: Kernel<N>,
    /// For every score that came to the kink of |a| and stays there, from which side; 0 for all others.
    held: Vec<Lanes<N>>,
    /// Whether σ is at rest on one side of its kink, as max(0, a) is, so that nothing leaves it.
    stays: bool,
}

impl<'a, const N: usize> Replicas<'a, N> {
    /// With the state in which they start.
    pub(super) fn new(runs: [&'a Run; N]) -> (Self, State<N>) {
        let model = runs[0].problem.model();
        let state = State::new(model, runs.map(|run| run.problem.start()));
        let mut kernel = Kernel::new(runs.map(|run| run.problem.model()));
        kernel.hold_sides(&state);
        let held = vec![Lanes::ZERO; model.rows() * model.positions()];
        let replicas = Self {
            model,
            kernel,
            held,
            stays: model.sigma().function().activation() == Activation::Relu,
        };
        (replicas, state)
    }
}

impl<const N: usize> System for Replicas<'_, N> {
    type State = State<N>;
    type Factor = Lanes<N>;

    fn zeros(&self) -> Result<State<N>> {
        Ok(State::zeros(self.model))
    }

    fn factor(&self, numbers: &[f64]) -> Result<Lanes<N>> {
        Ok(Lanes(std::array::from_fn(|lane| numbers[lane])))
    }

    fn slope(&mut self, at: &State<N>, out: &mut State<N>) -> Result<()> {
        with_simd(
            #[inline(always)]
            || self.kernel.slope(at, out),
        );
        Ok(())
    }

    fn combine(
        &mut self,
        from: &State<N>,
        slopes: &[State<N>],
        factors: &[Lanes<N>],
        out: &mut State<N>,
    ) -> Result<()> {
        with_simd(
            #[inline(always)]
            || match factors {
                [a] => combine([*a], from, slopes, out),
                [a, b] => combine([*a, *b], from, slopes, out),
                [a, b, c] => combine([*a, *b, *c], from, slopes, out),
                [a, b, c, d] => combine([*a, *b, *c, *d], from, slopes, out),
                [a, b, c, d, e] => combine([*a, *b, *c, *d, *e], from, slopes, out),
                [a, b, c, d, e, f] => combine([*a, *b, *c, *d, *e, *f], from, slopes, out),
                [a, b, c, d, e, f, g, ..] => {
                    combine([*a, *b, *c, *d, *e, *f, *g], from, slopes, out);
                }
                [] => out.entries.copy_from_slice(&from.entries),
            },
        );
        Ok(())
    }

    fn error(
        &mut self,
        from: &State<N>,
        to: &State<N>,
        slopes: &[State<N>],
        factors: &[Lanes<N>],
        tolerances: Tolerances,
        out: &mut [f64],
    ) -> Result<()> {
        let (absolute, relative) = (tolerances.absolute, tolerances.relative);
        let (absolute, relative) = (Lanes::splat(absolute), Lanes::splat(relative));
        let largest = with_simd(
            #[inline(always)]
            || {
                let mut largest = Lanes::ZERO;
                for (at, (from, to)) in from.entries.iter().zip(&to.entries).enumerate() {
                    keep_lanes_together::<N>();
                    let mut error = Lanes::ZERO;
                    for (factor, slope) in factors.iter().zip(slopes) {
                        error += *factor * slope.entries[at];
                    }
                    let size = from.abs().max(to.abs());
                    largest = largest.max(error.abs() / (absolute + relative * size));
                }
                largest
            },
        );
        out.copy_from_slice(&largest.0);
        Ok(())
    }

    fn select(&mut self, chosen: &[bool], from: &State<N>, to: &mut State<N>) -> Result<()> {
        if chosen.iter().all(|chosen| *chosen) {
            to.entries.copy_from_slice(&from.entries);
            return Ok(());
        }
        let chosen: [bool; N] = std::array::from_fn(|lane| chosen[lane]);
        with_simd(
            #[inline(always)]
            || {
                for (to, from) in to.entries.iter_mut().zip(&from.entries) {
                    keep_lanes_together::<N>();
                    for ((to, from), chosen) in to.0.iter_mut().zip(from.0).zip(chosen) {
                        *to = if chosen { from } else { *to };
                    }
                }
            },
        );
        Ok(())
    }

    fn record(
        &mut self,
        at: &State<N>,
        chosen: &[Option<(u64, f64)>],
        tracks: &mut [Track],
    ) -> Result<()> {
        for (lane, (chosen, track)) in chosen.iter().zip(tracks).enumerate() {
            if let Some((steps, time)) = *chosen {
                track.record(steps, time, at.entries.iter().map(|x| x.0[lane]));
            }
        }
        Ok(())
    }

    fn crossings(
        &mut self,
        from: &State<N>,
        to: &State<N>,
        slopes: &[State<N>],
        steps: &[f64],
        out: &mut [Option<Crossing>],
    ) {
        let Some(sides) = &self.kernel.sides else {
            return;
        };
        let mut note = |lane: usize, crossing: Crossing| {
            if out[lane].is_none_or(|other: Crossing| crossing.place < other.place) {
                out[lane] = Some(crossing);
            }
        };
        for (score, (at, sides)) in from.score_entries().zip(sides).enumerate() {
            for (lane, &step) in steps.iter().enumerate() {
                let side = sides.0[lane];
                if side * to.entries[at].0[lane] >= 0.0 {
                    continue;
                }
                let value = |place: f64| {
                    let moves = extension(place).into_iter().zip(slopes);
                    let moves = moves.map(|(b, slope)| b * slope.entries[at].0[lane]);
                    side * (from.entries[at].0[lane] + step * moves.sum::<f64>())
                };
                let crossing = Crossing {
                    place: root(value),
                    score,
                    leaves: false,
                };
                note(lane, crossing);
            }
        }
        if self.held.iter().all(|held| *held == Lanes::ZERO) {
            return;
        }
        let outward = self.kernel.outward(to).iter().zip(&self.held).enumerate();
        let leaving: Vec<(usize, usize)> = outward
            .flat_map(|(score, (outward, held))| {
                let leaves = move |lane: &usize| held.0[*lane] != 0.0 && outward.0[*lane] > 0.0;
                (0..N).filter(leaves).map(move |lane| (score, lane))
            })
            .collect();
        if leaving.is_empty() {
            return;
        }
        let mut between = State::zeros(self.model);
        for (score, lane) in leaving {
            let value = |place: f64| {
                let factors = extension(place).map(|b| Lanes::splat(b * steps[lane]));
                combine(factors, from, slopes, &mut between);
                -self.kernel.outward(&between)[score].0[lane]
            };
            let crossing = Crossing {
                place: root(value),
                score,
                leaves: true,
            };
            note(lane, crossing);
        }
    }

    fn settle(&mut self, at: &mut State<N>, replica: usize, crossing: Crossing) {
        let entry = at.score_entries().start + crossing.score;
        at.entries[entry].0[replica] = 0.0;
        let Some(sides) = &mut self.kernel.sides else {
            return;
        };
        let side = &mut sides[crossing.score].0[replica];
        let held = &mut self.held[crossing.score].0[replica];
        if crossing.leaves {
            (*side, *held) = (*held, 0.0);
        } else {
            // max(0, a) is at rest on the other side of its kink.
            *held = if self.stays { 0.0 } else { *side };
            *side = 0.0;
        }
    }
}

#[inline(always)]
fn combine<const N: usize, const M: usize>(
    factors: [Lanes<N>; M],
    from: &State<N>,
    slopes: &[State<N>],
    out: &mut State<N>,
) {
    let length = from.entries.len();
    let slopes: [&[Lanes<N>]; M] = std::array::from_fn(|i| &slopes[i].entries[..length]);
    let out = &mut out.entries[..length];
    for at in 0..length {
        keep_lanes_together::<N>();
        let mut sum = Lanes::ZERO;
        for i in 0..M {
            sum += factors[i] * slopes[i][at];
        }
        out[at] = from.entries[at] + sum;
    }
}

/// Where `value`, which falls from above 0 to below it, is 0: by bisection, to the last bit, but no earlier than
/// [`EARLIEST`].
fn root(mut value: impl FnMut(f64) -> f64) -> f64 {
    let (mut above, mut below) = (EARLIEST, 1.0);
    loop {
        let middle = 0.5 * (above + below);
        if middle <= above || middle >= below {
            return below;
        }
        if value(middle) > 0.0 {
            above = middle;
        } else {
            below = middle;
        }
    }
}
