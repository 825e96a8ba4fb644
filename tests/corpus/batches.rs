//! Batches by token budget and by number of samples.

use std::num::NonZeroUsize;

use attnscope::corpus::{Batch, BatchLimit, plan_batches};
use attnscope::random::PythonRandom;

fn tokens(n: usize) -> BatchLimit {
    BatchLimit::Tokens(NonZeroUsize::new(n).unwrap())
}

fn samples(n: usize) -> BatchLimit {
    BatchLimit::Samples(NonZeroUsize::new(n).unwrap())
}

fn batch(samples: &[usize], tokens: usize) -> Batch {
    Batch {
        samples: samples.to_vec(),
        tokens,
    }
}

#[test]
fn a_plan_by_tokens() {
    let plan = plan_batches(&[3, 20, 5, 3, 5, 1], tokens(10));
    let expected = [batch(&[1], 20), batch(&[2, 4], 10), batch(&[0, 3, 5], 7)];
    assert_eq!(plan, expected);
}

#[test]
fn a_plan_by_samples() {
    let plan = plan_batches(&[3, 20, 5, 3, 5], samples(2));
    let expected = [batch(&[1, 2], 25), batch(&[4, 0], 8), batch(&[3], 3)];
    assert_eq!(plan, expected);
}

#[test]
fn no_samples_no_batches() {
    assert_eq!(plan_batches(&[], tokens(10)), []);
    assert_eq!(plan_batches(&[], samples(10)), []);
}

#[test]
fn what_holds_for_every_plan() {
    let mut random = PythonRandom::new(3);
    for _ in 0..500 {
        let longest = 1 + random.below(300);
        let lengths: Vec<usize> = (0..random.below(400))
            .map(|_| 1 + random.below(longest))
            .collect();
        let limit = match random.below(2) {
            0 => tokens(1 + random.below(1000)),
            _ => samples(1 + random.below(40)),
        };
        let plan = plan_batches(&lengths, limit);

        // Every sample in exactly one batch, longest first, equal ones by position.
        let order: Vec<usize> = plan
            .iter()
            .flat_map(|batch| batch.samples.clone())
            .collect();
        let mut expected: Vec<usize> = (0..lengths.len()).collect();
        expected.sort_by_key(|&position| std::cmp::Reverse(lengths[position]));
        assert_eq!(order, expected);

        for (i, batch) in plan.iter().enumerate() {
            let sum: usize = batch
                .samples
                .iter()
                .map(|&position| lengths[position])
                .sum();
            assert_eq!(batch.tokens, sum);
            let next = plan.get(i + 1).map(|next| lengths[next.samples[0]]);
            match limit {
                BatchLimit::Tokens(most) => {
                    assert!(sum <= most.get() || batch.samples.len() == 1);
                    // No batch is closed while the next sample would still fit.
                    assert!(next.is_none_or(|next| sum + next > most.get()));
                }
                BatchLimit::Samples(most) => {
                    assert!(batch.samples.len() <= most.get());
                    assert!(next.is_none() || batch.samples.len() == most.get());
                }
            }
        }
    }
}
