//! What stands above a plot (title, note, legend), and the sheet of a figure with one plot.

use plotters::style::RGBColor;

use super::Figure;
use super::axis::{Axis, Frame, Room};
use super::canvas::{Anchor, Area, Canvas, Point, failed};
use super::colours::{FAINT_INK, HATCH, INK, Marker, NO_SCORE};
use super::curves::{Pen, cross};
use super::text::Ruler;
use crate::Result;

/// Around everything.
pub(super) const MARGIN: f64 = 16.0;
const TITLE_SIZE: f64 = 15.0;
const TITLE_LINE: f64 = 20.0;
const NOTE_SIZE: f64 = 11.0;
const NOTE_LINE: f64 = 15.0;
const ENTRY_SIZE: f64 = 12.0;
const ENTRY_LINE: f64 = 18.0;
/// From the left of an entry's key to its words.
const KEY: f64 = 24.0;
const ENTRY_GAP: f64 = 22.0;
/// Plots side by side.
const COLUMNS: usize = 2;

/// What an entry of the legend stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key {
    /// Bars: an outlined box.
    Bars(RGBColor),
    /// A line in a band, with the marker of single points.
    Band(RGBColor, Marker),
    Point(RGBColor, Marker),
    Line(Pen),
    /// The end of a run that did not reach its last update.
    EndedEarly,
    NoScore,
    /// No key: words alone.
    Nothing,
}

/// A line of the legend.
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) label: String,
}

/// What stands above a plot.
pub(super) struct Header {
    pub(super) title: String,
    /// What a reader has to know, in smaller letters; none if empty.
    pub(super) note: String,
    pub(super) legend: Vec<Entry>,
}

/// A header whose lines are broken.
pub(super) struct LaidHeader<'a> {
    title: Vec<String>,
    note: Vec<String>,
    legend_top: f64,
    legend: LaidLegend,
    pub(super) height: f64,
    header: &'a Header,
}

impl Header {
    /// Breaks the lines so that they fit into `width` pixels.
    pub(super) fn lay(&self, ruler: &Ruler, width: f64) -> LaidHeader<'_> {
        let title = ruler.wrap(&self.title, TITLE_SIZE, width);
        let note = match self.note.is_empty() {
            true => Vec::new(),
            false => ruler.wrap(&self.note, NOTE_SIZE, width),
        };
        let mut top = TITLE_LINE * title.len() as f64 + NOTE_LINE * note.len() as f64;
        if !self.legend.is_empty() {
            top += 6.0;
        }
        let legend = LaidLegend::of(&self.legend, ruler, width);
        LaidHeader {
            height: top + legend.height,
            title,
            note,
            legend_top: top,
            legend,
            header: self,
        }
    }
}

impl LaidHeader<'_> {
    pub(super) fn draw(&self, canvas: &Canvas<'_>) -> Result<()> {
        let mut baseline = MARGIN + TITLE_SIZE * 0.85;
        for line in &self.title {
            canvas.text((MARGIN, baseline), line, TITLE_SIZE, Anchor::Start, INK)?;
            baseline += TITLE_LINE;
        }
        baseline -= 3.0;
        for line in &self.note {
            canvas.text(
                (MARGIN, baseline),
                line,
                NOTE_SIZE,
                Anchor::Start,
                FAINT_INK,
            )?;
            baseline += NOTE_LINE;
        }
        self.legend.draw(canvas, (MARGIN, MARGIN + self.legend_top))
    }

    /// What the figure is called where it cannot be seen.
    pub(super) fn title(&self) -> &str {
        &self.header.title
    }
}

/// A legend whose entries stand beside and below each other.
pub(super) struct LaidLegend {
    /// The key, its place, and the words beside it.
    entries: Vec<(Key, Point, Vec<String>)>,
    pub(super) height: f64,
}

impl LaidLegend {
    /// In `width` pixels.
    pub(super) fn of(legend: &[Entry], ruler: &Ruler, width: f64) -> Self {
        let mut entries = Vec::new();
        let (mut left, mut top, mut rows) = (0.0, 0.0, 0);
        for Entry { key, label } in legend {
            let lines = ruler.wrap(label, ENTRY_SIZE, width - KEY);
            let wide = KEY + ruler.widest(lines.iter().map(String::as_str), ENTRY_SIZE);
            if rows > 0 && left + wide > width {
                top += ENTRY_LINE * rows as f64;
                (left, rows) = (0.0, 0);
            }
            rows = rows.max(lines.len());
            entries.push((*key, (left, top), lines));
            left += wide + ENTRY_GAP;
        }
        Self {
            entries,
            height: top + ENTRY_LINE * rows as f64,
        }
    }

    /// Draws it with its upper left corner at this place.
    pub(super) fn draw(&self, canvas: &Canvas<'_>, (left, top): Point) -> Result<()> {
        self.entries.iter().try_for_each(|(key, place, lines)| {
            draw_entry(canvas, *key, (left + place.0, top + place.1), lines)
        })
    }
}

/// A key and the words beside it, `place` being the upper left corner of both.
fn draw_entry(canvas: &Canvas<'_>, key: Key, (left, top): Point, lines: &[String]) -> Result<()> {
    key.draw(canvas, left, top + ENTRY_LINE / 2.0)?;
    for (at, line) in (0..).zip(lines) {
        let baseline = top + ENTRY_LINE * (f64::from(at) + 0.5) + ENTRY_SIZE * 0.36;
        let key = if matches!(key, Key::Nothing) {
            0.0
        } else {
            KEY
        };
        let place = (left + key, baseline);
        canvas.text(place, line, ENTRY_SIZE, Anchor::Start, INK)?;
    }
    Ok(())
}

impl Key {
    /// Draws it `KEY` less a gap wide, around the height `y`.
    fn draw(self, canvas: &Canvas<'_>, left: f64, y: f64) -> Result<()> {
        let area = |height: f64| Area {
            left,
            top: y - height / 2.0,
            width: KEY - 6.0,
            height,
        };
        let middle = left + (KEY - 6.0) / 2.0;
        match self {
            Key::Bars(colour) => {
                canvas.rectangle(area(12.0), colour, 0.35)?;
                outline(canvas, area(12.0), colour)
            }
            Key::Band(colour, marker) => {
                canvas.rectangle(area(12.0), colour, 0.3)?;
                canvas.line(&[(left, y), (left + KEY - 6.0, y)], colour, 2.0)?;
                marker.draw(canvas, (middle, y), 4.0, colour, 1.0)
            }
            Key::Point(colour, marker) => marker.draw(canvas, (middle, y), 4.5, colour, 1.0),
            Key::Line(pen) => pen.line(canvas, &[(left, y), (left + KEY - 6.0, y)]),
            Key::EndedEarly => cross(canvas, (middle, y), INK),
            Key::NoScore => no_score(canvas, area(14.0)),
            Key::Nothing => Ok(()),
        }
    }
}

fn outline(canvas: &Canvas<'_>, area: Area, colour: RGBColor) -> Result<()> {
    let (left, top, right, bottom) = (area.left, area.top, area.right(), area.bottom());
    let corners = [
        (left, top),
        (right, top),
        (right, bottom),
        (left, bottom),
        (left, top),
    ];
    canvas.line(&corners, colour, 1.5)
}

/// The sign of a head without a finite score, or a cell without a value: grey, struck through.
pub(super) fn no_score(canvas: &Canvas<'_>, area: Area) -> Result<()> {
    canvas.rectangle(area, NO_SCORE, 1.0)?;
    let ends = [(area.left, area.bottom()), (area.right(), area.top)];
    canvas.line(&ends, HATCH, 1.0)
}

/// A figure with one plot of `width × height` pixels under its header, or with several of this size that share their
/// axes.
pub(super) struct Sheet<'a> {
    pub(super) name: String,
    pub(super) header: Header,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) width: f64,
    pub(super) height: f64,
    /// Whether the ticks of `x` have lines through the plot.
    pub(super) vertical_grid: bool,
    /// What stands above each of several plots; empty for a single one.
    pub(super) plots: Vec<Entry>,
    pub(super) ruler: &'a Ruler,
}

impl Sheet<'_> {
    /// Draws the marks of each plot, which are told by its number, between grid and axes.
    pub(super) fn draw(
        self,
        marks: impl Fn(&Canvas<'_>, &Frame<'_>, usize) -> Result<()>,
    ) -> Result<Figure> {
        let room = Room::of(&self.x, &self.y, self.ruler, self.width, self.height);
        // The last label of `x` may stick out by half its width.
        let last = self.x.ticks.last().map_or("", |(_, label)| label.as_str());
        let right = MARGIN.max(self.ruler.width(last, super::axis::TICK_SIZE) / 2.0 + 4.0);
        let columns = self.plots.len().clamp(1, COLUMNS);
        let pitch = room.left + self.width + right;
        let width = pitch * columns as f64 - right;
        let header = self.header.lay(self.ruler, width);

        let wrap = |entry: &Entry| self.ruler.wrap(&entry.label, ENTRY_SIZE, self.width - KEY);
        let names: Vec<Vec<String>> = self.plots.iter().map(wrap).collect();
        let mut frames = Vec::new();
        let mut top = MARGIN + header.height + 12.0;
        for row in 0..self.plots.len().max(1).div_ceil(columns) {
            let places = row * columns..(row * columns + columns).min(self.plots.len().max(1));
            let lines = places.clone().filter_map(|at| names.get(at)).map(Vec::len);
            top += ENTRY_LINE * lines.max().unwrap_or(0) as f64;
            for column in 0..places.len() {
                let area = Area {
                    left: MARGIN + room.left + pitch * column as f64,
                    top,
                    width: self.width,
                    height: self.height,
                };
                frames.push(Frame {
                    area,
                    x: &self.x,
                    y: &self.y,
                    downwards: false,
                });
            }
            top += self.height + room.bottom + MARGIN * 0.6;
        }
        let size = ((MARGIN + width + right).ceil() as u32, top.ceil() as u32);
        let svg = Canvas::draw(&self.name, header.title(), size, |canvas| {
            header.draw(canvas)?;
            for (at, frame) in frames.iter().enumerate() {
                if let (Some(entry), Some(lines)) = (self.plots.get(at), names.get(at)) {
                    let above = ENTRY_LINE * lines.len() as f64 + 4.0;
                    let place = (frame.area.left, frame.area.top - above);
                    draw_entry(canvas, entry.key, place, lines)?;
                }
                frame.draw_grid(canvas, self.vertical_grid)?;
                marks(canvas, frame, at)?;
                frame.draw_axes(canvas, &room)?;
            }
            Ok(())
        })?;
        Ok(Figure::new(self.name, svg, size))
    }
}

/// The ruler of all figures.
pub(super) fn ruler() -> Result<Ruler> {
    Ruler::new().ok_or_else(|| failed("(all)", "the built-in font cannot be read"))
}
