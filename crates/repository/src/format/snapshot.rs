//! Snapshot files: the recovery points of a repository.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::node::{Node, NodeKind, Xattr};
use crate::id::{BlobId, FileId};

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When the backup began, as the writer's clock said, with its zone.
    pub time: String,
    /// The snapshot that unchanged files were recognised by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<FileId>,
    /// The tree of the source's root.
    pub tree: BlobId,
    /// What was backed up.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Machine or pod, or what stands for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// User.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// User id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// Group id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
    /// Patterns that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excludes: Vec<String>,
    /// `key=value` by convention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// The snapshot that this one was made of by changing its tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<FileId>,
    /// Who wrote it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program_version: String,
    /// The source's own directory; absent where the source has none, and from snapshots of restic, which keeps nothing of it.
    #[serde(
        default,
        rename = "salvor_root",
        skip_serializing_if = "Option::is_none"
    )]
    pub root: Option<Root>,
    /// What was counted; absent from snapshots of older restics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
}

/// What is known of a source's own directory, which no tree has an entry of. restic ignores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Permission bits, with set-uid, set-gid and sticky as in Unix (`0o7777`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When its content changed.
    pub mtime: Timestamp,
    /// Extended attributes, ACLs among them, by name; values in base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, String>,
}

impl Root {
    /// Of the directory that a node describes.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let xattrs = node.xattrs.iter();
        Self {
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            mtime: node.mtime,
            xattrs: xattrs
                .map(|one| (one.name.clone(), BASE64.encode(&one.value)))
                .collect(),
        }
    }

    /// A node of the directory; attributes whose value is none are left out.
    #[must_use]
    pub fn node(&self) -> Node {
        let mut node = Node::new(NodeKind::Dir, b".".to_vec());
        (node.mode, node.uid, node.gid) = (self.mode & 0o7777, self.uid, self.gid);
        (node.mtime, node.atime) = (self.mtime, self.mtime);
        let xattrs = self.xattrs.iter().filter_map(|(name, value)| {
            let (name, value) = (name.clone(), BASE64.decode(value).ok()?);
            Some(Xattr { name, value })
        });
        node.xattrs = xattrs.collect();
        node
    }
}

/// What a backup counted, in restic's words; `errors` is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// When it began.
    pub backup_start: String,
    /// When it ended.
    pub backup_end: String,
    /// Files that the parent does not have.
    pub files_new: u64,
    /// Files that the parent has in another state.
    pub files_changed: u64,
    /// Files that were taken from the parent.
    pub files_unmodified: u64,
    /// Directories that the parent does not have.
    pub dirs_new: u64,
    /// Directories that the parent has in another state.
    pub dirs_changed: u64,
    /// Directories as the parent has them.
    pub dirs_unmodified: u64,
    /// Data blobs that were stored.
    pub data_blobs: i64,
    /// Trees that were stored.
    pub tree_blobs: i64,
    /// Bytes of new blobs, before compression.
    pub data_added: u64,
    /// Bytes that they take in packs.
    pub data_added_packed: u64,
    /// Files and everything else that is no directory.
    pub total_files_processed: u64,
    /// Bytes of the files.
    pub total_bytes_processed: u64,
    /// Entries that could not be read and are missing from the snapshot; restic ignores it.
    #[serde(skip_serializing_if = "is_zero_u64")]
    pub errors: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_zero_u64(number: &u64) -> bool {
    *number == 0
}

impl Snapshot {
    /// Entries that could not be read and are missing from it. Snapshots of restic do not say.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.summary.as_ref().map_or(0, |summary| summary.errors)
    }

    /// When the backup began; `None` when the text is no time.
    #[must_use]
    pub fn begun(&self) -> Option<jiff::Timestamp> {
        self.time.parse().ok()
    }
}
