//! The embedded demo: what its files are, and what its models have learned.

use std::{fs, path::Path};

use attnscope::{
    corpus::{Preprocessing, TextTokenizer},
    demo,
    layers::PackedSequences,
    random::PythonRandom,
    scan,
    train::{
        Parameters, checkpoint,
        metrics::{self, Heads, InductionHead},
    },
};
use serde_json::Value;

use crate::{scan::request, train::scan::Silent};

/// What a model sees of every sample in the corpus, as words.
fn texts() -> Vec<Vec<String>> {
    let lines = std::str::from_utf8(demo::corpus()).unwrap().lines();
    let texts = lines.map(|line| {
        let row: Value = serde_json::from_str(line).unwrap();
        let words = row["text"].as_str().unwrap().split(' ');
        words.map(str::to_owned).collect()
    });
    texts.collect()
}

/// The token that follows the first occurrence of the one at the end.
fn answer(text: &[String]) -> &str {
    let repeated = text.last().unwrap().strip_suffix('\'').unwrap();
    let at = text.iter().position(|word| word == repeated).unwrap();
    // What follows the last of the distinct tokens is its own repetition.
    text[at + 1].as_str()
}

#[test]
fn the_two_differ_in_their_attention_alone() {
    let [softmax, sigmoid] = demo::models();
    let read = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap() };
    let (mut one, other) = (read(softmax.config), read(sigmoid.config));
    assert_eq!(
        (softmax.name, sigmoid.name),
        ("demo-softmax", "demo-sigmoid")
    );
    assert_eq!(one["model_type"], "small_transformer");
    assert_eq!(one["attention_function"], "softmax");
    assert_eq!(other["attention_function"], "sigmoid_unnorm");
    one["attention_function"] = other["attention_function"].clone();
    assert_eq!(one, other);
    assert!(softmax.tokenizer == sigmoid.tokenizer && softmax.weights != sigmoid.weights);
    for model in demo::models() {
        assert!(model.weights.len() < 600_000, "{}", model.name);
    }
    assert!(demo::corpus().len() < 100_000);
}

#[test]
fn the_texts_are_sequences_of_the_task() {
    let (task, texts) = (demo::task(), texts());
    assert_eq!(texts.len(), 250);
    for text in &texts {
        assert_eq!(text.len(), task.tokens());
        assert_eq!(text[0], "BOS");
        let mut distinct = text[..text.len() - 1].to_vec();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), text.len() - 1, "{text:?}");
        assert!(!answer(text).is_empty());
    }
    let dir = tempfile::tempdir().unwrap();
    let files = demo::write_to(dir.path()).unwrap();
    let path = files.models[0].join("tokenizer.json");
    let tokenizer = TextTokenizer::from_file(&path, Preprocessing::default()).unwrap();
    let all: Vec<u32> = (0..task.vocab_size() as u32).collect();
    assert_eq!(tokenizer.encode(&task.text(&all)).unwrap(), all);
}

fn parameters() -> [Parameters; 2] {
    let dir = tempfile::tempdir().unwrap();
    let files = demo::write_to(dir.path()).unwrap();
    files.models.map(|model| checkpoint::read(&model).unwrap())
}

/// Of samples that nobody has seen.
fn heads(parameters: &Parameters) -> (f64, Vec<InductionHead>) {
    let (task, mut random) = (demo::task(), PythonRandom::new(77));
    let samples = task.samples(500, &mut random).unwrap();
    let found = metrics::evaluate(parameters, &task, &samples, &mut random).unwrap();
    match found.heads {
        Heads::Induction(heads) => (found.score.accuracy, heads),
        Heads::Classification(_) => unreachable!(),
    }
}

#[test]
fn both_have_learned_the_task_and_only_softmax_with_sinks() {
    let [softmax, sigmoid] = parameters().map(|parameters| heads(&parameters));
    let sinks = |heads: &[InductionHead]| {
        heads
            .iter()
            .filter(|head| head.is_sink() == Some(true))
            .count()
    };
    println!("{softmax:?}\n{sigmoid:?}");
    assert!(softmax.0 >= 0.95 && sigmoid.0 >= 0.95);
    let (of_softmax, of_sigmoid) = (sinks(&softmax.1), sinks(&sigmoid.1));
    assert!(
        of_softmax >= of_sigmoid + 2,
        "{of_softmax} of softmax, {of_sigmoid} of sigmoid"
    );
}

/// The answers of the corpus, found in its words and read off the logits here, without the program's metrics.
#[test]
fn both_answer_the_texts() {
    let texts = texts();
    let task = demo::task();
    let id = |word: &str| {
        let mut ids = 0..task.vocab_size() as u32;
        ids.find(|&id| task.token(id) == word).unwrap()
    };
    let ids: Vec<u32> = texts.iter().flatten().map(|word| id(word)).collect();
    let lengths = vec![task.tokens(); texts.len()];
    let sequences = PackedSequences::from_lengths(&lengths);
    for parameters in parameters() {
        let network = parameters.frozen_network().unwrap();
        let output = network.forward(&ids, &sequences, false).unwrap();
        let logits: Vec<Vec<f32>> = output.logits.to_vec2().unwrap();
        let is_right = |(at, text): &(usize, &Vec<String>)| {
            let row = &logits[(at + 1) * task.tokens() - 1];
            let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
            best == Some(id(answer(text)) as usize)
        };
        let right = texts.iter().enumerate().filter(is_right).count();
        assert!(20 * right >= 19 * texts.len(), "{right} of {}", texts.len());
    }
}

/// The first token's share over all rows, as a scan has it, which counts the first row, whose only key it is, and the
/// last two, where sinks look elsewhere: in the second layer each head of softmax has more of it than any of sigmoid.
#[test]
fn scans_of_the_two_see_the_difference() {
    let dir = tempfile::tempdir().unwrap();
    let files = demo::write_to(dir.path()).unwrap();
    let [softmax, sigmoid]: [Vec<f64>; 2] = files.models.map(|model| {
        let out = dir.path().join("out").join(model.file_name().unwrap());
        let outcome = scan::run(&request(&model, &files.corpus, &out), &Silent).unwrap();
        assert_eq!(outcome.run.non_finite_rows, 0);
        assert_eq!(outcome.run.samples, 250);
        let last = outcome.heads.iter().filter(|head| head.layer == 1);
        let shares = last.map(|head| head.sums.means().first_token_share);
        shares.collect()
    });
    assert_eq!((softmax.len(), sigmoid.len()), (4, 4));
    let least = softmax.iter().copied().fold(f64::INFINITY, f64::min);
    let most = sigmoid.iter().copied().fold(0.0, f64::max);
    assert!(
        least > most,
        "{softmax:?} of softmax, {sigmoid:?} of sigmoid"
    );
}

#[test]
fn the_demo_is_written_whole() {
    let directory = tempfile::tempdir().unwrap();
    let files = demo::write_to(&directory.path().join("new/demo")).unwrap();
    for (path, model) in files.models.iter().zip(demo::models()) {
        assert!(path.ends_with(model.name));
        assert!(fs::read(path.join("config.json")).unwrap() == model.config);
        assert!(fs::read(path.join("model.safetensors")).unwrap() == model.weights);
        assert!(fs::read(path.join("tokenizer.json")).unwrap() == model.tokenizer);
    }
    assert!(fs::read(&files.corpus).unwrap() == demo::corpus());
    assert_eq!(
        demo::write_to(&directory.path().join("new/demo")).unwrap(),
        files,
        "a second time is fine"
    );

    let blocked = directory.path().join("file");
    fs::write(&blocked, "").unwrap();
    assert!(matches!(
        demo::write_to(&blocked),
        Err(attnscope::Error::Io { .. })
    ));
}

/// [`checkpoint::read`] takes what is a small transformer and nothing else.
#[test]
fn other_checkpoints_are_not_evaluated() {
    let gala = crate::support::gala::data("gala-softmax");
    for (dir, says) in [
        (gala.as_path(), "config.json"),
        (Path::new("/nowhere/at/all"), "has no config.json"),
    ] {
        let error = checkpoint::read(dir).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
