//! What `--metrics` adds, against plain loops over float64 attention maps, and that it adds up exactly.

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf};

use attnscope::{
    corpus::Shard,
    metrics::{Extra, LagWindow, Measures, Metric, SinkRate, TopK},
    scan::plan::Memory,
    store::{LagRow, RunManifest, merge, read_activations, read_heads, read_lags},
};

use super::{
    FUNCTIONS, Fixture, SMALL, assert_finished, batch_size, float64, random_texts, rows, run,
    scan_rows, tables,
};

const K: usize = 4;
const WINDOW: (usize, usize) = (1, 60);

fn number(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

/// Everything there is; the sink is token `sink_k` of the text, counted from 1.
fn all(sink_k: usize, epsilon: f64) -> Measures {
    Measures {
        effective_support: true,
        sink_rate: Some(SinkRate {
            epsilon,
            k: number(sink_k),
        }),
        top_k_share: Some(TopK { k: number(K) }),
        diagonal_share: true,
        weight_shares: true,
        lags: Some(LagWindow {
            min: number(WINDOW.0),
            max: number(WINDOW.1),
        }),
        activations: true,
    }
}

/// Padding ids stand inside a text (attended to, not counted), texts are shorter than k, one is empty, and one is
/// longer than a block of keys.
fn texts() -> Vec<Vec<u32>> {
    let mut texts = random_texts(&[40, 0, 1, 7, 130, 2, 64], SMALL[4]);
    texts[0][3] = 0;
    texts[4][0] = 0;
    texts[4][9] = 0;
    texts
}

/// The largest difference seen of each kind.
#[derive(Default)]
struct Worst(BTreeMap<&'static str, f64>);

impl Worst {
    #[track_caller]
    fn note(&mut self, name: &'static str, found: f64, expected: f64, bound: f64) {
        let difference = (found - expected).abs();
        assert!(
            difference <= bound,
            "{name}: found {found}, expected {expected}"
        );
        let worst = self.0.entry(name).or_default();
        *worst = worst.max(difference);
    }
}

/// A head in one text, computed the plain way.
struct Plain<'a> {
    rows: Vec<(usize, &'a float64::Row)>,
}

impl Plain<'_> {
    fn mean(&self, of: impl Fn(usize, &float64::Row) -> f64) -> f64 {
        let sum: f64 = self.rows.iter().map(|(query, row)| of(*query, row)).sum();
        sum / self.rows.len() as f64
    }

    fn shares(row: &float64::Row) -> impl Iterator<Item = f64> + '_ {
        row.weights.iter().map(|w| w / (row.total + 1e-9))
    }

    fn top_k(row: &float64::Row) -> f64 {
        let mut shares: Vec<f64> = Self::shares(row).collect();
        shares.sort_by(|a, b| b.total_cmp(a));
        shares.iter().take(K).sum()
    }

    /// How many weights are on this side of the threshold, at least and at most: float32 may put one that lies on
    /// it on either side.
    fn count(&self, is_in: impl Fn(f64, f64) -> bool) -> (f64, f64) {
        let weights = || self.rows.iter().flat_map(|(_, row)| &row.weights);
        let count = |slack: f64| weights().filter(|w| is_in(**w, slack)).count() as f64;
        (count(-1e-5), count(1e-5))
    }
}

#[test]
fn a_plain_float64_computation_gives_the_same() {
    let texts = texts();
    for (function, sink_k, epsilon) in [
        (FUNCTIONS[0], 1, 0.04),
        (FUNCTIONS[1], 1, 0.04),
        (FUNCTIONS[0], 3, 0.03),
        (FUNCTIONS[1], 3, 0.03),
    ] {
        let fixture = Fixture::new(function, SMALL, &texts);
        let mut request = fixture.request("out");
        request.measures = all(sink_k, epsilon);
        request.batch_size = batch_size(2);
        let outcome = run(&request);
        assert_finished(&request.out);
        assert_eq!(outcome.run.metrics, request.measures);
        let found = rows(&request.out);
        let activations = read_activations(&request.out).unwrap();
        let model = float64::Model::open(&fixture.model);
        let mut worst = Worst::default();
        // Of each (layer, head), Σ share and rows at each lag.
        let mut lags: BTreeMap<(i32, i32, i32), (f64, i64)> = BTreeMap::new();
        let mut sinks: BTreeMap<(i32, i32), (f64, f64)> = BTreeMap::new();
        let mut both_ways = [false; 2];
        for (sample, ids) in texts.iter().enumerate().filter(|(_, ids)| !ids.is_empty()) {
            for (layer, expected) in model.forward(ids).iter().enumerate() {
                for (head, rows) in expected.heads.iter().enumerate() {
                    let counted = rows
                        .iter()
                        .enumerate()
                        .filter(|(query, _)| ids[*query] != 0);
                    let plain = Plain {
                        rows: counted.collect(),
                    };
                    let row = found
                        .iter()
                        .find(|row| {
                            (row.sample, row.layer, row.head)
                                == (sample as i64, layer as i32, head as i32)
                        })
                        .unwrap();
                    let score = |metric: Metric| metric.score(&row.sums);
                    let support = plain.mean(|_, row| row.entropy.exp());
                    worst.note(
                        "effective support (relative)",
                        score(Metric::EffectiveSupport) / support,
                        1.0,
                        1e-5,
                    );
                    let top_k = plain.mean(|_, row| Plain::top_k(row));
                    worst.note("top-k share", score(Metric::TopKShare), top_k, 1e-5);
                    let diagonal = plain.mean(|query, row| row.weights[query] / (row.total + 1e-9));
                    worst.note(
                        "diagonal share",
                        score(Metric::DiagonalShare),
                        diagonal,
                        1e-5,
                    );
                    let weights: usize = plain.rows.iter().map(|(query, _)| query + 1).sum();
                    assert_eq!(row.sums.extras[Extra::Weights], weights as f64);
                    let small = plain.count(|w, slack| w < 0.001 * (1.0 + slack));
                    let large = plain.count(|w, slack| w > 0.1 * (1.0 - slack));
                    for (extra, (least, most)) in
                        [(Extra::SmallWeights, small), (Extra::LargeWeights, large)]
                    {
                        let count = row.sums.extras[extra];
                        assert!(least <= count && count <= most, "{extra:?}");
                    }

                    let token = sink_k - 1;
                    let seen: Vec<f64> = (plain.rows.iter())
                        .filter(|(query, _)| *query >= token)
                        .map(|(_, row)| row.weights[token] / (row.total + 1e-9))
                        .collect();
                    let (sums, extras) =
                        (sinks.entry((layer as i32, head as i32)), &row.sums.extras);
                    let sums = sums.or_default();
                    if seen.is_empty() {
                        assert_eq!(extras[Extra::SinkMeasuredSamples], 0.0);
                        assert_eq!(extras[Extra::SinkSamples], 0.0);
                    } else {
                        let alpha = seen.iter().sum::<f64>() / seen.len() as f64;
                        assert!((alpha - epsilon).abs() > 1e-6, "choose another ε");
                        assert_eq!(extras[Extra::SinkMeasuredSamples], 1.0);
                        let is_sink = alpha > epsilon;
                        both_ways[usize::from(is_sink)] = true;
                        assert_eq!(extras[Extra::SinkSamples], f64::from(u8::from(is_sink)));
                        sums.0 += f64::from(u8::from(is_sink));
                        sums.1 += 1.0;
                    }

                    for (query, row) in &plain.rows {
                        for (key, share) in Plain::shares(row).enumerate() {
                            let at = (layer as i32, head as i32, (query - key) as i32);
                            let sum = lags.entry(at).or_default();
                            sum.0 += share;
                            sum.1 += 1;
                        }
                    }
                }

                let counted = (expected.hidden_states.iter().zip(ids)).filter(|(_, id)| **id != 0);
                let counted: Vec<&Vec<f64>> = counted.map(|(x, _)| x).collect();
                let mut magnitudes: Vec<f64> = counted
                    .iter()
                    .flat_map(|x| x.iter().map(|x| x.abs()))
                    .collect();
                magnitudes.sort_by(f64::total_cmp);
                let n = magnitudes.len();
                let median = (magnitudes[(n - 1) / 2] + magnitudes[n / 2]) / 2.0;
                let row = activations
                    .iter()
                    .find(|row| (row.sample, row.layer) == (sample as i64, layer as i32))
                    .unwrap()
                    .magnitudes;
                assert_eq!((row.tokens, row.non_finite), (counted.len() as i64, 0));
                worst.note("largest activation", row.largest, magnitudes[n - 1], 1e-4);
                worst.note("median activation", row.median, median, 1e-5);
                let there = expected.hidden_states[row.largest_token as usize]
                    [row.largest_dim as usize]
                    .abs();
                worst.note("activation at that place", there, magnitudes[n - 1], 1e-4);
            }
        }
        assert_eq!(both_ways, [true; 2], "ε tells no head from another");

        let found_lags = read_lags(&request.out).unwrap();
        assert_eq!(found_lags.len(), lags.len());
        for (found, ((layer, head, lag), (sum, rows))) in found_lags.iter().zip(&lags) {
            assert_eq!((found.layer, found.head, found.lag), (*layer, *head, *lag));
            assert_eq!(found.rows, *rows);
            worst.note(
                "mean share at a lag",
                found.mean_share(),
                sum / *rows as f64,
                1e-5,
            );
        }
        for head in read_heads(&request.out).unwrap() {
            let (sink, measured) = sinks[&(head.layer, head.head)];
            assert_eq!(Metric::SinkRate.score(&head.sums), sink / measured);
            let profile: Vec<(f64, f64)> = (WINDOW.0..=WINDOW.1)
                .map(|lag| {
                    let (sum, rows) = lags[&(head.layer, head.head, lag as i32)];
                    ((lag as f64).ln(), (sum / rows as f64).ln())
                })
                .collect();
            let (slope, r2) = line(&profile);
            let fit = head.lag_fit.unwrap();
            worst.note("slope over lags", fit.slope, slope, 1e-3);
            worst.note("R² over lags", fit.r2, r2, 1e-3);
        }
        println!("{function}, k = {sink_k}: largest differences from float64");
        for (name, worst) in worst.0 {
            println!("  {name:<30} {worst:.1e}");
        }
    }
}

/// Slope and R² by the textbook's normal equations.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    let sum = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>();
    let (x, y) = (sum(|p| p.0), sum(|p| p.1));
    let (xx, xy) = (sum(|p| p.0 * p.0), sum(|p| p.0 * p.1));
    let slope = (n * xy - x * y) / (n * xx - x * x);
    let intercept = (y - slope * x) / n;
    let residual: f64 = points
        .iter()
        .map(|(x, y)| (y - intercept - slope * x).powi(2))
        .sum();
    let total: f64 = points.iter().map(|(_, p)| (p - y / n).powi(2)).sum();
    (slope, 1.0 - residual / total)
}

/// Asking for more changes no other number, not by a bit.
#[test]
fn what_every_scan_measures_stays_the_same() {
    for function in FUNCTIONS {
        let fixture = Fixture::new(function, SMALL, &texts());
        for memory in [Memory::Resident, Memory::Streamed] {
            let mut plain = fixture.request(&format!("plain-{memory:?}"));
            plain.memory = memory;
            let mut asked = fixture.request(&format!("asked-{memory:?}"));
            asked.memory = memory;
            asked.measures = all(1, 0.3);
            let expected = scan_rows(&plain);
            let mut found = scan_rows(&asked);
            assert!(
                found
                    .iter()
                    .all(|row| row.sums.extras[Extra::Weights] > 0.0 || row.sums.tokens == 0)
            );
            for row in &mut found {
                row.sums.extras = Default::default();
            }
            assert!(found == expected, "{function}, {memory:?}");
        }
    }
}

/// Executors, shards and their order make no difference where a text passes the model alone.
#[test]
fn everything_adds_up() {
    for function in FUNCTIONS {
        let fixture = Fixture::new(function, SMALL, &texts());
        let request = |out: &str| {
            let mut request = fixture.request(out);
            request.batch_size = batch_size(1);
            request.measures = all(2, 0.1);
            request
        };
        let whole = request("whole");
        run(&whole);
        let mut streamed = request("streamed");
        streamed.memory = Memory::Streamed;
        run(&streamed);
        assert!(tables(&streamed.out) == tables(&whole.out));
        assert_eq!(tables(&whole.out).len(), 4);

        let mut dirs: Vec<PathBuf> = Vec::new();
        for index in 0..3 {
            let mut shard = request(&format!("shard-{index}"));
            shard.shard = Some(Shard::new(index, 3).unwrap());
            run(&shard);
            dirs.push(shard.out);
        }
        dirs.rotate_left(2);
        let out = fixture.out("merged");
        merge(&dirs, &out).unwrap();
        assert_finished(&out);
        let [found, expected] = [&out, &whole.out].map(|out| {
            let mut tables: BTreeMap<String, Vec<u8>> = tables(out).into_iter().collect();
            // Their sums, and the slopes that follow from them, are added in the order of batches and shards.
            tables.remove("lags.parquet");
            tables.remove("heads.parquet");
            tables
        });
        assert!(found == expected && found.len() == 2);
        let [found, expected] = [&out, &whole.out].map(|out| read_lags(out).unwrap());
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            let at = |row: &LagRow| (row.layer, row.head, row.lag, row.rows);
            assert_eq!(at(found), at(expected));
            let difference = (found.share_sum - expected.share_sum).abs();
            assert!(difference <= 1e-14 * expected.share_sum, "{difference:.1e}");
        }
        let [found, expected] = [&out, &whole.out].map(|out| read_heads(out).unwrap());
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.sums, expected.sums);
            let [found, expected] = [found, expected].map(|head| head.lag_fit.unwrap());
            assert!((found.slope - expected.slope).abs() <= 1e-12);
        }
        assert_eq!(RunManifest::read(&out).unwrap().metrics, whole.measures);

        let mut other = request("other");
        other.measures = all(2, 0.2);
        other.shard = Some(Shard::new(0, 3).unwrap());
        run(&other);
        dirs[1] = other.out;
        let error = merge(&dirs, &fixture.out("mixed")).unwrap_err().to_string();
        assert!(error.contains("metrics.sink_rate.epsilon"), "{error}");
    }
}

/// A single measure brings its own columns and tables, and no others.
#[test]
fn each_can_be_asked_for_alone() {
    let everything = all(1, 0.3);
    let none = Measures::default();
    let cases: [(&str, Measures, &[Metric]); 7] = [
        (
            "support",
            Measures {
                effective_support: true,
                ..none
            },
            &[Metric::EffectiveSupport],
        ),
        (
            "sink",
            Measures {
                sink_rate: everything.sink_rate,
                ..none
            },
            &[Metric::SinkRate],
        ),
        (
            "top-k",
            Measures {
                top_k_share: everything.top_k_share,
                ..none
            },
            &[Metric::TopKShare],
        ),
        (
            "diagonal",
            Measures {
                diagonal_share: true,
                ..none
            },
            &[Metric::DiagonalShare],
        ),
        (
            "weights",
            Measures {
                weight_shares: true,
                ..none
            },
            &[Metric::SmallWeightShare, Metric::LargeWeightShare],
        ),
        (
            "lags",
            Measures {
                lags: everything.lags,
                ..none
            },
            &[],
        ),
        (
            "activations",
            Measures {
                activations: true,
                ..none
            },
            &[],
        ),
    ];
    let fixture = Fixture::new(FUNCTIONS[1], SMALL, &texts());
    let mut complete = fixture.request("complete");
    complete.measures = everything;
    let complete = run(&complete);
    for (name, measures, metrics) in cases {
        let mut request = fixture.request(name);
        request.measures = measures;
        let outcome = run(&request);
        assert_finished(&request.out);
        let heads = read_heads(&request.out).unwrap();
        assert_eq!(heads, outcome.heads);
        for (head, whole) in heads.iter().zip(&complete.heads) {
            for metric in Metric::ALL {
                let score = metric.score(&head.sums);
                if Metric::BASE.contains(&metric) || metrics.contains(&metric) {
                    assert_eq!(score, metric.score(&whole.sums), "{name}: {metric:?}");
                } else {
                    assert!(score.is_nan() || score == 0.0, "{name}: {metric:?}");
                }
            }
            let fit = measures.lags.and(whole.lag_fit);
            assert_eq!(head.lag_fit, fit, "{name}");
        }
        if measures.activations {
            let found = read_activations(&request.out).unwrap();
            assert_eq!(found, read_activations(&fixture.out("complete")).unwrap());
        }
    }
}
