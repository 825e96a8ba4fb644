//! The statistics of one row while its keys go by, block after block.

use super::Function;
use crate::{
    layers::cpu::{self, exp, ln},
    metrics::NO_WEIGHT,
};

/// Scores of sigmoid rows are not taken below this, where e^−x would overflow; the weight there is 1e−38.
const SIGMOID_FLOOR: f32 = -87.0;

/// What is known of a row after the keys seen so far.
#[derive(Clone, Copy)]
pub struct Running {
    /// Softmax: the largest score. Sigmoid: the largest weight.
    max: f32,
    pub argmax: u32,
    /// Softmax: Σ e^(s − max). Sigmoid: Σ w.
    pub total: f32,
    /// Softmax: Σ (s − max) e^(s − max). Sigmoid: Σ w ln w.
    moment: f32,
    /// Softmax: the score of key 0. Sigmoid: its weight.
    first: f32,
}

impl Running {
    /// Before the first key.
    pub const START: Running = Running {
        max: f32::NEG_INFINITY,
        argmax: 0,
        total: 0.0,
        moment: 0.0,
        first: 0.0,
    };

    /// Takes a block of softmax scores, leaves e^(s − max) in their place; returns the factor by which
    /// everything summed before has shrunk.
    #[inline(always)]
    pub fn softmax(&mut self, scores: &mut [f32], k0: usize) -> f32 {
        if k0 == 0 {
            self.first = scores[0];
        }
        let block_max = cpu::max(scores);
        let mut factor = 1.0;
        // A NaN enters too, and then stays.
        if block_max > self.max || block_max.is_nan() {
            if self.total > 0.0 {
                factor = exp(self.max - block_max);
                self.moment = factor * (self.moment + self.total * (self.max - block_max));
                self.total *= factor;
            }
            self.max = block_max;
            self.argmax = (k0 + position(scores, block_max)) as u32;
        }
        let max = self.max;
        let (mut total, mut moment) = ([0f32; cpu::LANES], [0f32; cpu::LANES]);
        let mut chunks = scores.chunks_exact_mut(cpu::LANES);
        for chunk in &mut chunks {
            for ((s, t), m) in chunk.iter_mut().zip(&mut total).zip(&mut moment) {
                let x = *s - max;
                let e = exp(x);
                *s = e;
                *t += e;
                // Where e has vanished x may be −∞, and their product NaN.
                *m += if e == 0.0 { 0.0 } else { x * e };
            }
        }
        for s in chunks.into_remainder() {
            let x = *s - max;
            let e = exp(x);
            *s = e;
            self.total += e;
            self.moment += if e == 0.0 { 0.0 } else { x * e };
        }
        self.total += total.iter().sum::<f32>();
        self.moment += moment.iter().sum::<f32>();
        factor
    }

    /// Takes a block of sigmoid scores, leaves the weights in their place.
    #[inline(always)]
    pub fn sigmoid(&mut self, scores: &mut [f32], k0: usize) {
        let (mut total, mut moment) = ([0f32; cpu::LANES], [0f32; cpu::LANES]);
        let weigh = |s: f32| {
            let x = if s < SIGMOID_FLOOR { SIGMOID_FLOOR } else { s };
            let inverse = 1.0 + exp(-x);
            let w = 1.0 / inverse;
            (w, -w * ln(inverse))
        };
        let mut chunks = scores.chunks_exact_mut(cpu::LANES);
        for chunk in &mut chunks {
            for ((s, t), m) in chunk.iter_mut().zip(&mut total).zip(&mut moment) {
                let (w, w_ln_w) = weigh(*s);
                *s = w;
                *t += w;
                *m += w_ln_w;
            }
        }
        for s in chunks.into_remainder() {
            let (w, w_ln_w) = weigh(*s);
            *s = w;
            self.total += w;
            self.moment += w_ln_w;
        }
        self.total += total.iter().sum::<f32>();
        self.moment += moment.iter().sum::<f32>();
        if k0 == 0 {
            self.first = scores[0];
        }
        let block_max = cpu::max(scores);
        if block_max > self.max || block_max.is_nan() {
            self.max = block_max;
            self.argmax = (k0 + position(scores, block_max)) as u32;
        }
    }

    /// (max, total, first, entropy) of the finished row.
    #[inline(always)]
    pub fn finish(&self, function: Function) -> (f32, f32, f32, f32) {
        // −Σ p ln p with p = w / total.
        let entropy = ln(self.total) - self.moment / self.total;
        // Rounding may leave a hair below 0; `f32::max` would hide a NaN.
        let is_nothing = entropy < 0.0 || self.total < NO_WEIGHT;
        let entropy = if is_nothing { 0.0 } else { entropy };
        match function {
            Function::Softmax => {
                let first = exp(self.first - self.max) / self.total;
                let inverse = 1.0 / self.total;
                // Exactly 1 for any finite total, and NaN for a NaN.
                let total = if inverse.is_finite() { 1.0 } else { f32::NAN };
                (inverse, total, first, entropy)
            }
            Function::Sigmoid { .. } => (self.max, self.total, self.first, entropy),
        }
    }
}

/// The first position that holds `value`; 0 if none does (`value` is NaN).
#[inline(always)]
fn position(xs: &[f32], value: f32) -> usize {
    for (c, chunk) in xs.chunks(cpu::LANES).enumerate() {
        let mut found = false;
        for &x in chunk {
            found |= x == value;
        }
        if found {
            let at = chunk.iter().position(|&x| x == value).unwrap_or(0);
            return c * cpu::LANES + at;
        }
    }
    0
}
