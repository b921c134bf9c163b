//! Claims and the volumes that they are bound to: volumes that outlived their claim, giving one to a claim again, and
//! whether every claim has the volume that it should have.
//!
//! [`seen`] reads a cluster, [`released`], [`rebind`] and [`check`] think about what was read. Only
//! [`rebind::carry_out`] writes.

pub mod check;
pub mod fits;
pub mod like;
pub mod objects;
pub mod pending;
pub mod rebind;
pub mod released;
mod say;
pub mod seen;
pub mod volume;
