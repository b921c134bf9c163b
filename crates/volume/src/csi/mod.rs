//! Snapshots by CSI drivers, through the objects of `snapshot.storage.k8s.io`.
//!
//! ```text
//!   backup   VolumeSnapshot -> (driver) -> VolumeSnapshotContent with a handle -> archive; at the end both objects go,
//!            the storage keeps its snapshot
//!   move     the same, a claim made of it, its files into a repository; then everything goes
//!   restore  VolumeSnapshotContent with that handle -> VolumeSnapshot -> claim; then both objects go
//!   delete   VolumeSnapshotContent with that handle and the policy Delete; then it goes, and the snapshot with it
//! ```
//!
//! Invariants:
//! - a snapshot of the storage is deleted only by [`Snapshots::delete`], or when the backup that took it does not exist;
//!   whatever else is removed has the deletion policy `Retain` first;
//! - every object that is made carries a label and the run that made it: what a killed run leaves is found
//!   ([`Snapshots::leftovers`]) and settled by whoever knows whether the run's backup exists;
//! - names follow from the run, so that a step that is repeated after a crash makes nothing twice.
//!
//! Start with [`Snapshots`].

mod api;
mod class;
mod delete;
mod error;
mod group;
mod leftover;
mod mark;
mod moved;
mod remove;
mod restore;
mod take;
mod upload;

pub use api::Snapshots;
pub use class::{ChosenBy, ClassChoice, ClassError, ClassWishes, SnapshotClass, choose_class};
pub use delete::{SnapshotRef, dependent_on};
pub use error::CsiError;
pub use group::{TakeGroup, volume_group};
pub use leftover::{Fate, Leftover, LeftoverKind, Settled, Whereabouts};
pub use moved::{MoveSnapshot, Moved};
pub use remove::Storage;
pub use restore::{
    Bound, Prepared, RestoreSnapshot, dynamic_claim, of_snapshot, restored_name, snapshot_of,
};
pub use take::{CsiTaken, TakeSnapshot};
