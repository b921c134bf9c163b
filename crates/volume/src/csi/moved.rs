//! Moving the data of a snapshot into a repository.
//!
//! The snapshot is shown a second time, in the server's namespace, where a claim is made of it that a mover reads. The
//! first snapshot keeps the storage's until all is done, so that a kill at any moment leaves nothing that its marks do
//! not tell how to remove.

use std::time::Duration;

use salvor_api::labels;
use salvor_api::velero::DataPhase;
use salvor_cluster::Wait;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::api::{Limit, Snapshots, text};
use super::delete::SnapshotRef;
use super::error::CsiError;
use super::mark::{Role, generated, is_ours, metadata};
use super::remove::Storage;
use super::restore::{Window, source};
use super::take::{CsiTaken, claims, raise_request, volumes};
use super::upload::Upload;
use crate::{BackUpVolume, Claim, DataMover, OnBehalfOf, Placement, Stored, VolumePlace};

/// A snapshot whose data is to be moved.
#[derive(Clone, Debug)]
pub struct MoveSnapshot<'a> {
    /// The backup.
    pub of: OnBehalfOf,
    /// The snapshot, which this uses up.
    pub taken: &'a CsiTaken,
    /// The claim that it was taken of, as the cluster has it.
    pub claim: &'a Value,
    /// Namespace of the server, where the data is read.
    pub server_namespace: &'a str,
    /// Where the reading pod may run.
    pub placement: Placement,
    /// How long the storage may take until a volume can be made of the snapshot.
    pub prepare: Duration,
    /// How long the data may take.
    pub timeout: Duration,
}

/// A snapshot whose data was moved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moved {
    /// The data, in the repository of the claim's domain.
    pub stored: Stored,
    /// The DataUpload; empty where the cluster does not know the kind.
    pub upload: String,
    /// What users should know: what could not be removed.
    pub notes: Vec<String>,
}

impl Snapshots {
    /// Copies the data of a snapshot into the repository of the claim's domain. Afterwards the snapshot is gone, in the
    /// cluster and in the storage, whatever came of it.
    ///
    /// # Errors
    /// A volume in block mode, a snapshot that does not become ready, a claim that cannot be made of it, and what the
    /// mover says.
    pub async fn move_data(
        &self,
        mover: &dyn DataMover,
        ask: &MoveSnapshot<'_>,
        cancel: &CancellationToken,
    ) -> Result<Moved, CsiError> {
        let upload = match Upload::begin(&self.cluster, ask).await {
            Ok(upload) => upload,
            Err(error) => {
                // The snapshot goes in every case.
                self.clear(ask, None).await;
                return Err(error);
            }
        };
        let stop = cancel.child_token();
        let moving = self.copy(mover, ask, &upload, &stop);
        let watching = async {
            upload.stopped().await;
            stop.cancel();
            std::future::pending::<()>().await;
        };
        let moved = tokio::select! {
            moved = moving => moved,
            () = watching => Err(CsiError::Cancelled),
        };
        let notes = self.clear(ask, Some(&name_for(ask))).await;
        upload.end(moved.as_ref()).await;
        Ok(Moved {
            stored: moved?,
            upload: upload.name().unwrap_or_default().to_owned(),
            notes,
        })
    }

    async fn copy(
        &self,
        mover: &dyn DataMover,
        ask: &MoveSnapshot<'_>,
        upload: &Upload,
        cancel: &CancellationToken,
    ) -> Result<Stored, CsiError> {
        let source = &ask.taken.claim;
        if text(ask.claim, "/spec/volumeMode") == "Block" {
            return Err(CsiError::Unfit {
                what: format!("claim {}/{}", source.namespace, source.name),
                reason:
                    "it is in block mode, which has no files to copy: keep its snapshot instead"
                        .to_owned(),
            });
        }
        let wait = Wait {
            timeout: ask.prepare,
            cancel: cancel.clone(),
        };
        let mut taken = ask.taken.clone();
        self.ready(&mut taken, &wait).await?;
        let name = name_for(ask);
        let window = Window {
            role: Role::Move,
            of: &ask.of,
            namespace: ask.server_namespace,
            name: &name,
            for_claim: &name,
            snapshot: &SnapshotRef {
                driver: taken.driver.clone(),
                handle: taken.handle.clone(),
                class: taken.class.clone(),
            },
            volume_mode: text(ask.claim, "/spec/volumeMode"),
        };
        self.open(&window, &Limit::new(ask.prepare, cancel)).await?;
        let clone = clone_of(ask, &name, taken.restore_size);
        let ours = |there: &Value| is_ours(there, Role::Move, &ask.of);
        let clone = self.ensure(&claims(), &clone, ours).await?;
        upload.tell(DataPhase::Prepared).await;
        let job = BackUpVolume {
            of: ask.of.clone(),
            place: VolumePlace::Claim {
                claim: Claim {
                    namespace: ask.server_namespace.to_owned(),
                    name: name.clone(),
                    uid: text(&clone, "/metadata/uid").to_owned(),
                    volume: text(&clone, "/spec/volumeName").to_owned(),
                },
                placement: ask.placement.clone(),
            },
            data_of: Some(source.clone()),
            timeout: ask.timeout,
        };
        upload.tell(DataPhase::InProgress).await;
        let stored = mover.back_up(&job, cancel).await;
        stored.map_err(|error| CsiError::Move {
            snapshot: format!("{}/{}", source.namespace, taken.snapshot),
            source: Box::new(error),
        })
    }

    /// Removes everything that a movement made, and the snapshot; what could not be removed, in words.
    async fn clear(&self, ask: &MoveSnapshot<'_>, name: Option<&str>) -> Vec<String> {
        let mut notes = Vec::new();
        let mut note = |what: &str, result: Result<(), CsiError>| {
            if let Err(error) = result {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    what,
                    "left behind"
                );
                notes.push(format!("{what} is left behind: {error}"));
            }
        };
        let namespace = ask.server_namespace;
        if let Some(name) = name {
            let removed = self.remove_clone(namespace, name).await;
            note(&format!("claim {namespace}/{name}"), removed);
            self.close_window(namespace, name, name).await;
        }
        let (of, snapshot) = (&ask.taken.claim.namespace, &ask.taken.snapshot);
        let released = self.release(ask.taken, Storage::Deleted).await;
        note(&format!("snapshot {of}/{snapshot}"), released);
        notes
    }

    /// Removes a claim that was made of a snapshot to be read, and its volume, also where its class keeps volumes.
    pub(super) async fn remove_clone(&self, namespace: &str, name: &str) -> Result<(), CsiError> {
        let claim = self.read(&claims(), Some(namespace), name).await?;
        let Some(claim) = claim else { return Ok(()) };
        self.let_volume_go(&claim).await?;
        self.remove(&claims(), &claim).await?;
        self.gone(&claims(), &claim).await?;
        // A provisioner may have made it while the claim went.
        self.let_volume_go(&claim).await
    }

    /// Has the volume of a claim deleted when the claim goes.
    async fn let_volume_go(&self, claim: &Value) -> Result<(), CsiError> {
        let bound = text(claim, "/spec/volumeName").to_owned();
        // As provisioners name what they make.
        let provisioned = format!("pvc-{}", text(claim, "/metadata/uid"));
        for name in [bound, provisioned] {
            if !name.is_empty()
                && let Some(object) = self.read(&volumes(), None, &name).await?
                && object["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"]
                && object["spec"]["persistentVolumeReclaimPolicy"] != "Delete"
            {
                let patch = json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}});
                self.merge(&volumes(), None, &name, &patch).await?;
            }
        }
        Ok(())
    }
}

/// Name of the second snapshot, of its content and of the claim.
fn name_for(ask: &MoveSnapshot<'_>) -> String {
    let claim = &ask.taken.claim;
    let prefix = format!("{}-", ask.of.name);
    generated(&prefix, &[&ask.of.run, &claim.uid, "move"])
}

/// The claim that is read.
fn clone_of(ask: &MoveSnapshot<'_>, name: &str, size: u64) -> Value {
    let mut metadata = metadata(Role::Move, &ask.of, Some(ask.server_namespace), name);
    metadata["labels"][labels::EXCLUDE_FROM_BACKUP] = "true".into();
    let spec = &ask.claim["spec"];
    let mut claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata,
        "spec": {"accessModes": ["ReadWriteOnce"], "dataSource": source(name),
            "resources": {"requests": {"storage": spec["resources"]["requests"]["storage"]}}}});
    for field in ["storageClassName", "volumeMode"] {
        if spec[field].is_string() {
            claim["spec"][field] = spec[field].clone();
        }
    }
    raise_request(&mut claim, size);
    claim
}
