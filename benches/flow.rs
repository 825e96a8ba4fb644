//! The paper's Section 3: gradient descent and the flow, all experiments, beside NumPy in the same run.
//!
//! `cargo bench --bench flow` prints a table. NumPy (`benches/peers/flow.py`, with `ATTNSCOPE_PYTHON`, default `python3`)
//! makes a share of its steps before and after ours, and the faster pace counts; where there is no NumPy, that
//! column is missing. The scores of both after that share are compared, so that both did the same work. Then 1,000
//! replicas of the logistic experiment to t = 10^5, against one.

use std::process::Command;
use std::time::Instant;

use attnscope::flow::dormand_prince::Tolerances;
use attnscope::flow::experiments::{
    CONDITIONING, Experiment, KL, LOGISTIC, NORMALIZATIONS, Run, SQUARE, TIED,
};
use attnscope::flow::follow::{Backend, Integrator, Records, Settings, follow};
use attnscope::flow::trajectory::Followed;
use candle_core::Device;

#[global_allocator]
static ALLOCATOR: attnscope::allocator::MiMalloc = attnscope::allocator::MiMalloc;

/// The notebook's; rows are not in it.
const EXPERIMENTS: [Experiment; 6] = [LOGISTIC, SQUARE, NORMALIZATIONS, CONDITIONING, KL, TIED];
const SHARE: &str = "0.01";
/// Of each measurement.
const ROUNDS: usize = 3;

fn main() {
    let before = peer();
    let flow = Integrator::Flow(Tolerances::default());
    println!(
        "{:<16} {:>12} {:>12} {:>12} {:>9} {:>9}",
        "", "NumPy", "gd", "flow", "gd ×", "flow ×"
    );
    let mut ours = Vec::new();
    for experiment in EXPERIMENTS {
        let runs = experiment
            .runs()
            .expect("the notebook's constants are fine");
        let descent = seconds(&runs, Integrator::Descent, 200);
        ours.push((experiment, descent, seconds(&runs, flow, 200)));
    }
    let after = peer();
    let mut sums = [0.0; 3];
    for (experiment, descent, flow) in ours {
        let peers = [&before, &after].map(|peer| peer.as_ref().map(|peer| &peer[experiment.name]));
        let pace = peers
            .iter()
            .flatten()
            .filter_map(|peer| peer["seconds_of_all"].as_f64())
            .fold(f64::INFINITY, f64::min);
        if let Some(peer) = peers[0] {
            compare(&experiment, peer);
        }
        for (sum, seconds) in sums.iter_mut().zip([pace, descent, flow]) {
            *sum += seconds;
        }
        line(experiment.name, [pace, descent, flow]);
    }
    line("all", sums);
    replicas(flow, Backend::Fused);
    replicas(flow, Backend::Tensors(Device::Cpu));
    replicas(Integrator::Descent, Backend::Fused);
}

fn line(name: &str, [peer, descent, flow]: [f64; 3]) {
    let or_missing = |x: f64, text: String| {
        if x.is_finite() {
            text
        } else {
            "–".to_owned()
        }
    };
    println!(
        "{name:<16} {:>12} {:>12} {:>12} {:>9} {:>9}",
        or_missing(peer, format!("{peer:.2} s")),
        format!("{descent:.4} s"),
        format!("{flow:.4} s"),
        or_missing(peer, format!("{:.0}", peer / descent)),
        or_missing(peer, format!("{:.0}", peer / flow)),
    );
}

fn settings(integrator: Integrator, records: Records) -> Settings {
    Settings {
        backend: Backend::Fused,
        integrator,
        records,
        keep_values: false,
    }
}

fn go(runs: &[Run], settings: &Settings) -> Vec<Followed> {
    let followed = follow(runs.to_vec(), settings, |_| ()).expect("runs are fine");
    assert!(followed.iter().all(|followed| followed.failure.is_none()));
    followed
}

/// The median of [`ROUNDS`], records and what is computed for them included.
fn seconds(runs: &[Run], integrator: Integrator, records: usize) -> f64 {
    median(runs, &settings(integrator, Records::Logarithmic(records)))
}

fn median(runs: &[Run], settings: &Settings) -> f64 {
    let mut seconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            go(runs, settings);
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[ROUNDS / 2]
}

/// What NumPy needed; none without it.
fn peer() -> Option<serde_json::Value> {
    let python = std::env::var("ATTNSCOPE_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/flow.py");
    let output = Command::new(&python)
        .args([script, "--share", SHARE])
        .output();
    match output {
        Ok(output) if output.status.success() => serde_json::from_slice(&output.stdout).ok(),
        _ => {
            eprintln!("no comparison: {python} has no NumPy (set ATTNSCOPE_PYTHON)");
            None
        }
    }
}

/// Prints how far NumPy's scores are from ours after as many steps.
fn compare(experiment: &Experiment, peer: &serde_json::Value) {
    let steps = peer["steps"].as_u64().expect("flow.py says how many");
    let expected: Vec<Vec<f64>> =
        serde_json::from_value(peer["scores"].clone()).expect("flow.py gives the scores");
    let runs = experiment
        .runs()
        .expect("the notebook's constants are fine");
    let settings = settings(Integrator::Descent, Records::At(vec![steps]));
    let followed = go(&runs, &settings);
    let mut worst = 0.0f64;
    for (followed, expected) in followed.iter().zip(&expected) {
        let largest = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        for (x, y) in followed.trajectory.scores.iter().zip(expected) {
            worst = worst.max((x - y).abs() / largest);
        }
    }
    println!("  after {steps} steps both have the same scores within {worst:.1e}");
}

/// Many replicas of the logistic experiment to t = 10^5, recorded at the end.
fn replicas(integrator: Integrator, backend: Backend) {
    let (name, form) = match (integrator, &backend) {
        (Integrator::Descent, _) => ("gd", "fused"),
        (Integrator::Flow(_), Backend::Fused) => ("flow", "fused"),
        (Integrator::Flow(_), Backend::Tensors(_)) => ("flow", "tensors on the CPU"),
    };
    let settings = Settings {
        backend,
        ..settings(integrator, Records::Logarithmic(1))
    };
    let mut one = 0.0;
    // A thousand descents take a minute; the flow's do not.
    let most = if name == "gd" { 160 } else { 1000 };
    for count in [1, 8, most] {
        let runs: Vec<Run> = (0..count)
            .flat_map(|seed| {
                let experiment = Experiment { seed, ..LOGISTIC };
                experiment
                    .runs()
                    .expect("the notebook's constants are fine")
            })
            .collect();
        let all = median(&runs, &settings);
        if count == 1 {
            one = all;
        }
        println!(
            "{name}, {form}: {count:>4} replicas to t = 10^5: {all:.4} s, {:.1} µs each, {:.3} of one alone",
            1e6 * all / f64::from(count),
            all / f64::from(count) / one
        );
    }
}
