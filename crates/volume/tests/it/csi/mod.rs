//! Snapshots by CSI drivers, with a stand-in for the driver.

mod backing;
mod driver;
mod faults;
mod snapshots;
mod world;
