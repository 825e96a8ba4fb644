//! Python's own library on the same cache. Skipped where it is not installed; `ATTNSCOPE_PYTHON` names the
//! interpreter (default: `python3`).

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{COMMIT, World, fetch_all};

/// Runs `snapshot_download` with the given arguments. `None` where Python or its library is missing.
fn snapshot_download(world: &World, arguments: &str) -> Option<String> {
    let python = std::env::var("ATTNSCOPE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let run = |code: &str| {
        Command::new(&python)
            .args(["-c", code])
            .env("HF_ENDPOINT", world.site.endpoint())
            .env("HF_HUB_CACHE", world.cache.path())
            .env("HF_HUB_DISABLE_XET", "1")
            .env_remove("HF_HUB_OFFLINE")
            .output()
    };
    if !run("import huggingface_hub").is_ok_and(|output| output.status.success()) {
        println!("skipped: {python} has no huggingface_hub");
        return None;
    }
    let code = format!(
        "from huggingface_hub import snapshot_download\nprint(snapshot_download('org/tiny', {arguments}))"
    );
    let output = run(&code).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

#[test]
fn python_finds_what_was_downloaded_here() {
    let world = World::new();
    let snapshot = world.fetch().unwrap();
    world.site.clear_log();
    let Some(dir) = snapshot_download(&world, "local_files_only=True") else {
        return;
    };
    assert_eq!(
        fs::canonicalize(dir).unwrap(),
        fs::canonicalize(&snapshot.dir).unwrap()
    );
    assert!(world.site.log().is_empty());

    // Online too: it accepts the blobs and fetches none again.
    snapshot_download(&world, "max_workers=1").unwrap();
    assert_eq!(world.sent(), 0);
}

#[test]
fn what_python_downloaded_is_found_here() {
    let world = World::new();
    let Some(dir) = snapshot_download(&world, "max_workers=1") else {
        return;
    };
    assert_eq!(
        fs::read(Path::new(&dir).join("model.safetensors")).unwrap(),
        world.weights
    );

    let offline = fetch_all(&world.offline_hub()).unwrap();
    assert_eq!(offline.commit, COMMIT);
    assert_eq!(
        fs::canonicalize(&offline.dir).unwrap(),
        fs::canonicalize(&dir).unwrap()
    );
    world.site.clear_log();
    assert_eq!(world.fetch().unwrap(), offline);
    assert_eq!(world.sent(), 0);
}
