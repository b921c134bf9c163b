//! The server as users have it: a pod of its image, with the manifests and the rights that `install` prints and
//! none else, among pods that a kubelet runs. The cluster is that of `SALVOR_E2E_NODE_KUBECONFIG`, whose node has
//! the image `SALVOR_E2E_IMAGE`; without them these tests are skipped aloud.
//!
//! The image has the layout of the product's and the binary of the other tests (`docs/decisions/0005-test-bed.md`).

#[path = "../it/support.rs"]
#[expect(
    dead_code,
    reason = "shared with the tests against the in-process server"
)]
mod support;

mod broken;
mod client;
mod data;
mod hooks;
mod http;
mod in_place;
mod killed;
mod pods;
mod reader;
mod rights;
mod strict;
mod volumes;
mod world;
