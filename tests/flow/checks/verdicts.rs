//! Right trajectories of which little can be said: of those nothing is said, neither that a statement holds nor that it
//! is violated.

use attnscope::flow::{
    checks::{Finding, SQUARE_FROM_ZERO, Statement, Verdict},
    dormand_prince::Tolerances,
    experiments::{Experiment, LOGISTIC, Run},
    follow::{Integrator, Records},
    problem::Dimensions,
};

use super::{FLOW, checked, descend, flow, followed_by, violations};

/// The logistic problem of d = p = `size`.
fn logistic(size: usize, seed: u32) -> Run {
    let experiment = Experiment {
        dimensions: &[Dimensions::square(size)],
        seed,
        ..LOGISTIC
    };
    experiment.runs().unwrap().remove(0)
}

fn rank_one(run: &Run, end: f64) -> Finding {
    let findings = checked(&flow(run, end), FLOW);
    let mut of = findings.into_iter();
    of.find(|finding| finding.statement == Statement::RankOneLimit)
        .unwrap()
}

/// The findings for the flow to t = 1e5, at a tolerance that is meant to be too large.
fn at_tolerance(experiment: Experiment<'_>, relative: f64) -> Vec<Finding> {
    let tolerances = Tolerances {
        relative,
        ..Tolerances::default()
    };
    let run = Run {
        rate: 0.1,
        steps: 1_000_000,
        ..experiment.runs().unwrap().remove(0)
    };
    let integrator = Integrator::Flow(tolerances);
    checked(
        &followed_by(run, integrator, Records::Logarithmic(200)),
        integrator,
    )
}

/// The reasons why parts of `statement` are not judged.
fn reasons(findings: &[Finding], statement: Statement) -> Vec<&str> {
    let of = findings
        .iter()
        .filter(|finding| finding.statement == statement);
    of.filter_map(|finding| match &finding.verdict {
        Verdict::NotApplicable { reason } => Some(&reason[..]),
        _ => None,
    })
    .collect()
}

/// Where u_1 does not exceed the rest of V yet, the ratio of the singular values may fall first, or pass through a pole.
#[test]
fn ratios_before_their_limit_are_not_judged() {
    let (mut early, mut holding) = (0, 0);
    for seed in 123..323 {
        let finding = rank_one(&logistic(2, seed), 1e5);
        match &finding.verdict {
            Verdict::Holds => holding += 1,
            Verdict::NotApplicable { reason } => {
                early += usize::from(reason.contains("not in its limit yet"));
            }
            Verdict::Violated { .. } => panic!("seed {seed}: {finding:?}"),
        }
    }
    println!("{holding} hold, {early} are not in their limit");
    assert!(holding > 20 && early > 20, "{holding}, {early}");
}

/// What is not judged at first holds later.
#[test]
fn values_approach_rank_one() {
    for (size, seed, end) in [
        (2, 8, 1e11),
        (2, 123, 1e8),
        (3, 123, 1e8),
        (4, 123, 1e8),
        (8, 123, 1e11),
    ] {
        let finding = rank_one(&logistic(size, seed), end);
        assert_eq!(finding.verdict, Verdict::Holds, "{size}: {finding:?}");
    }
    for (size, seed) in [(2, 8), (8, 123)] {
        let finding = rank_one(&logistic(size, seed), 1e5);
        let of = reasons(std::slice::from_ref(&finding), Statement::RankOneLimit);
        assert!(
            matches!(of[..], [reason] if reason.contains("not in its limit yet")),
            "{finding:?}"
        );
    }
}

#[test]
fn growth_within_its_error_contradicts_nothing() {
    let findings = at_tolerance(LOGISTIC, 1e-3);
    assert_eq!(violations(&findings), [""; 0]);
    for statement in [Statement::OneHot, Statement::Strength] {
        let of = reasons(&findings, statement);
        assert!(
            of.iter().any(|reason| reason.contains("its error")),
            "{}: {of:?}",
            statement.name()
        );
    }
}

#[test]
fn errors_as_large_as_what_is_measured_confirm_nothing() {
    use Statement::*;
    let cases: [(Experiment, &[(Statement, usize)]); 2] = [
        (
            LOGISTIC,
            &[(RankOneLimit, 1), (ScoreSum, 1), (OrthogonalValues, 1)],
        ),
        (SQUARE_FROM_ZERO, &[(RankOne, 2), (ScoreSum, 1)]),
    ];
    for (experiment, statements) in cases {
        let findings = at_tolerance(experiment, 0.5);
        for &(statement, parts) in statements {
            let of = reasons(&findings, statement);
            let name = statement.name();
            assert_eq!(of.len(), parts, "{name}: {findings:?}");
            assert!(
                of.iter().all(|reason| reason.contains("its error is")),
                "{name}: {of:?}"
            );
        }
    }
}

/// Scores of 1e298, whose errors are more than a float64 holds.
#[test]
fn bounds_that_are_not_finite_are_not_held_against() {
    let run = LOGISTIC.runs().unwrap().remove(0);
    let findings = checked(&descend(&run, 1e300, 2e301), Integrator::Descent);
    assert_eq!(violations(&findings), [""; 0]);
    let of = reasons(&findings, Statement::ScoreSum);
    assert!(
        matches!(of[..], [reason] if reason.contains("error is inf")),
        "{of:?}"
    );
    for measured in findings.iter().filter_map(|finding| finding.worst) {
        assert!(measured.bound.is_finite(), "{measured:?}");
    }
}
