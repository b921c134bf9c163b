//! Policies for volumes: whether the conditions hold, and what is done then.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Conditions, Csi, Nfs, ResourcePolicies, VolumePolicy};
use crate::meta::StringMap;
use crate::quantity::Quantity;

/// What is done with a volume.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Action {
    /// Which way.
    #[serde(rename = "type")]
    pub kind: ActionType,
    /// Settings: for snapshots `dataMover` and `snapshotClass` (releases from 1.19).
    pub parameters: Map<String, Value>,
}

/// Ways to treat a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionType {
    /// Not at all.
    Skip,
    /// Copied file by file.
    FsBackup,
    /// Snapshotted.
    Snapshot,
    /// Left to somebody else.
    Custom,
    /// Something that this version does not know; refused.
    #[default]
    #[serde(untagged)]
    Missing,
    /// The same, with its name.
    #[serde(untagged)]
    Other(String),
}

/// Data movers that a snapshot action may name.
const DATA_MOVERS: [&str; 4] = ["", "velero", "velero-fs", "velero-block"];

impl Action {
    /// Name of the data mover that a snapshot action asks for.
    #[must_use]
    pub fn data_mover(&self) -> Option<&str> {
        self.parameters.get("dataMover")?.as_str()
    }

    /// Name of the VolumeSnapshotClass that a snapshot action asks for.
    #[must_use]
    pub fn snapshot_class(&self) -> Option<&str> {
        self.parameters.get("snapshotClass")?.as_str()
    }

    fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        match &self.kind {
            ActionType::Missing => wrong.push("its action has no type".to_owned()),
            ActionType::Other(kind) => wrong.push(format!(
                "action `{kind}` is not one of skip, fs-backup, snapshot, custom"
            )),
            _ => {}
        }
        for name in ["dataMover", "snapshotClass"] {
            if self
                .parameters
                .get(name)
                .is_some_and(|value| !value.is_string())
            {
                wrong.push(format!("parameter {name} is no text"));
            }
        }
        if let Some(mover) = self
            .data_mover()
            .filter(|mover| !DATA_MOVERS.contains(mover))
        {
            wrong.push(format!(
                "data mover `{mover}` is not one of velero, velero-fs, velero-block"
            ));
        }
        wrong
    }
}

/// What conditions look at: a volume and its claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeFacts {
    /// Capacity; zero when it is not known, as for a volume of a pod.
    pub capacity: Quantity,
    /// Storage class.
    pub storage_class: String,
    /// Server and path of an NFS volume.
    pub nfs: Option<(String, String)>,
    /// Driver and attributes of a CSI volume.
    pub csi: Option<(String, StringMap)>,
    /// Kind of source, as the field of the volume is called.
    pub volume_type: String,
    /// Labels of the claim.
    pub pvc_labels: StringMap,
    /// Phase of the claim.
    pub pvc_phase: String,
    /// Volume mode of the claim.
    pub pvc_volume_mode: String,
    /// Access modes of the claim.
    pub pvc_access_modes: Vec<String>,
}

/// Fields of a volume's specification that are no source.
const NO_SOURCES: &[&str] = &[
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "name",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

fn text(json: &Value) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

fn map(json: &Value) -> StringMap {
    let pairs = json.as_object().into_iter().flatten();
    pairs
        .map(|(key, value)| (key.clone(), text(value)))
        .collect()
}

impl VolumeFacts {
    /// The facts of a PersistentVolume and its claim.
    #[must_use]
    pub fn of_persistent_volume(volume: &Value, claim: Option<&Value>) -> Self {
        let spec = &volume["spec"];
        let capacity = spec["capacity"]["storage"].as_str().unwrap_or_default();
        Self {
            capacity: capacity.parse().unwrap_or_default(),
            storage_class: text(&spec["storageClassName"]),
            ..Self::of_source(spec, claim)
        }
    }

    /// The facts of an entry of a pod's `volumes` and, when it has one, its claim.
    #[must_use]
    pub fn of_pod_volume(volume: &Value, claim: Option<&Value>) -> Self {
        Self::of_source(volume, claim)
    }

    fn of_source(source: &Value, claim: Option<&Value>) -> Self {
        let fields = source.as_object().into_iter().flatten();
        let kind = fields
            .map(|(name, _)| name)
            .find(|name| !NO_SOURCES.contains(&name.as_str()));
        let (nfs, csi) = (&source["nfs"], &source["csi"]);
        let claim = claim.unwrap_or(&Value::Null);
        let modes = claim["spec"]["accessModes"]
            .as_array()
            .into_iter()
            .flatten();
        Self {
            capacity: Quantity::ZERO,
            storage_class: String::new(),
            nfs: nfs
                .is_object()
                .then(|| (text(&nfs["server"]), text(&nfs["path"]))),
            csi: csi
                .is_object()
                .then(|| (text(&csi["driver"]), map(&csi["volumeAttributes"]))),
            volume_type: kind.cloned().unwrap_or_default(),
            pvc_labels: map(&claim["metadata"]["labels"]),
            pvc_phase: text(&claim["status"]["phase"]),
            pvc_volume_mode: text(&claim["spec"]["volumeMode"]),
            pvc_access_modes: modes.map(text).collect(),
        }
    }
}

impl ResourcePolicies {
    /// The first policy that matches a volume: its number, from 1, and what it does; `None` when none does.
    #[must_use]
    pub fn volume_action(&self, volume: &VolumeFacts) -> Option<(usize, &Action)> {
        (1..)
            .zip(&self.volume_policies)
            .find(|(_, policy)| policy.conditions.hold(volume))
            .map(|(number, policy)| (number, &policy.action))
    }
}

/// Everything that is wrong with a policy.
pub(super) fn check(policy: &VolumePolicy) -> impl Iterator<Item = String> {
    let mut wrong = policy.action.check();
    match policy.conditions.range() {
        Err(error) => wrong.push(format!("capacity: {error}")),
        Ok((low, high)) if high != Quantity::ZERO && low > high => {
            wrong.push(format!(
                "capacity `{}` begins above its end",
                policy.conditions.capacity
            ));
        }
        Ok(_) => {}
    }
    if let Some(csi) = &policy.conditions.csi
        && csi.driver.is_empty()
        && !csi.volume_attributes.is_empty()
    {
        wrong.push("csi: volumeAttributes need a driver".to_owned());
    }
    wrong.into_iter()
}

impl Conditions {
    /// Smallest and largest capacity; zero where there is no end.
    fn range(&self) -> Result<(Quantity, Quantity), String> {
        let end = |text: &str| match text.trim() {
            "" => Ok(Quantity::ZERO),
            text => text.parse(),
        };
        match self.capacity.split(',').collect::<Vec<_>>().as_slice() {
            [""] => Ok(Default::default()),
            [low, high] => Ok((end(low)?, end(high)?)),
            _ => Err(format!(
                "`{}` is not of the form `10Gi,100Gi`",
                self.capacity
            )),
        }
    }

    fn hold(&self, volume: &VolumeFacts) -> bool {
        // A range that cannot be read was refused when the policies were.
        let Ok((low, high)) = self.range() else {
            return false;
        };
        let any = |list: &[String], value: &str| list.is_empty() || list.iter().any(|v| v == value);
        let modes = |list: &[String]| list.iter().cloned().collect::<BTreeSet<String>>();
        low <= volume.capacity
            && (high == Quantity::ZERO || volume.capacity <= high)
            && any(&self.storage_class, &volume.storage_class)
            && self.nfs.as_ref().is_none_or(|nfs| nfs.holds(volume))
            && self.csi.as_ref().is_none_or(|csi| csi.holds(volume))
            && (self.volume_types.is_empty()
                || self
                    .volume_types
                    .iter()
                    // Velero writes `storageOS` for the field `storageos`.
                    .any(|kind| kind.eq_ignore_ascii_case(&volume.volume_type)))
            && self
                .pvc_labels
                .iter()
                .all(|(key, value)| volume.pvc_labels.get(key) == Some(value))
            && any(&self.pvc_phase, &volume.pvc_phase)
            && (self.pvc_volume_mode.is_empty() || self.pvc_volume_mode == volume.pvc_volume_mode)
            && (self.pvc_access_modes.is_empty()
                || self.pvc_access_modes.len() == volume.pvc_access_modes.len()
                    && modes(&self.pvc_access_modes) == modes(&volume.pvc_access_modes))
    }
}

impl Nfs {
    fn holds(&self, volume: &VolumeFacts) -> bool {
        volume.nfs.as_ref().is_some_and(|(server, path)| {
            (self.server.is_empty() || self.server == *server)
                && (self.path.is_empty() || self.path == *path)
        })
    }
}

impl Csi {
    fn holds(&self, volume: &VolumeFacts) -> bool {
        volume.csi.as_ref().is_some_and(|(driver, attributes)| {
            (self.driver.is_empty() || self.driver == *driver)
                && self
                    .volume_attributes
                    .iter()
                    .all(|(key, value)| attributes.get(key) == Some(value))
        })
    }
}
