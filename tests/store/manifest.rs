//! `run.json`.

use std::fs;
use std::time::{Duration, SystemTime};

use attnscope::Error;
use attnscope::store::{RunManifest, rfc3339};
use serde_json::Value;
use tempfile::tempdir;

use super::*;

#[test]
fn it_reads_back_and_says_null_where_nothing_is_known() {
    let out = tempdir().unwrap();
    let mut run = a_manifest();
    run.sampling.shard = Some(Shard::new(3, 16).unwrap());
    run.tokens_per_second = None;
    run.write(out.path()).unwrap();
    assert_eq!(RunManifest::read(out.path()).unwrap(), run);

    let text = fs::read_to_string(out.path().join("run.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["sampling"]["shard"], "3/16");
    assert_eq!(json["model"]["config"]["model_type"], "gala");
    for unknown in [
        &json["tokens_per_second"],
        &json["dataset"]["revision"],
        &json["timings"]["seconds_load"],
    ] {
        assert_eq!(unknown, &Value::Null);
    }
    let timings = json["timings"].as_object().unwrap();
    assert!(timings.contains_key("seconds_load"), "null, not absent");
}

#[test]
fn unknown_keys_and_missing_optional_ones_do_not_matter() {
    let out = tempdir().unwrap();
    let path = out.path().join("run.json");
    let mut json = serde_json::to_value(a_manifest()).unwrap();
    json["added_later"] = json!({"deep": [1, 2]});
    json["model"]["added_later"] = json!(true);
    let removed = json.as_object_mut().unwrap();
    removed.remove("fingerprint");
    removed.remove("merged_from");
    fs::write(&path, json.to_string()).unwrap();
    let mut expected = a_manifest();
    expected.fingerprint = None;
    assert_eq!(RunManifest::read(out.path()).unwrap(), expected);
}

#[test]
fn a_damaged_manifest_names_file_and_field() {
    let out = tempdir().unwrap();
    let path = out.path().join("run.json");
    let write = |change: &dyn Fn(&mut Value)| {
        let mut json = serde_json::to_value(a_manifest()).unwrap();
        change(&mut json);
        fs::write(&path, json.to_string()).unwrap();
        RunManifest::read(out.path())
    };
    let error = assert_says(
        write(&|json| json["dataset"]["rows"] = json!("many")),
        &["run.json", "`dataset.rows`", "\"many\""],
    );
    assert!(matches!(error, Error::Config { .. }));
    assert_says(
        write(&|json| {
            json["model"].as_object_mut().unwrap().remove("model_type");
        }),
        &["`model`", "missing field `model_type`"],
    );
    assert_says(
        write(&|json| json["sampling"]["shard"] = json!("16/16")),
        &["`sampling.shard`", "no shard 16/16"],
    );
    fs::write(&path, "{\"attnscope_version\": ").unwrap();
    assert_says(RunManifest::read(out.path()), &["run.json", "EOF"]);
    assert_says(RunManifest::read(&out.path().join("x")), &["x/run.json"]);
}

#[test]
fn provenance_holds_facts_and_nothing_that_changes_when_a_run_is_repeated() {
    let run = a_manifest();
    let mut again = run.clone();
    again.started_at = "2027-01-01T00:00:00Z".into();
    again.finished_at = "2027-01-01T00:00:01Z".into();
    again.resumed = 4;
    again.executor = "streamed".into();
    again.batch_plan = None;
    again.timings = Timings::default();
    again.tokens_per_second = None;
    again.peak_memory_bytes = None;
    again.model.path = Some("/elsewhere".into());
    assert_eq!(again.provenance(), run.provenance());

    let facts = run.provenance();
    assert_eq!(facts["attnscope.version"], "0.1.0");
    assert_eq!(facts["attnscope.model_revision"], "0123abcd");
    assert_eq!(facts["attnscope.seed"], "42");
    assert_eq!(facts["attnscope.max_seq_len"], "256");
    assert!(!facts.contains_key("attnscope.shard"));
}

#[test]
fn times_are_utc_to_the_second() {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(951_782_400_999);
    assert_eq!(rfc3339(time), "2000-02-29T00:00:00Z");
}
