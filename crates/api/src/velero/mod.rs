//! Velero's kinds (`velero.io/v1` and `v2alpha1`), as they stand in a cluster and in a location.
//!
//! Field names, order and omission follow the Go types, so that Velero decodes what we write. Unknown
//! fields are ignored on reading: a newer Velero may have written them. They survive a change all the
//! same when it is sent as [`merge_patch`], which is how objects in a cluster are changed. Unknown words
//! (a phase, a mode) are kept.
//!
//! Start with [`Backup`]; [`Kind`] is what generic code asks.

use crate::go::GoDuration;

mod backup;
mod data;
mod hook;
mod kind;
mod location;
mod phase;
mod pod_volume;
mod repository;
mod request;
mod restore;
mod schedule;
mod uploader;

pub use backup::*;
pub use data::*;
pub use hook::*;
pub use kind::{Kind, merge_patch};
pub use location::*;
pub use pod_volume::*;
pub use repository::*;
pub use request::*;
pub use restore::*;
pub use schedule::*;
pub use uploader::{UploaderConfigForBackup, UploaderConfigForRestore};

/// `apiVersion` of the kinds of version `v1`.
pub const API_VERSION: &str = "velero.io/v1";
/// `status.version` of a backup.
pub const BACKUP_VERSION: i64 = 1;
/// `status.formatVersion` of a backup: the layout of its archive.
pub const FORMAT_VERSION: &str = "1.1.0";
/// What a backup's TTL is when none is given, or `0`.
pub const DEFAULT_TTL: GoDuration = GoDuration::from_hours(720);
/// Default for [`BackupSpec::csi_snapshot_timeout`].
pub const DEFAULT_CSI_SNAPSHOT_TIMEOUT: GoDuration = GoDuration::from_minutes(10);
/// Default for [`BackupSpec::item_operation_timeout`].
pub const DEFAULT_ITEM_OPERATION_TIMEOUT: GoDuration = GoDuration::from_hours(4);

#[cfg(test)]
mod tests;
