//! The flow, integrated from the equations as the paper writes them, and with slips in them.

use attnscope::flow::{
    experiments::Run,
    model::{Model, Parameters},
    objective::Objective,
    problem::Problem,
    sigma::Sigma,
    trajectory::Trajectory,
};

/// How many steps there are per unit of 1 + t, and with them the largest error of a step that
/// [`steps_are_as_exact_as_stated`] finds, in any parameter, relative to 1 + the largest of its kind.
const STEPS: f64 = 100.0;
pub(super) const TOLERANCE: f64 = 5e-11;

/// What goes wrong in the slopes, x being ∂L/∂σ = Vᵀg.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Slip {
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

pub(super) const SLIPS: [Slip; 14] = [
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
fn weights(sigma: Sigma, a: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let top = a.iter().fold(f64::NEG_INFINITY, |m, &a| m.max(a));
    let f = |a: f64| match sigma.name() {
        "softmax" => (a - top).exp(),
        "l1" => a.abs(),
        "sum" => a,
        "l2" => a * a,
        "relu" => a.max(0.0),
        "sigmoid" => 1.0 / (1.0 + (-a).exp()),
        other => panic!("{other} is not integrated here"),
    };
    let slope = |a: f64| match sigma.name() {
        "softmax" => (a - top).exp(),
        "l1" => a.signum(),
        "sum" => 1.0,
        "l2" => 2.0 * a,
        "relu" => f64::from(a > 0.0),
        "sigmoid" => f(a) * (1.0 - f(a)),
        other => panic!("{other} is not integrated here"),
    };
    let n = match sigma.name() {
        "sigmoid" => 1.0,
        "softmax" => a.iter().map(|&a| f(a)).sum(),
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
        let (weights, _) = weights(self.model.sigma(), a);
        let prediction: Vec<f64> = values.chunks(a.len()).map(|v| dot(v, &weights)).collect();
        let loss = match self.model.objective() {
            Objective::Logistic { target } => (-dot(target, &prediction)).exp().ln_1p(),
            _ => {
                0.5 * self
                    .gradient(&prediction)
                    .iter()
                    .map(|g| g * g)
                    .sum::<f64>()
            }
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
        let (sigma, factor) = weights(self.model.sigma(), a);
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
        let centred = self.model.sigma() != Sigma::SIGMOID;
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

    fn record(&self, t: f64, trajectory: &mut Trajectory) {
        let seen = self.see(&self.state);
        let (values, scores) = self.split(&self.state);
        trajectory.updates.push(trajectory.times.len() as u64);
        trajectory.times.push(t);
        trajectory.losses.push(seen.loss);
        trajectory.strengths.push(self.state[self.state.len() - 1]);
        trajectory.scores.extend(scores);
        trajectory.weights.extend(&seen.weights);
        trajectory.predictions.extend(&seen.prediction);
        trajectory.values.extend(values);
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

/// Steps of size `(1 + t) / STEPS`, each recorded: even ones at first, then by a constant factor.
pub(super) fn integrate(run: &Run, slip: Slip, end: f64) -> Trajectory {
    let mut flow = Flow::new(&run.problem, slip);
    let (mut t, mut trajectory) = (0.0, Trajectory::default());
    flow.record(t, &mut trajectory);
    while t < end {
        let h = (1.0 + t) / STEPS;
        flow.step(h);
        t += h;
        flow.record(t, &mut trajectory);
    }
    trajectory
}

/// Gradient descent, each update recorded.
pub(super) fn descend(run: &Run, slip: Slip, rate: f64, updates: u64) -> Trajectory {
    let mut flow = Flow::new(&run.problem, slip);
    let mut trajectory = Trajectory::default();
    flow.record(0.0, &mut trajectory);
    for update in 1..=updates {
        let slope = flow.slope(&flow.state);
        for (x, slope) in flow.state.iter_mut().zip(slope) {
            *x += rate * slope;
        }
        flow.record(rate * update as f64, &mut trajectory);
    }
    trajectory
}

/// One step against two of half its size, all along.
#[test]
fn steps_are_as_exact_as_stated() {
    let mut worst = 0.0f64;
    for run in super::problems() {
        let mut flow = Flow::new(&run.problem, Slip::None);
        let mut t = 0.0;
        while t < super::end(&run) {
            let h = (1.0 + t) / STEPS;
            let mut halves = flow.clone();
            halves.step(h / 2.0);
            halves.step(h / 2.0);
            flow.step(h);
            t += h;
            let (values, scores) = flow.split(&flow.state);
            let (half_values, half_scores) = halves.split(&halves.state);
            for (x, y) in [(values, half_values), (scores, half_scores)] {
                let largest = x.iter().fold(0.0f64, |m, x| m.max(x.abs()));
                let differences = x.iter().zip(y).map(|(x, y)| (x - y).abs());
                worst = worst.max(differences.fold(0.0, f64::max) / (1.0 + largest));
            }
        }
    }
    println!("largest error of a step: {worst:.1e}");
    // The halves are 16 times as exact.
    assert!(worst * 16.0 / 15.0 < TOLERANCE, "{worst:e}");
}
