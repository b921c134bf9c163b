//! Repositories of volume data, one per namespace and location.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::kind::kind;
use super::phase::{phases, words};
use crate::go::{GoDuration, Time};
use crate::meta::{StringMap, null_is_default};

kind! {
    /// The repository that holds file data of one namespace's volumes in one location.
    BackupRepository, v1, "backuprepositories", "backuprepository", ["repo"],
    BackupRepositorySpec, BackupRepositoryStatus
}

/// `BackupRepository.spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupRepositorySpec {
    /// Namespace whose volumes it holds.
    pub volume_namespace: String,
    /// Name of the location it is in.
    pub backup_storage_location: String,
    /// Format of the repository; written even when empty.
    pub repository_type: UploaderType,
    /// Address for a restic repository; of old releases.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub restic_identifier: String,
    /// How often it is maintained.
    pub maintenance_frequency: GoDuration,
    /// Settings of the repository.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub repository_config: StringMap,
}

words! {
    /// Who reads and writes volume data, and hence the format it is in.
    UploaderType, unset: "", {
        /// Kopia.
        Kopia = "kopia",
        /// Restic; of old releases.
        Restic = "restic",
    }
}

phases! {
    /// Where a repository stands.
    BackupRepositoryPhase {
        /// Not opened yet.
        New,
        /// Usable.
        Ready,
        /// Not usable; the message says why.
        NotReady,
    }
}

/// `BackupRepository.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupRepositoryStatus {
    /// Where it stands.
    #[serde(skip_serializing_if = "BackupRepositoryPhase::is_unset")]
    pub phase: BackupRepositoryPhase,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When maintenance last succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_maintenance_time: Option<Time>,
    /// The latest maintenance runs.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub recent_maintenance: Vec<MaintenanceRun>,
}

words! {
    /// How maintenance ended.
    MaintenanceResult, unset: "", {
        /// It did its work.
        Succeeded,
        /// It did not; the message says why.
        Failed,
    }
}

/// One maintenance run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MaintenanceRun {
    /// How it ended.
    #[serde(skip_serializing_if = "MaintenanceResult::is_unset")]
    pub result: MaintenanceResult,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete_timestamp: Option<Time>,
    /// Why it failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}
