//! Backup against a real API server: the one of `SALVOR_E2E_KUBECONFIG`, which `cargo xtask testbed up`
//! starts. Without it, these tests are skipped aloud.

#[path = "../it/backing.rs"]
mod backing;

#[path = "../it/world.rs"]
#[expect(
    dead_code,
    reason = "shared with the tests against the in-process server"
)]
mod world;

#[path = "../it/restore_world.rs"]
#[expect(
    dead_code,
    reason = "shared with the tests against the in-process server"
)]
mod restore_world;

mod backup;
mod migration;
mod restore;
