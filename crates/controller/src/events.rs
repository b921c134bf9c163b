//! Events: what happened to an object, where `kubectl describe` shows it.

use std::collections::HashMap;

use jiff::Timestamp;
use salvor_api::velero::Kind;
use salvor_cluster::{ApiResource, Cluster, WriteOptions};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Events that wait to be written; more are dropped, as an event is never worth holding up work.
const WAITING: usize = 256;
/// Different events that are remembered, so that a repetition counts up instead of making another.
const REMEMBERED: usize = 2048;
/// Longest message that the API server accepts, in bytes.
const LONGEST_MESSAGE: usize = 1024;

/// Whether an event is good news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EventType {
    /// It is.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Writes events in the background. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    events: mpsc::Sender<Event>,
}

#[derive(Clone, Debug)]
struct Event {
    about: Value,
    kind: EventType,
    reason: &'static str,
    message: String,
}

impl Recorder {
    /// Begins to write events into `namespace` until `cancel` is cancelled; what waits then is still written.
    #[must_use]
    pub(crate) fn start(
        cluster: &Cluster,
        namespace: &str,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> Self {
        let (sender, mut receiver) = mpsc::channel(WAITING);
        let mut writer = Writer {
            cluster: cluster.clone(),
            namespace: namespace.to_owned(),
            written: HashMap::new(),
        };
        let cancel = cancel.clone();
        tasks.spawn(async move {
            while let Some(Some(event)) = cancel.run_until_cancelled(receiver.recv()).await {
                writer.write(event).await;
            }
            while let Ok(event) = receiver.try_recv() {
                writer.write(event).await;
            }
        });
        Self { events: sender }
    }

    /// Records an event about an object. `reason` is one word in CamelCase.
    pub(crate) fn record<K: Kind>(
        &self,
        about: &K,
        kind: EventType,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let metadata = about.metadata();
        let about = json!({
            "apiVersion": K::API_VERSION, "kind": K::KIND,
            "namespace": metadata.namespace, "name": metadata.name, "uid": metadata.uid,
            "resourceVersion": metadata.resource_version,
        });
        let message = shortened(message.into());
        let event = Event {
            about,
            kind,
            reason,
            message,
        };
        if self.events.try_send(event).is_err() {
            tracing::debug!(reason, "an event was dropped");
        }
    }
}

fn shortened(mut message: String) -> String {
    if message.len() > LONGEST_MESSAGE {
        let mut end = LONGEST_MESSAGE - 3;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push_str("...");
    }
    message
}

struct Writer {
    cluster: Cluster,
    namespace: String,
    /// Name of the Event and its count, by what it says.
    written: HashMap<[u8; 16], (String, u64)>,
}

impl Writer {
    async fn write(&mut self, event: Event) {
        let says = format!(
            "{}\0{:?}\0{}\0{}",
            event.about["uid"], event.kind, event.reason, event.message
        );
        let mut key = [0; 16];
        key.copy_from_slice(&Sha256::digest(says.as_bytes())[..16]);
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let resource = ApiResource::known("", "v1", "Event", "events", true);
        let namespace = Some(self.namespace.as_str());
        let options = WriteOptions::default();
        if let Some((name, count)) = self.written.get_mut(&key) {
            let patch = json!({"count": *count + 1, "lastTimestamp": now}).to_string();
            let patched = self
                .cluster
                .merge_patch(&resource, namespace, name, None, patch.as_bytes(), &options)
                .await;
            match patched {
                Ok(_) => {
                    *count += 1;
                    return;
                }
                // Events last an hour; this one is gone.
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    tracing::debug!(%error, "an event was not counted up");
                    return;
                }
            }
        }
        // What it says and when it was said first make the name, as they do in Kubernetes' own.
        let digest = Sha256::digest(format!("{says}\0{}", Timestamp::now()).as_bytes());
        let suffix: String = digest[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let about = event.about["name"].as_str().unwrap_or_default();
        let name = format!("{about}.{suffix}");
        let body = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": name, "namespace": self.namespace},
            "involvedObject": event.about,
            "reason": event.reason, "message": event.message,
            "type": match event.kind { EventType::Normal => "Normal", EventType::Warning => "Warning" },
            "source": {"component": "salvor"}, "reportingComponent": "salvor",
            "firstTimestamp": now, "lastTimestamp": now, "count": 1,
        });
        let created = self
            .cluster
            .create(&resource, namespace, body.to_string().as_bytes(), &options)
            .await;
        match created {
            Ok(_) => {
                if self.written.len() >= REMEMBERED {
                    self.written.clear();
                }
                self.written.insert(key, (name, 1));
            }
            Err(error) => tracing::debug!(%error, "an event was not written"),
        }
    }
}
