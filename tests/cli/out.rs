//! `--out`: what lies there already, and what a run that is refused or resumed leaves.

use std::fs;

use attnscope::store::{Fingerprint, Parts};

use super::{Finished, RESULTS, World, names, tables, text};

impl World {
    /// Leaves in `out` what a scan leaves that was killed before its first batch was done.
    pub(super) fn begin(&self, out: &str, arguments: &[&str]) {
        let mut whole = vec!["--out", "begun"];
        whole.extend(arguments);
        self.scan(&whole).succeeds();
        let fingerprint = self.run_json("begun")["fingerprint"].clone();
        let fingerprint: Fingerprint = serde_json::from_value(fingerprint).unwrap();
        Parts::create(&self.path(out), &fingerprint).unwrap();
        fs::remove_dir_all(self.path("begun")).unwrap();
    }

    /// A scan is refused, and leaves `out` as it is.
    #[track_caller]
    fn untouched(&self, arguments: &[&str], says: &[&str]) -> Finished {
        let before = contents(&self.out());
        let finished = self.scan(arguments).fails(2, says);
        assert!(finished.stderr.contains(text(&self.out())), "{finished}");
        assert_eq!(contents(&self.out()), before);
        finished
    }
}

/// Every file below a directory, with its bytes.
fn contents(dir: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for name in names(dir) {
        let path = dir.join(&name);
        match path.is_dir() {
            true => files.extend(
                contents(&path)
                    .into_iter()
                    .map(|(below, bytes)| (format!("{name}/{below}"), bytes)),
            ),
            false => files.push((name, fs::read(path).unwrap())),
        }
    }
    files
}

#[test]
fn a_finished_run_is_never_written_over() {
    let world = World::new();
    world.scan(&[]).succeeds();
    assert_eq!(names(&world.out()), RESULTS);
    for arguments in [&[][..], &["--seed", "1"], &["--memory", "streamed"]] {
        let says = [
            "holds a finished run",
            "heads.parquet",
            "choose another --out",
        ];
        world.untouched(arguments, &says);
    }
}

#[test]
fn a_finished_run_resumes_to_itself() {
    let world = World::new();
    let first = world.scan(&["--json"]).succeeds().json();
    let before = contents(&world.out());
    let again = world.scan(&["--json", "--resume"]).succeeds();
    assert!(again.stderr.contains("nothing to do"), "{again}");
    assert_eq!(again.json(), first);
    assert_eq!(contents(&world.out()), before);
}

#[test]
fn a_finished_run_of_other_parameters_is_not_resumed() {
    let world = World::new();
    world.scan(&["--n-samples", "4"]).succeeds();
    let says = [
        "holds another run",
        "seed",
        "42",
        "43",
        "choose another --out",
    ];
    world.untouched(&["--n-samples", "4", "--resume", "--seed", "43"], &says);
    let says = ["holds another run", "max_seq_len", "24", "12"];
    let arguments = ["--n-samples", "4", "--resume", "--max-seq-len", "12"];
    world.untouched(&arguments, &says);
}

#[test]
fn an_unfinished_run_is_continued_on_demand_only() {
    let world = World::new();
    world.scan(&["--out", "undisturbed"]).succeeds();
    world.begin("out", &[]);
    let says = [
        "holds an unfinished run",
        "continue it with --resume, or choose another --out",
    ];
    world.untouched(&[], &says);
    world.scan(&["--resume"]).succeeds();
    assert_eq!(names(&world.out()), RESULTS);
    assert_eq!(world.run_json("out")["resumed"], 1);
    assert_eq!(tables(&world.out()), tables(&world.path("undisturbed")));
}

#[test]
fn an_unfinished_run_of_other_parameters_is_not_continued() {
    let world = World::new();
    world.begin("out", &[]);
    let says = [
        "holds another run",
        "max_seq_len",
        "repeat that run's options",
        "choose another --out",
    ];
    world.untouched(&["--resume", "--max-seq-len", "12"], &says);
    let sigmoid = &world.files.models[1];
    let says = ["holds another run", "gala-softmax", "gala-sigmoid"];
    world.untouched(&["--resume", "--model", text(sigmoid)], &says);
    // The same parameters, but the weights have changed meanwhile.
    super::checkpoint::edit(world.model(), |tensors| {
        tensors.get_mut("model.norm.weight").unwrap().bytes[0] ^= 1;
    });
    world.untouched(&["--resume"], &["holds another run", "weights"]);
}

#[test]
fn resume_begins_where_there_is_nothing() {
    let world = World::new();
    world.scan(&["--resume"]).succeeds();
    assert_eq!(world.run_json("out")["resumed"], 0);
}

#[test]
fn a_plan_that_cannot_be_read() {
    let world = World::new();
    world.begin("out", &[]);
    fs::write(world.out().join("parts/plan.json"), "{").unwrap();
    let says = [
        "parts/plan.json: cannot be read",
        "remove the directory parts/",
    ];
    world.untouched(&["--resume"], &says);
}

#[test]
fn a_file_in_the_place_of_the_directory() {
    let world = World::new();
    fs::write(world.out(), "precious").unwrap();
    let below = world.out().join("below");
    for arguments in [
        &[][..],
        &["--resume"],
        &["--out", text(&below)],
        &["--memory", "streamed"],
    ] {
        let says = ["is a file", "choose another --out"];
        world.scan(arguments).fails(2, &says);
        assert_eq!(fs::read(world.out()).unwrap(), b"precious");
    }
    let demo = world.run(&["demo", "--out", text(&world.out())]);
    demo.fails(2, &["is a file", "choose another --out"]);
    assert_eq!(fs::read(world.out()).unwrap(), b"precious");
}

#[test]
fn other_files_may_lie_in_the_directory() {
    let world = World::new();
    fs::create_dir(world.out()).unwrap();
    fs::write(world.out().join("notes.txt"), "mine").unwrap();
    world.scan(&[]).succeeds();
    let mut expected = RESULTS.to_vec();
    expected.insert(1, "notes.txt");
    assert_eq!(names(&world.out()), expected);
}
