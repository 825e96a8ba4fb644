//! Large arrays of numbers within a page's data.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::Serialize;

/// Numbers as a JavaScript typed array: little-endian bytes in base64, a third longer than the numbers are, where
/// decimal digits are several times as long and slow to parse. In JSON
/// `{"type": "f32", "length": 2, "deflated": false, "data": "…"}`.
///
/// Scripts read it with `page.array` (or, deflated, with `await page.inflated`). Values that are not finite stay so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Array {
    #[serde(rename = "type")]
    element: &'static str,
    length: usize,
    deflated: bool,
    data: String,
}

impl Array {
    /// The values as they are, for what a page needs at once.
    pub fn new<T: Element>(values: &[T]) -> Self {
        Self {
            element: T::NAME,
            length: values.len(),
            deflated: false,
            data: BASE64.encode(bytes(values)),
        }
    }

    /// The values compressed (zlib), for what a page needs later: browsers inflate it only asynchronously.
    pub fn deflated<T: Element>(values: &[T]) -> Self {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        // A Vec refuses nothing, so this cannot fail; if it did, the plain bytes are as good.
        let deflated = encoder
            .write_all(&bytes(values))
            .and_then(|()| encoder.finish());
        match deflated {
            Ok(deflated) => Self {
                element: T::NAME,
                length: values.len(),
                deflated: true,
                data: BASE64.encode(deflated),
            },
            Err(_) => Self::new(values),
        }
    }

    /// Bytes of the data, before base64.
    pub(crate) fn packed_bytes(&self) -> usize {
        self.data.len() / 4 * 3
    }
}

fn bytes<T: Element>(values: &[T]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of_val(values));
    for &value in values {
        value.append(&mut bytes);
    }
    bytes
}

/// What an [`Array`] can hold.
pub trait Element: Copy {
    /// As the page's scripts call it.
    const NAME: &'static str;

    /// Appends the value's little-endian bytes.
    fn append(self, bytes: &mut Vec<u8>);
}

macro_rules! elements {
    ($($type:ident),*) => {
        $(impl Element for $type {
            const NAME: &'static str = stringify!($type);

            fn append(self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_le_bytes());
            }
        })*
    };
}

elements!(u8, u16, u32, i32, f32, f64);

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::ZlibDecoder;

    use super::*;

    /// `base64.b64encode(numpy.array([1, -2.5], "<f4").tobytes())` and so on.
    #[test]
    fn arrays_are_little_endian_bytes_in_base64() {
        let json = |array: &Array| serde_json::to_value(array).unwrap();
        assert_eq!(
            json(&Array::new(&[1f32, -2.5])),
            serde_json::json!({"type": "f32", "length": 2, "deflated": false, "data": "AACAPwAAIMA="})
        );
        assert_eq!(json(&Array::new(&[1u16, 256, 65535]))["data"], "AQAAAf//");
        assert_eq!(json(&Array::new(&[f64::NAN]))["data"], "AAAAAAAA+H8=");
        assert_eq!(json(&Array::new::<u8>(&[]))["data"], "");
    }

    #[test]
    fn deflated_arrays_inflate_to_the_same_bytes() {
        let values: Vec<u32> = (0..1000).map(|i| i / 7).collect();
        let array = Array::deflated(&values);
        assert!(array.deflated && array.length == 1000 && array.element == "u32");
        let compressed = BASE64.decode(&array.data).unwrap();
        assert!(compressed.len() < 2000);
        let mut inflated = Vec::new();
        ZlibDecoder::new(&compressed[..])
            .read_to_end(&mut inflated)
            .unwrap();
        let expected: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        assert_eq!(inflated, expected);
    }
}
