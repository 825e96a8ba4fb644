//! The paper's statements, held against trajectories that are right, and against trajectories that are not.
//!
//! The flow is integrated here, from the equations as the paper writes them, and with slips in them.

use attnscope::flow::{
    checks::{EXACT, Finding, Method, SQUARE_FROM_ZERO, Statement, Verdict, check},
    descent::{Descent, Trajectory},
    experiments::{CONDITIONING, Experiment, KL, LOGISTIC, NORMALIZATIONS, Run, SQUARE, TIED},
    follow::Followed,
    model::{Model, Parameters},
    normalization::Normalization,
    objective::Objective,
    problem::{Dimensions, Problem},
};

/// What goes wrong in the slopes, x being ∂L/∂σ = Vᵀg.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Slip {
    None,
    /// ȧ without the mean.
    NoCentring,
    /// The mean without the weights.
    PlainMean,
    /// J for Jᵀ.
    Transposed,
    /// σσᵀ for J.
    OuterForJacobian,
    /// ȧ without the factor f′ / n.
    NoFactor,
    /// The first score moves the other way.
    SignOfOne,
    /// ȧ · 1.01.
    ScoresTooFast,
    /// V̇ · 1.01.
    ValuesTooFast,
    /// ȧ without its part along σ.
    ProjectedOut,
    /// ȧ without the factor s.
    ScoresWithoutGradient,
    /// V̇ = −g / d: all columns alike.
    UniformValues,
    /// V̇ without the last entry of g.
    ValuesLackOne,
    /// g of twice the prediction.
    GradientElsewhere,
    /// The last score stands still.
    FrozenScore,
}

const SLIPS: [Slip; 14] = [
    Slip::NoCentring,
    Slip::PlainMean,
    Slip::Transposed,
    Slip::OuterForJacobian,
    Slip::NoFactor,
    Slip::SignOfOne,
    Slip::ScoresTooFast,
    Slip::ValuesTooFast,
    Slip::ProjectedOut,
    Slip::ScoresWithoutGradient,
    Slip::UniformValues,
    Slip::ValuesLackOne,
    Slip::GradientElsewhere,
    Slip::FrozenScore,
];

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// σ, and f′ / n.
fn weights(normalization: Normalization, a: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let top = a.iter().fold(f64::NEG_INFINITY, |m, &a| m.max(a));
    let f = |a: f64| match normalization {
        Normalization::Softmax => (a - top).exp(),
        Normalization::L1 => a.abs(),
        Normalization::Sum => a,
        Normalization::L2 => a * a,
        Normalization::Relu => a.max(0.0),
        Normalization::Sigmoid => 1.0 / (1.0 + (-a).exp()),
    };
    let slope = |a: f64| match normalization {
        Normalization::Softmax => (a - top).exp(),
        Normalization::L1 => a.signum(),
        Normalization::Sum => 1.0,
        Normalization::L2 => 2.0 * a,
        Normalization::Relu => f64::from(a > 0.0),
        Normalization::Sigmoid => f(a) * (1.0 - f(a)),
    };
    let n = match normalization {
        Normalization::Sigmoid => 1.0,
        Normalization::Softmax => a.iter().map(|&a| f(a)).sum(),
        _ => a.iter().map(|&a| f(a)).sum::<f64>() + 1e-10,
    };
    let divided = |g: &dyn Fn(f64) -> f64| a.iter().map(|&a| g(a) / n).collect();
    (divided(&f), divided(&slope))
}

/// V, then a, then S.
#[derive(Clone)]
struct Flow {
    model: Model,
    state: Vec<f64>,
    slip: Slip,
}

struct Seen {
    weights: Vec<f64>,
    prediction: Vec<f64>,
    loss: f64,
}

impl Flow {
    fn new(problem: &Problem, slip: Slip) -> Flow {
        let Parameters { values, scores } = problem.start();
        Flow {
            model: problem.model().clone(),
            state: [&values[..], scores, &[0.0]].concat(),
            slip,
        }
    }

    fn split<'a>(&self, state: &'a [f64]) -> (&'a [f64], &'a [f64]) {
        let (p, d) = (self.model.predictions(), self.model.positions());
        (&state[..p * d], &state[p * d..][..d])
    }

    fn gradient(&self, theta: &[f64]) -> Vec<f64> {
        match self.model.objective() {
            Objective::Logistic { target } => {
                let s = 1.0 / (1.0 + dot(target, theta).exp());
                target.iter().map(|beta| -s * beta).collect()
            }
            Objective::Square { target } => theta.iter().zip(target).map(|(x, y)| x - y).collect(),
            other => panic!("{} is not integrated here", other.name()),
        }
    }

    fn see(&self, state: &[f64]) -> Seen {
        let (values, a) = self.split(state);
        let (weights, _) = weights(self.model.normalization(), a);
        let prediction: Vec<f64> = values.chunks(a.len()).map(|v| dot(v, &weights)).collect();
        let loss = match self.model.objective() {
            Objective::Logistic { target } => (-dot(target, &prediction)).exp().ln_1p(),
            _ => 0.5 * self.gradient(&prediction).iter().map(|g| g * g).sum::<f64>(),
        };
        Seen {
            weights,
            prediction,
            loss,
        }
    }

    /// d/dt of a state.
    fn slope(&self, state: &[f64]) -> Vec<f64> {
        let (values, a) = self.split(state);
        let (p, d) = (self.model.predictions(), a.len());
        let (sigma, factor) = weights(self.model.normalization(), a);
        let mut theta: Vec<f64> = values.chunks(d).map(|v| dot(v, &sigma)).collect();
        if self.slip == Slip::GradientElsewhere {
            theta.iter_mut().for_each(|x| *x *= 2.0);
        }
        let g = self.gradient(&theta);
        let length = dot(&g, &g).sqrt();

        let mut along_values = vec![0.0; p * d];
        for i in 0..p {
            for j in 0..d {
                along_values[i * d + j] = -g[i]
                    * match self.slip {
                        Slip::ValuesTooFast => 1.01 * sigma[j],
                        Slip::UniformValues => 1.0 / d as f64,
                        Slip::ValuesLackOne if i + 1 == p => 0.0,
                        _ => sigma[j],
                    };
            }
        }
        let x: Vec<f64> = (0..d)
            .map(|j| (0..p).map(|i| values[i * d + j] * g[i]).sum())
            .collect();
        let centred = self.model.normalization() != Normalization::Sigmoid;
        let mean = match self.slip {
            Slip::NoCentring => 0.0,
            Slip::PlainMean if centred => x.iter().sum::<f64>() / d as f64,
            _ if centred => dot(&sigma, &x),
            _ => 0.0,
        };
        let mut along_scores: Vec<f64> = (0..d)
            .map(|j| match self.slip {
                Slip::Transposed if centred => -(factor[j] * x[j] - sigma[j] * dot(&factor, &x)),
                Slip::OuterForJacobian => -sigma[j] * dot(&sigma, &x),
                Slip::NoFactor => -(x[j] - mean),
                _ => -factor[j] * (x[j] - mean),
            })
            .collect();
        match self.slip {
            Slip::SignOfOne => along_scores[0] *= -1.0,
            Slip::ScoresTooFast => along_scores.iter_mut().for_each(|a| *a *= 1.01),
            Slip::ProjectedOut => {
                let part = dot(&along_scores, &sigma) / dot(&sigma, &sigma);
                for (a, sigma) in along_scores.iter_mut().zip(&sigma) {
                    *a -= part * sigma;
                }
            }
            Slip::ScoresWithoutGradient => along_scores.iter_mut().for_each(|a| *a /= length),
            Slip::FrozenScore => along_scores[d - 1] = 0.0,
            _ => {}
        }
        [&along_values[..], &along_scores, &[length]].concat()
    }

    /// One step of the classical Runge-Kutta method.
    fn step(&mut self, h: f64) {
        let moved = |k: &[f64], h: f64| -> Vec<f64> {
            self.state.iter().zip(k).map(|(x, k)| x + h * k).collect()
        };
        let k1 = self.slope(&self.state);
        let k2 = self.slope(&moved(&k1, h / 2.0));
        let k3 = self.slope(&moved(&k2, h / 2.0));
        let k4 = self.slope(&moved(&k3, h));
        for (i, x) in self.state.iter_mut().enumerate() {
            *x += h / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]);
        }
    }
}

/// Steps of size `(1 + t) / steps`, each recorded: up to 1 t hardly grows, then by a constant factor.
fn integrate(run: &Run, slip: Slip, steps: f64, end: f64) -> Trajectory {
    let mut flow = Flow::new(&run.problem, slip);
    let (mut t, mut trajectory) = (0.0, Trajectory::default());
    let mut updates = 0;
    loop {
        let seen = flow.see(&flow.state);
        let (values, scores) = flow.split(&flow.state);
        trajectory.updates.push(updates);
        trajectory.times.push(t);
        trajectory.losses.push(seen.loss);
        trajectory.strengths.push(flow.state[flow.state.len() - 1]);
        trajectory.scores.extend(scores);
        trajectory.weights.extend(&seen.weights);
        trajectory.predictions.extend(&seen.prediction);
        trajectory.values.extend(values);
        if t >= end {
            return trajectory;
        }
        let h = (1.0 + t) / steps;
        flow.step(h);
        t += h;
        updates += 1;
    }
}

fn followed(run: &Run, trajectory: Trajectory) -> Followed {
    Followed {
        run: run.clone(),
        trajectory,
        failure: None,
    }
}

fn print(findings: &[Finding]) {
    for finding in findings {
        let worst = finding.worst.map(|worst| {
            format!("{:.2e} | {:.2e} at {:.2e}", worst.value, worst.bound, worst.time)
        });
        println!(
            "{:<20} {:<60.60} {:<36} {:?}",
            finding.statement.name(),
            finding.quantity,
            worst.unwrap_or_default(),
            finding.verdict
        );
    }
}

#[test]
fn explore() {
    let mut runs = Vec::new();
    for experiment in [LOGISTIC, SQUARE_FROM_ZERO, NORMALIZATIONS, SQUARE] {
       runs.extend(experiment.runs().unwrap());
    }
    for slip in SLIPS {
        for run in &runs {
            let end = 50.0;
            let right = integrate(run, Slip::None, 50.0, end);
            let wrong = integrate(run, slip, 50.0, end);
            let diff = right.scores.iter().zip(&wrong.scores).chain(right.values.iter().zip(&wrong.values)).map(|(x,y)| (x-y).abs()).fold(0.0, f64::max);
            let findings = check(&followed(run, wrong), Method::Flow { tolerance: 1e-9 }).unwrap();
            let v: Vec<String> = findings.iter().filter(|f| f.is_violated()).map(|f| format!("{} {:.1e}|{:.1e}", f.statement.name(), f.worst.unwrap().value,  f.worst.unwrap().bound)).collect();
            println!("{slip:?} {} {} {diff:.1e}: {v:?}", run.experiment, run.problem.model().normalization().name());
        }
    }
}
