//! What the record of a point says of its snapshot.

use salvor_location::Point;
use serde::{Deserialize, Serialize};

use super::{Error, KIND};
use crate::save::Saved;
use crate::snapshot;

fn is_none(count: &u64) -> bool {
    *count == 0
}

/// What the record of a point says of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// Id of the cluster, 16 hexadecimal digits.
    pub cluster: String,
    /// The chain that begins with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// Revision of the store.
    pub revision: u64,
    /// Revision up to which the store was compacted.
    pub compacted: u64,
    /// The hash that `snapshot status` prints.
    pub hash: u32,
    /// Entries of all buckets.
    pub entries: u64,
    /// Versions of keys, deletions included.
    pub versions: u64,
    /// Keys that are there.
    pub live_keys: Option<u64>,
    /// Bytes of the pages.
    pub total_size: u64,
    /// Storage version; empty below 3.6.
    pub storage_version: String,
    /// Versions of values that an API server encrypted: they need its keys as well.
    #[serde(default, skip_serializing_if = "is_none")]
    pub encrypted: u64,
    /// Version of the member that gave it.
    pub etcd_version: String,
    /// Id of that member, in hexadecimal digits.
    pub member: String,
    /// Its address.
    pub endpoint: String,
    /// The newest revision before it was asked for, where a majority could be asked.
    pub newest_before: Option<u64>,
    /// Seconds that it took to save and verify.
    pub seconds: f64,
    /// Why it was taken, for people to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was unusual.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// What it was merged from, when no member gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged: Option<MergedFrom>,
}

/// What a merged snapshot was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MergedFrom {
    /// The point that was its base.
    pub base: String,
    /// Segments whose changes are in it.
    pub segments: u64,
    /// etcd's HashKV at its revision, of a store that is compacted at `compacted`.
    pub hash_kv: u32,
}

impl Details {
    pub(super) fn of(saved: &Saved, chain: Option<&str>, reason: Option<&str>) -> Self {
        let status = &saved.status;
        Self {
            cluster: format!("{:016x}", saved.member.cluster),
            chain: chain.map(str::to_owned),
            revision: status.store_revision(),
            compacted: status.compacted,
            hash: status.hash,
            entries: status.entries,
            versions: status.versions,
            live_keys: status.live_keys,
            total_size: status.total_size,
            storage_version: status.version.clone(),
            etcd_version: saved.member.version.clone(),
            member: format!("{:x}", saved.member.member),
            endpoint: saved.endpoint.clone(),
            newest_before: saved.newest_before,
            seconds: saved.took.as_secs_f64(),
            reason: reason.map(str::to_owned),
            remarks: saved.remarks.clone(),
            merged: None,
            encrypted: status.encrypted,
        }
    }

    /// The figures of the snapshot, which were counted when it was saved.
    #[must_use]
    pub fn into_status(self) -> snapshot::Status {
        snapshot::Status {
            hash: self.hash,
            revision: self.revision,
            compacted: self.compacted,
            entries: self.entries,
            live_keys: self.live_keys,
            versions: self.versions,
            total_size: self.total_size,
            version: self.storage_version,
            has_digest: true,
            encrypted: self.encrypted,
        }
    }

    /// The details of a point.
    ///
    /// # Errors
    /// It is none of etcd, or its record cannot be understood.
    pub fn of_point(point: &Point) -> Result<Self, Error> {
        if point.kind != KIND {
            return Err(Error::OtherKind {
                id: point.id.to_string(),
                kind: point.kind.clone(),
            });
        }
        Self::deserialize(&point.details).map_err(|source| Error::Details {
            id: point.id.to_string(),
            source,
        })
    }
}
