//! The Hub's HTTP routes: which commit a revision is, what it holds, and the bytes of a file.
//!
//! [`Api::commit`] and [`Api::tree`] try again by themselves. [`Api::open`] makes one attempt and says
//! whether another may help ([`Failure`]): only the download knows how far it has come.

use std::time::Duration;

use hf_hub::{HFClient, HFError, split_id};
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_RANGE, HeaderMap, HeaderValue, LINK, RANGE, RETRY_AFTER,
};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;

use super::listing::{RepoFile, RepoKind, describe, is_commit, is_safe_path, is_sha256};
use super::retry::{Failure, Retries, RetryPolicy};
use super::settings::HubSettings;
use crate::error::{Error, Result};

/// A tree comes in pages of 1000 entries; a server that never stops sending pages is cut off here.
const MAX_PAGES: usize = 1000;

/// Longest part of a server's own message that is passed on.
const MAX_SERVER_MESSAGE: usize = 300;

pub(super) struct Api {
    hub: HFClient,
    http: Client,
    endpoint: Url,
    authorization: Option<HeaderValue>,
    retry: RetryPolicy,
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
        Ok(Api {
            hub,
            http,
            endpoint,
            authorization,
            retry: settings.retry,
        })
    }

    /// The commit that a branch or tag stands for now.
    pub(super) async fn commit(
        &self,
        kind: RepoKind,
        repo: &str,
        revision: &str,
    ) -> Result<String> {
        let what = describe(kind, repo, revision);
        let (owner, name) = split_id(repo);
        let sha = self.repeat(&what, async || {
            let sha = match kind {
                RepoKind::Model => self
                    .hub
                    .model(owner, name)
                    .info()
                    .revision(revision)
                    .send()
                    .await
                    .map(|info| info.sha),
                RepoKind::Dataset => self
                    .hub
                    .dataset(owner, name)
                    .info()
                    .revision(revision)
                    .send()
                    .await
                    .map(|info| info.sha),
            };
            sha.map_err(|error| self.hub_failure(error, kind, repo, revision))
        });
        // It becomes a directory's name.
        sha.await?
            .filter(|sha| is_commit(sha))
            .ok_or_else(|| Error::Network {
                what: what.clone(),
                message: "the server states no commit; is HF_ENDPOINT a Hub?".to_owned(),
            })
    }

    /// All files of a commit, sorted by path, each with a checked name and checksum.
    pub(super) async fn tree(
        &self,
        kind: RepoKind,
        repo: &str,
        commit: &str,
    ) -> Result<Vec<RepoFile>> {
        let what = describe(kind, repo, commit);
        let refuse = |message: String| Error::NotOnHub {
            repo: format!("{kind} {repo}"),
            revision: commit.to_owned(),
            message,
        };
        let mut files: Vec<RepoFile> = Vec::new();
        let mut url = self.url(
            ["api", kind.plural()]
                .into_iter()
                .chain(repo.split('/'))
                .chain(["tree", commit]),
        );
        url.set_query(Some("recursive=true"));
        for _ in 0..MAX_PAGES {
            let (entries, next) = self
                .repeat(&what, async || {
                    self.tree_page(&url, kind, repo, commit).await
                })
                .await?;
            for entry in entries.into_iter().filter(|entry| entry.kind == "file") {
                files.push(entry.into_file().map_err(refuse)?);
            }
            match next {
                Some(next) => url = next,
                None => {
                    files.sort_by(|a, b| a.path.cmp(&b.path));
                    return Ok(files);
                }
            }
        }
        Err(refuse(format!(
            "the list of its files has more than {MAX_PAGES} pages"
        )))
    }

    /// One page of the files of a commit, and the address of the next page.
    async fn tree_page(
        &self,
        url: &Url,
        kind: RepoKind,
        repo: &str,
        commit: &str,
    ) -> Result<(Vec<TreeEntry>, Option<Url>), Failure> {
        let mut request = self.http.get(url.clone());
        // The next page's address comes from the server. It may be another host's (mirrors pass on the
        // original's), and that host has no business with the token.
        if url.origin() == self.endpoint.origin() {
            request = request.headers(self.authorization());
        }
        let response = request.send().await.map_err(transport)?;
        let response = self.check(response, kind, repo, commit, None)?;
        let next = next_page(response.headers()).and_then(|next| url.join(&next).ok());
        let text = response.bytes().await.map_err(transport)?;
        let entries = serde_json::from_slice(&text).map_err(|error| Error::Network {
            what: describe(kind, repo, commit),
            message: format!("the list of files cannot be read ({error}); is HF_ENDPOINT a Hub?"),
        })?;
        Ok((entries, next))
    }

    async fn repeat<T>(
        &self,
        what: &str,
        mut attempt: impl AsyncFnMut() -> Result<T, Failure>,
    ) -> Result<T> {
        let mut retries = Retries::new(&self.retry, what);
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(failure) => tokio::time::sleep(retries.next(failure)?).await,
            }
        }
    }

    /// Starts to read a file of a commit at byte `offset`.
    pub(super) async fn open(
        &self,
        kind: RepoKind,
        repo: &str,
        commit: &str,
        file: &RepoFile,
        offset: u64,
    ) -> Result<Body, Failure> {
        let prefix = match kind {
            RepoKind::Model => None,
            RepoKind::Dataset => Some("datasets"),
        };
        let url = self.url(
            prefix
                .into_iter()
                .chain(repo.split('/'))
                .chain(["resolve", commit])
                .chain(file.path.split('/')),
        );
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
        let response = self.check(response, kind, repo, commit, Some(&file.path))?;

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

    /// Passes a response with a good status on, and turns any other into a failure.
    fn check(
        &self,
        response: Response,
        kind: RepoKind,
        repo: &str,
        revision: &str,
        file: Option<&str>,
    ) -> Result<Response, Failure> {
        let status = response.status();
        if matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            return Ok(response);
        }
        let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let refusal = Refusal {
            status,
            code: header("x-error-code"),
            said: header("x-error-message"),
            after: retry_after(response.headers()),
        };
        Err(self.refusal(refusal, kind, repo, revision, file))
    }

    fn hub_failure(&self, error: HFError, kind: RepoKind, repo: &str, revision: &str) -> Failure {
        let (context, after) = match error {
            HFError::RateLimited {
                retry_after,
                context,
            } => (Some(context), retry_after),
            HFError::Http { context }
            | HFError::AuthRequired { context }
            | HFError::Forbidden { context } => (Some(context), None),
            HFError::RepoNotFound { context, .. } | HFError::RevisionNotFound { context, .. } => {
                (context, None)
            }
            HFError::Request { source, .. } => return transport(source),
            other => {
                let what = describe(kind, repo, revision);
                return Failure::Final(Error::Network {
                    what,
                    message: other.to_string(),
                });
            }
        };
        let refusal = match context {
            Some(context) => Refusal {
                status: context.status,
                code: context.error_code,
                said: context.server_message,
                after,
            },
            None => Refusal {
                status: StatusCode::NOT_FOUND,
                code: None,
                said: None,
                after,
            },
        };
        self.refusal(refusal, kind, repo, revision, None)
    }

    fn refusal(
        &self,
        refusal: Refusal,
        kind: RepoKind,
        repo: &str,
        revision: &str,
        file: Option<&str>,
    ) -> Failure {
        let Refusal {
            status,
            code,
            said,
            after,
        } = refusal;
        let said = said
            .map(|said| plain(&said))
            .filter(|said| !said.is_empty());
        let said = said
            .map(|said| format!(" (the server says: {said})"))
            .unwrap_or_default();
        if status.is_server_error()
            || matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
            )
        {
            return Failure::Transient {
                message: format!("the server answers {status}{said}"),
                after,
            };
        }
        let place = match kind {
            RepoKind::Model => "",
            RepoKind::Dataset => "datasets/",
        };
        let page = format!("{}/{place}{repo}", self.hub.endpoint());
        let sent = self.authorization.is_some();
        let message = match (status, code.as_deref()) {
            (_, Some("GatedRepo")) if sent => {
                format!(
                    "the repository is gated: request access on {page} with the account that HF_TOKEN belongs to"
                )
            }
            (_, Some("GatedRepo")) => {
                format!("the repository is gated: request access on {page}, then set HF_TOKEN")
            }
            (StatusCode::FORBIDDEN, _) => {
                format!(
                    "access is refused: the token in HF_TOKEN lacks the permission to read {page}"
                )
            }
            (StatusCode::NOT_FOUND, Some("RevisionNotFound")) => {
                format!("there is no such revision; see {page} for the branches and tags there are")
            }
            (StatusCode::NOT_FOUND, Some("EntryNotFound")) => {
                format!("there is no file {} in it", file.unwrap_or("of that name"))
            }
            // The Hub answers 401 for what does not exist too, lest private names be guessed.
            (StatusCode::UNAUTHORIZED, _) if sent => {
                "there is no such repository (check the spelling), or the token \
                 in HF_TOKEN is not valid or may not read it"
                    .to_owned()
            }
            (StatusCode::UNAUTHORIZED, _) => {
                "there is no such repository (check the spelling), or it is private: set \
                 HF_TOKEN to a token that may read it"
                    .to_owned()
            }
            (StatusCode::NOT_FOUND, _) => {
                let file = file
                    .map(|file| format!(" or no file {file} in it"))
                    .unwrap_or_default();
                format!(
                    "there is no such repository or revision{file}; check the spelling (owner/name)"
                )
            }
            _ => {
                let what = describe(kind, repo, revision);
                return Failure::Final(Error::Network {
                    what,
                    message: format!("the server answers {status}{said}"),
                });
            }
        };
        Failure::Final(Error::NotOnHub {
            repo: format!("{kind} {repo}"),
            revision: revision.to_owned(),
            message: format!("{message}{said}"),
        })
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

/// An answer that is no success.
struct Refusal {
    status: StatusCode,
    code: Option<String>,
    said: Option<String>,
    after: Option<Duration>,
}

/// A failure below HTTP.
fn transport(error: reqwest::Error) -> Failure {
    let place = if error.is_connect() {
        "no connection"
    } else {
        "the connection failed"
    };
    Failure::transient(format!("{place}: {}", cause(&error)))
}

/// The innermost cause of an error, which is what a person can do something about. The layers above only
/// repeat that a request failed, and name its address: a storage host's has a signature in it.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match innermost.downcast_ref::<reqwest::Error>() {
        Some(_) if error.is_timeout() => "it timed out".to_owned(),
        Some(_) => "the request failed".to_owned(),
        None => innermost.to_string(),
    }
}

/// A server's message as one short line that cannot play with the terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_SERVER_MESSAGE)
        .collect::<String>()
        .trim()
        .into()
}

/// The seconds of a `Retry-After`. The other form, a date, is not used by the Hub and gives `None`.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
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
        assert_eq!(
            retry_after(&headers(RETRY_AFTER, "7")),
            Some(Duration::from_secs(7))
        );
        assert_eq!(
            retry_after(&headers(RETRY_AFTER, "Wed, 21 Oct 2026 07:28:00 GMT")),
            None
        );
        assert_eq!(plain("a\u{1b}[31m\nb "), "a [31m b");
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
