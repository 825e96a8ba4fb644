//! Problems that are impossible, and runs that leave the finite numbers.

use attnscope::Error;
use attnscope::flow::{
    descent::{Descent, Trajectory},
    experiments::{CONDITIONING, Experiment, Family, KL, LOGISTIC, SQUARE, TIED},
    model::{Form, Model, Parameters},
    normalization::Normalization,
    objective::Objective,
    problem::{Dimensions, Problem},
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
    Model::new(objective, Normalization::Softmax, form, positions)
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

#[test]
fn rates_and_records_that_make_no_sense() {
    let problem = &LOGISTIC.runs().unwrap()[0].problem;
    for rate in [0.0, -0.1, f64::NAN, f64::INFINITY] {
        assert_refused(Descent::new(problem, rate), "rate", "above 0");
    }
    let mut descent = Descent::new(problem, 0.1).unwrap();
    assert_refused(descent.run(&[3, 2], |_| ()), "updates to record", "ascend");
    assert_refused(descent.run(&[3, 3], |_| ()), "updates to record", "ascend");
    descent.run(&[5], |_| ()).unwrap();
    assert_refused(descent.run(&[4], |_| ()), "updates to record", "from 5");
    assert_eq!(descent.updates(), 5);
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
    let mut trajectory = Trajectory::default();
    let error = Descent::new(&problem, 3.0)
        .unwrap()
        .run(&[0, 1, 2, 511, 2000], |snapshot| trajectory.push(snapshot))
        .unwrap_err();
    println!("{error}");
    assert_eq!(trajectory.updates, [0, 1, 2, 511]);
    assert_eq!(trajectory.losses[..3], [0.5, 2.0, 8.0]);
    assert!(
        error.to_string().contains(
            "score is NaN after 513 updates at rate 3; kept: 4 records, the last after 511"
        ),
        "{error}"
    );
    assert_eq!(error.exit_code(), 1);
    assert!(
        matches!(
            error,
            Error::Diverged {
                updates: 513,
                quantity: "score",
                recorded: 4,
                last_recorded: Some(511),
                ..
            }
        ),
        "{error:?}"
    );

    let error = Descent::new(&problem, 3.0)
        .unwrap()
        .run(&[512], |_| ())
        .unwrap_err();
    println!("{error}");
    assert!(
        error
            .to_string()
            .contains("loss is inf after 512 updates at rate 3; nothing was recorded"),
        "{error}"
    );
}
