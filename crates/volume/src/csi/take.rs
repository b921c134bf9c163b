//! Taking a snapshot of one claim.

use std::time::Duration;

use salvor_api::go::Time;
use salvor_api::labels;
use salvor_api::meta::StringMap;
use salvor_api::quantity::Quantity;
use salvor_cluster::{ApiResource, Wait};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::api::{Judged, Limit, Snapshots, describe, not_yet, text};
use super::class::{ClassChoice, ClassWishes, SnapshotClass, choose_class};
use super::error::CsiError;
use super::mark::{Role, generated, is_ours, mark};
use super::remove::Storage;
use crate::{Claim, OnBehalfOf};

const SNAPSHOT_NAME: &str = "velero.io/volume-snapshot-name";
const HANDLE: &str = "velero.io/csi-volumesnapshot-handle";
const RESTORE_SIZE: &str = "velero.io/csi-volumesnapshot-restore-size";
const DRIVER: &str = "velero.io/csi-driver-name";
const DELETION_POLICY: &str = "velero.io/csi-vsc-deletion-policy";
const MUST_INCLUDE: &str = "backup.velero.io/must-include-additional-items";
/// How often a name is tried anew when what has it is just going.
const NAMES: u32 = 3;

/// A claim that is to be snapshotted.
#[derive(Clone, Debug, Default)]
pub struct TakeSnapshot {
    /// The backup.
    pub of: OnBehalfOf,
    /// Annotations of the Backup.
    pub annotations: StringMap,
    /// The claim, as the cluster has it.
    pub claim: Value,
    /// Its persistent volume.
    pub volume: Value,
    /// The class that the volume policy names.
    pub class: Option<String>,
    /// How long the storage may take until its snapshot has a handle: Velero's `csiSnapshotTimeout`.
    pub timeout: Duration,
}

/// A snapshot that the storage has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CsiTaken {
    /// The claim.
    pub claim: Claim,
    /// The driver.
    pub driver: String,
    /// The storage's name for it.
    pub handle: String,
    /// The storage's name for the group that it was taken with; empty for one by itself.
    pub group_handle: String,
    /// The VolumeSnapshotClass it was taken with.
    pub class: String,
    /// Name of the VolumeSnapshot, in the claim's namespace.
    pub snapshot: String,
    /// Name of the VolumeSnapshotContent.
    pub content: String,
    /// Bytes that a volume made of it has at least; 0 when the driver does not say.
    pub restore_size: u64,
    /// Whether a volume can be made of it already.
    pub ready: bool,
    /// When the storage took it, as it says.
    pub taken: Option<Time>,
    /// What users should know.
    pub notes: Vec<String>,
    /// VolumeSnapshot, VolumeSnapshotContent and VolumeSnapshotClass as they belong into the archive.
    pub objects: Vec<Value>,
}

/// What is snapshotted, checked.
pub(super) struct Source {
    pub(super) claim: Claim,
    pub(super) driver: String,
    pub(super) labels: Map<String, Value>,
}

impl Source {
    pub(super) fn of(claim: &Value, volume: &Value) -> Result<Self, CsiError> {
        let owned = |pointer| text(claim, pointer).to_owned();
        let source = Claim {
            namespace: owned("/metadata/namespace"),
            name: owned("/metadata/name"),
            uid: owned("/metadata/uid"),
            volume: owned("/spec/volumeName"),
        };
        let unfit = |reason: String| CsiError::Unfit {
            what: format!("claim {}/{}", source.namespace, source.name),
            reason,
        };
        let driver = text(volume, "/spec/csi/driver");
        if source.volume.is_empty() {
            return Err(unfit("it has no volume yet".to_owned()));
        }
        if driver.is_empty() {
            let reason = format!("its volume {} is not one of a CSI driver", source.volume);
            return Err(unfit(reason));
        }
        let labels = claim["metadata"]["labels"].as_object();
        Ok(Self {
            labels: labels.cloned().unwrap_or_default(),
            driver: driver.to_owned(),
            claim: source,
        })
    }
}

impl Snapshots {
    /// Takes a snapshot and waits until the storage has it. It need not be ready for use then: [`Snapshots::ready`].
    /// The objects stay in the cluster until [`Snapshots::release`]; when this fails, none do.
    ///
    /// # Errors
    /// The volume is none of a CSI driver, no class can be chosen, the driver refuses, the time is over.
    pub async fn take(
        &self,
        ask: &TakeSnapshot,
        cancel: &CancellationToken,
    ) -> Result<CsiTaken, CsiError> {
        let source = Source::of(&ask.claim, &ask.volume)?;
        let limit = Limit::new(ask.timeout, cancel);
        let class = self.choose(ask, &source).await?;
        let snapshot = self.create(ask, &source, &class).await?;
        let taken = self.captured(&snapshot, &source, &limit).await;
        let taken = match taken {
            Ok(taken) => taken,
            Err(error) => {
                self.discard(&snapshot).await;
                return Err(error);
            }
        };
        Ok(CsiTaken {
            notes: class.notes,
            ..taken
        })
    }

    /// Waits until a volume can be made of a snapshot, and brings what is known of it up to date.
    ///
    /// # Errors
    /// The driver says that it never will be, or the time is over. The snapshot stays as it is.
    pub async fn ready(&self, taken: &mut CsiTaken, wait: &Wait) -> Result<(), CsiError> {
        if taken.ready {
            return Ok(());
        }
        let limit = Limit::new(wait.timeout, &wait.cancel);
        let namespace = Some(taken.claim.namespace.as_str());
        let judge = |object: Option<&Value>| match object {
            None => Judged::Failed("somebody deleted it".to_owned()),
            Some(object) if object["status"]["readyToUse"] == true => Judged::Done,
            Some(object) => not_yet(object, "it is not ready to be used yet"),
        };
        let name = &taken.snapshot;
        let snapshot = self
            .wait(&self.snapshots, namespace, name, &limit, judge)
            .await?;
        let content = self.read(&self.contents, None, &taken.content).await?;
        let content = content.ok_or_else(|| CsiError::Refused {
            what: describe(&self.contents, None, &taken.content),
            message: "somebody deleted it".to_owned(),
        })?;
        let group = taken.group_handle.clone();
        let now = self
            .known(taken.claim.clone(), snapshot, content, group)
            .await?;
        let notes = std::mem::take(&mut taken.notes);
        *taken = CsiTaken { notes, ..now };
        taken.ready = true;
        Ok(())
    }

    /// Removes what a failure leaves, the storage's snapshot too. What cannot be removed is found again by its marks.
    pub(super) async fn discard(&self, snapshot: &Value) {
        let namespace = text(snapshot, "/metadata/namespace");
        let name = text(snapshot, "/metadata/name");
        if let Err(error) = self.remove_pair(namespace, name, Storage::Deleted).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                namespace,
                snapshot = name,
                "a snapshot is left behind"
            );
        }
    }

    async fn choose(&self, ask: &TakeSnapshot, source: &Source) -> Result<ClassChoice, CsiError> {
        let classes = self.list(&self.classes, None, None).await?;
        let classes: Vec<SnapshotClass> = classes.iter().map(SnapshotClass::of).collect();
        let storage_class = text(&ask.claim, "/spec/storageClassName");
        let storage_class = match storage_class {
            "" => None,
            name => self.read(&storage_classes(), None, name).await?,
        };
        let wishes = ClassWishes::of(
            &ask.claim,
            ask.class.as_deref(),
            storage_class.as_ref(),
            &ask.annotations,
            &source.driver,
        );
        choose_class(&source.driver, &classes, &wishes).map_err(|error| CsiError::Class {
            claim: format!("{}/{}", source.claim.namespace, source.claim.name),
            source: error,
        })
    }

    async fn create(
        &self,
        ask: &TakeSnapshot,
        source: &Source,
        class: &ClassChoice,
    ) -> Result<Value, CsiError> {
        let claim = &source.claim;
        let (mut labels, mut annotations) = (source.labels.clone(), Map::new());
        mark(Role::Backup, &ask.of, &mut labels, &mut annotations);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let number = attempt.to_string();
            let seed = [&ask.of.run, &claim.namespace, &claim.uid, &number];
            let name = generated(
                &format!("velero-{}-", claim.name),
                &seed.map(String::as_str),
            );
            let object = json!({"apiVersion": self.snapshots.api_version(), "kind": "VolumeSnapshot",
                "metadata": {"namespace": claim.namespace, "name": name, "labels": labels,
                    "annotations": annotations},
                "spec": {"source": {"persistentVolumeClaimName": claim.name},
                    "volumeSnapshotClassName": class.name}});
            let ours = |there: &Value| is_ours(there, Role::Backup, &ask.of);
            let created = self.ensure(&self.snapshots, &object, ours).await?;
            // One of an earlier try of this run that failed.
            let going = !created["metadata"]["deletionTimestamp"].is_null();
            if !going || attempt == NAMES {
                return Ok(created);
            }
        }
    }

    /// Waits until a snapshot has a content and that has a handle.
    pub(super) async fn captured(
        &self,
        snapshot: &Value,
        source: &Source,
        limit: &Limit,
    ) -> Result<CsiTaken, CsiError> {
        let name = text(snapshot, "/metadata/name");
        let namespace = Some(source.claim.namespace.as_str());
        let uid = &snapshot["metadata"]["uid"];
        let bound = |object: Option<&Value>| match object {
            Some(object) if object["metadata"]["uid"] == *uid => {
                match text(object, "/status/boundVolumeSnapshotContentName") {
                    "" => not_yet(object, "the snapshot controller has not taken it up"),
                    _ => Judged::Done,
                }
            }
            _ => Judged::Failed("somebody deleted it".to_owned()),
        };
        let bound = self
            .wait(&self.snapshots, namespace, name, limit, bound)
            .await?;
        let content = text(&bound, "/status/boundVolumeSnapshotContentName");
        let has_handle = |object: Option<&Value>| {
            let Some(object) = object else {
                return Judged::Failed("somebody deleted it".to_owned());
            };
            if object["spec"]["volumeSnapshotRef"]["uid"] != *uid {
                return Judged::Failed("it belongs to another VolumeSnapshot".to_owned());
            }
            match text(object, "/status/snapshotHandle") {
                "" => not_yet(object, "the driver has not made the snapshot"),
                _ => Judged::Done,
            }
        };
        let content = self
            .wait(&self.contents, None, content, limit, has_handle)
            .await?;
        // What the controller wrote meanwhile: time, size, readiness.
        let now = self.read(&self.snapshots, namespace, name).await?;
        let (claim, group) = (source.claim.clone(), String::new());
        self.known(claim, now.unwrap_or(bound), content, group)
            .await
    }

    /// What two objects tell of a snapshot.
    async fn known(
        &self,
        claim: Claim,
        snapshot: Value,
        content: Value,
        group_handle: String,
    ) -> Result<CsiTaken, CsiError> {
        let class = text(&snapshot, "/spec/volumeSnapshotClassName").to_owned();
        let class_object = match class.as_str() {
            "" => None,
            name => self.read(&self.classes, None, name).await?,
        };
        let owned = |object: &Value, pointer| text(object, pointer).to_owned();
        let taken = text(&snapshot, "/status/creationTime");
        let size = content["status"]["restoreSize"].as_u64();
        let of_snapshot = || bytes(text(&snapshot, "/status/restoreSize"));
        let mut taken = CsiTaken {
            claim,
            driver: owned(&content, "/spec/driver"),
            handle: owned(&content, "/status/snapshotHandle"),
            group_handle,
            class,
            snapshot: owned(&snapshot, "/metadata/name"),
            content: owned(&content, "/metadata/name"),
            restore_size: size.or_else(of_snapshot).unwrap_or_default(),
            ready: snapshot["status"]["readyToUse"] == true,
            taken: taken.parse().ok(),
            notes: Vec::new(),
            objects: Vec::new(),
        };
        let annotated = taken.annotated(snapshot, &content);
        taken.objects = [Some(annotated), Some(content), class_object]
            .into_iter()
            .flatten()
            .collect();
        Ok(taken)
    }
}

impl CsiTaken {
    /// The VolumeSnapshot with what Velero notes on it for a restore.
    fn annotated(&self, mut snapshot: Value, content: &Value) -> Value {
        let policy = text(content, "/spec/deletionPolicy");
        for (key, value) in [
            (HANDLE, self.handle.as_str()),
            (DRIVER, &self.driver),
            (DELETION_POLICY, policy),
        ] {
            snapshot["metadata"]["annotations"][key] = value.into();
        }
        if self.restore_size > 0 {
            snapshot["metadata"]["annotations"][RESTORE_SIZE] = quantity(self.restore_size).into();
        }
        snapshot
    }

    /// Changes the claim as it goes into the archive: which snapshot it has, and a request that fits it.
    pub fn adjust_claim(&self, claim: &mut Value, backup: &str) {
        let metadata = &mut claim["metadata"];
        metadata["labels"][SNAPSHOT_NAME] = self.snapshot.clone().into();
        metadata["labels"][labels::BACKUP_NAME] = labels::label_value(backup).into();
        metadata["annotations"][SNAPSHOT_NAME] = self.snapshot.clone().into();
        metadata["annotations"][MUST_INCLUDE] = "true".into();
        raise_request(claim, self.restore_size);
    }
}

/// Raises a claim's request to a size. Smaller volumes cannot be made of a snapshot.
pub(super) fn raise_request(claim: &mut Value, size: u64) {
    let request = text(claim, "/spec/resources/requests/storage");
    if bytes(request).is_none_or(|request| request < size) && size > 0 {
        claim["spec"]["resources"]["requests"]["storage"] = quantity(size).into();
    }
}

fn bytes(text: &str) -> Option<u64> {
    let quantity: Quantity = text.parse().ok()?;
    quantity.whole().try_into().ok()
}

/// Bytes as Kubernetes writes them: with the largest binary suffix that loses nothing.
fn quantity(bytes: u64) -> String {
    let suffixes = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    let whole = |(_, bits): &(&str, u32)| bytes.is_multiple_of(1 << bits);
    match suffixes.iter().find(|suffix| whole(suffix)) {
        Some((suffix, bits)) if bytes > 0 => format!("{}{suffix}", bytes >> bits),
        _ => bytes.to_string(),
    }
}

pub(super) fn storage_classes() -> ApiResource {
    let (group, version) = ("storage.k8s.io", "v1");
    ApiResource::known(group, version, "StorageClass", "storageclasses", false)
}

pub(super) fn claims() -> ApiResource {
    let kind = "PersistentVolumeClaim";
    ApiResource::known("", "v1", kind, "persistentvolumeclaims", true)
}

pub(super) fn volumes() -> ApiResource {
    ApiResource::known("", "v1", "PersistentVolume", "persistentvolumes", false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_raised_and_never_lowered() {
        for (request, size, expected) in [
            (json!("1Gi"), 2 << 30, json!("2Gi")),
            (json!("1Gi"), 1 << 30, json!("1Gi")),
            (json!("1Gi"), (1 << 30) + 1, json!("1073741825")),
            (json!("3Gi"), 2 << 30, json!("3Gi")),
            (json!("1Gi"), 0, json!("1Gi")),
            (json!("nonsense"), 5 << 20, json!("5Mi")),
        ] {
            let mut claim = json!({"spec": {"resources": {"requests": {"storage": request}}}});
            raise_request(&mut claim, size);
            let raised = &claim["spec"]["resources"]["requests"]["storage"];
            assert_eq!(*raised, expected, "{request} {size}");
        }
    }

    #[test]
    fn a_claim_without_a_volume_of_a_driver_is_unfit() {
        let claim = json!({"metadata": {"namespace": "shop", "name": "data", "uid": "u"},
            "spec": {"volumeName": "pv"}});
        let unfit = |claim: &Value, volume: &Value| match Source::of(claim, volume) {
            Err(error) => error.to_string(),
            Ok(source) => source.driver,
        };
        let csi = json!({"spec": {"csi": {"driver": "disk.example.io"}}});
        assert_eq!(unfit(&claim, &csi), "disk.example.io");
        let host_path = json!({"spec": {"hostPath": {"path": "/x"}}});
        assert_eq!(
            unfit(&claim, &host_path),
            "claim shop/data: its volume pv is not one of a CSI driver"
        );
        assert!(unfit(&json!({"spec": {}}), &csi).contains("no volume yet"));
    }
}
