//! `models` and `datasets`.

use super::{World, text};

#[test]
fn the_known_models() {
    let world = World::new();
    let table = world.run(&["models"]).succeeds();
    assert_eq!(table.stderr, "");
    let list = world.run(&["models", "--json"]).succeeds().json();
    let names: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["gala-7b-sigmoid", "gala-7b-softmax"]);
    for model in list.as_array().unwrap() {
        assert!(
            table.stdout.contains(model["name"].as_str().unwrap()),
            "{table}"
        );
        assert_eq!(model["model_type"], "gala");
        assert_eq!(model["num_hidden_layers"], 32);
        assert_eq!(model["num_attention_heads"], 32);
        assert!(model["cached"].is_null() && model["repo"].is_null());
        assert!(model["axlearn"].as_str().unwrap().starts_with("gs://"));
    }
    assert!(table.stdout.contains("32 × 32"), "{table}");
    // Nothing was created, least of all a cache.
    assert!(!world.path("hf").exists());
}

#[test]
fn the_known_datasets_and_what_the_cache_holds() {
    let world = World::new();
    let table = world.run(&["datasets"]).succeeds();
    for part in ["pile-10k", "NeelNanda/pile-10k", "10000", "train", "  no\n"] {
        assert!(table.stdout.contains(part), "{part}\n{table}");
    }
    let list = world.run(&["datasets", "--json"]).succeeds().json();
    let pile = &list.as_array().unwrap()[0];
    assert_eq!(pile["name"], "pile-10k");
    assert_eq!(pile["rows"], 10000);
    assert!(pile["cached"].is_null());

    // As a download by Python's library would leave it.
    let dataset = &attnscope::manifest::datasets().unwrap()[0];
    let commit = dataset.revision.clone().unwrap();
    let repo = world.cache().join("datasets--NeelNanda--pile-10k");
    let snapshot = repo.join("snapshots").join(&commit);
    std::fs::create_dir_all(snapshot.join("data")).unwrap();
    std::fs::write(snapshot.join("data/train.parquet"), "x").unwrap();
    let list = world.run(&["datasets", "--json"]).succeeds().json();
    assert_eq!(list[0]["cached"], text(&snapshot));
    let table = world.run(&["datasets"]).succeeds();
    assert!(table.stdout.contains(text(&snapshot)), "{table}");
}
