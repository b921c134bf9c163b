//! What the tests of every crate share: real servers as child processes, skips that are heard, and the
//! checker of Velero's layout that shares no code with our writer.
//!
//! Invariants:
//! - depends on no crate of ours, so that no test sees two copies of a type;
//! - a process that was started is killed when its handle is dropped;
//! - a test that cannot run says so, and fails where everything is required.
//!
//! Start with [`skip`].

pub mod azurite;
pub mod ec2_server;
pub mod fault_proxy;
pub mod process;
pub mod s3_server;
pub mod skip;
pub mod tcp_proxy;
pub mod velero_check;
pub mod webhook;

pub use skip::{package_folder, required_path, required_var, skipped};
