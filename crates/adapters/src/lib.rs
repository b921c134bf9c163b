//! What Salvor recovers besides objects and volumes, and how it gets there: the control plane of a cluster, its hosts, and later
//! applications.
//!
//! - [`host`]: a machine or a container on which programs run and files lie, over a local process, ssh or a pod's exec. All that
//!   is done to a host goes through one function, so that it can be rehearsed against real processes.
//! - [`control_plane`]: which members it has, and how its components are stopped and started in each flavour.
//!
//! Invariants:
//! - a command's exit status is its own: a connection that broke, an input that was not taken and an output that was cut are
//!   errors, never a status;
//! - a file is written beside its place and renamed, with its owner and mode set before;
//! - work of several steps is a runbook ([`salvor_runbook`]).
//!
//! Start with [`host`].

pub mod control_plane;
pub mod host;
