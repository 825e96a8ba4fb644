//! The same conversions from a bucket: what comes over the wire, and what happens when it does not.

use std::fs;

use attnscope::{
    Error,
    convert::{self, Location, Request},
    hub::{RetryPolicy, bucket::BucketSettings},
};
use std::time::Duration;

use super::{Counter, SIZES, Source, assert_nothing_looks_finished, contents, run};
use super::{Mesh, Sizes};
use crate::support::bucket::{BucketServer, Fault, Hash};

const CHECKPOINT: &str = "gs://bucket/run/checkpoints/step_00250000";

fn settings(server: &BucketServer) -> BucketSettings {
    BucketSettings {
        endpoint: Some(server.url()),
        retry: RetryPolicy {
            base: Duration::from_millis(5),
            ..RetryPolicy::default()
        },
        piece: 1000,
        connections: 4,
        timeout: Duration::from_secs(10),
    }
}

/// The conversion of `source` as `server` has it.
fn remote(source: &Source, server: &BucketServer, out: &str) -> Request {
    Request {
        checkpoint: Location::new(CHECKPOINT),
        bucket: settings(server),
        ..source.request(out)
    }
}

fn key(array_file: &str) -> String {
    format!("bucket/run/checkpoints/step_00250000/gda/model/decoder/{array_file}")
}

const O_PROJ: &str = "transformer/repeat/layer/self_attention/attention/o_proj/weight/0.1.0.0";

/// Everything but the record, which says where the checkpoint was.
fn results(out: &std::path::Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut files = contents(out);
    files.remove("conversion.json");
    files
}

#[test]
fn a_bucket_gives_what_a_directory_gives() {
    let source = Source::chunked();
    // What must never be asked for.
    let learner = source.step().join("gda/learner/optimizer");
    fs::create_dir_all(&learner).unwrap();
    fs::write(learner.join("0"), "state").unwrap();
    let server = BucketServer::start(&source.path(""));
    server.set(|manner| manner.page = 7);
    run(&source.request("local")).unwrap();
    let outcome = run(&remote(&source, &server, "out")).unwrap();
    assert!(results(&source.path("out")) == results(&source.path("local")));

    let stored = outcome.plan.read_bytes;
    assert_eq!(outcome.received_bytes, server.sent() as u64);
    let log = server.log();
    assert!(log.iter().all(|request| !request.path.contains("learner")));
    let chunks: usize = log
        .iter()
        .filter(|r| !r.path.ends_with(".zarray") && !r.path.ends_with("index"))
        .map(|r| r.sent)
        .sum();
    assert_eq!(chunks as u64, stored, "every byte once");
    // Nothing of it is left on the disk.
    assert!(!source.path("out/.attnscope-convert").exists());

    // The tokenizer can be in the bucket, too.
    fs::copy(super::tokenizer(), source.path("bucket/tokenizer.model")).unwrap();
    let request = Request {
        tokenizer: Location::new("gs://bucket/tokenizer.model"),
        ..remote(&source, &server, "other")
    };
    run(&request).unwrap();
    assert!(results(&request.out) == results(&source.path("local")));
}

#[test]
fn a_plan_fetches_no_chunk() {
    let source = Source::chunked();
    let server = BucketServer::start(&source.path(""));
    let plan = convert::plan(&remote(&source, &server, "out")).unwrap();
    assert!(plan.is_remote && plan.read_bytes > 0 && plan.spooled_bytes > 0);
    let log = server.log();
    let is_small =
        |path: &str| path == "bucket" || path.ends_with("/index") || path.ends_with("/.zarray");
    assert!(log.iter().all(|request| is_small(&request.path)), "{log:?}");
    assert!(!source.path("out").exists());
}

#[test]
fn servers_that_are_busy_or_cut_connections() {
    let source = Source::chunked();
    let server = BucketServer::start(&source.path(""));
    run(&source.request("local")).unwrap();
    let unavailable = || Fault::Status(503, vec![("retry-after", "0".into())]);
    server.fault("bucket", 2, unavailable());
    server.fault(
        "bucket/run/checkpoints/step_00250000/index",
        1,
        Fault::CutAfter(20),
    );
    server.fault(&key(O_PROJ), 3, unavailable());
    server.fault(&key(O_PROJ), 2, Fault::CutAfter(100));
    let embedding = key("emb/token_emb/weight/0.0");
    server.fault(&embedding, 1, Fault::Status(429, Vec::new()));
    server.fault(&embedding, 1, Fault::CutAfter(999));
    run(&remote(&source, &server, "out")).unwrap();
    assert!(results(&source.path("out")) == results(&source.path("local")));
}

#[test]
fn contents_that_are_not_what_the_server_announces() {
    let source = Source::chunked();
    run(&source.request("local")).unwrap();
    // The decoder notices a wrong magic number long before the end of the file.
    let cases = [
        (Hash::Wrong, None),
        (Hash::Right, Some((O_PROJ, 150))),
        (Hash::Right, Some(("emb/token_emb/weight/0.0", 1))),
    ];
    for (i, (hash, flip)) in cases.into_iter().enumerate() {
        let server = BucketServer::start(&source.path(""));
        server.set(|manner| manner.hash = hash);
        if let Some((chunk, byte)) = flip {
            server.fault(&key(chunk), 2, Fault::FlipAt(byte));
        }
        let out = format!("out-{i}");
        let request = remote(&source, &server, &out);
        let error = run(&request).unwrap_err();
        // Damage may be noticed by the decoder before the end of the file, where the checksum is.
        assert!([3, 4].contains(&error.exit_code()), "{error}");
        assert!(error.to_string().contains("again"), "{error}");
        assert_nothing_looks_finished(&request.out);
        // The server has come to its senses.
        server.set(|manner| manner.hash = Hash::Right);
        let mut runs = 0;
        while run(&request).is_err() {
            runs += 1;
            assert!(runs < 3, "damaged pieces are kept");
        }
        assert!(results(&request.out) == results(&source.path("local")));
    }
}

#[test]
fn objects_that_are_gone_or_forbidden() {
    let source = Source::chunked();
    let server = BucketServer::start(&source.path(""));
    let request = remote(&source, &server, "out");
    server.fault(&key(O_PROJ), 100, Fault::Status(403, Vec::new()));
    let error = run(&request).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    assert!(
        error.to_string().contains("o_proj/weight/0.1.0.0"),
        "{error}"
    );
    assert_nothing_looks_finished(&request.out);

    fs::remove_file(source.array_file(O_PROJ)).unwrap();
    let error = run(&request).unwrap_err();
    assert!(
        error.to_string().contains("1 chunk of 8 missing: 0.1.0.0"),
        "{error}"
    );

    let nowhere = Request {
        checkpoint: Location::new("gs://bucket/elsewhere"),
        ..request.clone()
    };
    let error = run(&nowhere).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    assert!(
        error.to_string().contains("gs://bucket/elsewhere/index"),
        "{error}"
    );

    let nobody = Request {
        bucket: BucketSettings {
            endpoint: Some("http://127.0.0.1:1".into()),
            ..settings(&server)
        },
        ..request
    };
    assert_eq!(run(&nobody).unwrap_err().exit_code(), 4);
}

#[test]
fn an_interrupted_conversion_fetches_no_byte_twice_that_it_has() {
    let source = Source::of(
        &Sizes {
            num_hidden_layers: 6,
            hidden_size: 64,
            intermediate_size: 128,
            ..SIZES
        },
        Mesh {
            fsdp: 4,
            model: 1,
            data: 1,
        },
    );
    let server = BucketServer::start(&source.path(""));
    run(&source.request("local")).unwrap();
    let request = remote(&source, &server, "out");
    let (mut received, mut stops) = (0, 0);
    let mut stored = 0;
    for tenth in 1..=10 {
        let watcher = Counter::new(if tenth == 10 { u64::MAX } else { 90_000 });
        match convert::run(&request, &watcher) {
            Err(Error::Interrupted { .. }) => stops += 1,
            Err(other) => panic!("{other}"),
            Ok(outcome) => {
                stored = outcome.plan.read_bytes;
                break;
            }
        }
    }
    for request in server.log() {
        if request.path.contains("/weight/0") || request.path.contains("/scale/0") {
            received += request.sent as u64;
        }
    }
    assert!(stops >= 3, "{stops}");
    assert!(results(&request.out) == results(&source.path("local")));
    // A piece of each connection may be under way at a stop.
    let twice = received - stored;
    println!("{stops} stops: {twice} of {stored} bytes fetched twice");
    assert!(
        twice <= stops * 4 * 1000,
        "{twice} bytes after {stops} stops"
    );
}

#[test]
fn the_first_layers_are_at_the_beginning_of_chunks() {
    let source = Source::of(
        &Sizes {
            num_hidden_layers: 16,
            hidden_size: 256,
            intermediate_size: 512,
            ..SIZES
        },
        Mesh {
            fsdp: 2,
            model: 1,
            data: 1,
        },
    );
    let server = BucketServer::start(&source.path(""));
    let local = Request {
        layers: Some(2),
        ..source.request("local")
    };
    run(&local).unwrap();
    let remote = |out: &str| Request {
        bucket: BucketSettings {
            piece: 20_000,
            ..settings(&server)
        },
        ..remote(&source, &server, out)
    };
    let request = Request {
        layers: Some(2),
        ..remote("out")
    };
    let outcome = run(&request).unwrap();
    assert!(results(&request.out) == results(&local.out));
    let whole = convert::plan(&remote("whole")).unwrap();
    let share = outcome.received_bytes as f64 / whole.read_bytes as f64;
    println!("2 of 16 layers: {share:.2} of the bytes");
    assert!(share < 0.35, "{share}");
}
