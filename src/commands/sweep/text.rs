//! What is printed of a sweep.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::{
    layers::attention::AttentionKind,
    store::sweep::{EndState, RunRecord},
    train::sweep::{Grid, Outcome, Plan, TaskName},
};

/// The runs of the selection that ended, with one attention function.
struct Group<'a> {
    kind: AttentionKind,
    runs: Vec<&'a RunRecord>,
}

fn groups<'a>(grid: &Grid, outcome: &'a Outcome) -> Vec<Group<'a>> {
    let selected = outcome.plan.runs.iter();
    let runs: Vec<&RunRecord> = selected
        .filter_map(|(run, _)| outcome.published.records.get(run))
        .collect();
    let kind = |run: &RunRecord| grid.configuration(run.index).attention_type;
    let groups = AttentionKind::ALL.into_iter().map(|one| Group {
        kind: one,
        runs: runs
            .iter()
            .copied()
            .filter(|run| kind(run) == one)
            .collect(),
    });
    groups.filter(|group| !group.runs.is_empty()).collect()
}

impl Group<'_> {
    fn diverged(&self) -> usize {
        let runs = self.runs.iter();
        runs.filter(|run| run.state == EndState::Diverged).count()
    }

    fn learned(&self) -> impl Iterator<Item = &RunRecord> {
        let runs = self.runs.iter().copied();
        runs.filter(|run| run.has_learned == Some(true))
    }

    fn accuracy(&self) -> Option<f64> {
        mean(self.runs.iter().filter_map(|run| run.accuracy))
    }

    /// Of runs that have learned, the mean share of sinks in the last layer.
    fn sink_share(&self) -> Option<f64> {
        mean(self.learned().filter_map(RunRecord::sink_share_last_layer))
    }

    fn flip_rate(&self) -> Option<f64> {
        mean(self.runs.iter().filter_map(|run| run.max_flip_rate()))
    }

    /// `None` where weights may be negative, so that the largest is no share.
    fn sparsity(&self) -> Option<f64> {
        if self.kind.has_signed_weights() {
            return None;
        }
        mean(self.runs.iter().filter_map(|run| run.sparsity_score()))
    }
}

/// `None` without numbers.
fn mean(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = numbers.fold((0.0, 0), |(sum, count), x| (sum + x, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

fn number(number: Option<f64>) -> String {
    number.map_or("–".into(), |number| format!("{number:.4}"))
}

/// One object.
pub fn to_json(grid: &Grid, outcome: &Outcome, files: &[String]) -> Value {
    let groups = groups(grid, outcome);
    let ended: usize = groups.iter().map(|group| group.runs.len()).sum();
    let diverged: usize = groups.iter().map(Group::diverged).sum();
    let kinds = groups.iter().map(|group| {
        let mut told = json!({
            "attention_type": group.kind.name(),
            "runs": group.runs.len(),
            "diverged": group.diverged(),
            "learned": group.learned().count(),
            "accuracy": group.accuracy(),
        });
        match grid.task() {
            TaskName::Induction => told["sink_share_last_layer"] = json!(group.sink_share()),
            TaskName::Classification => {
                told["sparsity_score"] = json!(group.sparsity());
                told["max_flip_rate"] = json!(group.flip_rate());
            }
        }
        told
    });
    json!({
        "task": grid.task(),
        "grid_runs": grid.runs(),
        "runs": outcome.plan.runs.len(),
        "finished": ended - diverged,
        "diverged": diverged,
        "left": outcome.plan.runs.len() - ended,
        "trained": outcome.trained,
        "attention_types": kinds.collect::<Vec<_>>(),
        "files": files,
    })
}

/// A table by attention function.
pub fn to_text(grid: &Grid, outcome: &Outcome) -> String {
    let groups = groups(grid, outcome);
    let ended: usize = groups.iter().map(|group| group.runs.len()).sum();
    let mut text = format!(
        "{}: {ended} of {} runs done, {} of them now\n",
        grid.task().name(),
        outcome.plan.runs.len(),
        outcome.trained
    );
    text += "attention_type         runs  diverged  learned  accuracy";
    text += match grid.task() {
        TaskName::Induction => "  sink heads\n",
        TaskName::Classification => "  sparsity  flip rate\n",
    };
    for group in &groups {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "{:<21}  {:>4}  {:>8}  {:>7}  {:>8}",
            group.kind.name(),
            group.runs.len(),
            group.diverged(),
            group.learned().count(),
            number(group.accuracy())
        );
        let _ = match grid.task() {
            TaskName::Induction => writeln!(text, "  {:>10}", number(group.sink_share())),
            TaskName::Classification => writeln!(
                text,
                "  {:>8}  {:>9}",
                number(group.sparsity()),
                number(group.flip_rate())
            ),
        };
    }
    text
}

fn state(ended: Option<EndState>) -> &'static str {
    ended.map_or("left", EndState::name)
}

/// All runs of a plan, in one object.
pub fn plan_to_json(grid: &Grid, plan: &Plan) -> Value {
    let runs = plan.runs.iter().map(|(run, ended)| {
        json!({
            "index": run,
            "state": state(*ended),
            "configuration": grid.identity(*run),
        })
    });
    json!({
        "task": grid.task(),
        "grid_runs": grid.runs(),
        "done": plan.done(),
        "left": plan.left(),
        "runs": runs.collect::<Vec<_>>(),
    })
}

/// A line for each run of a plan.
pub fn plan_to_text(grid: &Grid, plan: &Plan) -> String {
    let mut text = String::new();
    for (run, ended) in &plan.runs {
        text += &format!(
            "{run:>5}  {:<8}  {}\n",
            state(*ended),
            grid.distinguish(*run)
        );
    }
    let (all, done) = (plan.runs.len(), plan.done());
    text + &format!(
        "{}: {all} of {} runs, {done} done, {} left\n",
        grid.task().name(),
        grid.runs(),
        all - done
    )
}
