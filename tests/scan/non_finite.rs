//! Weights that are not numbers: the scan finishes, says so, and blames the right rows.

use std::{fs, path::Path, process::Command};

use attnscope::{scan::plan::Memory, store::SampleRow};
use safetensors::SafeTensors;
use serde_json::Value;

use super::{FUNCTIONS, Fixture, random_texts, rows, run};

const LAYERS: usize = 4;
const HIDDEN: usize = 48;
const HEADS: usize = 6;
const VOCAB: usize = 64;
const LENGTHS: [usize; 6] = [5, 140, 0, 17, 1, 65];

fn fixture(function: crate::gala::generator::AttentionFunction) -> Fixture {
    let mut texts = random_texts(&LENGTHS, VOCAB);
    // The last token of the vocabulary occurs once, after 100 tokens of sample 1.
    for id in texts.iter_mut().flatten() {
        *id = (*id).min(VOCAB as u32 - 2);
    }
    texts[1][100] = VOCAB as u32 - 1;
    Fixture::new(function, [LAYERS, HIDDEN, HEADS, 96, VOCAB], &texts)
}

/// Overwrites one element of a float32 tensor with NaN.
fn spoil(model: &Path, tensor: &str, element: usize) {
    let path = model.join("model.safetensors");
    let mut file = fs::read(&path).unwrap();
    let at = {
        let tensors = SafeTensors::deserialize(&file).unwrap();
        let data = tensors.tensor(tensor).unwrap().data().as_ptr();
        data as usize - file.as_ptr() as usize + 4 * element
    };
    assert!(f32::from_le_bytes(file[at..at + 4].try_into().unwrap()).is_finite());
    file[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(path, file).unwrap();
}

/// Scans before and after the damage, and calls `check` with each row and what it was before.
fn compare(tensor: &str, element: usize, check: impl Fn(&SampleRow, &SampleRow)) {
    for function in FUNCTIONS {
        let fixture = fixture(function);
        assert_eq!(run(&fixture.request("whole")).run.non_finite_rows, 0);
        let before = rows(&fixture.out("whole"));
        spoil(&fixture.model, tensor, element);
        for memory in [Memory::Resident, Memory::Streamed] {
            let mut request = fixture.request(&format!("{memory:?}"));
            request.memory = memory;
            let outcome = run(&request);
            let after = rows(&request.out);
            assert_eq!(after.len(), before.len());
            for (after, before) in after.iter().zip(&before) {
                assert_eq!(after.sums.tokens, before.sums.tokens);
                check(after, before);
            }
            let counted: i64 = after.iter().map(|row| row.sums.non_finite_rows).sum();
            println!("{function}, {memory:?}, {tensor}: {counted} rows are not finite");
            assert_eq!(outcome.run.non_finite_rows, counted as u64);
            let heads: i64 = outcome
                .heads
                .iter()
                .map(|head| head.sums.non_finite_rows)
                .sum();
            assert_eq!(heads, counted);
            for head in outcome.heads {
                let is_spoilt = head.sums.finite_rows() == 0;
                assert_eq!(head.sums.means().sparsity_score.is_nan(), is_spoilt);
            }
        }
    }
}

#[track_caller]
fn assert_lost(row: &SampleRow) {
    let sums = &row.sums;
    assert_eq!(sums.non_finite_rows, sums.tokens, "{row:?}");
    assert_eq!((sums.max_share_sum, sums.entropy_sum), (0.0, 0.0));
}

/// A query weight of one head: this head, and everything in the layers after it.
#[test]
fn a_query_weight() {
    let width = HIDDEN / HEADS;
    let element = (2 * width + 1) * HIDDEN + 5;
    compare(
        "model.layers.1.self_attn.q_proj.weight",
        element,
        |after, before| match (after.layer, after.head) {
            (0, _) => assert_eq!(after, before),
            (1, head) if head != 2 => assert_eq!(after, before),
            _ => assert_lost(after),
        },
    );
}

/// A value weight leaves its own layer's attention weights alone.
#[test]
fn a_value_weight() {
    compare(
        "model.layers.1.self_attn.v_proj.weight",
        7,
        |after, before| match after.layer {
            0 | 1 => assert_eq!(after, before),
            _ => assert_lost(after),
        },
    );
}

/// What follows the last attention weights is never computed.
#[test]
fn a_weight_that_is_not_needed() {
    let last = LAYERS - 1;
    compare(
        &format!("model.layers.{last}.mlp.up_proj.weight"),
        0,
        |after, before| assert_eq!(after, before),
    );
}

/// The embedding of one token: its sample from there on, and no other sample. What is masked does not count, not
/// even as 0 times NaN.
#[test]
fn an_embedding() {
    compare(
        "model.embed_tokens.weight",
        (VOCAB - 1) * HIDDEN,
        |after, before| match after.sample {
            1 => assert_eq!(after.sums.non_finite_rows, 40, "{after:?}"),
            _ => assert_eq!(after, before),
        },
    );
}

#[test]
fn exit_code_6() {
    let fixture = fixture(FUNCTIONS[0]);
    let scan = |out: &str| {
        Command::new(env!("CARGO_BIN_EXE_attnscope"))
            .args(["scan", "--n-samples", "all", "--device", "cpu", "--json"])
            .arg("--model")
            .arg(&fixture.model)
            .arg("--dataset")
            .arg(&fixture.texts)
            .arg("--out")
            .arg(fixture.out(out))
            .env_clear()
            .output()
            .unwrap()
    };
    assert_eq!(scan("whole").status.code(), Some(0));
    spoil(&fixture.model, "model.layers.0.self_attn.k_norm.weight", 0);
    let output = scan("spoilt");
    assert_eq!(output.status.code(), Some(6));
    let tokens: usize = LENGTHS.iter().sum();
    let rows = tokens * LAYERS * HEADS;
    let message = String::from_utf8(output.stderr).unwrap();
    let warning = format!("{rows} attention rows are not finite");
    assert!(message.contains(&warning), "{message}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["non_finite_rows"], rows);
    assert_eq!(summary["heads"].as_array().unwrap().len(), LAYERS * HEADS);
    assert!(summary["heads"][0]["sparsity_score"].is_null());
    super::assert_finished(&fixture.out("spoilt"));
}
