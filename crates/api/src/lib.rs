//! The vocabulary of Salvor: kinds, names, labels, durations, filters and selectors.
//!
//! Everything here is a value or a pure function on values. A backup on disk, a command line and a
//! cluster all speak of the same [`velero::Backup`]; what a filter keeps or a selector matches is decided
//! here once, and every other crate asks.
//!
//! Invariants:
//! - no I/O, no async, no clock, no randomness: time and ids come in as arguments;
//! - JSON is written as Velero's Go code writes it (key names, `720h0m0s`, second-precision times,
//!   omitted empties), because Velero reads what we write;
//! - parsing never panics: hostile names, durations and selectors are errors with a reason.
//!
//! Start with [`velero`] for the kinds, then [`filter`] for what a backup selects. [`crds`] holds the
//! definitions by which an API server serves the kinds, [`validate`] what a server checks of them,
//! [`schedule`] when backups are made, [`retention`] which of them go.

pub mod copies;
pub mod crds;
pub mod filter;
pub mod glob;
pub mod go;
pub mod labels;
pub mod limits;
pub mod meta;
pub mod name;
pub mod quantity;
pub mod resource;
pub mod resource_policy;
pub mod retention;
pub mod schedule;
pub mod selector;
pub mod validate;
pub mod velero;
