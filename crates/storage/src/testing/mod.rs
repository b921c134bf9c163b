//! What implementations and users of stores are tested with: the conformance suite that every
//! implementation runs, and the store that fails on purpose.

pub mod conformance;
mod fault;

pub use fault::{Fault, FaultStore, Operation};
