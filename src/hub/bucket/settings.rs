//! Where the bucket is reached, and what an address of a bucket looks like.

use std::time::Duration;

use object_store::path::Path as Key;
use reqwest::Url;

use crate::error::{Error, Result};
use crate::hub::retry::RetryPolicy;

/// The variable that names another server than Google's.
const ENDPOINT_VARIABLE: &str = "ATTNSCOPE_BUCKET_ENDPOINT";

/// Longest key that Google Cloud Storage knows, in bytes.
const MAX_KEY: usize = 1024;

/// Longest time that a connection may take to open: a machine without a network is told so within half a
/// minute (see [`RetryPolicy::retries_before_contact`]).
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

/// Everything a [`Bucket`](super::Bucket) depends on; it reads no environment variable by itself, except
/// those of a proxy (`HTTPS_PROXY` and its like).
#[derive(Debug, Clone)]
pub struct BucketSettings {
    /// Base address of a server that speaks the same routes, such as a mirror; `None` is Google's own.
    pub endpoint: Option<String>,
    /// When and how often to try again.
    pub retry: RetryPolicy,
    /// Pieces that are fetched at the same time.
    pub connections: usize,
    /// Bytes of a piece, the last one of a file aside.
    pub piece: u64,
    /// How long a server may stay silent before the attempt counts as failed. A connection may take as long to
    /// open, but never more than 8 s.
    pub timeout: Duration,
}

impl Default for BucketSettings {
    fn default() -> Self {
        BucketSettings {
            endpoint: None,
            retry: RetryPolicy::default(),
            connections: 8,
            piece: 16 << 20,
            timeout: Duration::from_secs(20),
        }
    }
}

impl BucketSettings {
    /// The defaults, with the endpoint that `ATTNSCOPE_BUCKET_ENDPOINT` names if it is set.
    pub fn from_env() -> Result<Self> {
        let endpoint = match std::env::var(ENDPOINT_VARIABLE) {
            Ok(endpoint) if !endpoint.trim().is_empty() => Some(endpoint),
            Ok(_) | Err(std::env::VarError::NotPresent) => None,
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(Error::Usage(format!(
                    "{ENDPOINT_VARIABLE} is not valid Unicode"
                )));
            }
        };
        Ok(BucketSettings {
            endpoint,
            ..BucketSettings::default()
        })
    }

    /// Rejects what nothing can be fetched with.
    pub(super) fn check(&self) -> Result<()> {
        if self.connections == 0 || self.piece == 0 {
            return Err(Error::Usage(
                "a bucket needs at least one connection and pieces of at least one byte".to_owned(),
            ));
        }
        Ok(())
    }

    /// The checked endpoint, without a slash at the end.
    pub(super) fn endpoint(&self) -> Result<Option<Url>> {
        let Some(endpoint) = &self.endpoint else {
            return Ok(None);
        };
        let bad = |why: &str| Error::Usage(format!("{ENDPOINT_VARIABLE}: {why}"));
        let url = Url::parse(endpoint.trim()).map_err(|error| bad(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad(
                "an address that starts with https:// or http:// is needed",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("an address without ? and # is needed"));
        }
        Ok(Some(url))
    }
}

/// A bucket and the beginning of the keys in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bucket: String,
    /// Without slashes around it; empty for the whole bucket.
    pub(super) prefix: String,
}

impl Place {
    /// Reads `gs://bucket/prefix`.
    pub(super) fn parse(url: &str) -> Result<Place> {
        let bad = |why: &str| {
            Error::Usage(format!(
                "{url}: {why}; the address of a bucket is gs://bucket/prefix"
            ))
        };
        let rest = url
            .strip_prefix("gs://")
            .ok_or_else(|| bad("it does not start with gs://"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if bucket.is_empty() || !bucket.chars().all(is_name) {
            return Err(bad("it names no bucket"));
        }
        let prefix = key(prefix).map_err(|why| bad(&why))?;
        Ok(Place {
            bucket: bucket.to_owned(),
            prefix: prefix.as_ref().to_owned(),
        })
    }

    /// The key of `path`, which is relative to the prefix. The error says what is wrong with it.
    pub(super) fn key(&self, path: &str) -> Result<Key, String> {
        match (self.prefix.as_str(), path) {
            (prefix, "") => key(prefix),
            ("", path) => key(path),
            (prefix, path) => key(&format!("{prefix}/{path}")),
        }
    }

    /// `gs://bucket/prefix/path`, for messages.
    pub(super) fn url(&self, path: &str) -> String {
        let parts = [self.bucket.as_str(), self.prefix.as_str(), path];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        format!("gs://{}", parts.join("/"))
    }
}

/// A key as it is; nothing in it is decoded or encoded.
fn key(text: &str) -> Result<Key, String> {
    if text.len() > MAX_KEY {
        return Err(format!("a key has at most {MAX_KEY} bytes"));
    }
    Key::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_buckets() {
        let place = Place::parse("gs://axlearn-public/experiments/gala 7B/").unwrap();
        assert_eq!(place.bucket, "axlearn-public");
        assert_eq!(place.prefix, "experiments/gala 7B");
        assert_eq!(
            place.key("a/0.0").unwrap().as_ref(),
            "experiments/gala 7B/a/0.0"
        );
        assert_eq!(place.url("a"), "gs://axlearn-public/experiments/gala 7B/a");
        let whole = Place::parse("gs://bucket").unwrap();
        assert_eq!(whole.key("a%2F").unwrap().as_ref(), "a%2F");
        assert_eq!(whole.url(""), "gs://bucket");
        for bad in [
            "bucket/prefix",
            "s3://bucket/prefix",
            "gs://",
            "gs:///prefix",
            "gs://Bucket",
            "gs://bucket/a//b",
            "gs://bucket/../b",
            &format!("gs://bucket/{}", "x".repeat(1025)),
        ] {
            let error = Place::parse(bad).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad}: {error}");
        }
        assert!(place.key("../up").is_err());
    }

    #[test]
    fn an_endpoint_must_be_an_address() {
        let with = |endpoint: &str| BucketSettings {
            endpoint: Some(endpoint.to_owned()),
            ..BucketSettings::default()
        };
        for bad in [
            "localhost:80",
            "ftp://host",
            "http://host/?a=b",
            "http://host/#x",
            "",
        ] {
            let error = with(bad).endpoint().unwrap_err();
            assert!(error.to_string().contains(ENDPOINT_VARIABLE), "{error}");
        }
        assert!(with("https://host/mirror/").endpoint().unwrap().is_some());
    }
}
