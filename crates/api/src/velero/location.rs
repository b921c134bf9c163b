//! Locations: where backups are stored, and where snapshots of volumes are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::kind::kind;
use super::phase::words;
use crate::go::{SignedGoDuration, Time};
use crate::meta::{SecretKeySelector, StringMap, null_is_default};

kind! {
    /// A bucket, or part of one, that holds backups.
    BackupStorageLocation, v1, "backupstoragelocations", "backupstoragelocation", ["bsl"],
    BackupStorageLocationSpec, BackupStorageLocationStatus
}

/// `BackupStorageLocation.spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStorageLocationSpec {
    /// Which kind of store: `aws`, `azure`, `gcp`.
    pub provider: String,
    /// Settings of the provider, such as `region` or `s3Url`.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub config: StringMap,
    /// Key of a Secret with the credentials; absent means the server's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<SecretKeySelector>,
    /// The bucket.
    #[serde(deserialize_with = "null_is_default")]
    pub object_storage: ObjectStorageLocation,
    /// Whether backups that name no location go here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// Whether anything may be written; unset means [`AccessMode::ReadWrite`].
    #[serde(skip_serializing_if = "AccessMode::is_unset")]
    pub access_mode: AccessMode,
    /// How often the cluster follows the bucket: zero never, negative or absent as the server is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_sync_period: Option<SignedGoDuration>,
    /// How often the location is checked: zero never, negative or absent as the server is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_frequency: Option<SignedGoDuration>,
}

/// The bucket of a location.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectStorageLocation {
    /// Name of the bucket.
    pub bucket: String,
    /// Path within the bucket; empty means its root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// Certificates that the store's TLS is checked with: PEM in base64. Exclusive with `ca_cert_ref`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca_cert: String,
    /// Key of a Secret with these certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_cert_ref: Option<SecretKeySelector>,
}

words! {
    /// Whether a location may be written to.
    AccessMode, unset: "", {
        /// Backups are listed and restored only.
        ReadOnly,
        /// Backups are made and deleted as well.
        ReadWrite,
    }
}

words! {
    /// Whether a location can be reached and has the right layout.
    LocationPhase, unset: "", {
        /// It was at the last check.
        Available,
        /// It was not; the message says why.
        Unavailable,
    }
}

/// `BackupStorageLocation.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStorageLocationStatus {
    /// Result of the last check.
    #[serde(skip_serializing_if = "LocationPhase::is_unset")]
    pub phase: LocationPhase,
    /// When the cluster last followed the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_synced_time: Option<Time>,
    /// When it was last checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_validation_time: Option<Time>,
    /// Why it is unavailable.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Of old releases; not used.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_synced_revision: String,
    /// Of old releases; not used.
    #[serde(skip_serializing_if = "AccessMode::is_unset")]
    pub access_mode: AccessMode,
}

kind! {
    /// Where a provider keeps snapshots of volumes.
    VolumeSnapshotLocation, v1, "volumesnapshotlocations", "volumesnapshotlocation", ["vsl"],
    VolumeSnapshotLocationSpec, VolumeSnapshotLocationStatus
}

/// `VolumeSnapshotLocation.spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotLocationSpec {
    /// Which kind of store.
    pub provider: String,
    /// Settings of the provider.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub config: StringMap,
    /// Key of a Secret with the credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<SecretKeySelector>,
}

/// `VolumeSnapshotLocation.status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeSnapshotLocationStatus {
    /// Velero declares it and does not keep it up to date.
    #[serde(skip_serializing_if = "LocationPhase::is_unset")]
    pub phase: LocationPhase,
}
