//! Locations and requests to the server.

use salvor_api::velero::{
    AccessMode, DeleteBackupRequestPhase, DownloadRequestPhase, DownloadTargetKind, LocationPhase,
    ServerStatusRequestPhase,
};
use serde_json::json;

use super::definition::{Body, age, column};
use super::schema::{duration, flag, list, map, object, secret_key, text, texts, time, word};

pub(super) fn backup_storage_location() -> Body {
    let bucket = object(
        "The bucket.",
        vec![
            ("bucket", text("Name of the bucket.").required()),
            (
                "caCert",
                text(
                    "Certificates that the store is checked with, PEM in base64. Prefer caCertRef.",
                )
                .with("format", json!("byte")),
            ),
            (
                "caCertRef",
                secret_key("Key of a Secret with these certificates. Not together with caCert."),
            ),
            ("prefix", text("Path in the bucket; empty means its root.")),
        ],
    );
    Body {
        doc: "A bucket, or a path in one, that holds backups.",
        columns: vec![
            column("Phase", "string", ".status.phase"),
            column("Last Validated", "date", ".status.lastValidationTime"),
            age(),
            column("Default", "boolean", ".spec.default"),
        ],
        spec: object(
            "Where it is, and how to reach it.",
            vec![
                (
                    "accessMode",
                    word(
                        "Whether backups may be made and deleted here; absent means ReadWrite.",
                        AccessMode::WORDS,
                    ),
                ),
                (
                    "backupSyncPeriod",
                    duration("How often the cluster follows the bucket; zero means never.")
                        .nullable(),
                ),
                ("config", map("Settings of the provider.")),
                (
                    "credential",
                    secret_key(
                        "Key of a Secret with the credentials; absent means those of the server.",
                    ),
                ),
                (
                    "default",
                    flag("Whether backups that name no location go here."),
                ),
                ("objectStorage", bucket.required()),
                ("provider", text("Which kind of store it is.").required()),
                (
                    "validationFrequency",
                    duration("How often it is checked; zero means never.").nullable(),
                ),
            ],
        ),
        status: object(
            "What the last check found.",
            vec![
                (
                    "accessMode",
                    word("Of old releases; not used.", AccessMode::WORDS),
                ),
                ("lastSyncedRevision", text("Of old releases; not used.")),
                (
                    "lastSyncedTime",
                    time("When the cluster last followed the bucket."),
                ),
                ("lastValidationTime", time("When it was last checked.")),
                ("message", text("Why it is unavailable.")),
                (
                    "phase",
                    word("Whether it can be used.", LocationPhase::WORDS),
                ),
            ],
        ),
    }
}

pub(super) fn volume_snapshot_location() -> Body {
    Body {
        doc: "Where a provider keeps snapshots of volumes.",
        columns: vec![
            column("Provider", "string", ".spec.provider"),
            column("Phase", "string", ".status.phase"),
            age(),
        ],
        spec: object(
            "Where it is, and how to reach it.",
            vec![
                ("config", map("Settings of the provider.")),
                (
                    "credential",
                    secret_key(
                        "Key of a Secret with the credentials; absent means those of the server.",
                    ),
                ),
                (
                    "provider",
                    text("Which kind of snapshots they are.").required(),
                ),
            ],
        ),
        status: object(
            "What is known of it.",
            vec![(
                "phase",
                word("Whether it can be used.", LocationPhase::WORDS),
            )],
        ),
    }
}

pub(super) fn delete_backup_request() -> Body {
    Body {
        doc: "Asks for a backup to be deleted: files, snapshots and object.",
        columns: vec![
            column("BackupName", "string", ".spec.backupName"),
            column("Status", "string", ".status.phase"),
        ],
        spec: object(
            "What to delete.",
            vec![("backupName", text("Name of the backup.").required())],
        ),
        status: object(
            "What came of it.",
            vec![
                (
                    "errors",
                    texts("Why the backup is still there; empty once it is gone.").nullable(),
                ),
                (
                    "phase",
                    word("Where it stands.", DeleteBackupRequestPhase::WORDS),
                ),
            ],
        ),
    }
}

pub(super) fn download_request() -> Body {
    let target = object(
        "Which file.",
        vec![
            (
                "kind",
                word(
                    "Which file of the backup or restore.",
                    DownloadTargetKind::WORDS,
                )
                .required(),
            ),
            ("name", text("Name of the backup or restore.").required()),
        ],
    );
    Body {
        doc: "Asks for an address from which a file of a backup or restore can be fetched.",
        columns: vec![
            column("Target Kind", "string", ".spec.target.kind"),
            column("Target Name", "string", ".spec.target.name"),
            column("Status", "string", ".status.phase"),
            age(),
        ],
        spec: object("What to download.", vec![("target", target.required())]),
        status: object(
            "Where the file is.",
            vec![
                (
                    "downloadURL",
                    text("Address of the file; whoever has it can read the file."),
                ),
                ("expiration", time("Until when the address works.")),
                ("message", text("Why there is no address.")),
                (
                    "phase",
                    word("Where it stands.", DownloadRequestPhase::WORDS),
                ),
            ],
        ),
    }
}

pub(super) fn server_status_request() -> Body {
    let plugin = object(
        "One plugin.",
        vec![
            ("kind", text("What it does.").required()),
            ("name", text("Its name, with a domain.").required()),
        ],
    );
    Body {
        doc: "Asks the server for its version and plugins.",
        columns: vec![
            column("Status", "string", ".status.phase"),
            column("Server Version", "string", ".status.serverVersion"),
            column("Processed", "date", ".status.processedTimestamp"),
            age(),
        ],
        spec: object("There is nothing to ask for.", Vec::new()),
        status: object(
            "The answer.",
            vec![
                (
                    "phase",
                    word("Where it stands.", ServerStatusRequestPhase::WORDS),
                ),
                ("plugins", list("Plugins of the server.", plugin).nullable()),
                ("processedTimestamp", time("When it was answered.")),
                ("serverVersion", text("Version of the server.")),
            ],
        ),
    }
}
