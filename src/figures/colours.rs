//! Colours and shapes that people with any colour vision can tell apart.

use plotters::style::RGBColor;
use plotters::style::colors::colormaps::ViridisRGB;

use super::canvas::{Canvas, Point};
use crate::Result;

pub(super) const PAPER: RGBColor = RGBColor(255, 255, 255);
/// Titles and axes.
pub(super) const INK: RGBColor = RGBColor(34, 34, 34);
/// What explains.
pub(super) const FAINT_INK: RGBColor = RGBColor(89, 89, 89);
pub(super) const GRID: RGBColor = RGBColor(228, 228, 228);
/// A head without a score: no colour of [`scale`].
pub(super) const NO_SCORE: RGBColor = RGBColor(214, 214, 214);
pub(super) const HATCH: RGBColor = RGBColor(120, 120, 120);

/// Okabe and Ito's palette without black, which is for texts, and yellow, which is too pale on white; the first two
/// are the most different ones.
const OF_MODELS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// The colour of the `at`-th model.
pub(super) fn of_model(at: usize) -> RGBColor {
    OF_MODELS[at % OF_MODELS.len()]
}

/// The colour of a value between 0 and 1: viridis.
pub(super) fn scale(value: f64) -> RGBColor {
    ViridisRGB::get_color(value.clamp(0.0, 1.0))
}

/// How a model's points look.
#[derive(Debug, Clone, Copy)]
pub(super) enum Marker {
    Disc,
    Triangle,
    Square,
    Diamond,
    TriangleDown,
}

impl Marker {
    /// That of the `at`-th model. There are as many colours as shapes and one more, so that both are the same only
    /// after thirty models.
    pub(super) fn of_model(at: usize) -> Self {
        const ALL: [Marker; 5] = [
            Marker::Disc,
            Marker::Triangle,
            Marker::Square,
            Marker::Diamond,
            Marker::TriangleDown,
        ];
        ALL[at % ALL.len()]
    }

    /// Draws it around `centre`; all shapes of one radius look equally large.
    pub(super) fn draw(
        self,
        canvas: &Canvas<'_>,
        (x, y): Point,
        radius: f64,
        colour: RGBColor,
        opacity: f64,
    ) -> Result<()> {
        let corners: &[Point] = match self {
            Marker::Disc => return canvas.circle((x, y), radius, colour, opacity),
            Marker::Triangle => &[(0.0, -1.35), (1.17, 0.67), (-1.17, 0.67)],
            Marker::Square => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
            Marker::Diamond => &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
            Marker::TriangleDown => &[(0.0, 1.35), (1.17, -0.67), (-1.17, -0.67)],
        };
        let corners: Vec<Point> = corners
            .iter()
            .map(|(dx, dy)| (x + dx * radius, y + dy * radius))
            .collect();
        canvas.polygon(&corners, colour, opacity)
    }
}
