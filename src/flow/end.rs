//! What became of a run: the last record in a few numbers.

use super::trajectory::{Followed, Trajectory};

/// How far the weights of one row sit on one coordinate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Concentration {
    /// The largest weight.
    pub largest: f64,
    /// Where it is; the first of equal ones.
    pub coordinate: usize,
    /// `−Σ q_i ln q_i` in nats, of the weights divided by their sum, `q = σ / Σσ`. None where that is no distribution,
    /// because a weight is below 0 or all are 0.
    pub entropy: Option<f64>,
}

impl Concentration {
    /// Of a row of weights; none of no weights.
    pub fn of(weights: &[f64]) -> Option<Concentration> {
        let (mut coordinate, mut largest) = (0, *weights.first()?);
        for (at, &weight) in weights.iter().enumerate() {
            if weight > largest {
                (coordinate, largest) = (at, weight);
            }
        }
        let sum: f64 = weights.iter().sum();
        let is_distribution = sum > 0.0 && weights.iter().all(|&weight| weight >= 0.0);
        let entropy = is_distribution.then(|| {
            let shares = weights.iter().map(|weight| weight / sum);
            let terms = shares.filter(|&q| q > 0.0).map(|q| -q * q.ln());
            // The sum of no term is −0.
            terms.sum::<f64>().max(0.0)
        });
        Some(Concentration {
            // −0 is 0.
            largest: largest + 0.0,
            coordinate,
            entropy,
        })
    }
}

/// The last record of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct End<'a> {
    /// Updates of gradient descent, or steps of the adaptive integrator.
    pub updates: u64,
    /// t.
    pub time: f64,
    /// L.
    pub loss: f64,
    /// S, see [`Trajectory::strengths`].
    pub strength: f64,
    /// σ: rows × d.
    pub weights: &'a [f64],
    /// a: rows × d.
    pub scores: &'a [f64],
    /// The largest weight of each row, the mean over all rows.
    pub largest_weight: f64,
    /// Where it is, if it is there in all rows.
    pub coordinate: Option<usize>,
    /// Entropy of each row, the mean over all rows; none if a row has none.
    pub entropy: Option<f64>,
}

impl Followed {
    /// The last record; none if there is no record.
    pub fn end(&self) -> Option<End<'_>> {
        let Trajectory {
            updates,
            times,
            losses,
            strengths,
            scores,
            weights,
            ..
        } = &self.trajectory;
        let model = self.run.problem.model();
        let width = model.rows() * model.positions();
        let from = weights.len().checked_sub(width)?;
        let weights = &weights[from..];
        let rows: Vec<Concentration> = weights
            .chunks_exact(model.positions())
            .filter_map(Concentration::of)
            .collect();
        let count = rows.len() as f64;
        let first = rows.first()?.coordinate;
        let entropies: Option<Vec<f64>> = rows.iter().map(|row| row.entropy).collect();
        Some(End {
            updates: *updates.last()?,
            time: *times.last()?,
            loss: *losses.last()?,
            strength: *strengths.last()?,
            weights,
            scores: &scores[from..],
            // The sum of no more than −0 is −0.
            largest_weight: rows.iter().map(|row| row.largest).sum::<f64>() / count + 0.0,
            coordinate: rows
                .iter()
                .all(|row| row.coordinate == first)
                .then_some(first),
            entropy: entropies.map(|entropies| entropies.iter().sum::<f64>() / count),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_in_three_numbers() {
        let even = Concentration::of(&[0.25; 4]).unwrap();
        assert_eq!((even.largest, even.coordinate), (0.25, 0));
        assert!((even.entropy.unwrap() - 4f64.ln()).abs() < 1e-15);
        // Divided by their sum: two coins.
        let two = Concentration::of(&[0.0, 3.0, 3.0]).unwrap();
        assert_eq!((two.largest, two.coordinate), (3.0, 1));
        assert!((two.entropy.unwrap() - 2f64.ln()).abs() < 1e-15);
        let one = Concentration::of(&[0.0, 0.5]).unwrap();
        assert_eq!(one.entropy.map(f64::to_bits), Some(0.0f64.to_bits()));
        for undefined in [&[2.0, -1.0][..], &[0.0, 0.0], &[f64::NAN, 1.0]] {
            assert_eq!(Concentration::of(undefined).unwrap().entropy, None);
        }
        assert_eq!(Concentration::of(&[]), None);
        let zero = Concentration::of(&[-0.0, -1.0]).unwrap().largest;
        assert_eq!(zero.to_bits(), 0.0f64.to_bits());
    }
}
