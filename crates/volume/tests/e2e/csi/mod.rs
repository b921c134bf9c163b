//! The tests of snapshots that need no faults, once more.

mod backing;
#[path = "../../it/csi/driver.rs"]
mod driver;
#[path = "../../it/csi/snapshots.rs"]
mod snapshots;
#[path = "../../it/csi/world.rs"]
mod world;
