//! Sources that are damaged, incomplete, or something else: each a clear error, and nothing that looks finished.

use std::{fs, path::Path};

use attnscope::{
    Error,
    convert::{Location, Request},
    manifest,
};

use super::{Source, assert_nothing_looks_finished, run};
use crate::support;

const LAYER: &str = "transformer/repeat/layer";

/// The arrays of a layer.
const GALA: [&str; 11] = [
    "self_attention/prenorm/scale",
    "self_attention/postnorm/scale",
    "feed_forward/prenorm/scale",
    "feed_forward/postnorm/scale",
    "feed_forward/linear1_0/weight",
    "feed_forward/linear1_1/weight",
    "feed_forward/linear2/weight",
    "self_attention/attention/scale_query/norm/scale",
    "self_attention/attention/scale_key/norm/scale",
    "self_attention/attention/i_proj/qkv_proj/weight",
    "self_attention/attention/o_proj/weight",
];

/// A conversion that fails with this exit code and says all of this.
#[track_caller]
fn refused(request: &Request, code: u8, says: &[&str]) -> Error {
    let error = run(request).unwrap_err();
    let message = error.to_string();
    assert_eq!(error.exit_code(), code, "{message}");
    for part in says {
        assert!(message.contains(part), "`{part}` is not said: {message}");
    }
    assert_nothing_looks_finished(&request.out);
    error
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn chunks() {
    let chunk = format!("{LAYER}/feed_forward/linear2/weight/0.1.2");
    let frame = |bytes: &[u8]| zstd::stream::encode_all(bytes, 1).unwrap();
    let unpacked = |packed: &[u8]| zstd::stream::decode_all(packed).unwrap();
    type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);
    let checked = |bytes: &[u8]| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_checksum(true).unwrap();
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    };
    let damages: [(&str, Damage); 9] = [
        ("is truncated", &|bytes| {
            // All of the data, and a part of what follows it.
            *bytes = checked(&unpacked(bytes));
            bytes.truncate(bytes.len() - 2);
        }),
        ("is truncated", &|bytes| bytes.truncate(bytes.len() / 2)),
        ("is truncated", &|bytes| bytes.truncate(bytes.len() - 1)),
        ("is truncated", &|bytes| bytes.clear()),
        ("is truncated", &|bytes| {
            let mut data = unpacked(bytes);
            data.truncate(data.len() - 4);
            *bytes = frame(&data);
        }),
        ("holds more than its shape says", &|bytes| {
            let mut data = unpacked(bytes);
            data.extend([0; 4]);
            *bytes = frame(&data);
        }),
        ("holds more than its shape says", &|bytes| {
            let mut data = unpacked(bytes);
            data.extend(vec![0; 100 << 20]); // A bomb: a few kilobytes of it on the disk.
            *bytes = frame(&data);
        }),
        ("goes on after the end of its data", &|bytes| {
            bytes.extend([1, 2, 3])
        }),
        ("is not valid Zstandard data", &|bytes| bytes[0] ^= 0xff),
    ];
    for (says, damage) in damages {
        let source = Source::chunked();
        edit(&source.array_file(&chunk), damage);
        refused(
            &source.request("out"),
            3,
            &["linear2/weight/0.1.2", says, "copy it again"],
        );
        // With the chunk mended the same conversion ends well.
        let mended = Source::chunked();
        fs::copy(mended.array_file(&chunk), source.array_file(&chunk)).unwrap();
        assert!(run(&source.request("out")).unwrap().was_verified);
    }
}

#[test]
fn files_that_are_missing() {
    let source = Source::chunked();
    for name in ["0.0.0.0.0", "0.0.2.1.0"] {
        let path = format!("{LAYER}/self_attention/attention/i_proj/qkv_proj/weight/{name}");
        fs::remove_file(source.array_file(&path)).unwrap();
    }
    let says = [
        "qkv_proj/weight",
        "2 chunks of 8 missing",
        "0.0.0.0.0, 0.0.2.1.0",
    ];
    refused(&source.request("out"), 3, &says);

    fs::remove_file(source.array_file("output_norm/scale/.zarray")).unwrap();
    fs::remove_dir_all(source.array_file(&format!("{LAYER}/feed_forward/prenorm"))).unwrap();
    let says = [
        "index",
        "2 arrays whose .zarray is absent",
        "output_norm/scale",
        "feed_forward/prenorm/scale",
    ];
    refused(&source.request("out"), 3, &says);

    fs::remove_file(source.step().join("index")).unwrap();
    refused(
        &source.request("out"),
        3,
        &["index", "step directory", "written last"],
    );
}

#[test]
fn descriptions_that_do_not_fit() {
    let zarray = format!("{LAYER}/feed_forward/linear2/weight/.zarray");
    let cases: [(&str, &str, &[&str]); 5] = [
        ("\"<f4\"", "\"<f2\"", &["float16", "`index` says float32"]),
        ("[3,64,32]", "[3,64,16]", &["[3, 64, 16]", "`index` says"]),
        ("\"zstd\"", "\"blosc\"", &[".zarray", "compressor `blosc`"]),
        ("\"C\"", "\"F\"", &[".zarray", "order `F`"]),
        ("{", "", &[".zarray", "not valid"]),
    ];
    for (from, to, says) in cases {
        let source = Source::chunked();
        replace(&source.array_file(&zarray), from, to);
        refused(
            &source.request("out"),
            3,
            &[says, &["linear2/weight"]].concat(),
        );
    }
    let source = Source::chunked();
    replace(&source.step().join("index"), "[[", "{{");
    refused(&source.request("out"), 3, &["index", "not a list"]);
}

#[test]
fn models_that_are_no_gala() {
    let source = Source::chunked();
    let index = source.step().join("index");
    replace(&index, "linear1_1/weight", "linear3/weight");
    let folder = source.array_file(&format!("{LAYER}/feed_forward"));
    fs::rename(folder.join("linear1_1"), folder.join("linear3")).unwrap();
    let says = [
        "not a gala decoder",
        "not of gala: decoder/",
        "linear3/weight",
        "missing: decoder/",
        "linear1_1/weight",
    ];
    refused(&source.request("out"), 3, &says);

    // Sizes that contradict each other: a norm as wide as the feed-forward block.
    let source = Source::chunked();
    let norm = format!("{LAYER}/self_attention/prenorm/scale");
    replace(
        &source.step().join("index"),
        &format!("{norm}\", {{\"dtype\": \"float32\", \"shape\": \"(3, 32)\""),
        &format!("{norm}\", {{\"dtype\": \"float32\", \"shape\": \"(3, 64)\""),
    );
    replace(
        &source.array_file(&format!("{norm}/.zarray")),
        "\"shape\":[3,32]",
        "\"shape\":[3,64]",
    );
    replace(
        &source.array_file(&format!("{norm}/.zarray")),
        "\"chunks\":[3,32]",
        "\"chunks\":[3,64]",
    );
    let says = [
        "do not fit together",
        "prenorm/scale",
        "hidden_size there is 64",
        "32 in emb/token_emb/weight",
    ];
    refused(&source.request("out"), 3, &says);

    // As many layers as no list can hold.
    let source = Source::chunked();
    let index = source.step().join("index");
    let text = fs::read_to_string(&index).unwrap();
    fs::write(&index, text.replace("(3, ", "(40000000, ")).unwrap();
    for name in GALA {
        let zarray = source.array_file(&format!("{LAYER}/{name}/.zarray"));
        let text = fs::read_to_string(&zarray).unwrap();
        let text = text.replace("\"shape\":[3,", "\"shape\":[40000000,");
        fs::write(
            &zarray,
            text.replace("\"chunks\":[3,", "\"chunks\":[40000000,"),
        )
        .unwrap();
    }
    let error = run(&source.request("out")).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    assert!(error.to_string().contains("40000000 layers"), "{error}");

    // Numbers that are no weights.
    let source = Source::chunked();
    let scale = "output_norm/scale";
    replace(
        &source.step().join("index"),
        &format!("model/decoder/{scale}\", {{\"dtype\": \"float32\""),
        &format!("model/decoder/{scale}\", {{\"dtype\": \"int32\""),
    );
    replace(
        &source.array_file(&format!("{scale}/.zarray")),
        "<f4",
        "<i4",
    );
    refused(
        &source.request("out"),
        3,
        &[
            "decoder/output_norm/scale",
            "float32, bfloat16 or float16",
            "int32",
        ],
    );
}

#[test]
fn another_model_than_the_manifest_describes() {
    let source = Source::chunked();
    let models = manifest::models().unwrap();
    let gala = models
        .iter()
        .find(|model| model.name == "gala-7b-sigmoid")
        .unwrap();
    let request = Request {
        expected: Some((gala.name.clone(), gala.sizes.clone())),
        ..source.request("out")
    };
    let says = [
        "is not gala-7b-sigmoid",
        "hidden_size is 32, not 4096",
        "num_hidden_layers is 3, not 32",
        "--attention-function",
    ];
    refused(&request, 3, &says);
}

#[test]
fn tokenizers() {
    let source = Source::chunked();
    let of = |path: &Path| Request {
        tokenizer: Location::Local(path.to_path_buf()),
        ..source.request("out")
    };
    let missing = source.path("no.model");
    refused(
        &of(&missing),
        3,
        &["no.model", "SentencePiece model cannot be read"],
    );
    let text = source.path("text.model");
    fs::write(&text, "not a model").unwrap();
    refused(&of(&text), 3, &["text.model"]);
    let large = support::golden("sentencepiece").join("gala.model");
    refused(
        &of(&large),
        3,
        &["gala.model", "pieces", "the model's embedding 64 rows"],
    );
    let unigram = support::golden("sentencepiece").join("unigram.model");
    refused(&of(&unigram), 3, &["unigram.model", "unigram"]);
}

#[test]
fn other_arguments() {
    let source = Source::chunked();
    for layers in [0, 4] {
        let request = Request {
            layers: Some(layers),
            ..source.request("out")
        };
        refused(&request, 2, &[&format!("0..{layers}"), "3 layers"]);
    }
    let request = Request {
        checkpoint: Location::Local(source.path("nowhere")),
        ..source.request("out")
    };
    refused(&request, 3, &["nowhere/index", "there is no such file"]);
}
