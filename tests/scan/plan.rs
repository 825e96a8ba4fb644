//! The memory plan: what it counts, what it chooses, what it refuses, and what a run really takes.

use std::{fs, path::Path};

use attnscope::{
    models,
    scan::plan::{Demand, Executor, Memory, Plan},
};

use safetensors::SafeTensors;

use super::{Fixture, random_texts};
use crate::gala::generator::AttentionFunction;

/// A machine with `available` bytes, and 1000 tokens in samples of at most 256.
fn demand(available: Option<u64>) -> Demand {
    Demand {
        element_bytes: 4,
        is_fused: true,
        tokens: 1000,
        longest: 256,
        batch_tokens: None,
        beside: 0,
        available,
    }
}

fn fixture(layers: usize) -> Fixture {
    let sizes = [layers, 256, 4, 704, 64];
    Fixture::new(AttentionFunction::Softmax, sizes, &random_texts(&[4], 64))
}

fn plan(model: &Path, demand: Demand, memory: Memory) -> attnscope::Result<Plan> {
    Plan::new(&*models::open(model).unwrap(), demand, memory)
}

/// Bytes of the matrices of the layers, from the checkpoint; of the last layer queries and keys only.
fn matrices(model: &Path, layers: std::ops::Range<usize>, last: usize) -> u64 {
    let file = fs::read(model.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    tensors
        .iter()
        .filter(|(name, entry)| {
            let Some((layer, part)) = name
                .strip_prefix("model.layers.")
                .and_then(|name| name.split_once('.'))
            else {
                return false;
            };
            let layer: usize = layer.parse().unwrap();
            let is_needed = layer < last || part.contains("q_proj") || part.contains("k_proj");
            layers.contains(&layer) && is_needed && entry.shape().len() == 2
        })
        .map(|(_, entry)| entry.data().len() as u64)
        .sum()
}

#[test]
fn weights_are_counted_to_the_byte() {
    for layers in [1, 2, 3, 7] {
        let fixture = fixture(layers);
        let plan = plan(&fixture.model, demand(None), Memory::Auto).unwrap();
        let all = matrices(&fixture.model, 0..layers, layers - 1);
        assert_eq!(plan.all_layers, all, "{layers} layers");
        let two = matrices(&fixture.model, 0..2.min(layers), layers - 1);
        assert_eq!(plan.two_layers, two, "{layers} layers");
        assert_eq!(plan.hidden_states_on_disk, 2 * 1000 * 256 * 4);

        let half = Demand {
            element_bytes: 2,
            ..demand(None)
        };
        let half = self::plan(&fixture.model, half, Memory::Auto).unwrap();
        assert_eq!(half.all_layers, all / 2);
        assert_eq!(half.hidden_states_on_disk, plan.hidden_states_on_disk);
    }
}

#[test]
fn the_choice_follows_from_the_memory_there_is() {
    let fixture = fixture(40);
    let plan = |available: u64, memory| plan(&fixture.model, demand(Some(available)), memory);
    let plenty = plan(1 << 40, Memory::Auto).unwrap();
    assert_eq!(plenty.executor, Executor::Resident);
    assert_eq!(plenty.batch_tokens, 1000);
    let (resident, streamed) = (
        plenty.needed(Executor::Resident),
        plenty.needed(Executor::Streamed),
    );
    assert!(streamed < resident);
    assert_eq!(
        resident - streamed,
        plenty.all_layers - plenty.two_layers - plenty.two_layers / 3
    );

    // Enough for one of them by a tenth, although a plan leaves a part of the memory to others.
    let (enough, between) = (resident * 13 / 10, (resident + streamed) / 2 * 11 / 10);
    let chosen = |available, memory| plan(available, memory).unwrap().executor;
    assert_eq!(chosen(enough, Memory::Auto), Executor::Resident);
    assert_eq!(chosen(enough, Memory::Streamed), Executor::Streamed);
    assert_eq!(chosen(between, Memory::Auto), Executor::Streamed);
    assert_eq!(chosen(between, Memory::Streamed), Executor::Streamed);

    for (available, memory, remedy) in [
        (between, Memory::Resident, "--memory streamed"),
        (streamed / 2, Memory::Auto, "--max-seq-len"),
        (streamed / 2, Memory::Streamed, "--max-seq-len"),
        (0, Memory::Auto, "--max-seq-len"),
    ] {
        let error = plan(available, memory).unwrap_err();
        assert_eq!(error.exit_code(), 5);
        assert!(error.to_string().contains(remedy), "{error}");
    }
}

#[test]
fn batches_shrink_before_the_scan_is_refused() {
    let fixture = fixture(3);
    let model = models::open(&fixture.model).unwrap();
    let base = Plan::new(&*model, demand(None), Memory::Streamed).unwrap();
    let per_token = base.activations / base.batch_tokens;
    let many = |available| Demand {
        tokens: 1 << 30,
        ..demand(available)
    };
    assert_eq!(
        Plan::new(&*model, many(None), Memory::Auto)
            .unwrap()
            .batch_tokens,
        2048
    );
    // Room for the weights and some 1500 tokens.
    let room = base.needed(Executor::Streamed) - base.activations + 1500 * per_token;
    let available = Some(room * 100 / 85);
    let plan = Plan::new(&*model, many(available), Memory::Streamed).unwrap();
    println!("{plan}");
    assert!((500..=1500).contains(&plan.batch_tokens), "{plan}");
    // And where attention needs room for scores.
    let tensor_form = |batch_tokens, available| Demand {
        is_fused: false,
        batch_tokens,
        ..many(available)
    };
    let small = Plan::new(&*model, tensor_form(Some(1024), None), Memory::Streamed).unwrap();
    let room = small.needed(Executor::Streamed) + small.activations;
    let enough = Some(room * 100 / 85 + 100);
    let shrunk = Plan::new(&*model, tensor_form(None, enough), Memory::Auto).unwrap();
    assert_eq!(shrunk.batch_tokens, 1024);
    let all = Plan::new(&*model, tensor_form(None, None), Memory::Auto).unwrap();
    assert_eq!(all.batch_tokens, 8192);
    // The longest sample has to go through, whatever the room.
    let longest = Demand {
        longest: 3000,
        ..many(available)
    };
    let error = Plan::new(&*model, longest, Memory::Streamed).unwrap_err();
    assert!(error.to_string().contains("--max-seq-len"), "{error}");
    // A size the user asked for is taken or refused, never changed.
    let asked = Demand {
        batch_tokens: Some(3000),
        ..many(available)
    };
    let error = Plan::new(&*model, asked, Memory::Streamed).unwrap_err();
    assert!(error.to_string().contains("--batch-size"), "{error}");
    assert_eq!(
        Plan::new(
            &*model,
            Demand {
                available: None,
                ..asked
            },
            Memory::Streamed
        )
        .unwrap()
        .batch_tokens,
        3000
    );
}
