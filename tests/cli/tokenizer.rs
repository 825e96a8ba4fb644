//! A tokenizer that is missing, broken, or another model's.

use std::fs;

use serde_json::json;

use super::{World, checkpoint};

#[test]
fn a_missing_tokenizer() {
    let world = World::new();
    fs::remove_file(world.model().join("tokenizer.json")).unwrap();
    let says = [
        "gala-softmax/tokenizer.json: ",
        "cannot be read",
        "No such file",
        "copy it",
    ];
    world.refused(&[], 3, &says);
}

#[test]
fn a_broken_tokenizer() {
    let world = World::new();
    let path = world.model().join("tokenizer.json");
    let whole = fs::read(&path).unwrap();
    for content in [
        &b""[..],
        b"{}",
        b"[1]",
        b"\xff\xfe",
        b"{\"model\": {\"type\": \"None\"}}",
        &whole[..whole.len() / 2],
    ] {
        fs::write(&path, content).unwrap();
        let says = [
            "gala-softmax/tokenizer.json: ",
            "not a usable tokenizer.json: ",
            "copy it",
        ];
        world.refused(&[], 3, &says);
    }
}

#[test]
fn ids_beyond_the_vocabulary() {
    let world = World::new();
    // A model that knows the special pieces and single bytes only.
    checkpoint::edit_config(world.model(), |config| {
        config["vocab_size"] = json!(261);
    });
    checkpoint::edit(world.model(), |tensors| {
        let embedding = tensors.get_mut("model.embed_tokens.weight").unwrap();
        embedding.shape[0] = 261;
        embedding.bytes.truncate(261 * 96 * 2);
    });
    let says = [
        "gala-softmax/tokenizer.json: token \"",
        "row ",
        "the model's vocabulary has 261 tokens (ids 0 to 260)",
        "is this the tokenizer of this model?",
    ];
    world.refused(&[], 3, &says);
}
