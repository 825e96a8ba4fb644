//! Cells coloured by their values, and the bar that says which colour is which value.

use super::axis::{Axis, TICK_SIZE, TITLE_LINE, TITLE_SIZE};
use super::canvas::{Anchor, Area, Canvas, Point};
use super::colours::{FAINT_INK, INK, scale};
use super::sheet::no_score;
use super::text::Ruler;
use crate::Result;

/// From this size on, a gap of a pixel separates the cells.
const GAP_FROM: f64 = 14.0;
/// The bar's steps, each a whole number of pixels high.
const STEPS: usize = 128;
const BAR_WIDTH: f64 = 16.0;

/// Where the cells of a map are.
pub(super) struct Grid {
    /// The upper left one.
    pub(super) corner: Point,
    /// Width and height of a cell, with the gap to the next one.
    pub(super) cell: (f64, f64),
}

impl Grid {
    /// Draws the cell of this column and row; one whose value is not finite is struck through.
    pub(super) fn draw(
        &self,
        canvas: &Canvas<'_>,
        (column, row): (usize, usize),
        value: f64,
        colours: &Axis,
    ) -> Result<()> {
        let gap = |cell: f64| if cell >= GAP_FROM { 1.0 } else { 0.0 };
        let (across, down) = self.cell;
        let area = Area {
            left: self.corner.0 + across * column as f64,
            top: self.corner.1 + down * row as f64,
            width: across - gap(across),
            height: down - gap(down),
        };
        match value.is_finite() {
            true => canvas.rectangle(area, scale(colours.share_of(value)), 1.0),
            false => no_score(canvas, area),
        }
    }
}

/// The colour bar with its labels.
pub(super) struct Bar {
    pub(super) height: f64,
    pub(super) width: f64,
    title: Vec<String>,
    labels: f64,
}

impl Bar {
    /// For a map of this height.
    pub(super) fn new(colours: &Axis, map_height: f64, ruler: &Ruler) -> Self {
        let pixels = if map_height >= 2.0 * STEPS as f64 {
            2.0
        } else {
            1.0
        };
        let height = pixels * STEPS as f64;
        let labels = colours.ticks.iter().map(|(_, label)| label.as_str());
        let labels = ruler.widest(labels, TICK_SIZE);
        let title = ruler.wrap(&colours.title, TITLE_SIZE, height + 20.0);
        Self {
            width: BAR_WIDTH + 7.0 + labels + 6.0 + TITLE_LINE * title.len() as f64,
            height,
            title,
            labels,
        }
    }

    /// Draws it with its upper left corner at this place.
    pub(super) fn draw(
        &self,
        canvas: &Canvas<'_>,
        (left, top): (f64, f64),
        colours: &Axis,
    ) -> Result<()> {
        let step = self.height / STEPS as f64;
        for at in 0..STEPS {
            let from_top = (STEPS - 1 - at) as f64;
            let area = Area {
                left,
                top: top + step * from_top,
                width: BAR_WIDTH,
                height: step,
            };
            canvas.rectangle(area, scale((at as f64 + 0.5) / STEPS as f64), 1.0)?;
        }
        let right = left + BAR_WIDTH;
        for (value, label) in &colours.ticks {
            let share = colours.share_of(*value);
            let y = top + self.height * (1.0 - share);
            canvas.line(&[(right, y), (right + 4.0, y)], INK, 1.0)?;
            let place = (right + 7.0, y + TICK_SIZE * 0.36);
            canvas.text(place, label, TICK_SIZE, Anchor::Start, FAINT_INK)?;
        }
        for (line, text) in (1..).zip(&self.title) {
            let baseline = right + 13.0 + self.labels + TITLE_LINE * f64::from(line) - 4.0;
            canvas.text_upwards((baseline, top + self.height / 2.0), text, TITLE_SIZE, INK)?;
        }
        Ok(())
    }
}
