//! The binary against real API servers, those of `SALVOR_E2E_KUBECONFIG` and `SALVOR_E2E_KUBECONFIG_2`: as its
//! users meet it, and killed while it works. Without them, these tests are skipped aloud.

#[path = "../it/support.rs"]
#[expect(
    dead_code,
    reason = "shared with the tests against the in-process server"
)]
mod support;

mod agents;
mod behaviours;
mod claims;
mod clusters;
mod comparison;
mod control_plane;
mod counted;
mod encrypted;
mod etcd_objects;
mod fixture;
mod install;
mod killed;
mod native;
mod recovery;
mod server;
mod tenancy;
