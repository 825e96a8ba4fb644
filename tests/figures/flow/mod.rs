//! Figures of followed flows: curves are held against the trajectories by the labels of the axes.

mod curves;
mod runs;

use attnscope::Error;
use attnscope::figures::{Figure, Format, draw_flow, flow_figure_name, write_figures};
use attnscope::flow::experiments::{
    CONDITIONING, Experiment, KL, LOGISTIC, NORMALIZATIONS, SQUARE, TIED,
};
use attnscope::flow::follow::{self as flow, Backend, Integrator, Records, Settings};
use attnscope::flow::problem::Dimensions;
use attnscope::flow::trajectory::Followed;

use super::layout::texts_lie_apart;
use super::{Frame, Stroke, Svg};

const WINNER: &str = "#D55E00";
/// Units of the view box in a pixel.
const PIXEL: f64 = 4.0;

/// 0 and about `count` numbers of updates that grow by equal ratios.
fn spread(steps: u64, count: usize) -> Vec<u64> {
    let nth = |at: usize| (steps as f64).powf(at as f64 / (count - 1) as f64).round() as u64;
    let mut at: Vec<u64> = [0].into_iter().chain((0..count).map(nth)).collect();
    at.dedup();
    at
}

fn follow(experiment: &Experiment<'_>, at: &[u64]) -> Vec<Followed> {
    let settings = Settings {
        backend: Backend::Fused,
        integrator: Integrator::Descent,
        records: Records::At(at.to_vec()),
        keep_values: true,
    };
    flow::follow(experiment.runs().unwrap(), &settings, |_| ()).unwrap()
}

fn one(experiment: &Experiment<'_>) -> Vec<Followed> {
    follow(experiment, &spread(experiment.steps, 60))
}

fn seeds(experiment: &Experiment<'_>, seeds: u32) -> Vec<Followed> {
    let follow = |seed| {
        one(&Experiment {
            seed,
            ..*experiment
        })
    };
    (0..seeds).flat_map(follow).collect()
}

/// As long as it takes to see something.
const SHORT: Experiment = Experiment {
    steps: 3000,
    ..LOGISTIC
};

/// The one figure of these runs, with what every figure has to be.
fn figure(runs: &[Followed]) -> Figure {
    let mut figures = draw_flow(runs).unwrap();
    assert_eq!(figures.len(), 1);
    let figure = figures.remove(0);
    assert_eq!(figure.name, flow_figure_name(runs[0].run.experiment));
    texts_lie_apart(&figure);
    assert!(!figure.svg.contains("NaN") && !figure.svg.contains("inf"));
    assert!(figure.svg.len() < 500_000, "{}", figure.svg.len());
    figure
}

/// What was drawn in a frame: lines of more than one point that are neither grid nor ticks.
fn curves<'a>(svg: &'a Svg, frame: &Frame<'_>) -> Vec<&'a Stroke> {
    let is_inside = |stroke: &&Stroke| {
        let on = |&(x, y): &(f64, f64)| {
            (frame.left - 1.0..=frame.right + 1.0).contains(&x)
                && (frame.top - 1.0..=frame.bottom + 1.0).contains(&y)
        };
        stroke.points.iter().all(on) && !["#222222", "#E4E4E4"].contains(&&stroke.colour[..])
    };
    svg.lines.iter().filter(is_inside).collect()
}

fn distance((x, y): (f64, f64), line: &[(f64, f64)]) -> f64 {
    let to = |ends: &[(f64, f64)]| {
        let ((x0, y0), (x1, y1)) = (ends[0], ends[1]);
        let (along, up) = (x1 - x0, y1 - y0);
        let share = ((x - x0) * along + (y - y0) * up) / (along * along + up * up).max(1e-12);
        let share = share.clamp(0.0, 1.0);
        (x - x0 - share * along).hypot(y - y0 - share * up)
    };
    line.windows(2).map(to).fold(f64::INFINITY, f64::min)
}

/// The curve on which all `points` lie, and on which it ends.
fn along<'a>(
    curves: &[&'a Stroke],
    frame: &Frame<'_>,
    logarithmic: bool,
    points: &[(f64, f64)],
) -> Option<&'a Stroke> {
    let places: Vec<(f64, f64)> = points
        .iter()
        .filter(|(time, _)| *time > 0.0)
        .map(|(time, value)| {
            (
                frame.place(false, true, *time),
                frame.place(true, logarithmic, *value),
            )
        })
        .collect();
    let fits = |curve: &&&Stroke| {
        let ends = [places[0], places[places.len() - 1]];
        let own = [curve.points[0], curve.points[curve.points.len() - 1]];
        let near = |a: (f64, f64), b: (f64, f64)| (a.0 - b.0).hypot(a.1 - b.1) < 0.5 * PIXEL;
        near(ends[0], own[0])
            && near(ends[1], own[1])
            && places
                .iter()
                .all(|place| distance(*place, &curve.points) < 0.4 * PIXEL)
    };
    curves.iter().find(fits).copied()
}

/// A coordinate of each record over time.
fn over_time(run: &Followed, entries: &[f64], at: usize) -> Vec<(f64, f64)> {
    let width = entries.len() / run.trajectory.times.len();
    let entries = entries.chunks(width).map(|record| record[at]);
    run.trajectory.times.iter().copied().zip(entries).collect()
}

/// Vᵀβ of each record, from the definition.
fn projections(run: &Followed) -> Vec<f64> {
    let model = run.run.problem.model();
    let (p, d) = (model.predictions(), model.positions());
    let target = model.objective().target();
    let mut projections = Vec::new();
    for values in run.trajectory.values.chunks(p * d) {
        for at in 0..d {
            projections.push((0..p).map(|row| values[row * d + at] * target[row]).sum());
        }
    }
    projections
}
