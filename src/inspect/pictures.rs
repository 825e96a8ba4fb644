//! What the page holds of the maps.
//!
//! Of every head an overview: the triangle of the largest weights of blocks of n × n, with the same n for all heads. n
//! is as small as [`OVERVIEW_SIDE`] and a third of the page's room allow. Where n is 1 the overview is the map itself,
//! and may take all of the room.
//!
//! Otherwise another third is for the largest weights of every query, up to [`MOST_TOP`] of them, of the heads whose
//! map is left out; and what remains for the maps themselves, of as many heads as fit (see [`Kept`]).
//!
//! Weights are packed as four planes of bytes, the lowest byte of every weight first, and deflated: exponents are
//! alike and shrink well once they stand beside each other, mantissas do not shrink wherever they stand.

use rayon::prelude::*;
use serde::Serialize;

use super::{
    Head,
    budget::{Kept, Rank, on_page},
    maps::HeadMap,
    top::{self, TopWeights},
    triangle::{Triangle, elements},
};
use crate::{Error, Result, machine::human, page::Array};

/// The largest overview: so many cells a browser draws at once without a pause, and a screen shows.
pub const OVERVIEW_SIDE: usize = 256;
/// The most weights of a query that are kept of a head whose map is not.
const MOST_TOP: usize = 16;

/// The pictures in the making.
pub struct Pictures {
    /// Weights along a side of an overview's cell.
    block: usize,
    /// Weights per query that are kept of a head whose map is not.
    top: usize,
    heads: Vec<Head>,
    /// Of each finished layer: its number, and the overviews of its heads.
    overviews: Vec<(usize, Array)>,
    /// The layer that is being filled, and its overviews one after the other.
    layer: Option<(usize, Vec<f32>)>,
    exact: Kept<Array>,
    /// Of the heads, in order.
    tops: Vec<Top>,
    whole_page_bytes: u64,
}

/// The largest weights of every query of one head, see [`TopWeights`].
#[derive(Debug, Serialize)]
pub struct Top {
    distances: Array,
    weights: Array,
}

/// All of them.
pub struct Finished {
    /// Weights along a side of an overview's cell.
    pub block: usize,
    /// Weights per query in `tops`.
    pub top: usize,
    /// The chosen heads.
    pub heads: Vec<Head>,
    /// Of each layer the overviews of its heads, one after the other.
    pub overviews: Vec<(usize, Array)>,
    /// The exact weights that fit, sparsest head first: layer, head, triangle.
    pub exact: Vec<(usize, usize, Array)>,
    /// Of the other heads the largest weights of every query: layer, head, weights.
    pub tops: Vec<(usize, usize, Top)>,
    /// Bytes that suffice for all of them.
    pub whole_page_bytes: u64,
}

impl Pictures {
    /// Pictures of `heads` heads for a page that has `page_bytes` without them and may have `max_page_bytes`.
    ///
    /// # Errors
    /// [`Error::Usage`] if the page is too small for the coarsest overview.
    pub fn new(tokens: usize, heads: usize, page_bytes: u64, max_page_bytes: u64) -> Result<Self> {
        // Deflate makes what cannot be packed a little longer.
        let of_all = |bytes: usize| heads as u64 * on_page(bytes + bytes / 1000 + 32);
        let overview = |block: usize| of_all(4 * elements(tokens.div_ceil(block)));
        let room = max_page_bytes.saturating_sub(page_bytes);
        let is_whole = tokens <= OVERVIEW_SIDE && overview(1) <= room;
        let block = match is_whole {
            true => Some(1),
            false => (1..=tokens)
                .find(|&n| tokens.div_ceil(n) <= OVERVIEW_SIDE && overview(n) <= room / 3),
        };
        let Some(block) = block else {
            return Err(Error::Usage(format!(
                "--max-page-mib: a page with {heads} heads takes at least {}; allow more, or choose fewer heads with \
                 --layers and --heads",
                human(page_bytes + 3 * overview(tokens)),
            )));
        };
        let distance = if is_far(tokens) { 4 } else { 2 };
        let tops = |k: usize| {
            let entries = top::entries(tokens, k);
            of_all(distance * entries) + of_all(4 * entries)
        };
        let top = match block {
            1 => 0,
            _ => (1..=MOST_TOP)
                .rev()
                .find(|&k| tops(k) <= room / 3)
                .unwrap_or(0),
        };
        let taken = overview(block) + if top > 0 { tops(top) } else { 0 };
        let whole = match block {
            1 => overview(1),
            _ => taken + overview(1),
        };
        Ok(Self {
            block,
            top,
            heads: Vec::with_capacity(heads),
            overviews: Vec::new(),
            layer: None,
            exact: Kept::new(room.saturating_sub(taken)),
            tops: Vec::new(),
            whole_page_bytes: page_bytes + whole,
        })
    }

    /// Takes the next heads, which come by layer and head.
    pub fn add(&mut self, heads: &[HeadMap]) {
        let rank = |head: &HeadMap| Rank {
            score: head.sums.means().sparsity_score,
            layer: head.layer,
            head: head.head,
        };
        let wants_exact = |head: &HeadMap| self.block > 1 && self.exact.has_room_for(&rank(head));
        let drawn: Vec<(Triangle, Option<Array>, Option<Top>)> = heads
            .par_iter()
            .map(|head| {
                let exact = wants_exact(head).then(|| pack(head.map.weights()));
                let top = (self.top > 0).then(|| Top::of(&head.map, self.top));
                (head.map.pool(self.block), exact, top)
            })
            .collect();
        for (head, (overview, exact, top)) in heads.iter().zip(drawn) {
            if self
                .layer
                .as_ref()
                .is_none_or(|(layer, _)| *layer != head.layer)
            {
                self.end_layer();
                self.layer = Some((head.layer, Vec::new()));
            }
            if let Some((_, values)) = &mut self.layer {
                values.extend_from_slice(overview.weights());
            }
            self.heads.push(Head {
                layer: head.layer,
                head: head.head,
                sums: head.sums,
                largest: overview.max(),
                is_exact: self.block == 1,
            });
            self.tops.extend(top);
            if let Some(exact) = exact {
                self.exact
                    .offer(rank(head), on_page(exact.packed_bytes()), exact);
            }
        }
    }

    fn end_layer(&mut self) {
        if let Some((layer, values)) = self.layer.take() {
            self.overviews.push((layer, pack(&values)));
        }
    }

    /// What there is, after the last head.
    pub fn finish(mut self) -> Finished {
        self.end_layer();
        let exact: Vec<(usize, usize, Array)> = self
            .exact
            .into_heads()
            .into_iter()
            .map(|(rank, packed)| (rank.layer, rank.head, packed))
            .collect();
        for head in &mut self.heads {
            head.is_exact |= exact
                .iter()
                .any(|(layer, of, _)| (*layer, *of) == (head.layer, head.head));
        }
        // Where the whole map is, its largest weights are.
        let tops = self.heads.iter().zip(self.tops);
        let tops = tops
            .filter(|(head, _)| !head.is_exact)
            .map(|(head, top)| (head.layer, head.head, top))
            .collect();
        Finished {
            block: self.block,
            top: self.top,
            tops,
            heads: self.heads,
            overviews: self.overviews,
            exact,
            whole_page_bytes: self.whole_page_bytes,
        }
    }
}

/// Whether keys can be too far away for 16 bits.
fn is_far(tokens: usize) -> bool {
    tokens > 1 << 16
}

impl Top {
    fn of(map: &Triangle, k: usize) -> Self {
        let TopWeights { distances, weights } = TopWeights::of(map, k);
        let distances = match is_far(map.side()) {
            true => Array::deflated(&distances),
            false => {
                let short = distances.iter().map(|&distance| distance as u16);
                Array::deflated(&short.collect::<Vec<u16>>())
            }
        };
        Self {
            distances,
            weights: pack(&weights),
        }
    }
}

/// Four planes of bytes, deflated.
fn pack(values: &[f32]) -> Array {
    let mut planes = Vec::with_capacity(4 * values.len());
    for plane in 0..4 {
        planes.extend(values.iter().map(|value| value.to_le_bytes()[plane]));
    }
    Array::deflated(&planes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// n, and weights per query.
    fn fineness(tokens: usize, heads: usize, max_page_bytes: u64) -> (usize, usize) {
        let pictures = Pictures::new(tokens, heads, 5 * MIB, max_page_bytes).unwrap();
        (pictures.block, pictures.top)
    }

    #[test]
    fn pictures_are_as_fine_as_the_page_allows() {
        assert_eq!(fineness(100, 24, 64 * MIB), (1, 0), "all of it");
        assert_eq!(fineness(256, 24, 64 * MIB), (1, 0), "all of it");
        assert_eq!(fineness(257, 24, 64 * MIB), (2, 16));
        assert_eq!(fineness(2048, 24, 64 * MIB), (8, 16));
        // 1,024 triangles of 256 rows are 180 MB.
        assert_eq!(fineness(2048, 1024, 64 * MIB), (24, 1));
        assert_eq!(fineness(2048, 1024, 1024 * MIB), (8, 16));
        let error = Pictures::new(2048, 1024, 5 * MIB, 5 * MIB);
        let error = error.err().unwrap().to_string();
        assert!(
            error.contains("--max-page-mib") && error.contains("--heads"),
            "{error}"
        );
    }
}
