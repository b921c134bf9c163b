//! Hosts, and the components of a control plane, with real processes of this machine.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod detect;
mod files;
mod host;
mod members;
mod real;
mod restore;
mod services;
mod source;
mod sshd;
