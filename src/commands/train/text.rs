//! What is printed of a trained model.

use serde_json::{Value, json};

use crate::store::train::TrackedSample;
use crate::train::{
    Settings,
    metrics::{Evaluation, Heads, LEARNED_ACCURACY},
    run::Trained,
};

/// One object; what is not a number is null. `files` are those that were written.
pub fn to_json(settings: &Settings, trained: &Trained, files: &[String]) -> Value {
    let value_norms = trained
        .track
        .records
        .iter()
        .map(|record| json!({ "step": record.step, "layers": record.value_norms }));
    let evaluation = trained.evaluation.as_ref();
    let heads = match evaluation.map(|evaluation| &evaluation.heads) {
        Some(Heads::Induction(heads)) => {
            let heads = heads.iter().map(|head| {
                let mut json = json!(head);
                json["is_sink"] = json!(head.is_sink());
                json
            });
            heads.collect()
        }
        Some(Heads::Classification(heads)) => json!(heads),
        None => json!([]),
    };
    json!({
        "task": settings.task.name(),
        "attention_type": settings.config.attention_function.name(),
        "seed": settings.seed,
        "state": trained.state,
        "accuracy": evaluation.map(|evaluation| evaluation.score.accuracy),
        "loss": evaluation.map(|evaluation| evaluation.score.loss),
        "has_learned": evaluation.map(Evaluation::has_learned),
        "flip_rate": evaluation.and_then(Evaluation::max_flip_rate),
        "heads": heads,
        "epochs": trained.epochs,
        "tracked": TrackedSample::of(&settings.task, trained),
        "value_norms": value_norms.collect::<Vec<_>>(),
        "files": files,
    })
}

/// A line about the run, and a table of its heads.
pub fn to_text(settings: &Settings, trained: &Trained) -> String {
    let kind = settings.config.attention_function.name();
    let (name, seed) = (settings.task.name(), settings.seed);
    let Some(evaluation) = &trained.evaluation else {
        let steps = trained.epochs.last().map_or(0, |epoch| epoch.steps);
        return format!("{name}, {kind}, seed {seed}: diverged after step {steps}\n");
    };
    let score = evaluation.score;
    let mut text = format!(
        "{name}, {kind}, seed {seed}: accuracy {:.4}, loss {:.4}\n",
        score.accuracy, score.loss
    );
    if settings.config.attention_function.has_signed_weights() {
        text += &format!(
            "`{kind}` gives weights that may be negative. They have no shares of a total: what is below is what the paper's \
             program computes, and a scan refuses such a model.\n"
        );
    }
    match &evaluation.heads {
        Heads::Induction(heads) => {
            text += "layer  head  sink score  of means\n";
            for h in heads {
                let sink = if h.is_sink() == Some(true) {
                    "  sink"
                } else {
                    ""
                };
                text += &format!(
                    "{:>5}  {:>4}  {:>10.4}  {:>8.4}{sink}\n",
                    h.layer, h.head, h.sink_score, h.sink_score_of_means
                );
            }
            if !evaluation.has_learned() {
                text += &format!(
                    "The accuracy is below {LEARNED_ACCURACY}: the task was not learned, and the paper leaves such runs \
                     out.\n"
                );
            }
        }
        Heads::Classification(heads) => {
            text += "layer  head  sparsity score  flip rate\n";
            for h in heads {
                text += &format!(
                    "{:>5}  {:>4}  {:>14.4}  {:>9.4}\n",
                    h.layer, h.head, h.sparsity_score, h.flip_rate
                );
            }
            if let Some(most) = evaluation.max_flip_rate() {
                text += &format!("Largest flip rate: {most:.4}\n");
            }
        }
    }
    text
}
