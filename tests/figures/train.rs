//! Figures of a training run: colours are held against the maps of the network, curves against what was tracked.

use attnscope::{
    Error,
    figures::{Figure, Training, draw_training, training_figure_names},
    layers::{PackedSequences, attention::AttentionKind},
    train::{
        Settings, Tracking,
        metrics::maps,
        run::{Epoch, Trained, Watcher, run},
        tasks::{Classification, Induction, Task},
    },
};
use candle_core::Device;

use super::layout::texts_lie_apart;
use super::{Bar, Svg};

struct Silent;

impl Watcher for Silent {
    fn stepped(&self, _: usize, _: usize) {}

    fn epoch(&self, _: usize, _: &Epoch) {}

    fn is_stopped(&self) -> bool {
        false
    }
}

/// Two layers of two heads, three epochs of five steps.
fn train(task: Task, kind: &str, change: impl FnOnce(&mut Settings)) -> (Settings, Trained) {
    let mut settings = Settings::of_paper(task, AttentionKind::named(kind).unwrap());
    settings.config.num_attention_heads = 2;
    settings.config.hidden_size = 8;
    settings.config.intermediate_size = 0;
    settings.num_train = 100;
    settings.num_eval = 40;
    settings.num_epochs = 3;
    settings.batch_size = 20;
    settings.learning_rate = 0.03;
    settings.tracking = Tracking::Epochs;
    change(&mut settings);
    let trained = run(&settings, &Device::Cpu, &Silent).unwrap();
    (settings, trained)
}

fn draw((settings, trained): &(Settings, Trained)) -> Vec<Result<Figure, Error>> {
    let network = trained.parameters.frozen_network().unwrap();
    let samples = trained.eval_samples.iter().take(2);
    let maps: Vec<_> = samples.map(|s| maps(&network, s).unwrap()).collect();
    let figures = draw_training(&Training {
        settings,
        trained,
        maps: &maps,
    });
    for figure in figures.iter().flatten() {
        texts_lie_apart(figure);
    }
    figures
}

fn named<'a>(figures: &'a [Result<Figure, Error>], name: &str) -> &'a Figure {
    let mut drawn = figures.iter().flatten();
    drawn.find(|figure| figure.name == name).unwrap()
}

/// The colours of the bar, from 0 upwards.
fn bar(svg: &Svg) -> Vec<&Bar> {
    let mut steps: Vec<&Bar> = svg.bars.iter().filter(|bar| bar.width == 64.0).collect();
    steps.sort_by(|a, b| b.y.total_cmp(&a.y));
    steps
}

fn channels(fill: &str) -> [i32; 3] {
    [1, 3, 5].map(|at| i32::from_str_radix(&fill[at..at + 2], 16).unwrap())
}

#[test]
fn maps_are_coloured_by_the_weights_of_the_network() {
    let run = train(Task::Induction(Induction::default()), "softmax", |_| {});
    let figures = draw(&run);
    let (settings, trained) = &run;
    let names: Vec<&str> = figures.iter().flatten().map(|f| f.name.as_str()).collect();
    let mut expected = training_figure_names();
    expected.sort();
    let mut found = names.clone();
    found.sort_unstable();
    assert_eq!(found, expected);
    let network = trained.parameters.network().unwrap();
    for sample in 0..2 {
        let svg = Svg::of(named(&figures, &format!("attention-sample-{sample}")));
        // One colour bar for all.
        let bar = bar(&svg);
        assert_eq!(bar.len(), 128);
        let ids = &trained.eval_samples[sample].input_ids;
        let output = network
            .forward(ids, &PackedSequences::from_lengths(&[12]), true)
            .unwrap();
        let frames = svg.frames();
        assert_eq!(frames.len(), 4);
        for (at, frame) in frames.iter().enumerate() {
            let map: Vec<Vec<Vec<f32>>> = output.attn_weights[at / 2][0].to_vec3().unwrap();
            let map = &map[at % 2];
            let middle = |bar: &Bar| (bar.x + bar.width / 2.0, bar.y + bar.height / 2.0);
            let cells = svg.bars.iter().filter(|bar| {
                let (x, y) = middle(bar);
                bar.fill != "#FFFFFF" && frame.contains(x, y)
            });
            let cells: Vec<&Bar> = cells.collect();
            // The half that a query sees.
            assert_eq!(cells.len(), 78);
            let pitch = (frame.right - frame.left) / 12.0;
            for cell in cells {
                let (x, y) = middle(cell);
                let (key, query) = ((x - frame.left) / pitch, (y - frame.top) / pitch);
                let (key, query) = (key as usize, query as usize);
                assert!(key <= query);
                let step = (f64::from(map[query][key]) * 128.0).clamp(0.0, 127.0);
                let expected = channels(&bar[step as usize].fill);
                let found = channels(&cell.fill);
                let near = |(a, b): (&i32, &i32)| (a - b).abs() <= 6;
                assert!(found.iter().zip(&expected).all(near), "{query} {key}");
            }
        }
        // Tokens beside and below every map.
        let query = settings.task.token(ids[11]);
        let words = svg.words.iter().filter(|(words, ..)| *words == query);
        assert_eq!(words.count(), 8, "{query}");
        let answer = settings
            .task
            .token(*trained.eval_samples[sample].targets.last().unwrap());
        assert!(
            svg.text()
                .contains(&format!("What should follow is {answer}"))
        );
        assert!(svg.text().contains("The task was not learned"));
    }
}

#[test]
fn curves_are_those_of_the_tables() {
    let task = Task::Classification(Classification::default());
    let run = train(task, "sigmoid_unnorm", |_| {});
    let figures = draw(&run);
    let trained = &run.1;
    let records = &trained.track.records;
    let svg = Svg::of(named(&figures, "value-norms"));
    let frames = svg.frames();
    assert_eq!(frames.len(), 3);
    for record in records {
        for (layer, norms) in record.value_norms.iter().enumerate() {
            let shown = |frame: &super::Frame<'_>, norm: f64| {
                let x = frame.place(false, false, record.step as f64);
                let y = frame.place(true, false, norm);
                let mut circles = svg.circles.iter();
                circles.any(|(cx, cy, _)| (cx - x).abs() < 2.0 && (cy - y).abs() < 2.0)
            };
            assert!(shown(&frames[0], norms.norm));
            assert!(
                norms
                    .heads
                    .iter()
                    .all(|&norm| shown(&frames[1 + layer], norm))
            );
        }
    }
    for label in 0..2 {
        let svg = Svg::of(named(&figures, &format!("tracking-{label}")));
        let frames = svg.frames();
        assert_eq!(frames.len(), 4);
        let sample = trained.track.samples[label] as u32;
        for record in records {
            let of_sample = record.weights.iter().filter(|w| w.sample == sample);
            for weight in of_sample {
                let frame = &frames[usize::from(2 * weight.layer + weight.head)];
                let x = frame.place(false, false, record.step as f64);
                let y = frame.place(true, false, weight.weight.into());
                let mut circles = svg.circles.iter();
                assert!(circles.any(|(cx, cy, _)| (cx - x).abs() < 2.0 && (cy - y).abs() < 2.0));
            }
        }
    }
    let svg = Svg::of(named(&figures, "epochs"));
    let frames = svg.frames();
    for epoch in &trained.epochs {
        let accuracy = epoch.eval.unwrap().accuracy;
        let x = frames[1].place(false, false, epoch.epoch as f64);
        let y = frames[1].place(true, false, accuracy);
        let mut circles = svg.circles.iter();
        assert!(circles.any(|(cx, cy, _)| (cx - x).abs() < 2.0 && (cy - y).abs() < 2.0));
    }
}

#[test]
fn weights_beyond_1_and_negative_ones_have_colours() {
    let task = Task::Induction(Induction::default());
    let run = train(task, "raw_dotproduct_unnorm", |_| {});
    let figures = draw(&run);
    let svg = Svg::of(named(&figures, "attention-sample-0"));
    let colours: std::collections::BTreeSet<&str> =
        svg.bars.iter().map(|bar| bar.fill.as_str()).collect();
    assert!(colours.len() > 140, "{}", colours.len());
    assert!(svg.text().contains("-"), "{}", svg.text());
}

#[test]
fn what_has_no_room_leaves_the_others() {
    let task = Task::Induction(Induction::default());
    let run = train(task, "softmax", |settings| {
        settings.config.num_attention_heads = 33;
        settings.config.hidden_size = 66;
        settings.num_epochs = 1;
    });
    let figures = draw(&run);
    let names: Vec<&str> = figures.iter().flatten().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["epochs"]);
    let refused = figures.iter().filter_map(|figure| figure.as_ref().err());
    for error in refused {
        assert!(
            error.to_string().contains("66 heads are too many"),
            "{error}"
        );
    }
    assert_eq!(figures.len(), 6);
}

#[test]
fn a_run_that_diverged_says_so() {
    let task = Task::Classification(Classification::default());
    let run = train(task, "softmax", |settings| settings.learning_rate = 1e30);
    assert!(run.1.evaluation.is_none());
    let (settings, trained) = &run;
    let figures = draw_training(&Training {
        settings,
        trained,
        maps: &[],
    });
    assert_eq!(figures.len(), 4);
    for figure in figures {
        let svg = Svg::of(&figure.unwrap());
        assert!(svg.text().contains("Diverged after step"), "{}", svg.text());
    }
}
