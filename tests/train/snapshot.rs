//! Runs that are left between two steps, and go on.

use std::{cell::Cell, fs, num::NonZeroUsize, path::Path};

use attnscope::{
    Error, Result,
    store::train::unfinished::{self, Progress, UNFINISHED},
    train::{
        Settings, Snapshot, Tracking,
        run::{Epoch, State, Trained, Watcher, run_kept},
        snapshot::Keeper,
        tasks::{Classification, Induction, Task},
    },
};
use candle_core::{Device, Tensor};
use safetensors::SafeTensors;

use super::run::{bits, settings};

/// Stops a run after so many steps.
#[derive(Default)]
struct Stop {
    after: Option<usize>,
    done: Cell<usize>,
}

impl Watcher for Stop {
    fn stepped(&self, done: usize, _: usize) {
        self.done.set(done);
    }

    fn epoch(&self, _: usize, _: &Epoch) {}

    fn is_stopped(&self) -> bool {
        self.after.is_some_and(|after| self.done.get() >= after)
    }
}

/// Takes every snapshot, or only one of a run that is stopped.
struct All {
    is_due: bool,
    snapshots: Vec<Snapshot>,
}

impl Keeper for All {
    fn is_due(&self) -> bool {
        self.is_due
    }

    fn keep(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.snapshots.push(snapshot.clone());
        Ok(())
    }
}

/// 10 steps in each of 3 epochs, the last of each with fewer samples; tracked every 4.
fn runs() -> [Settings; 2] {
    let tasks = [
        (Task::Induction(Induction::default()), "mlp_norm"),
        (Task::Classification(Classification::default()), "softmax"),
    ];
    tasks.map(|(task, kind)| Settings {
        tracking: Tracking::Steps(NonZeroUsize::new(4).unwrap()),
        ..settings(task, kind)
    })
}

fn train(
    settings: &Settings,
    from: Option<Snapshot>,
    is_due: bool,
    stop: Option<usize>,
) -> (Trained, Vec<Snapshot>) {
    let mut keeper = All {
        is_due,
        snapshots: Vec::new(),
    };
    let watcher = Stop {
        after: stop,
        ..Stop::default()
    };
    let trained = run_kept(settings, &Device::Cpu, &watcher, from, &mut keeper).unwrap();
    (trained, keeper.snapshots)
}

fn progress() -> Progress {
    Progress {
        started_at: "2026-01-02T03:04:05Z".into(),
        seconds: 0.1 + 0.2,
        resumed: 7,
    }
}

const COMMAND: &str = "attnscope train classification --lr 0.01 --seed 3";

/// What comes back from the disk.
fn through_a_file(settings: &Settings, snapshot: &Snapshot) -> Snapshot {
    let dir = tempfile::tempdir().unwrap();
    unfinished::write(dir.path(), COMMAND, &progress(), snapshot).unwrap();
    let (found, snapshot) = unfinished::read(dir.path(), settings, COMMAND).unwrap();
    assert_eq!(found, progress());
    snapshot
}

#[test]
fn what_becomes_of_a_run_does_not_depend_on_where_it_was_left() {
    for settings in runs() {
        let (whole, snapshots) = train(&settings, None, true, None);
        assert_eq!(whole.state, State::Finished);
        let steps: Vec<usize> = snapshots.iter().map(|snapshot| snapshot.steps).collect();
        assert_eq!(steps, (0..30).collect::<Vec<_>>());
        let unkept = train(&settings, None, false, None);
        assert_eq!(bits(&unkept.0), bits(&whole));
        assert!(unkept.1.is_empty());
        for at in [0, 1, 4, 9, 10, 11, 20, 29] {
            let from = through_a_file(&settings, &snapshots[at]);
            assert_eq!(from.steps, at);
            let (found, later) = train(&settings, Some(from), true, None);
            assert_eq!(bits(&found), bits(&whole), "left after {at}");
            assert_eq!(found.state, State::Finished);
            assert_eq!(found.epochs, whole.epochs, "left after {at}");
            assert_eq!(found.evaluation, whole.evaluation);
            assert_eq!(found.track, whole.track, "left after {at}");
            assert_eq!(later.len(), 30 - at);
        }
        // All of it is needed.
        let mut without = snapshots[14].clone();
        without.moments.clear();
        assert_ne!(
            bits(&train(&settings, Some(without), false, None).0),
            bits(&whole)
        );
        let mut without = snapshots[14].clone();
        without.loss = 0.0;
        let (found, _) = train(&settings, Some(without), false, None);
        assert_ne!(found.epochs[1], whole.epochs[1]);
    }
}

#[test]
fn a_run_that_is_stopped_is_kept_and_may_be_stopped_again() {
    let [settings, _] = runs();
    let (whole, _) = train(&settings, None, false, None);
    let mut from = None;
    for stop in [0, 3, 10, 23] {
        let (stopped, snapshots) = train(&settings, from, false, Some(stop));
        assert_eq!(stopped.state, State::Stopped);
        let [snapshot] = <[Snapshot; 1]>::try_from(snapshots).unwrap();
        assert_eq!(snapshot.steps, stop);
        from = Some(through_a_file(&settings, &snapshot));
    }
    let (found, _) = train(&settings, from, false, None);
    assert_eq!(bits(&found), bits(&whole));
    assert_eq!(found.epochs, whole.epochs);
    assert_eq!(found.track, whole.track);
}

#[test]
fn of_a_run_that_diverged_there_is_nothing_to_go_on_with() {
    let [settings, _] = runs();
    let settings = Settings {
        learning_rate: 1e30,
        ..settings
    };
    let (diverged, snapshots) = train(&settings, None, true, None);
    assert_eq!(diverged.state, State::Diverged);
    let steps = diverged.epochs.last().unwrap().steps;
    assert_eq!(snapshots.len(), steps);
    let last = through_a_file(&settings, snapshots.last().unwrap());
    let (found, _) = train(&settings, Some(last), false, None);
    assert_eq!(found.state, State::Diverged);
    assert_eq!(found.epochs.len(), diverged.epochs.len());
    assert_eq!(found.epochs.last().unwrap().steps, steps);
}

#[test]
fn a_snapshot_of_another_model_is_refused() {
    let [induction, classification] = runs();
    let (_, snapshots) = train(&classification, None, false, Some(1));
    let mut keeper = All {
        is_due: false,
        snapshots: Vec::new(),
    };
    let from = Some(snapshots[0].clone());
    let found = run_kept(
        &induction,
        &Device::Cpu,
        &Stop::default(),
        from,
        &mut keeper,
    );
    assert!(found.is_err());
    let mut without = snapshots[0].clone();
    without.parameters.pop_last().unwrap();
    let found = run_kept(
        &classification,
        &Device::Cpu,
        &Stop::default(),
        Some(without),
        &mut keeper,
    );
    assert!(
        found
            .unwrap_err()
            .to_string()
            .contains("none that is called")
    );
}

/// Writes the tensors and the metadata of the file anew, with a change.
fn rewrite(
    dir: &Path,
    change: impl FnOnce(
        &mut std::collections::HashMap<String, Tensor>,
        &mut std::collections::HashMap<String, String>,
    ),
) {
    let path = dir.join(UNFINISHED);
    let bytes = fs::read(&path).unwrap();
    let mut tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut metadata = header.metadata().clone().unwrap();
    change(&mut tensors, &mut metadata);
    fs::write(
        &path,
        safetensors::serialize(tensors, Some(metadata)).unwrap(),
    )
    .unwrap();
}

#[test]
fn files_of_other_runs_and_damaged_ones_are_refused() {
    let [_, settings] = runs();
    let (_, snapshots) = train(&settings, None, false, Some(12));
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let write = || unfinished::write(dir, COMMAND, &progress(), &snapshots[0]).unwrap();
    let read = |command: &str| unfinished::read(dir, &settings, command).map(|_| ());

    write();
    read(COMMAND).unwrap();
    let other = "attnscope train classification --lr 0.02 --seed 3";
    let message = read(other).unwrap_err();
    assert!(matches!(message, Error::OutDir { .. }));
    let message = message.to_string();
    assert!(message.contains("(--lr 0.01)"), "{message}");
    assert!(message.contains("choose another --out"), "{message}");
    let message = read("attnscope train induction --lr 0.01").unwrap_err();
    let message = message.to_string();
    assert!(
        message.contains("(attnscope train classification --seed 3)"),
        "{message}"
    );
    rewrite(dir, |_, metadata| {
        metadata.insert("attnscope.version".into(), "0.0.1".into());
    });
    let message = read(COMMAND).unwrap_err().to_string();
    assert!(
        message.contains("of attnscope 0.0.1; resume it with that version"),
        "{message}"
    );

    let damaged = |says: &str| {
        let error = read(COMMAND).unwrap_err();
        assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(says), "{message}");
        assert!(message.contains("remove it to begin anew"), "{message}");
        assert!(message.contains(UNFINISHED), "{message}");
    };
    let any = "q_proj.weight";
    let find = |tensors: &std::collections::HashMap<String, Tensor>, kind: &str| {
        let mut names = tensors.keys().filter(|name| name.starts_with(kind));
        names.find(|name| name.ends_with(any)).unwrap().clone()
    };
    for key in ["steps", "seconds", "resumed"] {
        write();
        rewrite(dir, |_, metadata| {
            metadata.insert(key.into(), "many".into());
        });
        damaged(&format!("`{key}` of its header is no number"));
        rewrite(dir, |_, metadata| {
            metadata.remove(key);
        });
        damaged(&format!("its header has no `{key}`"));
    }
    for kind in ["parameters", "second_moments"] {
        write();
        rewrite(dir, |tensors, _| {
            tensors.remove(&find(tensors, kind));
        });
        damaged("it has no tensor");
    }
    write();
    rewrite(dir, |tensors, _| {
        let tensor = tensors.get_mut(&find(tensors, "first_moments")).unwrap();
        *tensor = tensor.narrow(0, 0, 1).unwrap().contiguous().unwrap();
    });
    damaged("has the shape");
    for (name, says) in [
        ("epochs", "0 epochs do not make 12 steps"),
        ("loss", "`loss`"),
    ] {
        write();
        rewrite(dir, |tensors, _| {
            tensors.remove(name);
        });
        damaged(says);
    }
    write();
    rewrite(dir, |_, metadata| {
        metadata.insert("steps".into(), "31".into());
    });
    damaged("1 epochs do not make 31 steps");
    write();
    rewrite(dir, |tensors, _| {
        let weights = tensors.get_mut("tracked.weights").unwrap();
        *weights = weights.narrow(0, 0, 1).unwrap().contiguous().unwrap();
    });
    damaged("do not fit together");
    write();
    let bytes = fs::read(dir.join(UNFINISHED)).unwrap();
    for length in [0, 7, 100, bytes.len() - 1] {
        fs::write(dir.join(UNFINISHED), &bytes[..length]).unwrap();
        damaged("does not hold an unfinished run");
    }
}
