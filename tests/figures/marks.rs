//! The marks carry the data.

use attnscope::compare::Metric;

use super::{Bar, Scan, Svg, World, named};

const BLUE: &str = "#0072B2";
const ORANGE: &str = "#D55E00";
const GREEN: &str = "#009E73";

/// Models of different sizes, the second with totals other than 1.
fn world() -> World {
    World::of(&[
        Scan::new("org/softmax", 5, 7),
        Scan {
            total: 2.5,
            ..Scan::new("org/sigmoid", 5, 9)
        },
    ])
}

fn close(found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() <= tolerance,
        "{found}, not {expected}"
    );
}

#[test]
fn bars_are_as_high_as_there_are_heads() {
    let world = world();
    let figures = world.draw(&[]);
    // Heads of the first, then of both as shares, since the second has more.
    let softmax = World::of(&[Scan::new("org/softmax", 5, 7)]);
    let alone = softmax.draw(&[]);
    for (world, figures, colours) in [
        (&world, &figures, &[BLUE, ORANGE][..]),
        (&softmax, &alone, &[BLUE]),
    ] {
        for column in ["sparsity_score", "max_weight"] {
            let svg = Svg::of(named(figures, &format!("histogram-{column}")));
            let frame = &svg.frames()[0];
            let as_shares = colours.len() > 1;
            let title = if as_shares {
                "share of the model's heads"
            } else {
                "heads (bins of 0.05)"
            };
            assert!(svg.text().contains(title), "{}", svg.text());
            for (scan, colour) in colours.iter().enumerate() {
                let scores = world.scores(scan, column);
                // Weights above 1 make the histogram wider than [0, 1]; its ticks say how much.
                let bars: Vec<&Bar> = svg
                    .bars
                    .iter()
                    .filter(|bar| {
                        bar.fill == *colour && (bar.y + bar.height - frame.bottom).abs() < 0.5
                    })
                    .collect();
                let mut seen = 0.0;
                for bar in &bars {
                    // Edges are multiples of a two-hundredth; a place is read off to a tenth of that.
                    let edge = |x: f64| (frame.value(false, x) * 200.0).round() / 200.0;
                    let (low, high) = (edge(bar.x), edge(bar.x + bar.width));
                    assert!(high > low);
                    let inside = |score: &&f64| **score >= low && **score < high;
                    let count = scores.iter().filter(inside).count() as f64;
                    let height = frame.value(true, bar.y) - frame.value(true, bar.y + bar.height);
                    let heads = if as_shares {
                        height * scores.len() as f64
                    } else {
                        height
                    };
                    close(heads, count, 0.06);
                    seen += heads;
                }
                close(seen, scores.len() as f64, 0.5);
            }
        }
    }
    let svg = Svg::of(named(&figures, "histogram-sparsity_score"));
    for words in [
        "org/softmax: 35 heads, mean 0.",
        "org/sigmoid: 45 heads, mean 0.",
        "Appendix E.2",
        "sparsity score (mean of max / total)",
    ] {
        assert!(svg.text().contains(words), "{words}\n{}", svg.text());
    }
    let svg = Svg::of(named(&figures, "histogram-max_weight"));
    for words in [
        "Figure 7",
        "not divided",
        "max weight (mean of max, undivided)",
    ] {
        assert!(svg.text().contains(words), "{words}\n{}", svg.text());
    }
}

/// The colour bar: its colours from the bottom up.
fn colour_bar(svg: &Svg) -> Vec<&Bar> {
    let last = svg.bars.last().unwrap();
    let mut bar: Vec<&Bar> = svg
        .bars
        .iter()
        .filter(|bar| bar.x == last.x && bar.width == 64.0)
        .collect();
    bar.sort_by(|a, b| b.y.total_cmp(&a.y));
    assert_eq!(bar.len(), 128);
    bar
}

fn channels(colour: &str) -> [f64; 3] {
    [1, 3, 5].map(|at| f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()))
}

#[test]
fn cells_have_the_colour_of_their_score() {
    let mut broken = Scan::new("org/broken", 3, 4);
    broken.broken = vec![(1, 2), (2, 3)];
    let mut uneven = Scan::new("org/uneven", 4, 6);
    uneven.heads = vec![6, 2, 5, 1];
    let world = World::of(&[Scan::new("org/square", 32, 32), broken, uneven]);
    let metrics = [Metric::SparsityScore, Metric::Entropy, Metric::TotalWeight];
    let figures = world.draw(&metrics);
    for metric in metrics {
        let svg = Svg::of(named(&figures, &format!("heads-{}", metric.name())));
        let scale = colour_bar(&svg);
        // The numbers beside the bar: words to the right of it.
        let right = scale[0].x + scale[0].width;
        let labels: Vec<f64> = svg
            .words
            .iter()
            .filter(|(_, x, _, anchor)| anchor == "start" && *x > right)
            .map(|(words, ..)| words.parse().unwrap())
            .collect();
        let (low, high) = (labels[0], *labels.last().unwrap());
        if metric == Metric::SparsityScore {
            assert_eq!((low, high), (0.0, 1.0));
        }
        let frames = svg.frames();
        assert_eq!(frames.len(), 3);
        for (scan, frame) in frames.iter().enumerate() {
            let expected = world.column(scan, metric.name());
            let most = expected.iter().map(Vec::len).max().unwrap() as f64;
            let pitch = (
                (frame.right - frame.left) / most,
                (frame.bottom - frame.top) / expected.len() as f64,
            );
            let mut cells = 0;
            for cell in svg.bars.iter().filter(|bar| bar.fill != "#FFFFFF") {
                let (x, y) = (cell.x + cell.width / 2.0, cell.y + cell.height / 2.0);
                if !frame.contains(x, y) {
                    continue;
                }
                cells += 1;
                let head = ((x - frame.left) / pitch.0) as usize;
                let layer = ((y - frame.top) / pitch.1) as usize;
                assert!(cell.width <= pitch.0 && cell.width >= pitch.0 - 4.0);
                let Some(score) = expected[layer][head] else {
                    assert_eq!(cell.fill, "#D6D6D6");
                    let struck = |line: &super::Stroke| {
                        line.points.contains(&(cell.x, cell.y + cell.height))
                            && line.colour == "#787878"
                    };
                    assert!(svg.lines.iter().any(struck));
                    continue;
                };
                let far = |at: &usize| -> f64 {
                    let pairs = channels(&scale[*at].fill)
                        .into_iter()
                        .zip(channels(&cell.fill));
                    pairs.map(|(a, b)| (a - b).abs()).sum()
                };
                let nearest = (0..128).min_by(|a, b| far(a).total_cmp(&far(b))).unwrap();
                let found = low + (nearest as f64 + 0.5) / 128.0 * (high - low);
                close(found, score, 0.012 * (high - low));
            }
            assert_eq!(cells, expected.iter().map(Vec::len).sum::<usize>());
        }
        for words in [
            "no finite score (2 heads)",
            "org/uneven",
            "4 layers × 1–6 heads",
        ] {
            assert!(svg.text().contains(words), "{words}\n{}", svg.text());
        }
    }
    let said = "org/broken: 2 of 12 heads have no finite score";
    assert!(
        figures
            .remarks
            .iter()
            .any(|remark| remark.starts_with(said))
    );
    assert_eq!(figures.scans[1].non_finite_rows, 8);
}

/// NumPy's quantile, from its definition.
fn quantile(scores: &[f64], q: f64) -> f64 {
    let mut scores = scores.to_vec();
    scores.sort_by(f64::total_cmp);
    let at = q * (scores.len() - 1) as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    scores[below] * (1.0 - at.fract()) + scores[above] * at.fract()
}

#[test]
fn lines_and_bands_are_medians_and_quantiles() {
    let world = world();
    let figures = world.draw(&[Metric::SparsityScore, Metric::Entropy]);
    for metric in [Metric::SparsityScore, Metric::Entropy] {
        let svg = Svg::of(named(&figures, &format!("layers-{}", metric.name())));
        let frame = &svg.frames()[0];
        let layers: Vec<f64> = frame
            .ticks(false)
            .iter()
            .map(|(_, number)| *number)
            .collect();
        assert_eq!(layers, [0.0, 1.0, 2.0, 3.0, 4.0]);
        let (top, bottom) = (
            frame.value(true, frame.top),
            frame.value(true, frame.bottom),
        );
        let tolerance = 0.002 * (top - bottom);
        for (scan, colour) in [BLUE, ORANGE].iter().enumerate() {
            let heads = world.column(scan, metric.name());
            let of_layer =
                |layer: usize| -> Vec<f64> { heads[layer].iter().flatten().copied().collect() };
            let medians: Vec<_> = svg
                .lines
                .iter()
                .filter(|line| line.colour == *colour && line.points.len() == 5)
                .collect();
            assert_eq!(medians.len(), 1);
            assert_eq!(medians[0].width, 8.0);
            for (layer, (x, y)) in medians[0].points.iter().enumerate() {
                close(frame.value(false, *x), layer as f64, 0.01);
                close(
                    frame.value(true, *y),
                    quantile(&of_layer(layer), 0.5),
                    tolerance,
                );
            }
            let bands = svg
                .polygons
                .iter()
                .filter(|p| p.colour == *colour && p.points.len() == 10);
            let mut bands: Vec<_> = bands.collect();
            bands.sort_by(|a, b| a.opacity.total_cmp(&b.opacity));
            assert_eq!(bands.len(), 2);
            for (band, q) in bands.iter().zip([0.1, 0.25]) {
                for layer in 0..5 {
                    let (upper, lower) = (band.points[layer], band.points[9 - layer]);
                    assert_eq!(upper.0, lower.0);
                    close(
                        frame.value(true, upper.1),
                        quantile(&of_layer(layer), 1.0 - q),
                        tolerance,
                    );
                    close(
                        frame.value(true, lower.1),
                        quantile(&of_layer(layer), q),
                        tolerance,
                    );
                }
            }
        }
    }
}

#[test]
fn few_heads_are_points_and_depths_are_relative_where_they_differ() {
    let world = World::of(&[Scan::new("a", 2, 3), Scan::new("b", 6, 5)]);
    let svg = Svg::of(named(
        &world.draw(&[Metric::SparsityScore]),
        "layers-sparsity_score",
    ));
    assert!(svg.text().contains("depth (0: first layer, 1: last layer)"));
    assert!(
        svg.text()
            .contains("points: all heads of layers with at most 4")
    );
    let frame = &svg.frames()[0];
    let points: Vec<f64> = svg
        .circles
        .iter()
        .filter(|(x, y, colour)| frame.contains(*x, *y) && colour == BLUE)
        .map(|(_, y, _)| frame.value(true, *y))
        .collect();
    // Six heads, and the median of either layer, which is one of its three heads.
    assert_eq!(points.len(), 8);
    for score in world.scores(0, "sparsity_score") {
        assert!(
            points.iter().any(|point| (point - score).abs() < 0.002),
            "{score}"
        );
    }
    assert!(!svg.polygons.iter().any(|polygon| polygon.colour == BLUE));
    let line = svg
        .lines
        .iter()
        .find(|line| line.colour == ORANGE && line.points.len() == 6)
        .unwrap();
    for (at, (x, _)) in line.points.iter().enumerate() {
        close(frame.value(false, *x), at as f64 / 5.0, 0.005);
    }
}

#[test]
fn many_models_have_a_plot_each() {
    let scans: Vec<Scan<'_>> = ["a", "b", "c"].map(|name| Scan::new(name, 4, 8)).into();
    let world = World::of(&scans);
    let svg = Svg::of(named(
        &world.draw(&[Metric::SparsityScore]),
        "layers-sparsity_score",
    ));
    let frames = svg.frames();
    assert_eq!(frames.len(), 3);
    for (frame, own) in frames.iter().zip([BLUE, ORANGE, GREEN]) {
        let inside =
            |path: &&super::Stroke| path.points.iter().all(|(x, y)| frame.contains(*x, *y));
        let bands: Vec<_> = svg
            .polygons
            .iter()
            .filter(inside)
            .filter(|p| p.opacity < 0.5)
            .collect();
        assert!(bands.len() == 2 && bands.iter().all(|band| band.colour == own));
        let lines: Vec<_> = svg
            .lines
            .iter()
            .filter(inside)
            .filter(|l| l.points.len() == 4)
            .collect();
        assert_eq!(lines.len(), 3);
        let thick: Vec<_> = lines.iter().filter(|line| line.width == 8.0).collect();
        assert!(thick.len() == 1 && thick[0].colour == own);
    }
}

#[test]
fn a_point_is_a_head() {
    let world = world();
    let svg = Svg::of(named(&world.draw(&[]), "scatter"));
    let frame = &svg.frames()[0];
    assert!(svg.text().contains("org/softmax: 35 heads"));
    let discs = svg.circles.iter().map(|(x, y, _)| (*x, *y));
    // The middle of a triangle is where its corners' mean is, but for the rounding.
    let triangles = svg.polygons.iter().map(|triangle| {
        assert_eq!(
            (triangle.points.len(), triangle.colour.as_str()),
            (3, ORANGE)
        );
        let (x, y) = (
            triangle.points[0].0,
            triangle.points.iter().map(|p| p.1).sum::<f64>() / 3.0,
        );
        (x, y)
    });
    for (scan, centres) in [discs.collect::<Vec<_>>(), triangles.collect()]
        .iter()
        .enumerate()
    {
        let places: Vec<(f64, f64)> = centres
            .iter()
            .filter(|(x, y)| frame.contains(*x, *y))
            .map(|(x, y)| (frame.value(false, *x), frame.value(true, *y)))
            .collect();
        let first = world.scores(scan, "first_token_share");
        let sparsity = world.scores(scan, "sparsity_score");
        assert_eq!(places.len(), first.len());
        for expected in first.into_iter().zip(sparsity) {
            let at = |place: &&(f64, f64)| {
                (place.0 - expected.0).abs() < 0.002 && (place.1 - expected.1).abs() < 0.002
            };
            assert!(places.iter().any(|place| at(&place)), "{expected:?}");
        }
    }
}
