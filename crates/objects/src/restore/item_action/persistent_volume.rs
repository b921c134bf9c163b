//! `pv`: a volume whose data is not restored either comes back as it is (`Retain`: the data is still
//! there) or is left to be provisioned anew.

use salvor_volume::native::rezone;
use serde_json::{Value, json};

use super::Item;
use crate::restore::body;
use crate::restore::rules::{Rules, VolumeFate};
use crate::restore::skip::Skip;

/// Written by the volume controller when it binds.
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";

/// Velero's annotation of a clone: the volume that it is a clone of.
const ORIGINAL_NAME: &str = "velero.io/original-pv-name";

pub(super) fn run(item: &mut Item<'_>, rules: &Rules) -> Result<(), Skip> {
    match rules.volume_fate(&item.key.name) {
        VolumeFate::AsItIs => {}
        VolumeFate::FromSnapshot => from_snapshot(item, rules),
        VolumeFate::Provisioned => return Err(Skip::ProvisionedAnew),
        VolumeFate::DataElsewhere if rules.restore_volumes == Some(false) => {
            return Err(Skip::VolumesNotWanted);
        }
        VolumeFate::DataElsewhere => return Err(Skip::VolumeDataNotRestored),
        VolumeFate::Filled => return Err(Skip::FilledAnew),
        VolumeFate::OutOfReach => return Err(Skip::SnapshotOutOfReach),
        VolumeFate::Taken => return Err(Skip::VolumeTaken),
    }
    let source = body::text_at(item.body, &["spec", "claimRef", "namespace"]);
    if let Some(target) = rules.namespaces.get(source) {
        let target = json!(target);
        body::set_at(item.body, &["spec", "claimRef", "namespace"], target);
    }
    drop_binding(item.body);
    Ok(())
}

/// Gives it the name and the zone of the volume that is made for it. The volume itself it names when that was made.
fn from_snapshot(item: &mut Item<'_>, rules: &Rules) {
    let Some(native) = rules.native.get(&item.key.name) else {
        return;
    };
    rezone(item.body, &native.zone_before, &native.zone);
    if native.name != item.key.name {
        body::set_at(item.body, &["metadata", "name"], json!(native.name));
        let before = ["metadata", "annotations", ORIGINAL_NAME];
        body::set_at(item.body, &before, json!(item.key.name));
    }
}

/// Removes what ties the volume to one incarnation of its claim; it stays reserved for a claim of that
/// name.
pub(super) fn drop_binding(volume: &mut Value) {
    body::remove_at(volume, &["spec", "claimRef", "uid"]);
    body::remove_at(volume, &["spec", "claimRef", "resourceVersion"]);
    body::drop_annotations(volume, &[BOUND_BY_CONTROLLER]);
}
