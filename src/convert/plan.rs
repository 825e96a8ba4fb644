//! What a conversion reads, fetches and writes, known before it does any of that.

use std::fmt;

use serde::Serialize;

use crate::machine::human;

/// What a conversion will do.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Where the axlearn checkpoint is.
    pub checkpoint: String,
    /// Where the SentencePiece model is.
    pub tokenizer: String,
    /// The arrays that are read.
    pub arrays: Vec<PlannedArray>,
    /// Files of the checkpoint that are read, in bytes as they are stored: all of them for a whole conversion, and
    /// an estimate if only the first layers are wanted, which stand at the beginning of chunks.
    pub read_bytes: u64,
    /// Whether these come over the network.
    pub is_remote: bool,
    /// The weight files that are written.
    pub files: Vec<PlannedFile>,
    /// Their bytes.
    pub written_bytes: u64,
    /// Bytes on the disk beside them while the conversion runs, at most: what has been fetched and not yet been
    /// converted.
    pub spooled_bytes: u64,
    /// Layers that are converted, from 0.
    pub layers: usize,
    /// Layers of the checkpoint.
    pub num_hidden_layers: usize,
    /// Trained numbers in the result.
    pub parameters: u64,
    /// Element type of the result, as `config.json` has it.
    pub torch_dtype: &'static str,
}

/// An array that is read.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedArray {
    /// Its path below `model/`.
    pub source: String,
    /// Element type, by NumPy's name.
    pub dtype: &'static str,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Dimensions of its chunks.
    pub chunks: Vec<usize>,
    /// How many chunks there are.
    pub chunk_count: usize,
    /// Their bytes as they are stored, as far as they are read.
    pub bytes: u64,
    /// How many tensors it becomes.
    pub tensors: usize,
}

/// A weight file that is written.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "checkpoint  {}", self.checkpoint)?;
        writeln!(f, "tokenizer   {}", self.tokenizer)?;
        writeln!(
            f,
            "layers      {} of {}; {:.2} billion parameters as {}\n",
            self.layers,
            self.num_hidden_layers,
            self.parameters as f64 / 1e9,
            self.torch_dtype
        )?;
        writeln!(
            f,
            "{:<82} {:<9} {:<22} {:>6} {:>9} {:>7}",
            "array", "dtype", "shape", "chunks", "stored", "tensors"
        )?;
        for array in &self.arrays {
            let shape: Vec<String> = array.shape.iter().map(usize::to_string).collect();
            writeln!(
                f,
                "{:<82} {:<9} {:<22} {:>6} {:>9} {:>7}",
                array.source,
                array.dtype,
                shape.join("×"),
                array.chunk_count,
                human(array.bytes),
                array.tensors
            )?;
        }
        let about = if self.layers < self.num_hidden_layers {
            "about "
        } else {
            ""
        };
        let how = if self.is_remote { "download" } else { "read" };
        writeln!(f, "\n{how:<11} {about}{}", human(self.read_bytes))?;
        let files = match self.files.len() {
            1 => "1 file".into(),
            n => format!("{n} files"),
        };
        writeln!(f, "write       {} in {files}", human(self.written_bytes))?;
        if self.is_remote {
            writeln!(
                f,
                "disk        at most {} beside that while it runs",
                human(self.spooled_bytes)
            )?;
        }
        Ok(())
    }
}
