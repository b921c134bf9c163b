//! Bodies of answers: whole JSON documents, streamed lists, and watches.

use std::io;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::entry::Entry;
use crate::registry::Resource;
use crate::request::Form;
use crate::status::Failure;
use crate::store::{Listing, WatchEvent};
use crate::table;

/// Body of an answer. An error means that the connection breaks in the middle.
pub type ResponseBody = UnsyncBoxBody<Bytes, io::Error>;

/// How much of a list is gathered before it is sent, in bytes.
const CHUNK: usize = 64 << 10;

/// How objects of one resource and version are shown.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) resource: Arc<Resource>,
    pub(crate) version: String,
    pub(crate) form: Form,
    /// The query's `includeObject`, for tables.
    pub(crate) include: String,
    pub(crate) now: Timestamp,
}

/// A body that is there already.
pub(crate) fn full(bytes: impl Into<Bytes>) -> ResponseBody {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A JSON document.
pub(crate) fn document(value: &Value) -> ResponseBody {
    full(value.to_string())
}

impl View {
    fn api_version(&self) -> String {
        self.resource.api_version(&self.version)
    }

    fn columns(&self) -> Option<table::Columns<'_>> {
        let version = self.resource.version(&self.version)?;
        Some(table::columns(&self.resource, version))
    }

    fn full_object(&self, entry: &Entry) -> Value {
        Value::Object(entry.full(&self.api_version(), &self.resource.kind))
    }

    fn row(&self, entry: &Entry) -> Value {
        let object = self.full_object(entry);
        self.columns().map_or(Value::Null, |columns| {
            columns.row(&object, &self.include, self.now)
        })
    }

    fn table(&self, metadata: &Value, rows: Vec<Value>) -> Value {
        let definitions = self
            .columns()
            .map_or(Value::Null, |columns| columns.definitions());
        json!({
            "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            "columnDefinitions": definitions, "rows": rows,
        })
    }

    /// One object.
    pub(crate) fn object(&self, entry: &Entry) -> Bytes {
        match self.form {
            Form::Json | Form::Aggregated => entry.bytes(&self.api_version(), &self.resource.kind),
            Form::Partial => {
                let object = Value::Object(entry.object());
                table::partial(&object["metadata"]).to_string().into()
            }
            Form::Table => {
                let metadata = json!({"resourceVersion": entry.meta.resource_version.to_string()});
                self.table(&metadata, vec![self.row(entry)])
                    .to_string()
                    .into()
            }
        }
    }

    /// One member of a list. Members of built-in lists carry neither `apiVersion` nor `kind`.
    fn member(&self, entry: &Entry) -> Bytes {
        match self.form {
            Form::Json | Form::Aggregated if !self.resource.custom => entry.body.clone(),
            Form::Json | Form::Aggregated | Form::Partial => self.object(entry),
            Form::Table => self.row(entry).to_string().into(),
        }
    }

    /// A collection, sent as it is read. `cut` breaks it off after that many members.
    pub(crate) fn list(self, listing: Listing, cut: Option<usize>) -> ResponseBody {
        let Listing {
            revision,
            continue_token,
            remaining,
            entries,
        } = listing;
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if let Some(token) = continue_token {
            metadata["continue"] = token.into();
        }
        if let Some(remaining) = remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        let head = match self.form {
            Form::Table => {
                let definitions = self.columns().map_or(Value::Null, |one| one.definitions());
                format!(
                    "{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{metadata},\"columnDefinitions\":{definitions},\"rows\":["
                )
            }
            Form::Partial => format!(
                "{{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{metadata},\"items\":["
            ),
            Form::Json | Form::Aggregated => format!(
                "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
                self.resource.list_kind,
                self.api_version()
            ),
        };
        let writer = ListWriter {
            view: self,
            entries,
            cut,
            head: Some(head),
            sent: 0,
            done: false,
        };
        let chunks = futures::stream::unfold(writer, |mut writer| async move {
            let chunk = writer.next().await?;
            Some((chunk.map(Frame::data), writer))
        });
        StreamBody::new(chunks).boxed_unsync()
    }

    /// A watch: one JSON document per event. `cut` breaks it off after that many events.
    pub(crate) fn watch(
        self,
        events: BoxStream<'static, WatchEvent>,
        cut: Option<usize>,
    ) -> ResponseBody {
        let lines = events.map(move |event| Ok(Frame::data(self.event(&event))));
        match cut {
            None => StreamBody::new(lines).boxed_unsync(),
            Some(events) => {
                let broken = futures::stream::once(async { Err(broken_off()) });
                StreamBody::new(lines.take(events).chain(broken)).boxed_unsync()
            }
        }
    }

    fn event(&self, event: &WatchEvent) -> Bytes {
        let (kind, object) = match event {
            WatchEvent::Added(entry) => ("ADDED", self.object(entry)),
            WatchEvent::Modified(entry) => ("MODIFIED", self.object(entry)),
            WatchEvent::Deleted(entry) => ("DELETED", self.object(entry)),
            WatchEvent::Bookmark {
                revision,
                end_of_initial_events,
            } => ("BOOKMARK", self.bookmark(*revision, *end_of_initial_events)),
            WatchEvent::Failed(failure) => ("ERROR", failure.to_json().to_string().into()),
        };
        let mut line = BytesMut::with_capacity(object.len() + 32);
        line.put_slice(format!("{{\"type\":\"{kind}\",\"object\":").as_bytes());
        line.put_slice(&object);
        line.put_slice(b"}\n");
        line.freeze()
    }

    fn bookmark(&self, revision: u64, end_of_initial_events: bool) -> Bytes {
        let mut metadata =
            json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if end_of_initial_events {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.form {
            Form::Table => self.table(&metadata, Vec::new()),
            Form::Partial => table::partial(&metadata),
            Form::Json | Form::Aggregated => json!({
                "kind": self.resource.kind, "apiVersion": self.api_version(), "metadata": metadata,
            }),
        };
        object.to_string().into()
    }
}

fn broken_off() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionReset,
        "the connection was cut by an injected fault",
    )
}

struct ListWriter {
    view: View,
    entries: BoxStream<'static, Result<Arc<Entry>, Failure>>,
    cut: Option<usize>,
    head: Option<String>,
    sent: usize,
    done: bool,
}

impl ListWriter {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.done {
            return None;
        }
        let mut chunk = BytesMut::new();
        if let Some(head) = self.head.take() {
            chunk.put_slice(head.as_bytes());
        }
        while chunk.len() < CHUNK {
            if self.cut == Some(self.sent) {
                self.done = true;
                return Some(Err(broken_off()));
            }
            match self.entries.next().await {
                Some(Ok(entry)) => {
                    if self.sent > 0 {
                        chunk.put_u8(b',');
                    }
                    chunk.put_slice(&self.view.member(&entry));
                    self.sent += 1;
                }
                Some(Err(failure)) => {
                    self.done = true;
                    return Some(Err(io::Error::other(failure.message().to_owned())));
                }
                None => {
                    chunk.put_slice(b"]}\n");
                    self.done = true;
                    break;
                }
            }
        }
        Some(Ok(chunk.freeze()))
    }
}
