//! Shards of a scan, merged: the scan.

use std::path::PathBuf;

use attnscope::{
    corpus::{SampleSize, Shard},
    scan::plan::Memory,
    store::{merge, read_heads},
};

use super::{
    FUNCTIONS, Fixture, SMALL, assert_close, assert_finished, batch_size, random_texts, rows, run,
    tables,
};

const LENGTHS: [usize; 11] = [5, 40, 0, 17, 1, 65, 9, 130, 2, 300, 33];

#[test]
fn merged_shards_are_the_scan() {
    for function in FUNCTIONS {
        let texts = random_texts(&LENGTHS, SMALL[4]);
        let fixture = Fixture::new(function, SMALL, &texts);
        for (name, n_samples, size) in [
            ("all", SampleSize::All, None),
            ("some", SampleSize::Rows(8), None),
            ("alone", SampleSize::All, batch_size(1)),
        ] {
            let request = |out: &str| {
                let mut request = fixture.request(&format!("{name}-{out}"));
                request.n_samples = n_samples;
                request.batch_size = size;
                request
            };
            let whole = request("whole");
            let expected = run(&whole);

            let mut samples = 0;
            let mut dirs: Vec<PathBuf> = Vec::new();
            for index in 0..3 {
                let mut request = request(&format!("shard-{index}"));
                request.shard = Some(Shard::new(index, 3).unwrap());
                if index == 1 {
                    request.memory = Memory::Streamed;
                }
                samples += run(&request).run.samples;
                dirs.push(request.out);
            }
            assert_eq!(samples, expected.run.samples);
            // In any order.
            dirs.rotate_left(1);
            let out = fixture.out(&format!("{name}-merged"));
            let merged = merge(&dirs, &out).unwrap();
            assert_finished(&out);
            assert_eq!(
                (merged.samples, merged.tokens, merged.sampling.skipped),
                (
                    expected.run.samples,
                    expected.run.tokens,
                    expected.run.sampling.skipped
                )
            );
            let case = format!("{function}, {name}");
            assert_close(&case, &rows(&out), &rows(&whole.out), 1e-6);
            let heads = read_heads(&out).unwrap();
            for (found, expected) in heads.iter().zip(&expected.heads) {
                assert_eq!(found.samples, expected.samples);
                let difference =
                    found.sums.means().sparsity_score - expected.sums.means().sparsity_score;
                assert!(difference.abs() <= 1e-6);
            }
            assert_eq!(heads.len(), expected.heads.len());
            // Samples that go through the model alone cannot tell in which run they do.
            if size.is_some() {
                assert!(tables(&out) == tables(&whole.out));
            }
        }
    }
}

/// A shard all of whose texts are empty is a shard, too.
#[test]
fn a_shard_may_have_nothing_but_empty_texts() {
    let texts = random_texts(&[5, 3, 0, 0, 9, 2], SMALL[4]);
    let fixture = Fixture::new(FUNCTIONS[0], SMALL, &texts);
    let whole = run(&fixture.request("whole"));
    for memory in [Memory::Resident, Memory::Streamed] {
        let dirs: Vec<PathBuf> = (0..3)
            .map(|index| {
                let mut request = fixture.request(&format!("{memory:?}-{index}"));
                request.memory = memory;
                request.shard = Some(Shard::new(index, 3).unwrap());
                run(&request);
                request.out
            })
            .collect();
        let out = fixture.out(&format!("{memory:?}-merged"));
        let merged = merge(&dirs, &out).unwrap();
        assert_eq!((merged.samples, merged.sampling.skipped), (4, 2));
        assert_eq!(merged.tokens, whole.run.tokens);
        let case = format!("{memory:?}");
        assert_close(&case, &rows(&out), &rows(&fixture.out("whole")), 1e-6);
    }
}
