//! Velero's and Salvor's label and annotation keys, and the shortening of label values.

use sha2::{Digest, Sha256};

/// Group of Velero's kinds.
pub const VELERO_GROUP: &str = "velero.io";
/// Name of the backup that an object belongs to.
pub const BACKUP_NAME: &str = "velero.io/backup-name";
/// UID of that backup.
pub const BACKUP_UID: &str = "velero.io/backup-uid";
/// Name of the restore that made an object.
pub const RESTORE_NAME: &str = "velero.io/restore-name";
/// UID of that restore.
pub const RESTORE_UID: &str = "velero.io/restore-uid";
/// Schedule that made a backup.
pub const SCHEDULE_NAME: &str = "velero.io/schedule-name";
/// Location that holds a backup.
pub const STORAGE_LOCATION: &str = "velero.io/storage-location";
/// User's label: `"true"` keeps an object, or all of a namespace, out of backups.
pub const EXCLUDE_FROM_BACKUP: &str = "velero.io/exclude-from-backup";
/// Annotation of a backup: server version of the source cluster.
pub const SOURCE_GIT_VERSION: &str = "velero.io/source-cluster-k8s-gitversion";
/// Annotation of a backup: major version of the source cluster.
pub const SOURCE_MAJOR_VERSION: &str = "velero.io/source-cluster-k8s-major-version";
/// Annotation of a backup: minor version of the source cluster.
pub const SOURCE_MINOR_VERSION: &str = "velero.io/source-cluster-k8s-minor-version";
/// Annotation of an item: `"true"` or `"false"` overrides the restore's status selection.
pub const RESTORE_STATUS: &str = "velero.io/restore-status";
/// Annotation of a renamed volume: its name in the backup.
pub const ORIGINAL_PV_NAME: &str = "velero.io/original-pv-name";
/// Annotation of a claim or volume that was provisioned anew.
pub const DYNAMIC_PV_RESTORE: &str = "velero.io/dynamic-pv-restore";
/// Label of ConfigMaps that configure an item action.
pub const PLUGIN_CONFIG: &str = "velero.io/plugin-config";

/// On a DownloadRequest for volume infos: the name of a file of ours that is wanted instead, for which Velero has no word.
/// A server that does not know it gives the volume infos.
pub const OWN_FILE: &str = "salvor.dev/file";
/// On a backup: how long the copy of one volume may take.
pub const POD_VOLUME_TIMEOUT: &str = "velero.io/pod-volume-timeout";
/// UID of the claim whose volume is snapshotted or copied.
pub const PVC_UID: &str = "velero.io/pvc-uid";
/// UID of the pod whose volume is copied.
pub const POD_UID: &str = "velero.io/pod-uid";
/// Namespace whose volumes a repository holds.
pub const VOLUME_NAMESPACE: &str = "velero.io/volume-namespace";
/// Format of a repository.
pub const REPOSITORY_TYPE: &str = "velero.io/repository-type";
/// Asynchronous operation that an upload or download is part of.
pub const ASYNC_OPERATION_ID: &str = "velero.io/async-operation-id";
/// User's label of claims: those with the same value are snapshotted together.
pub const VOLUME_GROUP: &str = "velero.io/volume-group";
/// Why an expired backup was not deleted: `BSLNotFound`, `BSLCannotGet`, `BSLReadOnly`, `BSLUnavailable`.
pub const GC_FAILURE: &str = "velero.io/gc-failure";
/// Finalizer of a restore: its files in the location are deleted before it goes.
pub const RESTORE_FINALIZER: &str = "restores.velero.io/external-resources-finalizer";

/// Annotation of a backup's metadata: SHA-256 of `salvor-manifest.json`, lower-case hex.
pub const MANIFEST_DIGEST: &str = "salvor.dev/manifest-sha256";
/// Annotation of a backup's metadata: the run that wrote it.
pub const RUN_ID: &str = "salvor.dev/run-id";
/// Annotation of a restore that was gone on with by hand: what its object said before, as JSON with `phase`, `errors`,
/// `warnings`, `failureReason` and `completionTimestamp`.
pub const FIRST_RESULT: &str = "salvor.dev/first-result";
/// Annotation of a backup that a schedule made: when its run was due, RFC 3339.
pub const SCHEDULED_FOR: &str = "salvor.dev/scheduled-for";
/// Annotation of a backup's metadata: UID of the source cluster's `kube-system` namespace.
pub const CLUSTER_UID: &str = "salvor.dev/cluster-uid";
/// Annotation of a backup's metadata: human name of the source cluster.
pub const CLUSTER_NAME: &str = "salvor.dev/cluster-name";
/// Annotation of a backup's metadata: version of Salvor that wrote it.
pub const TOOL_VERSION: &str = "salvor.dev/tool-version";

/// Annotation of a backup or restore: `"true"` stops it. What is done stays; the phase says so.
pub const CANCEL: &str = "salvor.dev/cancel";
/// Annotation of a backup: the pods between their pre and post hooks, as JSON. Who settles a backup that was
/// killed runs their post hooks.
pub const OPEN_HOOKS: &str = "salvor.dev/open-hooks";
/// Annotation of a schedule: how a failed or partial run is tried again, as in
/// [`crate::schedule::Retry`]: `attempts=3,backoff=10m`.
pub const RETRY: &str = "salvor.dev/retry";
/// Annotation of a backup that tries a run again: which attempt it is, from 2.
pub const ATTEMPT: &str = "salvor.dev/attempt";
/// Annotation of a backup that tries a run again: name of the run's first backup.
pub const RETRY_OF: &str = "salvor.dev/retry-of";
/// Annotation of a backup: why it is held. It mirrors the records beside the backup, which alone decide,
/// since they survive the cluster.
pub const HOLD: &str = "salvor.dev/hold";
/// Annotation of a schedule or backup: names of the locations that it is copied to, see
/// [`crate::copies::CopyRequest`]: `offsite,vault`.
pub const COPY_TO: &str = "salvor.dev/copy-to";
/// Annotation of a schedule or backup: how many of the copies must be there: `any`, `all`, `quorum`, or a number.
pub const COPY_RULE: &str = "salvor.dev/copy-rule";
/// Annotation of a schedule or backup: how long its copies are kept; `0s` for good.
pub const COPY_TTL: &str = "salvor.dev/copy-ttl";
/// Annotation of a backup: how its copies stand under their rule, `satisfied 2/2`.
pub const COPY_STATUS: &str = "salvor.dev/copy-status";
/// Annotation of a backup: how each of its copies stands, as JSON, by location. The records beside the backup say
/// more.
pub const COPIES: &str = "salvor.dev/copies";
/// Annotation of a backup: what its newest verification found, and when. The records in the location say more.
pub const VERIFIED: &str = "salvor.dev/verified";
/// Annotation of a backup that was made of a snapshot of etcd: the revision that it shows.
pub const ETCD_REVISION: &str = "salvor.dev/etcd-revision";
/// Annotation of an imported backup whose PodVolumeBackups are still to be created.
pub const IMPORT_VOLUMES: &str = "salvor.dev/import-volumes";
/// Annotation of a location: digest of the retention plan that may be carried out although it takes more
/// than the guard lets through, see [`crate::retention::RetentionPlan::digest`].
pub const CONFIRM_RETENTION: &str = "salvor.dev/confirm-retention";
/// Annotation of the server's namespace: `"true"` lets nothing begin; what runs comes to its end.
pub const PAUSE: &str = "salvor.dev/pause";
/// Annotation of a request: who asks for it, as JSON with a seal; written at admission, see
/// `docs/formats/annotations.md`.
pub const REQUESTED_BY: &str = "salvor.dev/requested-by";
/// Annotation of a location: most bytes per second that go to it, such as `50Mi`.
pub const UPLOAD_LIMIT: &str = "salvor.dev/upload-limit";
/// Annotation of a location: most bytes per second that come from it.
pub const DOWNLOAD_LIMIT: &str = "salvor.dev/download-limit";
/// Annotation of a location: most requests per second.
pub const REQUEST_LIMIT: &str = "salvor.dev/request-limit";
/// Annotation of a location: most requests at once.
pub const IN_FLIGHT_LIMIT: &str = "salvor.dev/in-flight-limit";
/// Annotation of a backup: the ConfigMap of the server with volume policies that count after its own (Velero's, from
/// 1.19).
pub const GLOBAL_VOLUME_POLICY: &str = "velero.io/global-backup-volume-policy-configmap";
/// Annotation of a backup: its storage class and how long it takes to read it from there, `DEEP_ARCHIVE, retrieval
/// 12h`. It mirrors the record beside the backup.
pub const ARCHIVED: &str = "salvor.dev/archived";
/// Annotation of a location: what its bucket does by itself, one line per rule, written by the server.
pub const BUCKET_RULES: &str = "salvor.dev/bucket-rules";
/// Annotation of a schedule or backup: what is kept, in every location without a rule of its own, as in
/// [`crate::retention::Policy`]: `last=3,daily=7`.
pub const RETENTION: &str = "salvor.dev/retention";

/// Annotation of a schedule or backup: what is kept in one location, `salvor.dev/retention.<location>`.
/// Names over 53 characters are shortened like label values, since the part behind the slash may have 63.
#[must_use]
pub fn retention_at(location: &str) -> String {
    const ROOM: usize = MAX_LABEL_VALUE - "retention.".len();
    format!("{RETENTION}.{}", shortened(location, ROOM))
}

/// Longest value that Kubernetes accepts for a label, in bytes.
pub const MAX_LABEL_VALUE: usize = 63;

/// A value fit for a label: values over 63 characters become their first 57 characters and the first
/// six hex digits of the SHA-256 of the whole, which is what Velero does.
#[must_use]
pub fn label_value(value: &str) -> String {
    shortened(value, MAX_LABEL_VALUE)
}

/// `value` within `room` bytes: cut, with six hex digits of the digest of the whole.
fn shortened(value: &str, room: usize) -> String {
    if value.len() <= room {
        return value.to_owned();
    }
    let digest = Sha256::digest(value.as_bytes());
    let hex: String = digest
        .iter()
        .take(3)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let head: String = value.chars().take(room - hex.len()).collect();
    format!("{head}{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_of_any_length_has_its_own_retention() {
        assert_eq!(retention_at("offsite"), "salvor.dev/retention.offsite");
        let key = retention_at(&"l".repeat(200));
        assert_eq!(key.len(), "salvor.dev/".len() + 63);
        assert_ne!(key, retention_at(&"l".repeat(201)));
    }

    #[test]
    fn long_values_keep_a_prefix_and_a_digest() {
        assert_eq!(label_value("short"), "short");
        let exactly = "a".repeat(63);
        assert_eq!(label_value(&exactly), exactly);
        let long = "b".repeat(64);
        let short = label_value(&long);
        assert_eq!(short.len(), 63);
        assert!(short.starts_with(&"b".repeat(57)));
        assert_ne!(label_value(&"b".repeat(65)), short);
    }
}
