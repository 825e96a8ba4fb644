//! One number for each pair of settings.

use super::axis::{Axis, Scale, TICK_SIZE};
use super::canvas::failed;
use super::panels::{Cells, Content, Panel, Panels};
use super::sheet::{self, Entry, Header, Key};
use super::{Figure, words};
use crate::Result;

/// A label may be this wide before it is broken.
const LABEL: f64 = 110.0;
/// A map is no larger than this, unless its cells would be too small to see.
const MAP: (f64, f64) = (1000.0, 800.0);
const LEAST_CELL: f64 = 5.0;
/// Maps of few cells are so large that titles fit beside them.
const SMALLEST: f64 = 150.0;
/// Of cells with numbers in them.
const NUMBER_CELL: (f64, f64) = (44.0, 26.0);
/// Of the text of several lines.
const LINE: f64 = 13.0;
/// With more cells, numbers would be a grey veil.
const MOST_NUMBERS: usize = 400;

/// A setting that is varied.
#[derive(Debug, Clone, PartialEq)]
pub struct MapAxis {
    /// What is varied, with its unit.
    pub name: String,
    /// Its values as they are to be read, numbers or names, in their order.
    pub values: Vec<String>,
}

/// A number for each pair of values of two settings.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseMap {
    /// From left to right.
    pub x: MapAxis,
    /// From the top down.
    pub y: MapAxis,
    /// What the cells tell, with its unit, such as `final largest weight`.
    pub quantity: String,
    /// Row by row: y × x. `None`, or a number that is not finite, is a cell without a value: it is struck through.
    pub cells: Vec<Option<f64>>,
    /// Over how many runs a cell is the mean.
    pub replicas: usize,
    /// What a reader has to know; may be empty.
    pub note: String,
}

/// The name of the figure that [`draw_phase_map`] makes of a map of `quantity`: `phase-` and the letters and digits of
/// the quantity.
pub fn phase_map_name(quantity: &str) -> String {
    let parts = quantity.split(|c: char| !c.is_alphanumeric());
    let words = ["phase"].into_iter().chain(parts);
    let words: Vec<String> = words
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    words.join("-")
}

/// Draws a map, with the numbers in its cells where there is room for them. Colours reach from 0 to 1 where the values
/// are within, and not all near each other.
///
/// # Errors
/// [`crate::Error::Figure`] if an axis has no value, or if there are not as many cells as pairs of values.
pub fn draw_phase_map(map: &PhaseMap) -> Result<Figure> {
    let name = phase_map_name(&map.quantity);
    let (columns, rows) = (map.x.values.len(), map.y.values.len());
    if columns == 0 || rows == 0 || columns.checked_mul(rows) != Some(map.cells.len()) {
        let found = map.cells.len();
        return Err(failed(
            &name,
            format!(
                "{found} cells do not make {rows} rows of {columns}; give one cell for each pair of values, and at least one value of each"
            ),
        ));
    }
    let ruler = sheet::ruler()?;
    let cell = map.cells.iter().map(|cell| cell.unwrap_or(f64::NAN));
    let values: Vec<f64> = cell
        .map(|cell| if cell.is_finite() { cell } else { f64::NAN })
        .collect();
    let colours = colours(&values, &map.quantity);
    let numbers = numbers(&values);
    let broken = |axis: &MapAxis| -> Vec<Vec<String>> {
        let labels = axis.values.iter();
        labels
            .map(|label| ruler.wrap(label, TICK_SIZE, LABEL))
            .collect()
    };
    let (across, down) = (broken(&map.x), broken(&map.y));
    let widest = across.iter().flatten().map(String::as_str);
    // Whole pixels, as cells have: one that is a fraction too narrow would lose its label.
    let widest = (ruler.widest(widest, TICK_SIZE) + 8.0).ceil();
    let lines = down.iter().map(Vec::len).max().unwrap_or(1);
    let highest = LINE * lines as f64 + 4.0;
    let told = !numbers.is_empty()
        && NUMBER_CELL.0 * columns as f64 <= MAP.0
        && NUMBER_CELL.1 * rows as f64 <= MAP.1;
    let widest_number = ruler.widest(numbers.iter().map(String::as_str), TICK_SIZE) + 8.0;
    let least = match told {
        true => (NUMBER_CELL.0.max(widest_number), NUMBER_CELL.1),
        false => (LEAST_CELL, LEAST_CELL),
    };
    let fit = |most: f64, count: usize, least: f64, wanted: f64| {
        (most / count as f64)
            .min(wanted.max(34.0).max(SMALLEST / count as f64))
            .max(least)
            .floor()
    };
    let cell = (
        fit(MAP.0, columns, least.0, widest),
        fit(MAP.1, rows, least.1, highest),
    );
    let x = places(&across, cell.0, widest, &map.x.name);
    let y = places(&down, cell.1, highest, &map.y.name);
    let missing = values.iter().filter(|value| value.is_nan()).count();
    let legend = (missing > 0).then(|| Entry {
        key: Key::NoScore,
        label: format!("no value ({})", words::counted(missing, "cell")),
    });
    let mut note = match map.replicas {
        0 | 1 => "One run for each cell".to_owned(),
        replicas => format!("Each cell is the mean over {replicas} runs"),
    };
    if !map.note.is_empty() {
        note = format!("{note}. {}", map.note);
    }
    let sheet = Panels {
        name,
        header: Header {
            title: capitalised(&format!(
                "{} by {} and {}",
                map.quantity, map.y.name, map.x.name
            )),
            note,
            legend: legend.into_iter().collect(),
        },
        panels: vec![Panel {
            title: String::new(),
            legend: Vec::new(),
            x,
            y,
            size: (cell.0 * columns as f64, cell.1 * rows as f64),
            content: Content::Cells(Cells {
                columns,
                values,
                colours,
                numbers: if told { numbers } else { Vec::new() },
                has_bar: true,
                is_triangle: false,
            }),
        }],
        columns: 1,
        ruler: &ruler,
    };
    sheet.draw()
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(characters).collect()
}

/// What the colours mean.
fn colours(values: &[f64], quantity: &str) -> Axis {
    let range = values.iter().filter(|value| value.is_finite());
    let (low, high) = range.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| {
        (low.min(value), high.max(value))
    });
    let within = low >= 0.0 && high <= 1.0 && high - low > 0.3;
    match within || low > high {
        true => Axis::exact(0.0, 1.0, 5, quantity),
        false => Axis::around(
            super::curves::bounded(low),
            super::curves::bounded(high),
            5,
            quantity,
        ),
    }
}

/// What the cells say, with as many digits as tell the values apart; nothing if there are too many cells.
fn numbers(values: &[f64]) -> Vec<String> {
    if values.len() > MOST_NUMBERS {
        return Vec::new();
    }
    let largest = values
        .iter()
        .filter(|v| v.is_finite())
        .fold(0.0, |most: f64, v| most.max(v.abs()));
    let decimals = match largest {
        most if most >= 100.0 => 0,
        most if most >= 10.0 => 1,
        most if most >= 0.1 => 2,
        _ => 3,
    };
    let number = |value: &f64| match (value.is_finite(), (0.01..1e5).contains(&largest)) {
        (false, _) => String::new(),
        (true, _) if *value == 0.0 => "0".to_owned(),
        (true, true) => format!("{value:.decimals$}"),
        (true, false) => format!("{value:.1e}"),
    };
    values.iter().map(number).collect()
}

/// Places 0, 1, … with their labels, every so many of which are told that each has the `needed` pixels.
fn places(labels: &[Vec<String>], pitch: f64, needed: f64, title: &str) -> Axis {
    let step = (needed / pitch).ceil().max(1.0) as usize;
    let told = labels.iter().enumerate().step_by(step);
    Axis {
        scale: Scale::Linear,
        low: -0.5,
        high: labels.len() as f64 - 0.5,
        ticks: told
            .map(|(at, lines)| (at as f64, lines.join("\n")))
            .collect(),
        minor: Vec::new(),
        title: title.into(),
    }
}
