//! How SentencePiece joins characters into pieces.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// The pieces that characters can be joined into, and which of them go first.
pub(super) struct Joiner<'a> {
    /// 0 for the piece with the highest score; equal scores have equal ranks.
    ranks: HashMap<&'a str, usize>,
}

/// What becomes of a text that has no user-defined symbol in it.
pub(super) struct Joined<'t> {
    /// Pieces, and characters that joined nothing and may be no pieces.
    pub parts: Vec<&'t str>,
    /// The bytes of the left and of the right part that were joined last.
    pub last: Option<(&'t str, &'t str)>,
}

struct Part {
    start: usize,
    /// Empty (`end == start`) once it belongs to the part on its left.
    end: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

impl<'a> Joiner<'a> {
    /// Takes the normal pieces with their scores, which must be numbers.
    pub fn new(pieces: impl Iterator<Item = (&'a str, f32)>) -> Self {
        let mut by_score: Vec<(&str, f32)> = pieces.collect();
        by_score.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut ranks = HashMap::with_capacity(by_score.len());
        let (mut rank, mut previous) = (0, None);
        for (piece, score) in by_score {
            // Compared as numbers: 0 and -0 are one score.
            rank += usize::from(previous.is_some_and(|previous| previous != score));
            previous = Some(score);
            ranks.insert(piece, rank);
        }
        Self { ranks }
    }

    /// Whether `text` is a normal piece.
    pub fn is_piece(&self, text: &str) -> bool {
        self.ranks.contains_key(text)
    }

    /// The rank of a normal piece.
    pub fn rank(&self, piece: &str) -> Option<usize> {
        self.ranks.get(piece).copied()
    }

    /// Joins, again and again, the two neighbours that make the piece with the highest score, the leftmost
    /// such two if there are several, until no two neighbours make a piece.
    pub fn join<'t>(&self, text: &'t str) -> Joined<'t> {
        let mut parts: Vec<Part> = text
            .char_indices()
            .enumerate()
            .map(|(index, (start, character))| Part {
                start,
                end: start + character.len_utf8(),
                previous: index.checked_sub(1),
                next: Some(index + 1),
            })
            .collect();
        if let Some(part) = parts.last_mut() {
            part.next = None;
        }

        let candidate = |parts: &[Part], left: usize, right: usize| {
            let end = parts[right].end;
            let rank = self.ranks.get(&text[parts[left].start..end])?;
            Some(Reverse((*rank, left, right, end)))
        };
        let mut candidates: BinaryHeap<_> = (1..parts.len())
            .filter_map(|right| candidate(&parts, right - 1, right))
            .collect();
        let mut last = None;
        while let Some(Reverse((_, left, right, end))) = candidates.pop() {
            let is_gone = |part: &Part| part.start == part.end;
            // A candidate is out of date when one of its parts was joined to another since.
            if is_gone(&parts[left]) || is_gone(&parts[right]) {
                continue;
            }
            if parts[left].end != parts[right].start || parts[right].end != end {
                continue;
            }
            let middle = parts[left].end;
            last = Some((&text[parts[left].start..middle], &text[middle..end]));
            let next = parts[right].next;
            parts[right].end = parts[right].start;
            parts[left].end = end;
            parts[left].next = next;
            if let Some(next) = next {
                parts[next].previous = Some(left);
                candidates.extend(candidate(&parts, left, next));
            }
            if let Some(previous) = parts[left].previous {
                candidates.extend(candidate(&parts, previous, left));
            }
        }
        let parts = parts.iter().filter(|part| part.start < part.end);
        Joined {
            parts: parts.map(|part| &text[part.start..part.end]).collect(),
            last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(pieces: &[(&'static str, f32)], text: &str) -> Vec<String> {
        let joiner = Joiner::new(pieces.iter().copied());
        let joined = joiner.join(text).parts;
        joined.into_iter().map(String::from).collect()
    }

    #[test]
    fn the_highest_score_goes_first_then_the_leftmost() {
        let pieces = [("ab", -2.0), ("bc", -1.0), ("aa", -3.0), ("aaa", -4.0)];
        assert_eq!(parts(&pieces, "abc"), ["a", "bc"]);
        assert_eq!(parts(&pieces, "ab"), ["ab"]);
        assert_eq!(parts(&pieces, "aaaa"), ["aa", "aa"]);
        assert_eq!(parts(&pieces, "aaaaa"), ["aa", "aaa"]);
        assert_eq!(parts(&pieces, ""), [""; 0]);
    }

    /// Of two overlapping pieces with one score the one on the left is made.
    #[test]
    fn equal_scores_go_from_left_to_right() {
        let pieces = [("bc", -0.0), ("ab", 0.0)];
        assert_eq!(parts(&pieces, "abc"), ["ab", "c"]);
        assert_eq!(parts(&pieces, "bcab"), ["bc", "ab"]);
    }

    #[test]
    fn the_last_step_is_kept() {
        let joiner = Joiner::new([("aa", -1.0), ("aaa", -2.0)].into_iter());
        assert_eq!(joiner.join("aaa").last, Some(("aa", "a")));
        assert_eq!(joiner.join("b").last, None);
    }

    /// A piece need not consist of pieces, and one that nothing can be joined to is never made.
    #[test]
    fn pieces_out_of_nothing_and_pieces_out_of_reach() {
        let pieces = [("日本", -1.0), ("xyz", -2.0)];
        assert_eq!(parts(&pieces, "日本xyz"), ["日本", "x", "y", "z"]);
    }
}
