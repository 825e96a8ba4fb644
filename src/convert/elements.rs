//! Elements of tensors: from the type they are stored in to the one that is written, and a checksum of them.

use half::{bf16, f16};

use crate::checkpoint::axlearn::ElementType;

/// An element type that is written; `N` is its size in bytes.
pub(super) trait Output<const N: usize>: Sync {
    /// Appends elements of type `from`, little-endian, to `out`. Whatever both types can express stays as it is,
    /// bit for bit; bfloat16 is rounded to nearest, ties to even.
    fn encode(&self, from: FloatType, raw: &[u8], out: &mut Vec<[u8; N]>);
}

/// The element types that weights are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FloatType {
    F16,
    Bf16,
    F32,
}

impl FloatType {
    /// `None` for types that are no weights', and for float64, which would be rounded.
    pub fn new(element_type: ElementType) -> Option<Self> {
        match element_type {
            ElementType::Float16 => Some(Self::F16),
            ElementType::Bfloat16 => Some(Self::Bf16),
            ElementType::Float32 => Some(Self::F32),
            _ => None,
        }
    }
}

/// float32.
pub(super) struct F32;
/// bfloat16.
pub(super) struct Bf16;

impl Output<4> for F32 {
    fn encode(&self, from: FloatType, raw: &[u8], out: &mut Vec<[u8; 4]>) {
        let halves = || raw.as_chunks::<2>().0.iter().copied();
        match from {
            FloatType::F32 => out.extend_from_slice(raw.as_chunks().0),
            FloatType::Bf16 => out.extend(halves().map(|[low, high]| [0, 0, low, high])),
            FloatType::F16 => {
                out.extend(halves().map(|half| f16::from_le_bytes(half).to_f32().to_le_bytes()))
            }
        }
    }
}

impl Output<2> for Bf16 {
    fn encode(&self, from: FloatType, raw: &[u8], out: &mut Vec<[u8; 2]>) {
        match from {
            FloatType::F32 => {
                let floats = raw.as_chunks().0.iter().copied();
                out.extend(floats.map(|float| round(u32::from_le_bytes(float)).to_le_bytes()));
            }
            FloatType::Bf16 => out.extend_from_slice(raw.as_chunks().0),
            FloatType::F16 => out.extend(
                raw.as_chunks()
                    .0
                    .iter()
                    .map(|&half| bf16::from_f32(f16::from_le_bytes(half).to_f32()).to_le_bytes()),
            ),
        }
    }
}

/// bfloat16's bits of a float32's, rounded to nearest, ties to even. Without a branch, unlike `bf16::from_f32`,
/// so that it runs on whole vectors; a test compares the two.
fn round(bits: u32) -> u16 {
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    // A NaN stays one: the quiet bit keeps its payload from being rounded to an infinity.
    let is_nan = bits & 0x7fff_ffff > 0x7f80_0000;
    let nan = (bits >> 16) | 0x40;
    (if is_nan { nan } else { rounded }) as u16
}

/// Takes the checksum of a tensor, line by line.
///
/// The checksum of a matrix is the sum of its elements' bits, each times the weight of its row and that of its
/// column, modulo 2^64. Elements can be added in any order, so that it can be taken from the source as it comes
/// and from the result as it stands. As the weights are odd, one wrong element always shows; elements that
/// have changed places do unless they are equal, or 2^64 is unlucky.
#[derive(Debug)]
pub(super) struct Checksum {
    /// Whether lines are columns of the tensor, not rows.
    of_columns: bool,
    weights: Vec<u64>,
}

impl Checksum {
    /// For lines that are rows, or the parts of them in these `columns`.
    pub fn of_rows(columns: impl Iterator<Item = usize>) -> Self {
        Self {
            of_columns: false,
            weights: columns.map(column_weight).collect(),
        }
    }

    /// For lines that are columns, or the parts of them in these `rows`.
    pub fn of_columns(rows: impl Iterator<Item = usize>) -> Self {
        Self {
            of_columns: true,
            weights: rows.map(row_weight).collect(),
        }
    }

    /// The share of the line `index`.
    pub fn share<const N: usize>(&self, index: usize, line: &[[u8; N]]) -> u64 {
        debug_assert_eq!(line.len(), self.weights.len());
        let sum = line.iter().zip(&self.weights);
        let sum = sum.fold(0u64, |sum, (element, weight)| {
            let mut bits = [0; 8];
            bits[..N].copy_from_slice(element);
            sum.wrapping_add(u64::from_le_bytes(bits).wrapping_mul(*weight))
        });
        sum.wrapping_mul(match self.of_columns {
            true => column_weight(index),
            false => row_weight(index),
        })
    }
}

fn row_weight(row: usize) -> u64 {
    weight(!(row as u64))
}

fn column_weight(column: usize) -> u64 {
    weight(column as u64)
}

/// An odd number that looks random (the finaliser of SplitMix64).
fn weight(index: u64) -> u64 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All kinds of float32, the halfway cases of bfloat16 among them.
    fn floats() -> Vec<u32> {
        let mut bits: Vec<u32> = (0..=u16::MAX as u32)
            .flat_map(|high| [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|low| high << 16 | low))
            .collect();
        bits.extend((0..100_000u64).map(|i| weight(i) as u32));
        bits
    }

    #[test]
    fn bfloat16_is_rounded_as_half_does_it() {
        for bits in floats() {
            let float = f32::from_bits(bits);
            assert_eq!(round(bits), bf16::from_f32(float).to_bits(), "{bits:#x}");
        }
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let mut out = Vec::new();
        let halves: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        Bf16.encode(FloatType::Bf16, &halves, &mut out);
        assert_eq!(out.as_flattened(), halves);
        let mut wide = Vec::new();
        F32.encode(FloatType::Bf16, &halves, &mut wide);
        let mut back = Vec::new();
        Bf16.encode(FloatType::F32, wide.as_flattened(), &mut back);
        for (i, (back, wide)) in back.iter().zip(&wide).enumerate() {
            let (float, half) = (f32::from_le_bytes(*wide), bf16::from_bits(i as u16));
            assert_eq!(float.to_bits(), (i as u32) << 16);
            // Signalling NaNs become quiet ones on the way from float32.
            assert!(
                *back == half.to_le_bytes() || half.is_nan() && bf16::from_le_bytes(*back).is_nan()
            );
        }
        let mut from_f16 = Vec::new();
        F32.encode(FloatType::F16, &halves, &mut from_f16);
        for (i, float) in from_f16.iter().enumerate() {
            let half = f16::from_bits(i as u16);
            assert!(half.is_nan() || f16::from_f32(f32::from_le_bytes(*float)) == half);
        }
    }

    #[test]
    fn the_checksum_sees_what_has_moved() {
        let matrix: Vec<[u8; 4]> = (1..=6u32).map(u32::to_le_bytes).collect();
        let sum = |matrix: &[[u8; 4]], columns: usize| {
            let checksum = Checksum::of_rows(0..columns);
            let rows = matrix.chunks(columns).enumerate();
            rows.fold(0u64, |sum, (row, elements)| {
                sum.wrapping_add(checksum.share(row, elements))
            })
        };
        let whole = sum(&matrix, 3);
        assert_ne!(whole, sum(&matrix, 2), "another shape");
        for i in 0..6 {
            let mut other = matrix.clone();
            other[i][3] ^= 0x80;
            assert_ne!(whole, sum(&other, 3), "a bit of element {i}");
            for j in 0..i {
                let mut other = matrix.clone();
                other.swap(i, j);
                assert_ne!(whole, sum(&other, 3), "{i} and {j}");
            }
        }
        // In parts, in any order, and by columns.
        let (left, right) = (Checksum::of_rows(0..1), Checksum::of_rows(1..3));
        let column = Checksum::of_columns(0..2);
        let parts = [
            right.share(1, &matrix[4..6]),
            column.share(0, &[matrix[0], matrix[3]]),
            right.share(0, &matrix[1..3]),
        ];
        assert_eq!(whole, parts.into_iter().fold(0, u64::wrapping_add));
        assert_eq!(
            column.share(0, &[matrix[0], matrix[3]]),
            left.share(0, &matrix[..1])
                .wrapping_add(left.share(1, &matrix[3..4]))
        );
    }
}
