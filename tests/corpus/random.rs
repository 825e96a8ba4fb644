//! The generators against CPython and NumPy.

use std::path::Path;

use attnscope::corpus::indices_sha256;
use attnscope::random::{NumpyRandom, PythonRandom};
use serde_json::Value;

use super::{golden, json, numbers, oracle};

/// Numbers of a JSON file; those written as strings are read exactly, the others to the last bit but one.
fn floats(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(floats).collect(),
        Value::String(number) => vec![number.parse().unwrap()],
        number => vec![number.as_f64().unwrap()],
    }
}

/// The largest difference, relative to the expected value.
fn largest_difference(found: &[f64], expected: &Value) -> f64 {
    let expected = floats(expected);
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    pairs.map(|(a, b)| ((a - b) / b).abs()).fold(0.0, f64::max)
}

/// `read_error`: how far the numbers of the file may be from what was written.
fn check(cases: &Path, read_error: f64) {
    let cases = json(cases);
    for case in cases["random_sample"].as_array().unwrap() {
        let (population, k) = (case["population"].as_u64(), case["k"].as_u64());
        let (population, k) = (population.unwrap() as usize, k.unwrap() as usize);
        let mut random = PythonRandom::new(case["seed"].as_u64().unwrap());
        let sample = random.sample(population, k).unwrap();
        let what = format!("{population} {k} {}", case["seed"]);
        assert_eq!(sample.len(), k, "{what}");
        assert_eq!(sample[..k.min(10)], numbers(&case["first10"]), "{what}");
        if case["indices"].is_array() {
            assert_eq!(sample, numbers(&case["indices"]), "{what}");
        }
        assert_eq!(
            indices_sha256(&sample),
            case["sha256_of_comma_joined"].as_str().unwrap(),
            "{what}"
        );
    }
    let (mut uniform, mut normal) = (0f64, 0f64);
    for case in cases["random_random"].as_array().unwrap() {
        let mut random = PythonRandom::new(case["seed"].as_u64().unwrap());
        let values: Vec<f64> = (0..5).map(|_| random.random()).collect();
        uniform = uniform.max(largest_difference(&values, &case["values"]));
    }
    for case in cases["numpy_randomstate"].as_array().unwrap() {
        let mut random = NumpyRandom::new(case["seed"].as_u64().unwrap().try_into().unwrap());
        let randn5: Vec<f64> = (0..5).map(|_| random.randn()).collect();
        let rand4: Vec<f64> = (0..4).map(|_| random.rand()).collect();
        let randn6: Vec<f64> = (0..6).map(|_| random.randn()).collect();
        uniform = uniform.max(largest_difference(&rand4, &case["then_rand4"]));
        normal = normal
            .max(largest_difference(&randn5, &case["randn5"]))
            .max(largest_difference(&randn6, &case["then_randn2x3"]));
    }
    println!("largest relative difference: uniform {uniform:e}, normal {normal:e}");
    assert!(uniform <= read_error, "{uniform:e}");
    // Normal numbers pass through a logarithm, which another C library may round differently.
    assert!(normal <= read_error + 4.0 * f64::EPSILON, "{normal:e}");
}

#[test]
fn as_cpython_and_numpy_draw() {
    check(&golden("random/cases.json"), 0.0);
}

#[test]
fn as_the_oracle_says() {
    if let Some(cases) = oracle("random/cases.json") {
        check(&cases, f64::EPSILON);
    }
}
