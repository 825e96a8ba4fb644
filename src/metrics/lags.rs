//! Attention by distance: how much weight goes to the token so many positions back.

use super::LagWindow;

/// For every lag `d`, the rows `i ≥ d` and the sum of their shares on key `i − d` (0 is the diagonal).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LagSums {
    /// Rows that have a key at this lag.
    pub rows: Vec<i64>,
    /// Σ of the shares on it. Added in the order of batches, so that its last bits depend on how samples were put
    /// together into batches and shards.
    pub share_sums: Vec<f64>,
}

impl LagSums {
    /// Adds the row of query `query`: the weights on keys 0, 1, …, to be divided by `divisor`. Keys after the query
    /// have no lag.
    pub(super) fn add(&mut self, query: usize, weights: &[f32], divisor: f64) {
        let seen = weights.len().min(query + 1);
        self.make_room(query);
        let lags = query + 1 - seen..=query;
        let sums = self.rows[lags.clone()]
            .iter_mut()
            .zip(&mut self.share_sums[lags]);
        for ((rows, sum), &weight) in sums.zip(weights[..seen].iter().rev()) {
            *rows += 1;
            *sum += f64::from(weight) / divisor;
        }
    }

    /// Adds `rows` rows at one lag, whose shares add up to `share_sum`.
    pub fn add_sum(&mut self, lag: usize, rows: i64, share_sum: f64) {
        self.make_room(lag);
        self.rows[lag] += rows;
        self.share_sums[lag] += share_sum;
    }

    fn make_room(&mut self, lag: usize) {
        if self.rows.len() <= lag {
            self.rows.resize(lag + 1, 0);
            self.share_sums.resize(lag + 1, 0.0);
        }
    }

    /// The mean share at lag `d`; NaN where no row has a key there.
    pub fn mean(&self, d: usize) -> f64 {
        match self.rows.get(d) {
            Some(&rows) if rows > 0 => self.share_sums[d] / rows as f64,
            _ => f64::NAN,
        }
    }

    /// The least-squares line through (ln d, ln mean share) over the lags of `window` that were seen and have a mean
    /// above 0; all of them count alike. `None` for fewer than three, or if `d` or the mean share does not vary.
    pub fn fit(&self, window: LagWindow) -> Option<LagFit> {
        let points: Vec<(f64, f64)> = (window.min.get()..=window.max.get())
            .take_while(|&d| d < self.rows.len())
            .map(|d| ((d as f64).ln(), self.mean(d).ln()))
            .filter(|(_, y)| y.is_finite())
            .collect();
        if points.len() < 3 {
            return None;
        }
        let n = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
        let (mx, my) = (mean(|p| p.0), mean(|p| p.1));
        let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
            points.iter().map(|(x, y)| of(x - mx, y - my)).sum()
        };
        let (sxx, sxy, syy) = (sum(&|x, _| x * x), sum(&|x, y| x * y), sum(&|_, y| y * y));
        (sxx > 0.0 && syy > 0.0).then(|| LagFit {
            slope: sxy / sxx,
            r2: sxy * sxy / (sxx * syy),
        })
    }
}

/// A power law fitted to attention by distance: mean share ∝ d^slope.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LagFit {
    /// Slope of ln(mean share) over ln(lag).
    pub slope: f64,
    /// Coefficient of determination of that line, in [0, 1].
    pub r2: f64,
}
