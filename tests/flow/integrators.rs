//! The adaptive integrator against exact solutions and against gradient descent; replicas against single runs.

use attnscope::flow::{
    dormand_prince::Tolerances,
    experiments::{
        ALL, CONDITIONING, Experiment, Family, KL, LOGISTIC, NORMALIZATIONS, Run, SQUARE, TIED,
    },
    follow::{Backend, Integrator, Records, Settings, follow},
    model::{Form, Model, Parameters},
    objective::Objective,
    problem::{Dimensions, Problem},
    sigma::Sigma,
    trajectory::Followed,
};
use attnscope::layers::attention::Activation;
use candle_core::Device;

use crate::support;

fn flow(runs: Vec<Run>, relative: f64, count: usize) -> Vec<Followed> {
    let settings = Settings {
        backend: Backend::Fused,
        integrator: Integrator::Flow(Tolerances {
            relative,
            absolute: 1e-3 * relative,
            ..Tolerances::default()
        }),
        records: Records::Logarithmic(count),
        keep_values: true,
    };
    follow(runs, &settings, |_| ()).unwrap()
}

fn descend(runs: Vec<Run>, at: Vec<u64>) -> Vec<Followed> {
    let settings = Settings {
        backend: Backend::Fused,
        integrator: Integrator::Descent,
        records: Records::At(at),
        keep_values: true,
    };
    follow(runs, &settings, |_| ()).unwrap()
}

/// The largest difference of two lists, over the largest entry of the second.
fn difference(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    let differences = found.iter().zip(expected).map(|(x, y)| (x - y).abs());
    differences.fold(0.0, |m: f64, x| if x <= m { m } else { x }) / largest
}

/// One weight that is always 1, so that θ = V: V̇ = −(V − β), whose solution is β + (V(0) − β) e^−t, and
/// S = |V(0) − β| (1 − e^−t).
#[test]
fn an_exact_solution() {
    let objective = Objective::Square { target: vec![2.0] };
    let model = Model::new(objective, Sigma::SOFTMAX, Form::Free, 1).unwrap();
    let start = Parameters {
        values: vec![-1.0],
        scores: vec![0.3],
    };
    let run = Run {
        problem: Problem::new(model, start).unwrap(),
        rate: 0.01,
        steps: 3000,
        ..LOGISTIC.runs().unwrap().remove(0)
    };
    // Dense output included: sixty records, few of which a step ends at.
    let mut errors = Vec::new();
    for relative in [1e-5, 1e-7, 1e-9, 1e-11] {
        let followed = flow(vec![run.clone()], relative, 60).remove(0);
        let trajectory = &followed.trajectory;
        assert_eq!(trajectory.times.last(), Some(&30.0));
        assert!(followed.effort.accepted < 2000, "{:?}", followed.effort);
        let mut worst = 0.0f64;
        let records = trajectory.times.iter().zip(&trajectory.values);
        for ((t, value), strength) in records.zip(&trajectory.strengths) {
            worst = worst.max((value - (2.0 - 3.0 * (-t).exp())).abs());
            worst = worst.max((strength - 3.0 * (1.0 - (-t).exp())).abs());
        }
        println!("tolerance {relative:e}: {worst:.1e}, {:?}", followed.effort);
        assert!(worst < 100.0 * relative, "{relative:e}: {worst:e}");
        errors.push(worst);
    }
    assert!(errors[3] < 1e-4 * errors[0]);
}

/// Gradient descent is Euler's method: halving its rate halves its distance from the flow, at equal times.
#[test]
fn gradient_descent_tends_to_the_flow() {
    for experiment in [LOGISTIC, SQUARE, NORMALIZATIONS, CONDITIONING, KL, TIED] {
        let steps = 400;
        let runs = Experiment {
            steps,
            ..experiment
        }
        .runs()
        .unwrap();
        // One run of each σ and each condition number, the smallest of each size.
        for run in runs
            .into_iter()
            .filter(|run| run.problem.model().positions() <= 20)
        {
            if run.experiment == "tied" && run.problem.model().positions() > 10 {
                continue;
            }
            let exact = flow(vec![run.clone()], 1e-10, 1).remove(0).trajectory;
            let mut distances = Vec::new();
            for halvings in 0..3u32 {
                let fine = Run {
                    rate: run.rate / f64::from(1 << halvings),
                    ..run.clone()
                };
                let followed = descend(vec![fine], vec![steps << halvings]).remove(0);
                let d = exact.scores.len() / exact.times.len();
                let end = &exact.scores[exact.scores.len() - d..];
                distances.push(difference(&followed.trajectory.scores, end));
            }
            let name = format!("{} {}", run.experiment, run.problem.model().sigma());
            let ratios = [distances[0] / distances[1], distances[1] / distances[2]];
            println!("{name:<24} {distances:.8?} ratios {ratios:.2?}");
            // Under |a| scores that are at 0 in the flow jump about it in descent, by less the smaller the rate.
            if run.problem.model().sigma() == Sigma::L1 {
                assert!(distances[2] < distances[0] || distances[0] < 1e-3, "{name}");
                continue;
            }
            assert!(ratios[1] > 1.8 && ratios[1] < 2.2, "{name}: {distances:?}");
        }
    }
}

/// A score that comes to the kink of |a| stays there; max(0, a) stops at 0. Against gradient descent at a small rate.
#[test]
fn scores_stop_at_a_kink() {
    let objective = Objective::Logistic {
        target: vec![1.0, 0.0],
    };
    for sigma in [Sigma::L1, Sigma::RELU] {
        let model = Model::new(objective.clone(), sigma, Form::Free, 3).unwrap();
        let start = Parameters {
            values: vec![1.0, -1.0, 0.2, 0.0, 0.3, 0.1],
            scores: vec![1.0, 0.4, 0.8],
        };
        let run = Run {
            problem: Problem::new(model, start).unwrap(),
            rate: 0.1,
            steps: 200,
            ..LOGISTIC.runs().unwrap().remove(0)
        };
        let followed = flow(vec![run.clone()], 1e-10, 40).remove(0);
        assert!(followed.failure.is_none(), "{:?}", followed.failure);
        let scores: Vec<&[f64]> = followed.trajectory.scores.chunks(3).collect();
        let last = scores.last().unwrap();
        assert_eq!(last[1], 0.0, "{sigma}");
        assert!(scores[0][1] > 0.0 && last[0] > 1.0);
        let fine = Run {
            rate: 1e-5,
            ..run.clone()
        };
        let descent = descend(vec![fine], vec![2_000_000]).remove(0).trajectory;
        let distance = difference(&descent.scores, last);
        println!(
            "{sigma}: {distance:.1e} from descent at rate 1e-5, {:?}",
            followed.effort
        );
        assert!(distance < 1e-4, "{sigma}: {distance:e}");
    }
}

/// Scores that came to the kink of |a| leave it when the slopes on both sides have turned away from it. Gradient descent
/// at smaller and smaller rates tends to the same weights; a flow that held them there for good would not be its limit.
#[test]
fn scores_leave_a_kink() {
    let near_the_kink = Experiment {
        score_mean: 0.1,
        score_scale: 0.3,
        value_scale: 0.5,
        seed: 129,
        dimensions: &[Dimensions::square(6)],
        ..KL
    };
    let regression = Experiment {
        score_mean: 0.0,
        score_scale: 1.0,
        value_scale: 1.0,
        seed: 167,
        dimensions: &[Dimensions::square(6)],
        family: Family::Regression {
            samples: 6,
            condition_numbers: &[3.0],
        },
        ..CONDITIONING
    };
    let abs: Sigma = "abs_unnorm".parse().unwrap();
    for (experiment, sigma, time) in [
        (near_the_kink, abs, 100.0),
        (regression, Sigma::L1, 50.0),
        (regression, abs, 50.0),
    ] {
        let at_rate = |rate: f64| {
            let steps = (time / rate).round() as u64;
            let sigmas = &[sigma];
            let experiment = Experiment {
                rate,
                steps,
                sigmas,
                ..experiment
            };
            (experiment.runs().unwrap(), steps)
        };
        let exact = flow(at_rate(0.01).0, 1e-10, 1).remove(0);
        assert!(exact.failure.is_none(), "{:?}", exact.failure);
        let d = exact.run.problem.model().positions();
        let end = |weights: &[f64]| weights[weights.len() - d..].to_vec();
        let distances = [2e-3, 5e-4, 1.25e-4].map(|rate| {
            let (runs, steps) = at_rate(rate);
            let descent = descend(runs, vec![steps]).remove(0);
            difference(
                &end(&descent.trajectory.weights),
                &end(&exact.trajectory.weights),
            )
        });
        println!("{sigma}, {}: {distances:?}", experiment.name);
        assert!(distances[2] < 2e-3, "{distances:?}");
        assert!(distances[2] < 0.5 * distances[0], "{distances:?}");
    }
}

/// θ = (a₁ v₁ + a₂ v₂) / (a₁ + a₂) with values of both signs: the target is reached by a smaller denominator, which
/// the flow, unlike a large step, cannot carry through 0. Its rates grow with the square of the weights, and a start
/// that is close enough to 0 takes more steps than allowed; that is said, and the records are kept.
#[test]
fn denominators_near_zero() {
    let run = |values: [f64; 2], scores: [f64; 2]| {
        let objective = Objective::Square { target: vec![5.0] };
        let model = Model::new(objective, Sigma::SUM, Form::Free, 2).unwrap();
        let start = Parameters {
            values: values.to_vec(),
            scores: scores.to_vec(),
        };
        Run {
            problem: Problem::new(model, start).unwrap(),
            rate: 0.1,
            steps: 1000,
            ..LOGISTIC.runs().unwrap().remove(0)
        }
    };
    let followed = flow(vec![run([0.5, -0.5], [0.3, -0.2])], 1e-9, 50).remove(0);
    assert!(followed.failure.is_none());
    assert!(*followed.trajectory.losses.last().unwrap() < 1e-15);
    assert!(
        followed
            .trajectory
            .scores
            .chunks(2)
            .all(|a| a[0] + a[1] > 0.0)
    );

    let settings = Settings {
        backend: Backend::Fused,
        integrator: Integrator::Flow(Tolerances {
            most_steps: 1000,
            ..Tolerances::default()
        }),
        records: Records::Logarithmic(50),
        keep_values: false,
    };
    let stiff = vec![run([1e-3, -1e-3], [1e-4, -0.9e-4])];
    let followed = follow(stiff, &settings, |_| ()).unwrap().remove(0);
    let message = followed.failure.unwrap().to_string();
    println!("{message}");
    assert!(message.contains("number of steps is 1e3"), "{message}");
    assert!(message.contains("too stiff"), "{message}");
    assert!(!followed.trajectory.times.is_empty());
    assert!(
        followed
            .trajectory
            .losses
            .iter()
            .all(|loss| loss.is_finite())
    );
}

/// Whatever stands beside a run: it has the same bits.
#[test]
fn replicas_equal_single_runs() {
    for integrator in [Integrator::Descent, Integrator::Flow(Tolerances::default())] {
        let settings = Settings {
            backend: Backend::Fused,
            integrator,
            records: Records::Logarithmic(12),
            keep_values: true,
        };
        let mut runs = Vec::new();
        for seed in 0..5 {
            for experiment in ALL {
                runs.extend(
                    Experiment {
                        seed,
                        steps: 150,
                        ..experiment
                    }
                    .runs()
                    .unwrap()
                    .into_iter()
                    .filter(|run| run.problem.model().positions() <= 50),
                );
            }
        }
        let single: Vec<Followed> = runs
            .iter()
            .flat_map(|run| follow(vec![run.clone()], &settings, |_| ()).unwrap())
            .collect();
        let beside = follow(runs, &settings, |_| ()).unwrap();
        assert_eq!(beside.len(), single.len());
        for (beside, single) in beside.iter().zip(&single) {
            assert_eq!(beside.run, single.run);
            assert_eq!(beside.trajectory, single.trajectory, "{:?}", beside.run);
            assert_eq!(beside.effort, single.effort);
        }
        println!("{} runs alike to the bit", single.len());
    }
}

/// Rows that start alike go the way of the single row with as many times its gradient of the values.
#[test]
fn rows_that_start_alike_stay_alike() {
    let rows = flow(
        Experiment {
            family: Family::Rows(4),
            steps: 1_000_000,
            ..LOGISTIC
        }
        .runs()
        .unwrap(),
        1e-10,
        20,
    )
    .remove(0)
    .trajectory;
    let last = &rows.weights[rows.weights.len() - 32..];
    for row in last.chunks(8) {
        assert_eq!(row, &last[..8]);
    }
    assert!(last[..8].iter().fold(0.0f64, |m, x| m.max(*x)) > 0.5);
}

/// The tensor form, as it runs on a GPU, against the fused one: all σ, forms and objectives, several replicas in a batch.
#[test]
fn tensors_agree_with_the_fused_form() {
    let mut runs = Vec::new();
    for seed in 0..3 {
        for experiment in ALL {
            let sigmas = match experiment.name {
                "normalizations" | "square" => &Sigma::ALL[..],
                _ => experiment.sigmas,
            };
            let experiment = Experiment {
                seed,
                steps: 60,
                sigmas,
                score_mean: 1.0,
                ..experiment
            };
            let all = experiment.runs().unwrap().into_iter();
            runs.extend(all.filter(|run| run.problem.model().positions() <= 20));
        }
    }
    for integrator in [Integrator::Descent, Integrator::Flow(Tolerances::default())] {
        let runs: Vec<Run> = runs
            .iter()
            .filter(|run| {
                let function = run.problem.model().sigma().function();
                let kinked = matches!(function.activation(), Activation::Abs | Activation::Relu);
                integrator == Integrator::Descent || !kinked
            })
            .cloned()
            .collect();
        let followed = |backend| {
            let settings = Settings {
                backend,
                integrator,
                records: Records::Logarithmic(5),
                keep_values: true,
            };
            follow(runs.clone(), &settings, |_| ()).unwrap()
        };
        // Metal has no float64.
        for device in support::devices()
            .into_iter()
            .filter(|device| !device.is_metal())
        {
            let tensors = followed(Backend::Tensors(device.clone()));
            let fused = followed(Backend::Fused);
            let mut worst = (0.0, String::new());
            for (tensors, fused) in tensors.iter().zip(&fused) {
                let name = format!(
                    "{} {}",
                    fused.run.experiment,
                    fused.run.problem.model().sigma()
                );
                assert!(
                    tensors.failure.is_none() && fused.failure.is_none(),
                    "{name}"
                );
                let (x, y) = (&tensors.trajectory, &fused.trajectory);
                assert_eq!(x.times, y.times);
                for (x, y) in [
                    (&x.scores, &y.scores),
                    (&x.values, &y.values),
                    (&x.strengths, &y.strengths),
                ] {
                    let difference = difference(x, y);
                    if difference > worst.0 {
                        worst = (difference, name.clone());
                    }
                }
            }
            println!("{} runs, {device:?}, {integrator:?}: {worst:?}", runs.len());
            assert!(worst.0 < 1e-10, "{worst:?}");
        }
    }
}

#[test]
fn tensors_refuse_the_flow_at_a_kink() {
    let settings = Settings {
        backend: Backend::Tensors(Device::Cpu),
        integrator: Integrator::Flow(Tolerances::default()),
        records: Records::Logarithmic(5),
        keep_values: true,
    };
    let error = follow(NORMALIZATIONS.runs().unwrap(), &settings, |_| ()).unwrap_err();
    assert!(error.to_string().contains("on the CPU only"), "{error}");
}
