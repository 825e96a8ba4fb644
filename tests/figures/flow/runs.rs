//! Replicas, rows, several problems, and what is refused.

use super::*;

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
    type Spoil = fn(&mut attnscope::flow::trajectory::Trajectory);
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
