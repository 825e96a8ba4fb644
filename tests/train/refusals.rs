//! Configurations that are no model, and batches that do not fit one.

use std::fs;

use attnscope::{
    layers::{PackedSequences, attention::AttentionKind},
    models::{self, small_transformer::Config},
    random::NumpyRandom,
    train::{
        Parameters,
        tasks::{Classification, Induction, Task},
    },
};
use candle_core::{DType, Device};
use serde_json::{Value, json};

use super::config;

fn good() -> Config {
    let kind = AttentionKind::named("coupled_linear_norm").unwrap();
    config(&Task::Induction(Induction::default()), kind)
}

/// What `models::open` says about a directory with this `config.json`, without its path.
fn says(config: &Value) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    fs::write(&path, config.to_string()).unwrap();
    match models::open(dir.path()) {
        Ok(_) => "nothing".into(),
        Err(error) => {
            assert_eq!(error.exit_code(), 3);
            let error = error.to_string();
            let rest = error.strip_prefix(&format!("{}: ", path.display()));
            rest.expect("names the file").to_owned()
        }
    }
}

#[test]
fn a_written_configuration_is_read_again() {
    let config = good();
    let json = serde_json::to_value(&config).unwrap();
    assert_eq!(json["model_type"], "small_transformer");
    assert_eq!(json["attention_function"], "coupled_linear_norm");
    assert_eq!(json["position_embedding_type"], "concat");
    assert_eq!(says(&json), "nothing");
    let again = Config::read("config.json".as_ref(), &json).unwrap();
    assert_eq!(again, config);
}

#[test]
fn every_missing_field_is_named() {
    let whole = serde_json::to_value(good()).unwrap();
    let fields: Vec<&String> = whole.as_object().unwrap().keys().collect();
    assert_eq!(fields.len(), 14);
    for field in fields {
        let mut config = whole.clone();
        config.as_object_mut().unwrap().remove(field);
        let says = says(&config);
        assert!(says.starts_with(&format!("field `{field}`: ")), "{says}");
        assert!(says.contains("missing"), "{says}");
    }
}

#[test]
fn impossible_values_are_refused_by_name() {
    let names = AttentionKind::ALL.map(AttentionKind::name).join(", ");
    let cases: Vec<(&str, Value, String)> = [
        ("hidden_size", json!(0), "0 is not between 1 and 1048576"),
        (
            "hidden_size",
            json!(2_000_000),
            "2000000 is not between 1 and 1048576",
        ),
        (
            "hidden_size",
            json!(15),
            "2 heads cannot share the hidden_size of 15 equally",
        ),
        (
            "num_attention_heads",
            json!(3),
            "3 heads cannot share the hidden_size of 16 equally",
        ),
        (
            "num_attention_heads",
            json!(0),
            "0 is not between 1 and 10000",
        ),
        (
            "num_hidden_layers",
            json!(0),
            "0 is not between 1 and 10000",
        ),
        ("vocab_size", json!(0), "0 is not between 1 and 16777216"),
        ("output_size", json!(0), "0 is not between 1 and 16777216"),
        (
            "attention_intermediate_size",
            json!(4),
            "is 4 and must be 0: `coupled_linear_norm` has no network",
        ),
        (
            "max_position_embeddings",
            json!(0),
            "0 is not between 1 and 16777216",
        ),
        (
            "position_embedding_type",
            json!("none"),
            "is 12 and must be 0: position_embedding_type is `none`",
        ),
        (
            "position_embedding_type",
            json!("rotary"),
            "unknown variant `rotary`, expected one of `add`, `concat`, `none`",
        ),
        (
            "layer_norm_eps",
            json!(0.0),
            "0 is not a small positive number",
        ),
        (
            "is_causal",
            json!("yes"),
            "invalid type: string \"yes\", expected a boolean",
        ),
        (
            "dropout",
            json!(0.1),
            "is not known for model_type `small_transformer`",
        ),
    ]
    .map(|(field, value, says)| (field, value, says.to_owned()))
    .into_iter()
    .chain([(
        "attention_function",
        json!("sparsemax"),
        format!("there is no `sparsemax`; take one of {names}"),
    )])
    .collect();
    for (field, value, expected) in cases {
        let mut config = serde_json::to_value(good()).unwrap();
        config[field] = value;
        let says = says(&config);
        // What is at fault may be another field than the one that was changed.
        assert!(says.starts_with("field `"), "{field}: {says}");
        assert!(says.contains(&expected), "{field}: {says}");
    }
    let mut config = serde_json::to_value(good()).unwrap();
    config["attention_function"] = json!("mlp_unnorm");
    let says = says(&config);
    assert_eq!(
        says,
        "field `attention_intermediate_size`: 0 is not between 1 and 1048576"
    );
}

#[test]
fn odd_halves_are_refused() {
    let config = Config {
        hidden_size: 15,
        num_attention_heads: 3,
        ..good()
    };
    let mut random = NumpyRandom::new(0);
    let error = Parameters::random(config, &mut random, DType::F32, &Device::Cpu).unwrap_err();
    let expected = "config.json: field `hidden_size`: 15 is odd, and position_embedding_type `concat` needs two halves";
    assert_eq!(error.to_string(), expected);
}

/// No panic, and nothing made up: a token, a position or an answer that there is not is an error.
#[test]
fn batches_must_fit_the_model() {
    let task = Task::Classification(Classification::default());
    let config = config(&task, AttentionKind::ALL[0]);
    let mut random = NumpyRandom::new(0);
    let parameters = Parameters::random(config, &mut random, DType::F32, &Device::Cpu).unwrap();
    let network = parameters.network().unwrap();
    let three = PackedSequences::from_lengths(&[3]);
    let logits = network.forward(&[1, 2, 0], &three, false).unwrap().logits;
    assert!(network.forward(&[1, 41, 0], &three, false).is_err());
    assert!(network.forward(&[1, 2], &three, false).is_err());
    let batch = |target| {
        let sample = attnscope::train::tasks::Sample {
            input_ids: vec![1, 2, 0],
            targets: vec![target],
        };
        task.batch(&[sample])
    };
    assert!(batch(3).loss(&logits).is_ok());
    assert!(batch(4).loss(&logits).is_err());

    let task = Task::Induction(Induction::default());
    let with_positions = super::config(&task, AttentionKind::ALL[0]);
    let parameters = Parameters::random(with_positions, &mut random, DType::F32, &Device::Cpu);
    let network = parameters.unwrap().network().unwrap();
    let longer = PackedSequences::from_lengths(&[13]);
    assert!(
        network
            .forward(&[1; 12], &PackedSequences::from_lengths(&[12]), false)
            .is_ok()
    );
    assert!(network.forward(&[1; 13], &longer, false).is_err());
}
