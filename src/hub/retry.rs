//! When to try again, and how long to wait before.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::error::Error;

/// Exponential backoff with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts that may fail in a row, after the first one. A download that gets further starts counting anew.
    pub retries: u32,
    /// The same before the first answer, while no connection can be opened at all: a machine without a network
    /// is told so within seconds, and one that loses it in the middle of a download has time to get it back.
    pub retries_before_contact: u32,
    /// Wait before the first retry; it doubles with each further one.
    pub base: Duration,
    /// Longest wait that the doubling leads to.
    pub longest: Duration,
    /// Longest wait that a server may ask for with `Retry-After`.
    pub longest_asked: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            retries: 6,
            retries_before_contact: 2,
            base: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            longest_asked: Duration::from_secs(120),
        }
    }
}

impl RetryPolicy {
    /// The wait before retry number `attempt` (0 is the first): between half and the whole of
    /// `base · 2^attempt`, and not less than what the server asked for.
    fn delay(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        let whole = self
            .base
            .saturating_mul(2u32.saturating_pow(attempt))
            .min(self.longest);
        // Jitter keeps many clients from coming back at the same moment. It needs to differ, not to be
        // random: std's per-process hash keys do.
        let fraction = (RandomState::new().hash_one(attempt) >> 40) as f64 / (1u64 << 24) as f64;
        let delay = whole.mul_f64(0.5 + 0.5 * fraction);
        delay.max(asked.unwrap_or_default().min(self.longest_asked))
    }
}

/// The remedy of a download that a cache may stand in for.
pub(super) const OR_OFFLINE: &str =
    "check the connection, or use what the cache holds with --offline";

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Trying again is pointless.
    Final(Error),
    /// Trying again may help: the server was busy or broken, or the connection was cut.
    Transient {
        message: String,
        /// What the server asked for with `Retry-After`.
        after: Option<Duration>,
        /// Whether there was a connection at all.
        connected: bool,
    },
}

impl Failure {
    pub(super) fn transient(message: impl Into<String>) -> Failure {
        Failure::Transient {
            message: message.into(),
            after: None,
            connected: true,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Final(error)
    }
}

/// Counts the failures in a row of one piece of work.
pub(super) struct Retries<'a> {
    policy: &'a RetryPolicy,
    what: &'a str,
    /// What a person can do once all attempts have failed.
    remedy: &'static str,
    failed: u32,
    /// Whether the server is known to be there.
    contact: bool,
}

impl<'a> Retries<'a> {
    /// `what` is named in messages: the repository, and the file if there is one. `contact` says whether the
    /// server has answered before.
    pub(super) fn new(
        policy: &'a RetryPolicy,
        what: &'a str,
        contact: bool,
        remedy: &'static str,
    ) -> Self {
        Retries {
            policy,
            what,
            remedy,
            failed: 0,
            contact,
        }
    }

    /// The work got further than ever before: earlier failures no longer count.
    pub(super) fn progress(&mut self) {
        self.failed = 0;
    }

    /// How long to wait before the next attempt, or the error if there is to be none.
    pub(super) fn next(&mut self, failure: Failure) -> Result<Duration, Error> {
        let (message, after, connected) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Transient {
                message,
                after,
                connected,
            } => (message, after, connected),
        };
        self.contact |= connected;
        let retries = match self.contact {
            true => self.policy.retries,
            false => self.policy.retries.min(self.policy.retries_before_contact),
        };
        if self.failed >= retries {
            let attempts = self.failed + 1;
            return Err(Error::Network {
                what: self.what.to_owned(),
                message: format!(
                    "{message} (gave up after {attempts} attempts in a row); {}",
                    self.remedy
                ),
            });
        }
        let delay = self.policy.delay(self.failed, after);
        self.failed += 1;
        tracing::warn!(
            "{}: {message}; trying again in {:.1} s",
            self.what,
            delay.as_secs_f64()
        );
        Ok(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_with_jitter_below() {
        let policy = RetryPolicy {
            retries: 3,
            retries_before_contact: 1,
            base: Duration::from_secs(1),
            longest: Duration::from_secs(5),
            longest_asked: Duration::from_secs(60),
        };
        for (attempt, whole) in [(0, 1.0), (1, 2.0), (2, 4.0), (3, 5.0), (40, 5.0)] {
            let delay = policy.delay(attempt, None).as_secs_f64();
            assert!(
                (whole / 2.0..=whole).contains(&delay),
                "attempt {attempt}: {delay}"
            );
        }
        assert_eq!(
            policy.delay(0, Some(Duration::from_secs(7))),
            Duration::from_secs(7)
        );
        assert_eq!(
            policy.delay(0, Some(Duration::from_secs(3600))),
            Duration::from_secs(60)
        );
    }

    #[test]
    fn gives_up_after_failures_in_a_row_only() {
        let policy = RetryPolicy {
            retries: 2,
            base: Duration::ZERO,
            ..RetryPolicy::default()
        };
        let mut retries = Retries::new(&policy, "model a/b", true, OR_OFFLINE);
        let failure = || Failure::transient("cut");
        assert!(retries.next(failure()).is_ok());
        assert!(retries.next(failure()).is_ok());
        retries.progress();
        assert!(retries.next(failure()).is_ok());
        assert!(retries.next(failure()).is_ok());
        let error = retries.next(failure()).unwrap_err();
        assert_eq!(error.exit_code(), 4);
        assert!(
            error.to_string().contains("model a/b") && error.to_string().contains("3 attempts"),
            "{error}"
        );
    }

    #[test]
    fn a_server_that_never_answered_is_given_up_sooner() {
        let policy = RetryPolicy {
            base: Duration::ZERO,
            ..RetryPolicy::default()
        };
        let attempts = |contact: bool, connected: bool| {
            let mut retries = Retries::new(&policy, "x", contact, OR_OFFLINE);
            let failure = || Failure::Transient {
                message: "cut".into(),
                after: None,
                connected,
            };
            1 + (0..)
                .take_while(|_| retries.next(failure()).is_ok())
                .count()
        };
        assert_eq!(attempts(false, false), 3);
        assert_eq!(attempts(false, true), 7);
        assert_eq!(attempts(true, false), 7);
    }

    #[test]
    fn a_final_failure_is_never_retried() {
        let policy = RetryPolicy::default();
        let mut retries = Retries::new(&policy, "x", true, OR_OFFLINE);
        assert!(
            retries
                .next(Failure::Final(Error::Usage("no".into())))
                .is_err()
        );
    }
}
