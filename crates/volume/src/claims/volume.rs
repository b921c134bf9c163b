//! Volumes: the parts that the commands about claims look at. Unknown fields are passed over.

use std::fmt;

use salvor_api::go::Time;
use salvor_api::meta::StringMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::objects::{Claim, Meta, Node};

/// Label of a node with its name.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// Annotation of a volume whose claim was found by the binder, not named by its user: the binder frees such a volume
/// for everybody when it lets go of its claim.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";

/// A PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Volume {
    /// Name, labels, annotations.
    pub metadata: Meta,
    /// What it is.
    pub spec: VolumeSpec,
    /// How it stands.
    pub status: VolumeStatus,
}

/// `spec` of a PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VolumeSpec {
    capacity: StringMap,
    /// Ways in which it can be mounted.
    pub access_modes: Vec<String>,
    /// The claim that has it, had it, or that it is kept for.
    pub claim_ref: Option<ClaimRef>,
    /// `Retain`, `Delete` or `Recycle`.
    pub persistent_volume_reclaim_policy: String,
    storage_class_name: String,
    volume_mode: Option<String>,
    volume_attributes_class_name: Option<String>,
    node_affinity: NodeAffinity,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// `spec.claimRef` of a PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClaimRef {
    /// Namespace of the claim.
    pub namespace: String,
    /// Name of the claim.
    pub name: String,
    /// The incarnation of the claim; empty while the volume is only kept for a claim of this name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

impl ClaimRef {
    /// Whether it means a claim of this name, whichever incarnation.
    #[must_use]
    pub fn names(&self, namespace: &str, name: &str) -> bool {
        self.namespace == namespace && self.name == name
    }
}

impl fmt::Display for ClaimRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// `status` of a PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VolumeStatus {
    /// `Available`, `Bound`, `Released`, `Failed` or `Pending`.
    pub phase: String,
    /// Why it failed.
    pub message: String,
    last_phase_transition_time: Option<Time>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeAffinity {
    required: Option<NodeSelector>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeSelector {
    node_selector_terms: Vec<NodeTerm>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeTerm {
    match_expressions: Vec<NodeRequirement>,
    match_fields: Vec<NodeRequirement>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeRequirement {
    key: String,
    operator: String,
    values: Vec<String>,
}

impl NodeRequirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let is_among = || value.is_some_and(|value| self.values.iter().any(|one| one == value));
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
        let bound = self.values.first().map(String::as_str);
        match self.operator.as_str() {
            "In" => is_among(),
            "NotIn" => !is_among(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => number(value).zip(number(bound)).is_some_and(|(a, b)| a > b),
            "Lt" => number(value).zip(number(bound)).is_some_and(|(a, b)| a < b),
            _ => false,
        }
    }
}

impl NodeTerm {
    /// A term without requirements holds for no node.
    fn holds(&self, node: &Node) -> bool {
        let labels = &node.metadata.labels;
        let label = |key: &str| labels.get(key).map(String::as_str);
        let field = |key: &str| (key == "metadata.name").then_some(node.metadata.name.as_str());
        (!self.match_expressions.is_empty() || !self.match_fields.is_empty())
            && self
                .match_expressions
                .iter()
                .all(|one| one.holds(label(&one.key)))
            && self
                .match_fields
                .iter()
                .all(|one| one.holds(field(&one.key)))
    }
}

/// Where the bytes of a volume are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// Kind of storage as the field of the volume is called: `hostPath`, `local`, `nfs`, `csi`.
    pub kind: String,
    /// Path, handle or address there.
    pub handle: String,
    /// Nodes that have it, where it is bound to nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.handle)?;
        if !self.nodes.is_empty() {
            write!(f, " on {}", self.nodes.join(", "))?;
        }
        Ok(())
    }
}

/// Fields of a volume's source that say what it is, in the order in which they are shown.
const SOURCES: &[(&str, &[&str])] = &[
    ("hostPath", &["path"]),
    ("local", &["path"]),
    ("nfs", &["server", "path"]),
    ("csi", &["driver", "volumeHandle"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("azureDisk", &["diskURI"]),
    ("azureFile", &["shareName"]),
    ("cephfs", &["path"]),
    ("cinder", &["volumeID"]),
    ("fc", &["targetWWNs", "lun"]),
    ("flexVolume", &["driver"]),
    ("gcePersistentDisk", &["pdName"]),
    ("glusterfs", &["endpoints", "path"]),
    ("iscsi", &["targetPortal", "iqn", "lun"]),
    ("portworxVolume", &["volumeID"]),
    ("rbd", &["pool", "image"]),
    ("vsphereVolume", &["volumePath"]),
];

fn shown(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(list) => {
            let texts: Vec<String> = list.iter().filter_map(shown).collect();
            Some(texts.join(","))
        }
        _ => None,
    }
}

impl Volume {
    /// Its capacity as it is written; empty when it has none.
    #[must_use]
    pub fn capacity(&self) -> &str {
        self.spec.capacity.get("storage").map_or("", String::as_str)
    }

    /// Its storage class; empty for none.
    #[must_use]
    pub fn class(&self) -> &str {
        let old = self.metadata.old_class();
        old.unwrap_or(&self.spec.storage_class_name)
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

    /// Where its bytes are.
    #[must_use]
    pub fn place(&self) -> Place {
        let known = SOURCES.iter().find_map(|(kind, fields)| {
            let source = self.spec.rest.get(*kind)?;
            let parts: Vec<String> = fields
                .iter()
                .filter_map(|name| shown(&source[*name]))
                .collect();
            let separator = if *kind == "nfs" { ":" } else { " " };
            Some(((*kind).to_owned(), parts.join(separator)))
        });
        let (kind, handle) = known.unwrap_or_else(|| ("other".to_owned(), String::new()));
        Place {
            kind,
            handle,
            nodes: self.nodes(),
        }
    }

    /// Names of the nodes that the volume says have it.
    fn nodes(&self) -> Vec<String> {
        let required = self.spec.node_affinity.required.iter();
        let terms = required.flat_map(|selector| &selector.node_selector_terms);
        let mut nodes: Vec<String> = terms
            .flat_map(|term| term.match_expressions.iter().chain(&term.match_fields))
            .filter(|one| {
                one.operator == "In" && matches!(one.key.as_str(), HOSTNAME | "metadata.name")
            })
            .flat_map(|one| one.values.clone())
            .collect();
        nodes.sort();
        nodes.dedup();
        nodes
    }

    /// Whether pods with this volume can run on a node.
    #[must_use]
    pub fn is_reached_from(&self, node: &Node) -> bool {
        match &self.spec.node_affinity.required {
            Some(selector) => selector
                .node_selector_terms
                .iter()
                .any(|term| term.holds(node)),
            None => true,
        }
    }

    /// Whether it can be reached from some nodes only.
    #[must_use]
    pub fn is_bound_to_nodes(&self) -> bool {
        self.spec.node_affinity.required.is_some()
    }

    /// Since when it is in its phase. Servers before 1.29 do not say: then it is when the phase was last written, which
    /// may be later.
    #[must_use]
    pub fn phase_since(&self) -> Option<Time> {
        let said = self.status.last_phase_transition_time;
        said.or_else(|| self.metadata.phase_written())
    }

    /// Whether it is this claim's: bound to it, or kept for a claim of its name.
    #[must_use]
    pub fn is_kept_for(&self, claim: &Claim) -> bool {
        self.spec.claim_ref.as_ref().is_some_and(|reference| {
            let Meta {
                namespace,
                name,
                uid,
                ..
            } = &claim.metadata;
            reference.names(namespace, name) && (reference.uid.is_empty() || reference.uid == *uid)
        })
    }
}

/// Whether a volume outlived its claim.
#[must_use]
pub fn is_left(volume: &Volume) -> bool {
    matches!(volume.status.phase.as_str(), "Released" | "Failed")
}
