//! Volume data: repositories, copies of pod volumes, uploads and downloads of snapshots.

use salvor_api::velero::{
    BackupRepositoryPhase, DataPhase, MaintenanceResult, NodeOs, UploaderType,
};

use super::definition::{Body, Column, age, column};
use super::schema::{
    Field, Schema, bytes, duration, flag, list, map, object, object_reference, text, time, word,
};

/// Who copies; the empty word is allowed and means the default.
fn uploader(doc: &str) -> Schema {
    let words: Vec<&str> = UploaderType::WORDS.iter().copied().chain([""]).collect();
    word(doc, &words)
}

pub(super) fn backup_repository() -> Body {
    let run = object(
        "One maintenance run.",
        vec![
            ("completeTimestamp", time("When it ended.")),
            ("message", text("Why it failed.")),
            ("result", word("How it ended.", MaintenanceResult::WORDS)),
            ("startTimestamp", time("When it began.")),
        ],
    );
    Body {
        doc: "The repository with volume data of one namespace in one location.",
        columns: vec![
            age(),
            column("Repository Type", "string", ".spec.repositoryType"),
        ],
        spec: object(
            "Which repository, and how it is kept.",
            vec![
                location(),
                (
                    "maintenanceFrequency",
                    duration("How often it is maintained.").required(),
                ),
                (
                    "repositoryConfig",
                    map("Settings of the repository.").nullable(),
                ),
                ("repositoryType", uploader("Format of the repository.")),
                (
                    "resticIdentifier",
                    text("Address of a restic repository; of old releases."),
                ),
                (
                    "volumeNamespace",
                    text("Namespace whose volumes it holds.").required(),
                ),
            ],
        ),
        status: object(
            "What is known of it.",
            vec![
                (
                    "lastMaintenanceTime",
                    time("When maintenance last succeeded."),
                ),
                ("message", text("Why it is not ready.")),
                (
                    "phase",
                    word("Where it stands.", BackupRepositoryPhase::WORDS),
                ),
                (
                    "recentMaintenance",
                    list("The latest maintenance runs.", run),
                ),
            ],
        ),
    }
}

fn location() -> Field {
    (
        "backupStorageLocation",
        text("Name of the BackupStorageLocation that the repository is in.").required(),
    )
}

fn cancel() -> Field {
    ("cancel", flag("Whether it shall stop."))
}

fn snapshot(doc: &str) -> Field {
    ("snapshotID", text(doc))
}

fn columns(incremental: bool, uploader: Option<&'static str>) -> Vec<Column> {
    let mut columns = vec![
        column("Status", "string", ".status.phase"),
        column("Started", "date", ".status.startTimestamp"),
        column("Bytes Done", "integer", ".status.progress.bytesDone"),
        column("Total Bytes", "integer", ".status.progress.totalBytes"),
    ];
    if incremental {
        columns.push(Column {
            priority: 10,
            ..column("Incremental Bytes", "integer", ".status.incrementalBytes")
        });
    }
    columns.extend([
        column("Storage Location", "string", ".spec.backupStorageLocation"),
        age(),
        column("Node", "string", ".status.node"),
    ]);
    columns.extend(uploader.map(|name| column(name, "string", ".spec.uploaderType")));
    columns
}

/// What all movements of data tell of themselves, and what some add to it.
fn status(more: Vec<Field>) -> Schema {
    let mut fields = vec![
        ("acceptedTimestamp", time("When preparation began.")),
        ("completionTimestamp", time("When it ended, well or not.")),
        ("message", text("What happened.")),
        ("phase", word("Where it stands.", DataPhase::WORDS)),
        (
            "progress",
            object(
                "How far it got.",
                vec![
                    ("bytesDone", bytes("Bytes moved.")),
                    ("totalBytes", bytes("Bytes in all.")),
                ],
            ),
        ),
        ("startTimestamp", time("When data began to move.")),
    ];
    fields.extend(more);
    object("What came of it.", fields)
}

fn incremental() -> Field {
    (
        "incrementalBytes",
        bytes("Bytes that were new to the repository."),
    )
}

fn parent() -> Field {
    (
        "parentSnapshot",
        text("Snapshot to compare with: empty chooses one, `none` takes everything."),
    )
}

fn path() -> Field {
    ("path", text("Path of the volume on the node."))
}

fn node() -> Field {
    ("node", text("Node that moves the data."))
}

pub(super) fn pod_volume_backup() -> Body {
    Body {
        doc: "The copy, file by file, of one volume of a running pod into a repository.",
        columns: columns(true, Some("Uploader")),
        spec: object(
            "Which volume, and where it goes.",
            vec![
                location(),
                cancel(),
                ("node", text("Node that the pod runs on.").required()),
                parent(),
                ("pod", object_reference("The pod.").required()),
                (
                    "repoIdentifier",
                    text("Identifies the repository.").required(),
                ),
                ("tags", map("Marks put on the snapshot in the repository.")),
                (
                    "uploaderSettings",
                    map("Settings of the uploader.").nullable(),
                ),
                ("uploaderType", uploader("Who copies.")),
                ("volume", text("Name of the volume in the pod.").required()),
            ],
        ),
        status: status(vec![
            incremental(),
            path(),
            snapshot("Snapshot in the repository."),
        ]),
    }
}

pub(super) fn pod_volume_restore() -> Body {
    Body {
        doc: "The copy, file by file, of one volume from a repository into a restored pod.",
        columns: columns(false, Some("Uploader Type")),
        spec: object(
            "Which snapshot, and where it goes.",
            vec![
                location(),
                cancel(),
                ("pod", object_reference("The pod.").required()),
                (
                    "repoIdentifier",
                    text("Identifies the repository.").required(),
                ),
                ("snapshotID", text("Snapshot in the repository.").required()),
                ("snapshotSize", bytes("Bytes in the snapshot.")),
                (
                    "sourceNamespace",
                    text("Namespace that the volume was taken from.").required(),
                ),
                (
                    "uploaderSettings",
                    map("Settings of the uploader.").nullable(),
                ),
                ("uploaderType", uploader("Who copies.")),
                ("volume", text("Name of the volume in the pod.").required()),
            ],
        ),
        status: status(vec![node()]),
    }
}

/// What uploads and downloads have in common.
fn movement() -> Vec<Field> {
    vec![
        location(),
        cancel(),
        (
            "datamover",
            text("Who moves the data; empty or `velero` means the built-in mover."),
        ),
        (
            "operationTimeout",
            duration("How long single steps may take.").required(),
        ),
    ]
}

fn accepted_by() -> Field {
    ("acceptedByNode", text("Node that prepared it."))
}

pub(super) fn data_upload() -> Body {
    let mut spec = movement();
    spec.extend([
        (
            "csiSnapshot",
            object(
                "The CSI snapshot whose data is moved.",
                vec![
                    ("driver", text("Driver of the snapshot.")),
                    ("snapshotClass", text("Class of the snapshot.")),
                    (
                        "storageClass",
                        text("Storage class of the claim.").required(),
                    ),
                    (
                        "volumeSnapshot",
                        text("Name of the VolumeSnapshot.").required(),
                    ),
                ],
            )
            .nullable(),
        ),
        (
            "dataMoverConfig",
            map("Settings of the data mover.").nullable(),
        ),
        parent(),
        ("snapshotType", text("Kind of snapshot: `CSI`.").required()),
        ("sourceFSType", text("File system of the source.")),
        (
            "sourceNamespace",
            text("Namespace of the claim and the snapshot.").required(),
        ),
        (
            "sourcePVC",
            text("Claim that the snapshot was taken of.").required(),
        ),
    ]);
    Body {
        doc: "Moves the data of a snapshot into a repository.",
        columns: columns(true, None),
        spec: object("Which snapshot, and where it goes.", spec),
        status: status(vec![
            accepted_by(),
            (
                "dataMoverResult",
                map("What the data mover wants to know at the restore.").nullable(),
            ),
            incremental(),
            node(),
            (
                "nodeOS",
                word("Operating system of that node.", NodeOs::WORDS),
            ),
            path(),
            snapshot("Snapshot in the repository."),
        ]),
    }
}

pub(super) fn data_download() -> Body {
    let volume = object(
        "The claim and volume that the data goes to.",
        vec![
            ("fsType", text("File system of the volume.")),
            ("namespace", text("Namespace of the claim.").required()),
            ("pv", text("Name of the volume.").required()),
            ("pvc", text("Name of the claim.").required()),
        ],
    );
    let mut spec = movement();
    spec.extend([
        ("dataMoverConfig", map("Settings of the data mover.")),
        (
            "nodeOS",
            word(
                "Operating system of the node that shall do it.",
                NodeOs::WORDS,
            ),
        ),
        ("snapshotID", text("Snapshot in the repository.").required()),
        ("snapshotSize", bytes("Bytes in the snapshot.")),
        (
            "sourceNamespace",
            text("Namespace that the data was taken from.").required(),
        ),
        ("targetVolume", volume.required()),
    ]);
    Body {
        doc: "Moves data from a repository into a new volume.",
        columns: columns(false, None),
        spec: object("Which snapshot, and where it goes.", spec),
        status: status(vec![accepted_by(), node()]),
    }
}
