//! `compare`, through the command line.

use std::fs;
use std::fs::File;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::Value;

use super::{Finished, World, names, text};

/// Few draws: what they come to is tested elsewhere.
const QUICK: [&str; 4] = ["--permutations", "60", "--resamples", "30"];

impl World {
    pub fn compare(&self, arguments: &[&str]) -> Finished {
        let mut all = vec!["compare"];
        all.extend(QUICK);
        all.extend(arguments);
        self.run(&all)
    }

    /// Scans of the softmax model in `softmax`, of the sigmoid model in `sigmoid`.
    pub fn pair(&self, arguments: &[&str]) {
        for (model, out) in self.files.models.iter().zip(["softmax", "sigmoid"]) {
            let mut all = vec!["--model", text(model), "--out", out];
            all.extend(arguments);
            self.scan(&all).succeeds();
        }
    }
}

#[test]
fn two_scans_are_compared_printed_and_written() {
    let world = World::new();
    world.pair(&[]);
    let table = world
        .compare(&["softmax", "sigmoid", "--out", "c"])
        .succeeds();
    for part in [
        "(softmax, f32, 4 layers × 6 heads) on ",
        "(sigmoid, f32, 4 layers × 6 heads) on ",
        ": 5 samples, 53 tokens, at most 24 of a text",
        "B against A",
        "sparsity score: mean of max / total (the paper's Appendix E.2)",
        "max weight: mean of max, undivided (what the paper's Figure 7 plots)",
        "first-token share",
        "Wasserstein-1",
        "Kolmogorov–Smirnov D",
        "p within layers",
        "sink heads (first-token share > 0.9)",
        "60 permutations of heads",
        "30 resamples of the texts",
    ] {
        assert!(table.stdout.contains(part), "{part}\n{table}");
    }
    assert_eq!(table.stderr, " INFO c written\n");
    assert_eq!(
        names(&world.path("c")),
        ["comparison.json", "comparison.parquet"]
    );

    let json = world
        .compare(&["softmax", "sigmoid", "--json"])
        .succeeds()
        .json();
    let written = fs::read(world.path("c/comparison.json")).unwrap();
    assert_eq!(json, serde_json::from_slice::<Value>(&written).unwrap());
    for (scan, own) in ["softmax", "sigmoid"].iter().enumerate() {
        assert_eq!(json["scans"][scan]["path"], *own);
        assert_eq!(json["scans"][scan]["model"]["attention_function"], *own);
        // The mean over heads is that of the scan's own table.
        let heads = attnscope::store::read_heads(&world.path(own)).unwrap();
        let scores = heads.iter().map(|head| head.sums.means().sparsity_score);
        let mean = scores.sum::<f64>() / heads.len() as f64;
        let found = json["scans"][scan]["metrics"]["sparsity_score"]["mean"]["value"].as_f64();
        assert!((found.unwrap() - mean).abs() < 1e-12);
    }
    check_table(&world, &json);

    // Nothing is overwritten.
    let before = fs::read(world.path("c/comparison.parquet")).unwrap();
    let says = [
        "c/comparison.parquet: is there already",
        "choose another --out",
    ];
    world
        .compare(&["softmax", "sigmoid", "--out", "c"])
        .fails(2, &says);
    assert_eq!(
        fs::read(world.path("c/comparison.parquet")).unwrap(),
        before
    );
    fs::remove_file(world.path("c/comparison.parquet")).unwrap();
    let says = ["c/comparison.json: is there already"];
    world
        .compare(&["softmax", "sigmoid", "--out", "c"])
        .fails(2, &says);
    let says = ["texts.jsonl: is a file"];
    world
        .compare(&["softmax", "sigmoid", "--out", "texts.jsonl"])
        .fails(2, &says);
}

/// `c/comparison.parquet` says what the JSON says, row by row.
fn check_table(world: &World, json: &Value) {
    let file = File::open(world.path("c/comparison.parquet")).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let mut rows = 0;
    for row in reader.get_row_iter(None).unwrap() {
        let row = row.unwrap();
        let name = |column: usize| row.get_string(column).unwrap().as_str();
        let number = |column: usize| row.get_double(column).ok();
        let label = name(0);
        let (list, key) = match row.get_string(1) {
            Ok(reference) => {
                assert_eq!(json["reference"], *reference);
                ("comparisons", "scan")
            }
            Err(_) => ("scans", "label"),
        };
        let of_scan = |entry: &&Value| entry[key] == label;
        let entry = json[list].as_array().unwrap().iter().find(of_scan).unwrap();
        let expected = &entry["metrics"][name(2)][name(3)];
        match name(3) {
            count @ ("heads" | "sink_heads") => {
                assert_eq!(entry[count].as_f64(), number(4));
                assert_eq!((number(5), number(6)), (None, None));
            }
            _ => {
                for (column, key) in
                    (4..).zip(["value", "low", "high", "p_value", "p_value_within_layers"])
                {
                    let (json, table) = (expected[key].as_f64(), number(column));
                    assert_eq!(json.is_some(), table.is_some(), "{row} {key}");
                    // serde_json may miss the nearest number by one unit in the last place.
                    let (json, table) = (json.unwrap_or(0.0), table.unwrap_or(0.0));
                    assert!(
                        (json - table).abs() <= f64::EPSILON * table.abs(),
                        "{row} {key}"
                    );
                }
                assert!(number(5).is_some() && number(7).is_some() == (list == "comparisons"));
            }
        }
        rows += 1;
    }
    // Two scans: `heads` of five metrics, eight statistics of three and six of two, `sink_heads`; three distances.
    assert_eq!(rows, 2 * (5 + 3 * 8 + 2 * 6 + 1) + 5 * 3);
}

#[test]
fn shards_together_are_the_whole_scan() {
    let world = World::new();
    world.pair(&[]);
    fs::create_dir(world.path("set")).unwrap();
    for shard in ["0", "1"] {
        world
            .scan(&["--shard", &format!("{shard}/2"), "--out", shard])
            .succeeds();
        for stem in ["samples", "heads"] {
            let name = format!("{stem}-0000{shard}-of-00002.parquet");
            fs::copy(world.path(shard).join(&name), world.path("set").join(&name)).unwrap();
        }
    }
    let of = |scan: &str| {
        world
            .compare(&["sigmoid", scan, "--json"])
            .succeeds()
            .json()
    };
    let (whole, set) = (of("softmax"), of("set"));
    assert_eq!(
        set["comparisons"][0]["metrics"],
        whole["comparisons"][0]["metrics"]
    );
    assert_eq!(set["scans"][1]["metrics"], whole["scans"][1]["metrics"]);
    // A manifest among them is of one shard, which the set is not.
    fs::copy(world.path("1/run.json"), world.path("set/run.json")).unwrap();
    assert_eq!(
        of("set")["scans"][1]["metrics"],
        whole["scans"][1]["metrics"]
    );
    // A shard by itself is a scan of its own samples.
    let same = world
        .compare(&["0", "0/samples-00000-of-00002.parquet", "--json"])
        .succeeds();
    assert_eq!(same.json()["scans"][0]["samples"], 3);
    world
        .compare(&["0", "1"])
        .fails(2, &["shard is 1/2 in", "samples is also"]);
    fs::remove_file(world.path("set/samples-00000-of-00002.parquet")).unwrap();
    fs::remove_file(world.path("set/run.json")).unwrap();
    world
        .compare(&["softmax", "set"])
        .fails(1, &["set: 1 of 2 shards missing", "merge"]);
}

#[test]
fn heads_alone_have_everything_but_intervals() {
    let world = World::new();
    world.pair(&[]);
    let whole = world
        .compare(&["softmax", "sigmoid", "--json"])
        .succeeds()
        .json();
    let heads = ["softmax/heads.parquet", "sigmoid/heads.parquet"];
    let alone = world.compare(&[heads[0], heads[1], "--json"]).succeeds();
    assert!(
        alone
            .stderr
            .contains("has no samples, only heads: there are no intervals for it"),
        "{alone}"
    );
    let no_run = "has no run.json: its footer was checked";
    assert_eq!(alone.stderr.matches(no_run).count(), 2, "{alone}");
    let alone = alone.json();
    for (metric, distances) in whole["comparisons"][0]["metrics"].as_object().unwrap() {
        for (distance, expected) in distances.as_object().unwrap() {
            let found = &alone["comparisons"][0]["metrics"][metric][distance];
            for key in ["value", "p_value", "p_value_within_layers"] {
                assert!(found[key].is_f64());
                assert_eq!(found[key], expected[key], "{metric} {distance} {key}");
            }
            assert!(found["low"].is_null() && expected["low"].is_f64());
        }
    }
    // The footer says what was scanned.
    world.scan(&["--max-seq-len", "12"]).succeeds();
    world
        .compare(&[heads[0], "out/heads.parquet"])
        .fails(2, &["max_seq_len is 12"]);
}

#[test]
fn a_head_without_a_finite_row_is_named_and_left_out() {
    let world = World::new();
    world.scan(&[]).succeeds();
    super::checkpoint::edit(world.model(), |tensors| {
        let query = tensors.get_mut("model.layers.3.self_attn.q_proj.weight");
        query.unwrap().bytes[..2].copy_from_slice(&[0xc0, 0x7f]);
    });
    world.scan(&["--out", "broken"]).ends(6);
    let compared = world.compare(&["out", "broken", "--json"]).ends(6);
    assert!(
        compared
            .stderr
            .contains("1 of 24 heads have no finite score and are left out: layer 3 head 0"),
        "{compared}"
    );
    let broken = &compared.json()["scans"][1];
    assert_eq!(broken["heads"], 23);
    assert_eq!(
        broken["left_out"],
        serde_json::json!([{"layer": 3, "head": 0}])
    );
    let heads = attnscope::store::read_heads(&world.path("broken")).unwrap();
    let scores = heads.iter().map(|head| head.sums.means().entropy);
    let mean = scores.filter(|score| score.is_finite()).sum::<f64>() / 23.0;
    let found = broken["metrics"]["entropy"]["mean"]["value"]
        .as_f64()
        .unwrap();
    assert!((found - mean).abs() < 1e-12, "{found} {mean}");
}

/// Two types of the same softmax model: its totals are 1 in both, but for the last bits.
#[test]
fn rounding_is_no_effect() {
    let world = World::new();
    world.scan(&["--out", "f32"]).succeeds();
    world.scan(&["--dtype", "bf16", "--out", "bf16"]).succeeds();
    let compared = world.compare(&["f32", "bf16", "--json"]).succeeds();
    for says in [
        "are the same up to rounding, so there is no p",
        "dtype is bf16",
    ] {
        assert!(compared.stderr.contains(says), "{says}\n{compared}");
    }
    let json = compared.json();
    let totals = &json["comparisons"][0]["metrics"]["total_weight"];
    assert!(totals["kolmogorov_smirnov"]["p_value"].is_null());
    let entropy = &json["comparisons"][0]["metrics"]["entropy"];
    assert!(entropy["kolmogorov_smirnov"]["p_value"].is_f64());
}

/// A scan without intervals takes nobody else's, and no scan is worse for being named with a long path.
#[test]
fn a_third_scan_without_samples() {
    let world = World::new();
    world.pair(&[]);
    let third = "a/directory/with/a/long/name/and/then/some";
    fs::create_dir_all(world.path(third)).unwrap();
    for name in ["heads.parquet", "run.json"] {
        fs::copy(
            world.path("sigmoid").join(name),
            world.path(third).join(name),
        )
        .unwrap();
    }
    let all = ["softmax", "sigmoid", third];
    let json = world.compare(&[&all[..], &["--json"]].concat()).succeeds();
    let found = json.json();
    let low = |value: &Value| value["metrics"]["entropy"]["mean_difference"]["low"].is_f64();
    assert!(low(&found["comparisons"][0]) && !low(&found["comparisons"][1]));
    let mean = |at: usize| found["scans"][at]["metrics"]["entropy"]["mean"]["low"].is_f64();
    assert_eq!([mean(0), mean(1), mean(2)], [true, true, false]);
    assert_eq!(found["scans"][0]["facts"]["max_seq_len"], "24");

    let tables = world.compare(&all).succeeds().stdout;
    assert!(tables.contains("C = ") && tables.contains("C against A"));
    let is_wide = |line: &&str| line.chars().count() > 130;
    let is_row = |line: &&str| {
        ["A  ", "B  ", "C  "]
            .iter()
            .any(|name| line.starts_with(name))
    };
    assert_eq!(tables.lines().filter(is_row).count(), 15);
    assert_eq!(tables.lines().filter(is_row).filter(is_wide).count(), 0);
}

/// Scans that have no samples, or one text, stand first, in the middle and last.
#[test]
fn scans_without_intervals_stand_anywhere() {
    let world = World::new();
    world.pair(&[]);
    let one = world.path("one.jsonl");
    fs::write(&one, "{\"text\": \"A single text of some words.\"}\n").unwrap();
    world
        .scan(&["--dataset", text(&one), "--out", "single"])
        .succeeds();
    fs::create_dir(world.path("heads")).unwrap();
    fs::copy(
        world.path("softmax/heads.parquet"),
        world.path("heads/heads.parquet"),
    )
    .unwrap();
    for (scans, have_intervals) in [
        (
            &["single", "softmax", "sigmoid"][..],
            &[false, true, true][..],
        ),
        (&["softmax", "single", "sigmoid"], &[true, false, true]),
        (&["heads", "sigmoid"], &[false, true]),
        (&["heads", "single"], &[false, false]),
        (
            &["softmax", "heads", "single", "sigmoid"],
            &[true, false, false, true],
        ),
    ] {
        let found = world.compare(&[scans, &["--force", "--json"]].concat());
        let found = found.succeeds().json();
        let has_interval = |value: &Value| value["metrics"]["entropy"]["mean"]["low"].is_f64();
        let found_intervals: Vec<bool> = found["scans"]
            .as_array()
            .unwrap()
            .iter()
            .map(has_interval)
            .collect();
        assert_eq!(found_intervals, have_intervals, "{scans:?}");
        for (pair, &has) in found["comparisons"]
            .as_array()
            .unwrap()
            .iter()
            .zip(&have_intervals[1..])
        {
            let distance = &pair["metrics"]["entropy"]["wasserstein"];
            assert!(distance["value"].is_f64());
            assert_eq!(
                distance["low"].is_f64(),
                has && have_intervals[0],
                "{scans:?}"
            );
        }
    }
}
