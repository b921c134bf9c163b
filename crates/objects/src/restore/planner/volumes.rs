//! What becomes of each persistent volume: decided once, from how the backup treated it and what the
//! target has.

use std::collections::{BTreeMap, BTreeSet};

use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_archive::archive::Archive;
use salvor_archive::files::BackupVolumeInfo;
use serde_json::Value;

use super::super::body;
use super::super::error::{Doing as _, RestoreError};
use super::super::rules::{Rules, VolumeFate};
use super::parse;

/// The fate of every volume of the backup and of the target.
pub(super) fn fates(
    archive: &Archive,
    infos: &[BackupVolumeInfo],
    live: &BTreeSet<String>,
) -> Result<BTreeMap<String, VolumeFate>, RestoreError> {
    let with_data: BTreeSet<&str> = infos
        .iter()
        .filter(|info| holds_data(info))
        .map(|info| info.pv_name.as_str())
        .collect();
    let mut fates: BTreeMap<String, VolumeFate> = live
        .iter()
        .map(|name| (name.clone(), VolumeFate::AsItIs))
        .collect();
    for entry in archive
        .index()
        .range(&GroupResource::new("persistentvolumes", ""), None)
    {
        if fates.contains_key(entry.name()) {
            continue;
        }
        let fate = if with_data.contains(entry.name()) {
            VolumeFate::DataElsewhere
        } else {
            let bytes = archive
                .get(&entry)
                .doing(|| "read the archive".to_owned())?;
            let volume = parse(&bytes);
            match body::text_at(&volume, &["spec", "persistentVolumeReclaimPolicy"]) {
                "Delete" => VolumeFate::Provisioned,
                // `Retain`, and the deprecated `Recycle`: the data outlives the claim.
                _ => VolumeFate::AsItIs,
            }
        };
        fates.insert(entry.name().to_owned(), fate);
    }
    for name in with_data {
        if !name.is_empty() && !fates.contains_key(name) {
            fates.insert(name.to_owned(), VolumeFate::DataElsewhere);
        }
    }
    Ok(fates)
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
