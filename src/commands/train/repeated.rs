//! The command that repeats a run.

use crate::train::{Configuration, sweep::Key};

/// `attnscope train …` with every choice in it; `track_every` as [`Tracking::every`](crate::train::Tracking::every) counts.
pub fn repeated(configuration: &Configuration, track_every: usize, device: &str) -> String {
    let flags = Key::ALL.into_iter().filter_map(|key| {
        let value = key.of(configuration)?;
        Some(format!(" --{} {value}", key.name().replace('_', "-")))
    });
    format!(
        "attnscope train {}{} --device {device} --track-every {track_every}",
        configuration.task.name(),
        flags.collect::<String>()
    )
}
