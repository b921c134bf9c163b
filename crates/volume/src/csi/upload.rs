//! The DataUpload that tells, as Velero's does, how far the data of a snapshot is.

use std::time::Duration;

use jiff::Timestamp;
use salvor_api::go::{GoDuration, Time};
use salvor_api::labels;
use salvor_api::velero::{CsiSnapshot, DataPhase, DataUpload, DataUploadSpec, DataUploadStatus};
use salvor_cluster::{ApiResource, Cluster, ErrorKind, Look, Wait, WriteOptions};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::api::text;
use super::error::CsiError;
use super::mark::generated;
use super::moved::MoveSnapshot;
use crate::Stored;

/// Our name as a data mover, so that a Velero beside us leaves these objects alone.
const MOVER: &str = "salvor";
/// Longer than any movement may take.
const WATCHED: Duration = Duration::from_secs(30 * 24 * 3600);

/// A DataUpload, or nothing where the cluster does not know the kind.
pub(super) struct Upload {
    cluster: Cluster,
    namespace: String,
    name: Option<String>,
}

fn resource() -> ApiResource {
    let (group, version) = (labels::VELERO_GROUP, "v2alpha1");
    ApiResource::known(group, version, "DataUpload", "datauploads", true)
}

fn now() -> Time {
    Time::new(Timestamp::now())
}

impl Upload {
    /// Creates it, in the phase `Accepted`. It is for those who watch: a cluster without the kind goes without.
    pub(super) async fn begin(cluster: &Cluster, ask: &MoveSnapshot<'_>) -> Result<Self, CsiError> {
        let object = object(ask);
        let (name, namespace) = (
            object.metadata.name.clone(),
            object.metadata.namespace.clone(),
        );
        let body = serde_json::to_value(&object).map_err(|source| CsiError::Malformed {
            what: format!("DataUpload {namespace}/{name}"),
            source,
        })?;
        let uid = labels::BACKUP_UID;
        let same = |there: &[u8]| {
            let there = serde_json::from_slice::<Value>(there).unwrap_or_default();
            there["metadata"]["labels"][uid] == body["metadata"]["labels"][uid]
        };
        let (resource, options) = (resource(), WriteOptions::default());
        let text = body.to_string();
        let created = cluster
            .create_once(
                &resource,
                Some(&namespace),
                &name,
                text.as_bytes(),
                &options,
                same,
            )
            .await;
        let name = match created {
            Ok(_) => Some(name),
            // Of a try before this one.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Some(name),
            Err(error) if matches!(error.kind(), ErrorKind::NoSuchKind | ErrorKind::NotFound) => {
                None
            }
            Err(error) => return Err(CsiError::cluster("create a DataUpload")(error)),
        };
        Ok(Self {
            cluster: cluster.clone(),
            namespace,
            name,
        })
    }

    /// Its name; `None` where there is none.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Says what is done now. That this is not said is no reason to stop.
    pub(super) async fn tell(&self, phase: DataPhase) {
        let mut status = json!({"phase": phase});
        if phase == DataPhase::InProgress {
            status["startTimestamp"] = json!(now());
        }
        self.write(&status).await;
    }

    pub(super) async fn end(&self, result: Result<&Stored, &CsiError>) {
        let mut status = json!({"completionTimestamp": now()});
        match result {
            Ok(stored) => {
                status["phase"] = json!(DataPhase::Completed);
                status["snapshotID"] = stored.snapshot.clone().into();
                status["node"] = stored.node.clone().into();
                status["progress"] = json!({"totalBytes": stored.bytes, "bytesDone": stored.bytes});
                status["incrementalBytes"] = stored.new_bytes.into();
            }
            Err(error) => {
                let phase = match error.is_cancelled() {
                    true => DataPhase::Canceled,
                    false => DataPhase::Failed,
                };
                status["phase"] = json!(phase);
                status["message"] = chain(error).into();
            }
        }
        self.write(&status).await;
    }

    /// Comes back when `spec.cancel` asks to stop, never else.
    pub(super) async fn stopped(&self) {
        let Some(name) = &self.name else {
            return std::future::pending().await;
        };
        let wait = Wait {
            timeout: WATCHED,
            cancel: CancellationToken::new(),
        };
        let look = |object: Option<&Value>| match object {
            Some(object) if object["spec"]["cancel"] == true => Look::Done,
            _ => Look::NotYet(String::new()),
        };
        let (resource, namespace) = (resource(), Some(self.namespace.as_str()));
        let asked = self
            .cluster
            .wait_until(&resource, namespace, name, &wait, look)
            .await;
        if asked.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn write(&self, status: &Value) {
        let Some(name) = &self.name else { return };
        let (resource, namespace) = (resource(), Some(self.namespace.as_str()));
        let (body, options) = (
            json!({"status": status}).to_string(),
            WriteOptions::default(),
        );
        let written = self
            .cluster
            .merge_patch(&resource, namespace, name, None, body.as_bytes(), &options)
            .await;
        if let Err(error) = written {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                upload = name,
                "the state of a DataUpload is not written"
            );
        }
    }
}

fn object(ask: &MoveSnapshot<'_>) -> DataUpload {
    let (of, claim) = (&ask.of, &ask.taken.claim);
    let name = generated(&format!("{}-", of.name), &[&of.run, &claim.uid]);
    let mut object = DataUpload::named(ask.server_namespace, &name);
    let operation = labels::label_value(&format!("du-{}.{}", of.uid, claim.uid));
    for (key, value) in [
        (labels::BACKUP_NAME, labels::label_value(&of.name)),
        (labels::BACKUP_UID, of.uid.clone()),
        (labels::PVC_UID, claim.uid.clone()),
        (labels::ASYNC_OPERATION_ID, operation),
    ] {
        object.metadata.labels.insert(key.to_owned(), value);
    }
    let annotations = &mut object.metadata.annotations;
    annotations.insert(labels::RUN_ID.to_owned(), of.run.clone());
    object.spec = DataUploadSpec {
        snapshot_type: "CSI".to_owned(),
        csi_snapshot: Some(CsiSnapshot {
            volume_snapshot: ask.taken.snapshot.clone(),
            storage_class: text(ask.claim, "/spec/storageClassName").to_owned(),
            snapshot_class: ask.taken.class.clone(),
            driver: ask.taken.driver.clone(),
        }),
        source_pvc: claim.name.clone(),
        datamover: MOVER.to_owned(),
        backup_storage_location: of.location.clone(),
        source_namespace: claim.namespace.clone(),
        operation_timeout: GoDuration(ask.prepare),
        ..DataUploadSpec::default()
    };
    object.status = DataUploadStatus {
        phase: DataPhase::Accepted,
        accepted_timestamp: Some(now()),
        ..DataUploadStatus::default()
    };
    object
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
