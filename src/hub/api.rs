//! The Hub's HTTP routes: which commit a revision is, what it holds, and the bytes of a file.
//!
//! [`Api::commit`] and [`Api::tree`] try again by themselves. [`Api::open`] makes one attempt and says
//! whether another may help ([`Failure`]): only the download knows how far it has come.

use std::sync::atomic::{AtomicBool, Ordering};

use hf_hub::{HFClient, split_id};
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_RANGE, HeaderMap, HeaderValue, LINK, RANGE,
};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;

use super::listing::{Place, RepoFile, RepoKind, is_commit, is_safe_path, is_sha256};
use super::refusal::{Asker, cause, transport};
use super::retry::{Failure, OR_OFFLINE, Retries, RetryPolicy};
use super::settings::HubSettings;
use crate::error::{Error, Result};

/// A tree comes in pages of 1000 entries; a server that never stops sending pages is cut off here.
const MAX_PAGES: usize = 1000;

pub(super) struct Api {
    hub: HFClient,
    http: Client,
    endpoint: Url,
    authorization: Option<HeaderValue>,
    retry: RetryPolicy,
    asker: Asker,
    /// Whether the server has answered a request for what it holds.
    contact: AtomicBool,
}

/// A file's bytes as they arrive.
pub(super) struct Body {
    /// Where in the file the first byte belongs: as asked for, or 0 if the server ignores ranges.
    pub(super) offset: u64,
    response: Response,
}

impl Body {
    /// The next bytes; `None` at the end of the response, which need not be the end of the file.
    /// An error says why the connection broke.
    pub(super) async fn next(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, String> {
        self.response.chunk().await.map_err(|error| cause(&error))
    }
}

impl Api {
    pub(super) fn new(settings: &HubSettings) -> Result<Api> {
        let bad_endpoint = |why: String| Error::Usage(format!("HF_ENDPOINT: {why}"));
        let endpoint =
            Url::parse(&settings.endpoint).map_err(|error| bad_endpoint(error.to_string()))?;
        if !matches!(endpoint.scheme(), "http" | "https") {
            return Err(bad_endpoint(
                "an address that starts with https:// or http:// is needed".to_owned(),
            ));
        }
        let authorization = match &settings.token {
            None => None,
            Some(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {}", token.secret()))
                    .map_err(|_| {
                        Error::Usage("HF_TOKEN has characters that no token can have".to_owned())
                    })?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let cannot_start = |why: String| Error::Network {
            what: "the HTTP client".to_owned(),
            message: why,
        };
        let http = Client::builder()
            .user_agent(concat!("attnscope/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.timeout)
            .read_timeout(settings.timeout)
            .referer(false)
            .build()
            .map_err(|error| cannot_start(error.to_string()))?;
        let hub = HFClient::builder()
            .endpoint(settings.endpoint.clone())
            .client(http.clone())
            .cache_enabled(false)
            .cache_dir(settings.cache.clone())
            // Without a token hf-hub looks for one in the environment by itself, past these settings. One
            // that no header can carry keeps it from looking, and is not sent.
            .token(settings.token.as_ref().map_or("\n", |token| token.secret()))
            .retry_max_attempts(0)
            .build()
            .map_err(|error| cannot_start(error.to_string()))?;
        let mut shown = endpoint.clone();
        // Whatever follows `user:` in an address is no business of an error message.
        let _ = shown
            .set_username("")
            .and_then(|()| shown.set_password(None));
        let asker = Asker {
            endpoint: shown.as_str().trim_end_matches('/').to_owned(),
            with_token: authorization.is_some(),
        };
        Ok(Api {
            hub,
            http,
            endpoint,
            authorization,
            retry: settings.retry,
            asker,
            contact: AtomicBool::new(false),
        })
    }

    /// The commit that a branch or tag stands for now.
    pub(super) async fn commit(&self, place: Place<'_>) -> Result<String> {
        let (owner, name) = split_id(place.repo);
        let sha = self.repeat(place, async || {
            let revision = place.revision;
            let sha = match place.kind {
                RepoKind::Model => {
                    let repo = self.hub.model(owner, name);
                    let info = repo.info().revision(revision).send();
                    info.await.map(|info| info.sha)
                }
                RepoKind::Dataset => {
                    let repo = self.hub.dataset(owner, name);
                    let info = repo.info().revision(revision).send();
                    info.await.map(|info| info.sha)
                }
            };
            sha.map_err(|error| self.asker.hub_failure(error, place))
        });
        // It becomes a directory's name.
        let sha = sha.await?.filter(|sha| is_commit(sha));
        sha.ok_or_else(|| Error::Network {
            what: place.to_string(),
            message: "the server states no commit; is HF_ENDPOINT a Hub?".to_owned(),
        })
    }

    /// All files of a commit, sorted by path, each with a checked name and checksum.
    pub(super) async fn tree(&self, place: Place<'_>) -> Result<Vec<RepoFile>> {
        let mut files: Vec<RepoFile> = Vec::new();
        let api = ["api", place.kind.plural()].into_iter();
        let tree = ["tree", place.revision];
        let mut url = self.url(api.chain(place.repo.split('/')).chain(tree));
        url.set_query(Some("recursive=true"));
        for _ in 0..MAX_PAGES {
            let page = self.repeat(place, async || self.tree_page(&url, place).await);
            let (entries, next) = page.await?;
            for entry in entries.into_iter().filter(|entry| entry.kind == "file") {
                files.push(entry.into_file().map_err(|why| place.not_on_hub(why))?);
            }
            match next {
                Some(next) => url = next,
                None => {
                    files.sort_by(|a, b| a.path.cmp(&b.path));
                    return Ok(files);
                }
            }
        }
        Err(place.not_on_hub(format!(
            "the list of its files has more than {MAX_PAGES} pages"
        )))
    }

    /// One page of the files of a commit, and the address of the next page.
    async fn tree_page(
        &self,
        url: &Url,
        place: Place<'_>,
    ) -> Result<(Vec<TreeEntry>, Option<Url>), Failure> {
        let mut request = self.http.get(url.clone());
        // The next page's address comes from the server. It may be another host's (mirrors pass on the
        // original's), and that host has no business with the token.
        if url.origin() == self.endpoint.origin() {
            request = request.headers(self.authorization());
        }
        let response = request.send().await.map_err(transport)?;
        let response = self.asker.check(response, place, None)?;
        let unusable = |why: String| Error::Network {
            what: place.to_string(),
            message: format!("the list of files cannot be read ({why}); is HF_ENDPOINT a Hub?"),
        };
        let next = next_page(response.headers()).map(|next| url.join(&next));
        let next = next
            .transpose()
            .map_err(|error| unusable(error.to_string()))?;
        let text = response.bytes().await.map_err(transport)?;
        let entries = serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
        Ok((entries, next))
    }

    async fn repeat<T>(
        &self,
        place: Place<'_>,
        mut attempt: impl AsyncFnMut() -> Result<T, Failure>,
    ) -> Result<T> {
        let what = place.to_string();
        let contact = self.contact.load(Ordering::Relaxed);
        let mut retries = Retries::new(&self.retry, &what, contact, OR_OFFLINE);
        loop {
            match attempt().await {
                Ok(value) => {
                    self.contact.store(true, Ordering::Relaxed);
                    return Ok(value);
                }
                Err(failure) => tokio::time::sleep(retries.next(failure)?).await,
            }
        }
    }

    /// Starts to read a file of a commit at byte `offset`.
    pub(super) async fn open(
        &self,
        place: Place<'_>,
        file: &RepoFile,
        offset: u64,
    ) -> Result<Body, Failure> {
        let prefix = match place.kind {
            RepoKind::Model => None,
            RepoKind::Dataset => Some("datasets"),
        };
        let repo = prefix.into_iter().chain(place.repo.split('/'));
        let resolve = ["resolve", place.revision].into_iter();
        let url = self.url(repo.chain(resolve).chain(file.path.split('/')));
        let request = || {
            // An encoded body has other byte positions than the file.
            let request = self
                .http
                .get(url.clone())
                .header(ACCEPT_ENCODING, "identity");
            request.headers(self.authorization())
        };
        let mut response = match offset {
            0 => request().send().await,
            _ => {
                request()
                    .header(RANGE, format!("bytes={offset}-"))
                    .send()
                    .await
            }
        }
        .map_err(transport)?;
        if offset > 0 && response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            response = request().send().await.map_err(transport)?;
        }
        let response = self.asker.check(response, place, Some(&file.path))?;

        let (start, rest) = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let stated = response
                    .headers()
                    .get(CONTENT_RANGE)
                    .and_then(|value| value.to_str().ok());
                match stated.and_then(range_start) {
                    Some(start) if start == offset => (offset, file.size - offset),
                    _ => {
                        return Err(Failure::transient(
                            "the server sent another part of the file than was asked for",
                        ));
                    }
                }
            }
            // The whole file, whatever was asked for.
            _ => (0, file.size),
        };
        match response.content_length() {
            Some(length) if length != rest => Err(Failure::transient(format!(
                "the server sends {length} bytes where {rest} are missing of the {} that the Hub states",
                file.size
            ))),
            _ => Ok(Body {
                offset: start,
                response,
            }),
        }
    }

    /// The endpoint's address with path segments added, each percent-encoded (a `/` in a segment too).
    fn url<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    fn authorization(&self) -> HeaderMap {
        self.authorization
            .iter()
            .map(|value| (AUTHORIZATION, value.clone()))
            .collect()
    }
}

/// An entry of the tree as the Hub sends it. hf-hub's own type looks for the checksum under another name
/// than the Hub uses here, and so has none.
#[derive(Deserialize)]
struct TreeEntry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    oid: String,
    #[serde(default)]
    size: u64,
    lfs: Option<Lfs>,
    #[serde(rename = "xetHash")]
    xet_hash: Option<String>,
}

#[derive(Deserialize)]
struct Lfs {
    /// SHA-256 of the content.
    oid: String,
    size: Option<u64>,
}

impl TreeEntry {
    /// Checks all that will become part of a path; the error says what is wrong.
    fn into_file(self) -> Result<RepoFile, String> {
        if !is_safe_path(&self.path) {
            return Err(format!(
                "it lists a file with the unsafe name {:?}; nothing was downloaded",
                self.path
            ));
        }
        if !is_commit(&self.oid) || self.lfs.as_ref().is_some_and(|lfs| !is_sha256(&lfs.oid)) {
            return Err(format!("it lists {} without a usable checksum", self.path));
        }
        let (size, sha256) = match self.lfs {
            Some(lfs) => (lfs.size.unwrap_or(self.size), Some(lfs.oid)),
            None => (self.size, None),
        };
        Ok(RepoFile {
            path: self.path,
            size,
            sha256,
            git_oid: Some(self.oid),
            xet_hash: self.xet_hash,
        })
    }
}

/// The address with `rel="next"` of a `Link` header.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let links = headers.get(LINK)?.to_str().ok()?;
    links.split(',').find_map(|link| {
        let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        parameters
            .contains("rel=\"next\"")
            .then(|| address.to_owned())
    })
}

/// The first position in `bytes 100-199/200`.
fn range_start(content_range: &str) -> Option<u64> {
    content_range
        .strip_prefix("bytes ")?
        .split_once('-')?
        .0
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: reqwest::header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn headers_are_understood() {
        let link = headers(
            LINK,
            "<https://h/p?a=1>; rel=\"prev\", <https://h/p?cursor=x>; rel=\"next\"",
        );
        assert_eq!(next_page(&link).as_deref(), Some("https://h/p?cursor=x"));
        assert_eq!(
            next_page(&headers(LINK, "<https://h/p>; rel=\"prev\"")),
            None
        );
        assert_eq!(range_start("bytes 100-199/200"), Some(100));
        assert_eq!(range_start("bytes */200"), None);
    }

    #[test]
    fn addresses_are_encoded_segment_by_segment() {
        let settings = HubSettings::new("https://host/mirror/", "/tmp/x");
        let api = Api::new(&settings).unwrap();
        let url = api.url([
            "datasets",
            "a",
            "resolve",
            "refs/convert/parquet",
            "x #?.parquet",
        ]);
        assert_eq!(
            url.as_str(),
            "https://host/mirror/datasets/a/resolve/refs%2Fconvert%2Fparquet/x%20%23%3F.parquet"
        );
    }

    #[test]
    fn an_endpoint_must_be_an_address() {
        for bad in ["", "huggingface.co", "file:///x", "https://"] {
            assert!(
                matches!(
                    Api::new(&HubSettings::new(bad, "/tmp/x")),
                    Err(Error::Usage(_))
                ),
                "{bad}"
            );
        }
    }
}
