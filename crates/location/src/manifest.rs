//! `salvor-manifest.json`: what a backup consists of, so that damage and loss show.

use std::collections::BTreeMap;

use jiff::Timestamp;
use salvor_seal::Digest;
use serde::{Deserialize, Serialize};

use crate::run::RunId;

/// Newest format of a manifest that we write and read.
pub const MANIFEST_VERSION: u64 = 1;

/// What a backup consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub version: u64,
    /// Name of the backup.
    pub backup: String,
    /// The run that wrote it.
    pub run: RunId,
    /// Program and version that wrote it.
    pub tool: String,
    /// When the manifest was made, by the writer's clock.
    pub created: Timestamp,
    /// UID of the source cluster's `kube-system` namespace; empty when it could not be read.
    pub cluster_uid: String,
    /// Every object of the backup but the manifest and the commit record, by name.
    pub objects: Vec<ManifestEntry>,
    /// Resource to the `resourceVersion` of its listing: what moment each part shows.
    pub list_revisions: BTreeMap<String, String>,
}

/// One object of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestEntry {
    /// File name below the backup's folder.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Version id on stores that keep versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// The store's tag for this content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}
