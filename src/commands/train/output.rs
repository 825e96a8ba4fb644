//! The directory of a run: checkpoint, texts, tables, figures, and `run.json` last, so that its presence means that all is
//! there.

use std::{
    fs,
    path::Path,
    time::{Instant, SystemTime},
};

use super::super::{drawn::write_drawn, terminal};
use crate::{
    Error, Result,
    figures::{Format, Training, draw_training, refuse_occupied_names, training_figure_names},
    store::{
        RUN_JSON, rfc3339,
        train::{self as tables, TrainManifest},
        write_json,
    },
    train::{
        Settings, checkpoint,
        metrics::{AttentionMap, maps},
        run::Trained,
    },
};

/// Samples whose attention is drawn, from the first on.
const DRAWN: usize = 2;

/// Fails if `out` holds anything that a run of these settings would write.
///
/// # Errors
/// [`Error::OutDir`] with the file's name.
pub fn refuse_occupied(out: &Path) -> Result<()> {
    checkpoint::refuse_occupied(out)?;
    tables::refuse_occupied(out)?;
    let names = training_figure_names();
    refuse_occupied_names(out, names.iter().map(String::as_str), &Format::ALL)
}

/// Writes everything that there is of a run into the directory `out`, which must exist, and says which files these are.
/// A run that diverged has no checkpoint. `manifest` knows all but the files and the end.
///
/// What the disk refuses takes no model with it: one that was written whole stays, and is said. Without one nothing
/// stays, and in both cases the run can be resumed.
///
/// # Errors
/// What the disk refuses, and files that have come there meanwhile.
pub fn write(
    out: &Path,
    settings: &Settings,
    trained: &Trained,
    manifest: TrainManifest,
) -> Result<Vec<String>> {
    let written = write_all(out, settings, trained, manifest);
    if let Err(Error::Io { .. }) = written {
        if trained.evaluation.is_some() && checkpoint::is_whole(out) {
            terminal::say(&format!(
                "the model is in {}, whole; tables and figures are not all there",
                out.display()
            ));
        } else {
            remove(out);
        }
    }
    written
}

/// Removes the files of a run that could not be written to its end.
pub fn remove(out: &Path) {
    let formats = |name: String| Format::ALL.map(|format| format!("{name}.{}", format.extension()));
    let figures = training_figure_names().into_iter().flat_map(formats);
    let others = checkpoint::FILES.into_iter().chain([checkpoint::TEXTS]);
    let others = others.chain(tables::FILES).map(str::to_owned);
    for name in figures.chain(others) {
        // Most of them are not there.
        let _ = fs::remove_file(out.join(name));
    }
}

fn write_all(
    out: &Path,
    settings: &Settings,
    trained: &Trained,
    mut manifest: TrainManifest,
) -> Result<Vec<String>> {
    let began = Instant::now();
    let task = &settings.task;
    let mut files = Vec::new();
    let mut drawn_maps = Vec::new();
    if trained.evaluation.is_some() {
        drawn_maps = maps_of_first(trained)?;
        checkpoint::write(out, task, &trained.parameters)?;
        files.extend(checkpoint::FILES.map(str::to_owned));
    }
    checkpoint::write_texts(out, task, &trained.eval_samples)?;
    files.push(checkpoint::TEXTS.into());
    let written = tables::write_tables(out, task, trained, &manifest.provenance())?;
    files.extend(written.into_iter().map(str::to_owned));
    let figures = draw_training(&Training {
        settings,
        trained,
        maps: &drawn_maps,
    });
    for figure in figures {
        let figure = figure.map(|figure| vec![figure]);
        files.extend(write_drawn(out, figure, "the other files")?);
    }
    files.push(RUN_JSON.into());
    files.sort();
    manifest.files = files
        .iter()
        .filter(|name| *name != RUN_JSON)
        .cloned()
        .collect();
    manifest.seconds_writing = began.elapsed().as_secs_f64();
    manifest.finished_at = rfc3339(SystemTime::now());
    write_json(&out.join(RUN_JSON), &manifest)?;
    Ok(files)
}

fn maps_of_first(trained: &Trained) -> Result<Vec<Vec<AttentionMap>>> {
    let network = trained.parameters.frozen_network()?;
    let samples = trained.eval_samples.iter().take(DRAWN);
    samples.map(|sample| maps(&network, sample)).collect()
}
