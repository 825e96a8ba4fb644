//! Figures of followed flows: curves are held against the trajectories by the labels of the axes.

use attnscope::Error;
use attnscope::figures::{Figure, Format, draw_flow, flow_figure_name, write_figures};
use attnscope::flow::descent::{Descent, Trajectory};
use attnscope::flow::experiments::{
    CONDITIONING, Experiment, KL, LOGISTIC, NORMALIZATIONS, SQUARE, TIED,
};
use attnscope::flow::follow::Followed;
use attnscope::flow::problem::Dimensions;

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
    let follow = |run: attnscope::flow::experiments::Run| {
        let mut trajectory = Trajectory::default();
        let mut descent = Descent::new(&run.problem, run.rate).unwrap();
        let failure = descent.run(at, |snapshot| trajectory.push(snapshot)).err();
        Followed {
            run,
            trajectory,
            failure,
        }
    };
    experiment.runs().unwrap().into_iter().map(follow).collect()
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

#[test]
fn curves_lie_where_the_records_are() {
    let runs = one(&SHORT);
    let run = &runs[0];
    let drawn = figure(&runs);
    let svg = Svg::of(&drawn);
    let frames = svg.frames();
    assert_eq!(frames.len(), 5);
    let projections = projections(run);
    let trajectory = &run.trajectory;
    for (frame, entries) in
        frames
            .iter()
            .zip([&trajectory.scores, &projections, &trajectory.weights])
    {
        let curves = curves(&svg, frame);
        assert_eq!(curves.len(), 8);
        let last = |at: usize| trajectory.scores[trajectory.scores.len() - 8 + at];
        let winner = (0..8).max_by(|a, b| last(*a).total_cmp(&last(*b))).unwrap();
        for at in 0..8 {
            let curve = along(&curves, frame, false, &over_time(run, entries, at));
            let curve = curve.unwrap_or_else(|| panic!("coordinate {at} of {frame:?}"));
            assert_eq!(curve.colour == WINNER, at == winner);
            assert!(curve.points.len() < 60);
        }
        let key = format!("i = {}", winner + 1);
        assert!(svg.text().contains(&key), "{}", svg.text());
    }
    let single = [(&trajectory.losses, true), (&trajectory.strengths, false)];
    for (frame, (entries, logarithmic)) in frames[3..].iter().zip(single) {
        let curves = curves(&svg, frame);
        assert_eq!(curves.len(), 1);
        assert!(along(&curves, frame, logarithmic, &over_time(run, entries, 0)).is_some());
    }
    let said = svg.text().replace('\n', " ");
    for words in [
        "Figure 2",
        "t = 0, has no place",
        "seed 123",
        "3 000 updates",
        "softmax",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn logarithmic_axes_name_powers_of_ten_at_equal_distances() {
    let runs = one(&SHORT);
    let drawn = figure(&runs);
    let svg = Svg::of(&drawn);
    for frame in svg.frames() {
        let ticks = frame.ticks(false);
        let values: Vec<f64> = ticks.iter().map(|tick| tick.1).collect();
        assert_eq!(values, [0.1, 1.0, 10.0, 100.0]);
        let steps: Vec<f64> = ticks.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(
            steps.iter().all(|step| (step - steps[0]).abs() <= 1.0),
            "{steps:?}"
        );
        // From the first update to the last: 0.1 to 300.
        assert!((frame.left - ticks[0].0).abs() <= 1.0);
        let decades = (frame.right - frame.left) / steps[0];
        assert!((decades - 3000_f64.log10()).abs() < 0.01, "{decades}");
    }
    let losses: Vec<f64> = svg.frames()[3]
        .ticks(true)
        .iter()
        .map(|tick| tick.1)
        .collect();
    // Over two decades, 2 and 5 are named too.
    assert_eq!(losses, [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]);
    for (place, value) in svg.frames()[3].ticks(true) {
        let expected = svg.frames()[3].place(true, true, value);
        assert!((place - expected).abs() <= 1.0, "{value}");
    }
    // A square loss that vanishes goes through many powers.
    let runs = one(&Experiment {
        steps: 5000,
        ..SQUARE
    });
    let drawn = figure(&runs);
    let svg = Svg::of(&drawn);
    let frames = svg.frames();
    let loss = frames.last().unwrap();
    let ticks = loss.ticks(true);
    assert!((3..10).contains(&ticks.len()), "{ticks:?}");
    let ratios: Vec<f64> = ticks.windows(2).map(|pair| pair[1].1 / pair[0].1).collect();
    assert!(
        ratios
            .iter()
            .all(|ratio| (ratio / ratios[0] - 1.0).abs() < 1e-9),
        "{ratios:?}"
    );
    assert!(ratios[0] >= 9.99 && svg.words.iter().any(|(words, ..)| words == "10⁻²⁰"));
    for run in &runs {
        let losses = over_time(run, &run.trajectory.losses, 0);
        assert!(along(&curves(&svg, loss), loss, true, &losses).is_some());
    }
}

#[test]
fn what_ended_early_is_drawn_to_its_end_and_named() {
    let mut runs = seeds(&SHORT, 2);
    let whole = figure(&runs[..1]);
    let failed = &mut runs[1];
    let kept = 30;
    for (entries, width) in [
        (&mut failed.trajectory.times, 1),
        (&mut failed.trajectory.losses, 1),
        (&mut failed.trajectory.strengths, 1),
        (&mut failed.trajectory.scores, 8),
        (&mut failed.trajectory.weights, 8),
        (&mut failed.trajectory.values, 64),
    ] {
        entries.truncate(kept * width);
    }
    failed.trajectory.updates.truncate(kept);
    // Far beyond what the other run needs.
    for score in &mut failed.trajectory.scores[(kept - 1) * 8..] {
        *score = 1e300;
    }
    failed.failure = Some(Error::Diverged {
        updates: 1234,
        rate: 0.1,
        quantity: "score",
        found: vec![f64::NAN],
        recorded: kept,
        last_recorded: None,
    });
    let drawn = figure(&runs);
    let svg = Svg::of(&drawn);
    let said = svg.text().replace('\n', " ");
    for words in [
        "Ended early: seed 1 diverged: its score is not finite after 1 234 updates",
        "ended early (1 run)",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let scores = &svg.frames()[0];
    let whole = Svg::of(&whole);
    let numbers = |frame: &Frame<'_>| frame.ticks(true).iter().map(|t| t.1).collect::<Vec<_>>();
    assert_eq!(numbers(scores), numbers(&whole.frames()[0]));
    // Both strokes of the crosses are where the run ended, at the edge that it left by.
    let end = scores.place(false, true, runs[1].trajectory.times[kept - 1]);
    let is_cross = |line: &&Stroke| {
        let [(x0, y0), (x1, y1)] = line.points[..] else {
            return false;
        };
        let middle = ((x0 + x1) / 2.0, (y0 + y1) / 2.0);
        (x1 - x0).abs() == 7.0 * PIXEL
            && (y1 - y0).abs() == 7.0 * PIXEL
            && (middle.0 - end).abs() <= 1.0
            && (middle.1 - scores.top).abs() <= 1.0
    };
    assert_eq!(svg.lines.iter().filter(is_cross).count(), 2 * 8);
    // No line goes on behind it.
    let weights = &svg.frames()[2];
    let ends = curves(&svg, weights)
        .iter()
        .filter(|curve| {
            let last = curve.points[curve.points.len() - 1].0;
            (last - weights.place(false, true, runs[1].trajectory.times[kept - 1])).abs() < 2.0
        })
        .count();
    assert_eq!(ends, 8);
}

#[test]
fn numbers_that_are_none_leave_gaps() {
    let mut runs = one(&SHORT);
    let records = runs[0].trajectory.updates.len();
    let trajectory = &mut runs[0].trajectory;
    trajectory.scores[(records / 2) * 8 + 3] = f64::NAN;
    trajectory.scores[(records / 2 + 1) * 8 + 3] = f64::INFINITY;
    trajectory.losses[records - 1] = 0.0;
    let drawn = figure(&runs);
    let svg = Svg::of(&drawn);
    let frames = svg.frames();
    assert_eq!(curves(&svg, &frames[0]).len(), 9);
    assert_eq!(curves(&svg, &frames[1]).len(), 8);
    let loss = curves(&svg, &frames[3])[0].points.clone();
    let times = &runs[0].trajectory.times;
    let last = frames[3].place(false, true, times[records - 2]);
    assert!((loss[loss.len() - 1].0 - last).abs() <= 1.0);
    assert!(
        svg.text().contains("One recorded loss has vanished"),
        "{}",
        svg.text()
    );
}

#[test]
fn one_record_and_one_coordinate_are_enough() {
    // Only the start, only the hundredth update, and nothing at all.
    for at in [&[0][..], &[100], &[]] {
        let drawn = figure(&follow(&SHORT, at));
        let svg = Svg::of(&drawn);
        let frames = svg.frames();
        assert_eq!(frames.len(), 5);
        for frame in &frames {
            let dots = svg
                .circles
                .iter()
                .filter(|(x, y, _)| frame.contains(*x, *y));
            let expected = match at {
                [] => 0..=0,
                _ => 1..=8,
            };
            assert!(expected.contains(&dots.count()), "{at:?}");
            assert!(frame.ticks(false).len() >= 2);
        }
        assert_eq!(svg.text().contains("no record"), at.is_empty());
    }
    for experiment in [LOGISTIC, SQUARE, NORMALIZATIONS, CONDITIONING, KL, TIED] {
        let experiment = Experiment {
            dimensions: &[Dimensions::square(1)],
            steps: 50,
            ..experiment
        };
        if experiment.name == "conditioning" {
            continue;
        }
        figure(&one(&experiment));
    }
}

#[test]
fn a_hundred_curves_make_a_small_file() {
    let experiment = Experiment {
        dimensions: &[Dimensions::square(100)],
        steps: 2000,
        ..TIED
    };
    let runs = follow(&experiment, &(0..=2000).collect::<Vec<_>>());
    let drawn = figure(&runs);
    let svg = Svg::of(&drawn);
    let frames = svg.frames();
    assert_eq!(frames.len(), 6);
    let run = &runs[0];
    let all = curves(&svg, &frames[0]);
    assert_eq!(all.len(), 100);
    for at in [0, 17, 99] {
        let weights = over_time(run, &run.trajectory.weights, at);
        assert!(along(&all, &frames[0], false, &weights).is_some(), "{at}");
    }
    // Lengths of columns, by their definition.
    let lengths: Vec<f64> = run
        .trajectory
        .values
        .chunks(100 * 100)
        .map(|values| {
            values
                .iter()
                .skip(17)
                .step_by(100)
                .map(|x| x * x)
                .sum::<f64>()
                .sqrt()
        })
        .collect();
    let lengths = over_time(run, &lengths, 0);
    assert!(along(&curves(&svg, &frames[1]), &frames[1], false, &lengths).is_some());
    assert!(svg.text().contains("(Uᵀβ)ᵢ"), "{}", svg.text());
}

#[test]
fn replicas_are_thin_and_their_medians_thick() {
    let runs = seeds(&SHORT, 20);
    let drawn = figure(&runs);
    let svg = Svg::of(&drawn);
    let frames = svg.frames();
    // The largest weight of each record's winner, over the seeds.
    let winners: Vec<Vec<f64>> = runs
        .iter()
        .map(|run| {
            let scores = &run.trajectory.scores;
            let last = &scores[scores.len() - 8..];
            let at = (0..8).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap();
            run.trajectory
                .weights
                .chunks(8)
                .map(|record| record[at])
                .collect()
        })
        .collect();
    let median = |record: usize| {
        let mut values: Vec<f64> = winners.iter().map(|winner| winner[record]).collect();
        values.sort_by(f64::total_cmp);
        (values[9] + values[10]) / 2.0
    };
    let times = &runs[0].trajectory.times;
    let expected: Vec<(f64, f64)> = times
        .iter()
        .enumerate()
        .map(|(record, time)| (*time, median(record)))
        .collect();
    let all = curves(&svg, &frames[2]);
    let (thick, thin): (Vec<&Stroke>, Vec<&Stroke>) =
        all.iter().partition(|curve| curve.width > PIXEL);
    assert_eq!((thick.len(), thin.len()), (8, 40));
    let found = along(&thick, &frames[2], false, &expected).unwrap();
    assert_eq!(found.colour, WINNER);
    for winner in &winners {
        let points: Vec<(f64, f64)> = times.iter().copied().zip(winner.iter().copied()).collect();
        let found = along(&thin, &frames[2], false, &points).unwrap();
        assert!(found.colour == WINNER && found.opacity < 0.5);
    }
    let said = svg.text().replace('\n', " ");
    for words in [
        "20 seeds from 0 to 19",
        "thick: their medians",
        "thin lines only of the first and the last coordinate",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // Records at other times have no medians.
    let mut runs = seeds(&SHORT, 3);
    runs[2].trajectory.times[5] *= 1.001;
    let drawn = figure(&runs);
    let svg = Svg::of(&drawn);
    assert!(svg.text().replace('\n', " ").contains("no medians"));
    assert_eq!(curves(&svg, &svg.frames()[0]).len(), 24);
}

#[test]
fn conditioning_has_one_scale_and_its_ends_against_the_number() {
    let runs = one(&Experiment {
        steps: 100_000,
        ..CONDITIONING
    });
    let drawn = figure(&runs);
    let svg = Svg::of(&drawn);
    let frames = svg.frames();
    assert_eq!(frames.len(), 9);
    let ticks = |frame: &Frame<'_>| frame.ticks(true).iter().map(|t| t.1).collect::<Vec<_>>();
    for (frame, run) in frames.iter().zip(&runs) {
        assert_eq!(ticks(frame), ticks(&frames[0]));
        let all = curves(&svg, frame);
        for at in [0, 7, 19] {
            let scores = over_time(run, &run.trajectory.scores, at);
            assert!(along(&all, frame, false, &scores).is_some());
        }
    }
    for (frame, of) in [(&frames[5], 0), (&frames[6], 1)] {
        for run in &runs {
            let entries = [&run.trajectory.scores, &run.trajectory.weights][of];
            let last = &entries[entries.len() - 20..];
            let largest = last.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let place = (
                frame.place(false, false, run.run.condition_number.unwrap()),
                frame.place(true, false, largest),
            );
            let near = |(x, y, _): &&(f64, f64, String)| (x - place.0).hypot(y - place.1) < 2.0;
            assert!(svg.circles.iter().any(|circle| near(&circle)), "{place:?}");
        }
    }
    for words in ["κ = 1", "κ = 5", "condition number κ"] {
        assert!(svg.text().contains(words), "{words}");
    }
}

/// The run with every record's scores and weights in `rows` rows, of which each is less uniform than the last.
fn in_rows(mut run: Followed, rows: usize) -> Followed {
    let d = run.run.problem.model().positions();
    for entries in [&mut run.trajectory.scores, &mut run.trajectory.weights] {
        let of_row = |row: usize, entry: f64| entry * (1.0 - row as f64 / (2 * rows) as f64);
        *entries = entries
            .chunks(d)
            .flat_map(|record| {
                (0..rows).flat_map(move |row| record.iter().map(move |x| of_row(row, *x)))
            })
            .collect();
    }
    run
}

#[test]
fn rows_have_a_map_and_a_line_each() {
    let run = in_rows(one(&SHORT).remove(0), 5);
    let (times, weights) = (run.trajectory.times.clone(), run.trajectory.weights.clone());
    let runs = [run];
    let drawn = figure(&runs);
    let svg = Svg::of(&drawn);
    let frames = svg.frames();
    assert_eq!(frames.len(), 3);
    let map = &frames[0];
    let cells: Vec<_> = svg
        .bars
        .iter()
        .filter(|bar| bar.fill != "#FFFFFF")
        .filter(|bar| map.contains(bar.x + 1.0, bar.y + 1.0))
        .collect();
    assert_eq!(cells.len(), 5 * 8);
    let last = &weights[weights.len() - 40..];
    // Equal weights have equal colours, and the largest of a row is the lightest of it.
    let light = |fill: &str| -> u32 {
        [1, 3, 5]
            .iter()
            .map(|at| u32::from_str_radix(&fill[*at..at + 2], 16).unwrap())
            .sum()
    };
    for (row, cells) in cells.chunks(8).enumerate() {
        let row = &last[row * 8..row * 8 + 8];
        let winner = (0..8).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
        let lightest = (0..8).max_by_key(|at| light(&cells[*at].fill)).unwrap();
        assert_eq!(winner, lightest);
        assert!(
            cells
                .windows(2)
                .all(|pair| pair[0].y == pair[1].y && pair[0].x < pair[1].x)
        );
    }
    assert!(cells.windows(9).all(|cells| cells[0].y < cells[8].y));
    let lines = curves(&svg, &frames[1]);
    assert_eq!(lines.len(), 5);
    for row in 0..5 {
        let largest = weights.chunks(40).map(|record| {
            record[row * 8..row * 8 + 8]
                .iter()
                .copied()
                .fold(f64::NEG_INFINITY, f64::max)
        });
        let points: Vec<(f64, f64)> = times.iter().copied().zip(largest).collect();
        assert!(
            along(&lines, &frames[1], false, &points).is_some(),
            "row {row}"
        );
    }
    // Of many replicas, three have maps.
    let runs: Vec<Followed> = seeds(&SHORT, 5)
        .into_iter()
        .map(|run| in_rows(run, 3))
        .collect();
    let drawn = figure(&runs);
    let svg = Svg::of(&drawn);
    assert_eq!(svg.frames().len(), 5);
    assert!(
        svg.text().contains("Maps: the first 3 seeds"),
        "{}",
        svg.text()
    );
}

#[test]
fn every_experiment_has_its_figure_in_the_order_of_the_runs() {
    let mut runs = Vec::new();
    for experiment in [TIED, KL, CONDITIONING, NORMALIZATIONS, SQUARE, LOGISTIC] {
        runs.extend(one(&Experiment {
            steps: 300,
            ..experiment
        }));
    }
    let mut own = one(&SHORT).remove(0);
    own.run.experiment = "a thing of one's own <&> with quite a long name, longer than a line of the sheet that it stands on, which is rather wide";
    runs.push(own);
    let figures = draw_flow(&runs).unwrap();
    let names: Vec<&str> = figures.iter().map(|figure| &figure.name[5..]).collect();
    let expected = [
        "tied",
        "kl",
        "conditioning",
        "normalizations",
        "square",
        "logistic",
    ];
    assert_eq!(names[..6], expected);
    for figure in &figures {
        texts_lie_apart(figure);
        assert!(
            figure.svg.len() < 500_000,
            "{}: {}",
            figure.name,
            figure.svg.len()
        );
    }
    assert_eq!(Svg::of(&figures[0]).frames().len(), 4 * 3 + 3);
    assert_eq!(Svg::of(&figures[3]).frames().len(), 6 + 2);
    let again = draw_flow(&runs).unwrap();
    for (first, second) in figures.iter().zip(&again) {
        assert_eq!(first.svg, second.svg);
    }
    assert_eq!(figures[5].png().unwrap(), again[5].png().unwrap());
    assert!(draw_flow(&[]).unwrap().is_empty());
}

#[test]
fn several_dimensions_and_rates_stand_apart() {
    let dimensions = [
        Dimensions {
            predictions: 3,
            positions: 6,
        },
        Dimensions {
            predictions: 2,
            positions: 13,
        },
    ];
    let mut runs = Vec::new();
    for rate in [0.1, 0.05] {
        runs.extend(one(&Experiment {
            dimensions: &dimensions,
            rate,
            steps: 500,
            ..LOGISTIC
        }));
    }
    let drawn = figure(&runs);
    let svg = Svg::of(&drawn);
    assert_eq!(svg.frames().len(), 4 * 3 + 2);
    for words in [
        "d = 6, p = 3, η = 0.1: scores",
        "d = 13, p = 2, η = 0.05: weights",
    ] {
        assert!(svg.text().contains(words), "{words}\n{}", svg.text());
    }
    let loss = &svg.frames()[12];
    let lines = curves(&svg, loss);
    assert_eq!(lines.len(), 4);
    for run in &runs {
        let losses = over_time(run, &run.trajectory.losses, 0);
        assert!(along(&lines, loss, true, &losses).is_some());
    }
}

#[test]
fn lists_that_contradict_each_other_are_refused() {
    type Spoil = fn(&mut Trajectory);
    let spoils: [(&str, Spoil); 5] = [
        ("times", |t| t.times.truncate(3)),
        ("losses", |t| t.losses.push(1.0)),
        ("scores", |t| t.scores.truncate(8)),
        ("weights", |t| t.weights.truncate(5)),
        ("values", |t| t.values.clear()),
    ];
    for (list, spoil) in spoils {
        let mut runs = one(&SHORT);
        spoil(&mut runs[0].trajectory);
        let error = draw_flow(&runs).unwrap_err();
        assert!(matches!(error, Error::Figure { .. }));
        assert!(error.to_string().contains(list), "{list}: {error}");
    }
}

#[test]
fn figures_are_written_once() {
    let out = tempfile::tempdir().unwrap();
    let figures = draw_flow(&one(&SHORT)).unwrap();
    let files = write_figures(&figures, &Format::ALL, out.path()).unwrap();
    let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap()).collect();
    assert_eq!(names, ["flow-logistic.svg", "flow-logistic.png"]);
    assert_eq!(std::fs::read_to_string(&files[0]).unwrap(), figures[0].svg);
    let error = write_figures(&figures, &[Format::Png], out.path()).unwrap_err();
    assert!(matches!(error, Error::OutDir { .. }), "{error}");
    let twice = [figures[0].clone(), figures[0].clone()];
    let elsewhere = out.path().join("elsewhere");
    let error = write_figures(&twice, &Format::ALL, &elsewhere).unwrap_err();
    assert!(error.to_string().contains("two of this name"), "{error}");
    assert!(!elsewhere.exists());
}
