//! No network, or none wanted.

use super::hub::{HubWorld, MODEL};
use super::{Finished, NOBODY, text};

#[test]
fn no_network() {
    let hub = HubWorld::empty();
    let texts = hub.world.texts();
    for (what, flag, there) in [
        ("model owner/tiny-gala", "--dataset", texts.as_path()),
        ("dataset owner/texts", "--model", hub.world.model()),
    ] {
        let says = [
            what,
            "(revision main): no connection: Connection refused",
            "check the connection, or use what the cache holds with --offline",
        ];
        hub.scan_at(NOBODY, &[flag, text(there)]).fails(4, &says);
        assert!(!hub.world.out().exists());
    }
}

#[test]
fn an_endpoint_that_is_no_address() {
    let hub = HubWorld::empty();
    let says = ["HF_ENDPOINT: ", "https://"];
    hub.scan_at("huggingface", &[]).fails(2, &["HF_ENDPOINT: "]);
    hub.scan_at("file:///x", &[]).fails(2, &says);
    // Neither is needed, nor looked at, where everything is on this machine.
    let mut command = hub.world.scan_command(&[]);
    Finished::of(command.env("HF_ENDPOINT", "huggingface")).succeeds();
}

#[test]
fn offline_without_a_cache() {
    let hub = HubWorld::new();
    let cache = hub.world.cache();
    let remedy = "run once without --offline and HF_HUB_OFFLINE";
    let says = [
        "model owner/tiny-gala (revision main) is not in the cache",
        text(&cache),
        remedy,
    ];
    hub.refused(&["--offline"], 4, &says);
    let says = [
        "dataset owner/texts (revision main) is not in the cache",
        text(&cache),
        remedy,
    ];
    let model = text(hub.world.model());
    hub.refused(&["--offline", "--model", model], 4, &says);
    assert!(hub.site.log().is_empty());

    let mut command = hub.world.attnscope();
    command.args(["download", MODEL]).env("HF_HUB_OFFLINE", "1");
    Finished::of(&mut command).fails(4, &["is not in the cache", remedy]);

    // A model of which only a part has come.
    hub.download(&[MODEL]).succeeds();
    std::fs::remove_file(hub.model_snapshot().join("tokenizer.json")).unwrap();
    let says = [
        "owner/tiny-gala",
        "tokenizer.json is not in the cache",
        remedy,
    ];
    hub.refused(&["--offline"], 4, &says);
}
