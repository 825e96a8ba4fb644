//! Lines of many points: cut where they leave the plot, thinned to what can be seen, dashed.

use plotters::style::RGBColor;

use super::axis::{Axis, Frame, Scale};
use super::canvas::{Area, Canvas, Point};
use super::decades;
use crate::Result;

/// Points in columns so many pixels wide are replaced by their first, lowest, highest and last.
const COLUMN: f64 = 0.5;
/// A point this many pixels off the line between its neighbours is left out.
const TOLERANCE: f64 = 0.15;
/// Larger numbers are drawn as if they were this one: differences of the largest floating-point numbers overflow.
const LARGEST: f64 = 1e250;

/// How a line is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dash {
    Solid,
    Dashed,
    Dotted,
}

impl Dash {
    /// That of the `at`-th palette's worth of lines.
    pub(super) fn of_round(at: usize) -> Self {
        [Dash::Solid, Dash::Dashed, Dash::Dotted][at % 3]
    }

    /// Pixels drawn and left out.
    fn lengths(self) -> Option<(f64, f64)> {
        match self {
            Dash::Solid => None,
            Dash::Dashed => Some((6.0, 3.0)),
            Dash::Dotted => Some((1.5, 2.5)),
        }
    }
}

/// How a line looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pen {
    pub(super) colour: RGBColor,
    /// In pixels.
    pub(super) width: f64,
    pub(super) opacity: f64,
    pub(super) dash: Dash,
}

impl Pen {
    pub(super) fn line(self, canvas: &Canvas<'_>, points: &[Point]) -> Result<()> {
        match self.dash.lengths() {
            None => canvas.faint_line(points, self.colour, self.width, self.opacity),
            Some((drawn, left_out)) => {
                dashes(points, drawn, left_out).iter().try_for_each(|dash| {
                    canvas.faint_line(dash, self.colour, self.width, self.opacity)
                })
            }
        }
    }
}

/// What stands at the points of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marks {
    /// Nothing: it is a line only.
    None,
    /// A cross at the last: what was followed did not reach its end.
    EndedEarly,
    /// A disc at each.
    Discs,
    /// A cross at each, without a line.
    Crosses,
}

/// A line through points in the axes' units, by ascending x.
#[derive(Debug, Clone)]
pub(super) struct Curve {
    pub(super) points: Vec<(f64, f64)>,
    pub(super) pen: Pen,
    pub(super) marks: Marks,
}

impl Curve {
    /// Draws what lies in the frame. The line has a gap where a coordinate is not finite or, on a logarithmic axis,
    /// not above 0; a point between two gaps is a dot.
    pub(super) fn draw(&self, canvas: &Canvas<'_>, frame: &Frame<'_>) -> Result<()> {
        let on_axes = |&(x, y): &(f64, f64)| has_place(frame.x, x) && has_place(frame.y, y);
        let dot = self.pen.width.max(1.2) * 1.1;
        for part in self.points.chunk_by(|a, b| on_axes(a) == on_axes(b)) {
            if !on_axes(&part[0]) || self.marks == Marks::Crosses {
                continue;
            }
            let places: Vec<Point> = part.iter().map(|point| place(frame, *point)).collect();
            if let [only] = places[..] {
                if self.marks != Marks::Discs && frame.area.holds(only) {
                    canvas.circle(only, dot, self.pen.colour, self.pen.opacity)?;
                }
                continue;
            }
            for line in cut(&places, frame.area.top, frame.area.bottom()) {
                self.pen.line(canvas, &thin(&line))?;
            }
        }
        let marked = self.points.iter().filter(|point| on_axes(point));
        let mut places = marked.map(|point| place(frame, *point));
        // What ended early may have left the plot; its cross is then at the edge.
        let at_edge = |(x, y): Point| (x, y.clamp(frame.area.top, frame.area.bottom()));
        let Pen {
            colour,
            width,
            opacity,
            ..
        } = self.pen;
        match self.marks {
            Marks::None => Ok(()),
            Marks::Discs => places
                .filter(|place| frame.area.holds(*place))
                .try_for_each(|place| canvas.circle(place, 2.5 * width.sqrt(), colour, opacity)),
            Marks::Crosses => places
                .map(at_edge)
                .try_for_each(|place| cross(canvas, place, colour)),
            Marks::EndedEarly => places
                .next_back()
                .map_or(Ok(()), |place| cross(canvas, at_edge(place), colour)),
        }
    }
}

/// Where a point is on the canvas, or far above or below it.
fn place(frame: &Frame<'_>, (x, y): (f64, f64)) -> Point {
    const FAR: f64 = 1e9;
    let (x, y) = frame.at(bounded(x), bounded(y));
    (x, y.clamp(-FAR, FAR))
}

/// The sign of a run that ended early.
pub(super) fn cross(canvas: &Canvas<'_>, (x, y): Point, colour: RGBColor) -> Result<()> {
    const ARM: f64 = 3.5;
    canvas.line(&[(x - ARM, y - ARM), (x + ARM, y + ARM)], colour, 1.25)?;
    canvas.line(&[(x - ARM, y + ARM), (x + ARM, y - ARM)], colour, 1.25)
}

/// Whether `value` can be drawn on `axis`, if not within its ends.
pub(super) fn has_place(axis: &Axis, value: f64) -> bool {
    match axis.scale {
        Scale::Linear => value.is_finite(),
        Scale::Logarithmic => decades::has_place(value),
    }
}

/// `value`, or the largest number of its sign with which axes can reckon.
pub(super) fn bounded(value: f64) -> f64 {
    value.clamp(-LARGEST, LARGEST)
}

impl Area {
    /// Whether a mark at `place` is on the plot; its edge belongs to it.
    fn holds(&self, (x, y): Point) -> bool {
        const SLACK: f64 = 0.01;
        (self.left - SLACK..=self.right() + SLACK).contains(&x)
            && (self.top - SLACK..=self.bottom() + SLACK).contains(&y)
    }
}

/// The parts of a line between two heights.
fn cut(places: &[Point], top: f64, bottom: f64) -> Vec<Vec<Point>> {
    let inside = |y: f64| (top..=bottom).contains(&y);
    if places.iter().all(|&(_, y)| inside(y)) {
        return vec![places.to_vec()];
    }
    let mut parts: Vec<Vec<Point>> = Vec::new();
    let mut part: Vec<Point> = Vec::new();
    for pair in places.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        // Where the way from the first to the second point is between the heights.
        let share = |y: f64| (y - y0) / (y1 - y0);
        let (from, to) = match y0 == y1 {
            true if inside(y0) => (0.0, 1.0),
            true => (1.0, 0.0),
            false => {
                let (a, b) = (share(top), share(bottom));
                (a.min(b).max(0.0), a.max(b).min(1.0))
            }
        };
        if from >= to {
            parts.push(std::mem::take(&mut part));
            continue;
        }
        let at = |share: f64| {
            let y = y0 + share * (y1 - y0);
            (x0 + share * (x1 - x0), y.clamp(top, bottom))
        };
        if part.is_empty() {
            part.push(at(from));
        }
        part.push(at(to));
        if to < 1.0 {
            parts.push(std::mem::take(&mut part));
        }
    }
    parts.push(part);
    parts.retain(|part| part.len() > 1);
    parts
}

/// The line with as few points as it takes to look the same.
fn thin(places: &[Point]) -> Vec<Point> {
    let column = |place: &Point| (place.0 / COLUMN).floor();
    let mut kept = Vec::new();
    for part in places.chunk_by(|a, b| column(a) == column(b)) {
        let at = |of: fn(f64, f64) -> bool| {
            (1..part.len()).fold(0, |best, at| match of(part[at].1, part[best].1) {
                true => at,
                false => best,
            })
        };
        let mut chosen = [0, at(|a, b| a < b), at(|a, b| a > b), part.len() - 1];
        chosen.sort_unstable();
        for (nth, &at) in chosen.iter().enumerate() {
            if nth == 0 || at != chosen[nth - 1] {
                kept.push(part[at]);
            }
        }
    }
    straighten(&kept)
}

/// Without the points within [`TOLERANCE`] of the line between points that stay (Ramer, Douglas and Peucker).
fn straighten(places: &[Point]) -> Vec<Point> {
    let mut stays = vec![false; places.len()];
    for end in [0, places.len().saturating_sub(1)] {
        if let Some(stays) = stays.get_mut(end) {
            *stays = true;
        }
    }
    let mut open = vec![(0, places.len().saturating_sub(1))];
    while let Some((first, last)) = open.pop() {
        let between = first + 1..last;
        let distance = |at: usize| off(places[at], places[first], places[last]);
        let farthest = between.max_by(|a, b| distance(*a).total_cmp(&distance(*b)));
        if let Some(at) = farthest.filter(|at| distance(*at) > TOLERANCE) {
            stays[at] = true;
            open.push((first, at));
            open.push((at, last));
        }
    }
    let kept = places.iter().zip(stays).filter(|(_, stays)| *stays);
    kept.map(|(place, _)| *place).collect()
}

/// How far `place` is from the way between two points.
fn off((x, y): Point, (x0, y0): Point, (x1, y1): Point) -> f64 {
    let (along, up) = (x1 - x0, y1 - y0);
    let square = along * along + up * up;
    let share = match square > 0.0 {
        true => (((x - x0) * along + (y - y0) * up) / square).clamp(0.0, 1.0),
        false => 0.0,
    };
    (x - x0 - share * along).hypot(y - y0 - share * up)
}

/// A line in pieces of the length `drawn`, with gaps of `left_out` between them.
fn dashes(places: &[Point], drawn: f64, left_out: f64) -> Vec<Vec<Point>> {
    let mut pieces = Vec::new();
    let mut piece: Vec<Point> = places.first().copied().into_iter().collect();
    let (mut is_drawn, mut rest) = (true, drawn);
    for pair in places.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let length = (x1 - x0).hypot(y1 - y0);
        let mut gone = 0.0;
        while length - gone > rest {
            gone += rest;
            let share = gone / length;
            let at = (x0 + share * (x1 - x0), y0 + share * (y1 - y0));
            if is_drawn {
                piece.push(at);
                pieces.push(std::mem::take(&mut piece));
            } else {
                piece.push(at);
            }
            is_drawn = !is_drawn;
            rest = if is_drawn { drawn } else { left_out };
        }
        rest -= length - gone;
        if is_drawn {
            piece.push((x1, y1));
        }
    }
    pieces.push(piece);
    pieces.retain(|piece| piece.len() > 1);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thinned_line_is_nowhere_far_from_its_points() {
        let wave = |x: f64| 50.0 + 40.0 * (x / 17.0).sin() + 3.0 * (x * 2.9).sin();
        let places: Vec<Point> = (0..30_000)
            .map(|at| f64::from(at) / 100.0)
            .map(|x| (x, wave(x)))
            .collect();
        let thinned = thin(&places);
        assert!(thinned.len() < 1500, "{}", thinned.len());
        assert_eq!(
            (thinned[0], thinned[thinned.len() - 1]),
            (places[0], places[29_999])
        );
        for place in &places {
            let nearest = thinned.windows(2).map(|ends| off(*place, ends[0], ends[1]));
            let nearest = nearest.fold(f64::INFINITY, f64::min);
            assert!(nearest < TOLERANCE + COLUMN, "{place:?}: {nearest}");
        }
        let straight: Vec<Point> = (0..1000)
            .map(|x| (f64::from(x), 2.0 * f64::from(x)))
            .collect();
        assert_eq!(thin(&straight), [straight[0], straight[999]]);
        assert_eq!(thin(&[(1.0, 2.0)]), [(1.0, 2.0)]);
    }

    #[test]
    fn a_line_is_cut_at_the_edges_of_the_plot() {
        let places = [
            (0.0, 5.0),
            (1.0, -5.0),
            (2.0, -5.0),
            (3.0, 15.0),
            (4.0, 5.0),
        ];
        let parts = cut(&places, 0.0, 10.0);
        assert_eq!(
            parts,
            [
                vec![(0.0, 5.0), (0.5, 0.0)],
                vec![(2.25, 0.0), (2.75, 10.0)],
                vec![(3.5, 10.0), (4.0, 5.0)]
            ]
        );
        assert!(cut(&[(0.0, -1e300), (1.0, -2.0)], 0.0, 10.0).is_empty());
        assert_eq!(cut(&[(0.0, -1e9), (1.0, 1e9)], 0.0, 10.0).len(), 1);
        assert!(cut(&[(0.0, -5.0), (1.0, 0.0), (2.0, -5.0)], 0.0, 10.0).is_empty());
    }

    #[test]
    fn dashes_follow_the_line_and_leave_gaps() {
        let pieces = dashes(&[(0.0, 0.0), (4.0, 0.0), (4.0, 8.0)], 6.0, 3.0);
        assert_eq!(
            pieces,
            [
                vec![(0.0, 0.0), (4.0, 0.0), (4.0, 2.0)],
                vec![(4.0, 5.0), (4.0, 8.0)]
            ]
        );
    }
}
