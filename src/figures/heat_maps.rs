//! A score of every head, layer by layer: one map per model, one colour scale for all.

use super::axis::{Axis, Frame, Room, TICK_SIZE, TITLE_LINE, TITLE_SIZE};
use super::canvas::{Anchor, Area, Canvas};
use super::cells::{Bar, Grid};
use super::colours::{FAINT_INK, INK};
use super::sheet::{Entry, Header, Key, MARGIN};
use super::text::Ruler;
use super::{Figure, Model, Scans, words};
use crate::Result;
use crate::compare::Metric;

/// A map is about as large, unless its cells would be too small or too large.
const MAP: (f64, f64) = (380.0, 400.0);
const CELL: (f64, f64) = (5.0, 40.0);
/// A name above a map may be this wide, however narrow the map is.
const NAME_WIDTH: f64 = 200.0;
/// Between two maps.
const BETWEEN: f64 = 28.0;
/// Of a sheet, so that titles are not broken into many lines.
const LEAST_WIDTH: f64 = 420.0;
/// Maps go into a second row rather than beyond this.
const SHEET_WIDTH: f64 = 1500.0;

pub(super) fn draw(scans: &Scans, metric: Metric, ruler: &Ruler) -> Result<Figure> {
    let colours = colour_axis(scans, metric);
    let panels: Vec<Panel<'_>> = scans
        .models
        .iter()
        .map(|model| Panel::new(model, metric, ruler))
        .collect();
    let columns = columns(&panels);
    let widths: Vec<f64> = (0..columns)
        .map(|column| widest(panels.iter().skip(column).step_by(columns)))
        .collect();
    let maps_width = widths.iter().sum::<f64>() + BETWEEN * (columns - 1) as f64;
    let missing: usize = scans.models.iter().map(|m| m.missing(metric)).sum();
    let legend = (missing > 0).then(|| Entry {
        key: Key::NoScore,
        label: format!("no finite score ({})", words::heads(missing)),
    });
    let header = Header {
        title: format!(
            "{} of each head: {}{}",
            words::subject(metric),
            words::definition(metric),
            metric.parameters(&scans.measures)
        ),
        note: scans.note(),
        legend: legend.into_iter().collect(),
    };
    let bar = Bar::new(&colours, panels[0].height, ruler);
    let width = (maps_width + BETWEEN + bar.width).max(LEAST_WIDTH);
    let header = header.lay(ruler, width);

    // Where each panel's map begins; the maps of one row begin at one height.
    let mut places = Vec::new();
    let mut top = MARGIN + header.height + 10.0;
    let mut bar_top = None;
    for row in panels.chunks(columns) {
        let names = row.iter().map(Panel::name_height).fold(0.0, f64::max);
        bar_top.get_or_insert(top + names);
        let mut left = MARGIN;
        for (panel, width) in row.iter().zip(&widths) {
            places.push((left + panel.room.left, top + names));
            left += width + BETWEEN;
        }
        let below = row.iter().map(|panel| panel.height + panel.room.bottom);
        top += names + below.fold(0.0, f64::max) + 14.0;
    }
    let bar_top = bar_top.unwrap_or(top);
    let bottom = top.max(bar_top + bar.height + TICK_SIZE);
    let size = (
        (MARGIN + width + MARGIN).ceil() as u32,
        (bottom + MARGIN * 0.3).ceil() as u32,
    );
    let name = format!("heads-{}", metric.name());
    let svg = Canvas::draw(&name, header.title(), size, |canvas| {
        header.draw(canvas)?;
        for (panel, place) in panels.iter().zip(&places) {
            panel.draw(canvas, *place, metric, &colours)?;
        }
        bar.draw(canvas, (MARGIN + maps_width + BETWEEN, bar_top), &colours)
    })?;
    Ok(Figure::new(name, svg, size))
}

/// What the colours mean: [0, 1] for shares, else the range of the scores.
fn colour_axis(scans: &Scans, metric: Metric) -> Axis {
    let (low, high) = scans.range(metric);
    let title = words::short_title(metric);
    match metric.has_thresholds() && low >= -1e-6 && high <= 1.0 + 1e-6 {
        true => Axis::exact(0.0, 1.0, 5, title),
        false => Axis::around(low, high, 5, title),
    }
}

/// How many maps stand side by side.
fn columns(panels: &[Panel<'_>]) -> usize {
    let fits = |columns: usize| {
        let width = widest(panels.iter()) + BETWEEN;
        columns as f64 * width <= SHEET_WIDTH
    };
    let most = (1..=panels.len().min(4)).rev().find(|&n| fits(n));
    let rows = panels.len().div_ceil(most.unwrap_or(1));
    panels.len().div_ceil(rows)
}

fn widest<'a>(panels: impl Iterator<Item = &'a Panel<'a>>) -> f64 {
    panels.map(Panel::outer_width).fold(0.0, f64::max)
}

/// One model's map.
struct Panel<'a> {
    model: &'a Model,
    name: Vec<String>,
    shape: Vec<String>,
    x: Axis,
    y: Axis,
    cell: (f64, f64),
    width: f64,
    height: f64,
    room: Room,
}

impl<'a> Panel<'a> {
    fn new(model: &'a Model, metric: Metric, ruler: &Ruler) -> Self {
        let layers = model.layers.len();
        let most_heads = model.layers.iter().map(Vec::len).max().unwrap_or(1).max(1);
        let fitting = |room: f64, count: usize| (room / count as f64).floor().clamp(CELL.0, CELL.1);
        let (mut across, mut down) = (fitting(MAP.0, most_heads), fitting(MAP.1, layers));
        // Square where that costs little, never a strip.
        if across.max(down) <= 1.6 * across.min(down) {
            (across, down) = (across.min(down), across.min(down));
        }
        let cell = (across.min(3.0 * down), down.min(3.0 * across));
        let (width, height) = (cell.0 * most_heads as f64, cell.1 * layers as f64);
        let widest_layer = model.layers.iter().find(|heads| heads.len() == most_heads);
        let head_names: Vec<i32> = match widest_layer {
            Some(heads) => heads.iter().map(|head| head.head).collect(),
            None => Vec::new(),
        };
        let layer_names: Vec<i32> = (0..).take(layers).collect();
        let x = Axis::places(&head_names, ruler, width, false, "head");
        let y = Axis::places(&layer_names, ruler, height, true, "layer");
        let name_width = width.max(NAME_WIDTH);
        let kept = model.finite(metric);
        let mean = kept.iter().sum::<f64>() / kept.len() as f64;
        let shape = match kept.is_empty() {
            true => model.shape.clone(),
            false => format!("{}, mean\u{a0}{mean:.3}", model.shape),
        };
        Self {
            name: ruler.wrap(&model.label, TITLE_SIZE, name_width),
            shape: ruler.wrap(&shape, TICK_SIZE, name_width),
            room: Room::of(&x, &y, ruler, width, height),
            model,
            x,
            y,
            cell,
            width,
            height,
        }
    }

    fn outer_width(&self) -> f64 {
        self.room.left + self.width.max(NAME_WIDTH)
    }

    fn name_height(&self) -> f64 {
        TITLE_LINE * (self.name.len() + self.shape.len()) as f64 + 4.0
    }

    /// Draws it with the map's upper left corner at this place.
    fn draw(
        &self,
        canvas: &Canvas<'_>,
        (left, top): (f64, f64),
        metric: Metric,
        colours: &Axis,
    ) -> Result<()> {
        let lines = self.name.iter().map(|line| (line, TITLE_SIZE, INK));
        let shape = self.shape.iter().map(|line| (line, TICK_SIZE, FAINT_INK));
        let mut baseline = top - self.name_height() + TITLE_SIZE * 0.85;
        for (line, size, ink) in lines.chain(shape) {
            canvas.text((left, baseline), line, size, Anchor::Start, ink)?;
            baseline += TITLE_LINE;
        }
        let grid = Grid {
            corner: (left, top),
            cell: self.cell,
        };
        for (layer, heads) in self.model.layers.iter().enumerate() {
            for (place, head) in heads.iter().enumerate() {
                let score = metric.score(&head.sums);
                grid.draw(canvas, (place, layer), score, colours)?;
            }
        }
        let frame = Frame {
            area: Area {
                left,
                top,
                width: self.width,
                height: self.height,
            },
            x: &self.x,
            y: &self.y,
            downwards: true,
        };
        frame.draw_axes(canvas, &self.room)
    }
}
