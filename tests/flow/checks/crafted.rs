//! Each statement is caught at least once: right trajectories with a lie in them.

use attnscope::Error;
use attnscope::flow::{
    checks::{SQUARE_FROM_ZERO, Statement, Verdict, check},
    dormand_prince::Tolerances,
    experiments::{Experiment, LOGISTIC, Run},
    follow::Integrator,
    problem::Dimensions,
    trajectory::Trajectory,
};

use super::equations::{Slip, integrate};
use super::{RUNGE_KUTTA, checked, followed};

/// A trajectory, d, p and the coordinates from the first to the last in the order that is kept.
struct Told {
    trajectory: Trajectory,
    positions: usize,
    predictions: usize,
    order: Vec<usize>,
}

impl Told {
    fn records(&self) -> usize {
        self.trajectory.times.len()
    }

    fn score(&mut self, k: usize, i: usize) -> &mut f64 {
        &mut self.trajectory.scores[k * self.positions + self.order[i]]
    }

    fn weight(&mut self, k: usize, i: usize) -> &mut f64 {
        &mut self.trajectory.weights[k * self.positions + self.order[i]]
    }

    /// Column `i` of V at record k, scaled.
    fn scale_column(&mut self, k: usize, i: usize, factor: f64) {
        let (d, p) = (self.positions, self.predictions);
        for row in 0..p {
            self.trajectory.values[k * p * d + row * d + self.order[i]] *= factor;
        }
    }

    /// Where t passes `time`.
    fn at(&self, time: f64) -> usize {
        self.trajectory
            .times
            .iter()
            .position(|&t| t >= time)
            .unwrap()
    }
}

fn tell(run: &Run, end: f64) -> Told {
    let trajectory = integrate(run, Slip::None, end);
    let d = run.problem.model().positions();
    // All orders are those of the last scores.
    let last = &trajectory.scores[trajectory.scores.len() - d..];
    let mut order: Vec<usize> = (0..d).collect();
    order.sort_by(|&i, &j| last[j].total_cmp(&last[i]));
    Told {
        positions: d,
        predictions: run.problem.model().predictions(),
        order,
        trajectory,
    }
}

/// Tells a lie and asserts that the statement is violated, first at the record where the lie begins (if that is given).
fn assert_caught(
    run: &Run,
    end: f64,
    statement: Statement,
    part: &str,
    lie: impl FnOnce(&mut Told) -> Option<usize>,
) {
    let mut told = tell(run, end);
    let of = |trajectory: Trajectory| {
        let findings = checked(&followed(run, trajectory), RUNGE_KUTTA);
        let mut of = findings
            .into_iter()
            .filter(|finding| finding.statement == statement && finding.quantity.contains(part));
        let finding = of.next().unwrap();
        assert!(of.next().is_none(), "{part:?} is more than one");
        finding
    };
    let right = of(told.trajectory.clone());
    assert_eq!(right.verdict, Verdict::Holds, "{right:?}");
    let place = lie(&mut told).map(|k| (told.trajectory.times[k], told.trajectory.updates[k]));
    let wrong = of(told.trajectory);
    println!("{}: {:?}", statement.name(), wrong);
    let Verdict::Violated {
        time,
        updates,
        size,
        discretisation,
    } = wrong.verdict
    else {
        panic!("{wrong:?}");
    };
    assert!(size > 0.0 && !discretisation);
    if let Some(place) = place {
        assert_eq!((time, updates), place);
    }
}

fn logistic() -> Run {
    LOGISTIC.runs().unwrap().remove(0)
}

fn square() -> Run {
    SQUARE_FROM_ZERO.runs().unwrap().remove(0)
}

#[test]
fn order_potential_repulsion_extremes_and_crossing() {
    let run = logistic();
    let swap_scores = |told: &mut Told| {
        let k = told.at(10.0);
        let (x, y) = (*told.score(k, 2), *told.score(k, 3));
        (*told.score(k, 2), *told.score(k, 3)) = (y, x);
        Some(k)
    };
    let swap_columns = |told: &mut Told| {
        // Larger projections than the neighbour's, from here on.
        let k = told.at(10.0);
        told.scale_column(k, 3, 1.5);
        Some(k)
    };
    let crossing = "pairs whose scores";
    assert_caught(&run, 20.0, Statement::Order, "of a", swap_scores);
    assert_caught(&run, 20.0, Statement::Order, "of u", swap_columns);
    assert_caught(&run, 20.0, Statement::Potential, "", swap_scores);
    assert_caught(
        &run,
        20.0,
        Statement::NoCrossing,
        "smallest growth",
        swap_scores,
    );
    assert_caught(&run, 20.0, Statement::NoCrossing, crossing, swap_scores);
    assert_caught(&run, 20.0, Statement::NoCrossing, crossing, swap_columns);
    assert_caught(&run, 20.0, Statement::Repulsion, "of u", swap_columns);
    // The gaps shrink; the order is kept.
    assert_caught(&run, 20.0, Statement::Repulsion, "of h(a)", |told| {
        let k = told.at(10.0);
        for i in 0..told.positions {
            *told.score(k, i) = 0.9 * *told.score(k - 1, i);
        }
        Some(k)
    });
    assert_caught(&run, 20.0, Statement::Extremes, "", |told| {
        let k = told.at(10.0);
        *told.score(k, 0) = *told.score(k - 1, 0) - 1e-6;
        Some(k)
    });
    let last = |told: &mut Told| {
        let (k, last) = (told.at(10.0), told.positions - 1);
        *told.score(k, last) = *told.score(k - 1, last) + 1e-6;
        Some(k)
    };
    assert_caught(&run, 20.0, Statement::Extremes, "", last);
    assert_caught(&square(), 20.0, Statement::Extremes, "", last);
}

/// Trajectories whose last decades do something else: they come to rest, or go on as before.
#[test]
fn limits() {
    let run = logistic();
    let end = 1e6;
    assert_caught(&run, end, Statement::OneHot, "growth of a_1", |told| {
        let k = told.at(1e4);
        *told.score(k, 4) += 0.1;
        Some(k)
    });
    // The weights stand still from t = 1e5 on.
    assert_caught(&run, end, Statement::OneHot, "1 − σ_1", |told| {
        let from = told.at(1e5);
        for k in from..told.records() {
            for i in 0..told.positions {
                *told.weight(k, i) = *told.weight(from, i);
            }
        }
        None
    });
    assert_caught(&run, end, Statement::OneHot, "log L", |told| {
        let from = told.at(1e5);
        let stays = told.trajectory.losses[from];
        told.trajectory.losses[from..].fill(stays);
        None
    });
    // S converges like t^(−1/2).
    assert_caught(&run, end, Statement::Strength, "", |told| {
        let (from, times) = (told.at(1e3), told.trajectory.times.clone());
        let base = told.trajectory.strengths[from];
        for (k, t) in times.iter().enumerate().skip(from) {
            told.trajectory.strengths[k] = base + 5.0 * (1.0 - (t / times[from]).powf(-0.5));
        }
        None
    });
    // A projection goes on like log t.
    assert_caught(&run, end, Statement::Bounded, "", |told| {
        let from = told.at(3e3);
        for k in from..told.records() {
            let decades = (told.trajectory.times[k] / 3e3).log10();
            told.scale_column(k, 1, 1.0 + 0.05 * decades * decades);
        }
        None
    });
    // S falls, and grows again.
    assert_caught(&run, end, Statement::Strength, "", |told| {
        let (from, to) = (told.at(1e4) + 2, told.at(1e5));
        for k in from..told.records() {
            told.trajectory.strengths[k] -= if k <= to { 10.0 } else { 5.0 };
        }
        None
    });
    // All of V grows alike.
    let small = Experiment {
        dimensions: &[Dimensions::square(3)],
        ..LOGISTIC
    };
    let small = small.runs().unwrap().remove(0);
    assert_caught(&small, end, Statement::RankOneLimit, "", |told| {
        let (from, width) = (told.at(1e4), told.positions * told.predictions);
        let stays = told.trajectory.values[from * width..][..width].to_vec();
        for k in from..told.records() {
            let values = &mut told.trajectory.values[k * width..][..width];
            values.copy_from_slice(&stays);
            let factor = 1.0 + told.trajectory.times[k].log10();
            values.iter_mut().for_each(|v| *v *= factor);
        }
        None
    });
}

#[test]
fn rank_and_integral_of_the_square_loss() {
    let run = square();
    let end = 100.0;
    let add_entry = |told: &mut Told| {
        let k = told.at(10.0);
        told.trajectory.values[k * told.positions * told.predictions] += 1e-4;
        Some(k)
    };
    let (rank, direction) = ("singular value", "orthogonal");
    assert_caught(&run, end, Statement::RankOne, rank, add_entry);
    assert_caught(&run, end, Statement::RankOne, direction, add_entry);
    // Rank one, elsewhere.
    assert_caught(&run, end, Statement::RankOne, direction, |told| {
        let (k, d) = (told.at(10.0), told.positions);
        for i in 0..d {
            told.trajectory.values[k * d * told.predictions + i] *= -1.0;
        }
        Some(k)
    });
    // The prediction stays where it is.
    assert_caught(
        &run,
        end,
        Statement::FiniteIntegral,
        "exp(−Δt/d)",
        |told| {
            let (k, p) = (told.at(10.0), told.predictions);
            told.trajectory
                .predictions
                .copy_within((k - 1) * p..k * p, k * p);
            Some(k)
        },
    );
    assert_caught(
        &run,
        end,
        Statement::FiniteIntegral,
        "growth of S",
        |told| {
            let from = told.at(10.0);
            for k in from..told.records() {
                told.trajectory.strengths[k] += told.trajectory.times[k].ln();
            }
            None
        },
    );
    assert_caught(&run, end, Statement::FiniteIntegral, "weights", |told| {
        let last = told.records() - 1;
        for i in 0..told.positions {
            *told.weight(last, i) = if i == 0 { 1.0 } else { 0.0 };
        }
        Some(last)
    });
}

#[test]
fn conserved_sums_and_the_fall_of_the_loss() {
    let run = logistic();
    let end = 20.0;
    assert_caught(&run, end, Statement::ScoreSum, "", |told| {
        let k = told.at(10.0);
        *told.score(k, 3) += 1e-4;
        Some(k)
    });
    assert_caught(&run, end, Statement::OrthogonalValues, "", |told| {
        let k = told.at(10.0);
        told.trajectory.values[k * told.positions * told.predictions] += 1e-4;
        Some(k)
    });
    // Weights that are not those of the scores.
    assert_caught(&run, end, Statement::DecreaseBound, "dL/dt", |told| {
        let k = told.at(10.0);
        *told.weight(k, 0) += 0.5;
        Some(k)
    });
    assert_caught(&run, end, Statement::DecreaseBound, "1/d", |told| {
        let k = told.at(10.0);
        *told.weight(k, 0) = 0.0;
        Some(k)
    });
    assert_caught(&run, end, Statement::Decrease, "", |told| {
        let k = told.at(10.0);
        told.trajectory.losses[k] = told.trajectory.losses[k - 1] + 1e-9;
        Some(k)
    });
    // A clock that goes wrong by 1 in 1000, and a loss that is off by 1 in 100 000.
    assert_caught(&run, end, Statement::Rate, "", |told| {
        told.trajectory.times.iter_mut().for_each(|t| *t *= 1.001);
        Some(1)
    });
    assert_caught(&run, end, Statement::Rate, "", |told| {
        let k = told.at(10.0);
        told.trajectory.losses[k] *= 1.00001;
        Some(k)
    });
}

#[test]
fn trajectories_of_something_else_are_refused() {
    let run = logistic();
    let refused = |method, field: &str, part: &str, change: &dyn Fn(&mut Trajectory)| {
        let mut trajectory = integrate(&run, Slip::None, 1.0);
        change(&mut trajectory);
        let error = check(&followed(&run, trajectory), method).unwrap_err();
        println!("{error}");
        assert!(
            matches!(&error, Error::Flow { field: found, .. } if *found == field)
                && error.to_string().contains(part),
            "{error}"
        );
    };
    refused(
        RUNGE_KUTTA,
        "scores",
        "records of this problem have",
        &|trajectory| {
            trajectory.scores.pop();
        },
    );
    refused(RUNGE_KUTTA, "values", "keep_values", &|trajectory| {
        trajectory.values.clear();
    });
    refused(RUNGE_KUTTA, "updates", "times", &|trajectory| {
        trajectory.updates.pop();
    });
    refused(RUNGE_KUTTA, "values", "entry 3 is NaN", &|trajectory| {
        trajectory.values[3] = f64::NAN;
    });
    refused(RUNGE_KUTTA, "times", "ascend", &|trajectory| {
        trajectory.times.swap(3, 4)
    });
    for tolerance in [f64::NAN, -1.0, f64::INFINITY] {
        refused(
            Integrator::Flow(Tolerances {
                relative: tolerance,
                ..Tolerances::default()
            }),
            "tolerances",
            "at least 0",
            &|_| {},
        );
    }
}
