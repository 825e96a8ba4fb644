//! Whole runs of tiny models.

use std::cell::{Cell, RefCell};

use attnscope::{
    layers::attention::AttentionKind,
    models::small_transformer::PositionEmbedding,
    random::PythonRandom,
    train::{
        Settings,
        metrics::{Heads, LEARNED_ACCURACY},
        run::{Epoch, State, Trained, Watcher, run, run_all},
        tasks::{Classification, Induction, Task},
    },
};
use candle_core::Device;

use super::config;

/// Keeps what it is told, and stops a run after so many steps.
pub struct Follower {
    stop_after: usize,
    steps: Cell<(usize, usize)>,
    epochs: RefCell<Vec<Epoch>>,
}

impl Follower {
    pub fn new(stop_after: usize) -> Self {
        Self {
            stop_after,
            steps: Cell::default(),
            epochs: RefCell::default(),
        }
    }
}

impl Watcher for Follower {
    fn stepped(&self, done: usize, total: usize) {
        assert_eq!(done, self.steps.get().0 + 1);
        self.steps.set((done, total));
    }

    fn epoch(&self, _run: usize, epoch: &Epoch) {
        self.epochs.borrow_mut().push(*epoch);
    }

    fn is_stopped(&self) -> bool {
        self.steps.get().0 >= self.stop_after
    }
}

/// A small model, and a task it learns in a moment.
pub fn settings(task: Task, kind: &str) -> Settings {
    let kind = AttentionKind::named(kind).unwrap();
    Settings {
        config: config(&task, kind),
        num_train: 600,
        num_eval: 100,
        num_epochs: 3,
        batch_size: 64,
        learning_rate: 1e-2,
        seed: 3,
        ..Settings::of_paper(task, kind)
    }
}

fn classification() -> Settings {
    settings(Task::Classification(Classification::default()), "softmax")
}

fn train(settings: &Settings) -> Trained {
    run(settings, &Device::Cpu, &Follower::new(usize::MAX)).unwrap()
}

/// All parameters, bit for bit.
pub fn bits(trained: &Trained) -> Vec<Vec<u32>> {
    let variables = trained.parameters.variables().values();
    variables
        .map(|variable| {
            let entries: Vec<f32> = variable.flatten_all().unwrap().to_vec1().unwrap();
            entries.into_iter().map(f32::to_bits).collect()
        })
        .collect()
}

#[test]
fn a_run_learns_and_tells() {
    let settings = classification();
    let follower = Follower::new(usize::MAX);
    let trained = run(&settings, &Device::Cpu, &follower).unwrap();
    assert_eq!(trained.state, State::Finished);
    // 600 samples are nine batches of 64 and one of 24.
    assert_eq!(settings.steps(), 30);
    assert_eq!(follower.steps.get(), (30, 30));
    assert_eq!(*follower.epochs.borrow(), trained.epochs);
    let epochs: Vec<_> = trained.epochs.iter().map(|e| (e.epoch, e.steps)).collect();
    assert_eq!(epochs, [(1, 10), (2, 20), (3, 30)]);
    let evaluation = trained.evaluation.unwrap();
    assert_eq!(trained.epochs[2].eval, Some(evaluation.score));
    // By chance it would be a quarter, and the loss ln 4.
    assert!(
        evaluation.score.accuracy >= LEARNED_ACCURACY,
        "{evaluation:?}"
    );
    assert!(evaluation.score.loss < 0.2 && trained.epochs[2].train_loss < 0.2);
    assert!(trained.epochs[0].train_loss > trained.epochs[1].train_loss);
    let Heads::Classification(heads) = evaluation.heads else {
        panic!("{:?}", evaluation.heads)
    };
    assert_eq!(heads.len(), 4);
}

/// Those that the paper's program would draw: first to learn from, then to measure on.
#[test]
fn samples_are_those_of_the_seed() {
    let mut settings = settings(Task::Induction(Induction::default()), "sigmoid_norm");
    settings.num_train = 70;
    settings.num_epochs = 1;
    let trained = train(&settings);
    let all = settings
        .task
        .samples(170, &mut PythonRandom::new(3))
        .unwrap();
    assert_eq!(trained.eval_samples, all[70..]);
    assert_eq!(trained.epochs[0].steps, 2);
    assert!(
        matches!(trained.evaluation.unwrap().heads, Heads::Induction(heads) if heads.len() == 4)
    );
}

#[test]
fn a_seed_gives_the_same_run_and_another_seed_another() {
    let settings = Settings {
        num_train: 130,
        num_epochs: 2,
        ..classification()
    };
    let (one, again) = (train(&settings), train(&settings));
    assert_eq!(bits(&one), bits(&again));
    assert_eq!(one.epochs, again.epochs);
    assert_eq!(one.evaluation, again.evaluation);
    let other = train(&Settings {
        seed: 4,
        ..settings
    });
    assert_ne!(bits(&one), bits(&other));
    assert_ne!(one.eval_samples, other.eval_samples);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let settings = settings(Task::Induction(Induction::default()), "softmax");
    let of = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| train(&settings))
    };
    let one = of(1);
    for threads in [2, 5] {
        let other = of(threads);
        assert_eq!(bits(&one), bits(&other));
        assert_eq!(one.epochs, other.epochs);
        assert_eq!(one.evaluation, other.evaluation);
    }
}

/// With another seed, another learning rate or a weight of its own, and beside one that diverges.
#[test]
fn side_by_side_each_is_as_it_would_be_alone() {
    let base = settings(Task::Induction(Induction::default()), "sigmoid_unnorm");
    let runs = [
        base.clone(),
        Settings {
            seed: 4,
            ..base.clone()
        },
        Settings {
            learning_rate: 1e30,
            ..base.clone()
        },
        Settings {
            learning_rate: 1e-3,
            task: Task::Induction(Induction {
                aux_loss_weight: 0.0,
                ..Induction::default()
            }),
            ..base
        },
    ];
    let together = run_all(&runs, &Device::Cpu, &Follower::new(usize::MAX)).unwrap();
    let states: Vec<State> = together.iter().map(|trained| trained.state).collect();
    let finished = State::Finished;
    assert_eq!(states, [finished, finished, State::Diverged, finished]);
    for (together, settings) in together.iter().zip(&runs) {
        let alone = train(settings);
        assert_eq!(together.state, alone.state);
        if together.state == State::Finished {
            assert_eq!(bits(together), bits(&alone));
            assert_eq!(together.epochs, alone.epochs);
            assert_eq!(together.evaluation, alone.evaluation);
        }
    }
    assert_ne!(bits(&together[0]), bits(&together[1]));
}

#[test]
fn runs_of_other_shapes_are_not_trained_side_by_side() {
    let one = classification();
    let other = Settings {
        num_epochs: 2,
        ..one.clone()
    };
    let error = run_all(&[one, other], &Device::Cpu, &Follower::new(0)).unwrap_err();
    let expected = "train: runs: side by side, runs may differ in seed";
    assert!(error.to_string().starts_with(expected), "{error}");
}

#[test]
fn a_loss_that_is_not_finite_ends_the_run() {
    for (num_train, steps) in [(600, None), (20, Some(1))] {
        let trained = train(&Settings {
            learning_rate: 1e30,
            num_train,
            ..classification()
        });
        assert_eq!(trained.state, State::Diverged);
        assert_eq!(trained.evaluation, None);
        let last = trained.epochs.last().unwrap();
        assert!(last.steps < 10 && steps.is_none_or(|steps| last.steps == steps));
        match last.eval {
            // Within an epoch, by a loss of training...
            None => assert!(!last.train_loss.is_finite()),
            // ...or by the only step of an epoch, which shows afterwards.
            Some(score) => assert!(!score.loss.is_finite() && steps.is_some()),
        }
    }
}

#[test]
fn a_run_can_be_stopped() {
    let follower = Follower::new(13);
    let trained = run(&classification(), &Device::Cpu, &follower).unwrap();
    assert_eq!(trained.state, State::Stopped);
    assert_eq!((follower.steps.get().0, trained.epochs.len()), (13, 1));
    assert_eq!(trained.evaluation, None);
}

/// Of the paper's Tables 2 and 3 and of the configurations of its program.
#[test]
fn defaults_are_the_papers() {
    let kind = AttentionKind::named("mlp_norm").unwrap();
    let induction = Settings::of_paper(Task::Induction(Induction::default()), kind);
    let classification = Settings::of_paper(Task::Classification(Classification::default()), kind);
    for settings in [&induction, &classification] {
        let config = &settings.config;
        assert_eq!(
            (config.num_hidden_layers, config.num_attention_heads),
            (2, 4)
        );
        assert_eq!((config.hidden_size, config.intermediate_size), (128, 512));
        assert_eq!(config.attention_intermediate_size, 128);
        assert!(config.use_layer_norm);
        assert_eq!((settings.num_epochs, settings.batch_size), (10, 256));
        assert_eq!((settings.num_eval, settings.learning_rate), (1000, 1e-3));
        config.check("config.json".as_ref()).unwrap();
    }
    assert_eq!(
        (induction.num_train, classification.num_train),
        (100_000, 10_000)
    );
    assert_eq!(induction.steps(), 3910);
    let of = |settings: &Settings| {
        let config = &settings.config;
        (
            config.vocab_size,
            config.output_size,
            config.is_causal,
            config.position_embedding_type,
            config.max_position_embeddings,
        )
    };
    assert_eq!(
        of(&induction),
        (100, 100, true, PositionEmbedding::Concat, 12)
    );
    assert_eq!(
        of(&classification),
        (41, 4, false, PositionEmbedding::None, 0)
    );
}

#[test]
fn impossible_runs_are_refused() {
    type Change = fn(&mut Settings);
    let change: [(&str, Change); 11] = [
        ("num_train: 0 is not between 1 and", |s| s.num_train = 0),
        ("num_eval: 0 is not between 1 and", |s| s.num_eval = 0),
        ("num_epochs: 0 is not between 1 and", |s| s.num_epochs = 0),
        ("batch_size: 0 is not between 1 and", |s| s.batch_size = 0),
        ("lr: 0 is not a number above 0", |s| s.learning_rate = 0.0),
        ("lr: NaN is not a number above 0", |s| {
            s.learning_rate = f64::NAN
        }),
        ("vocab_size: the model has 40, and the task needs 41", |s| {
            s.config.vocab_size = 40;
        }),
        ("num_eval: a flip rate needs samples", |s| s.num_eval = 1),
        ("num_labels: a flip rate needs two labels", |s| {
            s.task = Task::Classification(Classification {
                num_labels: 1,
                ..Classification::default()
            });
            s.config.output_size = 1;
        }),
        ("seq_length: no position is left", |s| {
            *s = settings(
                Task::Induction(Induction {
                    seq_length: 4,
                    ..Induction::default()
                }),
                "softmax",
            );
        }),
        (
            "max_position_embeddings: the model has 10, and a sample 11 tokens",
            |s| {
                s.config.position_embedding_type = PositionEmbedding::Add;
                s.config.max_position_embeddings = 10;
            },
        ),
    ];
    for (says, change) in change {
        let mut settings = classification();
        change(&mut settings);
        let error = run(&settings, &Device::Cpu, &Follower::new(0)).unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("train: {says}")),
            "{error}"
        );
        assert_eq!(error.exit_code(), 2);
    }
}

/// Before anything is drawn.
#[test]
fn what_no_machine_holds_is_refused() {
    let changes: [fn(&mut Settings); 2] = [
        |s| s.config.hidden_size = 1 << 20,
        |s| (s.config.intermediate_size, s.config.num_hidden_layers) = (1 << 20, 10_000),
    ];
    for change in changes {
        let mut settings = classification();
        change(&mut settings);
        let error = run(&settings, &Device::Cpu, &Follower::new(0)).unwrap_err();
        assert_eq!(error.exit_code(), 5, "{error}");
        assert!(
            error.to_string().contains("these runs need about"),
            "{error}"
        );
    }
}
