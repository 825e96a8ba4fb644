//! Which rows are taken, and how shards share them.

use attnscope::Error;
use attnscope::corpus::{SampleSize, Shard, indices_sha256, sample_rows};
use attnscope::random::PythonRandom;

use super::{golden, json, numbers, oracle};

#[test]
fn the_papers_rows_of_pile_10k() {
    let golden = golden("random/pile_sample_indices_seed42.json");
    let shared = oracle("gala/pile_sample_indices_seed42.json");
    for path in [Some(golden), shared].into_iter().flatten() {
        let cases = json(&path);
        let cases = cases["indices"].as_object().unwrap();
        assert_eq!(cases.len(), 3);
        for (n, indices) in cases {
            let rows = sample_rows(10_000, n.parse().unwrap(), 42).unwrap();
            assert_eq!(rows, numbers(indices), "n = {n}");
        }
    }
}

#[test]
fn every_sample_is_without_repetition_and_depends_on_its_seed_only() {
    let mut random = PythonRandom::new(1);
    for _ in 0..500 {
        let population = 1 + random.below(3000);
        let n = 1 + random.below(population);
        let seed = random.getrandbits(64);
        let rows = sample_rows(population, SampleSize::Rows(n), seed).unwrap();
        assert_eq!(rows.len(), n);
        assert!(rows.iter().all(|&row| row < population));
        let mut sorted = rows.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), n, "{population} {n} {seed}");
        let again = sample_rows(population, SampleSize::Rows(n), seed).unwrap();
        assert_eq!(rows, again);
        if n >= 20 {
            let other = sample_rows(population, SampleSize::Rows(n), seed ^ 1).unwrap();
            assert_ne!(rows, other, "{population} {n} {seed}");
        }
    }
}

#[test]
fn all_rows_are_in_order() {
    assert_eq!(sample_rows(4, SampleSize::All, 42).unwrap(), [0, 1, 2, 3]);
}

#[test]
fn a_sample_larger_than_the_dataset_is_a_usage_error() {
    let error = sample_rows(10_000, SampleSize::Rows(20_000), 42).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert_eq!(
        error.to_string(),
        "20000 samples were asked for, but the dataset has 10000 rows; \
         use --n-samples 10000 or --n-samples all"
    );
    assert!(sample_rows(10, SampleSize::Rows(0), 42).is_err());
}

#[test]
fn sample_sizes_and_shards_as_they_are_written() {
    assert_eq!("all".parse::<SampleSize>().unwrap(), SampleSize::All);
    assert_eq!("12".parse::<SampleSize>().unwrap(), SampleSize::Rows(12));
    assert_eq!(SampleSize::All.to_string(), "all");
    assert_eq!(SampleSize::Rows(12).to_string(), "12");
    for wrong in ["0", "-1", "1.5", "ALL", ""] {
        let error = wrong.parse::<SampleSize>().unwrap_err().to_string();
        assert!(error.contains("`all`"), "{error}");
    }
    let shard: Shard = "3/16".parse().unwrap();
    assert_eq!((shard.index(), shard.count()), (3, 16));
    assert_eq!(shard.to_string(), "3/16");
    for wrong in ["", "3", "3/", "/3", "a/3", "-1/3", "1/2/3"] {
        let error = wrong.parse::<Shard>().unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{error:?}");
        assert!(error.to_string().contains("from 0/N to N-1/N"), "{error}");
    }
    for (impossible, hint) in [
        ("16/16", "the last is 15/16"),
        ("17/16", "counted from 0"),
        ("0/0", "0 shards"),
    ] {
        let error = impossible.parse::<Shard>().unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{error:?}");
        assert!(error.to_string().contains(hint), "{error}");
    }
}

#[test]
fn a_shard_in_json_is_the_text_of_the_option() {
    let shard = Shard::new(3, 16).unwrap();
    assert_eq!(serde_json::to_string(&shard).unwrap(), "\"3/16\"");
    let read = serde_json::from_str::<Shard>;
    assert_eq!(read("\"3/16\"").unwrap(), shard);
    assert!(read("3").is_err());
    let error = read("\"16/16\"").unwrap_err().to_string();
    assert!(error.contains("no shard 16/16"), "{error}");
}

#[test]
fn shards_in_order_make_up_the_sample() {
    let mut random = PythonRandom::new(2);
    for _ in 0..300 {
        let rows: Vec<usize> = (0..1 + random.below(200)).map(|row| row * 7).collect();
        let count = 1 + random.below(rows.len());
        let parts: Vec<&[usize]> = (0..count)
            .map(|index| Shard::new(index, count).unwrap().of(&rows).unwrap())
            .collect();
        assert_eq!(parts.concat(), rows);
        let lengths = parts.iter().map(|part| part.len());
        assert!(lengths.clone().max().unwrap() - lengths.min().unwrap() <= 1);
    }
    // datasets.Dataset.from_dict({"x": range(10)}).shard(4, i, contiguous=True) for i = 0, 1, 2, 3
    let rows: Vec<usize> = (0..10).collect();
    let shard = |index| Shard::new(index, 4).unwrap().of(&rows).unwrap();
    assert_eq!(
        [shard(0), shard(1), shard(2), shard(3)],
        [&[0, 1, 2][..], &[3, 4, 5], &[6, 7], &[8, 9]]
    );
}

#[test]
fn more_shards_than_rows_is_refused_in_every_shard() {
    for index in 0..4 {
        let error = Shard::new(index, 4).unwrap().of(&[1, 2, 3]).unwrap_err();
        assert!(matches!(error, Error::Usage(_)));
        assert_eq!(
            error.to_string(),
            "3 samples cannot be spread over 4 shards; use at most 3 shards"
        );
    }
}

/// >>> hashlib.sha256(b"0").hexdigest(), hashlib.sha256(b"10,2").hexdigest()
#[test]
fn the_hash_tells_order_and_grouping_apart() {
    assert_eq!(
        indices_sha256(&[0]),
        "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"
    );
    assert_eq!(
        indices_sha256(&[10, 2]),
        "7042f8e63078b5c26e3fa10f0bd2cd37ada3342291cba8c3ce79cc600f399fb8"
    );
    assert_ne!(indices_sha256(&[1, 2]), indices_sha256(&[2, 1]));
    assert_ne!(indices_sha256(&[1, 2]), indices_sha256(&[12]));
}
