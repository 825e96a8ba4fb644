//! CRC32C, the checksum that Google Cloud Storage states for every object.

use reqwest::header::HeaderMap;

/// May occur several times, or hold several checksums with commas between.
const HEADER: &str = "x-goog-hash";

/// The CRC32C of the whole object, whatever range of it was asked for; `None` if the server states none.
pub(super) fn stated(headers: &HeaderMap) -> Option<u32> {
    let values = headers.get_all(HEADER).iter();
    let parts = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    parts
        .filter_map(|part| part.trim().strip_prefix("crc32c="))
        .find_map(decode)
}

/// Four big-endian bytes in base64.
fn decode(text: &str) -> Option<u32> {
    let digits = text.strip_suffix("==").filter(|digits| digits.len() == 6)?;
    let mut bits: u64 = 0;
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u64::from(value);
    }
    // 36 bits, of which the last four are padding.
    u32::try_from(bits >> 4).ok()
}

/// As messages show it.
pub(super) fn shown(crc32c: u32) -> String {
    format!("crc32c {crc32c:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_static(value));
        }
        headers
    }

    /// The example of Google's documentation of the header; the number is from Python's `base64`.
    #[test]
    fn the_header_is_understood_in_all_its_forms() {
        let expected = Some(0x9f4d_f1e8);
        for values in [
            &["crc32c=n03x6A==", "md5=Ojk9c3dhfxgoKVVHYwFbHQ=="][..],
            &["md5=Ojk9c3dhfxgoKVVHYwFbHQ==", "crc32c=n03x6A=="],
            &["crc32c=n03x6A==,md5=Ojk9c3dhfxgoKVVHYwFbHQ=="],
            &["md5=Ojk9c3dhfxgoKVVHYwFbHQ==, crc32c=n03x6A=="],
        ] {
            assert_eq!(stated(&headers(values)), expected, "{values:?}");
        }
        for values in [
            &[][..],
            &["md5=Ojk9c3dhfxgoKVVHYwFbHQ=="],
            &["crc32c="],
            &["crc32c=n03x6A"],
            &["crc32c=n03x6!=="],
        ] {
            assert_eq!(stated(&headers(values)), None, "{values:?}");
        }
    }

    /// Check values: "123456789" from the catalogue of CRCs, 32 zero bytes from RFC 3720 (B.4).
    #[test]
    fn the_crc_is_castagnolis() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c::crc32c(b""), 0);
    }
}
