//! Backup and restore of cluster objects: what Velero does to objects, on raw JSON.
//!
//! Invariants:
//! - bodies are bytes: an object that is not changed by an item action is written as the API server sent
//!   it, and nothing holds a whole backup or a whole listing;
//! - thinking is pure: what is selected, dropped or planned is decided by functions on values;
//! - nothing is left out silently: every skipped object has its reason in the log, and everything that
//!   could not be read is an error that shows in the phase;
//! - data of volumes is moved by whoever the caller names (`salvor_volume::DataMover`); each volume in scope is recorded,
//!   with the reason where its data is not in the backup.
//!
//! Start with [`backup::run`], then [`restore`].

pub mod backup;
mod config_map;
pub mod damage;
pub mod diff;
pub mod extension;
pub mod hooks;
pub mod kept;
pub mod leftovers;
pub mod policy;
pub mod restore;
pub mod rights;
pub mod snapshotter;
pub mod source;
