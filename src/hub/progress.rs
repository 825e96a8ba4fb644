//! The progress bar of a download: bytes of all files together, rate, and the time that is left.

use indicatif::{ProgressBar, ProgressStyle};

const TEMPLATE: &str = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";

/// Draws on stderr if that is a terminal, and nothing otherwise.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new(shown: bool, repo: &str, total: u64) -> Self {
        if !shown {
            return Progress(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(total).with_message(repo.to_owned());
        match ProgressStyle::with_template(TEMPLATE) {
            Ok(style) => Progress(bar.with_style(style)),
            Err(_) => Progress(bar),
        }
    }

    /// Bytes have arrived.
    pub(super) fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Bytes were there already: they count, but not towards the rate.
    pub(super) fn resume(&self, bytes: u64) {
        self.0.inc(bytes);
        self.0.reset_eta();
    }

    /// A file's length on disk changed; it shrinks where a transfer has to start over.
    pub(super) fn moved(&self, from: u64, to: u64) {
        match to.checked_sub(from) {
            Some(more) => self.0.inc(more),
            None => self.0.dec(from - to),
        }
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_valid() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }

    #[test]
    fn the_position_follows_what_is_on_disk() {
        // Without a terminal nothing is drawn, but the bar counts.
        let progress = Progress::new(true, "org/name", 100);
        progress.resume(40);
        progress.moved(40, 70);
        progress.moved(70, 0);
        progress.moved(0, 100);
        assert_eq!(progress.0.position(), 100);
    }
}
