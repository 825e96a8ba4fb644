//! The Mersenne Twister, as CPython's `random` and NumPy's legacy `numpy.random` use it.
//!
//! A run must be able to see the rows and the numbers that a Python program saw for the same seed.
//! Both programs draw from the same generator (MT19937, Matsumoto and Nishimura 1998) and differ in
//! how a seed becomes its state and in what they make of its output; hence one generator and two
//! faces, [`PythonRandom`] and [`NumpyRandom`].
//!
//! ```
//! use attnscope::random::PythonRandom;
//!
//! // >>> random.seed(42); random.sample(range(10000), 3)
//! assert_eq!(PythonRandom::new(42).sample(10_000, 3), Some(vec![1824, 409, 4506]));
//! ```

use std::collections::HashSet;

/// Words of the generator's state.
const N: usize = 624;
/// Distance between the words that the recurrence combines.
const M: usize = 397;

/// MT19937: 32 random bits at a time.
#[derive(Clone)]
pub struct MersenneTwister {
    state: [u32; N],
    /// Words of `state` already given out; [`N`] when it has to be renewed.
    used: usize,
}

impl MersenneTwister {
    /// Seeds the way the authors' `init_genrand` does; NumPy's legacy `seed(int)`.
    pub fn from_seed(seed: u32) -> Self {
        let mut state = [0; N];
        state[0] = seed;
        for i in 1..N {
            let previous = state[i - 1];
            state[i] = 1_812_433_253u32
                .wrapping_mul(previous ^ (previous >> 30))
                .wrapping_add(i as u32);
        }
        Self { state, used: N }
    }

    /// Seeds the way the authors' `init_by_array` does; CPython's `seed(int)`, whose key is the
    /// integer's 32-bit words, lowest first. An empty key counts as `[0]`.
    pub fn from_key(key: &[u32]) -> Self {
        let key = if key.is_empty() { &[0] } else { key };
        let mut state = Self::from_seed(19_650_218).state;
        let mixed = |state: &[u32; N], i: usize, multiplier: u32| {
            let previous = state[i - 1];
            state[i] ^ (previous ^ (previous >> 30)).wrapping_mul(multiplier)
        };
        let mut i = 1;
        let mut j = 0;
        for _ in 0..N.max(key.len()) {
            state[i] = mixed(&state, i, 1_664_525)
                .wrapping_add(key[j])
                .wrapping_add(j as u32);
            i += 1;
            j = (j + 1) % key.len();
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        for _ in 1..N {
            state[i] = mixed(&state, i, 1_566_083_941).wrapping_sub(i as u32);
            i += 1;
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        state[0] = 0x8000_0000;
        Self { state, used: N }
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == N {
            self.renew();
        }
        let mut y = self.state[self.used];
        self.used += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// Uniform in [0, 1) with 53 bits, from two words (`genrand_res53`).
    pub fn next_f64(&mut self) -> f64 {
        let high = f64::from(self.next_u32() >> 5);
        let low = f64::from(self.next_u32() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    fn renew(&mut self) {
        for i in 0..N {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ odd;
        }
        self.used = 0;
    }
}

/// What CPython's `random.Random(seed)` gives (any 3.x since 3.2).
#[derive(Clone)]
pub struct PythonRandom {
    twister: MersenneTwister,
}

impl PythonRandom {
    /// `random.Random(seed)`. CPython takes the absolute value of a negative seed; do so before.
    pub fn new(seed: u64) -> Self {
        let (low, high) = (seed as u32, (seed >> 32) as u32);
        // The key is as long as the integer, without leading zero words.
        let twister = match high {
            0 => MersenneTwister::from_key(&[low]),
            _ => MersenneTwister::from_key(&[low, high]),
        };
        Self { twister }
    }

    /// `random.random()`: uniform in [0, 1).
    pub fn random(&mut self) -> f64 {
        self.twister.next_f64()
    }

    /// `random.getrandbits(bits)` for at most 64 bits; more are cut to 64.
    pub fn getrandbits(&mut self, bits: u32) -> u64 {
        match bits {
            0 => 0,
            1..=32 => u64::from(self.twister.next_u32() >> (32 - bits)),
            _ => {
                // CPython fills 32-bit words from the lowest up and shifts only the last one.
                let low = u64::from(self.twister.next_u32());
                let high = u64::from(self.twister.next_u32() >> (64 - bits.min(64)));
                (high << 32) | low
            }
        }
    }

    /// `random.randrange(n)`: uniform in 0..n, by drawing until a number falls below `n`; 0 for `n = 0`.
    pub fn below(&mut self, n: usize) -> usize {
        let n = n as u64;
        let bits = u64::BITS - n.leading_zeros();
        loop {
            let drawn = self.getrandbits(bits);
            if drawn < n || n == 0 {
                return drawn as usize;
            }
        }
    }

    /// `random.sample(range(population), k)`: `k` different numbers, in the order drawn.
    /// `None` where CPython raises `ValueError`: `k` exceeds `population`.
    ///
    /// As there, a small population is shuffled in a pool and a large one drawn from with a set of
    /// what was taken; which one decides the numbers, so the limit between them is CPython's too.
    pub fn sample(&mut self, population: usize, k: usize) -> Option<Vec<usize>> {
        if k > population {
            return None;
        }
        Some(if population <= pool_limit(k) {
            let mut pool: Vec<usize> = (0..population).collect();
            for drawn in 0..k {
                // CPython moves the last free number into the gap and keeps the drawn one in a list;
                // swapping it past the end of the free part keeps it in the pool itself.
                let last = population - drawn - 1;
                let j = self.below(last + 1);
                pool.swap(j, last);
            }
            pool.split_off(population - k).into_iter().rev().collect()
        } else {
            let mut taken = HashSet::with_capacity(k);
            let mut sample = Vec::with_capacity(k);
            while sample.len() < k {
                let j = self.below(population);
                if taken.insert(j) {
                    sample.push(j);
                }
            }
            sample
        })
    }

    /// `random.shuffle(items)`.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i + 1);
            items.swap(i, j);
        }
    }
}

/// The largest population that `random.sample` shuffles in a pool: 21, plus for `k > 5` the smallest
/// power of four that is not below 3k (written there as `4 ** ceil(log(k * 3, 4))`).
fn pool_limit(k: usize) -> usize {
    let mut table = 0usize;
    if k > 5 {
        table = 1;
        while table < k.saturating_mul(3) {
            table = table.saturating_mul(4);
        }
    }
    table.saturating_add(21)
}

/// What NumPy's legacy generator gives after `numpy.random.seed(seed)`, or `RandomState(seed)`.
#[derive(Clone)]
pub struct NumpyRandom {
    twister: MersenneTwister,
    /// The polar method makes normal numbers in pairs; the second one waits here, also across calls.
    spare: Option<f64>,
}

impl NumpyRandom {
    /// `numpy.random.RandomState(seed)`; like there, a seed has 32 bits.
    pub fn new(seed: u32) -> Self {
        Self {
            twister: MersenneTwister::from_seed(seed),
            spare: None,
        }
    }

    /// One number of `rand()`: uniform in [0, 1). Arrays are filled in row-major order.
    pub fn rand(&mut self) -> f64 {
        self.twister.next_f64()
    }

    /// One number of `randn()`: standard normal, by Marsaglia's polar method. Arrays are filled in
    /// row-major order.
    pub fn randn(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let x1 = 2.0 * self.twister.next_f64() - 1.0;
            let x2 = 2.0 * self.twister.next_f64() - 1.0;
            let r2 = x1 * x1 + x2 * x2;
            if r2 < 1.0 && r2 != 0.0 {
                let factor = (-2.0 * r2.ln() / r2).sqrt();
                self.spare = Some(factor * x1);
                return factor * x2;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// mt19937ar.out, the authors' own reference output for `init_by_array({0x123, 0x234, 0x345, 0x456})`.
    #[test]
    fn the_authors_reference_output() {
        let mut twister = MersenneTwister::from_key(&[0x123, 0x234, 0x345, 0x456]);
        let first: Vec<u32> = (0..5).map(|_| twister.next_u32()).collect();
        assert_eq!(
            first,
            [1067595299, 955945823, 477289528, 4107218783, 4228976476]
        );
    }

    /// The C++ standard (rand.predef) fixes the 10,000th output of mt19937 with its default seed.
    #[test]
    fn the_ten_thousandth_output_of_the_default_seed() {
        let mut twister = MersenneTwister::from_seed(5489);
        for _ in 0..9_999 {
            twister.next_u32();
        }
        assert_eq!(twister.next_u32(), 4_123_659_995);
    }

    /// >>> random.seed(7); [random.getrandbits(b) for b in (1, 31, 32, 33, 48, 63, 64)]
    #[test]
    fn getrandbits_of_one_and_two_words() {
        let mut random = PythonRandom::new(7);
        let drawn = [1, 31, 32, 33, 48, 63, 64].map(|bits| random.getrandbits(bits));
        assert_eq!(
            drawn,
            [
                0,
                2035525362,
                647892279,
                5990721294,
                20388417142736,
                4942639112109623332,
                6745769884264228881
            ]
        );
    }

    /// >>> random.seed(7); x = list(range(10)); random.shuffle(x); x; y = list(range(7)); random.shuffle(y); y
    #[test]
    fn shuffles_are_those_of_cpython() {
        let mut random = PythonRandom::new(7);
        let mut shuffled = |n: usize| -> Vec<usize> {
            let mut items = (0..n).collect::<Vec<_>>();
            random.shuffle(&mut items);
            items
        };
        assert_eq!(shuffled(10), [8, 3, 1, 4, 7, 0, 9, 6, 2, 5]);
        assert_eq!(shuffled(7), [3, 2, 5, 6, 0, 1, 4]);
    }

    /// >>> [21 + (4 ** math.ceil(math.log(k * 3, 4)) if k > 5 else 0) for k in (0, 5, 6, 21, 22, 85, 86, 1000)]
    #[test]
    fn pool_limits() {
        assert_eq!(
            [0, 5, 6, 21, 22, 85, 86, 1000].map(pool_limit),
            [21, 21, 85, 85, 277, 277, 1045, 4117]
        );
        assert_eq!(pool_limit(usize::MAX), usize::MAX);
    }

    #[test]
    fn a_sample_cannot_exceed_its_population() {
        assert_eq!(PythonRandom::new(0).sample(3, 4), None);
        assert_eq!(PythonRandom::new(0).sample(0, 0), Some(vec![]));
    }
}
