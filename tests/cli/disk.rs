//! A disk that fills up in the middle of a scan.
#![cfg(target_os = "linux")]

use std::process::Command;

use super::{Finished, World, tables, text};

/// A scan large enough not to fit into the little room that these tests leave.
const SCAN: [&str; 8] = [
    "--max-seq-len",
    "8",
    "--batch-size",
    "4",
    "--n-samples",
    "all",
    "-q",
    "--json",
];

impl World {
    fn demo_scan(&self, out: &str, more: &[&str]) -> Vec<String> {
        let mut arguments: Vec<&str> = vec![env!("CARGO_BIN_EXE_attnscope"), "scan"];
        let corpus = text(&self.files.corpus);
        arguments.extend([
            "--model",
            text(self.model()),
            "--dataset",
            corpus,
            "--out",
            out,
        ]);
        arguments.extend(SCAN);
        arguments.extend(more);
        arguments.into_iter().map(str::to_owned).collect()
    }
}

/// In a file system of its own, of one megabyte, of which `room` bytes are left. Nothing but the parts of the
/// unfinished run may lie there when it fails, and once there is room again, the run is continued.
fn full_disk(memory: &str, room: usize) {
    let world = World::new();
    let undisturbed = world.path("undisturbed");
    let whole = world.demo_scan(text(&undisturbed), &["--memory", memory]);
    let mut command = Command::new(&whole[0]);
    world.clean(&mut command);
    Finished::of(command.args(&whole[1..])).succeeds();

    let script = r#"
        mount -t tmpfs -o size=1m tmpfs "$0" || exit 99
        head -c "$1" /dev/zero > "$0/filler"
        shift
        "$@"
        echo "exit code $?"
        find "$0" -type f -printf '%P\n'
        rm "$0/filler"
        "$@" --resume > /dev/null
        echo "exit code $?"
        cp -r "$0/out" "$0-copy"
    "#;
    let disk = world.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let mut command = Command::new("unshare");
    command
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            script,
            text(&disk),
        ])
        .arg(((1 << 20) - room).to_string())
        .args(world.demo_scan(text(&disk.join("out")), &["--memory", memory]));
    world.clean(&mut command);
    let output = match command.output() {
        Ok(output) if output.status.success() => output,
        other => {
            // Containers often forbid it.
            println!("skipped: no file system of its own can be had here: {other:?}");
            return;
        }
    };
    let finished = Finished::from(output);
    let says = [
        "/out/",
        "No space left on device",
        "free some space",
        "--resume",
    ];
    for part in says {
        assert!(finished.stderr.contains(part), "{part}\n{finished}");
    }
    assert_eq!(finished.stderr.lines().count(), 1, "{finished}");
    let mut lines = finished.stdout.lines();
    assert_eq!(lines.next(), Some("exit code 1"), "{finished}");
    assert_eq!(lines.next_back(), Some("exit code 0"), "{finished}");
    let mut parts = 0;
    for file in lines.filter(|line| *line != "filler") {
        let name = file
            .strip_prefix("out/parts/")
            .unwrap_or_else(|| panic!("{finished}"));
        let known = ["plan.json", ".attnscope-lock"].contains(&name);
        let part = name.starts_with("batch-") && name.ends_with(".parquet");
        assert!(
            known || part || name.starts_with("hidden-states-"),
            "{finished}"
        );
        parts += usize::from(part);
    }
    println!("{memory}, {room} bytes: {parts} parts were written");
    assert_eq!(tables(&undisturbed), tables(&world.path("disk-copy")));
}

#[test]
fn room_for_nothing() {
    full_disk("resident", 0);
}

#[test]
fn room_for_some_parts() {
    full_disk("resident", 50_000);
}

#[test]
fn room_for_some_hidden_states() {
    full_disk("streamed", 150_000);
}

/// The other limit a system may set. It needs no privilege to be tested.
#[test]
fn a_limit_on_the_size_of_files() {
    let world = World::new();
    let undisturbed = world.path("undisturbed");
    let whole = world.demo_scan(text(&undisturbed), &[]);
    let mut command = Command::new(&whole[0]);
    world.clean(&mut command);
    Finished::of(command.args(&whole[1..])).succeeds();

    // In blocks of 512 bytes: enough for the plan, too little for a table.
    let script = "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .args(world.demo_scan("out", &[]));
    world.clean(&mut command);
    let says = ["out/", "File too large", "ulimit -f", "--resume"];
    Finished::of(&mut command).fails(1, &says);
    assert_eq!(super::names(&world.out()), ["parts"]);

    let whole = world.demo_scan("out", &["--resume"]);
    let mut command = Command::new(&whole[0]);
    world.clean(&mut command);
    Finished::of(command.args(&whole[1..])).succeeds();
    assert_eq!(tables(&undisturbed), tables(&world.out()));
}
