//! Volumes that come back out of snapshots by their storage's own interface: which, under which name, in which zone.

use std::collections::{BTreeMap, BTreeSet};

use salvor_api::meta::StringMap;
use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_archive::archive::Archive;
use salvor_archive::files::VolumeSnapshot;
use salvor_seal::Digest;
use salvor_volume::native::{Snapshotters, map_zones, zone_of};
use serde_json::Value;

use super::super::body;
use super::super::error::RestoreError;
use super::super::fits::{Finding, Severity, VOLUME_ZONE};
use super::super::plan::{Action, RestorePlan};
use super::super::rules::{NativeVolume, VolumeFate};
use super::super::volume_data::{DataAction, VolumeData};
use super::volumes::read;

/// Code of volumes that cannot be made.
const CODE: &str = "volume-snapshot";
/// Labels of nodes that name their zone.
const ZONES: [&str; 2] = [
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/zone",
];

/// What the target has.
pub(super) struct Target<'a> {
    /// Names of its persistent volumes.
    pub(super) volumes: BTreeSet<String>,
    /// Zones of its nodes.
    pub(super) zones: BTreeSet<String>,
    /// Source namespace to target namespace.
    pub(super) namespaces: &'a StringMap,
    /// What makes names and tokens those of this restore.
    pub(super) mark: &'a str,
}

/// The zone of a node; empty when it names none.
pub(super) fn zone_of_node(node: &Value) -> String {
    let label = |key: &&str| body::text_at(node, &["metadata", "labels", key]).to_owned();
    let found = ZONES.iter().map(label).find(|zone| !zone.is_empty());
    found.unwrap_or_default()
}

/// Decides which volumes are made of snapshots. Their fate, and what is said of their data, is written there.
pub(super) fn decide(
    archive: &Archive,
    snapshots: &[VolumeSnapshot],
    target: &Target<'_>,
    data: &mut [VolumeData],
    fates: &mut BTreeMap<String, VolumeFate>,
) -> Result<BTreeMap<String, NativeVolume>, RestoreError> {
    let mut made = BTreeMap::new();
    for snapshot in snapshots.iter().filter(|one| one.is_completed()) {
        let name = snapshot.spec.persistent_volume_name.as_str();
        let key = ObjectKey::cluster(GroupResource::new("persistentvolumes", ""), name);
        let of_volume = data.iter_mut().find(|data| data.persistent_volume == name);
        let Some(volume) = read(archive, &key)? else {
            let reason = "its data is in a snapshot of the storage, and the backup does not hold its persistent volume";
            if let Some(data) = of_volume {
                data.set(DataAction::Leave, reason);
            }
            continue;
        };
        let claim = |field: &str| body::text_at(&volume, &["spec", "claimRef", field]).to_owned();
        let is_moved = target.namespaces.contains_key(&claim("namespace"));
        let is_there = target.volumes.contains(name);
        if is_there && !is_moved {
            if let Some(data) = of_volume {
                let reason = "the target has its persistent volume, which stays as it is";
                data.set(DataAction::Leave, reason);
            }
            continue;
        }
        let native = native_volume(snapshot, &volume, is_there, target);
        if let Some(data) = of_volume {
            if data.is_of_pod() {
                (data.namespace, data.claim) = (claim("namespace"), claim("name"));
            }
            let reason = format!(
                "its volume is made of snapshot {} (location {})",
                native.snapshot, native.location
            );
            data.set(DataAction::FromSnapshot, reason);
        }
        fates.insert(name.to_owned(), VolumeFate::FromSnapshot);
        made.insert(name.to_owned(), native);
    }
    move_zones(&mut made, &target.zones);
    Ok(made)
}

fn native_volume(
    snapshot: &VolumeSnapshot,
    volume: &Value,
    is_there: bool,
    target: &Target<'_>,
) -> NativeVolume {
    let spec = &snapshot.spec;
    let name = &spec.persistent_volume_name;
    let zone = match spec.volume_az.as_str() {
        "" => zone_of(volume),
        zone => zone.to_owned(),
    };
    NativeVolume {
        location: spec.location.clone(),
        snapshot: snapshot.status.provider_snapshot_id.clone(),
        volume_type: spec.volume_type.clone(),
        iops: spec.volume_iops,
        zone_before: zone.clone(),
        zone,
        name: match is_there {
            true => clone_name(target.mark, name),
            false => name.clone(),
        },
        token: format!("{}/{name}", target.mark),
    }
}

/// The name of a volume beside the one that it is a clone of, in Velero's form.
fn clone_name(mark: &str, volume: &str) -> String {
    let digest = Digest::of(format!("{mark}\0{volume}").as_bytes()).to_string();
    let part = |from: usize, to: usize| &digest[from..to];
    format!(
        "velero-clone-{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

fn move_zones(made: &mut BTreeMap<String, NativeVolume>, nodes: &BTreeSet<String>) {
    let zones = made.values().map(|native| native.zone.clone()).collect();
    let moved = map_zones(&zones, nodes);
    for native in made.values_mut() {
        if let Some(to) = moved.get(&native.zone) {
            native.zone.clone_from(to);
        }
    }
}

/// What the reader of a plan should know of them.
pub(super) fn findings(
    made: &BTreeMap<String, NativeVolume>,
    snapshotters: &Snapshotters,
) -> Vec<Finding> {
    let mut findings = BTreeMap::new();
    for native in made.values() {
        if native.zone != native.zone_before {
            let text = format!(
                "the target has no node in zone {}: volumes that were there are made in zone {}",
                native.zone_before, native.zone
            );
            findings.insert(text, (Severity::Warning, VOLUME_ZONE));
        }
        if let Err(reason) = snapshotters.named(&native.location) {
            let text = format!(
                "volumes cannot be made of their snapshots, so their claims wait: {reason}; or leave the data out \
                 (`--restore-volumes=false`)"
            );
            findings.insert(text, (Severity::Problem, CODE));
        }
    }
    let finding = |(text, (severity, code))| Finding::new(severity, code, text);
    findings.into_iter().map(finding).collect()
}

/// Leaves out volumes whose claims stand in the target with others: nobody would use them, and their storage is paid for.
pub(super) fn leave_unclaimed(plan: &mut RestorePlan) {
    let native = &plan.header.rules.native;
    if native.is_empty() {
        return;
    }
    let mut standing = BTreeSet::new();
    for data in &plan.header.data {
        if data.action == DataAction::FromSnapshot
            && let Some(entry) = data.entry.and_then(|at| plan.entries.get(at as usize))
            && !matches!(entry.action, Action::Create | Action::Recreate)
        {
            standing.insert(data.persistent_volume.clone());
        }
    }
    for data in &mut plan.header.data {
        if standing.contains(&data.persistent_volume) {
            data.set(
                DataAction::Leave,
                "its claim stands in the target, or is not restored",
            );
        }
    }
    for entry in &mut plan.entries {
        let is_volume =
            entry.resource.group.is_empty() && entry.resource.resource == "persistentvolumes";
        if is_volume && entry.action == Action::Create && standing.contains(&*entry.name) {
            entry.action = Action::Skip;
            entry.digest = None;
            let reason = "its claim stands in the target with another volume, or is not restored";
            entry.reason = Some(reason.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native(zone: &str) -> NativeVolume {
        NativeVolume {
            zone_before: zone.to_owned(),
            zone: zone.to_owned(),
            location: "default".to_owned(),
            ..NativeVolume::default()
        }
    }

    #[test]
    fn a_zone_without_nodes_is_left_with_a_word_about_it() {
        let mut made = BTreeMap::from([
            ("pv-1".to_owned(), native("eu-west-1a")),
            ("pv-2".to_owned(), native("eu-west-1b")),
            ("pv-3".to_owned(), native("")),
        ]);
        let nodes = BTreeSet::from(["eu-west-1b".to_owned(), "eu-west-1c".to_owned()]);
        move_zones(&mut made, &nodes);
        let zones: Vec<&str> = made.values().map(|native| native.zone.as_str()).collect();
        assert_eq!(zones, ["eu-west-1b", "eu-west-1b", ""]);
        let found = findings(&made, &Snapshotters::default());
        let texts: Vec<&str> = found.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[0].contains("no node in zone eu-west-1a"), "{texts:?}");
        assert!(texts[1].contains("location `default`"), "{texts:?}");
    }

    #[test]
    fn a_clone_has_one_name_in_its_restore() {
        let name = clone_name("restore-1", "pv-1");
        assert_eq!(name.len(), "velero-clone-".len() + 36);
        assert_eq!(name, clone_name("restore-1", "pv-1"));
        assert_ne!(name, clone_name("restore-2", "pv-1"));
        assert_ne!(name, clone_name("restore-1", "pv-2"));
    }
}
