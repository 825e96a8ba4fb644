//! The requests: `object_store` builds and reads them, and what it hides is noted on the way.
//!
//! `object_store` hands no response headers on (the checksum is one), hides the status behind private error
//! types, and repeats requests without regard to `Retry-After` and with a log line that nobody sees. So its
//! repeating is switched off, and every request carries a [`Note`] on which the transport writes the head of
//! the answer.

use std::error::Error as StdError;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::gcp::{
    GcpCredential, GcpSigningCredential, GoogleCloudStorage, GoogleCloudStorageBuilder,
};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path as Key;
use object_store::{
    ClientOptions, Extensions, GetOptions, GetRange, HeaderValue, ObjectMeta, ObjectStore,
    RetryConfig, StaticCredentialProvider,
};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::BucketFile;
use super::answer::{self, Answer};
use super::checksum;
use super::settings::{BucketSettings, CONNECT_TIMEOUT};
use crate::error::{Error, Result};
use crate::hub::refusal::cause;
use crate::hub::retry::Failure;

/// Longest continuation token that is sent back: an address cannot be longer than 64 KiB.
const MAX_TOKEN: usize = 8 << 10;

/// The bucket's routes. Each method makes one attempt.
pub(super) struct Client {
    store: GoogleCloudStorage,
    /// Whether the server has ever answered.
    contact: AtomicBool,
    /// Bytes of objects that have arrived.
    received: AtomicU64,
}

/// What the head of an answer says about the object.
pub(super) struct Head {
    pub(super) size: u64,
    pub(super) e_tag: Option<String>,
    pub(super) crc32c: Option<u32>,
}

/// Why there are no bytes.
pub(super) enum Refused {
    /// A range was asked for and the server sends the whole object.
    RangeIgnored,
    Failed(Failure),
}

impl Client {
    pub(super) fn new(bucket: &str, settings: &BucketSettings) -> Result<Client> {
        let endpoint = settings.endpoint()?;
        let plain = endpoint.as_ref().is_some_and(|url| url.scheme() == "http");
        let options = ClientOptions::new()
            .with_user_agent(HeaderValue::from_static(concat!(
                "attnscope/",
                env!("CARGO_PKG_VERSION")
            )))
            .with_allow_http(plain)
            // A piece may take as long as it likes, as long as something comes.
            .with_timeout_disabled()
            .with_connect_timeout(settings.timeout.min(CONNECT_TIMEOUT))
            .with_read_timeout(settings.timeout);
        let nobody = GcpCredential {
            bearer: String::new(),
        };
        let no_signer = GcpSigningCredential {
            email: String::new(),
            private_key: None,
        };
        let mut builder = GoogleCloudStorageBuilder::new()
            .with_bucket_name(bucket)
            .with_client_options(options)
            .with_skip_signature(true)
            // Credentials that are never sent keep the builder from reading those of the machine's user, and
            // from failing where their file is damaged.
            .with_credentials(Arc::new(StaticCredentialProvider::new(nobody)))
            .with_signing_credentials(Arc::new(StaticCredentialProvider::new(no_signer)))
            .with_retry(RetryConfig {
                max_retries: 0,
                ..RetryConfig::default()
            })
            .with_http_connector(NotingConnector);
        if let Some(endpoint) = endpoint {
            builder = builder.with_base_url(endpoint.as_str().trim_end_matches('/'));
        }
        let store = builder.build().map_err(|error| Error::Network {
            what: "the HTTP client".to_owned(),
            message: error.to_string(),
        })?;
        Ok(Client {
            store,
            contact: AtomicBool::new(false),
            received: AtomicU64::new(0),
        })
    }

    pub(super) fn had_contact(&self) -> bool {
        self.contact.load(Ordering::Relaxed)
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// What the server says about an object, without its bytes. `url` is for messages.
    pub(super) async fn head(
        &self,
        url: &str,
        key: &Key,
        listed: Option<&BucketFile>,
    ) -> Result<Head, Failure> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        match self.answered(url, key, options, listed).await {
            Ok((head, _)) => Ok(head),
            Err(Refused::Failed(failure)) => Err(failure),
            Err(Refused::RangeIgnored) => Err(Failure::transient("the server sent a body")),
        }
    }

    /// Starts to read an object, or a range of it. If it has been listed, it must still be the same.
    ///
    /// The stream's errors say why the connection broke. Its end need not be the end of the range.
    pub(super) async fn get(
        &self,
        url: &str,
        key: &Key,
        range: Option<Range<u64>>,
        listed: Option<&BucketFile>,
    ) -> Result<
        (
            Head,
            impl Stream<Item = Result<impl AsRef<[u8]>, String>> + Unpin,
        ),
        Refused,
    > {
        let options = GetOptions {
            range: range.map(GetRange::Bounded),
            ..GetOptions::default()
        };
        let (head, result) = self.answered(url, key, options, listed).await?;
        let stream = result.into_stream().map(|chunk| match chunk {
            Ok(bytes) => {
                self.received
                    .fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Ok(bytes)
            }
            Err(error) => Err(innermost(&error)),
        });
        Ok((head, stream))
    }

    async fn answered(
        &self,
        url: &str,
        key: &Key,
        mut options: GetOptions,
        listed: Option<&BucketFile>,
    ) -> Result<(Head, object_store::GetResult), Refused> {
        let note = Note::default();
        options.extensions = note.extensions();
        let ranged = options.range.is_some();
        let result = self.store.get_opts(key, options).await;
        let answer = self.read(note);
        if let (Some(Answer { status, headers }), Some(listed)) = (&answer, listed)
            && let Some(why) = answer::difference(*status, headers, listed)
        {
            return Err(Refused::Failed(answer::replaced(url, &why).into()));
        }
        match result {
            Ok(result) => {
                let head = Head {
                    size: result.meta.size,
                    e_tag: result.meta.e_tag.clone(),
                    crc32c: answer.and_then(|answer| checksum::stated(&answer.headers)),
                };
                Ok((head, result))
            }
            Err(error) => match &answer {
                Some(answer) if ranged && answer.status == StatusCode::OK => {
                    Err(Refused::RangeIgnored)
                }
                _ => Err(Refused::Failed(failure(url, error, answer))),
            },
        }
    }

    /// A page of the objects whose keys begin with `prefix`, and the token of the next page.
    pub(super) async fn list(
        &self,
        url: &str,
        prefix: Option<&str>,
        token: Option<String>,
    ) -> Result<(Vec<ObjectMeta>, Option<String>), Failure> {
        let note = Note::default();
        let options = PaginatedListOptions {
            page_token: token,
            extensions: note.extensions(),
            ..PaginatedListOptions::default()
        };
        let page = self.store.list_paginated(prefix, options).await;
        let answer = self.read(note);
        let page = page.map_err(|error| match error {
            object_store::Error::InvalidPath { source } => Failure::Final(Error::NotInBucket {
                url: url.to_owned(),
                message: format!("it lists a name that cannot be used: {source}"),
            }),
            error => failure(url, error, answer),
        })?;
        match page.page_token {
            Some(token) if token.len() > MAX_TOKEN => Err(Failure::Final(Error::Network {
                what: url.to_owned(),
                message: "the list of files cannot be read (its continuation token is too long)"
                    .to_owned(),
            })),
            token => Ok((page.result.objects, token)),
        }
    }

    fn read(&self, note: Note) -> Option<Answer> {
        let answer = note.take();
        if answer.is_some() {
            self.contact.store(true, Ordering::Relaxed);
        }
        answer
    }
}

/// What an attempt's error means. `answer` is the head that came with it, if there was one.
fn failure(url: &str, error: object_store::Error, answer: Option<Answer>) -> Failure {
    let unusable = || {
        Failure::Final(Error::Network {
            what: url.to_owned(),
            message: format!("the server's answer cannot be used: {}", innermost(&error)),
        })
    };
    let transport = chain(&error).find_map(|error| error.downcast_ref::<HttpError>());
    match (answer, transport) {
        // The body of an error is read too, and may break off; the status says more.
        (Some(answer), _) if !answer.status.is_success() => {
            answer::refusal(url, &answer, &error.to_string())
        }
        (Some(_), Some(_)) => {
            Failure::transient(format!("the connection failed: {}", innermost(&error)))
        }
        (Some(answer), None) if answer.status == StatusCode::PARTIAL_CONTENT => {
            Failure::transient(format!(
                "the server sent another part of the file than was asked for: {}",
                innermost(&error)
            ))
        }
        (Some(_), None) => unusable(),
        (None, Some(transport)) => {
            let connected = transport.kind() != HttpErrorKind::Connect;
            let what = match connected {
                true => "the connection failed",
                false => "no connection",
            };
            Failure::Transient {
                message: format!("{what}: {}", innermost(&error)),
                after: None,
                connected,
            }
        }
        (None, None) => unusable(),
    }
}

/// An error and what caused it, outermost first.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// The innermost cause, which is what a person can do something about.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    match chain(error).find_map(|error| error.downcast_ref::<reqwest::Error>()) {
        Some(error) => cause(error),
        None => chain(error)
            .last()
            .map_or_else(String::new, ToString::to_string),
    }
}

/// Goes along with a request, and comes back with the head of its answer.
#[derive(Debug, Clone, Default)]
struct Note(Arc<Mutex<Option<Answer>>>);

impl Note {
    fn extensions(&self) -> Extensions {
        let mut extensions = Extensions::new();
        extensions.insert(self.clone());
        extensions
    }

    fn write(&self, status: StatusCode, headers: HeaderMap) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Answer { status, headers });
    }

    fn take(self) -> Option<Answer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The usual transport, with notes.
#[derive(Debug)]
struct NotingConnector;

impl HttpConnector for NotingConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Noting(client)))
    }
}

#[derive(Debug)]
struct Noting(HttpClient);

impl HttpService for Noting {
    // The form that `async_trait` gives an `async fn`.
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let note = request.extensions().get::<Note>().cloned();
        Box::pin(async move {
            let response = self.0.execute(request).await?;
            if let Some(note) = note {
                note.write(response.status(), response.headers().clone());
            }
            Ok(response)
        })
    }
}
