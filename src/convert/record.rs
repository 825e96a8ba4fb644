//! `conversion.json`: where a converted checkpoint comes from, and what its files are.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{Error, Result, store::Fingerprint};

/// The name of the file.
pub const CONVERSION_JSON: &str = "conversion.json";

/// What `conversion.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversion {
    /// The version of attnscope that made it.
    pub attnscope: String,
    /// Everything that decides the result.
    pub source: Fingerprint,
    /// When it was finished.
    pub converted_at: String,
    /// Name of every other file of the directory → what it is.
    pub files: BTreeMap<String, ConvertedFile>,
    /// Tensor → checksum, taken of the source's elements (as they are rounded to the element type of the result)
    /// while they were read, in hexadecimal.
    pub tensors: BTreeMap<String, String>,
}

/// A file of the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvertedFile {
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
}

impl Conversion {
    /// Reads it from the directory `out`; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is not understood.
    pub fn read(out: &Path) -> Result<Option<Self>> {
        let path = out.join(CONVERSION_JSON);
        match fs::read(&path) {
            Ok(text) => {
                serde_json::from_slice(&text)
                    .map(Some)
                    .map_err(|error| Error::Checkpoint {
                        path,
                        message: format!("is not the record of a conversion: {error}"),
                    })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(&path)(error)),
        }
    }

    /// The files of the directory `out` that are not there in the size that is recorded.
    pub(super) fn missing(&self, out: &Path) -> Vec<PathBuf> {
        let files = self.files.iter().map(|(name, file)| (out.join(name), file));
        files
            .filter(|(path, file)| !fs::metadata(path).is_ok_and(|found| found.len() == file.bytes))
            .map(|(path, _)| path)
            .collect()
    }

    pub(super) fn checksums(&self) -> BTreeMap<String, u64> {
        let parse = |sum: &String| u64::from_str_radix(sum, 16).ok();
        let sums = self.tensors.iter();
        sums.filter_map(|(name, sum)| Some((name.clone(), parse(sum)?)))
            .collect()
    }
}
