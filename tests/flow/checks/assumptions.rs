//! What is not met is said, and the statement is not judged.

use attnscope::flow::{
    checks::{SQUARE_FROM_ZERO, Statement, Verdict},
    experiments::{
        CONDITIONING, Experiment, KL, LOGISTIC, NORMALIZATIONS, ROWS, Run, SQUARE, TIED,
    },
    model::{Form, Model, Parameters},
    objective::Objective,
    problem::{Dimensions, Problem},
    sigma::Sigma,
    trajectory::Trajectory,
};

use super::equations::{Slip, integrate};
use super::{RUNGE_KUTTA, checked, descend, followed};

/// Asserts that `statement` is said not to apply, in all its parts, because of `part`.
fn assert_inapplicable(run: &Run, trajectory: Trajectory, statement: Statement, part: &str) {
    let findings = checked(&followed(run, trajectory), RUNGE_KUTTA);
    for finding in findings
        .iter()
        .filter(|finding| finding.statement == statement)
    {
        match &finding.verdict {
            Verdict::NotApplicable { reason } => {
                println!("{}: {reason}", statement.name());
                assert!(reason.contains(part), "{reason}");
            }
            other => panic!("{}: {other:?}", statement.name()),
        }
    }
}

fn first(experiment: Experiment) -> Run {
    experiment.runs().unwrap().remove(0)
}

/// A problem of p = 2, from the given start.
fn run(objective: Objective, sigma: Sigma, values: &[f64], scores: &[f64]) -> Run {
    let model = Model::new(objective, sigma, Form::Free, scores.len()).unwrap();
    let start = Parameters {
        values: values.to_vec(),
        scores: scores.to_vec(),
    };
    Run {
        problem: Problem::new(model, start).unwrap(),
        ..first(LOGISTIC)
    }
}

fn logistic() -> Objective {
    Objective::Logistic {
        target: vec![1.0, 0.0],
    }
}

fn square() -> Objective {
    Objective::Square {
        target: vec![1.0, 0.0],
    }
}

const SOFTMAX: Sigma = Sigma::SOFTMAX;

#[test]
fn losses() {
    use Statement::*;
    for (experiment, loss) in [(CONDITIONING, "regression"), (KL, "kl")] {
        let run = first(experiment);
        let trajectory = || descend(&run, 0.001, 0.1).trajectory;
        let part = format!("not about {loss}");
        for statement in [
            Order,
            Potential,
            Repulsion,
            Extremes,
            OneHot,
            Strength,
            Bounded,
            RankOneLimit,
            RankOne,
            FiniteIntegral,
            OrthogonalValues,
            NoCrossing,
        ] {
            assert_inapplicable(&run, trajectory(), statement, &part);
        }
    }
    let run = first(SQUARE_FROM_ZERO);
    for statement in [OneHot, Strength, Bounded, RankOneLimit, OrthogonalValues] {
        let trajectory = integrate(&run, Slip::None, 1.0);
        assert_inapplicable(
            &run,
            trajectory,
            statement,
            "logistic loss, not about square",
        );
    }
    let run = first(LOGISTIC);
    for statement in [RankOne, FiniteIntegral] {
        let trajectory = integrate(&run, Slip::None, 1.0);
        assert_inapplicable(
            &run,
            trajectory,
            statement,
            "square loss, not about logistic",
        );
    }
}

#[test]
fn forms_and_normalisations() {
    use Statement::*;
    let run = first(TIED);
    for statement in [
        Order,
        Potential,
        Repulsion,
        Extremes,
        OneHot,
        Strength,
        Bounded,
        RankOneLimit,
        ScoreSum,
        OrthogonalValues,
        DecreaseBound,
        NoCrossing,
    ] {
        let trajectory = descend(&run, 0.05, 1.0).trajectory;
        assert_inapplicable(&run, trajectory, statement, "one matrix makes both");
    }
    for run in NORMALIZATIONS.runs().unwrap() {
        let name = run.problem.model().sigma().name();
        if name == "softmax" {
            continue;
        }
        let part = format!("about the softmax, not about {name}");
        for statement in [
            Order, Potential, Repulsion, Extremes, OneHot, Strength, ScoreSum,
        ] {
            assert_inapplicable(&run, integrate(&run, Slip::None, 1.0), statement, &part);
        }
        if name == "sigmoid" {
            let trajectory = integrate(&run, Slip::None, 1.0);
            assert_inapplicable(&run, trajectory, NoCrossing, "element by element");
        }
    }
}

#[test]
fn starts() {
    use Statement::*;
    // The notebook's square loss starts from random values.
    for run in SQUARE.runs().unwrap() {
        if run.problem.model().sigma() == SOFTMAX {
            for statement in [Order, Potential, Repulsion, Extremes, RankOne, NoCrossing] {
                let trajectory = integrate(&run, Slip::None, 1.0);
                assert_inapplicable(&run, trajectory, statement, "3.4 asks for V(0) = 0");
            }
        }
    }
    let values = [0.3, 0.2, 0.1, 0.0, 0.0, 0.0];
    let equal = [0.3, 0.2, 0.2, 0.0, 0.0, 0.0];
    let zero = [0.0; 6];
    for (run, statements, part) in [
        (
            run(logistic(), SOFTMAX, &values, &[0.0, 0.0, 1e-300]),
            &[
                Order,
                Potential,
                Repulsion,
                Extremes,
                OneHot,
                Strength,
                Bounded,
                RankOneLimit,
            ][..],
            "3.1 asks for a(0) = 0; score 2 starts at 1.000e-300",
        ),
        (
            run(logistic(), SOFTMAX, &equal, &[0.0; 3]),
            &[Order, OneHot],
            "3.1 asks for distinct projections u(0); entries 1 and 2",
        ),
        (
            run(square(), SOFTMAX, &zero, &[0.5, 0.1, 0.5]),
            &[Order, RankOne],
            "3.4 asks for distinct scores a(0); entries 0 and 2",
        ),
        (
            run(logistic(), SOFTMAX, &[0.3, 0.0], &[0.0]),
            &[Order, NoCrossing],
            "only one score",
        ),
        (
            run(logistic(), Sigma::L1, &values, &[1.0, -0.5, 0.3]),
            &[NoCrossing],
            "score 1 is -5.000e-1, where f does not increase",
        ),
        (
            run(logistic(), Sigma::SUM, &values, &[0.3, -0.5, 0.1]),
            &[NoCrossing],
            "the sum of f is -1.000e-1",
        ),
    ] {
        for &statement in statements {
            let trajectory = integrate(&run, Slip::None, 0.5);
            assert_inapplicable(&run, trajectory, statement, part);
        }
    }
    let zero_target = Objective::Logistic {
        target: vec![0.0, 0.0],
    };
    let run = run(zero_target, SOFTMAX, &values, &[0.0; 3]);
    let trajectory = integrate(&run, Slip::None, 0.5);
    assert_inapplicable(&run, trajectory, OrthogonalValues, "β is 0");
}

/// The statement is judged as far as f increases, and the quantity says how far that is.
#[test]
fn scores_that_leave_where_f_increases() {
    // The smallest score falls to 0, where |a| has its kink; at small projections all others fall, too.
    let run = run(
        logistic(),
        Sigma::L1,
        &[2.0, 1.0, -1.0, 0.0, 0.0, 0.0],
        &[0.3, 0.2, 0.1],
    );
    let trajectory = descend(&run, 0.001, 1.0).trajectory;
    assert!(trajectory.scores.iter().any(|&a| a < 0.0));
    let findings = checked(&followed(&run, trajectory), RUNGE_KUTTA);
    let crossing = findings
        .iter()
        .filter(|f| f.statement == Statement::NoCrossing);
    for finding in crossing {
        println!("{finding:?}");
        assert_eq!(finding.verdict, Verdict::Holds);
        assert!(finding.quantity.contains("where f stops increasing"));
        assert!(finding.worst.unwrap().time < 0.5);
    }
}

#[test]
fn runs_that_end_too_early() {
    use Statement::*;
    let run = first(LOGISTIC);
    let limits = [Strength, Bounded, RankOneLimit];
    for statement in limits {
        let trajectory = integrate(&run, Slip::None, 100.0);
        assert_inapplicable(&run, trajectory, statement, "it is 0.2");
        let trajectory = integrate(&run, Slip::None, 1e4);
        assert_inapplicable(&run, trajectory, statement, "which it does at t = ");
        // Only the ends of the last two decades.
        let whole = integrate(&run, Slip::None, 1e6);
        let last = whole.times.len() - 1;
        let trajectory = select(&run, &whole, |k| k < last / 2 || k == last);
        assert_inapplicable(&run, trajectory, statement, "limits need a record between");
        let trajectory = select(&run, &whole, |k| k == 0);
        assert_inapplicable(&run, trajectory, statement, "it is 0.125 at the end");
    }
    for statement in [
        Order, Potential, Repulsion, Extremes, Decrease, Rate, NoCrossing,
    ] {
        let whole = integrate(&run, Slip::None, 1.0);
        let trajectory = select(&run, &whole, |k| k == 0);
        let part = if statement == Rate {
            "near enough"
        } else {
            "too few records"
        };
        assert_inapplicable(&run, trajectory, statement, part);
    }
    let run = first(SQUARE_FROM_ZERO);
    let findings = checked(
        &followed(&run, integrate(&run, Slip::None, 1.0)),
        RUNGE_KUTTA,
    );
    let short = findings
        .iter()
        .find(|f| f.quantity.contains("weights beside"))
        .unwrap();
    println!("{short:?}");
    assert!(
        matches!(&short.verdict, Verdict::NotApplicable { reason } if reason.contains("may still move"))
    );
    // Of a trajectory without records nothing can be said.
    for finding in checked(&followed(&run, Trajectory::default()), RUNGE_KUTTA) {
        assert!(
            matches!(finding.verdict, Verdict::NotApplicable { .. }),
            "{finding:?}"
        );
    }
}

/// What lies within the error of the integrator is not judged.
#[test]
fn gaps_below_the_error_are_not_judged() {
    let values = [1e-12, 0.0, 0.0, 0.0];
    let run = run(logistic(), SOFTMAX, &values, &[0.0; 2]);
    assert_inapplicable(
        &run,
        integrate(&run, Slip::None, 1.0),
        Statement::Order,
        "smaller than its error",
    );
}

/// Rows that start apart push the same values about: what is said of one row is not said of them.
#[test]
fn rows_that_differ() {
    use Statement::*;
    let run = first(Experiment {
        score_scale: 0.1,
        ..ROWS
    });
    for statement in [NoCrossing, Order] {
        let trajectory = descend(&run, 0.1, 1.0).trajectory;
        let part = match statement {
            Order => "3.1 asks for a(0) = 0",
            _ => "row 1 differs from row 0",
        };
        assert_inapplicable(&run, trajectory, statement, part);
    }
}

/// `Dimensions` of one prediction make every V rank one.
#[test]
fn one_prediction() {
    let dimensions = &[Dimensions {
        predictions: 1,
        positions: 4,
    }];
    let run = first(Experiment {
        dimensions,
        ..LOGISTIC
    });
    let trajectory = integrate(&run, Slip::None, 1e6);
    assert_inapplicable(
        &run,
        trajectory,
        Statement::RankOneLimit,
        "every V rank one",
    );
}

/// The records that `keep` wants.
fn select(run: &Run, whole: &Trajectory, keep: impl Fn(usize) -> bool) -> Trajectory {
    let model = run.problem.model();
    let (p, d) = (model.predictions(), model.positions());
    let mut selected = Trajectory::default();
    for k in (0..whole.times.len()).filter(|&k| keep(k)) {
        selected.updates.push(whole.updates[k]);
        selected.times.push(whole.times[k]);
        selected.losses.push(whole.losses[k]);
        selected.strengths.push(whole.strengths[k]);
        selected.scores.extend(&whole.scores[k * d..][..d]);
        selected.weights.extend(&whole.weights[k * d..][..d]);
        selected
            .predictions
            .extend(&whole.predictions[k * p..][..p]);
        selected.values.extend(&whole.values[k * p * d..][..p * d]);
    }
    selected
}
