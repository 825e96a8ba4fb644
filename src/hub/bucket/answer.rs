//! What the head of an answer means: whether it is about the object that was listed, and what a refusal says.

use reqwest::StatusCode;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap};

use super::BucketFile;
use crate::error::Error;
use crate::hub::refusal::{plain, retry_after};
use crate::hub::retry::Failure;

/// Status and headers of an answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
}

/// Why the answer is about another object than the listed one; `None` if nothing speaks against it.
pub(super) fn difference(
    status: StatusCode,
    headers: &HeaderMap,
    listed: &BucketFile,
) -> Option<String> {
    let text = |name| headers.get(name)?.to_str().ok();
    let size = match status {
        StatusCode::OK => text(CONTENT_LENGTH).and_then(|length| length.trim().parse().ok()),
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
            text(CONTENT_RANGE).and_then(whole_size)
        }
        _ => return None,
    };
    if let Some(size) = size.filter(|size| *size != listed.size) {
        return Some(format!("it has {size} bytes instead of {}", listed.size));
    }
    if status == StatusCode::RANGE_NOT_SATISFIABLE {
        return Some("it is shorter than it was".to_owned());
    }
    let (now, then) = (text(ETAG).map(bare)?, bare(listed.e_tag.as_deref()?));
    // Only an ETag that is a hash is sure to be written in the same way in lists and in answers.
    (is_hash(now) && is_hash(then) && now != then).then(|| changed(then, now))
}

/// Two ETags that differ, in words.
pub(super) fn changed(then: &str, now: &str) -> String {
    format!("its ETag was {} and is {}", bare(then), bare(now))
}

/// For an object that is not what it was when it was listed, or when its reading began.
pub(super) fn replaced(url: &str, why: &str) -> Error {
    Error::Network {
        what: url.to_owned(),
        message: format!("it has been replaced meanwhile ({why}); run the command again"),
    }
}

/// The size in `bytes 0-9/200` or `bytes */200`.
fn whole_size(content_range: &str) -> Option<u64> {
    content_range.rsplit_once('/')?.1.trim().parse().ok()
}

fn bare(e_tag: &str) -> &str {
    let e_tag = e_tag.trim();
    e_tag.strip_prefix("W/").unwrap_or(e_tag).trim_matches('"')
}

fn is_hash(e_tag: &str) -> bool {
    e_tag.len() == 32 && e_tag.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What an answer that is no success means. `said` is text in which the server's own words are somewhere.
pub(super) fn refusal(url: &str, answer: &Answer, said: &str) -> Failure {
    let status = answer.status;
    let said = server_words(said)
        .map(|said| format!(" (the server says: {said})"))
        .unwrap_or_default();
    let temporary = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
    );
    if status.is_server_error() || temporary {
        return Failure::Transient {
            message: format!("the server answers {status}{said}"),
            after: retry_after(&answer.headers),
            connected: true,
        };
    }
    let message = match status {
        StatusCode::NOT_FOUND => "there is no such bucket or object; check the spelling",
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "access is refused; only what everybody may read can be read here"
        }
        _ => {
            return Failure::Final(Error::Network {
                what: url.to_owned(),
                message: format!("the server answers {status}{said}"),
            });
        }
    };
    Failure::Final(Error::NotInBucket {
        url: url.to_owned(),
        message: format!("{message}{said}"),
    })
}

/// What stands between the tags that an error document puts its message into.
fn server_words(text: &str) -> Option<String> {
    ["Details", "Message"].iter().find_map(|tag| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        let (words, _) = rest.split_once(&format!("</{tag}>"))?;
        Some(plain(words)).filter(|words| !words.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};

    const HASH: &str = "0123456789abcdef0123456789abcdef";

    fn listed(e_tag: Option<&str>) -> BucketFile {
        BucketFile {
            path: "a".to_owned(),
            size: 100,
            e_tag: e_tag.map(str::to_owned),
        }
    }

    fn differs(status: u16, headers: &[(HeaderName, &str)], listed: &BucketFile) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        let status = StatusCode::from_u16(status).unwrap();
        difference(status, &HeaderMap::from_iter(headers), listed).is_some()
    }

    #[test]
    fn a_replaced_object_shows() {
        let file = listed(Some(&format!("\"{HASH}\"")));
        let etag = |text: &'static str| (ETAG, text);
        let same = etag("\"0123456789abcdef0123456789abcdef\"");
        let other = etag("\"ffffffffffffffffffffffffffffffff\"");
        let range = |text: &'static str| (CONTENT_RANGE, text);
        assert!(!differs(
            206,
            &[range("bytes 5-9/100"), same.clone()],
            &file
        ));
        assert!(!differs(
            200,
            &[(CONTENT_LENGTH, "100"), same.clone()],
            &file
        ));
        assert!(differs(206, &[range("bytes 5-9/101"), same.clone()], &file));
        assert!(differs(200, &[(CONTENT_LENGTH, "99"), same.clone()], &file));
        assert!(differs(416, &[range("bytes */50")], &file));
        assert!(differs(416, &[], &file));
        assert!(differs(
            206,
            &[range("bytes 5-9/100"), other.clone()],
            &file
        ));
        // An ETag that is no hash may be written in another way in a list.
        assert!(!differs(
            206,
            &[range("bytes 5-9/100"), etag("\"-CJ0=\"")],
            &file
        ));
        assert!(!differs(
            206,
            &[range("bytes 5-9/100"), other],
            &listed(None)
        ));
        // An error is about nothing.
        assert!(!differs(503, &[(CONTENT_LENGTH, "7")], &file));
    }

    #[test]
    fn the_servers_words_are_found() {
        let text =
            "x: <Error><Code>A</Code><Message>Denied.</Message><Details>Anon\nymous</Details>";
        assert_eq!(server_words(text).as_deref(), Some("Anon ymous"));
        assert_eq!(
            server_words("<Message>gone</Message>").as_deref(),
            Some("gone")
        );
        assert_eq!(server_words("<Message></Message>"), None);
        assert_eq!(server_words("nothing"), None);
    }
}
