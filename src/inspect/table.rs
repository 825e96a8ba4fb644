//! The weights as a parquet table: a row per (layer, head, query, key) with `key` ≤ `query`, a row group per head.
//!
//! The footer says where they come from, and holds the tokens: `attnscope.tokens` and `attnscope.input_ids` are JSON
//! lists, one entry per position.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use arrow_array::{ArrayRef, Float32Array, Int32Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};

use super::maps::HeadMap;
use crate::{
    Result,
    store::{Provenance, TableWriter, parquet_error},
};

static WEIGHTS: LazyLock<Arc<Schema>> = LazyLock::new(|| {
    let integer = |name| Field::new(name, DataType::Int32, false);
    Arc::new(Schema::new(vec![
        integer("layer"),
        integer("head"),
        integer("query"),
        integer("key"),
        Field::new("weight", DataType::Float32, false),
    ]))
});

/// Rows that are turned into columns at once: 40 MiB.
const BATCH_ROWS: usize = 1 << 21;

/// The table in the making.
pub struct WeightsTable {
    writer: TableWriter,
    path: PathBuf,
}

impl WeightsTable {
    /// Begins the table, which appears with [`WeightsTable::commit`].
    pub fn create(path: &Path, provenance: &Provenance) -> Result<Self> {
        let sorted_by = ["layer", "head", "query", "key"];
        Ok(Self {
            writer: TableWriter::create(path, &WEIGHTS, &sorted_by, provenance)?,
            path: path.to_path_buf(),
        })
    }

    /// Adds a head; they come by layer and head.
    pub fn write(&mut self, head: &HeadMap) -> Result<()> {
        let map = &head.map;
        let mut first = 0;
        while first < map.side() {
            // Whole queries, at least one.
            let (mut end, mut rows) = (first, 0);
            while end < map.side() && (rows == 0 || rows + end < BATCH_ROWS) {
                rows += end + 1;
                end += 1;
            }
            let keys = || (first..end).flat_map(|q| (0..=q).map(move |k| (q, k)));
            let weights = (first..end).flat_map(|q| map.row(q).iter().copied());
            let columns: Vec<ArrayRef> = vec![
                Arc::new(Int32Array::from_value(head.layer as i32, rows)),
                Arc::new(Int32Array::from_value(head.head as i32, rows)),
                Arc::new(Int32Array::from_iter_values(keys().map(|(q, _)| q as i32))),
                Arc::new(Int32Array::from_iter_values(keys().map(|(_, k)| k as i32))),
                Arc::new(Float32Array::from_iter_values(weights)),
            ];
            let batch = RecordBatch::try_new(Arc::clone(&WEIGHTS), columns)
                .map_err(|error| parquet_error(&self.path, error.into()))?;
            self.writer.write(&batch)?;
            first = end;
        }
        self.writer.end_row_group()
    }

    /// Writes the footer and gives the file its name.
    pub fn commit(self) -> Result<()> {
        self.writer.commit_new()
    }
}
