//! Everything a transformation may depend on, gathered before it runs.
//!
//! The same body under the same rules always becomes the same object: apply repeats what the plan did,
//! so the rules travel inside the stored plan.

use std::collections::{BTreeMap, BTreeSet};

use salvor_api::meta::StringMap;
use salvor_api::resource::ObjectKey;
use salvor_api::velero::Hooks;
use salvor_extension::Actions;
use serde::{Deserialize, Serialize};

use super::mapping;
use super::modifiers::Modifiers;
use super::volume_data::DataRules;

/// What becomes of a persistent volume of the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeFate {
    /// Its object comes back, or stands in the target: claims keep its name.
    AsItIs,
    /// It is not restored; its claim gets a new, empty volume.
    Provisioned,
    /// As [`VolumeFate::Provisioned`], although the backup holds its data.
    DataElsewhere,
    /// It is not restored; its claim gets a new volume, which is filled from the backup.
    Filled,
    /// Its data is in a snapshot of which no volume can be made: its claim is not made either.
    OutOfReach,
    /// Its object comes back, or a clone of it, with a new volume that its storage makes of a snapshot: see
    /// [`Rules::native`].
    FromSnapshot,
    /// It was made by hand and serves somebody else in the target: its claim cannot have it.
    Taken,
}

/// A volume that is made of a snapshot by its storage's own interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NativeVolume {
    /// The VolumeSnapshotLocation.
    pub location: String,
    /// The provider's name for the snapshot.
    pub snapshot: String,
    /// The provider's type of the volume.
    pub volume_type: String,
    /// Operations per second that the volume is made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<i64>,
    /// Zone that the volume was in; empty where there are none.
    pub zone_before: String,
    /// Zone that it is made in.
    pub zone: String,
    /// Name of its persistent volume in the target.
    pub name: String,
    /// What the storage finds the volume by, when it was made and nobody noted it.
    pub token: String,
}

/// What a transformation knows besides the body.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rules {
    /// Name of the backup, for the label.
    pub backup: String,
    /// Name of the restore, for the label.
    pub restore: String,
    /// Source namespace to target namespace.
    pub namespaces: StringMap,
    /// Whether node ports are kept.
    pub preserve_node_ports: bool,
    /// `spec.restorePVs`.
    pub restore_volumes: Option<bool>,
    /// Storage class in the backup to class in the target.
    pub storage_classes: StringMap,
    /// Storage classes that the target has or will have.
    pub known_storage_classes: BTreeSet<String>,
    /// Image mappings: (old substring, new).
    pub image_names: Vec<(String, String)>,
    /// The fate of each volume that the backup or the target has.
    pub volumes: BTreeMap<String, VolumeFate>,
    /// The volumes of fate [`VolumeFate::FromSnapshot`], by their names in the backup.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub native: BTreeMap<String, NativeVolume>,
    /// Resource modifiers.
    pub modifiers: Modifiers,
    /// `spec.hooks`.
    #[serde(default, skip_serializing_if = "no_hooks")]
    pub hooks: Hooks,
    /// Item actions of users. A stored plan has their fingerprint only: they are found anew when it is gone on
    /// with, and must be the same.
    #[serde(skip)]
    pub actions: Actions,
    /// Fingerprint of the actions; empty when there are none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub actions_fingerprint: String,
    /// Node in the backup to node in the target, for volumes that are provisioned where their pod runs.
    #[serde(default, skip_serializing_if = "StringMap::is_empty")]
    pub nodes: StringMap,
    /// Volumes that are filled.
    #[serde(default, skip_serializing_if = "DataRules::is_empty")]
    pub data: DataRules,
}

fn no_hooks(hooks: &Hooks) -> bool {
    hooks.resources.is_empty()
}

impl Rules {
    /// The key under which a backed up object is restored.
    #[must_use]
    pub fn target_key(&self, source: &ObjectKey) -> ObjectKey {
        let mut key = mapping::target_key(source, &self.namespaces);
        let is_volume =
            key.resource.group.is_empty() && key.resource.resource == "persistentvolumes";
        if is_volume && let Some(native) = self.native.get(&source.name) {
            key.name.clone_from(&native.name);
        }
        key
    }

    /// The fate of a volume; one that neither the backup nor the target has is provisioned anew.
    #[must_use]
    pub fn volume_fate(&self, name: &str) -> VolumeFate {
        self.volumes
            .get(name)
            .copied()
            .unwrap_or(VolumeFate::Provisioned)
    }
}
