//! From texts to token ids.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use tokenizers::Tokenizer;

use super::{
    Preprocessing, Rows, TextsSum,
    labels::{Spelling, label},
};
use crate::{Error, Result};

/// Texts are gathered and tokenised in blocks of so many bytes (a tokenizer at work needs many times
/// the size of a text), and dropped then...
const BLOCK_BYTES: usize = 4 << 20;
/// ...or of so many texts, so that progress also shows where they are short.
const BLOCK_TEXTS: usize = 1024;

/// A checkpoint's tokenizer, with the preparation that its texts need.
///
/// Special tokens are added exactly as `tokenizer.json` says (its post-processor); a special token that
/// is spelled out in a text becomes that token, as everywhere in `tokenizers`. Truncation and padding
/// that `tokenizer.json` may hold, left over from its training, are switched off: they would cut texts
/// where nobody asked for it.
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    path: PathBuf,
    preprocessing: Preprocessing,
}

/// What a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenLimits {
    /// Longest sample in tokens, special tokens included; what is to the right of it is cut off.
    pub max_seq_len: usize,
    /// Rows of the model's embedding: ids from here on do not exist for it.
    pub vocab_size: usize,
}

/// The tokens of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizedSample {
    /// Row number in the dataset.
    pub sample: i64,
    /// At least one id, at most [`TokenLimits::max_seq_len`], all below [`TokenLimits::vocab_size`].
    pub input_ids: Vec<u32>,
}

/// The tokens of one text, for somebody who reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextTokens {
    /// What the model sees: at most [`TokenLimits::max_seq_len`] ids, all below [`TokenLimits::vocab_size`]; none
    /// for a text without a token of its own.
    pub input_ids: Vec<u32>,
    /// Each of them in characters, see [`label`](super::labels::label).
    pub labels: Vec<String>,
    /// Tokens of the whole text, before anything was cut off.
    pub uncut: usize,
}

/// The tokens of the rows of a scan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenizedSamples {
    /// In the order in which the rows were asked for, without the skipped ones.
    pub samples: Vec<TokenizedSample>,
    /// Rows whose text has no token: empty, null, or nothing that the tokenizer keeps. Special tokens
    /// around nothing do not make a sample, so that the same rows count for every tokenizer.
    pub skipped: usize,
    /// Ids of all samples together.
    pub tokens: usize,
    /// The texts of all rows that were asked for, skipped ones included.
    pub texts: TextsSum,
}

impl TextTokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if there is none or it is not understood.
    pub fn from_file(path: &Path, preprocessing: Preprocessing) -> Result<Self> {
        let failed = |message: String| Error::Tokenizer {
            path: path.into(),
            message,
        };
        let json = std::fs::read(path)
            .map_err(|error| failed(format!("the tokenizer cannot be read: {error}; copy it here from where the checkpoint came from")))?;
        let mut tokenizer = Tokenizer::from_bytes(json)
            .map_err(|error| failed(format!("not a usable tokenizer.json: {error}; copy it here anew from where the checkpoint came from")))?;
        tokenizer
            .with_padding(None)
            .with_truncation(None)
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            tokenizer,
            path: path.into(),
            preprocessing,
        })
    }

    /// The special tokens put around every text, in order: the policy that `run.json` records.
    ///
    /// # Errors
    /// As [`TextTokenizer::encode`].
    pub fn special_tokens(&self) -> Result<Vec<String>> {
        let encoding = self.encoding("")?;
        let added = encoding
            .get_tokens()
            .iter()
            .zip(encoding.get_special_tokens_mask());
        Ok(added
            .filter(|&(_, &special)| special == 1)
            .map(|(token, _)| token.clone())
            .collect())
    }

    /// All ids of a text, special tokens included; none for a text without a token of its own.
    ///
    /// The whole text is tokenised even if only its beginning is needed. Cutting it first is not exact
    /// in general: a normaliser may compose characters across the cut, and merges without word
    /// boundaries, as in SentencePiece models, can reach back from it without limit.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer refuses the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.encoding(text)?;
        // Only the post-processor sets this mask; a special token spelled out in the text is not in it.
        let mut mask = encoding.get_special_tokens_mask().iter();
        Ok(match mask.all(|&special| special == 1) {
            true => Vec::new(),
            false => encoding.get_ids().to_vec(),
        })
    }

    /// The tokens of a single text, prepared exactly as [`TextTokenizer::tokenize_rows`] prepares that of a row.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer refuses the text or gives an id that the model does not have.
    pub fn read_text(&self, text: &str, limits: TokenLimits) -> Result<TextTokens> {
        let ids = self.encode(text)?;
        let uncut = ids.len();
        let input_ids = self.limited(ids, limits, &|| "the text".into())?;
        let encoding = Spelling::of(&self.tokenizer);
        let labels = input_ids
            .iter()
            .map(|&id| {
                let piece = self.tokenizer.id_to_token(id);
                piece.map_or_else(|| format!("#{id}"), |piece| label(&piece, encoding))
            })
            .collect();
        Ok(TextTokens {
            input_ids,
            labels,
            uncut,
        })
    }

    /// Tokenises rows in parallel. Texts are read in blocks and dropped; only ids are kept.
    /// `progress` is told after each block how many rows are done; an error from it ends the work.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer refuses a text or gives an id that the model does not have;
    /// [`Error::Usage`] for a `max_seq_len` of 0; and as [`Rows::visit`].
    pub fn tokenize_rows(
        &self,
        rows: &Rows,
        indices: &[usize],
        limits: TokenLimits,
        mut progress: impl FnMut(usize) -> Result<()>,
    ) -> Result<TokenizedSamples> {
        if limits.max_seq_len == 0 {
            return Err(Error::Usage(
                "a max-seq-len of 0 leaves nothing to measure".into(),
            ));
        }
        let mut ids: Vec<Vec<u32>> = vec![Vec::new(); indices.len()];
        let (mut done, mut texts) = (0, TextsSum::default());
        let mut finish = |block: &mut Vec<(usize, String)>| {
            let encoded: Vec<(Result<Vec<u32>>, TextsSum)> = block
                .par_iter()
                .map(|(position, text)| {
                    let row = indices[*position];
                    (self.encode_row(text, row, limits), TextsSum::of(row, text))
                })
                .collect();
            for ((position, _), (row_ids, sum)) in block.drain(..).zip(encoded) {
                ids[position] = row_ids?;
                texts.add(sum);
                done += 1;
            }
            progress(done)
        };

        let (mut block, mut bytes) = (Vec::new(), 0);
        rows.visit(indices, |position, text| {
            bytes += text.len();
            block.push((position, text));
            if bytes >= BLOCK_BYTES || block.len() >= BLOCK_TEXTS {
                bytes = 0;
                finish(&mut block)?;
            }
            Ok(())
        })?;
        if !block.is_empty() {
            finish(&mut block)?;
        }

        let mut tokenized = TokenizedSamples {
            texts,
            ..TokenizedSamples::default()
        };
        for (&row, input_ids) in indices.iter().zip(ids) {
            if input_ids.is_empty() {
                tokenized.skipped += 1;
                continue;
            }
            tokenized.tokens += input_ids.len();
            tokenized.samples.push(TokenizedSample {
                sample: row as i64,
                input_ids,
            });
        }
        Ok(tokenized)
    }

    /// The ids of a row's text that the model gets to see.
    fn encode_row(&self, text: &str, row: usize, limits: TokenLimits) -> Result<Vec<u32>> {
        let whose = || format!("row {row} of the dataset");
        let ids = self.encode(text).map_err(|error| match error {
            Error::Tokenizer { path, message } => Error::Tokenizer {
                path,
                message: format!("{}: {message}", whose()),
            },
            other => other,
        })?;
        self.limited(ids, limits, &whose)
    }

    /// Cuts `ids` to what the model takes.
    fn limited(
        &self,
        mut ids: Vec<u32>,
        limits: TokenLimits,
        whose: &dyn Fn() -> String,
    ) -> Result<Vec<u32>> {
        ids.truncate(limits.max_seq_len);
        ids.shrink_to_fit();
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= limits.vocab_size) {
            return Err(Error::Tokenizer {
                path: self.path.clone(),
                message: format!(
                    "token {:?} in {} has id {id}, but the model's vocabulary \
                     has {} tokens (ids 0 to {}); is this the tokenizer of this model?",
                    self.tokenizer.id_to_token(id).unwrap_or_default(),
                    whose(),
                    limits.vocab_size,
                    limits.vocab_size.saturating_sub(1),
                ),
            });
        }
        Ok(ids)
    }

    fn encoding(&self, text: &str) -> Result<tokenizers::Encoding> {
        let text = self.preprocessing.apply(text);
        // The fast form leaves out character offsets, which nobody asks for; ids are the same.
        self.tokenizer
            .encode_fast(text.as_ref(), true)
            .map_err(|error| Error::Tokenizer {
                path: self.path.clone(),
                message: format!("the text cannot be tokenised: {error}"),
            })
    }
}
