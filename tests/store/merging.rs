//! Several runs become one.

use std::fs;
use std::path::{Path, PathBuf};

use attnscope::Error;
use attnscope::store::{Parts, RunManifest, merge, read_heads, samples_file_name};
use tempfile::{TempDir, tempdir};

use super::*;

/// Runs the samples as shards, in directories of their own.
fn shards(root: &Path, pieces: &[Vec<i64>]) -> Vec<PathBuf> {
    (0..)
        .zip(pieces)
        .map(|(index, samples)| {
            let dir = root.join(format!("shard-{index}"));
            run(
                &dir,
                samples,
                Some(Shard::new(index, pieces.len()).unwrap()),
            );
            dir
        })
        .collect()
}

/// Two unsharded runs with different samples.
fn two_runs(root: &TempDir) -> [PathBuf; 2] {
    let dirs = [root.path().join("a"), root.path().join("b")];
    run(&dirs[0], &[1, 5, 9], None);
    run(&dirs[1], &[2, 4, 8, 16], None);
    dirs
}

/// The same rows as another run.
fn edit(dir: &Path, change: impl Fn(&mut RunManifest)) {
    let mut run = RunManifest::read(dir).unwrap();
    let table = dir.join(samples_file_name(run.sampling.shard));
    let mut samples: Vec<i64> = read_all(&table).iter().map(|row| row.sample).collect();
    change(&mut run);
    samples.sort_unstable();
    samples.dedup();
    fs::remove_dir_all(dir).unwrap();
    let mut parts = Parts::create(dir, &fingerprint()).unwrap();
    let rows = rows(&samples, 0..N_LAYERS);
    parts.write(0, 0..N_LAYERS, rows).unwrap();
    let shard = run.sampling.shard;
    let provenance = run.provenance();
    parts
        .finish(N_LAYERS, &samples, shard, &provenance)
        .unwrap();
    run.write(dir).unwrap();
    parts.remove().unwrap();
}

#[test]
fn merged_shards_equal_the_unsharded_run_bit_by_bit() {
    for seed in 0..4 {
        let root = tempdir().unwrap();
        let samples = some_samples(23, seed);
        let whole = root.path().join("whole");
        run(&whole, &samples, None);

        let mut random = Random(seed);
        let mut pieces = vec![Vec::new(); 2 + random.below(5)];
        for &sample in &samples {
            let piece = random.below(pieces.len());
            pieces[piece].push(sample);
        }
        let mut dirs = shards(root.path(), &pieces);
        random.shuffle(&mut dirs);
        let out = root.path().join("merged");
        let manifest = merge(&dirs, &out).unwrap();

        assert_eq!(
            names(&out),
            ["heads.parquet", "run.json", "samples.parquet"]
        );
        for name in ["samples.parquet", "heads.parquet"] {
            let read = |dir: &Path| fs::read(dir.join(name)).unwrap();
            assert!(read(&whole) == read(&out), "{name}, seed {seed}");
        }
        assert_eq!(
            read_heads(&out).unwrap(),
            heads_of(&rows(&samples, 0..N_LAYERS))
        );

        let mut read = RunManifest::read(&out).unwrap();
        let speed = |run: &RunManifest| run.tokens_per_second.unwrap();
        assert!((speed(&read) / speed(&manifest) - 1.0).abs() < 1e-15);
        read.tokens_per_second = manifest.tokens_per_second;
        assert_eq!(read, manifest);
        let alone = RunManifest::read(&whole).unwrap();
        assert_eq!((manifest.samples, manifest.tokens), (23, alone.tokens));
        assert_eq!(manifest.sampling.shard, None);
        assert_eq!(manifest.sampling.n_samples, 30);
        assert_eq!(
            manifest.sampling.indices_sha256,
            alone.sampling.indices_sha256
        );
        assert_eq!(manifest.sampling.skipped, pieces.len() as u64);
        assert_eq!(
            manifest.timings.seconds_compute,
            Some(50.0 * pieces.len() as f64)
        );
        assert_eq!(manifest.timings.seconds_load, None);
        assert_eq!(manifest.fingerprint, None);
        let in_order: Vec<String> = (0..pieces.len())
            .map(|index| {
                root.path()
                    .join(format!("shard-{index}"))
                    .display()
                    .to_string()
            })
            .collect();
        assert_eq!(manifest.merged_from, in_order);
    }
}

#[test]
fn runs_with_different_draws_merge_whatever_their_order() {
    let root = tempdir().unwrap();
    let [a, b] = two_runs(&root);
    edit(&b, |run| {
        run.sampling.seed = Some(43);
        run.sampling.indices_sha256 = Some("beef".into());
        run.device = "cuda:0".into();
        run.executor = "streamed".into();
        run.batch_plan = None;
        run.started_at = "2026-03-08T00:00:00Z".into();
        run.peak_memory_bytes = None;
    });
    let out = root.path().join("ab");
    let merged = merge(&[a.clone(), b.clone()], &out).unwrap();
    let all = rows(&[1, 5, 9, 2, 4, 8, 16], 0..N_LAYERS);
    assert_eq!(read_all(&out), in_order(all.clone()));
    assert_eq!(read_heads(&out).unwrap(), heads_of(&all));
    assert_eq!(
        (merged.sampling.n_samples, merged.sampling.seed),
        (60, None)
    );
    assert_eq!(merged.sampling.indices_sha256, None);
    assert_eq!(
        (&*merged.device, &*merged.executor),
        ("cpu, cuda:0", "resident, streamed")
    );
    assert_eq!(merged.batch_plan, None);
    assert_eq!(merged.started_at, "2026-03-08T00:00:00Z");
    assert_eq!(merged.finished_at, "2026-03-09T11:21:05Z");
    assert_eq!(merged.peak_memory_bytes, Some(1 << 30));
    assert_eq!(merged.tokens_per_second, Some(merged.tokens as f64 / 121.0));

    let other = root.path().join("ba");
    assert_eq!(merge(&[b.clone(), a], &other).unwrap(), merged);
    let read = |dir: &Path| fs::read(dir.join("samples.parquet")).unwrap();
    assert!(read(&out) == read(&other));

    // A merged run merges again.
    let c = root.path().join("c");
    run(&c, &[3], None);
    let more = root.path().join("abc");
    assert_eq!(merge(&[out, c], &more).unwrap().samples, 8);
    assert_eq!(read_heads(&more).unwrap()[0].samples, 8);
}

#[test]
fn what_does_not_belong_together_is_refused_with_both_values() {
    let root = tempdir().unwrap();
    let [a, b] = two_runs(&root);
    edit(&b, |run| {
        run.max_seq_len = 512;
        run.dtype = "bf16".into();
        run.model.config["rms_norm_eps"] = json!(1e-5);
        run.dataset.revision = Some("main2".into());
    });
    let out = root.path().join("out");
    let error = assert_says(
        merge(&[a.clone(), b], &out),
        &[
            "/b: ",
            "/a ",
            "`max_seq_len` is 256 there and 512 here",
            "`dtype` is \"f32\" there and \"bf16\" here",
            "`model.config.rms_norm_eps` is 1e-6 there and 0.00001 here",
            "`dataset.revision` is null there and \"main2\" here",
        ],
    );
    assert!(matches!(error, Error::OutDir { .. }));
    assert!(!out.exists());

    let shards = shards(root.path(), &[vec![100, 101], vec![102], vec![103]]);
    assert_says(
        merge(&[a.clone(), shards[0].clone()], &out),
        &["`sampling.shards` is null there and 3 here"],
    );
    let error = assert_says(merge(&shards[..2], &out), &["shards 2/3 are missing"]);
    assert_eq!(error.exit_code(), 2);
    assert_says(merge(&shards[1..], &out), &["shards 0/3 are missing"]);
    assert_says(
        merge(
            &[shards[0].clone(), shards[0].clone(), shards[1].clone()],
            &out,
        ),
        &["is shard 0/3, and so is", "once"],
    );
    edit(&shards[2], |run| run.sampling.seed = Some(1));
    assert_says(
        merge(&shards, &out),
        &["`sampling.seed` is 42 there and 1 here"],
    );
    assert_says(merge(&[a], &out), &["at least two"]);
    assert!(!out.exists());
}

#[test]
fn samples_in_two_runs_are_named() {
    let root = tempdir().unwrap();
    let [a, _] = two_runs(&root);
    let c = root.path().join("c");
    run(&c, &[0, 9, 5], None);
    let out = root.path().join("out");
    assert_says(
        merge(&[a.clone(), c], &out),
        &["/c: ", "2 samples are in", "/a", "5, 9", "leave out one"],
    );
    assert_says(
        merge(&[a.clone(), a], &out),
        &["3 samples are in", "1, 5, 9"],
    );
    assert!(!out.exists());
}

#[test]
fn inputs_must_be_finished_and_the_output_free() {
    let root = tempdir().unwrap();
    let [a, b] = two_runs(&root);
    let out = root.path().join("out");
    assert_says(
        merge(&[a.clone(), b.clone()], &a),
        &[
            "/a: already holds a run (heads.parquet, run.json",
            "another --out",
        ],
    );
    let unfinished = root.path().join("unfinished");
    drop(Parts::create(&unfinished, &fingerprint()).unwrap());
    assert_says(
        merge(&[a.clone(), unfinished.clone()], &out),
        &["unfinished run", "--resume"],
    );
    assert_says(
        merge(&[a.clone(), b.clone()], &unfinished),
        &["already holds an unfinished run", "another --out"],
    );
    let nowhere = root.path().join("nowhere");
    assert_says(
        merge(&[a.clone(), nowhere], &out),
        &["nowhere", "no run.json"],
    );

    fs::copy(
        a.join("samples.parquet"),
        b.join("samples-00001-of-00002.parquet"),
    )
    .unwrap();
    assert_says(
        merge(&[a.clone(), b.clone()], &out),
        &[
            "run.json describes samples.parquet",
            "samples-00001-of-00002.parquet",
            "of its own",
        ],
    );
    fs::remove_file(b.join("samples-00001-of-00002.parquet")).unwrap();
    fs::remove_file(b.join("samples.parquet")).unwrap();
    assert_says(
        merge(&[a, b], &out),
        &["describes samples.parquet", "no samples"],
    );
    assert!(!out.exists());
}

#[test]
fn a_damaged_input_leaves_no_output() {
    let root = tempdir().unwrap();
    let [a, b] = two_runs(&root);
    let out = root.path().join("out");
    // A run of two layers under a manifest that says the same as the other's.
    let short = root.path().join("short");
    let mut parts = Parts::create(&short, &fingerprint()).unwrap();
    parts.write(0, 0..2, rows(&[77], 0..2)).unwrap();
    let provenance = a_manifest().provenance();
    parts.finish(2, &[77], None, &provenance).unwrap();
    a_manifest().write(&short).unwrap();
    assert_says(
        merge(&[a.clone(), short], &out),
        &["short/samples.parquet", "2 layers", "holds 3", "incomplete"],
    );

    // Damage in the last layer is found when the first two have been written.
    let path = b.join("samples.parquet");
    let mut bytes = fs::read(&path).unwrap();
    let third = bytes.len() * 6 / 10;
    bytes[third - 400..third].fill(0xAA);
    fs::write(&path, bytes).unwrap();
    let error = assert_says(merge(&[a, b], &out), &["b/samples.parquet"]);
    assert!(matches!(error, Error::Parquet { .. }), "{error:?}");
    assert!(!out.exists() || names(&out).is_empty(), "{:?}", names(&out));
}
