//! The closed forms of all gradients against central differences and against automatic differentiation.

use attnscope::flow::{
    model::{Form, Model, Parameters},
    objective::Objective,
    sigma::Sigma,
};
use attnscope::random::NumpyRandom;
use candle_core::{Device, Tensor, Var};

use super::{PREDICTIONS, SAMPLES, objectives, parameters, positions};

/// The step of the differences: their truncation (its square) and rounding (1e-16 over it) are both about 1e-10.
const STEP: f64 = 1e-5;
const DIFFERENCES_BOUND: f64 = 1e-8;
const AUTOGRAD_BOUND: f64 = 1e-12;

/// Calls `check` with every objective, normalisation and form, at several points.
fn for_each_model(mut check: impl FnMut(&str, &Model, &Parameters)) {
    for seed in 0..3 {
        let random = &mut NumpyRandom::new(seed);
        for objective in objectives(random) {
            for sigma in Sigma::ALL {
                for form in [Form::Free, Form::Rows(3), Form::Tied] {
                    let model =
                        Model::new(objective.clone(), sigma, form, positions(form)).unwrap();
                    let name = format!("{} {sigma} {form:?}", objective.name());
                    check(&name, &model, &parameters(random, form));
                }
            }
        }
    }
}

/// The largest difference, relative to the gradient's largest entry.
fn difference(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    assert!(largest > 0.0, "a gradient of zeros shows nothing");
    let differences = found.iter().zip(expected).map(|(x, y)| (x - y).abs());
    differences.fold(0.0, |m, x| if x <= m { m } else { x }) / largest
}

fn assert_below(bound: f64, worst: &(f64, String)) {
    println!("largest difference {:.2e} ({})", worst.0, worst.1);
    assert!(worst.0 <= bound, "{}: {:e}", worst.1, worst.0);
}

fn note(worst: &mut (f64, String), difference: f64, name: &str) {
    if worst.0.is_nan() || difference <= worst.0 {
        return;
    }
    *worst = (difference, name.to_owned());
}

#[test]
fn central_differences() {
    let mut worst = (0.0, String::new());
    for_each_model(|name, model, at| {
        let gradient = model.gradient(at).unwrap();
        let slope =
            |mut moved: Parameters, part: fn(&mut Parameters) -> &mut Vec<f64>, k: usize| {
                let start = part(&mut moved)[k];
                part(&mut moved)[k] = start + STEP;
                let up = model.loss(&moved).unwrap();
                part(&mut moved)[k] = start - STEP;
                (up - model.loss(&moved).unwrap()) / (2.0 * STEP)
            };
        let values: Vec<f64> = (0..at.values.len())
            .map(|k| slope(at.clone(), |p| &mut p.values, k))
            .collect();
        let scores: Vec<f64> = (0..at.scores.len())
            .map(|k| slope(at.clone(), |p| &mut p.scores, k))
            .collect();
        let name = format!("{name}, scores {:?}", at.scores);
        note(&mut worst, difference(&gradient.values, &values), &name);
        note(&mut worst, difference(&gradient.scores, &scores), &name);
    });
    assert_below(DIFFERENCES_BOUND, &worst);
}

#[test]
fn automatic_differentiation() {
    let mut worst = (0.0, String::new());
    for_each_model(|name, model, at| {
        let gradient = model.gradient(at).unwrap();
        let (values, scores) = autograd(model, at).unwrap();
        note(&mut worst, difference(&gradient.values, &values), name);
        note(&mut worst, difference(&gradient.scores, &scores), name);
    });
    assert_below(AUTOGRAD_BOUND, &worst);
}

/// ∂L/∂V and ∂L/∂a as candle finds them.
fn autograd(model: &Model, at: &Parameters) -> candle_core::Result<(Vec<f64>, Vec<f64>)> {
    let column = |x: &[f64]| Tensor::from_slice(x, (x.len(), 1), &Device::Cpu);
    let (d, rows) = (model.positions(), model.rows());
    let values = Var::from_tensor(&Tensor::from_slice(
        &at.values,
        (PREDICTIONS, d),
        &Device::Cpu,
    )?)?;
    let scores = Var::from_tensor(&Tensor::from_slice(&at.scores, (rows, d), &Device::Cpu)?)?;

    let mut loss = Tensor::zeros((), candle_core::DType::F64, &Device::Cpu)?;
    for row in 0..rows {
        let row = scores.narrow(0, row, 1)?.t()?;
        let activated = match model.form() {
            Form::Free | Form::Rows(_) => row,
            Form::Tied => values.matmul(&row)?,
        };
        let prediction = values.matmul(&weights(model.sigma().name(), &activated)?)?;
        let of_row = match model.objective() {
            Objective::Logistic { target } => {
                let margin = (column(target)? * &prediction)?.sum_all()?;
                (margin.neg()?.exp()? + 1.0)?.log()?
            }
            Objective::Square { target } => {
                ((prediction - column(target)?)?.sqr()?.sum_all()? * 0.5)?
            }
            Objective::Regression { design, target } => {
                let design = Tensor::from_slice(design, (SAMPLES, PREDICTIONS), &Device::Cpu)?;
                (column(target)? - design.matmul(&prediction)?)?
                    .sqr()?
                    .sum_all()?
            }
            Objective::CrossEntropy { target } => {
                let e = prediction.exp()?;
                let log = e.broadcast_div(&e.sum_all()?)?.log()?;
                (column(target)? * log)?.sum_all()?.neg()?
            }
        };
        loss = (loss + of_row)?;
    }
    let gradients = loss.backward()?;
    let flat = |x: &Var| {
        let gradient = gradients.get(x).expect("the loss depends on it");
        gradient.contiguous()?.flatten_all()?.to_vec1::<f64>()
    };
    Ok((flat(&values)?, flat(&scores)?))
}

/// A column of weights, in plain operations.
fn weights(sigma: &str, a: &Tensor) -> candle_core::Result<Tensor> {
    let quotient = |f: Tensor| f.broadcast_div(&(f.sum_all()? + 1e-10)?);
    let sigmoid = || (a.neg()?.exp()? + 1.0)?.recip();
    let softplus = || (a.exp()? + 1.0)?.log();
    let elu = || a.relu()? + a.minimum(0.0)?.exp();
    match sigma {
        "softmax" => {
            let e = a.exp()?;
            e.broadcast_div(&e.sum_all()?)
        }
        "l1" => quotient(a.abs()?),
        "sum" => quotient(a.clone()),
        "l2" => quotient(a.sqr()?),
        "relu" => quotient(a.relu()?),
        "softplus" => quotient(softplus()?),
        "elu" => quotient(elu()?),
        "sigmoid_norm" => quotient(sigmoid()?),
        "sigmoid" => sigmoid(),
        "linear" => Ok(a.clone()),
        "relu_unnorm" => a.relu(),
        "softplus_unnorm" => softplus(),
        "elu_unnorm" => elu(),
        "exp_unnorm" => a.exp(),
        "abs_unnorm" => a.abs(),
        "square_unnorm" => a.sqr(),
        other => panic!("no formula for {other}"),
    }
}

/// Scores at a kink: the slope there is 0 by the notebook's convention (`numpy.sign(0)`, `z > 0`).
#[test]
fn kinks() {
    let at = Parameters {
        values: vec![1.0, 2.0],
        scores: vec![0.0, 1.0],
    };
    for sigma in [Sigma::L1, Sigma::RELU] {
        let objective = Objective::Square { target: vec![5.0] };
        let model = Model::new(objective, sigma, Form::Free, 2).unwrap();
        assert_eq!(model.gradient(&at).unwrap().scores[0], 0.0);
    }
}
