//! The API server that the tests run against: here a real one.

use salvor_cluster::{Cluster, ConnectOptions};
use salvor_testkit::required_path;

/// The cluster of `SALVOR_E2E_KUBECONFIG`; `None`, said aloud, when there is none.
pub(crate) async fn cluster() -> Option<Cluster> {
    let options = ConnectOptions {
        kubeconfig: Some(required_path("SALVOR_E2E_KUBECONFIG")?),
        ..ConnectOptions::default()
    };
    let cluster = Cluster::connect(&options).await;
    Some(cluster.expect("a usable kubeconfig"))
}
