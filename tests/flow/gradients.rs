//! The closed forms of all gradients against central differences and against automatic differentiation.

use attnscope::flow::{
    model::{Form, Model, Parameters},
    normalization::Normalization,
    objective::Objective,
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
            for normalization in Normalization::ALL {
                for form in [Form::Free, Form::Tied] {
                    let model = Model::new(objective.clone(), normalization, form, positions(form))
                        .unwrap();
                    let name = format!("{} {} {form:?}", objective.name(), normalization.name());
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
    let shape = (PREDICTIONS, at.scores.len());
    let values = Var::from_tensor(&Tensor::from_slice(&at.values, shape, &Device::Cpu)?)?;
    let scores = Var::from_tensor(&column(&at.scores)?)?;

    let activated = match model.form() {
        Form::Free => scores.as_tensor().clone(),
        Form::Tied => values.matmul(&scores)?,
    };
    let positive = match model.normalization() {
        Normalization::Softmax => activated.exp()?,
        Normalization::L1 => activated.abs()?,
        Normalization::Sum => activated,
        Normalization::L2 => activated.sqr()?,
        Normalization::Relu => activated.relu()?,
        Normalization::Sigmoid => (activated.neg()?.exp()? + 1.0)?.recip()?,
    };
    let weights = match model.normalization() {
        Normalization::Sigmoid => positive,
        Normalization::Softmax => positive.broadcast_div(&positive.sum_all()?)?,
        _ => positive.broadcast_div(&(positive.sum_all()? + 1e-10)?)?,
    };
    let prediction = values.matmul(&weights)?;
    let loss = match model.objective() {
        Objective::Logistic { target } => {
            let margin = (column(target)? * &prediction)?.sum_all()?;
            (margin.neg()?.exp()? + 1.0)?.log()?
        }
        Objective::Square { target } => ((prediction - column(target)?)?.sqr()?.sum_all()? * 0.5)?,
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
    let gradients = loss.backward()?;
    let flat = |x: &Var| {
        let gradient = gradients.get(x).expect("the loss depends on it");
        gradient.contiguous()?.flatten_all()?.to_vec1::<f64>()
    };
    Ok((flat(&values)?, flat(&scores)?))
}

/// Scores at a kink: the slope there is 0 by the notebook's convention (`numpy.sign(0)`, `z > 0`).
#[test]
fn kinks() {
    let at = Parameters {
        values: vec![1.0, 2.0],
        scores: vec![0.0, 1.0],
    };
    for normalization in [Normalization::L1, Normalization::Relu] {
        let objective = Objective::Square { target: vec![5.0] };
        let model = Model::new(objective, normalization, Form::Free, 2).unwrap();
        assert_eq!(model.gradient(&at).unwrap().scores[0], 0.0);
    }
}
