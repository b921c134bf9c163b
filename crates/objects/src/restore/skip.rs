//! Why an object is not restored. Every skipped object has one of these reasons in the plan and the log.

use std::fmt;

use salvor_api::filter::NON_RESTORABLE;
use salvor_api::resource::ObjectKey;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body;

/// A reason not to restore an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skip {
    /// Of a resource that makes sense in one cluster only.
    NonRestorable,
    /// Not selected by the restore's namespace, resource, label or name filters.
    NotSelected,
    /// A pod that has run to its end.
    CompletedPod,
    /// A job that has run to its end.
    CompletedJob,
    /// A pod that a kubelet made from a file.
    MirrorPod,
    /// Kept by the control plane itself; the text says by whom.
    ManagedByServer(&'static str),
    /// A volume without saved data whose reclaim policy deletes: its claim gets a new one.
    ProvisionedAnew,
    /// A volume whose data is in the backup but is not restored by this version.
    VolumeDataNotRestored,
    /// A volume whose claim gets a new one, which is filled from the backup.
    FilledAnew,
    /// A volume, or its claim, whose volume serves somebody else in the target.
    VolumeTaken,
    /// A volume, or its claim, whose data is in a snapshot of which no volume can be made.
    SnapshotOutOfReach,
    /// A snapshot object: restoring it would take a new snapshot of something else.
    SnapshotNotRestored,
    /// A snapshot object that a backup made for a claim: the claim's volume is made of the snapshot otherwise.
    SnapshotOfClaim,
    /// The restore asked for no volumes.
    VolumesNotWanted,
    /// An item action of a user leaves it out; the text says which and why.
    ByAction(String),
    /// A storage class mapping points at a class that the target lacks.
    MissingStorageClass {
        /// Class in the backup.
        old: String,
        /// Class that it is mapped to.
        new: String,
    },
}

impl Skip {
    /// A word for tables and counts.
    #[must_use]
    pub fn code(&self) -> SkipCode {
        match self {
            Skip::NonRestorable => SkipCode::NonRestorable,
            Skip::NotSelected => SkipCode::NotSelected,
            Skip::CompletedPod | Skip::CompletedJob => SkipCode::Completed,
            Skip::MirrorPod | Skip::ManagedByServer(_) => SkipCode::ServerManaged,
            Skip::ProvisionedAnew
            | Skip::VolumeDataNotRestored
            | Skip::FilledAnew
            | Skip::VolumeTaken
            | Skip::SnapshotOutOfReach
            | Skip::SnapshotNotRestored
            | Skip::SnapshotOfClaim
            | Skip::VolumesNotWanted => SkipCode::Volume,
            Skip::ByAction(_) => SkipCode::Action,
            Skip::MissingStorageClass { .. } => SkipCode::StorageClass,
        }
    }

    /// True when the user should hear of it: something that the backup holds does not come back.
    #[must_use]
    pub fn is_warning(&self) -> bool {
        matches!(
            self,
            Skip::VolumeDataNotRestored | Skip::SnapshotNotRestored
        )
    }

    /// True when the object would be restored if the target were different.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        matches!(
            self,
            Skip::MissingStorageClass { .. } | Skip::VolumeTaken | Skip::SnapshotOutOfReach
        )
    }
}

/// A skip reason without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SkipCode {
    /// See [`Skip::NonRestorable`].
    NonRestorable,
    /// See [`Skip::NotSelected`].
    NotSelected,
    /// See [`Skip::CompletedPod`].
    Completed,
    /// See [`Skip::ManagedByServer`].
    ServerManaged,
    /// See [`Skip::ProvisionedAnew`].
    Volume,
    /// See [`Skip::MissingStorageClass`].
    StorageClass,
    /// See [`Skip::ByAction`].
    Action,
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Skip::NonRestorable => "this resource is never restored: it belongs to one cluster",
            Skip::NotSelected => "not selected by the restore's filters",
            Skip::CompletedPod => "the pod has run to its end",
            Skip::CompletedJob => "the job has run to its end",
            Skip::MirrorPod => "a mirror pod: its kubelet makes it from a file",
            Skip::ManagedByServer(why) => why,
            Skip::ByAction(why) => why,
            Skip::ProvisionedAnew => {
                "no data of it is in the backup and its reclaim policy is Delete: the claim gets a new, empty volume"
            }
            Skip::VolumeDataNotRestored => {
                "its data is in the backup in a form that this version does not restore"
            }
            Skip::FilledAnew => {
                "its claim gets a new volume, which is filled from the backup"
            }
            Skip::VolumeTaken => {
                "the volume was made by hand, and its place is in use in the target (see the volumes of the plan)"
            }
            Skip::SnapshotOutOfReach => {
                "its data is in a snapshot of which no volume can be made here (see the volumes of the plan)"
            }
            Skip::SnapshotNotRestored => {
                "snapshots that users have taken are not restored: creating the object would take a new snapshot"
            }
            Skip::SnapshotOfClaim => {
                "a backup took the snapshot for a claim, whose volume is made of it through an object of its own"
            }
            Skip::VolumesNotWanted => "the restore asked for no volumes (restorePVs=false)",
            Skip::MissingStorageClass { old, new } => {
                return write!(
                    f,
                    "storage class {old} is mapped to {new}, which the target does not have: create it \
                     or change the mapping"
                );
            }
        })
    }
}

/// Annotation of pods that a kubelet made.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// The controller that keeps an endpoint slice.
const SLICE_MANAGER: &str = "endpointslice.kubernetes.io/managed-by";

/// Annotation of snapshots that a backup took, as in Velero.
const SNAPSHOT_HANDLE: &str = "velero.io/csi-volumesnapshot-handle";
/// How the names of snapshots begin that backups take, as in Velero.
const SNAPSHOTS_OF_BACKUPS: &str = "velero-";

/// Skips that follow from the object alone. `key` is its key in the backup.
#[must_use]
pub fn inherent(key: &ObjectKey, object: &Value) -> Option<Skip> {
    let resource = key.resource.to_string();
    if NON_RESTORABLE.contains(&resource.as_str()) {
        return Some(Skip::NonRestorable);
    }
    match resource.as_str() {
        "pods" => {
            if !body::annotation(object, MIRROR).is_empty() {
                return Some(Skip::MirrorPod);
            }
            let phase = body::text_at(object, &["status", "phase"]);
            matches!(phase, "Succeeded" | "Failed").then_some(Skip::CompletedPod)
        }
        "jobs.batch" => {
            let done = body::text_at(object, &["status", "completionTime"]);
            (!done.is_empty()).then_some(Skip::CompletedJob)
        }
        "configmaps" => (key.name == "kube-root-ca.crt").then_some(Skip::ManagedByServer(
            "the control plane publishes its own certificate authority in every namespace",
        )),
        "services" | "endpoints" | "endpointslices.discovery.k8s.io"
            if key.namespace.as_deref() == Some("default") && key.name == "kubernetes" =>
        {
            Some(Skip::ManagedByServer(
                "the API server keeps its own address here",
            ))
        }
        "endpointslices.discovery.k8s.io" => {
            let manager = body::labels(object).remove(SLICE_MANAGER)?;
            manager.ends_with("-controller.k8s.io").then_some(Skip::ManagedByServer(
                "its controller makes it from the service, and the addresses of the backup are stale",
            ))
        }
        "volumesnapshots.snapshot.storage.k8s.io" => {
            let is_noted = !body::annotation(object, SNAPSHOT_HANDLE).is_empty();
            Some(snapshot(is_noted))
        }
        "volumesnapshotcontents.snapshot.storage.k8s.io" => {
            let of = body::text_at(object, &["spec", "volumeSnapshotRef", "name"]);
            Some(snapshot(of.starts_with(SNAPSHOTS_OF_BACKUPS)))
        }
        _ => None,
    }
}

fn snapshot(of_a_backup: bool) -> Skip {
    match of_a_backup {
        true => Skip::SnapshotOfClaim,
        false => Skip::SnapshotNotRestored,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reason(resource: &str, namespace: &str, name: &str, object: Value) -> Option<Skip> {
        let resource = resource.parse().expect("a resource");
        let key = if namespace.is_empty() {
            ObjectKey::cluster(resource, name)
        } else {
            ObjectKey::namespaced(resource, namespace, name)
        };
        inherent(&key, &object)
    }

    #[test]
    fn what_has_ended_or_belongs_to_the_control_plane_is_not_restored() {
        let pod = |phase: &str| json!({"status": {"phase": phase}});
        assert_eq!(reason("pods", "a", "p", pod("Running")), None);
        assert_eq!(
            reason("pods", "a", "p", pod("Succeeded")),
            Some(Skip::CompletedPod)
        );
        assert_eq!(
            reason("pods", "a", "p", pod("Failed")),
            Some(Skip::CompletedPod)
        );
        let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
        assert_eq!(reason("pods", "a", "p", mirror), Some(Skip::MirrorPod));
        let done = json!({"status": {"completionTime": "2026-01-01T00:00:00Z"}});
        assert_eq!(
            reason("jobs.batch", "a", "j", done),
            Some(Skip::CompletedJob)
        );
        assert_eq!(reason("jobs.batch", "a", "j", json!({"status": {}})), None);
        for (resource, namespace, name) in [
            ("nodes", "", "n1"),
            ("events", "a", "e"),
            ("events.events.k8s.io", "a", "e"),
            ("csinodes.storage.k8s.io", "", "n1"),
            ("backups.velero.io", "velero", "b"),
        ] {
            assert_eq!(
                reason(resource, namespace, name, json!({})),
                Some(Skip::NonRestorable)
            );
        }
        for (resource, namespace, name, managed) in [
            ("configmaps", "a", "kube-root-ca.crt", true),
            ("configmaps", "a", "settings", false),
            ("services", "default", "kubernetes", true),
            ("services", "a", "kubernetes", false),
            ("endpoints", "default", "kubernetes", true),
        ] {
            assert_eq!(
                matches!(
                    reason(resource, namespace, name, json!({})),
                    Some(Skip::ManagedByServer(_))
                ),
                managed,
                "{resource} {namespace}/{name}"
            );
        }
        let taken = json!({"metadata": {"annotations": {SNAPSHOT_HANDLE: "h"}}});
        let content = |of: &str| json!({"spec": {"volumeSnapshotRef": {"name": of}}});
        for (kind, object, skip) in [
            ("volumesnapshots", taken, Skip::SnapshotOfClaim),
            ("volumesnapshots", json!({}), Skip::SnapshotNotRestored),
            (
                "volumesnapshotcontents",
                content("velero-data-x2x4b"),
                Skip::SnapshotOfClaim,
            ),
            (
                "volumesnapshotcontents",
                content("nightly"),
                Skip::SnapshotNotRestored,
            ),
        ] {
            let resource = format!("{kind}.snapshot.storage.k8s.io");
            assert_eq!(reason(&resource, "", "s", object), Some(skip));
        }
        let slice = |by: &str| json!({"metadata": {"labels": {SLICE_MANAGER: by}}});
        let slices = "endpointslices.discovery.k8s.io";
        assert!(reason(slices, "a", "s", slice("endpointslice-controller.k8s.io")).is_some());
        assert!(reason(slices, "a", "s", slice("my-operator")).is_none());
    }
}
