//! The paper's statements about the flow, held against a trajectory.
//!
//! Section 3 and Appendices B to D of "Gradient Flow Polarizes Softmax Outputs towards Low-Entropy Solutions" (arXiv
//! 2603.06248) state what gradient flow does to scores, projections `u = Vᵀβ`, weights and loss. [`check`] reads a
//! recorded trajectory and says of each statement whether its assumptions are met, what was measured, against which
//! bound, and where it fails first. It uses nothing of the program that made the trajectory but the closed forms
//! of loss and gradient.
//!
//! | file | statements |
//! |---|---|
//! | `order` | 3.2 order, potential, repulsion, extremes; D.4 no crossing |
//! | `limits` | 3.3 one-hot and strength, B.1: what happens as t → ∞ under the logistic loss |
//! | `square` | 3.5 rank one, C.1 finite integral |
//! | `conserved` | D.1: the sum of the scores, the values orthogonal to β |
//! | `decrease` | D.2: the loss falls, as fast as it must and as fast as the gradient says |
//!
//! # Bounds
//!
//! The statements hold for the exact flow. What is recorded differs from it by rounding (of every update, and of what
//! is computed here), and for [`Integrator::Flow`] by the tolerated error per step; both are added up in the worst
//! case, over the updates between two records or since the start (`records`). A gap or an increment that is smaller
//! than that is not judged, and what is meant to be 0 is not where the errors reach the size of what they are of. Gradient descent is off by O(η) besides. That is not part of the bounds: it may show
//! as a violation, which is then called a [discretisation effect](Verdict::Violated), if the loss falls as the
//! gradients say (D.2 rate, for which η is taken into account to first order) and what is conserved at any rate is,
//! so that nothing else is wrong.
//!
//! # Limits
//!
//! That something converges, or diverges, no finite run proves. What is held against the records is how
//! the last decade of t continues the one before, once one weight dominates: what grows like log t grows as much,
//! what levels off grows less.

mod activation;
mod assumptions;
mod conserved;
mod decrease;
mod limits;
mod order;
mod problems;
mod records;
mod square;
mod watch;

pub use problems::{EXACT, SQUARE_FROM_ZERO};

use super::follow::Integrator;
use super::trajectory::Followed;
use crate::Result;
use records::Records;

/// What the paper says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Statement {
    /// Theorem 3.2: u and a keep the order in which they start.
    Order,
    /// Theorem 3.2: `(h(a_i) − h(a_j)) (u_i − u_j)` grows for every pair; h = ∫ da / f′(a).
    Potential,
    /// Theorem 3.2: the gaps of u and those of h(a) grow.
    Repulsion,
    /// After Theorem 3.2: the largest score rises, the smallest falls.
    Extremes,
    /// Theorem 3.3: σ → e_1 and L → 0.
    OneHot,
    /// Theorem 3.3: S(t) = ∫ ‖∂L/∂θ‖ dτ diverges, like log t.
    Strength,
    /// Lemma B.1: u_i stays bounded for i > 1.
    Bounded,
    /// Lemma B.1: V approaches rank one.
    RankOneLimit,
    /// Lemma 3.5: V = β vᵀ under the square loss from V(0) = 0.
    RankOne,
    /// Appendix C.1: under the square loss S(t) converges, and σ stays short of one-hot.
    FiniteIntegral,
    /// Lemma D.1: Σ a_i is constant under the softmax.
    ScoreSum,
    /// Lemma D.1: the part of V orthogonal to β is constant under the logistic loss.
    OrthogonalValues,
    /// Lemma D.2: dL/dt ≤ −‖σ‖² ‖g‖² ≤ −‖g‖² / d.
    DecreaseBound,
    /// Lemma D.2: the loss never grows.
    Decrease,
    /// Lemma D.2: dL/dt = −‖∂L/∂V‖² − ‖∂L/∂a‖².
    Rate,
    /// Lemma D.4: no crossing for every increasing f.
    NoCrossing,
}

impl Statement {
    /// All of them, in the order of [`check`].
    pub const ALL: [Statement; 16] = [
        Statement::Order,
        Statement::Potential,
        Statement::Repulsion,
        Statement::Extremes,
        Statement::OneHot,
        Statement::Strength,
        Statement::Bounded,
        Statement::RankOneLimit,
        Statement::RankOne,
        Statement::FiniteIntegral,
        Statement::ScoreSum,
        Statement::OrthogonalValues,
        Statement::DecreaseBound,
        Statement::Decrease,
        Statement::Rate,
        Statement::NoCrossing,
    ];

    /// Its number in the paper and a word or two, as in tables.
    pub fn name(self) -> &'static str {
        match self {
            Statement::Order => "3.2 order",
            Statement::Potential => "3.2 potential",
            Statement::Repulsion => "3.2 repulsion",
            Statement::Extremes => "3.2 extremes",
            Statement::OneHot => "3.3 one-hot",
            Statement::Strength => "3.3 strength",
            Statement::Bounded => "B.1 bounded",
            Statement::RankOneLimit => "B.1 rank one",
            Statement::RankOne => "3.5 rank one",
            Statement::FiniteIntegral => "C.1 finite integral",
            Statement::ScoreSum => "D.1 scores",
            Statement::OrthogonalValues => "D.1 values",
            Statement::DecreaseBound => "D.2 bound",
            Statement::Decrease => "D.2 decrease",
            Statement::Rate => "D.2 rate",
            Statement::NoCrossing => "D.4 no crossing",
        }
    }

    /// Whether it holds for gradient descent as it does for the flow: because it is linear in the updates, or about one
    /// point, or takes η into account.
    pub fn holds_at_any_rate(self) -> bool {
        matches!(
            self,
            Statement::RankOne
                | Statement::ScoreSum
                | Statement::OrthogonalValues
                | Statement::DecreaseBound
                | Statement::Rate
        )
    }

    /// What it says, in a line.
    pub fn description(self) -> &'static str {
        match self {
            Statement::Order => "scores and projections keep their order",
            Statement::Potential => "(h(a_i) − h(a_j)) (u_i − u_j) grows for every pair",
            Statement::Repulsion => "the gaps of projections and of h(a) grow",
            Statement::Extremes => "the largest score rises, the smallest falls",
            Statement::OneHot => "one weight takes everything, and the loss vanishes",
            Statement::Strength => "the integral of the gradient's length diverges, like log t",
            Statement::Bounded => "all projections but the largest stay bounded",
            Statement::RankOneLimit => "the values approach rank one",
            Statement::RankOne => "the values keep rank one under the square loss from V = 0",
            Statement::FiniteIntegral => {
                "under the square loss the integral of the gradient's length converges, short of one-hot"
            }
            Statement::ScoreSum => "the sum of the scores is constant under the softmax",
            Statement::OrthogonalValues => "values orthogonal to the target do not move",
            Statement::DecreaseBound => "dL/dt ≤ −‖σ‖² ‖g‖² ≤ −‖g‖² / d",
            Statement::Decrease => "the loss never grows",
            Statement::Rate => "the loss falls as fast as the squared length of its gradient",
            Statement::NoCrossing => "no crossing for every increasing f",
        }
    }
}

/// A measured number, and where.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// The number.
    pub value: f64,
    /// What it is held against.
    pub bound: f64,
    /// t of the record.
    pub time: f64,
    /// Updates before the record.
    pub updates: u64,
}

/// What becomes of a statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Nothing recorded contradicts it.
    Holds,
    /// A record contradicts it.
    Violated {
        /// t of the first such record.
        time: f64,
        /// Updates before it.
        updates: u64,
        /// By how much it misses there, in units of what was measured.
        size: f64,
        /// The trajectory is one of gradient descent, its loss falls as its gradients say (D.2 rate holds), and what
        /// holds [at any rate](Statement::holds_at_any_rate) does: the flow is left because η is not 0, for no other
        /// reason. False where that was not shown.
        discretisation: bool,
    },
    /// It says nothing about this run, or the records say nothing about it.
    NotApplicable {
        /// Why, in a sentence.
        reason: String,
    },
}

/// What was found about one part of a statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What the paper says.
    pub statement: Statement,
    /// What was measured.
    pub quantity: String,
    /// The measurement nearest to its bound, or farthest beyond. None where nothing was measured.
    pub worst: Option<Measured>,
    /// What follows.
    pub verdict: Verdict,
}

impl Finding {
    fn not_applicable(statement: Statement, quantity: &str, reason: String) -> Finding {
        Finding {
            statement,
            quantity: quantity.to_owned(),
            worst: None,
            verdict: Verdict::NotApplicable { reason },
        }
    }

    /// Whether a record contradicts the statement.
    pub fn is_violated(&self) -> bool {
        matches!(self.verdict, Verdict::Violated { .. })
    }
}

/// Holds all statements against a trajectory: at least one finding for each, in the order of [`Statement::ALL`].
///
/// Fails if the trajectory is not one of its run's problem: columns of other lengths, numbers that are not
/// finite, times that do not ascend; if it was recorded without values; or if the tolerances of `integrator`, which must
/// be what followed the run, are not numbers ≥ 0.
pub fn check(followed: &Followed, integrator: Integrator) -> Result<Vec<Finding>> {
    let records = Records::new(followed, integrator)?;
    let mut findings = Vec::new();
    findings.extend(order::theorem(&records));
    findings.extend(limits::check(&records));
    findings.extend(square::check(&records));
    findings.extend(conserved::check(&records));
    findings.extend(decrease::check(&records)?);
    findings.extend(order::lemma(&records));

    let rate_holds = findings
        .iter()
        .any(|finding| finding.statement == Statement::Rate && finding.verdict == Verdict::Holds);
    let slopes_are_wrong = findings
        .iter()
        .any(|finding| finding.statement.holds_at_any_rate() && finding.is_violated());
    let explained = integrator == Integrator::Descent && rate_holds && !slopes_are_wrong;
    for finding in &mut findings {
        if let Verdict::Violated { discretisation, .. } = &mut finding.verdict {
            *discretisation = explained;
        }
    }
    Ok(findings)
}
