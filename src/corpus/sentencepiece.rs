//! SentencePiece models (`tokenizer.model`, `spm.model`) as `tokenizer.json`, with the same ids.
//!
//! Byte-pair models are supported. What is written is a pipeline of the `tokenizers` crate, without an added
//! token and without a post-processor: it does what `SentencePieceProcessor.encode` does, which adds no token to a
//! text and never finds a control piece in one.
//!
//! # The recipe
//!
//! **Normaliser.** SentencePiece's own steps in their order: the character map, if there is one; spaces at both
//! ends removed and runs of them collapsed (`remove_extra_whitespaces`); a space in front (`add_dummy_prefix`);
//! spaces written as `▁` (`escape_whitespaces`).
//!
//! **User-defined symbols** cannot be added tokens. Looked for before normalisation, an added token cuts the text into
//! stretches that are normalised one by one, each with a space in front. Looked for afterwards, it is itself
//! normalised first, and found only where the text, too, has the space in front of it. Instead a pre-tokenizer
//! splits the normalised text at the symbols, so that each is a word of its own, which the model looks up
//! (`ignore_merges`). A second one keeps other words from being looked up that are spelled like a piece but are
//! none, such as `</s>` alone between two symbols: it cuts them where joining would leave a border anyway.
//!
//! **Merges.** SentencePiece has no merges, only pieces with scores: it joins whichever neighbours make the piece of
//! the highest score, the leftmost first. `tokenizers` joins pairs by their rank, the leftmost first among those
//! of one rank. The two agree with *one* pair for every piece, ranked by the score of the piece:
//!
//! - Let two neighbours l and r make the piece lr somewhere in some text. Until then nothing was joined
//!   across the borders of this stretch, and what was joined within was joined in the order in which it is joined
//!   in the text lr alone: the best candidate of all is the best within whenever it lies within. So
//!   joining lr alone, too, comes to l and r at some point.
//! - Joining lr alone comes to two parts once at most: just before the end. So a piece is only ever made of the one
//!   pair that is left last when its own text is joined. Other ways to split it into pieces never occur, and a piece
//!   that joining its own text does not make is never made at all.
//! - So both look at the same candidates at every step, and where no two pieces share a score, in the same order.
//!   (Where two do, SentencePiece takes the leftmost of either, which ranks cannot say. Such models are refused.)
//!
//! **Unknown characters** become the pieces of their bytes, or, without byte fallback, one unknown piece for a
//! run of them.
//!
//! The decoder gives back texts. Unlike SentencePiece's it spells out control and unknown pieces, and takes away
//! one space in front at most.
//!
//! # Where it can deviate
//!
//! Models with a character map (`nfkc`, `nmt_nfkc` and the like; `identity` has none): SentencePiece replaces
//! the longest string in the map, wherever it begins. `tokenizers` looks up grapheme clusters of up to five bytes, by
//! the shortest beginning that is in the map, and drops the rest; in longer ones it looks up single characters.
//! The results are the same unless a text has letters whose accents are characters of their own, other combining
//! marks or joiners behind a character that the map replaces, or jamo (Hangul not written in syllables, half-width
//! kana with their voice marks). [`SentencePieceModel::deviations`] says whether this concerns a model; maps of one's
//! own are supported as far as they replace single characters. Everything else is exact or refused.

mod charsmap;
mod joining;
mod normalizer;
mod pieces;
mod proto;
mod symbols;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost::Message;
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use crate::{Error, Result};
use joining::Joiner;
use normalizer::Normalizer;
use pieces::{Kind, Pieces};
use symbols::{Cuts, Symbols};

/// What a space looks like in a piece.
const SPACE: &str = "▁";

/// A SentencePiece byte-pair model.
///
/// ```no_run
/// use attnscope::corpus::sentencepiece::SentencePieceModel;
///
/// let model = SentencePieceModel::from_file("tokenizer.model".as_ref())?;
/// let json = model.tokenizer_json()?.to_string();
/// # Ok::<(), attnscope::Error>(())
/// ```
pub struct SentencePieceModel {
    path: PathBuf,
    pieces: Pieces,
    normalizer: Normalizer,
}

/// Why a model is not converted.
enum Problem {
    /// No program could use it.
    Damaged(String),
    /// SentencePiece can.
    Unsupported(String),
}

impl Problem {
    fn at(self, path: &Path) -> Error {
        let message = match self {
            Self::Damaged(what) => format!(
                "not a usable SentencePiece model: {what}; copy it here anew from where the checkpoint came from"
            ),
            Self::Unsupported(what) => format!(
                "the SentencePiece model cannot be converted: {what}; look for a tokenizer.json made by its publisher"
            ),
        };
        Error::Tokenizer {
            path: path.into(),
            message,
        }
    }
}

impl SentencePieceModel {
    /// Reads a `.model` file.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the file cannot be read, and as [`SentencePieceModel::from_bytes`].
    pub fn from_file(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|error| {
            let what = format!("it cannot be read: {error}");
            Problem::Damaged(what).at(path)
        })?;
        Self::from_bytes(path, &bytes)
    }

    /// Reads the content of a `.model` file. `path` is for messages only.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if it is damaged or contradicts itself, or if it is no byte-pair model.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        Self::parse(path, bytes).map_err(|problem| problem.at(path))
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Problem> {
        let damaged = |what: &str| Problem::Damaged(what.to_owned());
        let model = proto::ModelProto::decode(bytes).map_err(|error| {
            Problem::Damaged(format!("{error}; is it cut off, or another format?"))
        })?;
        if model.pieces.is_empty() {
            return Err(damaged(
                "it has no `pieces`; is it empty, or another format?",
            ));
        }
        let (Some(trainer), Some(normalizer)) = (model.trainer_spec, model.normalizer_spec) else {
            return Err(damaged(
                "`trainer_spec` or `normalizer_spec`, which follow the pieces, is missing; is it cut off?",
            ));
        };
        let unsupported = |what: String| Err(Problem::Unsupported(what));
        match trainer.model_type() {
            2 => {}
            other => {
                let name = match other {
                    1 => "unigram",
                    3 => "word",
                    4 => "char",
                    _ => "an unknown type",
                };
                return unsupported(format!(
                    "`trainer_spec.model_type` is {other} ({name}); supported: 2 (bpe)"
                ));
            }
        }
        if trainer.treat_whitespace_as_suffix() {
            return unsupported(
                "`trainer_spec.treat_whitespace_as_suffix` is true; supported: spaces in front of words".into(),
            );
        }
        let denormalizer = model.denormalizer_spec.unwrap_or_default();
        if !denormalizer.precompiled_charsmap().is_empty() {
            return unsupported(
                "`denormalizer_spec` has a character map for decoded text; supported: none".into(),
            );
        }
        Ok(Self {
            path: path.into(),
            pieces: Pieces::new(model.pieces, &trainer)?,
            normalizer: Normalizer::new(normalizer)?,
        })
    }

    /// The number of pieces; ids are below it.
    pub fn vocab_size(&self) -> usize {
        self.pieces.all.len()
    }

    /// The padding piece, if the model has one.
    pub fn pad_id(&self) -> Option<u32> {
        self.pieces.pad_id
    }

    /// The piece that ends a text, if the model has one.
    pub fn eos_id(&self) -> Option<u32> {
        self.pieces.eos_id
    }

    /// The piece that begins a text, if the model has one.
    pub fn bos_id(&self) -> Option<u32> {
        self.pieces.bos_id
    }

    /// The piece for what no other piece stands for. Every usable model has one.
    pub fn unk_id(&self) -> Option<u32> {
        Some(self.pieces.unk_id)
    }

    /// On which texts [`SentencePieceModel::tokenizer_json`] may give other ids than SentencePiece, in words for
    /// people; `None` if on none.
    pub fn deviations(&self) -> Option<&'static str> {
        self.normalizer.has_map().then_some(
            "the model's normaliser has a character map (`normalizer_spec.precompiled_charsmap`); texts with accents as \
             characters of their own, other combining marks, joiners, jamo or half-width kana may get other ids than \
             from SentencePiece itself",
        )
    }

    /// The whole of `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`], saying what it is, if the model does something that `tokenizers` cannot do.
    pub fn tokenizer_json(&self) -> Result<Value> {
        self.convert().map_err(|problem| problem.at(&self.path))
    }

    fn convert(&self) -> Result<Value, Problem> {
        let pieces = &self.pieces;
        let symbols = Symbols::new(pieces.texts(Kind::UserDefined).collect());
        self.normalizer.check(symbols.all())?;
        let normal = pieces.all.iter().filter(|piece| piece.kind == Kind::Normal);
        let joiner = Joiner::new(normal.map(|piece| (piece.text.as_str(), piece.score)));

        let merges = self.merges(&joiner, &symbols)?;
        let vocab: BTreeMap<&str, usize> = pieces
            .all
            .iter()
            .enumerate()
            .map(|(id, piece)| (piece.text.as_str(), id))
            .collect();
        let mut decoders = vec![
            json!({ "type": "Replace", "pattern": { "String": SPACE }, "content": " " }),
            json!({ "type": "ByteFallback" }),
            json!({ "type": "Fuse" }),
        ];
        if self.normalizer.add_dummy_prefix {
            decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        }
        let json = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": [],
            "normalizer": self.normalizer.json()?,
            "pre_tokenizer": self.pre_tokenizer(&joiner, &symbols)?,
            "post_processor": null,
            "decoder": { "type": "Sequence", "decoders": decoders },
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": pieces.all[pieces.unk_id as usize].text,
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": true,
                "byte_fallback": pieces.byte_fallback,
                "ignore_merges": !symbols.all().is_empty(),
                "vocab": vocab,
                "merges": merges,
            },
        });
        // Its reader may have limits of its own.
        Tokenizer::from_bytes(json.to_string()).map_err(|error| {
            Problem::Unsupported(format!("`tokenizers` refuses the result: {error}"))
        })?;
        Ok(json)
    }

    /// The one pair that makes each piece, the highest score first.
    fn merges<'a>(
        &'a self,
        joiner: &Joiner,
        symbols: &Symbols,
    ) -> Result<Vec<(&'a str, &'a str)>, Problem> {
        let unsupported = |what: String| Err(Problem::Unsupported(what));
        // The model looks up single characters whatever their piece is for.
        for kind in [Kind::Unknown, Kind::Control] {
            if let Some(name) = self
                .pieces
                .texts(kind)
                .find(|name| name.chars().count() == 1)
            {
                return unsupported(format!(
                    "the character {name:?} is the name of a piece of type {kind:?}, and would become that \
                     piece where it is typed"
                ));
            }
        }
        let mut merges = Vec::new();
        for piece in self.pieces.texts(Kind::Normal) {
            let joined = joiner.join(piece);
            // Within a symbol, or across its border, nothing is joined.
            let (&[_], Some(pair)) = (&*joined.parts, joined.last) else {
                continue;
            };
            if symbols.occur_in(piece) {
                continue;
            }
            if let Some(part) = [pair.0, pair.1]
                .into_iter()
                .find(|part| !joiner.is_piece(part))
            {
                return unsupported(format!(
                    "the piece {piece:?} is joined from {part:?}, which is no piece itself"
                ));
            }
            merges.push((joiner.rank(piece), piece, pair));
        }
        merges.sort_unstable();
        if let Some(pair) = merges.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return unsupported(format!(
                "the pieces {:?} and {:?} have the same score; supported: a score of its own for every piece",
                pair[0].1, pair[1].1
            ));
        }
        Ok(merges.into_iter().map(|(_, _, pair)| pair).collect())
    }

    /// The `pre_tokenizer`, null where there are no user-defined symbols.
    fn pre_tokenizer(&self, joiner: &Joiner, symbols: &Symbols) -> Result<Value, Problem> {
        if symbols.all().is_empty() {
            return Ok(Value::Null);
        }
        let pieces = &self.pieces;
        let mut cuts = Cuts::default();
        for piece in &pieces.all {
            let is_found_rightly = match piece.kind {
                Kind::UserDefined => true,
                Kind::Normal => joiner.join(&piece.text).parts.len() == 1,
                Kind::Unknown | Kind::Control | Kind::Byte => false,
            };
            if is_found_rightly || symbols.occur_in(&piece.text) {
                continue;
            }
            let is_cut = cuts.add(&piece.text, joiner, pieces.byte_fallback);
            // The unknown piece is what unknown characters become anyway.
            if !is_cut && piece.kind != Kind::Unknown {
                return Err(Problem::Unsupported(format!(
                    "nothing but unknown characters are in the name of the piece {:?} of type {:?}, which would \
                     become that piece where it is typed between user-defined symbols",
                    piece.text, piece.kind
                )));
            }
        }
        let split = |regex: &str| {
            let pattern = json!({ "Regex": regex });
            json!({ "type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false })
        };
        let mut steps = vec![split(&symbols.regex())];
        if let Some((regex, depth)) = cuts.regex() {
            steps.extend((0..depth).map(|_| split(&regex)));
        }
        Ok(json!({ "type": "Sequence", "pretokenizers": steps }))
    }
}
