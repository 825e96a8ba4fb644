//! Looking at one text: the maps in the table and on the page are the model's, and the page shows them.

mod arguments;
mod browser;
mod budget;
mod numbers;

use std::{fs, path::Path};

use arrow_array::{
    RecordBatch,
    cast::AsArray,
    types::{Float32Type, Int32Type},
};
use attnscope::{
    inspect::{self, Outcome, Request, Selection, Text},
    scan::{Progress, Watcher, plan::Plan, sources::ModelFiles},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use candle_core::{DType, Device};
use flate2::read::ZlibDecoder;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::support::gala;

/// Lets everything pass.
struct Silent;

impl Progress for Silent {
    fn advance(&self, _: u64) {}
}

impl Watcher for Silent {
    fn tokenized(&self, _: usize, _: usize) {}

    fn planned(&self, _: &Plan, _: u64, _: u64) {}

    fn is_stopped(&self) -> bool {
        false
    }
}

/// A look at all heads of `model`, float32 on the CPU, with `page.html` and `weights.parquet` in `out`.
fn request(model: &Path, text: &str, out: &Path) -> Request {
    Request {
        model: ModelFiles::directory(model),
        text: Text {
            text: text.to_owned(),
            path: None,
        },
        layers: Selection::All,
        heads: Selection::All,
        max_seq_len: 2048.try_into().unwrap(),
        device: Device::Cpu,
        device_name: "cpu".into(),
        dtype: DType::F32,
        out: out.join("page.html"),
        weights: Some(out.join("weights.parquet")),
        max_page_bytes: 64 << 20,
        command: "attnscope inspect --model M".into(),
    }
}

fn run(request: &Request) -> Outcome {
    inspect::run(request, &Silent).unwrap()
}

/// About so many words of the gala pair's texts.
fn words(count: usize) -> String {
    let all = gala::texts().join(" ");
    all.split(' ').take(count).collect::<Vec<_>>().join(" ")
}

/// One head of a table: its triangle, row by row.
struct TableHead {
    layer: usize,
    head: usize,
    weights: Vec<f32>,
}

/// The table, a row group per head, each of which must hold exactly the places of a triangle, in order.
fn table(path: &Path) -> Vec<TableHead> {
    let file = fs::File::open(path).unwrap();
    let groups = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let count = groups.metadata().num_row_groups();
    (0..count)
        .map(|group| {
            let file = fs::File::open(path).unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
            let batches: Vec<RecordBatch> = reader
                .with_row_groups(vec![group])
                .build()
                .unwrap()
                .map(Result::unwrap)
                .collect();
            let integers = |name: &str| -> Vec<i32> {
                let column = |batch: &RecordBatch| {
                    let column = batch.column_by_name(name).unwrap();
                    column.as_primitive::<Int32Type>().values().to_vec()
                };
                batches.iter().flat_map(column).collect()
            };
            let weights = batches.iter().flat_map(|batch| {
                let column = batch.column_by_name("weight").unwrap();
                column.as_primitive::<Float32Type>().values().to_vec()
            });
            let weights: Vec<f32> = weights.collect();
            let [layers, heads, queries, keys] = ["layer", "head", "query", "key"].map(integers);
            let mut at = 0;
            for query in 0.. {
                if at == weights.len() {
                    break;
                }
                for key in 0..=query {
                    assert_eq!((queries[at], keys[at]), (query, key));
                    at += 1;
                }
            }
            let only = |values: &[i32]| {
                assert!(values.iter().all(|value| *value == values[0]));
                values[0] as usize
            };
            TableHead {
                layer: only(&layers),
                head: only(&heads),
                weights,
            }
        })
        .collect()
}

/// The triangle's row of a query.
fn row(weights: &[f32], query: usize) -> &[f32] {
    &weights[query * (query + 1) / 2..][..query + 1]
}

/// Queries of a triangle.
fn side(weights: &[f32]) -> usize {
    (0..).find(|n| n * (n + 1) / 2 == weights.len()).unwrap()
}

/// A page, read without a browser.
struct PageFile {
    html: String,
}

impl PageFile {
    fn open(path: &Path) -> Self {
        Self {
            html: fs::read_to_string(path).unwrap(),
        }
    }

    /// The data of this name, if the page has it.
    fn data(&self, id: &str) -> Option<Value> {
        let start = format!("<script type=\"application/json\" id=\"{id}\">");
        let start = self.html.find(&start)? + start.len();
        let end = start + self.html[start..].find("</script>")?;
        Some(serde_json::from_str(&self.html[start..end]).unwrap())
    }

    fn facts(&self) -> Value {
        self.data("facts").unwrap()
    }

    fn weights(&self, id: &str) -> Option<Vec<f32>> {
        self.data(id).as_ref().map(unpacked)
    }

    fn exact(&self, layer: usize, head: usize) -> Option<Vec<f32>> {
        self.weights(&format!("exact-{layer}-{head}"))
    }

    /// The overviews of a layer's heads.
    fn overviews(&self, layer: usize) -> Vec<Vec<f32>> {
        let facts = self.facts();
        let heads = facts["heads"].as_array().unwrap().len();
        let all = self.weights(&format!("overview-{layer}")).unwrap();
        all.chunks_exact(all.len() / heads)
            .map(<[f32]>::to_vec)
            .collect()
    }
}

/// Packed weights: four planes of bytes, the lowest byte of every weight first.
fn unpacked(array: &Value) -> Vec<f32> {
    let planes = bytes(array);
    let count = planes.len() / 4;
    let weight = |i: usize| f32::from_le_bytes([0, 1, 2, 3].map(|plane| planes[plane * count + i]));
    (0..count).map(weight).collect()
}

/// The bytes of an array.
fn bytes(array: &Value) -> Vec<u8> {
    let data = BASE64.decode(array["data"].as_str().unwrap()).unwrap();
    match array["deflated"] == true {
        false => data,
        true => {
            let mut inflated = Vec::new();
            std::io::copy(&mut ZlibDecoder::new(&data[..]), &mut inflated).unwrap();
            inflated
        }
    }
}

fn bits(weights: &[f32]) -> Vec<u32> {
    weights.iter().map(|weight| weight.to_bits()).collect()
}
