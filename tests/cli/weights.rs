//! Weights that are damaged, incomplete or not what `config.json` describes.

use std::fs;

use serde_json::json;

use super::checkpoint::{self, Tensor};
use super::{World, text};

const Q: &str = "model.layers.1.self_attn.q_proj.weight";

#[test]
fn shards_give_the_numbers_of_one_file() {
    let world = World::new();
    let whole = world.scan(&["--json", "--out", "whole"]).succeeds().json();
    checkpoint::write_shards(world.model(), 3);
    let sharded = world.scan(&["--json"]).succeeds().json();
    assert_eq!(whole["heads"], sharded["heads"]);
}

#[test]
fn missing_shards_are_all_named() {
    let world = World::new();
    let shards = checkpoint::write_shards(world.model(), 4);
    for shard in [&shards[1], &shards[3]] {
        fs::remove_file(world.model().join(shard)).unwrap();
    }
    let says = [
        "gala-softmax/model.safetensors.index.json: ",
        "2 of 4 shards are missing: ",
        shards[1].as_str(),
        shards[3].as_str(),
        "fetch them",
    ];
    let finished = world.refused(&[], 3, &says);
    assert!(!finished.stderr.contains(&shards[0]), "{finished}");
}

#[test]
fn a_file_cut_anywhere_is_truncated_or_damaged() {
    let world = World::new();
    let path = world.model().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let (data, all) = (8 + header, whole.len());
    let no_header = "too few for a safetensors file; fetch it again";
    let half_a_header = "it is damaged or not a safetensors file, fetch it again";
    for (length, says) in [
        (0, no_header),
        (7, no_header),
        (8, half_a_header),
        (data - 1, half_a_header),
        (data, "truncated, fetch it again"),
        (data + (all - data) / 2, "truncated, fetch it again"),
        (all - 1, "truncated, fetch it again"),
    ] {
        fs::write(&path, &whole[..length]).unwrap();
        let length = format!(" has {length}");
        let says = ["gala-softmax/model.safetensors: ", &length, says];
        world.refused(&[], 3, &says);
    }
    let mut longer = whole.clone();
    longer.push(0);
    fs::write(&path, longer).unwrap();
    world.refused(&[], 3, &["model.safetensors: ", "damaged, fetch it again"]);
}

#[test]
fn a_truncated_shard_is_named() {
    let world = World::new();
    let shards = checkpoint::write_shards(world.model(), 3);
    let path = world.model().join(&shards[2]);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 100]).unwrap();
    world.refused(&[], 3, &[shards[2].as_str(), "truncated, fetch it again"]);
}

#[test]
fn a_header_length_that_lies_is_believed_by_nobody() {
    let world = World::new();
    let path = world.model().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(whole[..8].try_into().unwrap());
    for lie in [
        u64::MAX,
        u64::MAX - 7,
        i64::MAX as u64,
        1 << 40,
        whole.len() as u64,
        whole.len() as u64 - 7,
    ] {
        let mut file = whole.clone();
        file[..8].copy_from_slice(&lie.to_le_bytes());
        fs::write(&path, file).unwrap();
        let claims = format!("the header claims {lie} bytes");
        world.refused(&[], 3, &["model.safetensors: ", &claims, "fetch it again"]);
    }
    for (lie, says) in [
        (0, "the header is not valid: "),
        (100, "the header is not valid: "),
        (length + 1, "the header is not valid: "),
        // Only a space less: the header is whole, but the data would begin a byte early.
        (length - 1, "its header describes "),
    ] {
        let mut file = whole.clone();
        file[..8].copy_from_slice(&lie.to_le_bytes());
        fs::write(&path, file).unwrap();
        world.refused(&[], 3, &["model.safetensors: ", says, "fetch it again"]);
    }
}

#[test]
fn tensors_may_neither_overlap_nor_leave_gaps_nor_lie_about_their_size() {
    let world = World::new();
    let path = world.model().join("model.safetensors");
    let original = fs::read(&path).unwrap();
    let edit_q = |key: &'static str, edit: &dyn Fn(&mut serde_json::Value)| {
        fs::write(&path, &original).unwrap();
        checkpoint::edit_header(world.model(), |header| edit(&mut header[Q][key]));
    };
    let overlap = [
        "model.safetensors: ",
        "tensors overlap or leave gaps",
        "fetch it again",
    ];

    edit_q("data_offsets", &|offsets| *offsets = json!([0, 18432]));
    world.refused(&[], 3, &overlap);
    edit_q("data_offsets", &|offsets| {
        let [start, end] = [0, 1].map(|i| offsets[i].as_u64().unwrap());
        *offsets = json!([start - 2, end]);
    });
    world.refused(&[], 3, &overlap);
    edit_q("data_offsets", &|offsets| {
        let [start, end] = [0, 1].map(|i| offsets[i].as_u64().unwrap());
        *offsets = json!([start + 2, end]);
    });
    world.refused(&[], 3, &overlap);
    edit_q("data_offsets", &|offsets| {
        let start = offsets[0].as_u64().unwrap();
        *offsets = json!([start, start - 2]);
    });
    world.refused(&[], 3, &overlap);

    edit_q("shape", &|shape| *shape = json!([96, 97]));
    world.refused(
        &[],
        3,
        &["model.safetensors: ", Q, "shape [96, 97]", "18432 bytes"],
    );
    // 2^64 elements: the product must not wrap around to something that fits.
    edit_q("shape", &|shape| {
        *shape = json!([4294967296u64, 4294967296u64])
    });
    world.refused(&[], 3, &["model.safetensors: ", Q, "18432 bytes"]);
    edit_q("data_offsets", &|offsets| {
        *offsets = json!([offsets[0], u64::MAX])
    });
    world.refused(&[], 3, &["model.safetensors: ", Q]);
}

#[test]
fn a_header_that_is_no_header_is_said_to_be_none() {
    let world = World::new();
    let path = world.model().join("model.safetensors");
    for header in [
        json!([]),
        json!({ "x": 1 }),
        json!({ "x": { "dtype": "F32", "shape": [-1], "data_offsets": [0, 4] } }),
        json!({ "x": { "dtype": "Q9", "shape": [1], "data_offsets": [0, 4] } }),
        json!({ "x": { "dtype": "F32", "shape": [1] } }),
    ] {
        fs::write(&path, checkpoint::join(&header, &[0; 4])).unwrap();
        world.refused(
            &[],
            3,
            &["model.safetensors: ", " is not valid: ", "fetch it again"],
        );
    }
}

#[test]
fn a_tensor_of_another_type_is_named_with_both_types() {
    let world = World::new();
    for (dtype, size) in [("I64", 8), ("U8", 1), ("BOOL", 1), ("F8_E4M3", 1)] {
        checkpoint::edit(world.model(), |tensors| {
            let shape = tensors[Q].shape.clone();
            let bytes = vec![0; size * shape.iter().product::<usize>()];
            let dtype = dtype.to_owned();
            tensors.insert(
                Q.into(),
                Tensor {
                    dtype,
                    shape,
                    bytes,
                },
            );
        });
        let expected = "expected element type F16, BF16, F32 or F64, found ";
        world.refused(&[], 3, &["model.safetensors: tensor `", Q, expected, dtype]);
    }
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both_shapes() {
    let world = World::new();
    checkpoint::edit(world.model(), |tensors| {
        tensors.get_mut(Q).unwrap().shape = vec![48, 192];
    });
    let says = [
        "gala-softmax/model.safetensors: tensor `",
        Q,
        "expected shape [96, 96] (from config.json), found shape [48, 192]",
    ];
    world.refused(&[], 3, &says);
}

#[test]
fn missing_tensors_are_all_listed() {
    let world = World::new();
    let missing = [
        "model.embed_tokens.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.3.mlp.down_proj.weight",
        "model.norm.weight",
        Q,
    ];
    checkpoint::edit(world.model(), |tensors| {
        tensors.retain(|name, _| !missing.contains(&name.as_str()));
    });
    let mut says = vec!["gala-softmax: 5 tensors are missing: "];
    says.extend(missing);
    world.refused(&[], 3, &says);

    // A whole layer more than there is.
    let world = World::new();
    checkpoint::edit_config(world.model(), |config| {
        config["num_hidden_layers"] = json!(5);
    });
    let says = [
        "13 tensors are missing",
        "model.layers.4.post_feedforward_layernorm.weight",
    ];
    world.refused(&[], 3, &says);
}

#[test]
fn a_directory_without_safetensors_says_what_can_be_read() {
    let world = World::new();
    fs::rename(
        world.model().join("model.safetensors"),
        world.model().join("pytorch_model.bin"),
    )
    .unwrap();
    let says = [
        text(world.model()),
        "neither model.safetensors nor model.safetensors.index.json",
        "only safetensors",
    ];
    world.refused(&[], 3, &says);
}

#[test]
fn an_index_cannot_lead_out_of_the_directory() {
    let world = World::new();
    checkpoint::write_shards(world.model(), 2);
    // There is such a file, which makes it the name that is refused, not its absence.
    fs::copy(
        world.model().join("model-00001-of-00002.safetensors"),
        world.path("gala/evil.safetensors"),
    )
    .unwrap();
    let absolute = world.path("gala/evil.safetensors");
    for name in [
        "../evil.safetensors",
        "./../evil.safetensors",
        "x/../../evil.safetensors",
        "..",
        "",
        "..\\evil.safetensors",
        text(&absolute),
    ] {
        checkpoint::write_index(world.model(), &json!({ "weight_map": { Q: name } }));
        let named = format!("`{name}`, which is not a file inside the checkpoint");
        let says = ["model.safetensors.index.json: tensor `", Q, &named];
        world.refused(&[], 3, &says);
    }
}

#[test]
fn an_index_that_is_wrong_is_named() {
    let world = World::new();
    let shards = checkpoint::write_shards(world.model(), 2);
    let index = world.model().join("model.safetensors.index.json");
    let right: serde_json::Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();

    for (content, says) in [
        ("{", "is not a shard index: "),
        ("[]", "is not a shard index: "),
        ("{}", "missing field `weight_map`"),
        ("{\"weight_map\": {\"x\": 1}}", "is not a shard index: "),
    ] {
        fs::write(&index, content).unwrap();
        world.refused(
            &[],
            3,
            &["model.safetensors.index.json: ", says, "fetch it again"],
        );
    }

    let mut wrong = right.clone();
    let (is, other) = match right["weight_map"][Q] == shards[0].as_str() {
        true => (&shards[0], &shards[1]),
        false => (&shards[1], &shards[0]),
    };
    assert_ne!(is, other);
    wrong["weight_map"][Q] = json!(other);
    checkpoint::write_index(world.model(), &wrong);
    let not_there = format!("is not in `{other}`, where the index says it is");
    world.refused(&[], 3, &["index.json: tensor `", Q, &not_there]);

    checkpoint::write_index(world.model(), &json!({ "weight_map": {} }));
    world.refused(&[], 3, &["54 tensors are missing: ", Q]);
}

#[test]
fn of_two_copies_of_a_tensor_the_index_decides() {
    let world = World::new();
    let whole = world.scan(&["--json", "--out", "whole"]).succeeds().json();
    // The copies are zero, and lie in the file that is read first, then in the one that is read last.
    for of in [0, 1] {
        let world = World::new();
        let names = checkpoint::write_shards(world.model(), 2);
        let shards: Vec<_> = names.iter().map(|name| world.model().join(name)).collect();
        let mut copies = checkpoint::read_file(&shards[of]);
        for (name, mut tensor) in checkpoint::read_file(&shards[1 - of]) {
            tensor.bytes.fill(0);
            copies.insert(name, tensor);
        }
        fs::write(&shards[of], checkpoint::file(&copies)).unwrap();
        let sharded = world.scan(&["--json"]).succeeds().json();
        assert_eq!(whole["heads"], sharded["heads"]);
    }
}
