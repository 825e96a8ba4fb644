//! The paper's statements, held against trajectories that are right, and against trajectories that are not.

mod assumptions;
mod crafted;
mod equations;
mod verdicts;

use std::collections::BTreeSet;

use attnscope::flow::{
    checks::{EXACT, Finding, SQUARE_FROM_ZERO, Statement, Verdict, check},
    dormand_prince::Tolerances,
    experiments::{
        ALL, CONDITIONING, Experiment, Family, KL, LOGISTIC, NORMALIZATIONS, ROWS, Run, SQUARE,
        TIED,
    },
    follow::{Backend, Integrator, Records, Settings, follow},
    model::Form,
    problem::Dimensions,
    sigma::Sigma,
    trajectory::{Effort, Followed, Trajectory},
};
use equations::{SLIPS, Slip, TOLERANCE, integrate};

/// What `equations` tolerates of a step.
const RUNGE_KUTTA: Integrator = Integrator::Flow(Tolerances {
    relative: TOLERANCE,
    absolute: TOLERANCE,
    most_steps: u64::MAX,
});

/// The notebook's problems and those that meet assumptions exactly, of losses that are integrated here; more
/// predictions than scores and fewer.
fn problems() -> Vec<Run> {
    let dimensions = &[
        Dimensions {
            predictions: 5,
            positions: 8,
        },
        Dimensions {
            predictions: 7,
            positions: 3,
        },
    ];
    let seeds = |experiment: Experiment<'static>| {
        [0, 1].map(|seed| Experiment {
            seed,
            dimensions,
            ..experiment
        })
    };
    let experiments = [LOGISTIC, SQUARE_FROM_ZERO, SQUARE, NORMALIZATIONS];
    let others = [LOGISTIC, SQUARE_FROM_ZERO].into_iter().flat_map(seeds);
    let runs = experiments.into_iter().chain(others);
    let runs = runs.flat_map(|experiment| experiment.runs().unwrap());
    // The square loss of weights that are all near 1 is too stiff for the explicit steps of `equations`.
    runs.filter(|run| name(run) != "square sigmoid").collect()
}

fn name(run: &Run) -> String {
    let model = run.problem.model();
    format!("{} {}", run.experiment, model.sigma())
}

/// How far a run is integrated: to its limit under the logistic loss and the softmax, before scores come to a kink
/// with normalisations that have one, and before the square loss has nothing left to fall.
fn end(run: &Run) -> f64 {
    match run.experiment {
        "logistic" => 1e6,
        "normalizations" => 100.0,
        _ => 60.0,
    }
}

fn followed(run: &Run, trajectory: Trajectory) -> Followed {
    Followed {
        run: run.clone(),
        trajectory,
        effort: Effort::default(),
        failure: None,
    }
}

/// Gradient descent at `rate` to t = `end`, with 50 records per decade of updates.
fn descend(run: &Run, rate: f64, end: f64) -> Followed {
    let last = (end / rate).ceil() as u64;
    let spaced = (0..).map(|k| 10f64.powf(f64::from(k) / 50.0) as u64);
    let mut at: BTreeSet<u64> = spaced.take_while(|&k| k < last).collect();
    at.extend([0, last]);
    let run = Run {
        rate,
        ..run.clone()
    };
    followed_by(
        run,
        Integrator::Descent,
        Records::At(at.into_iter().collect()),
    )
}

/// The flow to t = `end`, with about 50 records per decade of it from t = 1e-3 on.
fn flow(run: &Run, end: f64) -> Followed {
    let rate = 1e-3;
    let run = Run {
        rate,
        steps: (end / rate) as u64,
        ..run.clone()
    };
    let count = (50.0 * (end / rate).log10()).ceil() as usize;
    followed_by(run, FLOW, Records::Logarithmic(count))
}

const FLOW: Integrator = Integrator::Flow(Tolerances {
    relative: 1e-9,
    absolute: 1e-12,
    most_steps: 1_000_000,
});

fn followed_by(run: Run, integrator: Integrator, records: Records) -> Followed {
    let settings = Settings {
        backend: Backend::Fused,
        integrator,
        records,
        keep_values: true,
    };
    let followed = follow(vec![run], &settings, |_| ()).unwrap().remove(0);
    assert!(followed.failure.is_none(), "{:?}", followed.failure);
    followed
}

fn checked(followed: &Followed, integrator: Integrator) -> Vec<Finding> {
    let findings = check(followed, integrator).unwrap();
    let found: BTreeSet<Statement> = findings.iter().map(|finding| finding.statement).collect();
    assert_eq!(found, BTreeSet::from(Statement::ALL));
    findings
}

/// What is violated, in words.
fn violations(findings: &[Finding]) -> Vec<String> {
    let violated = findings.iter().filter(|finding| finding.is_violated());
    let line = |finding: &Finding| {
        let (statement, quantity) = (finding.statement.name(), &finding.quantity);
        format!("{statement}: {quantity}: {:?}", finding.worst)
    };
    violated.map(line).collect()
}

/// What was judged, and not found wanting.
fn holding(findings: &[Finding]) -> BTreeSet<Statement> {
    let holds = |statement: &Statement| {
        let mut of = findings
            .iter()
            .filter(|finding| finding.statement == *statement);
        of.all(|finding| finding.verdict == Verdict::Holds)
    };
    Statement::ALL.into_iter().filter(holds).collect()
}

/// The statements that a run of the flow has to satisfy, since it meets their assumptions. When the rank of V is in its
/// limit depends on V at the start: see `verdicts`.
fn expected(run: &Run) -> BTreeSet<Statement> {
    use Statement::*;
    let mut expected = BTreeSet::from([Decrease, Rate]);
    let (model, start) = (run.problem.model(), run.problem.start());
    let (is_softmax, is_normalized) = (
        model.sigma() == Sigma::SOFTMAX,
        model.sigma().function().is_normalized(),
    );
    let polarisation = [Order, Potential, Repulsion, Extremes];
    let is_free = model.form() != Form::Tied;
    let rows_are_alike = start
        .scores
        .chunks(model.positions())
        .all(|row| row == &start.scores[..model.positions()]);
    if is_free && is_normalized && rows_are_alike {
        expected.insert(DecreaseBound);
    }
    if is_free && is_softmax {
        expected.insert(ScoreSum);
    }
    match run.experiment {
        "logistic" | "rows" | "normalizations" => {
            expected.insert(OrthogonalValues);
            if is_normalized && rows_are_alike {
                expected.insert(NoCrossing);
            }
            if is_softmax && start.scores.iter().all(|&a| a == 0.0) {
                expected.extend(polarisation);
                // Eight rows pull the values along so fast that no weight dominates before t = 1e7.
                if model.rows() <= 2 {
                    expected.extend([OneHot, Strength, Bounded]);
                }
            }
        }
        "square-from-zero" => {
            if is_normalized {
                expected.insert(NoCrossing);
            }
            if is_softmax {
                expected.extend(polarisation);
                expected.extend([RankOne, FiniteIntegral]);
            }
        }
        "square" if is_softmax => {
            expected.insert(FiniteIntegral);
        }
        _ => {}
    }
    expected
}

#[test]
fn right_slopes_violate_nothing() {
    for run in problems() {
        let findings = checked(
            &followed(&run, integrate(&run, Slip::None, end(&run))),
            RUNGE_KUTTA,
        );
        assert_eq!(violations(&findings), [""; 0], "{}", name(&run));
        assert_eq!(holding(&findings), expected(&run), "{}", name(&run));
    }
}

/// The library's integrator, from the notebook's starts and those that meet assumptions exactly, with every σ.
#[test]
fn the_flow_violates_nothing() {
    let mut runs: Vec<Run> = ALL.iter().flat_map(|e| e.runs().unwrap()).collect();
    for experiment in [SQUARE_FROM_ZERO, NORMALIZATIONS, SQUARE] {
        let sigmas = &Sigma::ALL;
        runs.extend(
            Experiment {
                sigmas,
                ..experiment
            }
            .runs()
            .unwrap(),
        );
    }
    let family = Family::Rows(2);
    for experiment in [
        Experiment { family, ..ROWS },
        Experiment {
            score_scale: 0.1,
            ..ROWS
        },
    ] {
        runs.extend(experiment.runs().unwrap());
    }
    for run in runs
        .iter()
        .filter(|run| run.problem.model().positions() <= 20)
    {
        let end = match run.experiment {
            "logistic" => 1e8,
            "rows" if run.problem.model().rows() == 2 => 1e8,
            "rows" => 1e4,
            "normalizations" => 1e3,
            "kl" => 1e3,
            _ => 60.0,
        };
        let findings = checked(&flow(run, end), FLOW);
        assert_eq!(violations(&findings), [""; 0], "{}", name(run));
        let holding = holding(&findings);
        let missing: Vec<Statement> = expected(run).difference(&holding).copied().collect();
        let (name, count) = (name(run), holding.len());
        println!("{name}: {count} hold");
        assert!(missing.is_empty(), "{name}: {missing:?}");
    }
}

/// The notebook's rates are small enough for everything. The regressions and the tied form only fall.
#[test]
fn descent_at_the_rates_of_the_notebook_violates_nothing() {
    for experiment in [
        LOGISTIC,
        SQUARE_FROM_ZERO,
        SQUARE,
        NORMALIZATIONS,
        CONDITIONING,
        KL,
        TIED,
    ] {
        for run in experiment.runs().unwrap() {
            let end = match experiment.name {
                "logistic" => 1e5,
                "normalizations" => 2000.0,
                _ => 60.0,
            };
            if run.problem.model().positions() > 20 {
                continue;
            }
            let findings = checked(&descend(&run, run.rate, end), Integrator::Descent);
            assert_eq!(violations(&findings), [""; 0], "{}", name(&run));
            let mut holding = holding(&findings);
            holding.remove(&Statement::RankOneLimit);
            // The residual of the sigmoid's square loss vanishes within a few updates.
            if name(&run) != "square sigmoid" {
                assert!(holding.contains(&Statement::Rate), "{}", name(&run));
            }
            if ["logistic", "square-from-zero", "normalizations"].contains(&run.experiment) {
                assert_eq!(holding, expected(&run), "{}", name(&run));
            }
        }
    }
}

/// At a rate of 50 the first update is no small step, and the potential falls by O(η²); the loss still falls as the
/// gradients say, so that the step is what is to blame. At rates that small that the statement holds, it
/// holds.
#[test]
fn large_steps_are_called_discretisation() {
    let runs = NORMALIZATIONS.runs().unwrap();
    let run = runs
        .iter()
        .find(|run| name(run).contains("softmax"))
        .unwrap();
    let potential = |rate: f64| {
        let findings = checked(&descend(run, rate, 1e4), Integrator::Descent);
        let mut of = findings.into_iter();
        of.find(|finding| finding.statement == Statement::NoCrossing)
            .unwrap()
            .verdict
    };
    assert_eq!(potential(5.0), Verdict::Holds);
    match potential(50.0) {
        Verdict::Violated {
            time,
            updates,
            size,
            discretisation,
        } => {
            assert_eq!((time, updates, discretisation), (50.0, 1, true));
            assert!(size > 0.0, "{size}");
        }
        other => panic!("{other:?}"),
    }
}

/// Every slip shows, wherever it makes a difference; and that is somewhere.
#[test]
fn wrong_slopes_violate_something() {
    for slip in SLIPS {
        let mut different = 0;
        for run in problems() {
            let end = end(&run).min(50.0);
            let right = integrate(&run, Slip::None, end);
            let wrong = integrate(&run, slip, end);
            let pairs = right.scores.iter().zip(&wrong.scores);
            let pairs = pairs.chain(right.values.iter().zip(&wrong.values));
            let difference = pairs.map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
            if difference < 1e-6 {
                // The slip is none: J of the softmax is symmetric, the sigmoid's is diagonal.
                continue;
            }
            different += 1;
            let findings = checked(&followed(&run, wrong), RUNGE_KUTTA);
            let violations = violations(&findings);
            assert!(
                !violations.is_empty(),
                "{slip:?}, {}: moves by {difference:.1e} and is not noticed",
                name(&run)
            );
            let named: Vec<&str> = violations
                .iter()
                .map(|v| &v[..v.find(':').unwrap()])
                .collect();
            println!(
                "{slip:?}, {}, by {difference:.1e}: {}",
                name(&run),
                named.join(", ")
            );
        }
        assert!(different >= 3, "{slip:?}");
    }
}

/// The same for descent, whose steps of 0.1 hide what is smaller than their square: a slip is not called
/// a discretisation effect.
#[test]
fn wrong_slopes_of_descent_are_not_called_discretisation() {
    let mut flagged = 0;
    for slip in SLIPS {
        for run in [LOGISTIC, SQUARE_FROM_ZERO].map(|e| e.runs().unwrap().remove(0)) {
            let wrong = equations::descend(&run, slip, 0.1, 500);
            let right = equations::descend(&run, Slip::None, 0.1, 500);
            assert_eq!(
                violations(&checked(
                    &followed(&run, right.clone()),
                    Integrator::Descent
                )),
                [""; 0]
            );
            if wrong.scores == right.scores && wrong.values == right.values {
                continue;
            }
            let run = Run { rate: 0.1, ..run };
            for finding in checked(&followed(&run, wrong), Integrator::Descent) {
                if let Verdict::Violated { discretisation, .. } = finding.verdict {
                    assert!(!discretisation, "{slip:?}, {}: {finding:?}", name(&run));
                    flagged += 1;
                }
            }
        }
    }
    println!("{flagged} violations");
    assert!(flagged > 0);
}

/// The three that the library offers for this meet what they are meant to.
#[test]
fn exact_problems_meet_assumptions() {
    let applicable = |experiment: &Experiment| {
        let run = experiment.runs().unwrap().remove(0);
        let findings = checked(
            &followed(&run, integrate(&run, Slip::None, 1.0)),
            RUNGE_KUTTA,
        );
        findings
            .into_iter()
            .filter(|finding| finding.worst.is_some())
            .map(|finding| finding.statement)
            .collect::<BTreeSet<Statement>>()
    };
    let [logistic, square, normalizations] = EXACT.each_ref().map(applicable);
    assert!(logistic.contains(&Statement::Order) && logistic.contains(&Statement::NoCrossing));
    assert!(square.contains(&Statement::Order) && square.contains(&Statement::RankOne));
    assert!(normalizations.contains(&Statement::NoCrossing));
}
