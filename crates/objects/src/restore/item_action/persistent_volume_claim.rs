//! `pvc`: binding, node choice and provisioning start anew; the volume name stays only when that volume
//! comes back as it is or stands in the target.

use salvor_volume::csi::of_snapshot;
use serde_json::{Value, json};

use super::Item;
use crate::restore::body;
use crate::restore::rules::{Rules, VolumeFate};
use crate::restore::skip::Skip;
use crate::restore::volume_data::UNFILLED;

/// Annotations of controllers, and of Velero's own volume actions.
const CONTROLLER_ANNOTATIONS: &[&str] = &[
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.kubernetes.io/selected-node",
    "volume.beta.kubernetes.io/selected-node",
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
    "velero.io/volume-snapshot-name",
    "velero.io/data-upload-name",
    "backup.velero.io/must-include-additional-items",
    UNFILLED,
];

/// Label that says which snapshot of a backup the claim has.
const SNAPSHOT_NAME: &[&str] = &["metadata", "labels", "velero.io/volume-snapshot-name"];

/// Annotation by which the scheduler says where a volume is to be provisioned.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

pub(super) fn run(item: &mut Item<'_>, rules: &Rules) -> Result<(), Skip> {
    let annotation = ["metadata", "annotations", SELECTED_NODE];
    let node = rules
        .nodes
        .get(body::text_at(item.body, &annotation))
        .cloned();
    body::drop_annotations(item.body, CONTROLLER_ANNOTATIONS);
    body::remove_at(item.body, SNAPSHOT_NAME);
    // Only a user's map chooses the node; otherwise the scheduler does, anew.
    if let Some(node) = node {
        body::set_at(item.body, &annotation, json!(node));
    }
    let claim = item.key.scoped_name();
    if rules.data.claims.contains(&claim) {
        let mark = ["metadata", "annotations", UNFILLED];
        body::set_at(item.body, &mark, json!(rules.restore));
    }
    if let Some(source) = rules.data.snapshots.get(&claim) {
        of_snapshot(item.body, &source.snapshot, source.bytes);
    }
    let volume = body::text_at(item.body, &["spec", "volumeName"]).to_owned();
    if volume.is_empty() {
        return Ok(());
    }
    match rules.volume_fate(&volume) {
        VolumeFate::AsItIs => return Ok(()),
        VolumeFate::OutOfReach => return Err(Skip::SnapshotOutOfReach),
        VolumeFate::FromSnapshot => {
            if let Some(native) = rules.native.get(&volume) {
                body::set_at(item.body, &["spec", "volumeName"], json!(native.name));
            }
            return Ok(());
        }
        VolumeFate::Taken => return Err(Skip::VolumeTaken),
        VolumeFate::Provisioned | VolumeFate::DataElsewhere | VolumeFate::Filled => {}
    }
    body::remove_at(item.body, &["spec", "volumeName"]);
    if rules.restore_volumes == Some(false) {
        body::remove_at(item.body, &["spec", "dataSource"]);
        body::remove_at(item.body, &["spec", "dataSourceRef"]);
    }
    Ok(())
}

/// Removes what binding writes, so that a bound claim equals its unbound restored form, and what its first data was,
/// which nobody can change.
pub(super) fn drop_binding(claim: &mut Value) {
    body::drop_annotations(claim, CONTROLLER_ANNOTATIONS);
    body::remove_at(claim, SNAPSHOT_NAME);
    for field in ["volumeName", "dataSource", "dataSourceRef"] {
        body::remove_at(claim, &["spec", field]);
    }
}
