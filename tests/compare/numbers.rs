//! Every number against `expected.json`, which NumPy, SciPy and CPython made of the same files.

use std::fs;

use attnscope::compare::{Comparison, Distance, Estimate, Metric, Request, Statistic, compare};
use serde_json::Value;

use super::{golden, request};

/// Sums in another order differ by a few units in the last place of numbers around 1.
const BOUND: f64 = 1e-13;

fn cases() -> Vec<Value> {
    let text = fs::read_to_string(golden("x").with_file_name("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    expected["cases"].as_array().unwrap().clone()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

fn compared(case: &Value) -> Comparison {
    let number = |key: &str| case[key].as_u64().unwrap();
    compare(&Request {
        scans: ["reference", "scan"]
            .map(|key| golden(text(case, key)))
            .to_vec(),
        force: !case["same_texts"].as_bool().unwrap(),
        seed: number("seed"),
        permutations: number("permutations"),
        resamples: number("resamples"),
    })
    .unwrap()
}

/// Counts what it has checked, so that no loop passes by being empty.
#[derive(Default)]
struct Checked(usize);

impl Checked {
    #[track_caller]
    fn close(&mut self, what: &str, found: f64, expected: &Value) {
        let expected = expected
            .as_f64()
            .unwrap_or_else(|| panic!("{what}: {expected}"));
        let difference = (found - expected).abs();
        assert!(difference <= BOUND, "{what}: {found} instead of {expected}");
        self.0 += 1;
    }

    #[track_caller]
    fn estimate(&mut self, what: &str, found: &Estimate, value: &Value, interval: &Value) {
        self.close(what, found.value, value);
        self.close(&format!("{what}, low"), found.low.unwrap(), &interval[0]);
        self.close(&format!("{what}, high"), found.high.unwrap(), &interval[1]);
    }
}

#[test]
fn statistics_and_their_intervals() {
    let mut checked = Checked::default();
    for case in cases() {
        let comparison = compared(&case);
        for (i, scan) in comparison.scans.iter().enumerate() {
            assert_eq!(case["sink_heads"][i], scan.sink_heads);
            for metric in Metric::BASE {
                let expected = &case["metrics"][metric.name()];
                let values = &expected["statistics"][i];
                let intervals = &expected["statistics_intervals"][i];
                let found = &scan.metrics[&metric];
                assert_eq!(values.as_object().unwrap().len(), found.len());
                for (statistic, found) in found {
                    let name = statistic.name();
                    let what = format!("{}, {}, {name}", case["name"], metric.name());
                    checked.estimate(&what, found, &values[name], &intervals[name]);
                }
            }
        }
    }
    // Cases × scans × (three metrics of eight statistics and two of six) × (value, low, high).
    assert_eq!(checked.0, 4 * 2 * (3 * 8 + 2 * 6) * 3);
}

#[test]
fn distances_their_intervals_and_p_values() {
    let mut checked = Checked::default();
    for case in cases() {
        let comparison = compared(&case);
        let [pair] = comparison.comparisons.as_slice() else {
            panic!("two scans make one pair");
        };
        assert_eq!(case["same_texts"], pair.same_texts.unwrap());
        for metric in Metric::BASE {
            let expected = &case["metrics"][metric.name()];
            let deals = pair.permutations.unwrap();
            assert_eq!(expected["deals"][0], deals.count);
            assert_eq!(expected["deals"][1], deals.exact);
            match pair.permutations_within_layers {
                None => assert!(expected["p_within_layers"].is_null()),
                Some(deals) => {
                    assert_eq!(expected["deals_within_layers"][0], deals.count);
                    assert_eq!(expected["deals_within_layers"][1], deals.exact);
                }
            }
            for (kind, distance) in Distance::ALL.iter().enumerate() {
                let name = distance.name();
                let what = format!("{}, {}, {name}", case["name"], metric.name());
                let found = &pair.metrics[&metric][distance];
                let interval = &expected["distances_intervals"][name];
                checked.estimate(
                    &what,
                    &found.estimate,
                    &expected["distances"][name],
                    interval,
                );
                checked.close(
                    &format!("{what}, p"),
                    found.p_value.unwrap(),
                    &expected["p"][kind],
                );
                if let Some(p) = found.p_value_within_layers {
                    let what = format!("{what}, p within layers");
                    checked.close(&what, p, &expected["p_within_layers"][kind]);
                }
            }
        }
    }
    // Cases × metrics × distances × (value, low, high, p), and p within layers where the depths agree.
    assert_eq!(checked.0, 4 * 5 * 3 * 4 + 3 * 5 * 3);
}

/// Drawn permutations estimate the exact p-value, which SciPy computed by going through all of them.
#[test]
fn drawn_permutations_come_near_the_exact_p_value() {
    let cases = cases();
    let exact = &cases[0];
    assert_eq!(text(exact, "name"), "every permutation");
    let drawn = 399;
    let comparison = compare(&Request {
        permutations: drawn,
        seed: 2026,
        ..request(
            ["reference", "scan"]
                .map(|key| golden(text(exact, key)))
                .to_vec(),
        )
    })
    .unwrap();
    let pair = &comparison.comparisons[0];
    for metric in Metric::BASE {
        for (kind, distance) in Distance::ALL.iter().enumerate() {
            let expected = &exact["metrics"][metric.name()];
            let found = &pair.metrics[&metric][distance];
            for (found, p) in [
                (found.p_value, &expected["p"][kind]),
                (
                    found.p_value_within_layers,
                    &expected["p_within_layers"][kind],
                ),
            ] {
                let (found, p) = (found.unwrap(), p.as_f64().unwrap());
                // Five standard deviations of a binomial share, and the observed deal that is counted in.
                let bound = 5.0 * (p * (1.0 - p) / drawn as f64).sqrt() + 1.0 / drawn as f64;
                assert!(
                    (found - p).abs() <= bound,
                    "{found} instead of {p} ± {bound}"
                );
            }
        }
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let scans = || {
        vec![
            golden("small-softmax"),
            golden("small-sigmoid"),
            golden("wide"),
        ]
    };
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let request = Request {
            // More than one chunk of each.
            permutations: 899,
            resamples: 300,
            ..request(scans())
        };
        let comparison = pool.unwrap().install(|| compare(&request)).unwrap();
        serde_json::to_string(&comparison).unwrap()
    };
    let one = with(1);
    assert_eq!(one, with(3));
    let other_seed = compare(&Request {
        seed: 43,
        permutations: 899,
        resamples: 300,
        ..request(scans())
    });
    assert_ne!(one.replace("\"seed\":42", ""), {
        serde_json::to_string(&other_seed.unwrap())
            .unwrap()
            .replace("\"seed\":43", "")
    });
}

#[test]
fn nothing_is_drawn_where_nothing_is_wanted() {
    let scans = vec![golden("small-softmax"), golden("small-sigmoid")];
    let comparison = compare(&Request {
        permutations: 0,
        resamples: 0,
        ..request(scans)
    })
    .unwrap();
    let pair = &comparison.comparisons[0];
    assert_eq!(
        (pair.permutations, pair.permutations_within_layers),
        (None, None)
    );
    let found = &pair.metrics[&Metric::Entropy][&Distance::Wasserstein];
    assert_eq!((found.p_value, found.p_value_within_layers), (None, None));
    assert_eq!((found.estimate.low, found.estimate.high), (None, None));
    let mean = &comparison.scans[1].metrics[&Metric::MaxWeight][&Statistic::Mean];
    assert_eq!((mean.low, mean.high), (None, None));
}

#[test]
fn the_first_of_three_is_the_reference() {
    let names = ["small-softmax", "small-sigmoid", "wide"];
    let comparison = compare(&request(names.map(golden).to_vec())).unwrap();
    assert_eq!(comparison.reference, "small-softmax");
    let pairs: Vec<_> = comparison
        .comparisons
        .iter()
        .map(|pair| (&*pair.reference, &*pair.scan))
        .collect();
    assert_eq!(
        pairs,
        [
            ("small-softmax", "small-sigmoid"),
            ("small-softmax", "wide")
        ]
    );
    // Each pair is what it is without the third, which has no text of its own: draws are of the same texts.
    for (at, name) in names[1..].iter().enumerate() {
        let alone = compare(&request(vec![golden(names[0]), golden(name)])).unwrap();
        let [alone, among] = [&alone.comparisons[0], &comparison.comparisons[at]]
            .map(|pair| serde_json::to_value(pair).unwrap());
        assert_eq!(alone, among);
    }
}
