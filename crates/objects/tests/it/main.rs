//! Backup and restore against the in-process API server and a store in memory.

mod backing;
mod backup;
mod backup_faults;
mod backup_hooks;
mod backup_snapshots;
mod backup_volumes;
mod block_devices;
#[path = "../../../volume/tests/it/csi/driver.rs"]
#[expect(dead_code, reason = "shared with the tests of snapshots")]
mod csi_driver;
mod diff;
mod extension;
mod fixtures;
mod hook_world;
mod hooked_groups;
mod kept_snapshots;
mod movers;
mod native_snapshots;
mod policies;
mod restore;
mod restore_damage;
mod restore_faults;
mod restore_hooks;
mod restore_kinds;
mod restore_services;
mod restore_volumes;
mod restore_volumes_existing;
mod restore_world;
mod snapshot_world;
mod volume_world;
mod world;
