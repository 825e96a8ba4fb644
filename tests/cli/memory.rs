//! Models that do not fit, and the choice between the executors.

use std::fs::File;
use std::io::Write;

use serde_json::{Map, Value, json};

use super::{World, checkpoint, tables};

/// Turns the checkpoint into one of a terabyte and a half. The file is sparse: it has its header, its length,
/// and nothing in between, which is all that is read before the plan is made.
/// False where the file system has no such files.
fn inflate(world: &World) -> bool {
    let sizes = [
        ("hidden_size", 1u64 << 16),
        ("intermediate_size", 1 << 20),
        ("num_hidden_layers", 3),
        ("num_attention_heads", 512),
        ("head_dim", 128),
    ];
    checkpoint::edit_config(world.model(), |config| {
        for (field, value) in sizes {
            config[field] = json!(value);
        }
    });
    let (hidden, inner) = (sizes[0].1, sizes[1].1);
    let mut specs = vec![
        ("model.embed_tokens".to_owned(), vec![1024, hidden]),
        ("model.norm".to_owned(), vec![hidden]),
    ];
    for layer in 0..sizes[2].1 {
        let mut add =
            |name: &str, shape| specs.push((format!("model.layers.{layer}.{name}"), shape));
        for name in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            add(&format!("self_attn.{name}"), vec![hidden, hidden]);
        }
        for name in ["self_attn.q_norm", "self_attn.k_norm"] {
            add(name, vec![128]);
        }
        for name in [
            "input",
            "post_attention",
            "pre_feedforward",
            "post_feedforward",
        ] {
            add(&format!("{name}_layernorm"), vec![hidden]);
        }
        add("mlp.gate_proj", vec![inner, hidden]);
        add("mlp.up_proj", vec![inner, hidden]);
        add("mlp.down_proj", vec![hidden, inner]);
    }
    let (mut header, mut end) = (Map::new(), 0);
    for (name, shape) in specs {
        let start = end;
        end += 2 * shape.iter().product::<u64>();
        let info = json!({ "dtype": "BF16", "shape": shape, "data_offsets": [start, end] });
        header.insert(format!("{name}.weight"), info);
    }
    assert!(end > 1 << 40);
    let file = checkpoint::join(&Value::Object(header), &[]);
    let mut sparse = File::create(world.model().join("model.safetensors")).unwrap();
    sparse.write_all(&file).unwrap();
    match sparse.set_len(file.len() as u64 + end) {
        Ok(()) => true,
        Err(error) => {
            println!("skipped: no file of {end} bytes can be had here: {error}");
            false
        }
    }
}

#[test]
fn a_model_that_does_not_fit_is_refused_before_any_work() {
    let world = World::new();
    if !inflate(&world) {
        return;
    }
    for memory in ["auto", "streamed"] {
        let says = [
            "the streamed executor needs about ",
            " GiB, and ",
            " are available: ",
            "free memory",
        ];
        world.refused(&["--memory", memory], 5, &says);
    }
    let says = [
        "the resident executor needs about ",
        "use --memory streamed",
    ];
    world.refused(&["--memory", "resident"], 5, &says);
    let says = ["use a smaller --batch-size"];
    world.refused(&["--batch-size", "2"], 5, &says);
}

#[test]
fn the_executors_agree_and_the_choice_is_said() {
    let world = World::new();
    for memory in ["auto", "resident", "streamed"] {
        let chosen = if memory == "auto" { "resident" } else { memory };
        let finished = world
            .scan(&["--memory", memory, "--out", memory])
            .succeeds();
        let says = format!("chosen: {chosen}");
        assert!(finished.stderr.contains(&says), "{finished}");
        assert!(finished.stderr.contains("memory: resident "), "{finished}");
        assert_eq!(world.run_json(memory)["executor"], chosen);
    }
    let [a, b, c] = ["auto", "resident", "streamed"].map(|out| tables(&world.path(out)));
    assert_eq!(a, b);
    assert_eq!(b, c);
}
