//! The control plane of a cluster: which machines it has, what runs there, and how that is stopped and started.

pub mod detect;
pub mod files;
pub mod members;
pub mod plane;
mod poll;
pub mod restore;
pub mod services;
pub mod source;

pub use plane::{Flavour, Member, Plane, PlaneError, Probe, Reach, RecoveryMode};
pub use services::{Component, Services, State};
