//! What an answer that is no success means: whether to try again, and what to tell a person.

use std::time::Duration;

use hf_hub::HFError;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};

use super::listing::{Place, RepoKind};
use super::retry::Failure;
use crate::error::Error;

/// Longest part of a server's own message that is passed on.
const MAX_SERVER_MESSAGE: usize = 300;

/// What the remedies depend on.
pub(super) struct Asker {
    /// The Hub's address, under which a person finds the repository's page.
    pub(super) endpoint: String,
    /// Whether a token goes along with requests.
    pub(super) with_token: bool,
}

/// An answer that is no success.
struct Refusal {
    status: StatusCode,
    /// The Hub's `X-Error-Code`.
    code: Option<String>,
    /// The server's own words.
    said: Option<String>,
    /// Its `Retry-After`.
    after: Option<Duration>,
}

impl Asker {
    /// Passes a response with a good status on, and turns any other into a failure.
    pub(super) fn check(
        &self,
        response: Response,
        place: Place,
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
        Err(self.failure(refusal, place, file))
    }

    /// The same for an error of hf-hub.
    pub(super) fn hub_failure(&self, error: HFError, place: Place) -> Failure {
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
                return Failure::Final(Error::Network {
                    what: place.to_string(),
                    message: format!("the server's answer cannot be used: {other}"),
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
        self.failure(refusal, place, None)
    }

    fn failure(&self, refusal: Refusal, place: Place, file: Option<&str>) -> Failure {
        let Refusal {
            status,
            code,
            said,
            after,
        } = refusal;
        let said = said
            .map(|said| plain(&said))
            .filter(|said| !said.is_empty())
            .map(|said| format!(" (the server says: {said})"))
            .unwrap_or_default();
        let temporary = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        );
        if status.is_server_error() || temporary {
            return Failure::Transient {
                message: format!("the server answers {status}{said}"),
                after,
                connected: true,
            };
        }
        match self.remedy(status, code.as_deref(), place, file) {
            Some(message) => Failure::Final(place.not_on_hub(format!("{message}{said}"))),
            None => Failure::Final(Error::Network {
                what: place.to_string(),
                message: format!("the server answers {status}{said}"),
            }),
        }
    }

    /// What a person can do about 401, 403 and 404; `None` for any other status.
    fn remedy(
        &self,
        status: StatusCode,
        code: Option<&str>,
        place: Place,
        file: Option<&str>,
    ) -> Option<String> {
        let prefix = match place.kind {
            RepoKind::Model => "",
            RepoKind::Dataset => "datasets/",
        };
        let page = format!("{}/{prefix}{}", self.endpoint, place.repo);
        Some(match (status.as_u16(), code) {
            (401 | 403, Some("GatedRepo")) if self.with_token => format!(
                "the repository is gated: request access on {page} with the account that the token in \
                 HF_TOKEN belongs to"
            ),
            (401 | 403, Some("GatedRepo")) => {
                format!("the repository is gated: request access on {page}, then set HF_TOKEN")
            }
            // The Hub answers 401 for what does not exist too, lest private names be guessed.
            (401, _) if self.with_token => {
                "there is no such repository (check the spelling), or the token in HF_TOKEN is not \
                 valid or may not read it"
                    .to_owned()
            }
            (401, _) => "there is no such repository (check the spelling), or it is private: set \
                 HF_TOKEN to a token that may read it"
                .to_owned(),
            (403, _) if self.with_token => format!(
                "access is refused: the token in HF_TOKEN lacks the permission to read {page}"
            ),
            (403, _) => format!("access is refused: set HF_TOKEN to a token that may read {page}"),
            (404, Some("RevisionNotFound")) => {
                format!("there is no such revision; {page} shows the branches and tags there are")
            }
            (404, Some("EntryNotFound")) => {
                format!("there is no file {} in it", file.unwrap_or("of that name"))
            }
            (404, _) => {
                let file = file.map(|file| format!(" or no file {file} in it"));
                format!(
                    "there is no such repository or revision{}; check the spelling (owner/name)",
                    file.unwrap_or_default()
                )
            }
            _ => return None,
        })
    }
}

/// A failure below HTTP.
pub(super) fn transport(error: reqwest::Error) -> Failure {
    let what = if error.is_connect() {
        "no connection"
    } else {
        "the connection failed"
    };
    Failure::Transient {
        message: format!("{what}: {}", cause(&error)),
        after: None,
        connected: !error.is_connect(),
    }
}

/// The innermost cause of an error, which is what a person can do something about. The layers above only
/// repeat that a request failed, and name its address: a storage host's has a signature in it.
pub(super) fn cause(error: &reqwest::Error) -> String {
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
pub(super) fn plain(text: &str) -> String {
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let line: String = line.take(MAX_SERVER_MESSAGE).collect();
    line.trim().to_owned()
}

/// The seconds of a `Retry-After`. The other form, a date, is not used by the Hub and gives `None`.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok();
    seconds.map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn waits_and_words_of_a_server() {
        let header = |value| HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
        assert_eq!(retry_after(&header("7")), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(&header("Wed, 21 Oct 2026 07:28:00 GMT")), None);
        assert_eq!(plain("a\u{1b}[31m\nb "), "a [31m b");
        assert_eq!(plain(&"x".repeat(1000)).len(), MAX_SERVER_MESSAGE);
    }
}
