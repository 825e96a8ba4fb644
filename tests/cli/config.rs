//! A `config.json` that is missing, malformed, or describes a model that attnscope does not compute.

use std::fs;

use serde_json::{Value, json};

use super::{World, checkpoint};

/// The scan is refused with the file and the field named, and with what to do.
#[track_caller]
fn refused(world: &World, field: &str, says: &[&str]) {
    let field = format!("gala-softmax/config.json: field `{field}`: ");
    let finished = world.refused(&[], 3, &[&field]);
    for part in says {
        assert!(finished.stderr.contains(part), "`{part}`:\n{finished}");
    }
}

/// The same for a `config.json` with one value replaced.
#[track_caller]
fn refused_with(field: &str, value: Value, says: &[&str]) {
    let world = World::new();
    checkpoint::edit_config(world.model(), |config| {
        config.insert(field.into(), value);
    });
    refused(&world, field, says);
}

#[test]
fn no_config() {
    let world = World::new();
    fs::remove_file(world.model().join("config.json")).unwrap();
    let says = [
        "gala-softmax: ",
        "has no config.json",
        "checkpoint directory",
    ];
    world.refused(&[], 3, &says);
}

#[test]
fn not_json() {
    let world = World::new();
    for content in ["", "{", "{\"model_type\": \"gala\",}", "\u{0}"] {
        fs::write(world.model().join("config.json"), content).unwrap();
        let says = [
            "config.json: ",
            "is not valid JSON: ",
            "line 1",
            "fetch it again",
        ];
        world.refused(&[], 3, &says);
    }
    fs::write(world.model().join("config.json"), b"\xff\xfe{").unwrap();
    world.refused(&[], 3, &["config.json: ", "is not valid JSON: "]);
}

#[test]
fn an_unknown_model_type_lists_the_known_ones() {
    let world = World::new();
    checkpoint::edit_config(world.model(), |config| {
        config["model_type"] = json!("mamba");
    });
    let says = ["config.json: unknown model_type `mamba`; supported: gala"];
    world.refused(&[], 3, &says);
}

#[test]
fn a_missing_model_type_lists_the_known_ones() {
    let world = World::new();
    checkpoint::edit_config(world.model(), |config| {
        config.remove("model_type");
    });
    refused(&world, "model_type", &["missing; supported: gala"]);
    for content in ["[]", "1", "\"gala\"", "null"] {
        fs::write(world.model().join("config.json"), content).unwrap();
        refused(&world, "model_type", &["missing; supported: gala"]);
    }
    refused_with(
        "model_type",
        json!(7),
        &["7 is not a name; supported: gala"],
    );
}

#[test]
fn every_missing_field_is_named() {
    let world = World::new();
    let path = world.model().join("config.json");
    let whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for field in whole.as_object().unwrap().keys() {
        // Said by the test above, and not needed.
        if matches!(field.as_str(), "model_type" | "torch_dtype") {
            continue;
        }
        let mut config = whole.clone();
        config.as_object_mut().unwrap().remove(field);
        fs::write(&path, config.to_string()).unwrap();
        refused(&world, field, &["is missing", "add it"]);
    }
}

#[test]
fn a_value_of_another_type_is_named_with_what_is_expected() {
    for (field, value, expected) in [
        ("hidden_size", json!("96"), "expected usize"),
        ("hidden_size", json!(96.5), "expected usize"),
        ("hidden_size", json!(-96), "expected usize"),
        ("head_dim", json!(null), "expected usize"),
        ("num_hidden_layers", json!([4]), "expected usize"),
        ("rms_norm_eps", json!("1e-5"), "expected f64"),
        ("tie_word_embeddings", json!("yes"), "expected a boolean"),
        ("attention_function", json!(1), "expected a string"),
        ("pad_token_id", json!(-1), "expected u32"),
        ("eos_token_id", json!([1, 2]), "expected u32"),
        ("torch_dtype", json!(32), "expected a string"),
    ] {
        refused_with(field, value, &[expected]);
    }
}

#[test]
fn an_unsupported_value_is_named_with_what_is_supported() {
    for (field, value, says) in [
        (
            "attention_function",
            json!("relu"),
            "`relu` is not supported, only `softmax` and `sigmoid`",
        ),
        (
            "attention_logit_bias",
            json!(-8.3),
            "is -8.3 but softmax takes none; set it to 0",
        ),
        (
            "position_embedding_type",
            json!("rope"),
            "`rope` is not supported, only `alibi`",
        ),
        (
            "norm_structure",
            json!("prenorm"),
            "`prenorm` is not supported, only `hybridnorm`",
        ),
        ("tie_word_embeddings", json!(false), "must be true"),
        (
            "rms_norm_eps",
            json!(0.0),
            "0 is not a small positive number",
        ),
        (
            "rms_norm_eps",
            json!(-1e-5),
            "is not a small positive number",
        ),
        ("hidden_size", json!(0), "0 is not between 1 and "),
        ("num_attention_heads", json!(0), "0 is not between 1 and "),
        ("num_hidden_layers", json!(0), "0 is not between 1 and "),
        ("vocab_size", json!(u64::MAX), "is not between 1 and "),
        (
            "intermediate_size",
            json!(1u64 << 40),
            "is not between 1 and ",
        ),
        // The list of this model's tensors alone would fill the memory.
        (
            "num_hidden_layers",
            json!(1u64 << 24),
            "is not between 1 and ",
        ),
    ] {
        refused_with(field, value, &[says]);
    }
}

#[test]
fn an_unknown_key_is_refused() {
    refused_with(
        "sliding_window",
        json!(512),
        &["is not known", "gala", "remove it"],
    );
}

#[test]
fn keys_that_describe_no_computation_are_welcome() {
    let world = World::new();
    checkpoint::edit_config(world.model(), |config| {
        config.remove("torch_dtype");
        config.insert("dtype".into(), json!("bfloat16"));
        config.insert("architectures".into(), json!(["GalaForCausalLM"]));
        config.insert("transformers_version".into(), json!("5.0.0"));
        config.insert("_name_or_path".into(), json!("x"));
    });
    world.scan(&[]).succeeds();
}

#[test]
fn a_config_of_another_model_names_the_first_tensor_that_differs() {
    for (field, value, tensor) in [
        ("vocab_size", 2000, "model.embed_tokens.weight"),
        (
            "intermediate_size",
            255,
            "model.layers.0.mlp.gate_proj.weight",
        ),
        (
            "num_attention_heads",
            3,
            "model.layers.0.self_attn.q_proj.weight",
        ),
    ] {
        let world = World::new();
        checkpoint::edit_config(world.model(), |config| {
            config[field] = json!(value);
        });
        let says = ["model.safetensors: tensor `", tensor, "(from config.json)"];
        world.refused(&[], 3, &says);
    }
}
