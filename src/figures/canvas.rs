//! A sheet to draw on: [`plotters`]' SVG backend, with its whole coordinates made fine enough and texts set on
//! their baseline.

use std::fmt::Display;

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Circle, Drawable, PathElement, PointCollection, Polygon, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, FontTransform, IntoFont, RGBColor, ShapeStyle, TextStyle};

use super::text::FAMILY;
use crate::{Error, Result};

/// Units of the backend, whose coordinates are whole numbers, in a pixel.
const UNITS: f64 = 4.0;
/// Plotters divides font sizes by this.
const PLOTTERS_FONT_SCALE: f64 = 1.24;
/// Where Plotters puts the baseline below the top of a text, in font sizes.
const PLOTTERS_BASELINE: f64 = 0.76;

/// Lengths and places are in pixels from the upper left corner.
pub(super) type Point = (f64, f64);

/// A rectangle.
#[derive(Debug, Clone, Copy)]
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Area {
    pub(super) fn right(&self) -> f64 {
        self.left + self.width
    }

    pub(super) fn bottom(&self) -> f64 {
        self.top + self.height
    }
}

/// Which point of a text its place is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// The sheet of one figure.
pub(super) struct Canvas<'a> {
    name: &'a str,
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

type Backend<'a> = SVGBackend<'a>;
type Refusal = DrawingAreaErrorKind<std::io::Error>;

fn units(pixels: f64) -> i32 {
    (pixels * UNITS).round() as i32
}

fn point((x, y): Point) -> (i32, i32) {
    (units(x), units(y))
}

/// The error of a figure that cannot be drawn.
pub(super) fn failed(name: &str, message: impl Display) -> Error {
    Error::Figure {
        name: name.into(),
        message: message.to_string(),
    }
}

impl Canvas<'_> {
    /// An SVG file of `width × height` pixels with a white ground and what `draw` puts on it. `title` is what a
    /// viewer that reads aloud says.
    pub(super) fn draw(
        name: &str,
        title: &str,
        (width, height): (u32, u32),
        draw: impl FnOnce(&Canvas<'_>) -> Result<()>,
    ) -> Result<String> {
        let size = (width * UNITS as u32, height * UNITS as u32);
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            let canvas = Canvas { name, area };
            canvas.rectangle(
                Area {
                    left: 0.0,
                    top: 0.0,
                    width: f64::from(width),
                    height: f64::from(height),
                },
                super::colours::PAPER,
                1.0,
            )?;
            draw(&canvas)?;
            canvas.done(canvas.area.present())?;
        }
        // The backend's own head gives the size in units; in pixels the picture is as large as it is meant to be.
        let marks = svg
            .split_once('\n')
            .map(|(_, marks)| marks)
            .ok_or_else(|| failed(name, "the SVG writer wrote no head"))?;
        let title = escaped(&printable(title));
        Ok(format!(
            "<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {} {}\" xmlns=\"http://www.w3.org/2000/svg\">\n\
             <title>{title}</title>\n{marks}",
            size.0, size.1
        ))
    }

    fn done(&self, drawn: Result<(), Refusal>) -> Result<()> {
        drawn.map_err(|refusal| failed(self.name, refusal))
    }

    fn put<'e, E>(&self, element: &'e E) -> Result<()>
    where
        &'e E: PointCollection<'e, (i32, i32)>,
        for<'b> E: Drawable<Backend<'b>>,
    {
        self.done(self.area.draw(element))
    }

    /// A filled rectangle.
    pub(super) fn rectangle(&self, area: Area, colour: RGBColor, opacity: f64) -> Result<()> {
        let corners = [
            point((area.left, area.top)),
            point((area.right(), area.bottom())),
        ];
        self.put(&Rectangle::new(corners, colour.mix(opacity).filled()))
    }

    /// A filled polygon.
    pub(super) fn polygon(&self, corners: &[Point], colour: RGBColor, opacity: f64) -> Result<()> {
        let corners: Vec<_> = corners.iter().copied().map(point).collect();
        self.put(&Polygon::new(corners, colour.mix(opacity)))
    }

    /// A filled circle.
    pub(super) fn circle(
        &self,
        centre: Point,
        radius: f64,
        colour: RGBColor,
        opacity: f64,
    ) -> Result<()> {
        let radius = (radius * UNITS).round().max(1.0) as u32;
        self.put(&Circle::new(
            point(centre),
            radius,
            colour.mix(opacity).filled(),
        ))
    }

    /// A line through `points`, `width` pixels wide.
    pub(super) fn line(&self, points: &[Point], colour: RGBColor, width: f64) -> Result<()> {
        self.faint_line(points, colour, width, 1.0)
    }

    /// A line that lets through what it lies on.
    pub(super) fn faint_line(
        &self,
        points: &[Point],
        colour: RGBColor,
        width: f64,
        opacity: f64,
    ) -> Result<()> {
        let points: Vec<_> = points.iter().copied().map(point).collect();
        // The last piece of a dashed line may be too short to be seen, and a renderer would complain of it.
        if points.iter().all(|other| *other == points[0]) {
            return Ok(());
        }
        let style = ShapeStyle {
            color: colour.mix(opacity),
            filled: false,
            stroke_width: (width * UNITS).round().max(1.0) as u32,
        };
        self.put(&PathElement::new(points, style))
    }

    /// A text of one line on its baseline.
    pub(super) fn text(
        &self,
        (x, baseline): Point,
        text: &str,
        size: f64,
        anchor: Anchor,
        colour: RGBColor,
    ) -> Result<()> {
        let top = baseline - PLOTTERS_BASELINE * size;
        self.set((x, top), text, size, anchor, colour, FontTransform::None)
    }

    /// A text that runs upwards, its baseline to the right of it.
    pub(super) fn text_upwards(
        &self,
        (baseline, y): Point,
        text: &str,
        size: f64,
        colour: RGBColor,
    ) -> Result<()> {
        let left = baseline - PLOTTERS_BASELINE * size;
        let turn = FontTransform::Rotate270;
        self.set((left, y), text, size, Anchor::Middle, colour, turn)
    }

    fn set(
        &self,
        place: Point,
        text: &str,
        size: f64,
        anchor: Anchor,
        colour: RGBColor,
        turn: FontTransform,
    ) -> Result<()> {
        let horizontal = match anchor {
            Anchor::Start => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::End => HPos::Right,
        };
        let font = (FAMILY, size * UNITS * PLOTTERS_FONT_SCALE).into_font();
        let style = TextStyle::from(font.transform(turn))
            .color(&colour)
            .pos(Pos::new(horizontal, VPos::Top));
        self.put(&Text::new(printable(text), point(place), style))
    }
}

/// `text` without the characters that XML has no room for; a mark stands in their place.
fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        '\t' => ' ',
        '\u{FFFE}' | '\u{FFFF}' => char::REPLACEMENT_CHARACTER,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(shown).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
