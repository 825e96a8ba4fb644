//! ALiBi: attention with linear biases (Press et al., arXiv 2108.12409).

/// The slope of each head; the bias of key `j` for query `i` is `slope · (j − i)`.
///
/// For a power of two the slopes are 2^(−8 (h+1)/n); otherwise those of the largest power of two `m` below
/// `n`, followed by every second slope of `2m` heads, as in the authors' code and in axlearn
/// (`attention_bias.py: alibi_get_slopes`).
pub fn slopes(num_heads: usize) -> Vec<f64> {
    if num_heads == 0 {
        return Vec::new();
    }
    let power_of_two = |n: usize| {
        (0..n)
            .map(|h| 2f64.powf(-8.0 * (h + 1) as f64 / n as f64))
            .collect::<Vec<_>>()
    };
    let below = 1 << num_heads.ilog2();
    let mut slopes = power_of_two(below);
    slopes.extend(
        power_of_two(2 * below)
            .into_iter()
            .step_by(2)
            .take(num_heads - below),
    );
    slopes
}

#[cfg(test)]
mod tests {
    use super::slopes;

    #[test]
    fn published_values() {
        assert_eq!(slopes(4), [0.25, 0.0625, 0.015625, 0.00390625]);
        assert_eq!(slopes(6), [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125]);
        assert_eq!(slopes(32)[31], 2f64.powi(-8));
        assert_eq!(slopes(1), [2f64.powi(-8)]);
    }
}
