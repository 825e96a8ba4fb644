//! The text: where it comes from, and its tokens.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{
    Error, Result,
    corpus::{Preprocessing, TextTokens, TokenLimits},
    models::DecoderModel,
    scan::{
        sources::ModelFiles,
        texts::{special_tokens, tokenizer},
    },
};

/// A text to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The text itself.
    pub text: String,
    /// The file that held it, if it was one.
    pub path: Option<PathBuf>,
}

impl Text {
    /// All of a file: line breaks, also the last one, belong to it; a byte order mark does not.
    ///
    /// # Errors
    /// [`Error::Dataset`] if it is not UTF-8, [`Error::Io`] if it cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let text = String::from_utf8(bytes).map_err(|error| Error::Dataset {
            path: path.to_path_buf(),
            message: format!(
                "byte {} of the file is not UTF-8; convert the file to UTF-8",
                error.utf8_error().valid_up_to()
            ),
        })?;
        Ok(Self {
            text: match text.strip_prefix('\u{FEFF}') {
                Some(rest) => rest.to_owned(),
                None => text,
            },
            path: Some(path.to_path_buf()),
        })
    }

    /// SHA-256 of the text, as UTF-8.
    pub fn sha256(&self) -> String {
        crate::hex(&Sha256::digest(&self.text))
    }
}

/// A text as the model sees it.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Its tokens; at least one.
    pub tokens: TextTokens,
    /// Which special tokens were added, in words.
    pub special_tokens: String,
    /// What was done before it was tokenised.
    pub preprocessing: Preprocessing,
}

impl Prepared {
    /// Prepares a text as a scan prepares that of a dataset's row.
    ///
    /// # Errors
    /// [`Error::Tokenizer`]; and [`Error::Usage`] or, of a file, [`Error::Dataset`] for a text without a token.
    pub fn new(
        text: &Text,
        model: &dyn DecoderModel,
        files: &ModelFiles,
        max_seq_len: usize,
    ) -> Result<Self> {
        let (tokenizer, preprocessing) = tokenizer(files, model)?;
        let limits = TokenLimits {
            max_seq_len,
            vocab_size: model.sizes().vocab_size,
        };
        let tokens = tokenizer.read_text(&text.text, limits)?;
        if tokens.input_ids.is_empty() {
            return Err(match &text.path {
                Some(path) => Error::Dataset {
                    path: path.clone(),
                    message: "the text has no token: there is nothing to look at".into(),
                },
                None => Error::Usage(
                    "--text: the text has no token: there is nothing to look at".into(),
                ),
            });
        }
        Ok(Self {
            tokens,
            special_tokens: special_tokens(&tokenizer)?,
            preprocessing,
        })
    }
}
