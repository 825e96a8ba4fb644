//! `figures`, through the command line.

use std::fs;

use resvg::usvg::roxmltree::Document;

use super::{World, names, text};

impl World {
    /// Scans of the softmax model in `softmax`, of the sigmoid model in `sigmoid`.
    fn two_scans(&self) {
        for (model, out) in self.files.models.iter().zip(["softmax", "sigmoid"]) {
            let arguments = ["--model", text(model), "--out", out];
            self.scan(&arguments).succeeds();
        }
    }
}

#[test]
fn two_scans_are_drawn() {
    let world = World::new();
    world.two_scans();
    let drawn = world
        .run(&["figures", "softmax", "sigmoid", "--out", "f"])
        .succeeds();
    assert_eq!(drawn.stderr, "");
    let listed: Vec<String> = drawn
        .stdout
        .lines()
        .map(|line| line.strip_prefix("f/").unwrap().to_owned())
        .collect();
    let mut sorted = listed.clone();
    sorted.sort();
    assert_eq!(sorted, names(&world.path("f")));
    let expected = [
        "histogram-sparsity_score",
        "histogram-max_weight",
        "heads-sparsity_score",
        "layers-sparsity_score",
        "scatter",
    ];
    let expected: Vec<String> = expected
        .iter()
        .flat_map(|name| ["svg", "png"].map(|format| format!("{name}.{format}")))
        .collect();
    assert_eq!(listed, expected);
    for name in expected {
        let bytes = fs::read(world.path("f").join(&name)).unwrap();
        match name.ends_with("svg") {
            true => assert!(bytes.starts_with(b"<svg ") && bytes.ends_with(b"</svg>\n")),
            false => assert!(bytes.starts_with(b"\x89PNG")),
        }
    }

    let says = [
        "f/histogram-sparsity_score.svg: is there already",
        "choose another --out",
    ];
    world
        .run(&["figures", "softmax", "--out", "f"])
        .fails(2, &says);
}

#[test]
fn formats_and_metrics_are_chosen() {
    let world = World::new();
    world.two_scans();
    let json = world
        .run(&[
            "figures",
            "sigmoid",
            "--out",
            "f",
            "--format",
            "svg",
            "--metric",
            "entropy",
            "--metric",
            "total_weight",
            "--metric",
            "entropy",
            "--json",
        ])
        .succeeds()
        .json();
    let files = [
        "histogram-sparsity_score",
        "histogram-max_weight",
        "heads-entropy",
        "layers-entropy",
        "heads-total_weight",
        "layers-total_weight",
        "scatter",
    ];
    let files = files.map(|name| format!("f/{name}.svg"));
    assert_eq!(json["files"], serde_json::json!(files));
    assert_eq!(json["scans"][0]["path"], "sigmoid");
    assert_eq!(json["scans"][0]["heads"], 24);
    assert_eq!(names(&world.path("f")).len(), files.len());

    for (flag, value, says) in [
        ("--metric", "sharpness", "sparsity_score"),
        ("--format", "pdf", "svg"),
    ] {
        let refused = world.run(&["figures", "sigmoid", "--out", "g", flag, value]);
        refused.fails(2, &[value, says]);
        assert!(!world.path("g").exists());
    }
    let refused = world.run(&["figures", "sigmoid"]);
    refused.fails(2, &["--out"]);
}

#[test]
fn other_texts_are_drawn_only_by_force() {
    let world = World::new();
    world.two_scans();
    let sigmoid = text(&world.files.models[1]).to_owned();
    world
        .scan(&["--model", &sigmoid, "--out", "short", "--max-seq-len", "12"])
        .succeeds();
    let says = [
        "did not measure the same thing",
        "max_seq_len is 12 in",
        "--force",
    ];
    world
        .run(&["figures", "softmax", "short", "--out", "f"])
        .fails(2, &says);
    assert!(!world.path("f").exists());
    let forced = world
        .run(&["figures", "softmax", "short", "--out", "f", "--force"])
        .succeeds();
    assert!(forced.stderr.contains("max_seq_len is 12 in"), "{forced}");
    let svg = fs::read_to_string(world.path("f/scatter.svg")).unwrap();
    let document = Document::parse(&svg).unwrap();
    let texts: Vec<&str> = document
        .descendants()
        .filter(|node| node.is_text())
        .filter_map(|node| node.text())
        .flat_map(str::split_whitespace)
        .collect();
    let said = texts.join(" ");
    assert!(said.contains("did not measure the same thing"), "{said}");

    let bytes = fs::read(world.path("short/heads.parquet")).unwrap();
    fs::write(world.path("cut.parquet"), &bytes[..bytes.len() / 2]).unwrap();
    world
        .run(&["figures", "softmax", "cut.parquet", "--out", "g"])
        .fails(1, &["cut.parquet: "]);
    world
        .run(&["figures", "nowhere", "--out", "g"])
        .fails(2, &["nowhere: is not there"]);
    assert!(!world.path("g").exists());
}

#[test]
fn a_metric_has_to_be_measured() {
    let world = World::new();
    world.scan(&[]).succeeds();
    world
        .scan(&["--out", "more", "--metrics", "weight_shares,sink_rate"])
        .succeeds();
    world
        .scan(&["--out", "other", "--metrics", "sink_rate", "--sink-k", "2"])
        .succeeds();
    for (scans, metric, says) in [
        (
            &["out"][..],
            "large_weight_share",
            "--metrics weight_shares",
        ),
        (&["more", "out"], "sink_rate", "--metrics sink_rate"),
        (
            &["more", "other"],
            "sink_rate",
            "with other parameters than",
        ),
    ] {
        let figures = ["figures", "--out", "figures", "--metric", metric];
        world
            .run(&[&figures[..], scans].concat())
            .fails(2, &[metric, says]);
        assert!(!world.path("figures").exists());
    }
    let figures = ["figures", "more", "--out", "figures", "--format", "svg"];
    let metrics = ["--metric", "large_weight_share,sink_rate"];
    world.run(&[&figures[..], &metrics].concat()).succeeds();
    assert!(world.path("figures/layers-sink_rate.svg").is_file());
}
