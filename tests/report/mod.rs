//! `attnscope report`: what the page is told against the tables, and the page itself in a real browser.

mod browser;
mod cli;
mod data;
mod shown;

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use attnscope::metrics::HeadSums;
use attnscope::random::PythonRandom;
use attnscope::store::{Fingerprint, Parts, RunManifest, SampleRow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::read::ZlibDecoder;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Value, json};

/// A name that wants out of wherever it is put.
const NASTY: &str =
    "</script><script>window.intruder = 1</script><b>\"it's\"</b> <!-- 🦀 &amp; \u{2028}";

/// Quick: what the draws come to is tested elsewhere.
const QUICK: [&str; 4] = ["--permutations", "60", "--resamples", "30"];

/// The metrics, with the column of `samples.parquet` that each is made of.
const METRICS: [(&str, &str); 5] = [
    ("sparsity_score", "max_share_sum"),
    ("max_weight", "max_weight_sum"),
    ("first_token_share", "first_share_sum"),
    ("entropy", "entropy_sum"),
    ("total_weight", "total_weight_sum"),
];

/// A scan to write: random sums of so many layers, heads and samples.
struct Made<'a> {
    name: &'a str,
    shape: [usize; 3],
    seed: u64,
    /// Layer and head of which some rows, or all, were not finite.
    non_finite: Option<(i32, i32)>,
    /// Texts were cut here.
    max_seq_len: u64,
}

/// How long a text is.
fn tokens(sample: usize) -> u64 {
    10 + (sample % 50) as u64
}

impl<'a> Made<'a> {
    fn new(name: &'a str, shape: [usize; 3], seed: u64) -> Self {
        Self {
            name,
            shape,
            seed,
            non_finite: None,
            max_seq_len: 64,
        }
    }

    fn write(&self, out: &Path) {
        let [layers, heads, samples] = self.shape;
        let mut random = PythonRandom::new(self.seed);
        let manifest = self.manifest();
        let mut parts = Parts::create(out, &Fingerprint::new()).unwrap();
        for layer in 0..layers {
            let mut rows = Vec::new();
            for sample in 0..samples {
                for head in 0..heads {
                    let name = (layer as i32, head as i32);
                    let tokens = tokens(sample) as i64;
                    // All rows of every third sample of that head.
                    let broken = self.non_finite == Some(name) && sample % 3 == 0;
                    let non_finite_rows = if broken { tokens } else { 0 };
                    let rows_ = (tokens - non_finite_rows) as f64;
                    let spread =
                        0.2 + 0.6 * (layer * heads + head) as f64 / (layers * heads) as f64;
                    let mut sum = |scale: f64| rows_ * scale * (spread + 0.2 * random.random());
                    rows.push(SampleRow {
                        sample: 3 * sample as i64,
                        layer: name.0,
                        head: name.1,
                        sums: HeadSums {
                            tokens,
                            max_share_sum: sum(1.0),
                            first_share_sum: sum(0.98),
                            max_weight_sum: sum(0.5),
                            // The same everywhere: a distribution without a width.
                            total_weight_sum: rows_ * 2.0,
                            entropy_sum: sum(3.0),
                            non_finite_rows,
                            ..HeadSums::default()
                        },
                    });
                }
            }
            parts.write(0, layer..layer + 1, rows).unwrap();
        }
        let indices: Vec<i64> = (0..samples as i64).map(|sample| 3 * sample).collect();
        parts
            .finish(layers, &indices, None, &manifest.provenance())
            .unwrap();
        manifest.write(out).unwrap();
        parts.remove().unwrap();
    }

    fn manifest(&self) -> RunManifest {
        serde_json::from_value(json!({
            "attnscope_version": "0.1.0",
            "model": {
                "name": self.name, "path": null, "repo": null, "revision": null, "model_type": "gala",
                "config": {"attention_function": "softmax"}, "weights_fingerprint": format!("{}", self.seed),
            },
            "dataset": {
                "name": "texts", "files": [], "repo": null, "revision": null, "config": null, "split": null,
                "text_column": "text", "rows": 100_000,
            },
            "sampling": {
                "n_samples": self.shape[2], "seed": 42, "indices_sha256": "0a1b", "shard": null, "skipped": 0,
            },
            "max_seq_len": self.max_seq_len, "special_tokens": "none", "preprocessing": null, "dtype": "f32",
            "device": "cpu", "executor": "resident", "batch_plan": null, "samples": self.shape[2],
            "tokens": (0..self.shape[2]).map(tokens).sum::<u64>(),
            "non_finite_rows": 0, "started_at": "2026-03-09T11:20:05Z", "finished_at": "2026-03-09T11:20:06Z",
            "resumed": 0, "timings": {}, "tokens_per_second": null, "peak_memory_bytes": null, "fingerprint": null,
        }))
        .unwrap()
    }
}

/// The page's `report` data.
fn page_data(page: &Path) -> Value {
    let html = fs::read_to_string(page).unwrap();
    let open = "<script type=\"application/json\" id=\"report\">";
    let start = html.find(open).unwrap() + open.len();
    let json = &html[start..start + html[start..].find("</script>").unwrap()];
    serde_json::from_str(json).unwrap()
}

/// The numbers of an array in the page's data, all of which a float64 can hold.
fn numbers(array: &Value) -> Vec<f64> {
    let mut bytes = BASE64.decode(array["data"].as_str().unwrap()).unwrap();
    if array["deflated"].as_bool().unwrap() {
        let compressed = std::mem::take(&mut bytes);
        ZlibDecoder::new(&compressed[..])
            .read_to_end(&mut bytes)
            .unwrap();
    }
    macro_rules! read {
        ($type:ty) => {{
            let chunks = bytes.chunks_exact(size_of::<$type>());
            assert!(chunks.remainder().is_empty());
            chunks
                .map(|chunk| <$type>::from_le_bytes(chunk.try_into().unwrap()) as f64)
                .collect::<Vec<f64>>()
        }};
    }
    let numbers = match array["type"].as_str().unwrap() {
        "u16" => read!(u16),
        "u32" => read!(u32),
        "i32" => read!(i32),
        "f32" => read!(f32),
        "f64" => read!(f64),
        other => panic!("{other}"),
    };
    assert_eq!(array["length"], numbers.len());
    numbers
}

/// Columns of a parquet file by name, read row by row.
struct Table(Vec<Vec<(String, Field)>>);

impl Table {
    fn read(path: &Path) -> Self {
        let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
        let rows = reader.get_row_iter(None).unwrap();
        Self(
            rows.map(|row| row.unwrap().into_columns().into_iter().collect())
                .collect(),
        )
    }

    fn column(&self, name: &str) -> Vec<f64> {
        let value = |row: &Vec<(String, Field)>| {
            let (_, field) = row.iter().find(|(column, _)| column == name).unwrap();
            match field {
                Field::Int(value) => f64::from(*value),
                Field::Long(value) => *value as f64,
                Field::Double(value) => *value,
                other => panic!("{name}: {other:?}"),
            }
        };
        self.0.iter().map(value).collect()
    }
}
