//! Curves, their axes and their gaps.

use super::*;

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
        after: "1234 updates at rate 0.1".into(),
        remedy: "take a smaller rate",
        quantity: "score",
        found: vec![f64::NAN],
        recorded: kept,
        last_recorded: None,
    });
    let drawn = figure(&runs);
    let svg = Svg::of(&drawn);
    let said = svg.text().replace('\n', " ");
    for words in [
        "Ended early: seed 1 diverged (score) after 1234 updates at rate 0.1",
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
