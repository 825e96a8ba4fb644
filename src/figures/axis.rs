//! Axes with round ticks, and the frame that two of them make.

use super::canvas::{Anchor, Area, Canvas, Point};
use super::colours::{FAINT_INK, GRID, INK};
use super::text::Ruler;
use crate::Result;

/// Sizes of letters, in pixels.
pub(super) const TITLE_SIZE: f64 = 12.0;
pub(super) const TICK_SIZE: f64 = 11.0;
/// From line to line.
pub(super) const TITLE_LINE: f64 = 16.0;
/// From line to line of a tick's label.
const TICK_LINE: f64 = 13.0;
/// From the frame to a tick's label.
const TICK_GAP: f64 = 6.0;
/// From the ticks' labels to the title.
const TITLE_GAP: f64 = 8.0;

/// What equal lengths on an axis are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// Equal differences.
    Linear,
    /// Equal ratios; both ends are above 0.
    Logarithmic,
}

/// One direction of a plot.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub(super) scale: Scale,
    pub(super) low: f64,
    pub(super) high: f64,
    /// Values and their labels, which may have several lines.
    pub(super) ticks: Vec<(f64, String)>,
    /// Values that are marked, but not named.
    pub(super) minor: Vec<f64>,
    pub(super) title: String,
}

impl Axis {
    /// From `low` to `high` exactly, with about `count` ticks.
    pub(super) fn exact(low: f64, high: f64, count: usize, title: impl Into<String>) -> Self {
        let step = round_step((high - low) / count as f64);
        // A range such as 0.1 + 0.2 may end a rounding error before its last tick.
        let (first, last) = (
            (low / step - 1e-6).ceil() as i64,
            (high / step + 1e-6).floor() as i64,
        );
        let ticks = (first..=last).map(|at| {
            let value = at as f64 * step;
            (value, number(value, step))
        });
        Self {
            scale: Scale::Linear,
            ticks: ticks.collect(),
            minor: Vec::new(),
            low,
            high,
            title: title.into(),
        }
    }

    /// From a tick at or below `low` to one at or above `high`.
    pub(super) fn around(low: f64, high: f64, count: usize, title: impl Into<String>) -> Self {
        let (low, high) = match high - low > 1e-9 * high.abs().max(low.abs()) {
            true => (low, high),
            // One value only: room on both sides.
            false if low == 0.0 => (0.0, 1.0),
            false => (low - 0.05 * low.abs(), high + 0.05 * high.abs()),
        };
        let step = round_step((high - low) / count as f64);
        let low = (low / step + 1e-6).floor() * step;
        let high = (high / step - 1e-6).ceil() * step;
        Self::exact(low, high, ((high - low) / step).round() as usize, title)
    }

    /// From 0 to the most, in whole numbers.
    pub(super) fn counts(most: usize, count: usize, title: impl Into<String>) -> Self {
        let most = most.max(1) as f64 * 1.04;
        let step = round_step(most / count as f64).max(1.0);
        let high = (most / step).ceil() * step;
        Self::exact(0.0, high, (high / step).round() as usize, title)
    }

    /// From 0 to the largest share, in per cent.
    pub(super) fn per_cent(most: f64, count: usize, title: impl Into<String>) -> Self {
        let most = (100.0 * most.max(1e-3) * 1.04).min(100.0);
        let mut axis = Self::around(0.0, most, count, title);
        axis.high /= 100.0;
        for (value, label) in &mut axis.ticks {
            *value /= 100.0;
            label.push_str(" %");
        }
        axis
    }

    /// Places 0, 1, … with their `names`, as many of which are told as `room` pixels hold beside each other (or, if
    /// they are `stacked`, below each other).
    pub(super) fn places(
        names: &[i32],
        ruler: &Ruler,
        room: f64,
        stacked: bool,
        title: impl Into<String>,
    ) -> Self {
        let labels: Vec<String> = names.iter().map(i32::to_string).collect();
        let needed = match stacked {
            true => TICK_SIZE + 3.0,
            false => ruler.widest(labels.iter().map(String::as_str), TICK_SIZE) + 8.0,
        };
        let steps = (0..).flat_map(|power: u32| [1, 2, 5].map(|step| step * 10_usize.pow(power)));
        let pitch = room / names.len().max(1) as f64;
        let step = steps
            .take(24)
            .find(|&step| step as f64 * pitch >= needed || step >= names.len())
            .unwrap_or(1);
        let told = labels.into_iter().enumerate().step_by(step);
        Self {
            scale: Scale::Linear,
            minor: Vec::new(),
            low: -0.5,
            high: names.len() as f64 - 0.5,
            ticks: told.map(|(at, label)| (at as f64, label)).collect(),
            title: title.into(),
        }
    }

    /// How far along the axis a value lies: 0 at its low end, 1 at its high end.
    pub(super) fn share_of(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Logarithmic => (value.ln() - self.low.ln()) / (self.high.ln() - self.low.ln()),
        }
    }
}

/// The lines of a tick's label.
pub(super) fn lines(label: &str) -> impl Iterator<Item = &str> + Clone {
    label.split('\n')
}

/// The smallest of 1, 2 and 5 times a power of ten that is no less.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let factor = factors
        .into_iter()
        .find(|f| f * power >= least * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// A tick's label, with the decimals that `step` has.
fn number(value: f64, step: f64) -> String {
    let decimals = (-(step.log10() + 1e-9).floor()).max(0.0) as usize;
    let value = if value.abs() < step * 1e-6 {
        0.0
    } else {
        value
    };
    match decimals > 5 || value.abs() >= 1e7 {
        true if value != 0.0 => {
            let digits = (value.abs().log10().floor() - (step.log10() + 1e-9).floor()).max(0.0);
            format!("{value:.0$e}", digits as usize)
        }
        true => "0".into(),
        false => format!("{value:.decimals$}"),
    }
}

/// The room that two axes need around a plot.
pub(super) struct Room {
    pub(super) left: f64,
    pub(super) bottom: f64,
    x_title: Vec<String>,
    y_title: Vec<String>,
    /// Height of the labels of x.
    x_labels: f64,
    /// Width of the labels of y.
    y_labels: f64,
}

impl Room {
    /// For a plot of `width × height` pixels.
    pub(super) fn of(x: &Axis, y: &Axis, ruler: &Ruler, width: f64, height: f64) -> Self {
        let y_labels = y.ticks.iter().flat_map(|(_, label)| lines(label));
        let y_labels = ruler.widest(y_labels, TICK_SIZE);
        let x_lines = x.ticks.iter().map(|(_, label)| lines(label).count());
        let x_labels = TICK_LINE * (x_lines.max().unwrap_or(1).max(1) - 1) as f64 + TICK_SIZE;
        let x_title = ruler.wrap(&x.title, TITLE_SIZE, width.max(60.0));
        let y_title = ruler.wrap(&y.title, TITLE_SIZE, height.max(60.0));
        Self {
            left: TITLE_LINE * y_title.len() as f64 + TITLE_GAP + y_labels + TICK_GAP,
            bottom: TICK_GAP + x_labels + TITLE_GAP + TITLE_LINE * x_title.len() as f64,
            x_title,
            y_title,
            x_labels,
            y_labels,
        }
    }
}

/// A plot's place on the canvas, and what its coordinates mean.
pub(super) struct Frame<'a> {
    pub(super) area: Area,
    pub(super) x: &'a Axis,
    pub(super) y: &'a Axis,
    /// Whether `y` runs from the top down, as layers in a table do.
    pub(super) downwards: bool,
}

impl Frame<'_> {
    pub(super) fn at(&self, x: f64, y: f64) -> Point {
        let from_top = match self.downwards {
            true => self.y.share_of(y),
            false => 1.0 - self.y.share_of(y),
        };
        (
            self.area.left + self.x.share_of(x) * self.area.width,
            self.area.top + from_top * self.area.height,
        )
    }

    /// The lines behind the marks.
    pub(super) fn draw_grid(&self, canvas: &Canvas<'_>, vertical: bool) -> Result<()> {
        for (value, _) in &self.y.ticks {
            let (_, y) = self.at(self.x.low, *value);
            canvas.line(&[(self.area.left, y), (self.area.right(), y)], GRID, 1.0)?;
        }
        for (value, _) in self.x.ticks.iter().filter(|_| vertical) {
            let (x, _) = self.at(*value, self.y.low);
            canvas.line(&[(x, self.area.top), (x, self.area.bottom())], GRID, 1.0)?;
        }
        Ok(())
    }

    /// Both axes with their labels; the grid's lines come before the marks, these after.
    pub(super) fn draw_axes(&self, canvas: &Canvas<'_>, room: &Room) -> Result<()> {
        let Area {
            left, top, width, ..
        } = self.area;
        let bottom = self.area.bottom();
        canvas.line(
            &[(left, top), (left, bottom), (self.area.right(), bottom)],
            INK,
            1.0,
        )?;
        for (value, label) in &self.x.ticks {
            let (x, _) = self.at(*value, self.y.low);
            canvas.line(&[(x, bottom), (x, bottom + 4.0)], INK, 1.0)?;
            for (line, text) in (0..).zip(lines(label)) {
                let baseline = bottom + TICK_GAP + TICK_SIZE + TICK_LINE * f64::from(line);
                canvas.text((x, baseline), text, TICK_SIZE, Anchor::Middle, FAINT_INK)?;
            }
        }
        for value in &self.x.minor {
            let (x, _) = self.at(*value, self.y.low);
            canvas.line(&[(x, bottom), (x, bottom + 2.0)], INK, 0.5)?;
        }
        for value in &self.y.minor {
            let (_, y) = self.at(self.x.low, *value);
            canvas.line(&[(left - 2.0, y), (left, y)], INK, 0.5)?;
        }
        for (value, label) in &self.y.ticks {
            let (_, y) = self.at(self.x.low, *value);
            canvas.line(&[(left - 4.0, y), (left, y)], INK, 1.0)?;
            let above = TICK_LINE * (lines(label).count() - 1) as f64 / 2.0;
            for (line, text) in (0..).zip(lines(label)) {
                let baseline = y + TICK_SIZE * 0.36 - above + TICK_LINE * f64::from(line);
                let place = (left - TICK_GAP, baseline);
                canvas.text(place, text, TICK_SIZE, Anchor::End, FAINT_INK)?;
            }
        }
        for (line, text) in (1..).zip(&room.x_title) {
            let baseline =
                bottom + TICK_GAP + room.x_labels + TITLE_GAP + TITLE_LINE * f64::from(line);
            let place = (left + width / 2.0, baseline - 4.0);
            canvas.text(place, text, TITLE_SIZE, Anchor::Middle, INK)?;
        }
        let middle = top + self.area.height / 2.0;
        let first = left - TICK_GAP - room.y_labels - TITLE_GAP;
        for (line, text) in (0..).zip(room.y_title.iter().rev()) {
            let baseline = first - TITLE_LINE * f64::from(line) - 3.0;
            canvas.text_upwards((baseline, middle), text, TITLE_SIZE, INK)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round() {
        let shares = Axis::exact(0.0, 1.0, 5, "");
        assert_eq!(labels(&shares), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&Axis::counts(3, 5, "")), ["0", "1", "2", "3", "4"]);
        let entropy = Axis::around(0.31, 2.04, 5, "");
        assert_eq!(labels(&entropy), ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5"]);
        assert_eq!((entropy.low, entropy.high), (0.0, 2.5));
        assert_eq!(labels(&Axis::per_cent(0.17, 4, ""))[1], "5 %");
        for (low, high) in [
            (1.0, 1.0),
            (0.0, 0.0),
            (-2.0, -2.0),
            (1e-9, 3e-9),
            (2e8, 9e8),
        ] {
            let axis = Axis::around(low, high, 5, "");
            assert!(axis.low <= low && axis.high >= high && axis.low < axis.high);
            assert!((2..12).contains(&axis.ticks.len()), "{axis:?}");
            let mut told = labels(&axis);
            told.dedup();
            assert_eq!(told.len(), axis.ticks.len(), "{axis:?}");
        }
    }

    #[test]
    fn as_many_places_are_named_as_there_is_room_for() {
        let ruler = Ruler::new().unwrap();
        let names: Vec<i32> = (0..64).collect();
        let few = Axis::places(&names, &ruler, 320.0, false, "");
        assert_eq!(labels(&few)[..3], ["0", "5", "10"]);
        let all = Axis::places(&names[..4], &ruler, 160.0, false, "");
        assert_eq!(labels(&all), ["0", "1", "2", "3"]);
    }
}
