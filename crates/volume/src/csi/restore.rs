//! Making a claim of a snapshot that the storage has.

use std::time::Duration;

use salvor_cluster::Wait;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::api::{Judged, Limit, Snapshots, describe, not_yet, text};
use super::class::{ClassWishes, SnapshotClass, choose_class};
use super::delete::SnapshotRef;
use super::error::CsiError;
use super::mark::{FOR_CLAIM, Role, is_ours, metadata, restored};
use super::remove::Storage;
use super::take::{claims, raise_request};
use crate::OnBehalfOf;

/// A claim that is to be made of a snapshot.
#[derive(Clone, Debug, Default)]
pub struct RestoreSnapshot {
    /// The restore. Its UID, or its run where it has none, names the objects.
    pub of: OnBehalfOf,
    /// The claim as it is to be created, but for its data: namespace and storage class are those of the target.
    pub claim: Value,
    /// The snapshot.
    pub snapshot: SnapshotRef,
    /// Name of the VolumeSnapshot in the backup.
    pub name: String,
    /// Name of what is made of it; empty for [`restored_name`].
    pub made_as: String,
    /// Bytes that the volume must have at least.
    pub restore_size: u64,
    /// How long the storage may take to know the snapshot.
    pub timeout: Duration,
}

/// A snapshot that a claim can be made of, and that claim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prepared {
    /// The claim with its data source and a request that fits, to be created.
    pub claim: Value,
    /// Namespace of the claim and the VolumeSnapshot.
    pub namespace: String,
    /// Name of the VolumeSnapshot.
    pub snapshot: String,
    /// Name of the VolumeSnapshotContent.
    pub content: String,
}

/// How far a claim is that was made of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It has its volume. The objects of the snapshot are gone.
    To(String),
    /// It has none yet, as classes do that wait for the first pod. The objects stay, for [`Snapshots::leftovers`].
    NotYet(String),
}

/// Name of the VolumeSnapshot and its content that a restore makes in a namespace of a snapshot of this name in the
/// backup. `id` is the restore's UID. The namespace counts too: one snapshot may go to several.
#[must_use]
pub fn restored_name(id: &str, namespace: &str, snapshot: &str) -> String {
    restored(&format!("{id}{namespace}"), snapshot)
}

/// Makes a claim one of a volume that is made of a snapshot with at least these bytes.
pub fn of_snapshot(claim: &mut Value, snapshot: &str, restore_size: u64) {
    claim["spec"]["dataSource"] = source(snapshot);
    raise_request(claim, restore_size);
}

/// The VolumeSnapshot that a claim's volume is made of; empty when it is made of none.
#[must_use]
pub fn snapshot_of(claim: &Value) -> &str {
    let of = &claim["spec"]["dataSource"];
    match of["kind"].as_str() {
        Some("VolumeSnapshot") => text(of, "/name"),
        _ => "",
    }
}

/// A claim's body without what ties it to an earlier volume.
#[must_use]
pub fn dynamic_claim(claim: &Value) -> Value {
    let mut claim = claim.clone();
    let part = |claim: &mut Value, pointer: &str, keep: &dyn Fn(&str) -> bool| {
        if let Some(object) = claim.pointer_mut(pointer).and_then(Value::as_object_mut) {
            object.retain(|key, _| keep(key));
        }
    };
    // A data source of the original would win, or contradict.
    let of_source = ["volumeName", "dataSource", "dataSourceRef", "selector"];
    part(&mut claim, "/spec", &|key| !of_source.contains(&key));
    part(&mut claim, "/metadata/annotations", &|key| {
        !key.starts_with("pv.kubernetes.io/") && !key.starts_with("volume.")
    });
    let of_server = [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "managedFields",
    ];
    part(&mut claim, "/metadata", &|key| !of_server.contains(&key));
    part(&mut claim, "", &|key| key != "status");
    claim
}

impl Snapshots {
    /// Makes the objects that lead to a snapshot, waits until the storage knows it, and says how the claim has to look.
    /// May be repeated: it finds what it made.
    ///
    /// # Errors
    /// The storage does not know the snapshot, the cluster refuses, the time is over. Nothing is left then.
    pub async fn prepare(
        &self,
        ask: &RestoreSnapshot,
        cancel: &CancellationToken,
    ) -> Result<Prepared, CsiError> {
        let claim = dynamic_claim(&ask.claim);
        let namespace = text(&claim, "/metadata/namespace").to_owned();
        let for_claim = text(&claim, "/metadata/name").to_owned();
        let volume_mode = text(&claim, "/spec/volumeMode");
        let name = match (ask.made_as.as_str(), ask.of.uid.as_str()) {
            ("", "") => restored_name(&ask.of.run, &namespace, &ask.name),
            ("", uid) => restored_name(uid, &namespace, &ask.name),
            (name, _) => name.to_owned(),
        };
        let window = Window {
            role: Role::Restore,
            of: &ask.of,
            namespace: &namespace,
            name: &name,
            for_claim: &for_claim,
            snapshot: &ask.snapshot,
            volume_mode,
        };
        let limit = Limit::new(ask.timeout, cancel);
        self.open(&window, &limit).await?;
        let mut claim = claim;
        of_snapshot(&mut claim, &name, ask.restore_size);
        Ok(Prepared {
            claim,
            namespace,
            snapshot: name.clone(),
            content: name,
        })
    }

    /// Waits until the claim has its volume and removes what led to the snapshot; the storage keeps its snapshot.
    /// A claim that waits for its first pod is no error.
    ///
    /// # Errors
    /// The claim is gone or lost, the cluster refuses.
    pub async fn finish(&self, prepared: &Prepared, wait: &Wait) -> Result<Bound, CsiError> {
        let name = text(&prepared.claim, "/metadata/name");
        let limit = Limit::new(wait.timeout, &wait.cancel);
        let judge = |claim: Option<&Value>| match claim {
            None => Judged::Failed("somebody deleted it".to_owned()),
            Some(claim) => match text(claim, "/status/phase") {
                "Bound" => Judged::Done,
                "Lost" => Judged::Failed("it has lost its volume".to_owned()),
                _ => Judged::NotYet("it has no volume yet".to_owned()),
            },
        };
        let namespace = Some(prepared.namespace.as_str());
        let claim = match self.wait(&claims(), namespace, name, &limit, judge).await {
            Ok(claim) => claim,
            Err(CsiError::TimedOut { seen, .. }) => return Ok(Bound::NotYet(seen)),
            Err(error) => return Err(error),
        };
        self.remove_pair(&prepared.namespace, &prepared.snapshot, Storage::Kept)
            .await?;
        Ok(Bound::To(text(&claim, "/spec/volumeName").to_owned()))
    }

    /// [`Snapshots::prepare`], the claim, and [`Snapshots::finish`] with the time for the storage.
    ///
    /// # Errors
    /// As those; a claim of the same name that was not made for this restore.
    pub async fn restore_objects(
        &self,
        ask: &RestoreSnapshot,
        cancel: &CancellationToken,
    ) -> Result<(Prepared, Bound), CsiError> {
        let prepared = self.prepare(ask, cancel).await?;
        let wanted = source(&prepared.snapshot);
        let same = |there: &Value| there["spec"]["dataSource"] == wanted;
        let made = self.ensure(&claims(), &prepared.claim, same).await;
        if let Err(error) = made {
            self.close(&prepared).await;
            return Err(error);
        }
        let wait = Wait {
            timeout: ask.timeout,
            cancel: cancel.clone(),
        };
        let bound = self.finish(&prepared, &wait).await?;
        Ok((prepared, bound))
    }

    /// Removes what led to a snapshot when the claim is not made after all; the storage keeps its snapshot.
    pub async fn close(&self, prepared: &Prepared) {
        let (namespace, name) = (&prepared.namespace, &prepared.snapshot);
        self.close_window(namespace, name, &prepared.content).await;
    }

    /// Makes content and snapshot for a handle, and waits until the driver has found it.
    pub(super) async fn open(&self, window: &Window<'_>, limit: &Limit) -> Result<(), CsiError> {
        let opened = self.open_objects(window, limit).await;
        if opened.is_err() {
            self.close_window(window.namespace, window.name, window.name)
                .await;
        }
        opened
    }

    async fn open_objects(&self, window: &Window<'_>, limit: &Limit) -> Result<(), CsiError> {
        let Window {
            role,
            of,
            namespace,
            name,
            ..
        } = *window;
        let class = self.class_for(window.snapshot).await?;
        let ours = |there: &Value| {
            // Another run of the same restore goes on with them.
            let same = there["metadata"]["annotations"][FOR_CLAIM] == window.for_claim;
            is_ours(there, role, of) || (role == Role::Restore && same)
        };
        let content = window.content(&self.contents.api_version(), class.as_ref(), Storage::Kept);
        self.ensure(&self.contents, &content, ours).await?;
        let mut metadata = metadata(role, of, Some(namespace), name);
        metadata["annotations"][FOR_CLAIM] = window.for_claim.into();
        let mut snapshot = json!({"apiVersion": self.snapshots.api_version(), "kind": "VolumeSnapshot",
            "metadata": metadata, "spec": {"source": {"volumeSnapshotContentName": name}}});
        if let Some(class) = &class {
            snapshot["spec"]["volumeSnapshotClassName"] = class["metadata"]["name"].clone();
        }
        self.ensure(&self.snapshots, &snapshot, ours).await?;
        let known = |object: Option<&Value>| match object {
            None => Judged::Failed("somebody deleted it".to_owned()),
            Some(object) if object["status"]["readyToUse"] == true => Judged::Done,
            Some(object) => not_yet(object, "the driver has not found the snapshot"),
        };
        self.wait(&self.snapshots, Some(namespace), name, limit, known)
            .await?;
        Ok(())
    }

    pub(super) async fn close_window(&self, namespace: &str, name: &str, content: &str) {
        let removed = async {
            self.remove_pair(namespace, name, Storage::Kept).await?;
            // A content whose snapshot was never made.
            match self.read(&self.contents, None, content).await? {
                Some(content) => self.remove_content(&content).await,
                None => Ok(()),
            }
        };
        if let Err(error) = removed.await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                namespace,
                snapshot = name,
                "a snapshot is left behind"
            );
        }
    }

    /// The class whose credentials reach a snapshot: the one that it was taken with, or what this cluster has for the
    /// driver.
    pub(super) async fn class_for(&self, of: &SnapshotRef) -> Result<Option<Value>, CsiError> {
        let classes = self.list(&self.classes, None, None).await?;
        let known: Vec<SnapshotClass> = classes.iter().map(SnapshotClass::of).collect();
        let wishes = ClassWishes {
            backup: Some(of.class.clone()).filter(|class| !class.is_empty()),
            ..ClassWishes::default()
        };
        let chosen = choose_class(&of.driver, &known, &wishes).ok();
        Ok(chosen.and_then(|chosen| {
            let named = |class: &Value| class["metadata"]["name"] == chosen.name;
            classes.into_iter().find(named)
        }))
    }
}

/// What leads from the cluster to a snapshot that the storage has.
pub(super) struct Window<'a> {
    pub(super) role: Role,
    pub(super) of: &'a OnBehalfOf,
    pub(super) namespace: &'a str,
    /// Of the VolumeSnapshot and the VolumeSnapshotContent.
    pub(super) name: &'a str,
    /// The claim that is made of it.
    pub(super) for_claim: &'a str,
    pub(super) snapshot: &'a SnapshotRef,
    /// The claim's; empty when it is not said.
    pub(super) volume_mode: &'a str,
}

impl Window<'_> {
    pub(super) fn content(&self, version: &str, class: Option<&Value>, storage: Storage) -> Value {
        let policy = match storage {
            Storage::Kept => "Retain",
            Storage::Deleted => "Delete",
        };
        let mut metadata = metadata(self.role, self.of, None, self.name);
        metadata["annotations"][FOR_CLAIM] = self.for_claim.into();
        let mut spec = json!({"deletionPolicy": policy, "driver": self.snapshot.driver,
            "source": {"snapshotHandle": self.snapshot.handle},
            "volumeSnapshotRef": {"apiVersion": version, "kind": "VolumeSnapshot",
                "namespace": self.namespace, "name": self.name}});
        if !self.volume_mode.is_empty() {
            spec["sourceVolumeMode"] = self.volume_mode.into();
        }
        if let Some(class) = class {
            spec["volumeSnapshotClassName"] = class["metadata"]["name"].clone();
            // What controllers note on contents that they make themselves.
            for part in ["name", "namespace"] {
                let parameter = format!("csi.storage.k8s.io/snapshotter-secret-{part}");
                let value = &class["parameters"][parameter];
                if value.is_string() {
                    let key = format!("snapshot.storage.kubernetes.io/deletion-secret-{part}");
                    metadata["annotations"][key] = value.clone();
                }
            }
        }
        json!({"apiVersion": version, "kind": "VolumeSnapshotContent", "metadata": metadata, "spec": spec})
    }

    pub(super) fn what(&self, snapshots: &Snapshots) -> String {
        describe(&snapshots.contents, None, self.name)
    }
}

/// `dataSource` of a claim.
pub(super) fn source(snapshot: &str) -> Value {
    json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": snapshot})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_freed_of_its_volume_and_keeps_what_is_the_users() {
        let claim = json!({"kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "uid": "u", "resourceVersion": "7", "labels": {"app": "shop"},
                "annotations": {"pv.kubernetes.io/bind-completed": "yes", "volume.kubernetes.io/selected-node": "n",
                    "team": "a"}},
            "spec": {"volumeName": "pv", "dataSourceRef": {"name": "x"}, "selector": {},
                "storageClassName": "fast"},
            "status": {"phase": "Bound"}});
        let expected = json!({"kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "labels": {"app": "shop"}, "annotations": {"team": "a"}},
            "spec": {"storageClassName": "fast"}});
        assert_eq!(dynamic_claim(&claim), expected);
        assert_eq!(dynamic_claim(&json!({})), json!({}));
    }
}
