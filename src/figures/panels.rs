//! The sheet of a figure with panels that have axes of their own.

use super::Figure;
use super::axis::{Axis, Frame, Room, TICK_SIZE, TITLE_LINE, TITLE_SIZE};
use super::canvas::{Anchor, Area, Canvas, Point};
use super::cells::{Bar, Grid};
use super::colours::{FAINT_INK, INK, PAPER, scale};
use super::curves::Curve;
use super::sheet::{Entry, Header, LaidLegend, MARGIN};
use super::text::Ruler;
use crate::Result;

/// Of the plot of a panel, unless its cells ask for another size.
pub(super) const PLOT: (f64, f64) = (310.0, 210.0);
/// Between two panels.
const BETWEEN: f64 = 24.0;
/// Of a sheet, so that titles are not broken into many lines.
const LEAST_WIDTH: f64 = 420.0;
/// Between the title or the legend and the plot.
const BELOW_HEAD: f64 = 7.0;
/// From a map to its colour bar.
const BEFORE_BAR: f64 = 16.0;

/// A plot with its title, its legend and its axes.
pub(super) struct Panel {
    pub(super) title: String,
    /// What only this panel's colours mean.
    pub(super) legend: Vec<Entry>,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) size: (f64, f64),
    pub(super) content: Content,
}

/// What a plot shows.
pub(super) enum Content {
    /// Lines, the last on top.
    Curves(Vec<Curve>),
    /// A map.
    Cells(Cells),
}

/// The cells of a map; x and y count its columns and rows from 0, y from the top down.
pub(super) struct Cells {
    pub(super) columns: usize,
    /// Row-major; NaN where there is no value.
    pub(super) values: Vec<f64>,
    pub(super) colours: Axis,
    /// What is printed in each cell; nothing if empty.
    pub(super) numbers: Vec<String>,
    /// Whether the colour bar stands beside it, which panels of one scale need only once.
    pub(super) has_bar: bool,
    /// Whether cells to the right of the diagonal are left out.
    pub(super) is_triangle: bool,
}

/// A figure.
pub(super) struct Panels<'a> {
    pub(super) name: String,
    pub(super) header: Header,
    pub(super) panels: Vec<Panel>,
    /// Panels side by side.
    pub(super) columns: usize,
    pub(super) ruler: &'a Ruler,
}

/// A panel with its lines broken and its room measured.
struct Laid<'a> {
    panel: &'a Panel,
    title: Vec<String>,
    legend: LaidLegend,
    room: Room,
    bar: Option<Bar>,
    /// From the left of the plot to the right of all that belongs to it.
    width: f64,
}

impl Panels<'_> {
    pub(super) fn draw(self) -> Result<Figure> {
        let ruler = self.ruler;
        let laid: Vec<Laid<'_>> = self.panels.iter().map(|p| Laid::of(p, ruler)).collect();
        let columns = self.columns.clamp(1, laid.len().max(1));
        // Plots of one column begin at one place, and so do those of one row.
        let most = |column: usize, of: fn(&Laid<'_>) -> f64| {
            let column = laid.iter().skip(column).step_by(columns);
            column.map(of).fold(0.0, f64::max)
        };
        let (mut lefts, mut right) = (Vec::new(), MARGIN);
        for column in 0..columns {
            let left = right + most(column, |laid| laid.room.left);
            lefts.push(left);
            right = left + most(column, |laid| laid.width) + BETWEEN;
        }
        let width = (right - BETWEEN - MARGIN).max(LEAST_WIDTH);
        let header = self.header.lay(ruler, width);
        let mut top = MARGIN + header.height + 14.0;
        let mut places = Vec::new();
        for row in laid.chunks(columns) {
            let head = row.iter().map(Laid::head).fold(0.0, f64::max);
            for (_, left) in row.iter().zip(&lefts) {
                places.push((*left, top + head));
            }
            top += head + row.iter().map(Laid::below).fold(0.0, f64::max) + MARGIN;
        }
        let size = ((2.0 * MARGIN + width).ceil() as u32, top.ceil() as u32);
        let svg = Canvas::draw(&self.name, header.title(), size, |canvas| {
            header.draw(canvas)?;
            let mut panels = laid.iter().zip(&places);
            panels.try_for_each(|(laid, place)| laid.draw(canvas, *place))
        })?;
        Ok(Figure::new(self.name, svg, size))
    }
}

impl<'a> Laid<'a> {
    fn of(panel: &'a Panel, ruler: &Ruler) -> Self {
        let (width, height) = panel.size;
        let bar = match &panel.content {
            Content::Cells(cells) => cells
                .has_bar
                .then(|| Bar::new(&cells.colours, height, ruler)),
            Content::Curves(_) => None,
        };
        // The last label of `x` may stick out by half its width.
        let last = panel
            .x
            .ticks
            .iter()
            .flat_map(|(_, label)| super::axis::lines(label));
        let overhang = ruler.widest(last, TICK_SIZE) / 2.0 + 2.0;
        let beside = bar
            .as_ref()
            .map_or(overhang, |bar| overhang.max(BEFORE_BAR + bar.width));
        let head = width.max(200.0);
        Self {
            title: match panel.title.is_empty() {
                true => Vec::new(),
                false => ruler.wrap(&panel.title, TITLE_SIZE, head),
            },
            legend: LaidLegend::of(&panel.legend, ruler, head),
            room: Room::of(&panel.x, &panel.y, ruler, width, height),
            bar,
            width: (width + beside).max(head),
            panel,
        }
    }

    /// The height of what stands above the plot.
    fn head(&self) -> f64 {
        TITLE_LINE * self.title.len() as f64 + self.legend.height + BELOW_HEAD
    }

    /// The height of the plot and of what stands below it.
    fn below(&self) -> f64 {
        let plot = self.panel.size.1 + self.room.bottom;
        let bar = self.bar.as_ref().map_or(0.0, |bar| bar.height + TICK_SIZE);
        plot.max(bar)
    }

    /// Draws it with the plot's upper left corner at this place.
    fn draw(&self, canvas: &Canvas<'_>, (left, top): Point) -> Result<()> {
        let legend = top - BELOW_HEAD - self.legend.height;
        for (line, text) in (1..).zip(self.title.iter().rev()) {
            let baseline = legend - TITLE_LINE * f64::from(line) + TITLE_SIZE;
            canvas.text((left, baseline), text, TITLE_SIZE, Anchor::Start, INK)?;
        }
        self.legend.draw(canvas, (left, legend))?;
        let Panel {
            x,
            y,
            size,
            content,
            ..
        } = self.panel;
        let frame = Frame {
            area: Area {
                left,
                top,
                width: size.0,
                height: size.1,
            },
            x,
            y,
            downwards: matches!(content, Content::Cells(_)),
        };
        match content {
            Content::Curves(curves) => {
                frame.draw_grid(canvas, true)?;
                curves
                    .iter()
                    .try_for_each(|curve| curve.draw(canvas, &frame))?;
                if curves.iter().all(|curve| curve.points.is_empty()) {
                    let middle = (left + size.0 / 2.0, top + size.1 / 2.0);
                    canvas.text(middle, "no record", TITLE_SIZE, Anchor::Middle, FAINT_INK)?;
                }
            }
            Content::Cells(cells) => {
                cells.draw(canvas, frame.area)?;
                if let Some(bar) = &self.bar {
                    bar.draw(
                        canvas,
                        (frame.area.right() + BEFORE_BAR, top),
                        &cells.colours,
                    )?;
                }
            }
        }
        frame.draw_axes(canvas, &self.room)
    }
}

impl Cells {
    fn draw(&self, canvas: &Canvas<'_>, area: Area) -> Result<()> {
        let columns = self.columns.max(1);
        let rows = self.values.len().div_ceil(columns).max(1);
        let grid = Grid {
            corner: (area.left, area.top),
            cell: (area.width / columns as f64, area.height / rows as f64),
        };
        for (at, &value) in self.values.iter().enumerate() {
            let place = (at % columns, at / columns);
            if self.is_triangle && place.0 > place.1 {
                continue;
            }
            grid.draw(canvas, place, value, &self.colours)?;
            if let Some(number) = self.numbers.get(at).filter(|number| !number.is_empty()) {
                let middle = (
                    grid.corner.0 + grid.cell.0 * (place.0 as f64 + 0.5),
                    grid.corner.1 + grid.cell.1 * (place.1 as f64 + 0.5) + TICK_SIZE * 0.36,
                );
                let ink = match is_dark(self.colours.share_of(value)) {
                    true => PAPER,
                    false => INK,
                };
                canvas.text(middle, number, TICK_SIZE, Anchor::Middle, ink)?;
            }
        }
        Ok(())
    }
}

/// Whether white letters are easier to read on the colour of this value than black ones.
fn is_dark(share: f64) -> bool {
    if !share.is_finite() {
        return false;
    }
    let colour = scale(share);
    let channel = |channel: u8| (f64::from(channel) / 255.0).powf(2.2);
    let light =
        0.2126 * channel(colour.0) + 0.7152 * channel(colour.1) + 0.0722 * channel(colour.2);
    light < 0.179
}
