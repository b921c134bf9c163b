//! What of a recorded backup becomes an object of this cluster: a pure decision.

use salvor_api::go::Time;
use salvor_api::labels;
use salvor_api::meta::OwnerReference;
use salvor_api::velero::{Backup, BackupPhase, Hooks, Kind, Schedule};
use salvor_location::BackupRecord;

/// Annotations that speak about the object in the cluster that it came from, not about the backup.
const LEFT_BEHIND: &[&str] = &[
    labels::CANCEL,
    labels::REQUESTED_BY,
    // Set again from the records that it mirrors.
    labels::HOLD,
    labels::IMPORT_VOLUMES,
    "kubectl.kubernetes.io/last-applied-configuration",
];

/// Where an import happens.
pub(super) struct Place<'a> {
    /// Namespace of the server.
    pub(super) namespace: &'a str,
    /// Name of the location.
    pub(super) location: &'a str,
    pub(super) now: Time,
    /// True for a schedule that is there.
    pub(super) has_schedule: &'a (dyn Fn(&OwnerReference) -> bool + Sync),
}

/// The object of a recorded backup; `None` while the backup is not finished.
///
/// One that never was finished is imported when it is expired, as partial, so that it can be collected. Hooks
/// are left out: whoever can write to the store could have commands run by them.
pub(super) fn imported(record: &BackupRecord, place: &Place<'_>) -> Option<Backup> {
    use BackupPhase::{
        Completed, Failed, Finalizing, FinalizingPartiallyFailed, InProgress, PartiallyFailed,
        WaitingForPluginOperations, WaitingForPluginOperationsPartiallyFailed,
    };
    let recorded = &record.backup;
    let expiration = recorded.status.expiration;
    let phase = match &recorded.status.phase {
        phase @ (Completed | PartiallyFailed | Failed) => phase.clone(),
        InProgress
        | WaitingForPluginOperations
        | WaitingForPluginOperationsPartiallyFailed
        | Finalizing
        | FinalizingPartiallyFailed
            if expiration.is_some_and(|at| at <= place.now) =>
        {
            PartiallyFailed
        }
        _ => return None,
    };
    let mut backup = Backup::named(place.namespace, record.name.as_str());
    let (ours, theirs) = (&mut backup.metadata, &recorded.metadata);
    ours.labels = theirs.labels.clone();
    ours.labels.insert(
        labels::STORAGE_LOCATION.to_owned(),
        labels::label_value(place.location),
    );
    ours.annotations = theirs.annotations.clone();
    ours.annotations
        .retain(|key, _| !LEFT_BEHIND.contains(&key.as_str()));
    let of_a_schedule = |owner: &&OwnerReference| {
        owner.kind == Schedule::KIND
            && owner.api_version == Schedule::API_VERSION
            && (place.has_schedule)(owner)
    };
    let owners = theirs.owner_references.iter().filter(of_a_schedule);
    ours.owner_references = owners.cloned().collect();
    backup.spec = recorded.spec.clone();
    backup.spec.hooks = Hooks::default();
    place.location.clone_into(&mut backup.spec.storage_location);
    backup.status = recorded.status.clone();
    backup.status.phase = phase;
    Some(backup)
}

#[cfg(test)]
mod tests {
    use salvor_api::name::BackupName;

    use super::*;

    fn time(text: &str) -> Time {
        text.parse().expect("time")
    }

    fn import(backup: Backup) -> Option<Backup> {
        let record = BackupRecord {
            name: BackupName::new("b1").expect("name"),
            backup,
            committed: None,
        };
        let place = Place {
            namespace: "here",
            location: "offsite",
            now: time("2026-11-20T12:00:00Z"),
            has_schedule: &|owner| owner.uid == "known",
        };
        imported(&record, &place)
    }

    #[test]
    fn unfinished_backups_wait_unless_they_are_expired() {
        use BackupPhase::*;
        let (past, future) = ("2026-11-20T11:00:00Z", "2026-11-20T13:00:00Z");
        for (phase, expires, becomes) in [
            (Completed, future, Some(Completed)),
            (Completed, past, Some(Completed)),
            (Failed, future, Some(Failed)),
            (InProgress, future, None),
            (InProgress, past, Some(PartiallyFailed)),
            (WaitingForPluginOperations, future, None),
            (WaitingForPluginOperations, past, Some(PartiallyFailed)),
            (FinalizingPartiallyFailed, future, None),
            (FinalizingPartiallyFailed, past, Some(PartiallyFailed)),
            (New, past, None),
            (Other("Melting".to_owned()), past, None),
        ] {
            let mut backup = Backup::named("there", "b1");
            backup.status.phase = phase.clone();
            backup.status.expiration = Some(time(expires));
            let found = import(backup).map(|backup| backup.status.phase);
            assert_eq!(found, becomes, "{phase} {expires}");
        }
    }

    #[test]
    fn what_belongs_to_the_other_cluster_stays_there() {
        let json = r#"{"kind": "Backup", "apiVersion": "velero.io/v1",
            "metadata": {"name": "other", "namespace": "there", "uid": "u", "resourceVersion": "7",
                "generateName": "o", "finalizers": ["their/own"], "newField": 1,
                "labels": {"team": "shop", "velero.io/storage-location": "default"},
                "annotations": {"salvor.dev/cancel": "true", "kept": "yes"},
                "ownerReferences": [
                    {"apiVersion": "velero.io/v1", "kind": "Schedule", "name": "s", "uid": "foreign"},
                    {"apiVersion": "velero.io/v1", "kind": "Schedule", "name": "s", "uid": "known"},
                    {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "known"}]},
            "spec": {"storageLocation": "default", "inventedByVelero2": {"x": [1]},
                "hooks": {"resources": [{"name": "h"}]}},
            "status": {"phase": "Completed", "errors": 2, "later": true}}"#;
        let backup = import(serde_json::from_str(json).expect("decoded")).expect("imported");
        let metadata = &backup.metadata;
        assert_eq!((&*metadata.name, &*metadata.namespace), ("b1", "here"));
        assert_eq!(metadata.labels["velero.io/storage-location"], "offsite");
        assert_eq!(metadata.labels["team"], "shop");
        let keys: Vec<_> = metadata.annotations.keys().collect();
        assert_eq!(keys, ["kept"]);
        let owners: Vec<_> = metadata.owner_references.iter().map(|o| &*o.kind).collect();
        assert_eq!(owners, ["Schedule"]);
        assert!(metadata.uid.is_empty() && metadata.resource_version.is_empty());
        assert!(metadata.finalizers.is_empty() && metadata.generate_name.is_empty());
        assert_eq!(backup.spec.storage_location, "offsite");
        assert_eq!(backup.spec.hooks, Hooks::default());
        assert_eq!(backup.status.errors, 2);
    }
}
