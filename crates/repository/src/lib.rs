//! A deduplicating, encrypted store of files and streams, in the format of restic (repository version 2).
//!
//! Whatever is written here is listed, checked and restored by plain `restic`; whatever `restic` wrote is read,
//! extended and checked here. The crate knows bytes under names ([`salvor_storage::ObjectStore`]) and no Kubernetes.
//!
//! ```text
//!  Source ──> reader ──(budget in bytes)──> workers: SHA-256, index, zstd, AES+Poly1305, verify ──> packs ──> store
//!             cuts files                    close directories bottom-up            index files, snapshot last
//! ```
//!
//! Invariants:
//! - a snapshot is written last, after everything it reaches: what cannot be reached is garbage, never a lie;
//! - a source that fails as a whole fails the snapshot; an entry that fails is counted, and no summary can be had
//!   without the count;
//! - what is sealed is opened and compared before it is stored;
//! - every file but `config` is named by its bytes, written once, and checked when it is read;
//! - memory is bounded by budgets in bytes, whatever the sizes of files, directories and the repository: what is
//!   larger goes into files without names;
//! - hostile bytes (lengths, offsets, names, trees) are refused, not trusted.
//!
//! The engine is synchronous and runs on threads that may block: call it from `spawn_blocking`.
//!
//! Start with [`repository`], then [`backup`] and [`restore`].

pub mod backup;
mod bits;
mod blobs;
pub mod cache;
pub mod check;
pub mod chunk;
mod copying;
pub mod crypto;
pub mod damage;
pub mod entries;
pub mod error;
pub mod files;
pub mod format;
pub mod head;
#[cfg(test)]
mod hostile;
pub mod id;
pub mod index;
pub mod keys;
mod loading;
pub mod lock;
pub mod mend;
mod opener;
pub mod path;
pub mod progress;
pub mod prune;
pub mod reach;
pub mod repair;
pub mod repository;
pub mod restore;
pub mod retain;
mod scratch;
mod sorted;
pub mod source;

pub use error::{Error, Result};
pub use files::{Files, Kind};
pub use format::key_file::Work;
pub use format::node::{Node, NodeKind};
pub use format::snapshot::{Root, Snapshot, Summary};
pub use id::{BlobId, FileId};
pub use index::Index;
pub use loading::Snapshots;
pub use progress::Progress;
pub use repository::{InitOptions, Repository};
