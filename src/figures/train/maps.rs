//! The attention of every head on a sample, with the tokens at the axes.

use super::Training;
use crate::Result;
use crate::figures::axis::{Axis, Scale, TICK_SIZE};
use crate::figures::canvas::failed;
use crate::figures::curves::bounded;
use crate::figures::panels::{Cells, Content, Panel, Panels};
use crate::figures::sheet::{Entry, Header, Key};
use crate::figures::text::Ruler;
use crate::figures::{Figure, words};
use crate::train::metrics::AttentionMap;
use crate::train::tasks::Task;

/// Cells of one row of maps take about so many pixels, unless they would be too small or too large.
const WIDTH: f64 = 1000.0;
const CELL: (f64, f64) = (6.0, 18.0);
/// Longer samples have too many cells.
const MOST_TOKENS: usize = 128;

/// Draws the maps of one sample, in the colours of all of them.
pub(super) fn draw(
    training: &Training<'_>,
    all: &[Vec<AttentionMap>],
    (sample, maps): (usize, &[AttentionMap]),
    ruler: &Ruler,
) -> Result<Figure> {
    let name = super::map_name(sample);
    training.check_heads(&name)?;
    let (settings, config) = (training.settings, &training.settings.config);
    let ids = match training.trained.eval_samples.get(sample) {
        Some(sample) => &sample.input_ids,
        None => return Err(failed(&name, "there is no such sample")),
    };
    let tokens: Vec<String> = ids.iter().map(|&id| settings.task.token(id)).collect();
    if tokens.len() > MOST_TOKENS {
        let found = tokens.len();
        return Err(failed(
            &name,
            format!("{found} tokens are too many for one figure, which has room for {MOST_TOKENS}"),
        ));
    }
    let columns = config.num_attention_heads;
    let colours = colours(all);
    let cell = (WIDTH / (columns * tokens.len().max(1)) as f64)
        .floor()
        .clamp(CELL.0, CELL.1);
    let size = cell * tokens.len() as f64;
    let panels = maps.iter().map(|map| {
        let is_last = map.layer + 1 == config.num_hidden_layers;
        Panel {
            title: format!("layer {}, head {}", map.layer, map.head),
            legend: Vec::new(),
            x: keys(&tokens, cell, ruler, if is_last { "key" } else { "" }),
            y: queries(&tokens, cell, if map.head == 0 { "query" } else { "" }),
            size: (size, size),
            content: Content::Cells(Cells {
                columns: tokens.len(),
                values: map.weights.iter().map(|&w| f64::from(w)).collect(),
                colours: colours.clone(),
                numbers: Vec::new(),
                has_bar: map.layer == 0 && map.head + 1 == columns,
                is_triangle: config.is_causal,
            }),
        }
    });
    let missing = maps.iter().flat_map(|map| &map.weights);
    let missing = missing.filter(|weight| !weight.is_finite()).count();
    let legend = (missing > 0).then(|| Entry {
        key: Key::NoScore,
        label: format!("not finite ({})", words::counted(missing, "weight")),
    });
    let sheet = Panels {
        name,
        header: Header {
            title: format!(
                "Attention on evaluation sample {sample}: {}",
                training.model()
            ),
            note: training.note(&[answer(training, sample)]),
            legend: legend.into_iter().collect(),
        },
        panels: panels.collect(),
        columns,
        ruler,
    };
    sheet.draw()
}

/// What the model should say of a sample.
fn answer(training: &Training<'_>, sample: usize) -> String {
    let task = &training.settings.task;
    let answer = training.trained.eval_samples[sample].targets.last();
    answer.map_or(String::new(), |&answer| match task {
        Task::Induction(_) => format!("What should follow is {}", task.token(answer)),
        Task::Classification(_) => format!("The label is {answer}"),
    })
}

/// One scale: [0, 1] where all weights are within, and not all small.
fn colours(all: &[Vec<AttentionMap>]) -> Axis {
    let weights = all.iter().flatten().flat_map(|map| &map.weights);
    let weights = weights.map(|&w| f64::from(w)).filter(|w| w.is_finite());
    let (low, high) = weights.fold((0.0_f64, 0.0_f64), |(low, high), w| {
        (low.min(w), high.max(w))
    });
    let title = "attention weight";
    match low >= 0.0 && high <= 1.0 + 1e-6 && high > 0.5 {
        true => Axis::exact(0.0, 1.0, 5, title),
        false => Axis::around(bounded(low), bounded(high), 5, title),
    }
}

/// Every token where that fits, on two lines in turn if they are too wide for one, else every so many.
fn keys(tokens: &[String], pitch: f64, ruler: &Ruler, title: &str) -> Axis {
    let needed = ruler.widest(tokens.iter().map(String::as_str), TICK_SIZE) + 5.0;
    let in_turn = pitch < needed && 2.0 * pitch >= needed;
    let step = match in_turn {
        true => 1,
        false => (needed / pitch).ceil().max(1.0) as usize,
    };
    places(tokens, step, title, |at, token| {
        match in_turn && at % 2 == 1 {
            true => format!("\n{token}"),
            false => token.to_owned(),
        }
    })
}

/// Every token where that fits, else every so many.
fn queries(tokens: &[String], pitch: f64, title: &str) -> Axis {
    let step = ((TICK_SIZE + 1.0) / pitch).ceil().max(1.0) as usize;
    places(tokens, step, title, |_, token| token.to_owned())
}

fn places(
    tokens: &[String],
    step: usize,
    title: &str,
    label: impl Fn(usize, &str) -> String,
) -> Axis {
    let told = tokens.iter().enumerate().step_by(step);
    Axis {
        scale: Scale::Linear,
        low: -0.5,
        high: tokens.len() as f64 - 0.5,
        ticks: told
            .map(|(at, token)| (at as f64, label(at, token)))
            .collect(),
        minor: Vec::new(),
        title: title.into(),
    }
}
