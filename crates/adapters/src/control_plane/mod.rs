//! The control plane of a cluster: which machines it has, what runs there, and how that is stopped and started.

pub mod plane;
pub mod services;

pub use plane::{Flavour, Member, Plane, PlaneError, Reach};
pub use services::{Component, Services, State};
