//! Figures of a training run: how it went, what its heads do with a few samples and how they came to do it.

mod course;
mod maps;

use super::canvas::failed;
use super::{Figure, sheet};
use crate::{
    Result,
    train::{
        Settings,
        metrics::AttentionMap,
        run::{State, Trained},
    },
};

/// Samples whose maps, and whose tracked weights, are drawn; the paper's programs draw as many.
const SAMPLES: usize = 2;
/// More heads than this have no place on a sheet.
const MOST_HEADS: usize = 64;

/// What is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Training<'a> {
    /// What was trained, and how.
    pub settings: &'a Settings,
    /// What came of it.
    pub trained: &'a Trained,
    /// What the heads do with the first evaluation samples, sample by sample; the first two are drawn.
    pub maps: &'a [Vec<AttentionMap>],
}

/// The names of the figures that [`draw_training`] makes.
pub fn training_figure_names() -> Vec<String> {
    let mut names = vec!["epochs".to_owned(), "value-norms".to_owned()];
    for at in 0..SAMPLES {
        names.push(map_name(at));
        names.push(tracking_name(at));
    }
    names
}

fn map_name(sample: usize) -> String {
    format!("attention-sample-{sample}")
}

/// Of the tracked sample of this number, from 0.
fn tracking_name(at: usize) -> String {
    format!("tracking-{at}")
}

/// Draws `epochs` (losses and accuracy); of a run that was tracked `value-norms`, and for two samples
/// `tracking-0` and `-1`; and for two samples with maps `attention-sample-0` and `-1`, one colour scale for all their heads.
///
/// Each is drawn for itself: where one cannot be, with [`Error::Figure`](crate::Error::Figure) for example because
/// there are too many heads, the others can.
pub fn draw_training(training: &Training<'_>) -> Vec<Result<Figure>> {
    let ruler = match sheet::ruler() {
        Ok(ruler) => ruler,
        Err(error) => return vec![Err(error)],
    };
    let mut figures = vec![course::epochs(training, &ruler)];
    if !training.trained.track.records.is_empty() {
        figures.push(course::value_norms(training, &ruler));
        let samples = training.trained.track.samples.iter().take(SAMPLES);
        figures.extend(
            samples
                .enumerate()
                .map(|(at, &sample)| course::tracking(training, (at, sample), &ruler)),
        );
    }
    let maps = &training.maps[..training.maps.len().min(SAMPLES)];
    for (sample, of_sample) in maps.iter().enumerate() {
        figures.push(maps::draw(training, maps, (sample, of_sample), &ruler));
    }
    figures
}

impl Training<'_> {
    /// `induction, softmax, 2 layers × 4 heads, seed 0`.
    fn model(&self) -> String {
        let config = &self.settings.config;
        let task = self.settings.task.name();
        let counted = |count: usize, what: &str| super::words::counted(count, what);
        format!(
            "{task}, {}, {} × {}, seed\u{a0}{}",
            config.attention_function.name(),
            counted(config.num_hidden_layers, "layer"),
            counted(config.num_attention_heads, "head"),
            self.settings.seed
        )
    }

    /// What a reader has to know of how the run ended; empty if nothing.
    fn end(&self) -> String {
        let evaluation = self.trained.evaluation.as_ref();
        match (self.trained.state, evaluation) {
            (State::Diverged, _) => {
                let steps = self.trained.epochs.last().map_or(0, |epoch| epoch.steps);
                format!("Diverged after step {steps}")
            }
            (State::Finished, Some(evaluation)) if !evaluation.has_learned() => {
                let accuracy = evaluation.score.accuracy;
                format!("The task was not learned: the accuracy is {accuracy:.4}")
            }
            _ => String::new(),
        }
    }

    /// These sentences, without the empty ones.
    fn note(&self, sentences: &[String]) -> String {
        let end = self.end();
        let all = sentences.iter().chain([&end]);
        let told: Vec<&str> = all.map(String::as_str).filter(|s| !s.is_empty()).collect();
        told.join(". ")
    }

    /// Fails where there are too many heads for one sheet.
    fn check_heads(&self, name: &str) -> Result<()> {
        let config = &self.settings.config;
        let heads = config.num_hidden_layers * config.num_attention_heads;
        match heads > MOST_HEADS {
            false => Ok(()),
            true => Err(failed(
                name,
                format!(
                    "{heads} heads are too many for one figure, which has room for {MOST_HEADS}"
                ),
            )),
        }
    }
}
