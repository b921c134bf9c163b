//! Backup and Schedule.

use salvor_api::velero::{BackupPhase, BackupType, HookErrorMode, SchedulePhase};
use serde_json::json;

use super::definition::{Body, age, column};
use super::schema::{
    Field, Schema, config_map, count, duration, flag, label_selector, list, map, object, text,
    texts, time, word,
};

pub(super) fn backup() -> Body {
    Body {
        doc: "Objects of a cluster, and data of its volumes, stored in a location under one name.",
        columns: vec![
            column("Status", "string", ".status.phase"),
            column("Errors", "integer", ".status.errors"),
            column("Warnings", "integer", ".status.warnings"),
            column("Started", "date", ".status.startTimestamp"),
            age(),
        ],
        spec: backup_spec("What to take, and how."),
        status: object("What came of it.", backup_status()),
    }
}

pub(super) fn schedule() -> Body {
    Body {
        doc: "Makes backups at times that a cron expression gives.",
        columns: vec![
            column("Status", "string", ".status.phase"),
            column("Schedule", "string", ".spec.schedule"),
            column("LastBackup", "date", ".status.lastBackup"),
            age(),
            column("Paused", "boolean", ".spec.paused"),
        ],
        spec: object(
            "When to make backups, and of what.",
            vec![
                ("paused", flag("Whether nothing is run.")),
                (
                    "schedule",
                    text(
                        "Cron expression of five fields, a descriptor such as `@daily` or `@every 6h`, \
                         optionally after `CRON_TZ=Zone/Name`.",
                    )
                    .required(),
                ),
                (
                    "skipImmediately",
                    flag("Whether a run that is due right now is left out, once. Set back when done."),
                ),
                (
                    "template",
                    backup_spec("Specification of every backup that is made.").required(),
                ),
                (
                    "useOwnerReferencesInBackup",
                    flag("Whether Backup objects vanish from the cluster with the Schedule.").nullable(),
                ),
            ],
        ),
        status: object(
            "What came of it.",
            vec![
                ("lastBackup", time("When a backup was last asked for.")),
                ("lastSkipped", time("When a run was last left out.")),
                ("phase", word("Where it stands.", SchedulePhase::WORDS)),
                ("validationErrors", texts("What is wrong with the specification.")),
            ],
        ),
    }
}

/// Names of namespaces or resources; `null` is read as empty.
pub(super) fn names(doc: &str) -> Schema {
    texts(doc).nullable()
}

fn backup_spec(doc: &str) -> Schema {
    let mut fields = filters();
    fields.extend(volumes());
    fields.extend([
        ("hooks", hooks()),
        (
            "itemOperationTimeout",
            duration("How long asynchronous operations on items may take; absent means 4 hours."),
        ),
        (
            "metadata",
            object(
                "What backups made from a Schedule get.",
                vec![
                    (
                        "annotations",
                        map("Annotations for these backups.").nullable(),
                    ),
                    (
                        "labels",
                        map("Labels for these backups; when empty, those of the Schedule."),
                    ),
                ],
            ),
        ),
        (
            "orderedResources",
            map(
                "Objects to take first. From a resource to names with commas between them, \
                 `namespace/name` or `name`.",
            )
            .nullable(),
        ),
        (
            "storageLocation",
            text("BackupStorageLocation to store it in; empty means the default one."),
        ),
        (
            "ttl",
            duration("How long to keep it; absent or zero means 720 hours."),
        ),
    ]);
    object(doc, fields)
}

fn filters() -> Vec<Field> {
    vec![
        (
            "excludedClusterScopedResources",
            names("Cluster-scoped resources to leave out; `*` leaves out all. Not together with the older filters."),
        ),
        (
            "excludedNamespaceScopedResources",
            names("Namespaced resources to leave out; `*` leaves out all. Not together with the older filters."),
        ),
        ("excludedNamespaces", names("Namespaces to leave out.")),
        ("excludedResources", names("Resources of either scope to leave out.")),
        (
            "includeClusterResources",
            flag("Whether cluster-scoped resources are taken; absent means those that belong to what is taken.").nullable(),
        ),
        (
            "includedClusterScopedResources",
            names("Cluster-scoped resources to take; `*` takes all. Not together with the older filters."),
        ),
        (
            "includedNamespaceScopedResources",
            names("Namespaced resources to take; empty takes all. Not together with the older filters."),
        ),
        (
            "includedNamespaces",
            names("Namespaces to take; empty takes all. `*`, `?` and `[abc]` match."),
        ),
        (
            "includedResources",
            names("Resources of either scope to take; empty takes all."),
        ),
        (
            "labelSelector",
            label_selector("Only objects with these labels. Not together with orLabelSelectors.").nullable(),
        ),
        (
            "orLabelSelectors",
            list(
                "Only objects that match any of these.",
                label_selector("Which objects, by their labels."),
            )
            .nullable(),
        ),
        (
            "resourcePolicy",
            config_map("ConfigMap with policies for volumes and resources."),
        ),
    ]
}

fn volumes() -> Vec<Field> {
    vec![
        (
            "backupType",
            word(
                "Whether moved volume data is read whole or as a difference; absent means Incremental.",
                BackupType::WORDS,
            ),
        ),
        (
            "csiSnapshotTimeout",
            duration("How long a CSI snapshot may take; absent means 10 minutes."),
        ),
        (
            "datamover",
            text("Who moves snapshot data; empty or `velero` means the built-in mover."),
        ),
        (
            "defaultVolumesToFsBackup",
            flag("Whether volumes of pods are copied file by file unless a pod says otherwise.")
                .nullable(),
        ),
        (
            "defaultVolumesToRestic",
            flag("The old name of defaultVolumesToFsBackup.").nullable(),
        ),
        (
            "snapshotMoveData",
            flag("Whether data of snapshots is moved to the location.").nullable(),
        ),
        (
            "snapshotVolumes",
            flag("Whether volumes are snapshotted; absent means where that is possible.")
                .nullable(),
        ),
        (
            "uploaderConfig",
            object(
                "How volume data is uploaded.",
                vec![(
                    "parallelFilesUpload",
                    count("How many files are read at the same time."),
                )],
            )
            .nullable(),
        ),
        (
            "volumeGroupSnapshotLabelKey",
            text("Label of claims; those with the same value are snapshotted together."),
        ),
        (
            "volumeSnapshotLocations",
            texts("VolumeSnapshotLocations, at most one per provider."),
        ),
    ]
}

fn hooks() -> Schema {
    let commands = |doc: &str| {
        let hook = object(
            "One command.",
            vec![(
                "exec",
                object(
                    "The command and where it runs.",
                    vec![
                        ("command", command()),
                        ("container", container()),
                        ("onError", on_error()),
                        (
                            "timeout",
                            duration("How long it may run; absent means 30 seconds."),
                        ),
                    ],
                )
                .required(),
            )],
        );
        list(doc, hook)
    };
    let mut fields = hook_filters();
    fields.extend([
        (
            "post",
            commands("Run after the pod and its volumes are taken."),
        ),
        ("pre", commands("Run before the pod is taken.")),
    ]);
    object(
        "Commands that run in pods around the backup.",
        vec![(
            "resources",
            list(
                "One entry for each set of pods.",
                object("Hooks of one set of pods.", fields),
            )
            .nullable(),
        )],
    )
}

/// Which pods a hook is for.
pub(super) fn hook_filters() -> Vec<Field> {
    vec![
        (
            "excludedNamespaces",
            names("Namespaces whose pods are left alone."),
        ),
        ("excludedResources", names("Resources that are left alone.")),
        (
            "includedNamespaces",
            names("Namespaces of the pods; empty means all."),
        ),
        ("includedResources", names("Resources; empty means all.")),
        (
            "labelSelector",
            label_selector("Labels of the pods; absent means any.").nullable(),
        ),
        ("name", text("Name of the hook, for messages.").required()),
    ]
}

pub(super) fn command() -> Schema {
    texts("Program and arguments; there is no shell unless it is named here.")
        .with("minItems", json!(1))
        .required()
}

pub(super) fn container() -> Schema {
    text("Container to run in; empty means the first of the pod.")
}

pub(super) fn on_error() -> Schema {
    word(
        "What a failure means; absent means Fail.",
        HookErrorMode::WORDS,
    )
}

/// Counts of hooks.
pub(super) fn hook_status() -> Schema {
    object(
        "How the hooks went.",
        vec![
            (
                "hooksAttempted",
                count("How many were run or could not be."),
            ),
            ("hooksFailed", count("How many failed.")),
        ],
    )
    .nullable()
}

fn backup_status() -> Vec<Field> {
    vec![
        (
            "backupItemOperationsAttempted",
            count("Asynchronous operations begun."),
        ),
        (
            "backupItemOperationsCompleted",
            count("Asynchronous operations that succeeded."),
        ),
        (
            "backupItemOperationsFailed",
            count("Asynchronous operations that failed."),
        ),
        ("completionTimestamp", time("When work ended, well or not.")),
        ("csiVolumeSnapshotsAttempted", count("CSI snapshots begun.")),
        (
            "csiVolumeSnapshotsCompleted",
            count("CSI snapshots that succeeded."),
        ),
        (
            "errors",
            count("Number of errors; they are in the results and the log."),
        ),
        (
            "expiration",
            time("From when on it may be collected; absent means never by its age."),
        ),
        ("failureReason", text("Why it failed as a whole.")),
        ("formatVersion", text("Layout of the archive.")),
        ("hookStatus", hook_status()),
        ("phase", word("Where it stands.", BackupPhase::WORDS)),
        (
            "progress",
            object(
                "How far it got; a hint.",
                vec![
                    ("itemsBackedUp", count("Items that are in the archive.")),
                    (
                        "totalItems",
                        count("Items that are expected; this can change on the way."),
                    ),
                ],
            )
            .nullable(),
        ),
        (
            "queuePosition",
            count("Place in the queue while it waits there."),
        ),
        ("startTimestamp", time("When work began.")),
        (
            "validationErrors",
            names("What is wrong with the specification."),
        ),
        (
            "version",
            count("Major version of the layout; formatVersion says more."),
        ),
        ("volumeSnapshotsAttempted", count("Native snapshots begun.")),
        (
            "volumeSnapshotsCompleted",
            count("Native snapshots that succeeded."),
        ),
        (
            "warnings",
            count("Number of warnings; they are in the results and the log."),
        ),
    ]
}
