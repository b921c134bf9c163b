//! Data of volumes: copied where it lies, by the node that has it.
//!
//! ```text
//!   backup, restore                 node agent (one per node)           mover pod (one per volume)
//!   DataMover ---- PodVolumeBackup ----> path on the node ----> reads, writes one directory
//!                  PodVolumeRestore                             <-> repository of the volume's domain
//! ```
//!
//! Who asks for data knows the [`DataMover`] only: a volume in, a snapshot out, or the other way round. How it is moved is
//! told by objects of the cluster, so that it outlives whoever asked.
//!
//! Invariants:
//! - a snapshot is named only when it is committed; what could not be read is counted in it;
//! - a claim that no running pod mounts is held by a pod of ours for as long as it is read or written;
//! - one repository per [`Domain`]: whoever writes to one can read all of it.

pub mod agent;
mod ask;
pub mod claims;
pub mod cluster_key;
pub mod csi;
mod domain;
pub mod export;
mod follow;
pub mod in_place;
mod mover;
pub mod native;
mod objects;
pub mod place;
pub mod standstill;
pub mod work;

pub use ask::{AgentMover, HOLDER_PREFIX, MadeBy, NODE_AGENT, PVC_NAME};
pub use domain::{Domain, REPOSITORIES};
pub use mover::{
    BackUpVolume, Claim, DataMover, FillVolume, Filled, MoveError, Moving, OnBehalfOf, Part,
    Placement, Stored, VolumePlace,
};
pub use objects::{Direction, Outcome, RESULT};
