//! Whether two scans measured the same thing: the same texts, cut at the same length. The models may differ in
//! everything; that is what is compared.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::scans::Scan;
use crate::store::{listing, only_in};
use crate::{Error, Result};

/// Facts that name the dataset. On the Hub the repository decides, and the name is only how it was asked for.
const DATASET: [&str; 6] = [
    "dataset",
    "dataset_repo",
    "dataset_revision",
    "dataset_config",
    "split",
    "text_column",
];
/// Facts that name the draw.
const DRAW: [&str; 4] = ["n_samples", "seed", "indices_sha256", "shard"];
/// Facts that may differ with the model, and that a reader should know of.
const WORTH_KNOWING: [&str; 5] = [
    "special_tokens",
    "preprocessing",
    "dtype",
    "version",
    "device",
];

/// Something in which a scan must not differ from the reference, and does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The scan's label.
    pub scan: String,
    /// The label of the scan that it was held against.
    pub reference: String,
    /// What differs: a key of the footers (`max_seq_len`, `indices_sha256`, …) or `samples`.
    pub field: String,
    /// The scan's value, in words where it is no single value; `None` if it has none.
    pub here: Option<String>,
    /// The reference's.
    pub there: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".into());
        write!(
            f,
            "{} is {} in {} and {} in {}",
            self.field,
            value(&self.here),
            self.scan,
            value(&self.there),
            self.reference
        )
    }
}

/// Scans that were read and held against the first of them, the reference.
pub(crate) struct Held {
    pub(crate) scans: Vec<Scan>,
    /// A name for each, all different: the model's where it is the only one of this name, or with the path.
    pub(crate) labels: Vec<String>,
    /// For each scan but the first, whether it saw the same texts as the reference, if that is known.
    pub(super) same_texts: Vec<Option<bool>>,
    /// For each scan, which draw of texts it takes part in: the same number for the same rows.
    pub(super) draws: Vec<usize>,
    /// What was not the same; not empty only by force.
    pub(crate) differences: Vec<Difference>,
    /// What a reader should know, each remark once.
    pub(crate) remarks: Vec<String>,
}

impl Held {
    /// Reads the scans at `paths`: output directories, or single parquet files.
    ///
    /// # Errors
    /// [`Error::Usage`] for scans that did not measure the same thing, unless `force`; what [`crate::store`] says
    /// of directories and files that are no scans.
    pub(crate) fn read(paths: &[PathBuf], force: bool) -> Result<Self> {
        let scans = paths
            .iter()
            .map(|path| Scan::read(path))
            .collect::<Result<Vec<_>>>()?;
        let labels = labels(&scans);
        let named = |i: usize| (labels[i].as_str(), &scans[i]);
        let verdicts: Vec<Verdict> = (1..scans.len())
            .map(|i| hold_against(named(0), named(i)))
            .collect();
        let differences: Vec<Difference> = verdicts
            .iter()
            .flat_map(|verdict| verdict.differences.clone())
            .collect();
        if !differences.is_empty() && !force {
            let told: Vec<String> = differences.iter().map(Difference::to_string).collect();
            return Err(Error::Usage(format!(
                "these scans did not measure the same thing: {}; scan again with the same options, or compare all the same with --force",
                told.join("; ")
            )));
        }
        let mut remarks: Vec<String> = Vec::new();
        for remark in verdicts.iter().flat_map(|verdict| &verdict.remarks) {
            if !remarks.contains(remark) {
                remarks.push(remark.clone());
            }
        }
        Ok(Self {
            draws: draws(&scans, &labels, &verdicts),
            same_texts: verdicts
                .iter()
                .map(|verdict| verdict.is_known.then_some(verdict.same_texts))
                .collect(),
            scans,
            labels,
            differences,
            remarks,
        })
    }
}

/// Scans of the same texts share a draw: each that of the first one before it that has its texts.
/// `verdicts` are those of all but the first, held against it.
fn draws(scans: &[Scan], labels: &[String], verdicts: &[Verdict]) -> Vec<usize> {
    let mut draws: Vec<usize> = Vec::new();
    for i in 0..scans.len() {
        let shared = (0..i).find(|&j| match j {
            0 => verdicts[i - 1].same_texts,
            _ => hold_against((&labels[j], &scans[j]), (&labels[i], &scans[i])).same_texts,
        });
        let new = draws.iter().map(|draw| draw + 1).max().unwrap_or(0);
        draws.push(shared.map_or(new, |j| draws[j]));
    }
    draws
}

/// The model's name where it is the only one of this name, or with the path.
fn labels(scans: &[Scan]) -> Vec<String> {
    let name = |scan: &Scan| scan.fact("model").map(printable);
    let mut labels: Vec<String> = Vec::new();
    for scan in scans {
        let path = printable(&scan.path.display().to_string());
        let label = match name(scan) {
            Some(own)
                if scans
                    .iter()
                    .filter(|s| name(s).as_ref() == Some(&own))
                    .count()
                    == 1 =>
            {
                own
            }
            Some(own) => format!("{own} ({path})"),
            None => path,
        };
        let mut unique = label.clone();
        for n in 2.. {
            if !labels.contains(&unique) {
                break;
            }
            unique = format!("{label} #{n}");
        }
        labels.push(unique);
    }
    labels
}

/// Without what would move a terminal's cursor.
fn printable(name: &str) -> String {
    let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    name.chars().map(visible).collect()
}

/// What comes of holding a scan against the reference.
#[derive(Default)]
pub(super) struct Verdict {
    pub(super) differences: Vec<Difference>,
    pub(super) remarks: Vec<String>,
    /// Whether both saw the same texts, so that a resample of one is a resample of the other.
    pub(super) same_texts: bool,
    /// Whether that is known, not only guessed from equal row numbers.
    pub(super) is_known: bool,
}

/// A scan with its label.
type Labelled<'a> = (&'a str, &'a Scan);

/// Holds `scan` against `reference`.
pub(super) fn hold_against(reference: Labelled<'_>, scan: Labelled<'_>) -> Verdict {
    let pair = Pair { reference, scan };
    let mut verdict = Verdict::default();
    pair.hold(&mut verdict);
    pair.remark(&mut verdict);
    verdict
}

struct Pair<'a> {
    reference: Labelled<'a>,
    scan: Labelled<'a>,
}

impl Pair<'_> {
    fn there(&self) -> &Scan {
        self.reference.1
    }

    fn here(&self) -> &Scan {
        self.scan.1
    }

    fn difference(&self, field: &str, here: Option<String>, there: Option<String>) -> Difference {
        Difference {
            scan: self.scan.0.into(),
            reference: self.reference.0.into(),
            field: field.into(),
            here,
            there,
        }
    }

    /// Those of the facts that differ; a fact that only one of the scans has does.
    fn differ(&self, names: &[&str]) -> Vec<Difference> {
        let value = |scan: &Scan, name: &str| scan.fact(name).map(str::to_owned);
        names
            .iter()
            .map(|name| self.difference(name, value(self.here(), name), value(self.there(), name)))
            .filter(|difference| difference.here != difference.there)
            .collect()
    }

    fn both_know(&self, name: &str) -> bool {
        self.here().fact(name).is_some() && self.there().fact(name).is_some()
    }

    /// Whether both have any facts; what a scan without them measured cannot be told.
    fn is_known(&self) -> bool {
        !self.here().facts.is_empty() && !self.there().facts.is_empty()
    }

    /// Looks for what must not differ.
    fn hold(&self, verdict: &mut Verdict) {
        let differ = |names: &[&str]| match self.is_known() {
            true => self.differ(names),
            false => Vec::new(),
        };
        let mut dataset = match self.both_know("dataset_repo") {
            true => differ(&DATASET[1..]),
            false => differ(&DATASET),
        };
        if self.both_know("dataset_rows") {
            dataset.extend(differ(&["dataset_rows"]));
        }
        let draw = differ(&DRAW);
        let same_draw = self.both_know("indices_sha256") && draw.is_empty();
        let samples = Samples::of(self.there(), self.here());
        let same_samples = match &samples {
            Samples::Same => true,
            // One model's tokenizer may leave nothing of a text that both have drawn.
            Samples::Different { .. } | Samples::Unknown => same_draw,
        };
        let is_same = |name: &str| {
            self.both_know(name)
                .then(|| self.differ(&[name]).is_empty())
        };
        let same_tokens = is_same("tokens_sha256") == Some(true);
        // Texts in rows of the same numbers, or, of scans that did not record them, what names them.
        let known_texts = is_same("texts_sum");
        verdict.same_texts = match known_texts {
            Some(same) => same,
            None => same_tokens || (dataset.is_empty() && same_samples),
        };
        verdict.is_known = known_texts.is_some() || same_tokens || self.is_known();
        let same_samples = match known_texts {
            Some(same) => same,
            None => same_samples,
        };

        let mut differences = differ(&["max_seq_len"]);
        let mut harmless = Vec::new();
        match known_texts {
            // The same texts under another name are the same.
            Some(true) => harmless.extend(dataset),
            Some(false) if dataset.is_empty() && draw.is_empty() => {
                differences.extend(self.differ(&["texts_sum"]));
            }
            _ => differences.extend(dataset),
        }
        match same_samples {
            true => harmless.extend(draw),
            false => differences.extend(draw),
        }
        // The same tokens, drawn or cut in another way, are the same.
        if same_tokens {
            harmless.append(&mut differences);
        }
        let what = match (same_tokens, known_texts) {
            (true, _) => "tokens",
            (false, Some(true)) => "texts",
            (false, _) => "samples",
        };
        let told = harmless
            .iter()
            .map(|difference| format!("{difference}, but the {what} are the same"));
        verdict.remarks.extend(told);

        match samples {
            Samples::Same => {}
            Samples::Unknown if known_texts.is_some() || same_draw || !differences.is_empty() => {}
            Samples::Unknown => {
                if self.is_known() {
                    verdict.remarks.push(format!(
                        "whether {} and {} have the same samples cannot be told: one has no samples.parquet, \
                         and its draw is not known",
                        self.scan.0, self.reference.0
                    ));
                }
            }
            Samples::Different { here, there } if same_samples => {
                let mut note = |only: &[i64], has: &str, (has_not, scan): Labelled<'_>| {
                    if !only.is_empty() {
                        // That a table has all the samples of its run was checked where there is a manifest.
                        let why = match scan.run.is_some() {
                            true => "have no token for",
                            false => "are not in the table of",
                        };
                        verdict.remarks.push(format!(
                            "texts that {has} has and that {why} {has_not}: {}",
                            listing(only)
                        ));
                    }
                };
                note(&here, self.scan.0, self.reference);
                note(&there, self.reference.0, self.scan);
            }
            Samples::Different { here, there } => {
                let own = |only: &[i64]| match only {
                    [] => "none that the other has not".to_owned(),
                    only => format!("also {}", listing(only)),
                };
                differences.push(self.difference("samples", Some(own(&here)), Some(own(&there))));
            }
        }
        verdict.differences = differences;
    }

    /// Says what a reader should know.
    fn remark(&self, verdict: &mut Verdict) {
        let ((reference, there), (scan, here)) = (self.reference, self.scan);
        if !self.is_known() {
            let unknown: Vec<&str> = [self.reference, self.scan]
                .into_iter()
                .filter(|(_, scan)| scan.facts.is_empty())
                .map(|(label, _)| label)
                .collect();
            verdict.remarks.push(format!(
                "nothing says which dataset, draw and length {} had (no run.json, no facts in the footer): \
                 whether they are the same was not checked",
                unknown.join(" and ")
            ));
        } else {
            let worth_knowing = self.differ(&WORTH_KNOWING);
            let told = worth_knowing.iter().map(Difference::to_string);
            verdict.remarks.extend(told);
        }
        for (label, scan) in [self.reference, self.scan] {
            if scan.run.is_none() && !scan.facts.is_empty() {
                verdict.remarks.push(format!(
                    "{label} has no run.json: its footer was checked, the dataset's number of rows and the tokens \
                     themselves were not"
                ));
            }
        }
        if there.n_samples() != here.n_samples() && verdict.differences.is_empty() {
            verdict.remarks.push(format!(
                "{scan} has {} samples, {reference} has {}",
                here.n_samples(),
                there.n_samples()
            ));
        } else if verdict.same_texts && there.n_tokens() != here.n_tokens() {
            verdict.remarks.push(format!(
                "{scan} has {} tokens, {reference} has {}: the texts were cut into tokens differently",
                here.n_tokens(),
                there.n_tokens()
            ));
        }
        let shape = |scan: &Scan| -> Vec<usize> { scan.layers().map(<[_]>::len).collect() };
        if shape(there) != shape(here) {
            verdict.remarks.push(format!(
                "{scan} has {}, {reference} has {}: distributions are compared, not head with head",
                shape_in_words(here),
                shape_in_words(there)
            ));
        }
        if there.heads == here.heads {
            verdict.remarks.push(format!(
                "{scan} and {reference} have exactly the same sums: is one scan named twice?"
            ));
        }
    }
}

/// `4 layers × 6 heads`, or the range of heads where layers differ.
pub(crate) fn shape_in_words(scan: &Scan) -> String {
    let heads: BTreeSet<usize> = scan.layers().map(<[_]>::len).collect();
    let layers = scan.layers().count();
    let counted = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    let layers = counted(layers, "layer");
    match (heads.first(), heads.last()) {
        (Some(least), Some(most)) if least != most => {
            format!("{layers} × {least}–{most} heads")
        }
        (Some(&heads), _) => format!("{layers} × {}", counted(heads, "head")),
        _ => "no heads".into(),
    }
}

/// The rows of the dataset that two scans have, as their tables tell.
enum Samples {
    Unknown,
    Same,
    /// Those that only one of them has.
    Different {
        here: Vec<i64>,
        there: Vec<i64>,
    },
}

impl Samples {
    fn of(there: &Scan, here: &Scan) -> Self {
        let (Some(there), Some(here)) = (&there.samples, &here.samples) else {
            return Self::Unknown;
        };
        let (there, here) = (&there.samples, &here.samples);
        if there == here {
            return Self::Same;
        }
        Self::Different {
            here: only_in(here, there),
            there: only_in(there, here),
        }
    }
}
