use super::*;
use crate::flow::experiments::{ALL, CONDITIONING, KL, LOGISTIC, ROWS, SQUARE, TIED};

/// Without other choices these are the notebook's runs; replicas have the next seeds.
#[test]
fn the_notebook_is_the_default() {
    for experiment in ALL {
        assert_eq!(
            Choices::of(&experiment).runs().unwrap(),
            experiment.runs().unwrap(),
            "{}",
            experiment.name
        );
    }
    let choices = Choices {
        replicas: 3,
        dims: vec![4, 5],
        ..Choices::of(&CONDITIONING)
    };
    let runs = choices.runs().unwrap();
    assert_eq!(runs.len(), 3 * choices.problems());
    let of = |run: &Run| {
        let d = run.problem.model().positions();
        (d, run.condition_number.unwrap(), run.seed)
    };
    assert_eq!(of(&runs[0]), (4, 1.0, 123));
    assert_eq!(of(&runs[2]), (4, 1.0, 125));
    assert_eq!(of(&runs[3]), (4, 2.0, 123));
    assert_eq!(of(&runs[29]), (5, 5.0, 125));
    let alone = Experiment {
        seed: 125,
        dimensions: &[Dimensions::square(5)],
        family: Family::Regression {
            samples: 5,
            condition_numbers: &[5.0],
        },
        ..CONDITIONING
    };
    assert_eq!(runs[29..], alone.runs().unwrap());
}

#[test]
fn a_time_becomes_whole_updates() {
    let mut choices = Choices::of(&LOGISTIC);
    choices.end_at(1234.5).unwrap();
    assert_eq!((choices.steps, choices.rate), (12345, 0.1));
    choices.end_at(0.25).unwrap();
    assert_eq!(choices.steps, 3);
    assert!((choices.rate * 3.0 - 0.25).abs() < 1e-15);
    for time in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
        let error = choices.end_at(time).unwrap_err().to_string();
        assert!(error.starts_with("flow: time: is "), "{error}");
    }
}

#[test]
fn what_does_not_apply_is_refused_by_name() {
    let refused = |choices: Choices, says: &[&str]| {
        let error = choices.runs().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        for part in says {
            assert!(error.to_string().contains(part), "{error}");
        }
    };
    let of = Choices::of;
    let condition_numbers = Some(vec![2.0]);
    refused(
        Choices {
            condition_numbers: condition_numbers.clone(),
            ..of(&KL)
        },
        &["condition_number: does not apply to kl"],
    );
    refused(
        Choices {
            samples: Some(3),
            ..of(&ROWS)
        },
        &["samples: does not apply to rows"],
    );
    refused(
        Choices {
            rows: Some(3),
            ..of(&SQUARE)
        },
        &["rows: does not apply to square"],
    );
    refused(
        Choices {
            predictions: Some(3),
            ..of(&TIED)
        },
        &["predictions: does not apply to tied"],
    );
    refused(
        Choices {
            steps: 0,
            ..of(&KL)
        },
        &["steps: is 0"],
    );
    refused(
        Choices {
            replicas: 0,
            ..of(&KL)
        },
        &["replicas: is 0"],
    );
    refused(
        Choices {
            seed: u32::MAX,
            replicas: 2,
            ..of(&KL)
        },
        &["replicas: 2 from seed 4294967295", "smaller seed"],
    );
    refused(
        Choices {
            sigmas: vec![Sigma::L1, Sigma::L1],
            ..of(&KL)
        },
        &["sigma: l1 is there twice"],
    );
    refused(
        Choices {
            dims: vec![],
            ..of(&KL)
        },
        &["dim: there is none"],
    );
    for rate in [0.0, -0.1, f64::NAN] {
        refused(Choices { rate, ..of(&KL) }, &["rate: is "]);
    }
}

/// A design of n × p, and what is kept of every record.
#[test]
fn memory_grows_with_everything() {
    let few = Choices::of(&CONDITIONING);
    let base = few.memory(200, true);
    let more = Choices {
        replicas: 100,
        ..few.clone()
    };
    assert_eq!(more.memory(200, true), 100 * base);
    assert!(base > 200 * 5 * 8 * 2 * 400 && base < 20 << 20, "{base}");
    assert!(few.memory(200, false) < base);
    let huge = Choices {
        dims: vec![usize::MAX],
        ..few
    };
    assert_eq!(huge.memory(200, true), u64::MAX);
}
