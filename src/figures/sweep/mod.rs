//! Figures of sweeps: what attention functions do, normalised beside unnormalised, as in Figures 4 and 6 of arXiv
//! 2603.06248 and their appendix versions. All of it follows from `runs.parquet`.

mod bars;
mod runs;

use self::bars::{Bars, Plot};
use self::runs::{Run, Runs};
use super::Figure;
use super::sheet;
use crate::Result;
use crate::store::sweep::{Cell, SweepTable};
use crate::train::metrics::LEARNED_ACCURACY;
use crate::train::sweep::Key;

/// A key with more values is not drawn value by value.
const MOST_PLOTS: usize = 12;

/// The figures of a sweep.
#[derive(Debug, Clone)]
pub struct SweepFigures {
    /// The main ones first.
    pub figures: Vec<Figure>,
    /// What a reader should know.
    pub remarks: Vec<String>,
}

/// A number of each run.
#[derive(Clone, Copy)]
struct Measure {
    /// In the figure's file name.
    file: &'static str,
    column: &'static str,
    title: &'static str,
    axis: &'static str,
    /// Whether runs that have not learned the task are left out, as the paper does.
    needs_learned: bool,
    /// Whether runs are left out whose weights may be negative.
    needs_shares: bool,
}

const SINKS: Measure = Measure {
    file: "sweep-sink-heads",
    column: "sink_share_last_layer",
    title: "Sink heads in the last layer",
    axis: "share of sink heads in the last layer",
    needs_learned: true,
    needs_shares: false,
};
const FLIPS: Measure = Measure {
    file: "sweep-flip-rate",
    column: "max_flip_rate",
    title: "Flip rate",
    axis: "flip rate, the largest of all heads",
    needs_learned: false,
    needs_shares: false,
};
const SPARSITY: Measure = Measure {
    file: "sweep-sparsity",
    column: "sparsity_score",
    title: "Sparsity of the row of CLS",
    axis: "sparsity score, mean of all heads",
    needs_learned: false,
    needs_shares: true,
};
const ACCURACY: &str = "sweep-accuracy";
/// Keys whose values are drawn together.
const TOGETHER: [&str; 2] = ["num_layers", "num_heads"];

/// Draws the runs of a `runs.parquet`:
/// - of induction `sweep-sink-heads` (Figure 4: the share of sink heads in the last layer, of runs that have learned the
///   task), of classification `sweep-flip-rate` (Figure 6) and `sweep-sparsity`;
/// - each of these again for every value of every key that has several, as `…-by-<key>`, and of classification by layers
///   and heads together;
/// - `sweep-accuracy`.
///
/// Functions whose weights may be negative are not in `sweep-sparsity`: their largest weight is no share of the row.
///
/// A bar is the mean over runs, and what stands on it one standard error. Without a run that counts there is no figure.
///
/// # Errors
/// [`crate::Error::Parquet`] for a table of something else.
pub fn draw_sweep(table: &SweepTable) -> Result<SweepFigures> {
    let mut drawn = SweepFigures {
        figures: Vec::new(),
        remarks: Vec::new(),
    };
    let runs = Runs::of(table)?;
    if runs.runs.is_empty() {
        return Ok(drawn);
    }
    let measures: &[Measure] = match table.column("task")?.first() {
        Some(Cell::Word(task)) if task == "induction" => &[SINKS],
        _ => &[FLIPS, SPARSITY],
    };
    let ruler = sheet::ruler()?;
    let mut later = Vec::new();
    for measure in measures {
        let values = table.numbers(measure.column)?;
        let value = |run: &Run| {
            let is_left_out = measure.needs_learned && !run.has_learned
                || measure.needs_shares && run.has_signed_weights;
            values[run.row].filter(|_| !is_left_out)
        };
        let figure = |name: String, title: String, plots: Vec<Plot>| {
            Bars {
                name,
                title,
                axis: measure.axis,
                note: note(&runs, measure),
                plots,
            }
            .draw(&ruler)
        };
        let one = Plot::of(String::new(), runs.runs.iter(), &value);
        if one.counted() == 0 {
            drawn.remarks.push(format!(
                "there is no figure of {}: no run counts",
                measure.axis
            ));
            continue;
        }
        let title = format!("{} by attention function", measure.title);
        drawn
            .figures
            .push(figure(measure.file.into(), title, vec![one])?);
        let mut splits: Vec<Vec<&str>> = runs.varied.iter().map(|key| vec![key.as_str()]).collect();
        if (TOGETHER.iter()).all(|key| runs.varied.iter().any(|k| k == key)) {
            splits.insert(0, TOGETHER.to_vec());
        }
        for keys in splits {
            let groups = runs.groups(&keys);
            if groups.len() > MOST_PLOTS {
                drawn.remarks.push(format!(
                    "{} has {} values and is not drawn value by value",
                    keys.join(" × "),
                    groups.len()
                ));
                continue;
            }
            let plots = groups
                .into_iter()
                .map(|(label, members)| Plot::of(label, members.into_iter(), &value));
            let title = format!("{} by {}", measure.title, keys.join(" and "));
            let name = split_name(measure.file, &keys);
            later.push(figure(name, title, plots.collect())?);
        }
    }
    drawn.figures.push(accuracy(&runs, table)?.draw(&ruler)?);
    drawn.figures.extend(later);
    Ok(drawn)
}

fn split_name(file: &str, keys: &[&str]) -> String {
    format!("{file}-by-{}", keys.join("-"))
}

/// Whether [`draw_sweep`] gives figures this name, for one table or another.
pub fn is_sweep_figure(name: &str) -> bool {
    if name == ACCURACY {
        return true;
    }
    let mut files = [SINKS, FLIPS, SPARSITY].into_iter().map(|one| one.file);
    files.any(|file| {
        let mut keys = Key::ALL.into_iter();
        name == file
            || name == split_name(file, &TOGETHER)
            || keys.any(|key| name == split_name(file, &[key.name()]))
    })
}

fn accuracy(runs: &Runs, table: &SweepTable) -> Result<Bars> {
    let values = table.numbers("accuracy")?;
    let mean = |run: &Run| values[run.row];
    let learned = |run: &Run| Some(f64::from(u8::from(run.has_learned)));
    Ok(Bars {
        name: ACCURACY.into(),
        title: "Accuracy by attention function".into(),
        axis: "share",
        note: format!("{}{}", bars::EXPLANATION, diverged(runs)),
        plots: vec![
            Plot::of(
                "mean accuracy of the runs that finished".into(),
                runs.runs.iter(),
                &mean,
            ),
            Plot::of(
                format!("all runs: share with an accuracy of {LEARNED_ACCURACY} or more"),
                runs.runs.iter(),
                &learned,
            ),
        ],
    })
}

fn note(runs: &Runs, measure: &Measure) -> String {
    let (all, finished) = (runs.runs.len(), runs.finished());
    let learned = runs.runs.iter().filter(|run| run.has_learned).count();
    let left_out = match measure.needs_learned {
        true => format!(
            ". Left out, as in the paper: {} of {all} runs with an accuracy below {LEARNED_ACCURACY}",
            finished - learned
        ),
        false => String::new(),
    };
    let is_signed = runs.runs.iter().any(|run| run.has_signed_weights);
    let signed = match measure.needs_shares && is_signed {
        true => {
            ". Left out: functions whose weights may be negative, as the largest is then no share of the row"
        }
        false => "",
    };
    let diverged = diverged(runs);
    format!("{}{left_out}{signed}{diverged}", bars::EXPLANATION)
}

fn diverged(runs: &Runs) -> String {
    match runs.runs.len() - runs.finished() {
        0 => String::new(),
        1 => ". 1 run diverged".into(),
        several => format!(". {several} runs diverged"),
    }
}
