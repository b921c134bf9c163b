//! Backups.

use super::location::{choose_location, choose_snapshot_locations, unusable};
use super::{ConfigMapFound, config_map, hooks};
use crate::filter::BackupFilter;
use crate::limits::TransferLimits;
use crate::meta::StringMap;
use crate::resource_policy::NOT_WITH_OLD_FILTERS;
use crate::velero::{Backup, BackupStorageLocation, BackupType, VolumeSnapshotLocation};

/// What the check of a backup needs to know of the cluster.
#[derive(Clone, Debug, Default)]
pub struct BackupFacts<'a> {
    /// Locations in the namespace.
    pub locations: &'a [BackupStorageLocation],
    /// The location of backups that name none when none is set as default.
    pub default_location: &'a str,
    /// Snapshot locations in the namespace.
    pub snapshot_locations: &'a [VolumeSnapshotLocation],
    /// From a provider to its default snapshot location.
    pub default_snapshot_locations: StringMap,
    /// What became of the resource policies that it names.
    pub resource_policy: ConfigMapFound,
    /// Whether these policies also say which resources are taken.
    pub policy_filters_resources: bool,
}

/// What is wrong with a backup that is to be run.
#[must_use]
pub fn backup(backup: &Backup, facts: &BackupFacts) -> Vec<String> {
    let spec = &backup.spec;
    let mut errors = BackupFilter::compile(spec).err().unwrap_or_default();
    errors.extend(TransferLimits::of(&backup.metadata.annotations).err());
    match choose_location(
        &spec.storage_location,
        facts.locations,
        facts.default_location,
    ) {
        Ok(location) => errors.extend(unusable(location, true)),
        Err(error) => errors.push(error),
    }
    if spec.snapshot_volumes != Some(false) {
        let chosen = choose_snapshot_locations(
            &spec.volume_snapshot_locations,
            facts.snapshot_locations,
            &facts.default_snapshot_locations,
        );
        errors.extend(chosen.err().unwrap_or_default());
    }
    config_map(
        "spec.resourcePolicy",
        spec.resource_policy.as_ref(),
        &facts.resource_policy,
        &mut errors,
    );
    if facts.policy_filters_resources && spec.uses_old_filters() {
        errors.push(NOT_WITH_OLD_FILTERS.to_owned());
    }
    hooks::of_backup(&spec.hooks, &mut errors);
    match spec.uploader() {
        Err(error) => errors.push(format!("spec.uploaderConfig: {error}")),
        Ok(config) if config.parallel_files_upload < 0 => {
            errors.push("spec.uploaderConfig.parallelFilesUpload is negative".to_owned());
        }
        Ok(_) => {}
    }
    if let BackupType::Other(other) = &spec.backup_type {
        errors.push(format!(
            "spec.backupType is `{other}`: use Full or Incremental"
        ));
    }
    errors
}
