//! Requests to the server: delete a backup, download a file, report yourself.

use serde::{Deserialize, Serialize};

use super::kind::kind;
use super::phase::{phases, words};
use crate::go::Time;
use crate::meta::null_is_default;

kind! {
    /// Asks for a backup to be deleted: its files, its snapshots, its object.
    DeleteBackupRequest, v1, "deletebackuprequests", "deletebackuprequest", ["dbr"],
    DeleteBackupRequestSpec, DeleteBackupRequestStatus
}

/// `DeleteBackupRequest.spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteBackupRequestSpec {
    /// Which backup.
    pub backup_name: String,
}

phases! {
    /// Where a deletion stands.
    DeleteBackupRequestPhase {
        /// Not looked at yet.
        New,
        /// Being deleted.
        InProgress,
        /// Done, or given up with errors.
        Processed,
    }
}

/// `DeleteBackupRequest.status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeleteBackupRequestStatus {
    /// Where it stands.
    #[serde(skip_serializing_if = "DeleteBackupRequestPhase::is_unset")]
    pub phase: DeleteBackupRequestPhase,
    /// Why it was given up; empty when the backup is gone.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub errors: Vec<String>,
}

kind! {
    /// Asks for an address from which a file of a backup or restore can be fetched.
    DownloadRequest, v1, "downloadrequests", "downloadrequest", ["dreq"],
    DownloadRequestSpec, DownloadRequestStatus
}

/// `DownloadRequest.spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DownloadRequestSpec {
    /// Which file.
    #[serde(deserialize_with = "null_is_default")]
    pub target: DownloadTarget,
}

/// Which file of which backup or restore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DownloadTarget {
    /// Which file.
    pub kind: DownloadTargetKind,
    /// Name of the backup or restore.
    pub name: String,
}

words! {
    /// The files that can be downloaded.
    DownloadTargetKind, unset: "", {
        /// Log of a backup.
        BackupLog,
        /// Archive of a backup.
        BackupContents,
        /// Native snapshots of a backup.
        BackupVolumeSnapshots,
        /// Asynchronous operations of a backup.
        BackupItemOperations,
        /// Names of all objects in a backup.
        BackupResourceList,
        /// Warnings and errors of a backup.
        BackupResults,
        /// Log of a restore.
        RestoreLog,
        /// Warnings and errors of a restore.
        RestoreResults,
        /// Names of all objects that a restore met.
        RestoreResourceList,
        /// Asynchronous operations of a restore.
        RestoreItemOperations,
        /// CSI snapshots of a backup, as old releases stored them.
        CSIBackupVolumeSnapshots,
        /// CSI snapshot contents of a backup, as old releases stored them.
        CSIBackupVolumeSnapshotContents,
        /// What became of each volume in a backup.
        BackupVolumeInfos,
        /// What became of each volume in a restore.
        RestoreVolumeInfo,
    }
}

impl DownloadTargetKind {
    /// True when the name is a restore's.
    #[must_use]
    pub fn is_of_restore(&self) -> bool {
        matches!(
            self,
            Self::RestoreLog
                | Self::RestoreResults
                | Self::RestoreResourceList
                | Self::RestoreItemOperations
                | Self::RestoreVolumeInfo
        )
    }
}

phases! {
    /// Where a download request stands.
    DownloadRequestPhase {
        /// Not looked at yet.
        New,
        /// The address is there.
        Processed,
        /// There is no address and will not be one (releases from 1.19).
        Failed,
    }
}

/// `DownloadRequest.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DownloadRequestStatus {
    /// Where it stands.
    #[serde(skip_serializing_if = "DownloadRequestPhase::is_unset")]
    pub phase: DownloadRequestPhase,
    /// Where the file is; whoever has this address can read it.
    #[serde(rename = "downloadURL", skip_serializing_if = "String::is_empty")]
    pub download_url: String,
    /// Until when the address works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Time>,
    /// Why there is none (releases from 1.19).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

kind! {
    /// Asks the server for its version and plugins.
    ServerStatusRequest, v1, "serverstatusrequests", "serverstatusrequest", ["ssr"],
    ServerStatusRequestSpec, ServerStatusRequestStatus
}

/// `ServerStatusRequest.spec`: there is nothing to ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatusRequestSpec {}

phases! {
    /// Where a status request stands.
    ServerStatusRequestPhase {
        /// Not looked at yet.
        New,
        /// Answered.
        Processed,
    }
}

/// `ServerStatusRequest.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerStatusRequestStatus {
    /// Where it stands.
    #[serde(skip_serializing_if = "ServerStatusRequestPhase::is_unset")]
    pub phase: ServerStatusRequestPhase,
    /// When it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processed_timestamp: Option<Time>,
    /// Version of the server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_version: String,
    /// Its plugins.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub plugins: Vec<PluginInfo>,
}

/// A plugin of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PluginInfo {
    /// Its name, with a domain: `velero.io/aws`.
    pub name: String,
    /// What it is: `ObjectStore`.
    pub kind: String,
}
