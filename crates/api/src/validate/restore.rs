//! Restores.

use super::location::{choose_location, unusable};
use super::{ConfigMapFound, config_map, hooks};
use crate::filter::{IncludesExcludes, RestoreFilter};
use crate::limits::TransferLimits;
use crate::name::check_dns_subdomain;
use crate::velero::{Backup, BackupStorageLocation, Restore};

/// What the check of a restore needs to know of the cluster.
#[derive(Clone, Debug, Default)]
pub struct RestoreFacts<'a> {
    /// The backup that it names, or the one that was chosen of its schedule; `None` when there is none.
    pub backup: Option<&'a Backup>,
    /// Locations in the namespace.
    pub locations: &'a [BackupStorageLocation],
    /// What became of the resource modifiers that it names.
    pub resource_modifier: ConfigMapFound,
    /// What became of the resource policies that it names.
    pub resource_policy: ConfigMapFound,
}

/// What is wrong with a restore that is to be run.
#[must_use]
pub fn restore(restore: &Restore, facts: &RestoreFacts) -> Vec<String> {
    let spec = &restore.spec;
    let mut errors = Vec::new();
    match (spec.backup_name.as_str(), spec.schedule_name.as_str()) {
        ("", "") => errors.push("give a backupName or a scheduleName".to_owned()),
        (backup, schedule) if !backup.is_empty() && !schedule.is_empty() => {
            errors.push("give either a backupName or a scheduleName, not both".to_owned());
        }
        (backup, schedule) => source(backup, schedule, facts, &mut errors),
    }
    errors.extend(RestoreFilter::compile(spec).err().unwrap_or_default());
    errors.extend(TransferLimits::of(&restore.metadata.annotations).err());
    for (from, to) in &spec.namespace_mapping {
        for name in [from, to] {
            if let Err(error) = check_dns_subdomain("namespace", name) {
                errors.push(format!("spec.namespaceMapping: {error}"));
            }
        }
    }
    // `recreate` is Salvor's own.
    if !["", "none", "update", "recreate"].contains(&spec.existing_resource_policy.as_str()) {
        errors.push(format!(
            "spec.existingResourcePolicy is `{}`: use none, update or recreate",
            spec.existing_resource_policy
        ));
    }
    if let Some(status) = &spec.restore_status
        && let Err(error) =
            IncludesExcludes::new(&status.included_resources, &status.excluded_resources)
    {
        errors.push(format!("spec.restoreStatus: {error}"));
    }
    config_map(
        "spec.resourceModifier",
        spec.resource_modifier.as_ref(),
        &facts.resource_modifier,
        &mut errors,
    );
    config_map(
        "spec.resourcePolicy",
        spec.resource_policy.as_ref(),
        &facts.resource_policy,
        &mut errors,
    );
    hooks::of_restore(&spec.hooks, &mut errors);
    match spec.uploader() {
        Err(error) => errors.push(format!("spec.uploaderConfig: {error}")),
        Ok(config) if config.parallel_files_download < 0 => {
            errors.push("spec.uploaderConfig.parallelFilesDownload is negative".to_owned());
        }
        Ok(_) => {}
    }
    errors
}

/// Checks the backup that is restored, and where it lies.
fn source(backup: &str, schedule: &str, facts: &RestoreFacts, errors: &mut Vec<String>) {
    let Some(found) = facts.backup else {
        errors.push(match schedule {
            "" => format!("backup {backup} does not exist"),
            schedule => format!("schedule {schedule} has no completed backup"),
        });
        return;
    };
    if !found.status.phase.is_restorable() {
        errors.push(format!(
            "backup {} is in phase {}: only Completed and PartiallyFailed ones can be restored",
            found.metadata.name, found.status.phase
        ));
    }
    match found.spec.storage_location.as_str() {
        "" => errors.push(format!(
            "backup {} does not say in which location it is",
            found.metadata.name
        )),
        name => match choose_location(name, facts.locations, "") {
            Ok(location) => errors.extend(unusable(location, false)),
            Err(error) => errors.push(error),
        },
    }
}
