//! How a run went: epoch by epoch, and from record to record of what was tracked.

use super::Training;
use crate::Result;
use crate::figures::Figure;
use crate::figures::axis::Axis;
use crate::figures::colours::{HATCH, INK, of_model, scale};
use crate::figures::curves::{Curve, Dash, Marks, Pen};
use crate::figures::fit::{Fit, fit};
use crate::figures::panels::{Content, PLOT, Panel, Panels};
use crate::figures::sheet::{Entry, Header, Key};
use crate::figures::text::Ruler;
use crate::train::metrics::LEARNED_ACCURACY;
use crate::train::run::Epoch;
use crate::train::tasks::Task;
use crate::train::track::Record;

const STEP: &str = "step";
const WIDTH: f64 = 1.6;
/// Of a head's plot.
const SMALL: (f64, f64) = (220.0, 150.0);
/// Points are marked unless there are more.
const MARKED: usize = 40;
/// With a first record before such a part of the last one, steps are drawn by their logarithm.
const EARLY: usize = 100;
/// Colours of a palette, after which lines are interrupted.
const PALETTE: usize = 6;

/// Losses, and accuracy.
pub(super) fn epochs(training: &Training<'_>, ruler: &Ruler) -> Result<Figure> {
    let epochs = &training.trained.epochs;
    let curve = |at: usize, of: fn(&Epoch) -> f64| Curve {
        points: (epochs.iter().map(|e| (e.epoch as f64, of(e))))
            .filter(|point| point.1.is_finite())
            .collect(),
        pen: pen(at),
        marks: marks(epochs.len()),
    };
    let eval_loss = |epoch: &Epoch| epoch.eval.map_or(f64::NAN, |score| score.loss);
    let accuracy = |epoch: &Epoch| epoch.eval.map_or(f64::NAN, |score| score.accuracy);
    let losses = vec![curve(0, |epoch| epoch.train_loss), curve(1, eval_loss)];
    let last = training.settings.num_epochs;
    // Whole numbers, and the last epoch at the edge.
    let across = || Axis::exact(0.0, last as f64, last.clamp(1, 6), "epoch");
    let (_, loss_axis) = fit(&losses, (Fit::Round, ""), (Fit::RoundDecades, "loss"));
    let mut legend = vec![
        entry(pen(0), "training samples, before each step"),
        entry(pen(1), "evaluation samples, after the epoch"),
    ];
    let mut accuracies = vec![curve(1, accuracy)];
    if matches!(training.settings.task, Task::Induction(_)) {
        let bound = Pen {
            colour: HATCH,
            width: 1.2,
            opacity: 1.0,
            dash: Dash::Dashed,
        };
        let ends = [0.0, across().high].map(|epoch| (epoch, LEARNED_ACCURACY));
        accuracies.push(Curve {
            points: ends.to_vec(),
            pen: bound,
            marks: Marks::None,
        });
        legend.push(entry(
            bound,
            "accuracy below which the paper leaves a run out",
        ));
    }
    let panel = |title: &str, y, curves| Panel {
        title: title.into(),
        legend: Vec::new(),
        x: across(),
        y,
        size: PLOT,
        content: Content::Curves(curves),
    };
    let accuracy_axis = Axis::exact(0.0, 1.0, 5, "share of right answers");
    let sheet = Panels {
        name: "epochs".into(),
        header: Header {
            title: format!("Training: {}", training.model()),
            note: training.note(&[]),
            legend,
        },
        panels: vec![
            panel("loss", loss_axis, losses),
            panel("accuracy at the last position", accuracy_axis, accuracies),
        ],
        columns: 2,
        ruler,
    };
    sheet.draw()
}

/// Norms of value projections: of the layers, and for each layer of its heads.
pub(super) fn value_norms(training: &Training<'_>, ruler: &Ruler) -> Result<Figure> {
    let records = &training.trained.track.records;
    let config = &training.settings.config;
    let name = "value-norms";
    training.check_heads(name)?;
    let lines = |count: usize, of: &dyn Fn(&Record, usize) -> f64| -> Vec<Curve> {
        (0..count)
            .map(|at| Curve {
                points: over_steps(records, |record| of(record, at)),
                pen: pen(at),
                marks: marks(records.len()),
            })
            .collect()
    };
    let names = |count: usize, what: &str| -> Vec<Entry> {
        (0..count)
            .map(|at| entry(pen(at), &format!("{what} {at}")))
            .collect()
    };
    let panel = |title: String, legend, curves: Vec<Curve>| {
        let (x, y) = fit(
            &curves,
            (Fit::Decades, STEP),
            (Fit::Round, "Frobenius norm"),
        );
        let x = steps(training, x);
        Panel {
            title,
            legend,
            x,
            y,
            size: PLOT,
            content: Content::Curves(curves),
        }
    };
    let layers = config.num_hidden_layers;
    let mut panels = vec![panel(
        "whole matrices".into(),
        names(layers, "layer"),
        lines(layers, &|record, layer| record.value_norms[layer].norm),
    )];
    let heads = config.num_attention_heads;
    // Of a single head it is the same.
    if heads > 1 {
        panels.extend((0..layers).map(|layer| {
            panel(
                format!("rows of each head of layer {layer}"),
                names(heads, "head"),
                lines(heads, &|record, head| record.value_norms[layer].heads[head]),
            )
        }));
    }
    let sheet = Panels {
        name: name.into(),
        header: Header {
            title: format!("Norms of the value projections: {}", training.model()),
            note: training.note(&[start(records)]),
            legend: Vec::new(),
        },
        columns: panels.len().min(3),
        panels,
        ruler,
    };
    sheet.draw()
}

/// The tracked weights of one sample, which is the tracked one of number `at`.
pub(super) fn tracking(
    training: &Training<'_>,
    (at, sample): (usize, usize),
    ruler: &Ruler,
) -> Result<Figure> {
    let (task, config) = (&training.settings.task, &training.settings.config);
    let records = &training.trained.track.records;
    let is_induction = matches!(task, Task::Induction(_));
    let tracked = &training.trained.eval_samples[sample];
    let label = tracked.targets.last().copied().unwrap_or_default();
    let name = super::tracking_name(at);
    training.check_heads(&name)?;
    let ids = &tracked.input_ids;
    // BOS sees nothing but itself.
    let places: Vec<usize> = (usize::from(is_induction)..ids.len()).collect();
    let pens: Vec<Pen> = (places.iter())
        .map(|&place| match is_induction {
            // An order, in colours that stand out on white.
            true => Pen {
                colour: scale(0.9 * place as f64 / ids.len() as f64),
                ..pen(0)
            },
            false if place + 1 == ids.len() => Pen {
                colour: INK,
                ..pen(0)
            },
            false => pen(place),
        })
        .collect();
    let of_head = |layer: usize, head: usize| -> Vec<Curve> {
        let curve = |(&place, &pen): (&usize, &Pen)| Curve {
            points: over_steps(records, |record| {
                let key = |w: &crate::train::track::TrackedWeight| {
                    let at = if is_induction { w.query } else { w.key };
                    (w.sample, w.layer, w.head, at)
                };
                let wanted = (sample as u32, layer as u16, head as u16, place as u32);
                let found = record.weights.binary_search_by_key(&wanted, key);
                found.map_or(f64::NAN, |at| match is_induction {
                    true => record.weights[at].share,
                    false => record.weights[at].weight.into(),
                })
            }),
            pen,
            marks: marks(records.len()),
        };
        places.iter().zip(&pens).map(curve).collect()
    };
    let (layers, heads) = (config.num_hidden_layers, config.num_attention_heads);
    let all: Vec<Vec<Curve>> = (0..layers * heads)
        .map(|at| of_head(at / heads, at % heads))
        .collect();
    let y = match is_induction {
        true => "share of BOS",
        false => "weight",
    };
    let together: Vec<Curve> = all.iter().flatten().cloned().collect();
    let (x, y) = fit(&together, (Fit::Decades, STEP), (Fit::Weights, y));
    let x = steps(training, x);
    let panels = all.into_iter().enumerate().map(|(at, curves)| Panel {
        title: format!("layer {}, head {}", at / heads, at % heads),
        legend: Vec::new(),
        x: x.clone(),
        y: y.clone(),
        size: SMALL,
        content: Content::Curves(curves),
    });
    let title = match is_induction {
        true => format!("Attention to BOS, sample {sample}"),
        false => format!("Attention of CLS, sample {sample} of label {label}"),
    };
    let lines = match is_induction {
        true => "A line is a query, from the first after BOS (dark) to the last (light)",
        false => "A line is a key; the black one is CLS itself",
    };
    let legend = places.iter().zip(&pens);
    let sheet = Panels {
        name,
        header: Header {
            title: format!("{title}, while training: {}", training.model()),
            note: training.note(&[lines.into(), start(records)]),
            legend: legend
                .map(|(&place, &pen)| entry(pen, &task.token(ids[place])))
                .collect(),
        },
        panels: panels.collect(),
        columns: heads.min(4),
        ruler,
    };
    sheet.draw()
}

/// The `at`-th line of a plot.
fn pen(at: usize) -> Pen {
    Pen {
        colour: of_model(at),
        width: WIDTH,
        opacity: 1.0,
        dash: Dash::of_round(at / PALETTE),
    }
}

fn marks(points: usize) -> Marks {
    match points > MARKED {
        true => Marks::None,
        false => Marks::Discs,
    }
}

fn entry(pen: Pen, label: &str) -> Entry {
    Entry {
        key: Key::Line(pen),
        label: label.into(),
    }
}

fn over_steps(records: &[Record], of: impl Fn(&Record) -> f64) -> Vec<(f64, f64)> {
    let points = records.iter();
    points
        .map(|record| (record.step as f64, of(record)))
        .collect()
}

/// The axis of steps: `logarithmic`, or from the start to where the run was to end.
fn steps(training: &Training<'_>, logarithmic: Axis) -> Axis {
    let last = training.settings.steps();
    match are_logarithmic(&training.trained.track.records) {
        true => logarithmic,
        false => Axis::around(0.0, last as f64, last.clamp(1, 5), STEP),
    }
}

fn are_logarithmic(records: &[Record]) -> bool {
    let first = records.iter().find(|record| record.step > 0);
    let last = records.last();
    first
        .zip(last)
        .is_some_and(|(first, last)| first.step.saturating_mul(EARLY) <= last.step)
}

/// What is not seen on a logarithmic axis.
fn start(records: &[Record]) -> String {
    match are_logarithmic(records) {
        true => "The start, step 0, has no place on a logarithmic axis".into(),
        false => String::new(),
    }
}
