//! `demo`: the whole way on what ships in the binary.

use std::fs;

use super::{RESULTS, World, names, tables, text};

#[test]
fn the_demo_prints_both_models_and_leaves_nothing() {
    let world = World::new();
    let before = names(world.dir.path());
    let finished = world.run(&["demo"]).succeeds();
    for part in [
        "demo-softmax (softmax, 2 layers × 4 heads) on demo: 250 samples, 3000 tokens",
        "demo-sigmoid (sigmoid_unnorm, 2 layers × 4 heads) on demo: 250 samples, 3000 tokens",
        "softmax against sigmoid",
        "Right about what comes next, in 1000 new samples",
        "Sink heads, with more than 0.9 of their weight on the first token",
    ] {
        assert!(finished.stdout.contains(part), "{part}\n{finished}");
    }
    assert_eq!(names(world.dir.path()), before);
    assert_eq!(names(&world.path("tmp")), [""; 0]);
}

#[test]
fn the_demo_writes_a_scan_directory_per_model() {
    let world = World::new();
    let files = attnscope::demo::write_to(&world.path("demo")).unwrap();
    let finished = world.run(&["demo", "--out", "results"]).succeeds();
    assert!(
        finished.stdout.ends_with("Results: results\n"),
        "{finished}"
    );
    assert_eq!(
        names(&world.path("results")),
        ["demo-sigmoid", "demo-softmax"]
    );
    for name in ["demo-sigmoid", "demo-softmax"] {
        let out = world.path("results").join(name);
        assert_eq!(names(&out), RESULTS);
        // What a scan of the same checkpoint on the same texts computes.
        let model = world.path("demo").join(name);
        let scan = world.scan(&[
            "--model",
            text(&model),
            "--dataset",
            text(&files.corpus),
            "--max-seq-len",
            "256",
            "--out",
            name,
        ]);
        scan.succeeds();
        let [demo, scan] = ["results/", ""].map(|parent| {
            let heads = attnscope::store::read_heads(&world.path(&format!("{parent}{name}")));
            heads.unwrap()
        });
        assert_eq!(demo, scan, "{name}");
    }
    // Typing it again is no mistake.
    let before =
        ["demo-sigmoid", "demo-softmax"].map(|name| tables(&world.path("results").join(name)));
    let again = world.run(&["demo", "--out", "results"]).succeeds();
    assert_eq!(again.stdout, finished.stdout);
    assert_eq!(again.stderr.matches("nothing to do").count(), 2, "{again}");
    let after =
        ["demo-sigmoid", "demo-softmax"].map(|name| tables(&world.path("results").join(name)));
    assert_eq!(before, after);
}

#[test]
fn the_demo_for_programs() {
    let world = World::new();
    let mut command = world.attnscope();
    command
        .arg("demo")
        .env("ATTNSCOPE_JSON", "1")
        .env("ATTNSCOPE_OUT", "results");
    let finished = super::Finished::of(&mut command).succeeds();
    let summary = finished.json();
    let models = summary["task"]["models"].as_array().unwrap();
    let sinks = |model: &serde_json::Value| model["sink_heads"].as_u64().unwrap();
    for (model, name) in models.iter().zip(["demo-softmax", "demo-sigmoid"]) {
        assert_eq!(model["model"], name);
        assert_eq!(model["heads"], 8);
        assert!(model["accuracy"].as_f64().unwrap() >= 0.95);
        // The sentence on the screen says the same.
        let said = world.run(&["demo", "-q"]).succeeds().stdout;
        let said_of = format!("{name} {} of 8", sinks(model));
        assert!(said.contains(&said_of), "{said}");
    }
    assert!(models.len() == 2 && sinks(&models[0]) > sinks(&models[1]));
    let scans = summary["scans"].as_array().unwrap();
    assert_eq!(scans.len(), 2);
    for (scan, function) in scans.iter().zip(["softmax", "sigmoid_unnorm"]) {
        let name = function.trim_end_matches("_unnorm");
        assert_eq!(scan["model"], format!("demo-{name}"));
        assert_eq!(scan["attention_function"], function);
        assert_eq!(scan["dataset"], "demo");
        assert_eq!(scan["samples"], 250);
        assert_eq!(scan["heads"].as_array().unwrap().len(), 8);
    }
    assert_eq!(
        names(&world.path("results")),
        ["demo-sigmoid", "demo-softmax"]
    );
}

#[test]
fn the_demo_does_not_touch_another_run() {
    let world = World::new();
    world.scan(&["--out", "results/demo-sigmoid"]).succeeds();
    let before = tables(&world.path("results/demo-sigmoid"));
    let says = [
        "results/demo-sigmoid: holds another run",
        "choose another --out",
    ];
    world.run(&["demo", "--out", "results"]).fails(2, &says);
    assert_eq!(tables(&world.path("results/demo-sigmoid")), before);
}

#[test]
fn the_demo_says_where_it_cannot_write() {
    let world = World::new();
    fs::remove_dir(world.path("tmp")).unwrap();
    world
        .run(&["demo"])
        .fails(1, &[text(&world.path("tmp")), "No such file"]);
}
