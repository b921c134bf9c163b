//! What becomes of each persistent volume: decided once, from how the backup treated it and what the
//! target has.

use std::collections::{BTreeMap, BTreeSet};

use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_archive::archive::Archive;
use salvor_archive::files::BackupVolumeInfo;
use serde_json::Value;

use super::super::body;
use super::super::error::{Doing as _, RestoreError};
use super::super::mapping::target_namespace;
use super::super::rules::{Rules, VolumeFate};
use super::super::volume_data::{Binding, DataAction, StorageSnapshot, VolumeData};
use super::parse;

/// Provisioner of classes whose volumes are made by hand.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// Older clients name the class in an annotation.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// A persistent volume of the target.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LiveVolume {
    /// The claim that it is for, `<namespace>/<name>`; empty when it is for any.
    claim: String,
    /// Its claim is gone, and it still names it.
    is_released: bool,
    /// Any claim of its class may have it.
    is_spare: bool,
    /// Its storage class; empty when it has none.
    class: String,
    /// Where its bytes are.
    place: Option<VolumeSite>,
}

/// Where the bytes of a volume are, as far as its object tells: two volumes of one site share them.
#[derive(Clone, Debug, PartialEq)]
struct VolumeSite {
    source: Value,
    nodes: Value,
}

impl VolumeSite {
    fn of(volume: &Value) -> Option<Self> {
        let part = |path: &[&str]| body::at(volume, path).cloned();
        let source = ["hostPath", "local"]
            .iter()
            .find_map(|kind| part(&["spec", kind, "path"]))
            .or_else(|| part(&["spec", "csi", "volumeHandle"]))
            .or_else(|| part(&["spec", "nfs"]))?;
        Some(Self {
            source,
            nodes: part(&["spec", "nodeAffinity", "required"]).unwrap_or_default(),
        })
    }

    /// True when they may be one place: a path without nodes is one on every node.
    fn meets(&self, other: &Self) -> bool {
        let anywhere = self.nodes.is_null() || other.nodes.is_null();
        self.source == other.source && (anywhere || self.nodes == other.nodes)
    }
}

impl LiveVolume {
    pub(super) fn of(volume: &Value) -> Self {
        let text = |field: &str| body::text_at(volume, &["spec", "claimRef", field]);
        Self {
            claim: match text("name") {
                "" => String::new(),
                name => format!("{}/{name}", text("namespace")),
            },
            is_released: body::text_at(volume, &["status", "phase"]) == "Released",
            is_spare: body::text_at(volume, &["status", "phase"]) == "Available"
                && text("name").is_empty(),
            class: class_of(volume).unwrap_or_default().to_owned(),
            place: VolumeSite::of(volume),
        }
    }
}

/// What the target has, or will have, for volumes.
#[derive(Clone, Debug, Default)]
pub(super) struct Storage {
    /// Its persistent volumes.
    pub(super) volumes: BTreeMap<String, LiveVolume>,
    /// Storage classes with their provisioners, those that the backup brings included.
    pub(super) classes: BTreeMap<String, String>,
    /// Storage class in the backup to class in the target.
    pub(super) mapped: BTreeMap<String, String>,
    /// Source namespace to target namespace.
    pub(super) namespaces: BTreeMap<String, String>,
}

impl Storage {
    /// True when a claim of this class gets a volume without anybody's doing. One that names no class gets the default
    /// one; one that names the empty class gets nothing.
    fn provisions(&self, class: Option<&str>) -> bool {
        let Some(class) = class else { return true };
        let class = self.mapped.get(class).map_or(class, String::as_str);
        let provisioner = self.classes.get(class);
        provisioner.is_some_and(|by| !by.is_empty() && by != NO_PROVISIONER)
    }

    /// How a claim with data comes to a volume, and what becomes of the one that it had.
    fn binding(
        &self,
        data: &VolumeData,
        claim: &Value,
        volume: Option<&Value>,
    ) -> Result<Binding, String> {
        let class = class_of(claim).or_else(|| volume.and_then(class_of));
        if self.provisions(class) {
            return Ok(Binding::New);
        }
        let kept = self.own_volume(data, volume);
        // Whether they are enough and large enough, their binding will tell.
        kept.or_else(|reason| match self.has_spare(class) {
            true => Ok(Binding::New),
            false => Err(reason),
        })
    }

    /// How a claim comes to a volume that is made of a snapshot: only by a class of the driver that has the snapshot.
    fn binding_of_snapshot(
        &self,
        snapshot: &StorageSnapshot,
        claim: &Value,
        volume: Option<&Value>,
    ) -> Result<Binding, String> {
        let driver = &snapshot.driver;
        let class = class_of(claim).or_else(|| volume.and_then(class_of));
        let Some(class) = class else {
            // The default one; what it provisions will tell.
            return Ok(Binding::New);
        };
        let class = self.mapped.get(class).map_or(class, String::as_str);
        let how = match self.classes.get(class).map(String::as_str) {
            Some(by) if by == driver => return Ok(Binding::New),
            Some("" | NO_PROVISIONER) | None => "provisions nothing in the target".to_owned(),
            Some(by) => format!("is of {by}"),
        };
        Err(format!(
            "its data is in a snapshot of driver {driver}, and its storage class `{class}` {how}: map its class to one \
             of that driver (ConfigMap of velero.io/change-storage-class)"
        ))
    }

    /// True when the target has a volume of the class that is free for any claim, and shares its bytes with none that
    /// is in use.
    fn has_spare(&self, class: Option<&str>) -> bool {
        let class = class.unwrap_or_default();
        let class = self.mapped.get(class).map_or(class, String::as_str);
        let shares = |spare: &LiveVolume| {
            let mut used = self.volumes.values().filter(|live| !live.is_spare);
            used.any(|live| match (&live.place, &spare.place) {
                (Some(used), Some(spare)) => used.meets(spare),
                _ => false,
            })
        };
        let mut volumes = self.volumes.values();
        volumes.any(|live| live.is_spare && live.class == class && !shares(live))
    }

    /// How a claim comes to the volume that it had, which was made by hand.
    fn own_volume(&self, data: &VolumeData, volume: Option<&Value>) -> Result<Binding, String> {
        let name = &data.persistent_volume;
        let namespace = target_namespace(&data.namespace, &self.namespaces);
        let claim = format!("{namespace}/{}", data.claim);
        let taken = |by: &str| {
            format!(
                "its volume {name} was made by hand and cannot be shared, and {by}: free it (`salvor pv rebind`), make a \
                 free volume of its class, or map its storage class to one that provisions (ConfigMap of velero.io/change-storage-class)"
            )
        };
        match (self.volumes.get(name), volume) {
            (Some(live), _) if live.claim == claim && live.is_released => Ok(Binding::Released),
            (Some(live), _) if live.claim == claim || live.claim.is_empty() => Ok(Binding::Kept),
            (Some(live), _) => Err(taken(&format!(
                "the target has it for claim {}",
                live.claim
            ))),
            (None, Some(volume)) => match self.at_the_place_of(volume) {
                Some(other) => Err(taken(&format!(
                    "the target's volume {other} is of the same place"
                ))),
                None => Ok(Binding::Kept),
            },
            (None, None) => Err(format!(
                "neither the backup nor the target has its volume {name}, and no storage class provisions another: \
                 map its class to one that does (ConfigMap of velero.io/change-storage-class)"
            )),
        }
    }

    fn at_the_place_of(&self, volume: &Value) -> Option<&str> {
        let site = VolumeSite::of(volume)?;
        let meets = |live: &&LiveVolume| live.place.as_ref().is_some_and(|other| site.meets(other));
        let found = self.volumes.iter().find(|(_, live)| meets(live));
        found.map(|(name, _)| name.as_str())
    }
}

/// The class that a claim or volume names; `None` when it names none.
fn class_of(object: &Value) -> Option<&str> {
    let named = body::at(object, &["spec", "storageClassName"]).and_then(Value::as_str);
    named.or_else(|| {
        let old = body::annotation(object, CLASS_ANNOTATION);
        (!old.is_empty()).then_some(old)
    })
}

/// Adds the storage classes that the backup brings.
pub(super) fn add_classes(
    storage: &mut Storage,
    archive: &Archive,
    restored: Vec<String>,
) -> Result<(), RestoreError> {
    for name in restored {
        if storage.classes.contains_key(&name) {
            continue;
        }
        let classes = GroupResource::new("storageclasses", "storage.k8s.io");
        let class = read(archive, &ObjectKey::cluster(classes, &*name))?.unwrap_or_default();
        storage.classes.insert(name, super::provisioner(&class));
    }
    Ok(())
}

/// The fate of every volume of the backup and of the target. What is found of the claims with data is written there.
pub(super) fn fates(
    archive: &Archive,
    infos: &[BackupVolumeInfo],
    data: &mut [VolumeData],
    storage: &Storage,
) -> Result<BTreeMap<String, VolumeFate>, RestoreError> {
    let mut fates: BTreeMap<String, VolumeFate> = storage
        .volumes
        .keys()
        .map(|name| (name.clone(), VolumeFate::AsItIs))
        .collect();
    decide_filled(archive, data, storage, &mut fates)?;
    let elsewhere: BTreeSet<&str> = infos
        .iter()
        .filter(|info| holds_data(info))
        .map(|info| info.pv_name.as_str())
        .filter(|name| !name.is_empty() && !storage.volumes.contains_key(*name))
        .collect();
    for name in elsewhere {
        let fate = fates.entry(name.to_owned());
        fate.or_insert(VolumeFate::DataElsewhere);
    }
    for entry in archive.index().range(&volumes(), None) {
        if fates.contains_key(entry.name()) {
            continue;
        }
        let bytes = archive
            .get(&entry)
            .doing(|| "read the archive".to_owned())?;
        let volume = parse(&bytes);
        let fate = match body::text_at(&volume, &["spec", "persistentVolumeReclaimPolicy"]) {
            "Delete" => VolumeFate::Provisioned,
            // `Retain`, and the deprecated `Recycle`: the data outlives the claim.
            _ => VolumeFate::AsItIs,
        };
        fates.insert(entry.name().to_owned(), fate);
    }
    Ok(fates)
}

/// Decides about the volumes of claims that are to be filled.
fn decide_filled(
    archive: &Archive,
    data: &mut [VolumeData],
    storage: &Storage,
    fates: &mut BTreeMap<String, VolumeFate>,
) -> Result<(), RestoreError> {
    let claims = GroupResource::new("persistentvolumeclaims", "");
    for data in data.iter_mut() {
        if data.action == DataAction::Blocked
            && data.csi.is_some()
            && !data.persistent_volume.is_empty()
        {
            fates.insert(data.persistent_volume.clone(), VolumeFate::OutOfReach);
        }
        if data.is_of_pod() || data.action != DataAction::Fill {
            continue;
        }
        let claim = ObjectKey::namespaced(claims.clone(), &*data.namespace, &*data.claim);
        let Some(claim) = read(archive, &claim)? else {
            // It is not in the plan either.
            continue;
        };
        if data.persistent_volume.is_empty() {
            let volume = body::text_at(&claim, &["spec", "volumeName"]);
            volume.clone_into(&mut data.persistent_volume);
        }
        let name = data.persistent_volume.clone();
        let volume = read(archive, &ObjectKey::cluster(volumes(), name.clone()))?;
        let binding = match &data.csi {
            Some(snapshot) => storage.binding_of_snapshot(snapshot, &claim, volume.as_ref()),
            None => storage.binding(data, &claim, volume.as_ref()),
        };
        let fate = match binding {
            Ok(binding) => {
                data.binding = binding;
                match binding {
                    Binding::New => VolumeFate::Filled,
                    Binding::Kept | Binding::Released => VolumeFate::AsItIs,
                }
            }
            Err(reason) => {
                let fate = match data.csi {
                    Some(_) => VolumeFate::OutOfReach,
                    None => VolumeFate::Taken,
                };
                data.set(DataAction::Blocked, reason);
                fate
            }
        };
        if !name.is_empty() {
            fates.insert(name, fate);
        }
    }
    Ok(())
}

fn volumes() -> GroupResource {
    GroupResource::new("persistentvolumes", "")
}

pub(super) fn read(archive: &Archive, key: &ObjectKey) -> Result<Option<Value>, RestoreError> {
    let Some(entry) = archive.index().get(key, None) else {
        return Ok(None);
    };
    let bytes = archive
        .get(&entry)
        .doing(|| "read the archive".to_owned())?;
    Ok(Some(parse(&bytes)))
}

/// True when an object of the backup is a claim whose volume does not come back: it gets a new, empty one.
pub(super) fn loses_data(rules: &Rules, source: &ObjectKey, object: &Value) -> bool {
    if !source.resource.group.is_empty() || source.resource.resource != "persistentvolumeclaims" {
        return false;
    }
    let volume = body::text_at(object, &["spec", "volumeName"]);
    !volume.is_empty()
        && matches!(
            rules.volumes.get(volume),
            Some(VolumeFate::Provisioned | VolumeFate::DataElsewhere)
        )
}

/// True when the backup holds the data of a volume.
pub(crate) fn holds_data(info: &BackupVolumeInfo) -> bool {
    !info.skipped && !info.backup_method.is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn live(claim: &str, phase: &str, path: &str) -> LiveVolume {
        let (namespace, name) = claim.split_once('/').unwrap_or_default();
        LiveVolume::of(&json!({"spec": {"hostPath": {"path": path},
            "claimRef": {"namespace": namespace, "name": name}}, "status": {"phase": phase}}))
    }

    /// How claim `shop/data` of this class, with the hand-made volume `pv`, comes to its volume.
    fn bound(class: Option<&str>, live: Option<LiveVolume>, mapped: &[(&str, &str)]) -> String {
        let storage = Storage {
            volumes: live
                .into_iter()
                .map(|volume| ("pv".to_owned(), volume))
                .collect(),
            classes: [("fast", "csi.example"), ("hand", NO_PROVISIONER)]
                .map(|(class, by)| (class.to_owned(), by.to_owned()))
                .into(),
            mapped: [("old".to_owned(), "fast".to_owned())].into(),
            namespaces: mapped
                .iter()
                .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
                .collect(),
        };
        let data = VolumeData {
            namespace: "shop".into(),
            claim: "data".into(),
            persistent_volume: "pv".into(),
            ..VolumeData::default()
        };
        let claim = json!({"spec": {"storageClassName": class}});
        let volume = json!({"spec": {"hostPath": {"path": "/d"}, "storageClassName": class}});
        match storage.binding(&data, &claim, Some(&volume)) {
            Ok(binding) => format!("{binding:?}"),
            Err(reason) => reason,
        }
    }

    #[test]
    fn a_claim_is_provisioned_anew_where_its_class_can_and_else_keeps_its_volume() {
        let moved = [("shop", "copy")];
        for (class, volume, mapping, expected) in [
            (Some("fast"), None, &[][..], "New"),
            (
                Some("fast"),
                Some(live("shop/data", "Bound", "/d")),
                &moved[..],
                "New",
            ),
            (Some("old"), None, &[][..], "New"),
            (None, None, &[][..], "New"),
            (Some("hand"), None, &[][..], "Kept"),
            (Some(""), None, &moved[..], "Kept"),
            (Some("gone"), None, &[][..], "Kept"),
            (
                Some(""),
                Some(live("shop/data", "Released", "/d")),
                &[][..],
                "Released",
            ),
            (
                Some(""),
                Some(live("shop/data", "Available", "/d")),
                &[][..],
                "Kept",
            ),
            (
                Some(""),
                Some(live("", "Available", "/d")),
                &moved[..],
                "Kept",
            ),
            (
                Some(""),
                Some(live("shop/data", "Bound", "/d")),
                &moved[..],
                "for claim shop/data",
            ),
            (
                Some("hand"),
                Some(live("shop/other", "Bound", "/d")),
                &[][..],
                "for claim shop/other",
            ),
        ] {
            let found = bound(class, volume.clone(), mapping);
            assert!(
                found.contains(expected),
                "{class:?} {volume:?} {mapping:?}: {found}"
            );
        }
    }

    #[test]
    fn a_volume_is_made_of_a_snapshot_only_by_a_class_of_its_driver() {
        let classes = [
            ("fast", "disk.example"),
            ("other", "nfs.example"),
            ("hand", NO_PROVISIONER),
        ];
        let storage = Storage {
            classes: classes
                .map(|(class, by)| (class.to_owned(), by.to_owned()))
                .into(),
            mapped: [("old".to_owned(), "fast".to_owned())].into(),
            ..Storage::default()
        };
        let snapshot = StorageSnapshot {
            driver: "disk.example".into(),
            ..StorageSnapshot::default()
        };
        for (class, expected) in [
            (Some("fast"), "New"),
            (Some("old"), "New"),
            (None, "New"),
            (Some("other"), "is of nfs.example"),
            (Some("hand"), "provisions nothing"),
            (Some("gone"), "provisions nothing"),
        ] {
            let claim = json!({"spec": {"storageClassName": class}});
            let found = storage.binding_of_snapshot(&snapshot, &claim, None);
            let found = found.map_or_else(|reason| reason, |binding| format!("{binding:?}"));
            assert!(found.contains(expected), "{class:?}: {found}");
        }
    }

    #[test]
    fn a_clone_of_a_hand_made_volume_takes_a_spare_one_of_its_class() {
        let spare = |class: &str, path: &str| {
            LiveVolume::of(
                &json!({"spec": {"hostPath": {"path": path}, "storageClassName": class},
                "status": {"phase": "Available"}}),
            )
        };
        for (spare, found) in [
            (spare("hand", "/spare"), Ok(Binding::New)),
            (spare("other", "/spare"), Err(())),
            // It is free, and its bytes are those of the volume in use.
            (spare("hand", "/d"), Err(())),
        ] {
            let storage = Storage {
                volumes: [
                    ("pv".to_owned(), live("shop/data", "Bound", "/d")),
                    ("spare".to_owned(), spare.clone()),
                ]
                .into(),
                namespaces: [("shop".to_owned(), "copy".to_owned())].into(),
                ..Storage::default()
            };
            let data = VolumeData {
                namespace: "shop".into(),
                claim: "data".into(),
                persistent_volume: "pv".into(),
                ..VolumeData::default()
            };
            let claim = json!({"spec": {"storageClassName": "hand"}});
            let bound = storage.binding(&data, &claim, None).map_err(drop);
            assert_eq!(bound, found, "{spare:?}");
        }
    }

    #[test]
    fn two_volumes_of_one_place_share_their_bytes() {
        let at = |spec: Value| VolumeSite::of(&json!({ "spec": spec })).expect("a place");
        let node =
            |name: &str| json!({"required": {"nodeSelectorTerms": [{"matchFields": [name]}]}});
        let path = at(json!({"local": {"path": "/d"}, "nodeAffinity": node("a")}));
        for (other, shared) in [
            (json!({"hostPath": {"path": "/d"}}), true),
            (
                json!({"local": {"path": "/d"}, "nodeAffinity": node("a")}),
                true,
            ),
            (
                json!({"local": {"path": "/d"}, "nodeAffinity": node("b")}),
                false,
            ),
            (
                json!({"local": {"path": "/e"}, "nodeAffinity": node("a")}),
                false,
            ),
            (json!({"csi": {"volumeHandle": "/e"}}), false),
        ] {
            assert_eq!(path.meets(&at(other.clone())), shared, "{other}");
        }
        assert_eq!(VolumeSite::of(&json!({"spec": {"emptyDir": {}}})), None);
    }
}
