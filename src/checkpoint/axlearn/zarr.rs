//! One array of an axlearn checkpoint: a directory with `.zarray` (zarr v2) and a file per chunk.

use serde::Deserialize;

/// The element types that zarr v2 arrays of axlearn have, by the names of NumPy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ElementType {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Float16,
    Bfloat16,
    Float32,
    Float64,
}

/// Element type, name in `index`, name in `.zarray`, bytes. TensorStore calls bfloat16 by that name in both; it
/// is no NumPy type.
const ELEMENT_TYPES: [(ElementType, &str, &str, usize); 13] = [
    (ElementType::Bool, "bool", "|b1", 1),
    (ElementType::Int8, "int8", "|i1", 1),
    (ElementType::Int16, "int16", "<i2", 2),
    (ElementType::Int32, "int32", "<i4", 4),
    (ElementType::Int64, "int64", "<i8", 8),
    (ElementType::Uint8, "uint8", "|u1", 1),
    (ElementType::Uint16, "uint16", "<u2", 2),
    (ElementType::Uint32, "uint32", "<u4", 4),
    (ElementType::Uint64, "uint64", "<u8", 8),
    (ElementType::Float16, "float16", "<f2", 2),
    (ElementType::Bfloat16, "bfloat16", "bfloat16", 2),
    (ElementType::Float32, "float32", "<f4", 4),
    (ElementType::Float64, "float64", "<f8", 8),
];

impl ElementType {
    fn row(self) -> &'static (ElementType, &'static str, &'static str, usize) {
        // Every variant is in the table: a test goes over them.
        ELEMENT_TYPES
            .iter()
            .find(|row| row.0 == self)
            .unwrap_or(&ELEMENT_TYPES[0])
    }

    /// The name in `index`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        self.row().3
    }

    fn from_typestr(typestr: &str) -> Option<Self> {
        let row = ELEMENT_TYPES.iter().find(|row| row.2 == typestr);
        row.map(|row| row.0)
    }
}

/// How the chunks of an array are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compressor {
    /// Not at all.
    None,
    /// One Zstandard frame each.
    Zstd,
}

/// What `.zarray` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayLayout {
    /// Dimensions, outermost first; none for a scalar.
    pub shape: Vec<usize>,
    /// Dimensions of a chunk. They divide `shape`: axlearn's chunks are the shards of its training mesh.
    pub chunks: Vec<usize>,
    /// Type of the elements, little-endian.
    pub element_type: ElementType,
    /// How chunks are packed.
    pub compressor: Compressor,
    /// What stands between the indices in a chunk's name.
    separator: String,
}

#[derive(Deserialize)]
struct RawLayout {
    zarr_format: u32,
    shape: Vec<usize>,
    chunks: Vec<usize>,
    dtype: serde_json::Value,
    order: String,
    compressor: Option<RawCompressor>,
    #[serde(default)]
    filters: Option<Vec<serde_json::Value>>,
    #[serde(default)]
    dimension_separator: Option<String>,
}

#[derive(Deserialize)]
struct RawCompressor {
    id: String,
}

impl ArrayLayout {
    /// Reads `.zarray`. The error says what is wrong, for the caller to say where.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let raw: RawLayout =
            serde_json::from_slice(text).map_err(|error| format!("is not valid: {error}"))?;
        let unsupported =
            |field: &str, found: String| format!("has the {field} {found}, which is not supported");
        if raw.zarr_format != 2 {
            return Err(unsupported("zarr_format", raw.zarr_format.to_string()));
        }
        if raw.order != "C" && raw.shape.len() > 1 {
            return Err(unsupported("order", format!("`{}`", raw.order)));
        }
        if let Some(filters) = raw.filters.filter(|filters| !filters.is_empty()) {
            return Err(unsupported("filters", format!("{filters:?}")));
        }
        let element_type = raw.dtype.as_str().and_then(ElementType::from_typestr);
        let Some(element_type) = element_type else {
            return Err(unsupported("dtype", raw.dtype.to_string()));
        };
        let compressor = match raw.compressor {
            None => Compressor::None,
            Some(compressor) if compressor.id == "zstd" => Compressor::Zstd,
            Some(other) => return Err(unsupported("compressor", format!("`{}`", other.id))),
        };
        let separator = raw.dimension_separator.unwrap_or_else(|| ".".into());
        if separator != "." && separator != "/" {
            return Err(unsupported("dimension_separator", format!("`{separator}`")));
        }
        if raw.shape.len() != raw.chunks.len() {
            return Err(format!(
                "has the shape {:?}, but chunks of {} dimensions",
                raw.shape,
                raw.chunks.len()
            ));
        }
        for (&size, &chunk) in raw.shape.iter().zip(&raw.chunks) {
            if size == 0 || chunk == 0 || !size.is_multiple_of(chunk) {
                return Err(format!(
                    "has the shape {:?} and chunks {:?}, which do not divide it; axlearn's always do",
                    raw.shape, raw.chunks
                ));
            }
        }
        let bytes = raw
            .shape
            .iter()
            .try_fold(element_type.size(), |bytes, &size| bytes.checked_mul(size));
        if bytes.is_none_or(|bytes| bytes > isize::MAX as usize) {
            return Err(format!(
                "has the shape {:?}, which no memory can hold",
                raw.shape
            ));
        }
        Ok(Self {
            shape: raw.shape,
            chunks: raw.chunks,
            element_type,
            compressor,
            separator,
        })
    }

    /// Chunks along each axis.
    pub fn grid(&self) -> Vec<usize> {
        let counts = self.shape.iter().zip(&self.chunks);
        counts.map(|(size, chunk)| size / chunk).collect()
    }

    /// The place in the grid of every chunk, the last axis varying fastest.
    pub fn places(&self) -> impl Iterator<Item = Vec<usize>> + use<> {
        let grid = self.grid();
        let count: usize = grid.iter().product();
        (0..count).map(move |chunk| unravel(chunk, &grid))
    }

    /// The file name of the chunk at a place in the grid.
    pub fn chunk_name(&self, place: &[usize]) -> String {
        if place.is_empty() {
            return "0".into();
        }
        let indices: Vec<String> = place.iter().map(usize::to_string).collect();
        indices.join(&self.separator)
    }

    /// Bytes of a chunk when it is unpacked.
    pub fn chunk_bytes(&self) -> usize {
        self.chunks.iter().product::<usize>() * self.element_type.size()
    }

    /// Elements of the whole array.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The multi-index of the `flat`-th element of a box of this `shape`, the last axis varying fastest.
pub fn unravel(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut indices = vec![0; shape.len()];
    for (index, &size) in indices.iter_mut().zip(shape).rev() {
        *index = flat % size;
        flat /= size;
    }
    indices
}

#[cfg(test)]
mod tests {
    use super::*;

    const AS_AXLEARN_WRITES_IT: &str = r#"{"chunks":[3,3,16,4,16],"compressor":{"id":"zstd","level":1},"dimension_separator":".","dtype":"<f4","fill_value":null,"filters":null,"order":"C","shape":[3,3,64,4,16],"zarr_format":2}"#;

    #[test]
    fn what_axlearn_writes() {
        let layout = ArrayLayout::parse(AS_AXLEARN_WRITES_IT.as_bytes()).unwrap();
        assert_eq!(layout.grid(), [1, 1, 4, 1, 1]);
        assert_eq!(layout.chunk_name(&[0, 0, 3, 0, 0]), "0.0.3.0.0");
        assert_eq!(layout.chunk_bytes(), 3 * 3 * 16 * 4 * 16 * 4);
        assert_eq!(layout.places().nth(2), Some(vec![0, 0, 2, 0, 0]));
    }

    #[test]
    fn a_scalar_is_one_chunk_called_0() {
        let text = r#"{"chunks":[],"compressor":null,"dtype":"bfloat16","order":"C","shape":[],"zarr_format":2}"#;
        let layout = ArrayLayout::parse(text.as_bytes()).unwrap();
        let places: Vec<Vec<usize>> = layout.places().collect();
        assert_eq!(places, [Vec::<usize>::new()]);
        assert_eq!(layout.chunk_name(&places[0]), "0");
        assert_eq!(layout.chunk_bytes(), 2);
        assert_eq!(layout.compressor, Compressor::None);
    }

    #[test]
    fn every_element_type_is_in_the_table() {
        for (element_type, name, typestr, size) in ELEMENT_TYPES {
            assert_eq!(
                (element_type.name(), element_type.size()),
                (name, size),
                "{typestr}"
            );
            assert_eq!(ElementType::from_typestr(typestr), Some(element_type));
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (from, to, named) in [
            (r#""order":"C""#, r#""order":"F""#, "order `F`"),
            (r#""id":"zstd""#, r#""id":"blosc""#, "compressor `blosc`"),
            (
                r#""filters":null"#,
                r#""filters":[{"id":"delta"}]"#,
                "filters",
            ),
            (r#""dtype":"<f4""#, r#""dtype":">f4""#, r#"dtype ">f4""#),
            (r#""dtype":"<f4""#, r#""dtype":[["a","<f4"]]"#, "dtype"),
            (r#""zarr_format":2"#, r#""zarr_format":3"#, "zarr_format 3"),
            (
                r#""dimension_separator":".""#,
                r#""dimension_separator":"-""#,
                "dimension_separator",
            ),
            ("[3,3,16,4,16]", "[3,3,15,4,16]", "do not divide"),
            ("[3,3,16,4,16]", "[3,3,0,4,16]", "do not divide"),
            ("[3,3,16,4,16]", "[3,3,16,4]", "4 dimensions"),
            (
                "\"shape\":[3,3,64,4,16]",
                "\"shape\":[3,3,64,4,9223372036854775807]",
                "do not divide",
            ),
            (
                "\"shape\":[3,3,64,4,16]",
                "\"shape\":[3,3,64,4,4611686018427387904]",
                "no memory",
            ),
            ("\"shape\"", "\"form\"", "missing field `shape`"),
        ] {
            let text = AS_AXLEARN_WRITES_IT.replace(from, to);
            assert_ne!(text, AS_AXLEARN_WRITES_IT, "{from}");
            let error = ArrayLayout::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(named), "{named}: {error}");
        }
    }
}
