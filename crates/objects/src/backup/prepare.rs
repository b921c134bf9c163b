//! From a request to the record that the run fills in: defaults, validation, what comes of the counts. Pure,
//! but for reading the policies that a backup names.

use std::time::Duration;

use salvor_api::filter::BackupFilter;
use salvor_api::go::{GoDuration, Time};
use salvor_api::labels;
use salvor_api::resource_policy::{FilterPolicies, NOT_WITH_OLD_FILTERS, ResourcePolicies, Use};
use salvor_api::retention::policy_for;
use salvor_api::validate;
use salvor_api::velero::{
    self, Backup, BackupPhase, BackupSpec, DEFAULT_CSI_SNAPSHOT_TIMEOUT,
    DEFAULT_ITEM_OPERATION_TIMEOUT,
};
use salvor_cluster::{Cluster, ClusterIdentity, ServerVersion};

use crate::policy;

/// What a backup takes: its own filters and those of its resource policies.
#[derive(Clone, Debug)]
pub(crate) struct Selected {
    /// The specification with the lists of the policies below its own.
    pub(crate) spec: BackupSpec,
    /// Its filters.
    pub(crate) filter: BackupFilter,
    /// Which objects of single kinds and namespaces.
    pub(crate) objects: FilterPolicies,
    /// The policies, for volumes.
    pub(crate) policies: ResourcePolicies,
}

/// Checks and compiles what a backup takes. `names` gives every name of the resource that an entry means.
///
/// # Errors
/// Every rule that is broken, as `status.validationErrors` lists them.
pub(crate) fn select(
    backup: &Backup,
    policies: &ResourcePolicies,
    names: impl Fn(&str) -> Vec<String>,
) -> Result<Selected, Vec<String>> {
    let mut errors = Vec::new();
    if policies.filter_resources() && backup.spec.uses_old_filters() {
        errors.push(NOT_WITH_OLD_FILTERS.to_owned());
    }
    let spec = match &policies.include_exclude_policy {
        Some(lists) if errors.is_empty() => lists.below(&backup.spec, names),
        _ => backup.spec.clone(),
    };
    let filter = BackupFilter::compile(&spec);
    let objects = FilterPolicies::compile(policies);
    match (filter, objects) {
        (Ok(filter), Ok(objects)) if errors.is_empty() => Ok(Selected {
            spec,
            filter,
            objects,
            policies: policies.clone(),
        }),
        (filter, objects) => {
            errors.extend(filter.err().unwrap_or_default());
            errors.extend(objects.err().unwrap_or_default());
            Err(errors)
        }
    }
}

/// The policies of a backup: those given, or the ones that it names in the cluster.
///
/// # Errors
/// The cluster fails; or, inside, why they cannot be used.
pub(crate) async fn policies_of(
    cluster: &Cluster,
    backup: &Backup,
    given: Option<&ResourcePolicies>,
) -> Result<Result<ResourcePolicies, Vec<String>>, salvor_cluster::Error> {
    if let Some(given) = given {
        return Ok(Ok(given.clone()));
    }
    let reference = backup.spec.resource_policy.as_ref();
    let namespace = &backup.metadata.namespace;
    let found = policy::find(cluster, namespace, reference, Use::Backup).await?;
    let mut errors = Vec::new();
    validate::config_map("spec.resourcePolicy", reference, &found.state, &mut errors);
    Ok(match errors.is_empty() {
        true => Ok(found.policies),
        false => Err(errors),
    })
}

/// How long the copy of one volume may take, by the backup's annotation or by default.
///
/// # Errors
/// The annotation is no duration.
pub(crate) fn volume_timeout(backup: &Backup, default: Duration) -> Result<Duration, String> {
    let annotation = backup.metadata.annotations.get(labels::POD_VOLUME_TIMEOUT);
    let Some(text) = annotation else {
        return Ok(default);
    };
    match text.parse() {
        Ok(GoDuration(timeout)) if !timeout.is_zero() => Ok(timeout),
        _ => Err(format!(
            "annotation {}: `{text}` is no duration such as 4h or 90m",
            labels::POD_VOLUME_TIMEOUT
        )),
    }
}

/// Fills in what Velero's server would.
pub(crate) fn with_defaults(mut backup: Backup, location: &str, started: Time) -> Backup {
    backup.kind = "Backup".to_owned();
    backup.api_version = velero::API_VERSION.to_owned();
    let meta = &mut backup.metadata;
    if meta.namespace.is_empty() {
        meta.namespace = "velero".to_owned();
    }
    meta.creation_timestamp.get_or_insert(started);
    let spec = &mut backup.spec;
    if spec.storage_location.is_empty() {
        spec.storage_location = location.to_owned();
    }
    meta.labels.insert(
        labels::STORAGE_LOCATION.to_owned(),
        labels::label_value(&spec.storage_location),
    );
    if spec.included_namespaces.is_empty() {
        spec.included_namespaces = vec!["*".to_owned()];
    }
    spec.ttl = spec.effective_ttl();
    if spec.csi_snapshot_timeout.is_zero() {
        spec.csi_snapshot_timeout = DEFAULT_CSI_SNAPSHOT_TIMEOUT;
    }
    if spec.item_operation_timeout.is_zero() {
        spec.item_operation_timeout = DEFAULT_ITEM_OPERATION_TIMEOUT;
    }
    let by_old_name = spec.default_volumes_to_restic.unwrap_or(false);
    spec.default_volumes_to_fs_backup.get_or_insert(by_old_name);
    spec.snapshot_move_data.get_or_insert(false);
    // Under a policy of its schedule it carries no expiration, which a Velero on the same bucket would follow.
    // A policy that cannot be read removes nothing either.
    let policy = policy_for(&backup.metadata.annotations, &spec.storage_location);
    let governed =
        backup.metadata.labels.contains_key(labels::SCHEDULE_NAME) && !matches!(policy, Ok(None));
    let expiration = (!governed).then(|| started.plus(spec.ttl.0));
    let status = &mut backup.status;
    status.version = velero::BACKUP_VERSION;
    velero::FORMAT_VERSION.clone_into(&mut status.format_version);
    status.phase = BackupPhase::InProgress;
    status.start_timestamp = Some(started);
    status.expiration = expiration;
    backup
}

/// Stamps the source cluster on the record.
pub(crate) fn stamp_cluster(
    backup: &mut Backup,
    version: Option<&ServerVersion>,
    identity: Option<&ClusterIdentity>,
) {
    let annotations = &mut backup.metadata.annotations;
    for (key, value) in [
        (labels::SOURCE_GIT_VERSION, version.map(|v| &v.git_version)),
        (labels::SOURCE_MAJOR_VERSION, version.map(|v| &v.major)),
        (labels::SOURCE_MINOR_VERSION, version.map(|v| &v.minor)),
        (labels::CLUSTER_UID, identity.map(|i| &i.uid)),
        (labels::CLUSTER_NAME, identity.map(|i| &i.name)),
    ] {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            annotations.insert(key.to_owned(), value.clone());
        }
    }
}

/// The phase that the counts amount to, and the reason of a failure. A backup is failed as a whole only when
/// not even an empty list could be read.
pub(crate) fn outcome(taken: u64, errors: u64, lists_read: u64) -> (BackupPhase, String) {
    match (errors, taken + lists_read) {
        (0, _) => (BackupPhase::Completed, String::new()),
        (errors, 0) => (
            BackupPhase::Failed,
            format!("nothing could be read ({errors} errors, see the results)"),
        ),
        _ => (BackupPhase::PartiallyFailed, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use salvor_api::go::GoDuration;

    use super::*;

    #[test]
    fn defaults_are_those_of_veleros_server() {
        let started: Time = "2026-11-20T02:00:00Z".parse().expect("time");
        for (ttl, expiration) in [
            (GoDuration::default(), "2026-12-20T02:00:00Z"),
            (GoDuration::from_hours(1), "2026-11-20T03:00:00Z"),
        ] {
            let mut backup = Backup::named("", "b");
            backup.spec.ttl = ttl;
            let backup = with_defaults(backup, "default", started);
            assert_eq!(
                backup.status.expiration.map(|t| t.to_string()).as_deref(),
                Some(expiration)
            );
            assert_eq!(backup.metadata.namespace, "velero");
            assert_eq!(backup.metadata.labels[labels::STORAGE_LOCATION], "default");
            assert_eq!(backup.spec.included_namespaces, ["*"]);
            assert_eq!(backup.spec.csi_snapshot_timeout.to_string(), "10m0s");
            assert_eq!(backup.status.format_version, "1.1.0");
        }
    }

    #[test]
    fn a_policy_of_the_schedule_takes_the_place_of_the_expiration() {
        let started: Time = "2026-11-20T02:00:00Z".parse().expect("time");
        for (label, annotation, expires) in [
            (true, Some("last=3"), false),
            // It cannot be read: nothing may be removed because of that.
            (true, Some("last=some"), false),
            (true, None, true),
            (false, Some("last=3"), true),
        ] {
            let mut backup = Backup::named("", "b");
            let metadata = &mut backup.metadata;
            if label {
                metadata
                    .labels
                    .insert(labels::SCHEDULE_NAME.to_owned(), "s".to_owned());
            }
            let policy = annotation.map(|text| (labels::RETENTION.to_owned(), text.to_owned()));
            metadata.annotations.extend(policy);
            let backup = with_defaults(backup, "default", started);
            let found = backup.status.expiration.is_some();
            assert_eq!(found, expires, "{label} {annotation:?}");
        }
    }

    #[test]
    fn errors_decide_the_phase() {
        for (taken, errors, lists_read, phase) in [
            (7, 0, 3, BackupPhase::Completed),
            (0, 0, 0, BackupPhase::Completed),
            (7, 1, 3, BackupPhase::PartiallyFailed),
            (0, 1, 3, BackupPhase::PartiallyFailed),
            (0, 1, 0, BackupPhase::Failed),
        ] {
            assert_eq!(
                outcome(taken, errors, lists_read).0,
                phase,
                "{taken} {errors} {lists_read}"
            );
        }
    }
}
