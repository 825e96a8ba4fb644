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
    /// Over all measurements; infinite where a bound is not finite.
    largest_error: f64,
    /// The first measurement whose bound is not finite.
    unbounded: Option<Place>,
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
        // An error that overflows leaves nothing to hold a measurement against.
        if !bound.is_finite() {
            self.unbounded = self.unbounded.or(Some(place));
            self.largest_error = f64::INFINITY;
            return;
        }
        self.largest_error = self.largest_error.max(error);
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
            None if self.worst.is_none() && self.unbounded.is_some() => Verdict::NotApplicable {
                reason: "no bound is finite: how far the records may be off is more than a float64 holds"
                    .to_owned(),
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

    /// As [`Self::finding`], for what is meant to be 0: staying within the error is all that can be asked. That
    /// says nothing once the error reaches `scale`, the size that the quantity would have if the statement were
    /// as wrong as it can be.
    pub(super) fn finding_of_zero(
        mut self,
        statement: Statement,
        quantity: impl Into<String>,
        scale: f64,
    ) -> Finding {
        self.judged = true;
        let error = self.largest_error;
        let is_vague = !self.is_empty() && self.violation.is_none() && (error >= scale);
        let mut finding = self.finding(statement, quantity);
        if is_vague {
            finding.verdict = Verdict::NotApplicable {
                reason: format!(
                    "its error is {error:.3e}; that of a run that does not satisfy it could be no more than about \
                     {scale:.3e}"
                ),
            };
        }
        finding
    }
}
