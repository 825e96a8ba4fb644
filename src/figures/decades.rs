//! Logarithmic axes: equal lengths are equal ratios, the ticks are powers of ten.

use super::axis::{Axis, Scale};

/// Values outside these bounds have no place on a logarithmic axis: beyond them powers of ten lose digits.
pub(super) const BOUNDS: (f64, f64) = (1e-300, 1e300);
/// An axis over more decades names powers of ten only.
const FEW_DECADES: f64 = 2.0;
/// Smaller steps between powers are not marked on axes with more of them.
const MOST_MINOR: i32 = 60;

/// Whether `value` has a place on a logarithmic axis.
pub(super) fn has_place(value: f64) -> bool {
    (BOUNDS.0..=BOUNDS.1).contains(&value)
}

impl Axis {
    /// Logarithmic, from `low` to `high` exactly, both within [`BOUNDS`], with about `count` ticks.
    pub(super) fn logarithmic(low: f64, high: f64, count: usize, title: impl Into<String>) -> Self {
        let decades = high.log10() - low.log10();
        let (first, last) = (
            (low.log10() - 1e-9).ceil() as i32,
            (high.log10() + 1e-9).floor() as i32,
        );
        let within = |value: &f64| (low * (1.0 - 1e-9)..=high * (1.0 + 1e-9)).contains(value);
        let digits = || (first - 1..=last).flat_map(|power| (1..10).map(move |d| (d, power)));
        let (mut ticks, mut minor) = (Vec::new(), Vec::new());
        if decades > FEW_DECADES {
            let step = power_step((last - first + 1) as usize, count);
            for power in first..=last {
                match power.rem_euclid(step) {
                    0 => ticks.push((power_of_ten(power), scientific(1, power))),
                    _ if last - first < MOST_MINOR => minor.push(power_of_ten(power)),
                    _ => {}
                }
            }
            if step == 1 {
                let between = digits().filter(|(digit, _)| *digit > 1);
                minor.extend(between.map(|(d, power)| f64::from(d) * power_of_ten(power)));
            }
        } else {
            let plain = low >= 1e-3 * (1.0 - 1e-9) && high <= 1e4 * (1.0 + 1e-9);
            for (digit, power) in digits() {
                let value = f64::from(digit) * power_of_ten(power);
                match digit {
                    1 | 2 | 5 if plain => ticks.push((value, ordinary(digit, power))),
                    1 | 2 | 5 => ticks.push((value, scientific(digit, power))),
                    _ => minor.push(value),
                }
            }
        }
        ticks.retain(|(value, _)| within(value));
        minor.retain(within);
        // Between two neighbouring round numbers there are rounder ones on a linear axis.
        if ticks.len() < 2 {
            ticks = Self::exact(low, high, count, "").ticks;
            minor.clear();
        }
        Self {
            scale: Scale::Logarithmic,
            low,
            high,
            ticks,
            minor,
            title: title.into(),
        }
    }

    /// Logarithmic, from a round number at or below `low` to one at or above `high`.
    pub(super) fn logarithmic_around(
        low: f64,
        high: f64,
        count: usize,
        title: impl Into<String>,
    ) -> Self {
        let (low, high) = match high / low > 1.0 + 1e-9 {
            true => (low, high),
            false => (low / 2.0, high * 2.0),
        };
        let digits: &[i32] = match high.log10() - low.log10() > FEW_DECADES {
            true => &[1, 10],
            false => &[1, 2, 5, 10],
        };
        let round = |value: f64| {
            let power = (value.log10() + 1e-9).floor() as i32;
            let powers = [power - 1, power, power + 1].into_iter();
            powers.flat_map(|power| {
                digits
                    .iter()
                    .map(move |&d| f64::from(d) * power_of_ten(power))
            })
        };
        let below = round(low).filter(|&round| round <= low * (1.0 + 1e-9));
        let above = round(high).filter(|&round| round >= high * (1.0 - 1e-9));
        let (below, above) = (below.fold(0.0, f64::max), above.fold(f64::MAX, f64::min));
        Self::logarithmic(below, above, count, title)
    }
}

/// Every how many decades of `powers` are named, so that there are at most about `count`.
fn power_step(powers: usize, count: usize) -> i32 {
    let steps = [1, 2, 3, 5, 10, 20, 50, 100];
    let fits = |step: &i32| powers.div_ceil(*step as usize) <= count.max(2);
    steps.into_iter().find(fits).unwrap_or(200)
}

/// As literals are read, correct to the last digit.
fn power_of_ten(power: i32) -> f64 {
    format!("1e{power}").parse().unwrap_or(f64::NAN)
}

/// `10⁻³`, `2×10⁵`.
fn scientific(digit: i32, power: i32) -> String {
    let superscript = |c: char| match c.to_digit(10) {
        Some(digit) => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][digit as usize],
        None => '⁻',
    };
    let power: String = power.to_string().chars().map(superscript).collect();
    match digit {
        1 => format!("10{power}"),
        _ => format!("{digit}×10{power}"),
    }
}

/// `0.02`, `500`.
fn ordinary(digit: i32, power: i32) -> String {
    let decimals = (-power).max(0) as usize;
    format!("{:.decimals$}", f64::from(digit) * power_of_ten(power))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::text::Ruler;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn ticks_are_powers_of_ten_or_round_numbers_between() {
        let time = Axis::logarithmic(0.1, 1e5, 7, "");
        assert_eq!(
            labels(&time),
            ["10⁻¹", "10⁰", "10¹", "10²", "10³", "10⁴", "10⁵"]
        );
        assert_eq!((time.ticks[0].0, time.ticks[6].0), (0.1, 1e5));
        assert_eq!(time.minor.len(), 6 * 8);
        let fall = Axis::logarithmic_around(3e-33, 0.7, 5, "");
        assert_eq!((fall.low, fall.high), (1e-33, 1.0));
        assert_eq!(labels(&fall), ["10⁻³⁰", "10⁻²⁰", "10⁻¹⁰", "10⁰"]);
        let short = Axis::logarithmic_around(0.04, 0.69, 5, "");
        assert_eq!((short.low, short.high), (0.02, 1.0));
        assert_eq!(labels(&short), ["0.02", "0.05", "0.1", "0.2", "0.5", "1"]);
        let large = Axis::logarithmic_around(2.2e7, 3e7, 5, "");
        assert_eq!(labels(&large), ["2×10⁷", "5×10⁷"]);
        let narrow = Axis::logarithmic(1.1, 1.4, 4, "");
        assert_eq!(labels(&narrow), ["1.1", "1.2", "1.3", "1.4"]);
    }

    #[test]
    fn every_range_has_ticks_within_it() {
        let ruler = Ruler::new().unwrap();
        for (low, high) in [
            (1e-300, 1e300),
            (1.0, 1.0),
            (1e-300, 1e-300),
            (1e300, 1e300),
            (0.999, 1.001),
            (3.0, 299.0),
            (1e-5, 2e-5),
            (0.5, 3e9),
        ] {
            let axis = Axis::logarithmic_around(low, high, 5, "");
            assert!(axis.low <= low && axis.high >= high, "{axis:?}");
            assert!((2..9).contains(&axis.ticks.len()), "{axis:?}");
            for (value, label) in &axis.ticks {
                let share = axis.share_of(*value);
                assert!((-1e-6..=1.0 + 1e-6).contains(&share), "{axis:?}");
                assert!(ruler.missing(label).is_empty(), "{label}");
            }
            let shares: Vec<f64> = axis
                .ticks
                .iter()
                .map(|tick| axis.share_of(tick.0))
                .collect();
            assert!(shares.is_sorted_by(|a, b| a < b), "{axis:?}");
        }
    }
}
