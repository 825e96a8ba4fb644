use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::*;

const MODEL: &str = r#"
name = "toy"
description = "a model for tests"
model_type = "gala"
attention_function = "sigmoid"
[sizes]
parameters = 1
num_hidden_layers = 2
hidden_size = 48
intermediate_size = 64
num_attention_heads = 6
vocab_size = 64
max_position_embeddings = 128
[hub]
repo = "someone/toy"
revision = "0123456789abcdef0123456789abcdef01234567"
[hub.files]
"config.json" = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
"#;

const DATASET: &str = r#"
name = "toy"
description = "a dataset for tests"
repo = "someone/toy"
config = "default"
split = "train"
text_column = "text"
rows = 3
"#;

fn toy_model(text: &str) -> Result<ModelManifest> {
    parse_model(Path::new("models/toy.toml"), text)
}

fn toy_dataset(text: &str) -> Result<DatasetManifest> {
    parse_dataset(Path::new("datasets/toy.toml"), text)
}

/// The field and the message of a configuration error.
fn config_error<T: std::fmt::Debug>(result: Result<T>) -> (String, String) {
    match result.unwrap_err() {
        Error::Config { field, message, .. } => (field, message),
        other => panic!("another error: {other}"),
    }
}

fn toml_files(folder: &str) -> BTreeSet<String> {
    fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".toml"))
        .map(|name| format!("{folder}/{name}"))
        .collect()
}

#[test]
fn every_manifest_is_embedded_and_loads() {
    let embedded = |list: &[(&str, &str)]| {
        list.iter()
            .map(|(path, _)| path.to_string())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(
        embedded(MODELS),
        toml_files("models"),
        "the list in src/manifest.rs is not the folder's"
    );
    assert_eq!(
        embedded(DATASETS),
        toml_files("datasets"),
        "the list in src/manifest.rs is not the folder's"
    );
    assert_eq!(models().unwrap().len(), MODELS.len());
    assert_eq!(datasets().unwrap().len(), DATASETS.len());
}

#[test]
fn manifests_of_one_architecture_prepare_text_alike() {
    for model in models().unwrap() {
        assert_eq!(
            preprocessing_for(&model.model_type).unwrap(),
            model.text,
            "{}",
            model.name
        );
    }
    assert_eq!(preprocessing_for("gpt2").unwrap(), Preprocessing::default());
}

#[test]
fn sizes_of_gala_add_up() {
    for model in models()
        .unwrap()
        .iter()
        .filter(|model| model.model_type == "gala")
    {
        let ModelSizes {
            parameters,
            num_hidden_layers: layers,
            hidden_size: hidden,
            intermediate_size: intermediate,
            num_attention_heads: heads,
            vocab_size: vocab,
            ..
        } = model.sizes;
        let layer =
            4 * hidden * hidden + 3 * hidden * intermediate + 4 * hidden + 2 * (hidden / heads);
        let total = vocab * hidden + layers * layer + hidden;
        assert_eq!(parameters, total as u64, "{}", model.name);
        assert!(["softmax", "sigmoid"].contains(&model.attention_function.as_str()));
    }
}

#[test]
fn unknown_and_missing_keys_are_refused() {
    assert!(toy_model(MODEL).is_ok() && toy_dataset(DATASET).is_ok());

    let misspelt = MODEL.replace("revision =", "revison =");
    let (field, message) = config_error(toy_model(&misspelt));
    assert_eq!(field, "revison");
    assert!(message.contains("unknown field `revison`"), "{message}");

    let (field, message) = config_error(toy_dataset(
        &DATASET.replace("rows = 3", "rows = 3\nsplits = 1"),
    ));
    assert_eq!(field, "splits");
    assert!(message.contains("unknown field"), "{message}");

    for table in ["[sizes]", "[hub]"] {
        let (field, _) = config_error(toy_model(
            &MODEL.replace(table, &format!("{table}\nextra = 1")),
        ));
        assert_eq!(field, "extra");
    }
    let text =
        format!("{MODEL}\n[text]\nreplace = [{{ from = \"a\", to = \"b\", regex = true }}]\n");
    assert!(
        config_error(toy_model(&text))
            .1
            .contains("unknown field `regex`")
    );
    let axlearn = format!(
        "{MODEL}\n[axlearn]\ncheckpoint = \"gs://b/s\"\ntokenizer = \"gs://b/t\"\nstep = 1\n"
    );
    assert_eq!(config_error(toy_model(&axlearn)).0, "step");

    let (field, message) = config_error(toy_model(&MODEL.replace("vocab_size = 64", "")));
    assert_eq!(
        (field.as_str(), message.as_str()),
        ("vocab_size", "missing field `vocab_size`")
    );
    assert_eq!(
        config_error(toy_dataset(&DATASET.replace("rows = 3", ""))).0,
        "rows"
    );
    assert_eq!(config_error(toy_dataset("näme = \"ü\nrows = 3")).0, "näme");
    assert_eq!(config_error(toy_dataset("")).0, "name");
    let (field, _) = config_error(toy_model(
        &MODEL.replace("hidden_size = 48", "hidden_size = \"wide\""),
    ));
    assert_eq!(field, "hidden_size");
}

#[test]
fn values_that_cannot_be_true_are_refused() {
    let changed = |from: &str, to: &str| {
        assert!(MODEL.contains(from));
        config_error(toy_model(&MODEL.replace(from, to))).0
    };
    assert_eq!(changed("name = \"toy\"", "name = \"other\""), "name");
    assert_eq!(
        changed("num_attention_heads = 6", "num_attention_heads = 5"),
        "sizes.num_attention_heads"
    );
    assert_eq!(
        changed("num_attention_heads = 6", "num_attention_heads = 0"),
        "sizes.num_attention_heads"
    );
    assert_eq!(
        changed("0123456789abcdef0123456789abcdef01234567\"\n[", "main\"\n["),
        "hub.revision"
    );
    assert_eq!(changed("cdef\"\n", "cde\"\n"), "hub.files.\"config.json\"");
    assert_eq!(changed("someone/toy", "toy"), "hub.repo");
    for path in [
        "../config.json",
        "/etc/passwd",
        "a//b",
        "a/./b",
        "a\\\\b",
        "C:/x",
    ] {
        assert_eq!(changed("config.json", path), "hub.files", "{path}");
    }
    let text = format!("{MODEL}\n[text]\nreplace = [{{ from = \"\", to = \"b\" }}]\n");
    assert_eq!(config_error(toy_model(&text)).0, "replace");
    let local =
        format!("{MODEL}\n[axlearn]\ncheckpoint = \"/tmp/step\"\ntokenizer = \"gs://b/t\"\n");
    assert_eq!(config_error(toy_model(&local)).0, "axlearn.checkpoint");

    let branch = format!("{DATASET}\nrevision = \"main\"\n");
    assert_eq!(config_error(toy_dataset(&branch)).0, "revision");
    let outside = format!("{DATASET}\nfiles = [\"data/a.parquet\", \"../b.parquet\"]\n");
    assert_eq!(config_error(toy_dataset(&outside)).0, "files");
}

#[test]
fn names_and_hub_ids_resolve() {
    assert!(matches!(
        resolve_model("gala-7b-softmax").unwrap(),
        ModelSource::Manifest(model) if model.attention_function == "softmax" && model.hub.is_none()
    ));
    for repo in [
        "EleutherAI/pythia-410m",
        "gpt2",
        "someone/with.dots_and-dashes",
    ] {
        assert_eq!(
            resolve_model(repo).unwrap(),
            ModelSource::Hub { repo: repo.into() }
        );
    }
    assert!(matches!(
        resolve_dataset("pile-10k").unwrap(),
        DatasetSource::Manifest(dataset) if dataset.rows == 10_000
    ));
    for repo in ["NeelNanda/pile-10k", "wikitext"] {
        assert_eq!(
            resolve_dataset(repo).unwrap(),
            DatasetSource::Hub { repo: repo.into() }
        );
    }
}

#[test]
fn paths_resolve() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let argument = |name: &str| path(name).to_str().unwrap().to_owned();
    assert_eq!(
        resolve_model(directory.path().to_str().unwrap()).unwrap(),
        ModelSource::Directory(directory.path().to_path_buf())
    );
    for name in ["texts.parquet", "texts.jsonl", "texts.txt", "texts.csv"] {
        fs::write(path(name), "").unwrap();
    }
    for name in ["texts.parquet", "texts.jsonl", "texts.txt"] {
        assert_eq!(
            resolve_dataset(&argument(name)).unwrap(),
            DatasetSource::File(path(name))
        );
    }

    let model_errors = [
        (argument("texts.txt"), "this is a file"),
        (argument("absent"), "no such directory"),
    ];
    for (name, expected) in model_errors {
        let error = resolve_model(&name).unwrap_err();
        assert!(
            matches!(error, Error::Checkpoint { .. }) && error.to_string().contains(expected),
            "{error}"
        );
    }
    let dataset_errors = [
        (argument("texts.csv"), ".parquet, .jsonl, .txt"),
        (argument(""), ".parquet, .jsonl, .txt"),
        (argument("absent.jsonl"), "no such file"),
        ("absent.jsonl".to_owned(), "no such file"),
    ];
    for (name, expected) in dataset_errors {
        let error = resolve_dataset(&name).unwrap_err();
        assert!(
            matches!(error, Error::Dataset { .. }) && error.to_string().contains(expected),
            "{error}"
        );
    }
}

#[test]
fn unknown_names_get_the_known_ones_and_a_guess() {
    for (argument, guess) in [
        ("gala-7b-sigmiod", "Did you mean gala-7b-sigmoid"),
        ("GALA-7B-SOFTMAX", "Did you mean gala-7b-softmax"),
        ("gpt-2", "Did you mean gpt2"),
    ] {
        let error = resolve_model(argument).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let message = error.to_string();
        assert!(message.contains(guess), "{message}");
        assert!(
            message.contains("Known: gala-7b-sigmoid, gala-7b-softmax"),
            "{message}"
        );
    }
    let message = resolve_dataset("pile10k").unwrap_err().to_string();
    assert!(message.contains("Did you mean pile-10k?"), "{message}");
    let message = resolve_model("zzz").unwrap_err().to_string();
    assert!(!message.contains("Did you mean"), "{message}");
    for argument in ["", "a b/c", "a/b--c", "-a/b", "a/b.git"] {
        assert!(
            matches!(resolve_model(argument), Err(Error::Usage(_))),
            "{argument}"
        );
    }
}
