//! The server against the in-process API server.

mod bucket_rules;
mod copies;
#[path = "../../../volume/tests/it/csi/driver.rs"]
#[expect(dead_code, reason = "shared with the tests of snapshots")]
mod csi_driver;
mod events;
mod hooks;
mod install;
mod killed;
mod lifecycle;
mod limits;
mod metrics;
mod policies;
mod providers;
mod repositories;
mod requests;
mod serving;
mod snapshots;
mod tenancy;
mod tenants;
mod tls;
mod volumes;
mod world;
