//! The tests against the in-process server once more, against real API servers: those of
//! `SALVOR_E2E_KUBECONFIG` and `SALVOR_E2E_KUBECONFIG_2`, which `cargo xtask e2e` starts.
//!
//! A world is one of the two clusters, brought back to what it was at the start by way of its etcd. Tests that
//! need what only the in-process server has run against that one, and say why ([`backing`]).

mod backing;
mod etcd;

macro_rules! shared {
    ($($name:ident $file:literal),+ $(,)?) => {
        $(#[path = $file]
        #[allow(dead_code, reason = "shared with the tests against the in-process server")]
        mod $name;)+
    };
}

shared! {
    backup "../it/backup.rs",
    block_devices "../it/block_devices.rs",
    csi_driver "../../../volume/tests/it/csi/driver.rs",
    diff "../it/diff.rs",
    kept_snapshots "../it/kept_snapshots.rs",
    movers "../it/movers.rs",
    policies "../it/policies.rs",
    restore "../it/restore.rs",
    restore_damage "../it/restore_damage.rs",
    restore_kinds "../it/restore_kinds.rs",
    restore_services "../it/restore_services.rs",
    restore_world "../it/restore_world.rs",
    snapshot_world "../it/snapshot_world.rs",
    world "../it/world.rs",
}
