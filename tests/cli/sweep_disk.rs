//! A sweep that the system does not let write all that it has.
#![cfg(target_os = "linux")]

use std::{fs, path::Path, process::Command};

use super::{Finished, World};
use crate::train::sweep::{assert_same_tables, tiny_induction};

/// What `ulimit -f` counts in.
const BLOCK: usize = 512;

/// A directory with a grid of six runs, and with all of them in `whole`.
fn world() -> World {
    let world = World::new();
    fs::write(world.path("grid.yaml"), tiny_induction()).unwrap();
    world
        .run(&["sweep", "grid.yaml", "--out=whole", "--jobs=1"])
        .succeeds();
    world
}

/// The sweep, with files of so many blocks at most.
fn limited(world: &World, blocks: usize) -> Finished {
    let script = "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_attnscope")]);
    command.arg(blocks.to_string());
    command.args(["sweep", "grid.yaml", "--out=out", "--jobs=1"]);
    world.clean(&mut command);
    Finished::of(&mut command)
}

/// Without a limit: how many runs were left.
#[track_caller]
fn continued(world: &World) -> serde_json::Value {
    let finished = world.run(&["sweep", "grid.yaml", "--out=out", "--json"]);
    let told = finished.succeeds().json();
    assert_same_tables(&world.path("whole"), &world.path("out"));
    told["trained"].clone()
}

fn size(path: &Path) -> usize {
    fs::metadata(path).unwrap().len() as usize
}

#[test]
fn without_room_for_the_grid_there_is_no_record_of_it() {
    let world = world();
    assert!(size(&world.path("whole/sweep.json")) > BLOCK);
    limited(&world, 1).fails(1, &["sweep.json", "File too large"]);
    assert_eq!(continued(&world), 6);
}

#[test]
fn half_a_line_does_not_stay_in_the_record() {
    let world = world();
    let record = fs::read_to_string(world.path("whole/runs.jsonl")).unwrap();
    let blocks = record.len() / 2 / BLOCK;
    assert!(size(&world.path("whole/sweep.json")) < blocks * BLOCK);
    let ends: Vec<usize> = record.match_indices('\n').map(|(at, _)| at + 1).collect();
    assert!(!ends.contains(&(blocks * BLOCK)));
    limited(&world, blocks).fails(1, &["runs.jsonl", "File too large"]);
    let kept = fs::read_to_string(world.path("out/runs.jsonl")).unwrap();
    assert!(kept.ends_with('\n'), "{kept}");
    let kept = kept.lines().count();
    assert!((1..6).contains(&kept), "{kept}");
    assert_eq!(continued(&world), 6 - kept);
}

#[test]
fn without_room_for_figures_there_are_the_numbers() {
    let world = world();
    let (mut figures, mut others) = (0, 0);
    for entry in fs::read_dir(world.path("whole")).unwrap() {
        let path = entry.unwrap().path();
        let is_figure = path
            .extension()
            .is_some_and(|end| end == "svg" || end == "png");
        let largest = if is_figure { &mut figures } else { &mut others };
        *largest = size(&path).max(*largest);
    }
    let blocks = others.div_ceil(BLOCK) + 1;
    assert!(figures > blocks * BLOCK, "{figures} {others}");
    let finished = limited(&world, blocks).ends(1);
    let told = "induction: 6 of 6 runs done, 6 of them now\n";
    assert!(finished.stdout.starts_with(told), "{finished}");
    assert!(finished.stderr.contains("sweep-accuracy"), "{finished}");
    assert!(finished.stderr.contains("File too large"), "{finished}");
    assert_eq!(continued(&world), 0);
}
