//! Problems that are impossible, and runs that leave the finite numbers.

use attnscope::Error;
use attnscope::flow::{
    dormand_prince::Tolerances,
    experiments::{CONDITIONING, Experiment, Family, KL, LOGISTIC, Run, SQUARE, TIED},
    follow::{Backend, Integrator, Records, Settings, follow},
    model::{Form, Model, Parameters},
    objective::Objective,
    problem::{Dimensions, Problem},
    sigma::Sigma,
    trajectory::Followed,
};

fn assert_refused<T>(result: attnscope::Result<T>, field: &str, part: &str) {
    let error = result.err().expect("must be refused");
    let message = error.to_string();
    println!("{message}");
    assert!(
        matches!(&error, Error::Flow { field: found, .. } if *found == field)
            && message.contains(part),
        "{message}"
    );
    assert_eq!(error.exit_code(), 2);
}

fn square(target: &[f64]) -> Objective {
    Objective::Square {
        target: target.to_vec(),
    }
}

fn model(objective: Objective, form: Form, positions: usize) -> attnscope::Result<Model> {
    Model::new(objective, Sigma::SOFTMAX, form, positions)
}

#[test]
fn models_that_contradict_themselves() {
    assert_refused(model(square(&[]), Form::Free, 2), "target", "no entries");
    assert_refused(model(square(&[1.0]), Form::Free, 0), "scores", "none");
    assert_refused(
        model(square(&[1.0, 2.0]), Form::Tied, 3),
        "form",
        "not 3 and 2",
    );
    assert_refused(
        model(square(&[1.0, f64::NAN]), Form::Free, 2),
        "target",
        "entry 1 is NaN",
    );
    let regression = |design: &[f64]| Objective::Regression {
        design: design.to_vec(),
        target: vec![1.0, 2.0],
    };
    assert_refused(
        model(regression(&[1.0, 2.0, 3.0]), Form::Free, 2),
        "design",
        "3 entries do not make 2 rows",
    );
    assert_refused(model(regression(&[]), Form::Free, 2), "design", "0 entries");
    for target in [[0.5, 0.6], [1.5, -0.5]] {
        let target = target.to_vec();
        assert_refused(
            model(Objective::CrossEntropy { target }, Form::Free, 2),
            "target",
            "no distribution",
        );
    }
}

#[test]
fn starts_of_other_shapes() {
    let problem = |values: &[f64], scores: &[f64]| {
        let (values, scores) = (values.to_vec(), scores.to_vec());
        Problem::new(
            model(square(&[1.0, 2.0]), Form::Free, 3)?,
            Parameters { values, scores },
        )
    };
    problem(&[0.0; 6], &[0.0; 3]).unwrap();
    assert_refused(problem(&[0.0; 6], &[0.0; 2]), "scores", "2 entries");
    assert_refused(problem(&[0.0; 5], &[0.0; 3]), "values", "need 2 × 3");
    let infinite = [0.0, f64::INFINITY, 0.0];
    assert_refused(problem(&[0.0; 6], &infinite), "scores", "entry 1 is inf");
}

#[test]
fn draws_that_cannot_be() {
    for number in [0.5, -1.0, f64::NAN, f64::INFINITY] {
        let family = Family::Regression {
            samples: 20,
            condition_numbers: &[1.0, number],
        };
        let runs = Experiment {
            family,
            ..CONDITIONING
        }
        .runs();
        assert_refused(runs, "condition number", "at least 1");
    }
    let family = Family::Regression {
        samples: 0,
        condition_numbers: &[1.0],
    };
    let runs = Experiment {
        family,
        ..CONDITIONING
    }
    .runs();
    assert_refused(runs, "samples", "at least one");
    for (predictions, positions) in [(0, 3), (3, 0), (1 << 40, 1 << 40)] {
        let dimensions = &[Dimensions {
            predictions,
            positions,
        }];
        for experiment in [LOGISTIC, SQUARE, KL, TIED] {
            let runs = Experiment {
                dimensions,
                ..experiment
            }
            .runs();
            assert_refused(runs, "dimensions", "cannot be drawn");
        }
    }
    let dimensions = &[Dimensions {
        predictions: 3,
        positions: 4,
    }];
    assert_refused(Experiment { dimensions, ..TIED }.runs(), "form", "4 and 3");
    let value_scale = f64::INFINITY;
    let runs = Experiment {
        value_scale,
        ..LOGISTIC
    }
    .runs();
    assert_refused(runs, "values", "finite");
}

/// Gradient descent of one run.
fn descend(run: Run, at: &[u64]) -> attnscope::Result<Followed> {
    let settings = Settings {
        backend: Backend::Fused,
        integrator: Integrator::Descent,
        records: Records::At(at.to_vec()),
        keep_values: false,
    };
    Ok(follow(vec![run], &settings, |_| ())?.remove(0))
}

#[test]
fn rates_and_records_that_make_no_sense() {
    let run = LOGISTIC.runs().unwrap().remove(0);
    for rate in [0.0, -0.1, f64::NAN, f64::INFINITY] {
        let run = Run {
            rate,
            ..run.clone()
        };
        assert_refused(descend(run, &[1]), "rate", "above 0");
    }
    assert_refused(descend(run.clone(), &[3, 2]), "records", "ascend");
    assert_refused(descend(run.clone(), &[3, 3]), "records", "ascend");
    for (relative, absolute) in [(0.0, 1e-9), (2.0, 1e-9), (1e-9, 0.0), (f64::NAN, 1e-9)] {
        let settings = Settings {
            backend: Backend::Fused,
            integrator: Integrator::Flow(Tolerances {
                relative,
                absolute,
                ..Tolerances::default()
            }),
            records: Records::Logarithmic(3),
            keep_values: false,
        };
        let followed = follow(vec![run.clone()], &settings, |_| ());
        assert_refused(followed, "tolerances", "between 1e-14 and 1");
    }
}

#[test]
fn the_tied_flow_cannot_pass_a_kink() {
    let runs = Experiment {
        sigmas: &[Sigma::L1],
        ..TIED
    }
    .runs()
    .unwrap();
    let settings = Settings {
        backend: Backend::Fused,
        integrator: Integrator::Flow(Tolerances::default()),
        records: Records::Logarithmic(3),
        keep_values: false,
    };
    assert_refused(follow(runs, &settings, |_| ()), "sigma", "kink of l1");
}

#[test]
fn names_of_sigma() {
    for sigma in Sigma::ALL {
        assert_eq!(sigma.name().parse::<Sigma>().unwrap(), sigma);
    }
    assert_eq!("exp".parse::<Sigma>().unwrap(), Sigma::SOFTMAX);
    assert_refused("cosine".parse::<Sigma>(), "sigma", "softplus");
}

/// ½v² at rate 3: every update multiplies v by −2, exactly. After k updates the loss is ½·4^k and the gradient of
/// the weight 4^k; no float64 holds 4^512.
#[test]
fn divergence_says_where_and_keeps_the_records() {
    let start = Parameters {
        values: vec![1.0],
        scores: vec![0.0],
    };
    let problem = Problem::new(model(square(&[0.0]), Form::Free, 1).unwrap(), start).unwrap();
    let run = Run {
        problem,
        rate: 3.0,
        ..LOGISTIC.runs().unwrap().remove(0)
    };
    let followed = descend(run.clone(), &[0, 1, 2, 511, 2000]).unwrap();
    let error = followed.failure.unwrap();
    println!("{error}");
    assert_eq!(followed.trajectory.updates, [0, 1, 2, 511]);
    assert_eq!(followed.trajectory.losses[..3], [0.5, 2.0, 8.0]);
    assert!(
        error.to_string().contains(
            "score is NaN after 513 updates at rate 3; kept: 4 records, the last at t = 1533"
        ),
        "{error}"
    );
    assert_eq!(error.exit_code(), 1);
    assert!(
        matches!(
            error,
            Error::Diverged {
                quantity: "score",
                recorded: 4,
                last_recorded: Some(1533.0),
                ..
            }
        ),
        "{error:?}"
    );

    let error = descend(run, &[512]).unwrap().failure.unwrap();
    println!("{error}");
    assert!(
        error
            .to_string()
            .contains("loss is inf after 512 updates at rate 3; nothing was recorded"),
        "{error}"
    );
}

/// Beside a run that diverges, another one goes on as if it were alone.
#[test]
fn a_run_that_diverges_takes_no_other_with_it() {
    let alone = SQUARE.runs().unwrap().remove(3);
    let wild = Run {
        rate: 50.0,
        ..alone.clone()
    };
    let settings = Settings {
        backend: Backend::Fused,
        integrator: Integrator::Descent,
        records: Records::Logarithmic(20),
        keep_values: true,
    };
    let both = vec![wild, alone.clone()];
    let beside = follow(both, &settings, |_| ()).unwrap();
    let expected = follow(vec![alone], &settings, |_| ()).unwrap().remove(0);
    assert!(beside[0].failure.is_some());
    assert!(beside[1].failure.is_none());
    assert_eq!(beside[1].trajectory, expected.trajectory);
}
