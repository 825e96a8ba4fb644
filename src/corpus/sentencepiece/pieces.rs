//! The vocabulary of a SentencePiece model.

use std::collections::HashMap;

use super::Problem;
use super::proto::{PieceProto, TrainerSpec};

/// What a piece is for; the numbers are the file's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Joined from characters.
    Normal,
    /// Stands for what no other piece does.
    Unknown,
    /// Never found in a text, whatever is typed there.
    Control,
    /// Found before anything else happens, and never joined with what is around it.
    UserDefined,
    /// Stands for one byte of a character that is no piece.
    Byte,
}

/// A piece; its id is its place.
#[derive(Debug)]
pub(super) struct Piece {
    pub text: String,
    pub score: f32,
    pub kind: Kind,
}

/// Pieces that belong together.
#[derive(Debug)]
pub(super) struct Pieces {
    pub all: Vec<Piece>,
    pub byte_fallback: bool,
    pub unk_id: u32,
    pub bos_id: Option<u32>,
    pub eos_id: Option<u32>,
    pub pad_id: Option<u32>,
}

impl Pieces {
    pub fn new(protos: Vec<PieceProto>, spec: &TrainerSpec) -> Result<Self, Problem> {
        let all: Vec<Piece> = protos
            .into_iter()
            .enumerate()
            .map(|(id, proto)| read(id, proto))
            .collect::<Result<_, _>>()?;
        if all.is_empty() {
            return Err(damaged("it has no pieces"));
        }
        let mut ids: HashMap<&str, usize> = HashMap::with_capacity(all.len());
        for (id, piece) in all.iter().enumerate() {
            if let Some(first) = ids.insert(&piece.text, id) {
                let text = &piece.text;
                return Err(damaged(format!(
                    "the pieces {first} and {id} are both {text:?}"
                )));
            }
        }

        check_bytes(&all, spec.byte_fallback())?;
        let unknown: Vec<usize> = (0..all.len())
            .filter(|&id| all[id].kind == Kind::Unknown)
            .collect();
        let &[unk_id] = &*unknown else {
            return Err(damaged(format!(
                "one piece should be of type UNKNOWN, {} are (ids {unknown:?})",
                unknown.len()
            )));
        };
        if usize::try_from(spec.unk_id()) != Ok(unk_id) {
            return Err(damaged(format!(
                "`trainer_spec.unk_id` is {}, but the piece of type UNKNOWN has id {unk_id}",
                spec.unk_id()
            )));
        }
        Ok(Self {
            byte_fallback: spec.byte_fallback(),
            unk_id: unk_id as u32,
            bos_id: special(&all, "bos_id", spec.bos_id())?,
            eos_id: special(&all, "eos_id", spec.eos_id())?,
            pad_id: special(&all, "pad_id", spec.pad_id())?,
            all,
        })
    }

    /// The texts of all pieces of a kind, in the order of their ids.
    pub fn texts(&self, kind: Kind) -> impl Iterator<Item = &str> {
        let pieces = self.all.iter().filter(move |piece| piece.kind == kind);
        pieces.map(|piece| piece.text.as_str())
    }
}

fn damaged(what: impl Into<String>) -> Problem {
    Problem::Damaged(what.into())
}

fn read(id: usize, proto: PieceProto) -> Result<Piece, Problem> {
    let kind = match proto.kind() {
        1 => Kind::Normal,
        2 => Kind::Unknown,
        3 => Kind::Control,
        4 => Kind::UserDefined,
        5 => {
            return Err(Problem::Unsupported(format!(
                "piece {id} ({:?}) is of type UNUSED: it is made, then taken apart again, which no \
                 tokenizer.json can say",
                proto.piece()
            )));
        }
        6 => Kind::Byte,
        other => {
            return Err(damaged(format!(
                "`pieces[{id}].type` is {other}, which does not exist"
            )));
        }
    };
    let score = proto.score();
    let text = proto.piece.unwrap_or_default();
    if text.is_empty() || text.contains('\0') {
        return Err(damaged(format!(
            "`pieces[{id}].piece` is {text:?}: a piece is never empty and has no zero byte"
        )));
    }
    if !score.is_finite() {
        return Err(damaged(format!(
            "`pieces[{id}].score` is {score} ({text:?})"
        )));
    }
    Ok(Piece { text, score, kind })
}

/// How the piece of a byte is called.
pub(super) fn byte_piece(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}

fn check_bytes(pieces: &[Piece], byte_fallback: bool) -> Result<(), Problem> {
    let names: Vec<String> = (0..=u8::MAX).map(byte_piece).collect();
    let mut found = 0;
    for (id, piece) in pieces.iter().enumerate() {
        if piece.kind != Kind::Byte {
            continue;
        }
        if !byte_fallback {
            return Err(damaged(format!(
                "piece {id} ({:?}) is of type BYTE, but `trainer_spec.byte_fallback` is false",
                piece.text
            )));
        }
        if !names.contains(&piece.text) {
            return Err(damaged(format!(
                "piece {id} ({:?}) is of type BYTE, but names none: <0x00> to <0xFF> do",
                piece.text
            )));
        }
        found += 1;
    }
    if byte_fallback && found < names.len() {
        return Err(damaged(format!(
            "`trainer_spec.byte_fallback` is true, but only {found} of 256 pieces of type BYTE are there"
        )));
    }
    Ok(())
}

/// A piece that the trainer's settings name; -1 stands for none.
fn special(pieces: &[Piece], field: &str, id: i32) -> Result<Option<u32>, Problem> {
    if id == -1 {
        return Ok(None);
    }
    let piece = usize::try_from(id).ok().and_then(|id| pieces.get(id));
    match piece {
        None => Err(damaged(format!(
            "`trainer_spec.{field}` is {id}, but the ids go from 0 to {}",
            pieces.len() - 1
        ))),
        Some(piece) if !matches!(piece.kind, Kind::Control | Kind::UserDefined) => {
            Err(damaged(format!(
                "`trainer_spec.{field}` is {id}, but that is an ordinary piece ({:?}, {:?})",
                piece.text, piece.kind
            )))
        }
        Some(_) => Ok(Some(id as u32)),
    }
}
