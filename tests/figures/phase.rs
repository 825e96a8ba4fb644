//! Maps of one number for each pair of settings.

use attnscope::Error;
use attnscope::figures::{MapAxis, PhaseMap, draw_phase_map, phase_map_name};

use super::layout::texts_lie_apart;
use super::{Bar, Svg, number};

fn axis(name: &str, values: impl IntoIterator<Item = String>) -> MapAxis {
    MapAxis {
        name: name.into(),
        values: values.into_iter().collect(),
    }
}

/// A map whose `at`-th cell has the value that `cell` says.
fn map(columns: usize, rows: usize, cell: impl Fn(usize) -> Option<f64>) -> PhaseMap {
    PhaseMap {
        x: axis(
            "scale of the scores",
            (0..columns).map(|at| format!("{}", at as f64 / 4.0)),
        ),
        y: axis("normalisation", (0..rows).map(|at| format!("σ{at}"))),
        quantity: "final largest weight".into(),
        cells: (0..columns * rows).map(cell).collect(),
        replicas: 7,
        note: "Logistic loss".into(),
    }
}

fn cells(svg: &Svg) -> Vec<&Bar> {
    let frame = &svg.frames()[0];
    let cells = svg.bars.iter().filter(|bar| bar.fill != "#FFFFFF");
    cells
        .filter(|bar| frame.contains(bar.x + bar.width / 2.0, bar.y + bar.height / 2.0))
        .collect()
}

#[test]
fn cells_tell_their_value_in_colour_and_digits() {
    let map = map(6, 4, |at| (at % 5 != 2).then_some(at as f64 / 23.0));
    let figure = draw_phase_map(&map).unwrap();
    assert_eq!(figure.name, "phase-final-largest-weight");
    assert_eq!(figure.name, phase_map_name(&map.quantity));
    texts_lie_apart(&figure);
    let svg = Svg::of(&figure);
    let cells = cells(&svg);
    assert_eq!(cells.len(), 24);
    // The colour bar reaches from 0 to 1.
    let bar: Vec<&Bar> = svg
        .bars
        .iter()
        .filter(|bar| bar.width == 64.0 && bar.x > cells[5].x)
        .collect();
    assert_eq!(bar.len(), 128);
    for (at, (cell, value)) in cells.iter().zip(&map.cells).enumerate() {
        let middle = (cell.x + cell.width / 2.0, cell.y + cell.height / 2.0);
        let within = |(_, x, y, _): &&(String, f64, f64, String)| {
            (x - middle.0).abs() < 8.0 && (y - middle.1).abs() < 40.0
        };
        let told: Vec<&str> = svg
            .words
            .iter()
            .filter(within)
            .map(|words| &words.0[..])
            .collect();
        match value {
            Some(value) => {
                assert!(
                    (number(told[0]) - value).abs() <= 0.005,
                    "{told:?}: {value}"
                );
                let nth = ((value * 128.0) as usize).min(127);
                let near = bar.iter().position(|step| step.fill == cell.fill);
                let channels = |fill: &str| {
                    [1, 3, 5].map(|at| i32::from_str_radix(&fill[at..at + 2], 16).unwrap())
                };
                let far: i32 = channels(&bar[nth].fill)
                    .iter()
                    .zip(channels(&cell.fill))
                    .map(|(a, b)| (a - b).abs())
                    .sum();
                assert!(far <= 8, "cell {at} has {}, {near:?} not {nth}", cell.fill);
            }
            None => {
                assert!(told.is_empty() && cell.fill == "#D6D6D6");
                let struck = |line: &super::Stroke| {
                    line.points.contains(&(cell.x, cell.y + cell.height))
                        && line.colour == "#787878"
                };
                assert!(svg.lines.iter().any(struck));
            }
        }
    }
    let said = svg.text().replace('\n', " ");
    for words in [
        "Final largest weight by normalisation and scale of the scores",
        "mean over 7 runs. Logistic loss",
        "no value (5 cells)",
        "1.25",
        "σ3",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
}

#[test]
fn maps_of_all_shapes_and_names_are_readable() {
    let long = "a-name_of_a normalisation that goes on for longer than anybody would expect of it";
    let mut checked = 0;
    for (columns, rows) in [(1, 1), (1, 30), (30, 1), (20, 20), (21, 20), (120, 90)] {
        let values: [fn(usize) -> Option<f64>; 5] = [
            |at| Some((at as f64).sin().abs()),
            |at| Some(-1234.5 * at as f64),
            |at| Some(1e-9 * at as f64),
            |_| Some(f64::NAN),
            |at| Some(if at == 0 { 1e300 } else { -1e300 }),
        ];
        for value in values {
            let mut map = map(columns, rows, value);
            map.replicas = 1;
            if columns <= 30 {
                map.y.values[rows - 1] = long.into();
                map.x.values[columns - 1] = long.into();
            }
            let figure = draw_phase_map(&map).unwrap();
            texts_lie_apart(&figure);
            assert!(!figure.svg.contains("NaN"));
            let svg = Svg::of(&figure);
            assert_eq!(cells(&svg).len(), columns * rows);
            assert!(
                figure.width < 1800 && figure.height < 1500,
                "{columns} × {rows}"
            );
            checked += 1;
        }
    }
    assert_eq!(checked, 30);
    let map = map(3, 3, |at| Some(at as f64));
    assert_eq!(
        draw_phase_map(&map).unwrap().svg,
        draw_phase_map(&map).unwrap().svg
    );
}

#[test]
fn cells_that_make_no_rows_are_refused() {
    let mut map = map(3, 2, |_| Some(0.5));
    map.cells.pop();
    for map in [
        map.clone(),
        PhaseMap {
            x: axis("none", []),
            cells: Vec::new(),
            ..map
        },
    ] {
        let error = draw_phase_map(&map).unwrap_err();
        assert!(matches!(error, Error::Figure { .. }), "{error}");
        assert!(
            error.to_string().contains("one cell for each pair"),
            "{error}"
        );
    }
}
