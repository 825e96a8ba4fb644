//! Measurements as they come in, and the finding that they amount to.

use super::{Finding, Measured, Statement, Verdict};

/// Where a measurement was made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) time: f64,
    pub(super) updates: u64,
}

/// The worst of many measurements, and the first that violates its bound.
#[derive(Debug, Default)]
pub(super) struct Watch {
    worst: Option<(f64, Measured)>,
    /// Where, and by how much.
    violation: Option<(Place, f64)>,
    judged: bool,
}

impl Watch {
    /// `value` must not lie below `floor`; it is known up to `error`.
    pub(super) fn at_least(&mut self, place: Place, value: f64, floor: f64, error: f64) {
        self.see(place, value, floor - error, floor - value, error);
    }

    /// `value` must not lie above `ceiling`; it is known up to `error`.
    pub(super) fn at_most(&mut self, place: Place, value: f64, ceiling: f64, error: f64) {
        self.see(place, value, ceiling + error, value - ceiling, error);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.worst.is_none()
    }

    fn see(&mut self, place: Place, value: f64, bound: f64, excess: f64, error: f64) {
        // The smallest number there is keeps 0 / 0 away; an excess that is NaN counts as one without end.
        let severity = excess / error.max(f64::MIN_POSITIVE);
        let severity = if severity.is_nan() {
            f64::INFINITY
        } else {
            severity
        };
        if self.worst.is_none_or(|(worst, _)| severity > worst) {
            let Place { time, updates } = place;
            let measured = Measured {
                value,
                bound,
                time,
                updates,
            };
            self.worst = Some((severity, measured));
        }
        self.judged |= severity.abs() > 1.0;
        if severity > 1.0 && self.violation.is_none() {
            self.violation = Some((place, excess));
        }
    }

    /// What all measurements say. If none differs from its bound by more than its error, or there is none,
    /// nothing.
    pub(super) fn finding(self, statement: Statement, quantity: impl Into<String>) -> Finding {
        let verdict = match self.violation {
            Some((place, size)) => Verdict::Violated {
                time: place.time,
                updates: place.updates,
                size,
                discretisation: false,
            },
            None if self.worst.is_none() => Verdict::NotApplicable {
                reason: "there are too few records to measure it".to_owned(),
            },
            None if !self.judged => Verdict::NotApplicable {
                reason: "all that was measured is smaller than its error".to_owned(),
            },
            None => Verdict::Holds,
        };
        Finding {
            statement,
            quantity: quantity.into(),
            worst: self.worst.map(|(_, measured)| measured),
            verdict,
        }
    }

    /// As [`Self::finding`], for what is meant to be 0: staying within the error is all that can be asked.
    pub(super) fn finding_of_zero(
        mut self,
        statement: Statement,
        quantity: impl Into<String>,
    ) -> Finding {
        self.judged = true;
        self.finding(statement, quantity)
    }
}
