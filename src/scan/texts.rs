//! The texts of a run: drawn, tokenised, and identified.

use sha2::{Digest, Sha256};

use super::{Request, Watcher, sources::ModelFiles};
use crate::{
    Error, Result,
    corpus::{
        Preprocessing, Rows, TextTokenizer, TokenLimits, TokenizedSamples, indices_sha256,
        sample_rows,
    },
    manifest,
    models::DecoderModel,
};

/// The texts of a run, as tokens.
pub struct Texts {
    pub tokenized: TokenizedSamples,
    /// Rows of the whole dataset.
    pub rows: usize,
    /// Samples drawn, before sharding and skipping.
    pub drawn: usize,
    /// Of the drawn row numbers.
    pub indices_sha256: String,
    /// Which special tokens are added, in words.
    pub special_tokens: String,
    pub preprocessing: Preprocessing,
    /// Of all row numbers and ids: what the model sees, wherever it comes from.
    pub tokens_sha256: String,
}

/// The tokenizer of a checkpoint, and what happens to texts before it sees them.
pub(crate) fn tokenizer(
    files: &ModelFiles,
    model: &dyn DecoderModel,
) -> Result<(TextTokenizer, Preprocessing)> {
    // The manifest knows, or else the checkpoint says so itself, or else its architecture tells.
    let own = || Preprocessing::read(&files.dir);
    let preprocessing = match &files.preprocessing {
        Some(preprocessing) => preprocessing.clone(),
        None => match own()? {
            Some(preprocessing) => preprocessing,
            None => manifest::preprocessing_for(model.model_type())?,
        },
    };
    let tokenizer =
        TextTokenizer::from_file(&files.dir.join("tokenizer.json"), preprocessing.clone())?;
    Ok((tokenizer, preprocessing))
}

/// Which special tokens are added, in words.
pub(crate) fn special_tokens(tokenizer: &TextTokenizer) -> Result<String> {
    let special_tokens = tokenizer.special_tokens()?;
    Ok(match special_tokens.is_empty() {
        true => "as tokenizer.json says: none".into(),
        false => format!("as tokenizer.json says: {}", special_tokens.join(" ")),
    })
}

impl Texts {
    /// Draws and tokenises the texts of `request`.
    pub fn read(
        request: &Request,
        model: &dyn DecoderModel,
        watcher: &dyn Watcher,
    ) -> Result<Self> {
        let (tokenizer, preprocessing) = tokenizer(&request.model, model)?;
        let rows = Rows::open(&request.dataset.files, &request.dataset.text_column)?;
        let drawn = sample_rows(rows.len(), request.n_samples, request.seed)?;
        let indices = match request.shard {
            Some(shard) => shard.of(&drawn)?,
            None => &drawn,
        };
        let limits = TokenLimits {
            max_seq_len: request.max_seq_len,
            vocab_size: model.sizes().vocab_size,
        };
        let tokenized = tokenizer.tokenize_rows(&rows, indices, limits, |done| {
            watcher.tokenized(done, indices.len());
            match watcher.is_stopped() {
                true => Err(Error::Interrupted {
                    out: request.out.clone(),
                    continue_with: "--resume",
                }),
                false => Ok(()),
            }
        })?;
        // A shard may have drawn nothing but empty texts; `merge` wants its tables all the same.
        if tokenized.samples.is_empty() && request.shard.is_none() {
            return Err(Error::Dataset {
                path: request.dataset.files.first().cloned().unwrap_or_default(),
                message: format!(
                    "none of the {} sampled texts has a token; is `{}` the right --text-column?",
                    indices.len(),
                    request.dataset.text_column
                ),
            });
        }
        Ok(Self {
            rows: rows.len(),
            indices_sha256: indices_sha256(&drawn),
            drawn: drawn.len(),
            special_tokens: special_tokens(&tokenizer)?,
            preprocessing,
            tokens_sha256: hash(&tokenized),
            tokenized,
        })
    }

    /// Tokens of each sample.
    pub fn lengths(&self) -> Vec<usize> {
        self.tokenized
            .samples
            .iter()
            .map(|sample| sample.input_ids.len())
            .collect()
    }

    /// Row numbers in the dataset.
    pub fn samples(&self) -> Vec<i64> {
        self.tokenized
            .samples
            .iter()
            .map(|sample| sample.sample)
            .collect()
    }
}

fn hash(tokenized: &TokenizedSamples) -> String {
    let mut hash = Sha256::new();
    for sample in &tokenized.samples {
        hash.update(sample.sample.to_le_bytes());
        hash.update((sample.input_ids.len() as u64).to_le_bytes());
        for id in &sample.input_ids {
            hash.update(id.to_le_bytes());
        }
    }
    crate::hex(&hash.finalize())
}
