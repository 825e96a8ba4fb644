//! Scans that are stopped, wherever, and continued, however: the tables are those of an undisturbed run, to the
//! last byte.

use std::{fs, path::Path};

use attnscope::{
    Error,
    random::PythonRandom,
    scan::{self, Outcome, Request, plan::Memory},
    store::{read_heads, write_json},
};
use serde_json::{Value, json};

use super::{
    Fixture, SMALL, StopAfter, assert_close, assert_finished, batch_size, names, random_texts,
    rows, run, tables,
};
use crate::gala::generator::AttentionFunction;

const EXECUTORS: [Memory; 2] = [Memory::Resident, Memory::Streamed];

/// Four batches of two.
const LENGTHS: [usize; 8] = [5, 40, 17, 1, 65, 9, 130, 2];
const PASSES: u64 = 4 * SMALL[0] as u64;

fn fixture() -> Fixture {
    let texts = random_texts(&LENGTHS, SMALL[4]);
    Fixture::new(AttentionFunction::Sigmoid, SMALL, &texts)
}

fn request(fixture: &Fixture, out: &str, memory: Memory) -> Request {
    let mut request = fixture.request(out);
    request.batch_size = batch_size(2);
    request.memory = memory;
    request
}

/// Runs until `passes` batches have gone through a layer; `None` if that stopped it.
fn run_for(request: &Request, passes: u64) -> Option<Outcome> {
    match scan::run(request, &StopAfter::new(passes)) {
        Ok(outcome) => Some(outcome),
        Err(Error::Interrupted { out, .. }) => {
            assert_eq!(out, request.out);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn any_stopping_point_and_either_executor() {
    let fixture = fixture();
    let mut undisturbed = request(&fixture, "undisturbed", Memory::Resident);
    assert_eq!(run(&undisturbed).run.resumed, 0);
    let expected = tables(&undisturbed.out);
    for first in EXECUTORS {
        for second in EXECUTORS {
            for passes in 0..=PASSES {
                let out = format!("{first:?}-{second:?}-{passes}");
                let mut request = request(&fixture, &out, first);
                let stopped = run_for(&request, passes);
                assert_eq!(stopped.is_none(), passes < PASSES, "{out}");
                if stopped.is_none() && passes > 0 {
                    assert_eq!(names(&request.out), ["parts"], "{out}");
                }
                request.resume = true;
                request.memory = second;
                let outcome = run(&request);
                assert_eq!(outcome.was_finished, passes == PASSES, "{out}");
                let was_begun = passes > 0 && passes < PASSES;
                assert_eq!(outcome.run.resumed, u64::from(was_begun), "{out}");
                assert_finished(&request.out);
                assert!(tables(&request.out) == expected, "{out}");
                assert_eq!(outcome.heads, read_heads(&request.out).unwrap());
            }
        }
    }
    // And a run that has finished has nothing left to do.
    undisturbed.resume = true;
    assert!(run(&undisturbed).was_finished);
    assert!(tables(&undisturbed.out) == expected);
}

/// Several attempts with either executor, and between them files vanish from `parts/`, or are cut short.
#[test]
fn many_attempts_and_lost_files() {
    let fixture = fixture();
    let undisturbed = request(&fixture, "undisturbed", Memory::Streamed);
    run(&undisturbed);
    let expected = tables(&undisturbed.out);
    let mut attempts = 0;
    let mut lost = 0;
    for seed in 0..60 {
        let mut random = PythonRandom::new(seed);
        let mut request = request(&fixture, &format!("out-{seed}"), Memory::Auto);
        let mut history = Vec::new();
        loop {
            request.memory = EXECUTORS[random.below(2)];
            // After many attempts one that is not stopped.
            let passes = match history.len() < 12 {
                true => 1 + random.below(6) as u64,
                false => u64::MAX,
            };
            history.push(format!("{:?} for {passes}", request.memory));
            attempts += 1;
            if run_for(&request, passes).is_some() {
                break;
            }
            request.resume = true;
            for (what, name) in lose_files(&request.out.join("parts"), &mut random) {
                lost += 1;
                history.push(format!("{what} {name}"));
            }
        }
        let history = history.join("; ");
        assert_finished(&request.out);
        assert!(
            tables(&request.out) == expected,
            "seed {seed}: other results after: {history}"
        );
    }
    println!("60 runs, {attempts} attempts, {lost} files lost or cut");
}

/// Sometimes removes all hidden states, or one file, or cuts one short; says which.
fn lose_files(parts: &Path, random: &mut PythonRandom) -> Vec<(&'static str, String)> {
    let begins = |prefix: &str| -> Vec<String> {
        let mut names = names(parts);
        names.retain(|name| name.starts_with(prefix));
        names
    };
    let mut pick = |mut names: Vec<String>| -> Vec<String> {
        match names.len() {
            0 => names,
            n => vec![names.swap_remove(random.below(n))],
        }
    };
    let (chosen, is_cut) = match pick((0..6).map(|i| i.to_string()).collect())[0].as_str() {
        "0" => (begins("hidden-states-"), false),
        "1" => (pick(begins("hidden-states-")), false),
        "2" => (pick(begins("hidden-states-")), true),
        "3" => (pick(begins("batch-")), false),
        "4" => (pick(begins("batch-")), true),
        _ => (Vec::new(), false),
    };
    chosen
        .into_iter()
        .map(|name| {
            let path = parts.join(&name);
            if is_cut {
                let bytes = fs::read(&path).unwrap();
                fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
                ("cut", name)
            } else {
                fs::remove_file(&path).unwrap();
                ("removed", name)
            }
        })
        .collect()
}

/// What the very last moments of a killed process may leave: from the first table to the emptied `parts/`.
#[test]
fn the_last_moments() {
    let fixture = fixture();
    let mut whole = request(&fixture, "whole", Memory::Streamed);
    assert!(run_for(&whole, PASSES - 1).is_none());
    let parts: Vec<(String, Vec<u8>)> = names(&whole.out.join("parts"))
        .into_iter()
        .map(|name| {
            let bytes = fs::read(whole.out.join("parts").join(&name)).unwrap();
            (name, bytes)
        })
        .collect();
    assert!(
        parts
            .iter()
            .any(|(name, _)| name.starts_with("hidden-states-"))
    );
    whole.resume = true;
    run(&whole);
    let expected = tables(&whole.out);

    let is_any: fn(&str) -> bool = |_| true;
    let results = ["samples.parquet", "heads.parquet", "run.json"];
    for (case, results, is_left) in [
        ("one table", &results[..1], is_any),
        ("both tables", &results[..2], is_any),
        ("everything", &results[..3], |name| {
            !name.starts_with("hidden-")
        }),
        ("no plan", &results[..3], |name| {
            name.starts_with("batch-") || name.starts_with('.')
        }),
        ("only the lock", &results[..3], |name| name.starts_with('.')),
        ("an empty directory", &results[..3], |_| false),
    ] {
        let mut request = request(&fixture, case, Memory::Streamed);
        fs::create_dir_all(request.out.join("parts")).unwrap();
        for name in results {
            fs::copy(whole.out.join(name), request.out.join(name)).unwrap();
        }
        for (name, bytes) in parts.iter().filter(|(name, _)| is_left(name)) {
            fs::write(request.out.join("parts").join(name), bytes).unwrap();
        }
        request.resume = true;
        assert_eq!(run(&request).was_finished, results.len() == 3, "{case}");
        assert_finished(&request.out);
        assert!(tables(&request.out) == expected, "{case}");
    }
}

/// The size of a batch that the first attempt chose by itself, on a machine with less memory: a resumed run keeps
/// it, also where it is less than the longest sample.
#[test]
fn a_resumed_run_keeps_the_batches_of_the_first() {
    let fixture = fixture();
    let expected = fixture.request("undisturbed");
    assert_eq!(run(&expected).run.batch_plan.unwrap().samples, 8);
    for memory in EXECUTORS {
        let mut request = fixture.request(&format!("{memory:?}"));
        request.memory = memory;
        // Stopped before the first part.
        assert!(run_for(&request, 0).is_none());
        assert!(!request.out.exists());
        request.memory = Memory::Resident;
        assert!(run_for(&request, 1).is_none());
        request.memory = memory;
        let plan = request.out.join("parts/plan.json");
        let mut content: Value = serde_json::from_slice(&fs::read(&plan).unwrap()).unwrap();
        assert_eq!(content["fingerprint"]["batch_tokens"], json!(269));
        content["fingerprint"]["batch_tokens"] = json!(50);
        write_json(&plan, &content).unwrap();

        request.resume = true;
        let batches = run(&request).run.batch_plan;
        assert_eq!(batches.unwrap().tokens, 130);
        assert_finished(&request.out);
        // Also when there is nothing left to do.
        assert!(run(&request).was_finished);
        let case = format!("{memory:?}, batches of 50 tokens");
        assert_close(&case, &rows(&request.out), &rows(&expected.out), 1e-6);
    }
}
