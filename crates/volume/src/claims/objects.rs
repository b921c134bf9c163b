//! Claims and what stands around them: the parts that the commands about claims look at. Unknown fields are
//! passed over.

use salvor_api::go::Time;
use salvor_api::meta::{LabelSelector, StringMap};
use salvor_api::quantity::Quantity;
use serde::Deserialize;
use serde_json::Value;

/// The storage class of volumes and claims from before it was a field; it still wins where it is there.
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// Annotations that make a class the default one.
const DEFAULT_CLASS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];
/// Provisioner of classes whose volumes are made by hand.
pub const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// The parts of `metadata` that count here.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    /// Name.
    pub name: String,
    /// Namespace; empty for what has none.
    pub namespace: String,
    /// Identity of this incarnation.
    pub uid: String,
    /// Version, to write only what was read.
    pub resource_version: String,
    /// When it was made.
    pub creation_timestamp: Option<Time>,
    /// When its deletion was asked for.
    pub deletion_timestamp: Option<Time>,
    /// Labels.
    pub labels: StringMap,
    /// Annotations.
    pub annotations: StringMap,
    managed_fields: Vec<Managed>,
}

/// Who wrote which fields, and when.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Managed {
    time: Option<Time>,
    fields_v1: Value,
}

impl Meta {
    /// When the phase of the status was last written, as far as the server tells: the writer's entry also moves when
    /// it writes something else, so it was then or earlier.
    pub(super) fn phase_written(&self) -> Option<Time> {
        let wrote_phase = |entry: &&Managed| !entry.fields_v1["f:status"]["f:phase"].is_null();
        let entry = self.managed_fields.iter().filter(wrote_phase);
        entry.filter_map(|entry| entry.time).max()
    }

    pub(super) fn old_class(&self) -> Option<&str> {
        self.annotations.get(OLD_CLASS).map(String::as_str)
    }
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Claim {
    /// Name, namespace, labels, annotations.
    pub metadata: Meta,
    /// What it asks for.
    pub spec: ClaimSpec,
    /// How it stands.
    pub status: ClaimStatus,
}

/// `spec` of a PersistentVolumeClaim.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClaimSpec {
    /// Ways in which it wants to be mounted.
    pub access_modes: Vec<String>,
    resources: Resources,
    storage_class_name: Option<String>,
    /// The volume that it has or asks for; empty for any.
    pub volume_name: String,
    /// What the volume's labels must be.
    pub selector: Option<LabelSelector>,
    volume_mode: Option<String>,
    volume_attributes_class_name: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Resources {
    requests: StringMap,
}

/// `status` of a PersistentVolumeClaim.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClaimStatus {
    /// `Pending`, `Bound` or `Lost`.
    pub phase: String,
}

impl Claim {
    /// What it asks for, as it is written.
    #[must_use]
    pub fn request(&self) -> &str {
        let requests = &self.spec.resources.requests;
        requests.get("storage").map_or("", String::as_str)
    }

    /// Its storage class; `None` when it leaves that to the cluster's default, which an empty one does not.
    #[must_use]
    pub fn class(&self) -> Option<&str> {
        let old = self.metadata.old_class();
        old.or(self.spec.storage_class_name.as_deref())
    }

    /// `Filesystem` or `Block`.
    #[must_use]
    pub fn mode(&self) -> &str {
        self.spec.volume_mode.as_deref().unwrap_or("Filesystem")
    }

    /// Its VolumeAttributesClass; empty for none.
    #[must_use]
    pub fn attributes_class(&self) -> &str {
        let name = self.spec.volume_attributes_class_name.as_deref();
        name.unwrap_or_default()
    }

    /// `namespace/name`.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }

    /// Whether its volume is bound to it, as far as the claim knows.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.status.phase == "Bound"
    }
}

/// A StorageClass.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Class {
    /// Name, annotations.
    pub metadata: Meta,
    /// Who makes its volumes.
    pub provisioner: String,
    volume_binding_mode: String,
}

impl Class {
    /// Whether claims that name no class get it.
    #[must_use]
    pub fn is_default(&self) -> bool {
        let annotations = &self.metadata.annotations;
        let says_so = |key: &str| annotations.get(key).is_some_and(|value| value == "true");
        DEFAULT_CLASS.iter().any(|key| says_so(key))
    }

    /// Whether its claims wait for a pod.
    #[must_use]
    pub fn waits_for_pod(&self) -> bool {
        self.volume_binding_mode == "WaitForFirstConsumer"
    }

    /// Whether somebody makes its volumes.
    #[must_use]
    pub fn provisions(&self) -> bool {
        self.provisioner != NO_PROVISIONER
    }
}

/// A Node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Name, labels.
    pub metadata: Meta,
}

/// A Pod, as far as claims are concerned.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Name, namespace.
    pub metadata: Meta,
    spec: PodSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    node_name: String,
    volumes: Vec<PodVolume>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodVolume {
    name: String,
    persistent_volume_claim: Option<ClaimName>,
    ephemeral: Option<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClaimName {
    claim_name: String,
}

impl Pod {
    /// Whether it mounts a claim; also one that was made for it (a generic ephemeral volume).
    #[must_use]
    pub fn uses(&self, claim: &Claim) -> bool {
        let Meta {
            namespace, name, ..
        } = &claim.metadata;
        *namespace == self.metadata.namespace
            && self.spec.volumes.iter().any(|volume| {
                let named = volume.persistent_volume_claim.as_ref();
                let own = format!("{}-{}", self.metadata.name, volume.name);
                named.is_some_and(|named| named.claim_name == *name)
                    || (volume.ephemeral.is_some() && own == *name)
            })
    }

    /// Whether a node was chosen for it.
    #[must_use]
    pub fn is_scheduled(&self) -> bool {
        !self.spec.node_name.is_empty()
    }
}

/// An Event.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Event {
    pub(super) involved_object: Involved,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    pub(super) last_timestamp: Option<Time>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Involved {
    pub(super) uid: String,
}

/// Whether the first quantity is larger. What cannot be read is never.
pub(super) fn is_more(one: &str, other: &str) -> bool {
    let value = |text: &str| text.parse::<Quantity>().ok();
    value(one)
        .zip(value(other))
        .is_some_and(|(one, other)| one > other)
}
