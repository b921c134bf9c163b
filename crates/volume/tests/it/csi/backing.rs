//! The API server that the tests run against: here one in this process.

use salvor_apiserver::{ApiServer, Options};
use salvor_cluster::Cluster;

/// A cluster; elsewhere there may be none.
#[expect(clippy::unused_async, reason = "a real server has to be reached")]
pub(crate) async fn cluster() -> Option<Cluster> {
    let server = ApiServer::memory(Options::default());
    Some(Cluster::from_service(server, "test"))
}
