//! Data of volumes in a restore: what is put back where, what is not and why, and who must wait for it.
//!
//! A plan has one [`VolumeData`] for each volume of the backup that the restore brings back and that had data, or
//! should have had. Claims are filled before anything that could mount them is made; volumes that live with their pod
//! are filled while an init container of ours holds the pod back.
//!
//! An application that starts on an empty volume is the worst that a restore can do: it makes an empty database and
//! reports ready. So whoever uses a volume that was to be filled and is not, is not made: its pods, what makes pods of
//! the same template, and everything that owns those. Volumes that live with their pod are the exception: any restart
//! empties them, so their pods are made all the same.

pub(crate) mod settle;
pub(crate) mod users;
pub(crate) mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use salvor_api::meta::StringMap;
use salvor_volume::Placement;
use serde::{Deserialize, Serialize};

use super::mapping::target_namespace;

/// Annotation of a claim that a restore has made and not filled yet; its value is the restore. A later restore fills
/// it, although it exists.
pub const UNFILLED: &str = "salvor.dev/unfilled-by";
/// Annotation of a claim, a pod or a namespace: a whole number; volumes with a higher one are filled first.
pub const PRIORITY: &str = "salvor.dev/restore-priority";
/// Folder of a volume that holds the marks for waiting pods, as in Velero.
const MARKS: &str = ".velero";

/// What becomes of the data of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataAction {
    /// It is put into a new volume, or one that an earlier restore has made and not filled.
    Fill,
    /// It is put over what the existing claim holds.
    FillInPlace,
    /// Its storage makes its volume of a snapshot, with the data in it.
    FromSnapshot,
    /// Nothing is put back; the volume is as the target has it, or empty.
    #[default]
    Leave,
    /// It is to be put back and cannot be: whoever uses the claim is not made either.
    Blocked,
}

impl DataAction {
    /// True when data is copied.
    #[must_use]
    pub fn fills(self) -> bool {
        matches!(self, Self::Fill | Self::FillInPlace)
    }

    /// The word in tables and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fill => "fill",
            Self::FillInPlace => "fill-in-place",
            Self::FromSnapshot => "from-snapshot",
            Self::Leave => "leave",
            Self::Blocked => "blocked",
        }
    }
}

impl fmt::Display for DataAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a claim that is filled comes to its volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binding {
    /// Its class provisions a new one.
    #[default]
    New,
    /// It is bound to the one that it had, which is restored or waits in the target.
    Kept,
    /// The one that it had stands in the target, released by the claim that is gone: it is offered again first, to
    /// this claim only.
    Released,
}

/// Where the data is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataSnapshot {
    /// Domain of the repository.
    pub domain: String,
    /// The snapshot, 64 hexadecimal digits.
    pub id: String,
    /// Its bytes.
    pub bytes: u64,
}

/// A snapshot that the storage keeps: a volume is made of it, and nothing is copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageSnapshot {
    /// The driver.
    pub driver: String,
    /// The storage's name for it.
    pub handle: String,
    /// The VolumeSnapshotClass it was taken with.
    pub class: String,
    /// Name of its VolumeSnapshot in the backup.
    pub name: String,
    /// Bytes that a volume made of it has at least.
    pub restore_size: u64,
    /// Name of the VolumeSnapshot that the claim is made of.
    pub made_as: String,
}

/// One volume of a plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeData {
    /// Namespace of its claim or pod in the backup.
    pub namespace: String,
    /// Its claim; empty for a volume that lives with its pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub claim: String,
    /// The pod that it was read through, or that it lives with.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// Its name in that pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod_volume: String,
    /// The persistent volume that it was.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub persistent_volume: String,
    /// What is done.
    pub action: DataAction,
    /// Why, or what should be known of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The backup was asked for its data and could not get it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub missed: bool,
    /// Where its data is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<DataSnapshot>,
    /// Where its data is when the storage keeps a snapshot of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csi: Option<StorageSnapshot>,
    /// How its claim comes to a volume.
    pub binding: Binding,
    /// Where the pod that uses it can run.
    pub placement: Placement,
    /// Higher ones are filled first.
    pub priority: i64,
    /// The plan's entry of its claim or pod, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<u32>,
    /// The plan's entries that must not be made before it is filled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<u32>,
}

impl VolumeData {
    /// True for a volume that lives and ends with its pod.
    #[must_use]
    pub fn is_of_pod(&self) -> bool {
        self.claim.is_empty()
    }

    /// Namespace in the target.
    #[must_use]
    pub fn target_namespace<'a>(&'a self, mapping: &'a StringMap) -> &'a str {
        target_namespace(&self.namespace, mapping)
    }

    /// Its name for people: `persistentvolumeclaims shop/data` or `volume cache of pod shop/web`.
    #[must_use]
    pub fn shown(&self, mapping: &StringMap) -> String {
        let namespace = self.target_namespace(mapping);
        match self.is_of_pod() {
            true => format!("volume {} of pod {namespace}/{}", self.pod_volume, self.pod),
            false => format!("persistentvolumeclaims {namespace}/{}", self.claim),
        }
    }

    /// True when the backup knows where its data is.
    pub(crate) fn has_data(&self) -> bool {
        self.snapshot.is_some() || self.csi.is_some()
    }

    /// `<namespace>/<claim>` in the backup.
    pub(crate) fn claim_key(&self) -> String {
        format!("{}/{}", self.namespace, self.claim)
    }

    pub(crate) fn set(&mut self, action: DataAction, reason: impl Into<String>) {
        self.action = action;
        self.reason = reason.into();
    }
}

/// What a transformation has to know of the volumes that are filled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DataRules {
    /// Claims of the backup, `<namespace>/<name>`, that are filled.
    pub claims: BTreeSet<String>,
    /// Those of them whose volume is made of a snapshot that the storage keeps.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub snapshots: BTreeMap<String, ClaimSource>,
    /// Volumes that are filled behind an init container, by pod of the backup, `<namespace>/<name>`.
    pub pods: BTreeMap<String, Vec<String>>,
    /// What the mark of this restore is called.
    pub mark: String,
    /// The container that waits for the mark.
    pub wait: WaitContainer,
}

/// What a claim's volume is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimSource {
    /// Name of the VolumeSnapshot.
    pub snapshot: String,
    /// Bytes that the volume has at least.
    pub bytes: u64,
}

impl DataRules {
    /// True when nothing is filled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.pods.is_empty()
    }

    /// Where a filled volume is marked for its pod, as a path in it.
    #[must_use]
    pub fn mark_path(&self) -> String {
        format!("{MARKS}/{}", self.mark)
    }
}

/// The init container that holds a pod back until its volumes are filled. Quantities are Kubernetes'; empty ones are
/// left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WaitContainer {
    /// Image with this program.
    pub image: String,
    /// How long it waits, in seconds.
    pub seconds: u64,
    /// Requested CPU.
    pub cpu_request: String,
    /// Requested memory.
    pub memory_request: String,
    /// Most CPU.
    pub cpu_limit: String,
    /// Most memory.
    pub memory_limit: String,
}

impl Default for WaitContainer {
    /// Velero's requests and limits, so that quotas which let Velero's container in let ours in as well.
    fn default() -> Self {
        Self {
            image: String::new(),
            seconds: 0,
            cpu_request: "100m".to_owned(),
            memory_request: "128Mi".to_owned(),
            cpu_limit: "100m".to_owned(),
            memory_limit: "128Mi".to_owned(),
        }
    }
}
