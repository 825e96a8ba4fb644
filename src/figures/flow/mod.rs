//! Figures of followed value-softmax models: what the paper shows of its Section 3.
//!
//! Everything is drawn as it was recorded, but for the projections Vᵀβ and the lengths of columns, which follow from
//! the recorded values, orders by size, largest entries, and medians over seeds.

use super::sheet::{self, Header};
use super::text::Ruler;
use super::{Figure, panels::Panels};
use crate::Result;
use crate::flow::trajectory::Followed;
use group::Group;
use member::{Member, Order};

mod group;
mod lines;
mod member;
mod views;
mod words;

/// Panels side by side.
const COLUMNS: usize = 3;

/// The name of the figure that [`draw_flow`] makes of the runs of an experiment.
pub fn flow_figure_name(experiment: &str) -> String {
    format!("flow-{experiment}")
}

/// Draws followed runs, a figure for each experiment among them, in the order in which these come.
///
/// Runs that differ in their seeds only are replicas: all are drawn as thin lines and, from three on, their medians as
/// thick ones. Runs that diverged are drawn up to their last record, marked with a cross, and named; axes are as long
/// as the other runs need. Time axes are logarithmic, so that the start, t = 0, has no place on them: the figure says
/// so. Runs with several rows of scores have their weights drawn as a map, each row's largest weight over time.
///
/// # Errors
/// [`crate::Error::Figure`] if a trajectory's lists contradict each other.
pub fn draw_flow(runs: &[Followed]) -> Result<Vec<Figure>> {
    let ruler = sheet::ruler()?;
    let mut experiments: Vec<&str> = Vec::new();
    for followed in runs {
        if !experiments.contains(&followed.run.experiment) {
            experiments.push(followed.run.experiment);
        }
    }
    let figures = experiments.into_iter().map(|experiment| {
        let runs = runs.iter().filter(|f| f.run.experiment == experiment);
        draw_experiment(experiment, &runs.collect::<Vec<_>>(), &ruler)
    });
    figures.collect()
}

fn draw_experiment(experiment: &str, runs: &[&Followed], ruler: &Ruler) -> Result<Figure> {
    let name = flow_figure_name(experiment);
    let order = match experiment {
        // What is normalised is not the scores, or the largest score need not have the largest weight.
        "tied" | "square" | "normalizations" => Order::Weights,
        _ => Order::Scores,
    };
    let members = runs.iter().map(|run| Member::of(run, order, &name));
    let groups = Group::all(members.collect::<Result<Vec<_>>>()?);
    let has_rows = groups.iter().any(|group| group.rows() > 1) || experiment == "rows";
    let view = match experiment {
        _ if has_rows => views::rows(&groups, ruler),
        "conditioning" => views::conditioning(&groups),
        "tied" => views::tied(&groups),
        "square" | "normalizations" => views::normalizations(&groups),
        "kl" => views::simplest(&groups),
        _ => views::whole(&groups),
    };
    let legend = match has_rows {
        true => words::ended_early(&groups),
        false => words::legend(&groups, order),
    };
    let sheet = Panels {
        name,
        header: Header {
            title: words::title(experiment, has_rows),
            note: words::note(&groups, (!has_rows).then_some(order)),
            legend,
        },
        panels: view,
        columns: COLUMNS,
        ruler,
    };
    sheet.draw()
}
