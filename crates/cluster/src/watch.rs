//! Watches: what changed in a collection since a version of it, as raw JSON, line by line.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{ACCEPT, USER_AGENT};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::{Cluster, JSON, collect_status, describe, retry_after, transport_error};
use crate::error::{Error, ErrorKind};
use crate::path::with_query;
use crate::resource::ApiResource;

/// Bytes of one event at most; an object of etcd's usual limit of 1.5 MiB fits several times.
const LARGEST_EVENT: usize = 16 << 20;
/// How long a server keeps a watch open. It ends by itself then, without a loss, so that a connection that
/// died silently is noticed.
const LASTS: Duration = Duration::from_secs(290);
/// What a server may be late.
const GRACE: Duration = Duration::from_secs(30);

/// What to watch.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    /// Label selector as the API takes it.
    pub label_selector: Option<String>,
    /// Field selector: `metadata.name=x`.
    pub field_selector: Option<String>,
    /// Version of the list that the watch goes on from; its later changes are sent.
    pub resource_version: String,
}

/// What happened to an object, which is as it is afterwards (of a deleted one: as it was last).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// It is new, or came to match the selectors.
    Added(Bytes),
    /// It changed.
    Modified(Bytes),
    /// It is gone, or no longer matches the selectors.
    Deleted(Bytes),
    /// Nothing happened up to this version of the collection.
    Bookmark(String),
}

/// A watch under way. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    operation: String,
    body: Body,
    buffer: BytesMut,
    /// Bytes of the buffer that have no line end in them.
    searched: usize,
    ends: tokio::time::Instant,
}

#[derive(Deserialize)]
struct Line<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Versioned {
    metadata: Version,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    resource_version: String,
}

impl Cluster {
    /// Begins to watch a collection, in all namespaces when `namespace` is `None`. A watch takes no place
    /// in the limiter: it waits most of its time.
    ///
    /// # Errors
    /// [`ErrorKind::Gone`] when the version is too old (list again), and every refusal.
    pub async fn watch(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        options: &WatchOptions,
    ) -> Result<Watch, Error> {
        let operation = describe("watch", resource, namespace, None);
        let path = resource
            .collection_path(namespace)
            .map_err(|reason| Error::local(ErrorKind::Config, &operation, reason))?;
        let uri = with_query(
            &path,
            &[
                ("watch", Some("true".to_owned())),
                ("allowWatchBookmarks", Some("true".to_owned())),
                ("resourceVersion", Some(options.resource_version.clone())),
                ("timeoutSeconds", Some(LASTS.as_secs().to_string())),
                ("labelSelector", options.label_selector.clone()),
                ("fieldSelector", options.field_selector.clone()),
            ],
        );
        let request = Request::builder()
            .method(Method::GET)
            .uri(uri)
            .header(ACCEPT, JSON)
            .header(USER_AGENT, concat!("salvor/", env!("CARGO_PKG_VERSION")))
            .body(Body::empty())
            .map_err(|e| Error::caused(ErrorKind::Config, &operation, e.to_string(), e))?;
        let answered = tokio::time::timeout(self.timeouts().read, self.client().send(request));
        let answered = answered.await;
        let code = match &answered {
            Ok(Ok(response)) => Some(response.status()),
            _ => None,
        };
        self.requests().count(&Method::GET, code);
        let response = answered
            .map_err(|_| Error::local(ErrorKind::Timeout, &operation, "no answer"))?
            .map_err(|e| transport_error(&operation, e, false))?;
        let status = response.status();
        if !status.is_success() {
            let wait = retry_after(response.headers());
            let body = tokio::time::timeout(
                self.timeouts().read,
                collect_status(&operation, response.into_body()),
            )
            .await
            .map_err(|_| Error::local(ErrorKind::Timeout, &operation, "no answer"))??;
            return Err(Error::from_answer(&operation, status, &body, wait, false));
        }
        Ok(Watch {
            operation,
            body: response.into_body(),
            buffer: BytesMut::new(),
            searched: 0,
            ends: tokio::time::Instant::now() + LASTS + GRACE,
        })
    }
}

impl Watch {
    /// The next event; `None` when the server ended the watch in good order. Go on from the version of the
    /// last event then.
    ///
    /// May be dropped at any await without losing an event.
    ///
    /// # Errors
    /// [`ErrorKind::Gone`] when versions were lost (list again), [`ErrorKind::Transport`] when the
    /// connection broke, [`ErrorKind::Malformed`] when a line is not an event.
    pub async fn next(&mut self) -> Result<Option<WatchEvent>, Error> {
        loop {
            if let Some(line) = self.take_line() {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return self.event(&line).map(Some);
            }
            if self.buffer.len() > LARGEST_EVENT {
                let detail = format!("an event is larger than {LARGEST_EVENT} bytes");
                return Err(self.error(ErrorKind::TooLarge, detail));
            }
            let frame = tokio::time::timeout_at(self.ends, self.body.frame());
            match frame.await {
                Err(_) => {
                    let detail = "the server did not end the watch in time".to_owned();
                    return Err(self.error(ErrorKind::Timeout, detail));
                }
                // A line without its end is an event that was cut off: it comes again.
                Ok(None) => return Ok(None),
                Ok(Some(Err(e))) => {
                    return Err(Error::caused(
                        ErrorKind::Transport,
                        &self.operation,
                        "the watch broke off",
                        e,
                    ));
                }
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    fn take_line(&mut self) -> Option<Bytes> {
        let found = self.buffer[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n');
        let Some(at) = found else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(self.searched + at).freeze();
        self.buffer.advance(1);
        self.searched = 0;
        Some(line)
    }

    fn event(&self, line: &Bytes) -> Result<WatchEvent, Error> {
        let malformed = |e: serde_json::Error| {
            Error::caused(ErrorKind::Malformed, &self.operation, e.to_string(), e)
        };
        let parsed: Line<'_> = serde_json::from_slice(line).map_err(malformed)?;
        let object = line.slice_ref(parsed.object.get().as_bytes());
        Ok(match parsed.r#type {
            "ADDED" => WatchEvent::Added(object),
            "MODIFIED" => WatchEvent::Modified(object),
            "DELETED" => WatchEvent::Deleted(object),
            "BOOKMARK" => {
                let Versioned { metadata } = serde_json::from_slice(&object).map_err(malformed)?;
                WatchEvent::Bookmark(metadata.resource_version)
            }
            "ERROR" => return Err(Error::from_status(&self.operation, &object)),
            other => {
                let shown: String = other.chars().take(40).collect();
                return Err(self.error(
                    ErrorKind::Malformed,
                    format!("`{shown}` is not a kind of event"),
                ));
            }
        })
    }

    fn error(&self, kind: ErrorKind, detail: String) -> Error {
        Error::local(kind, &self.operation, detail)
    }
}
