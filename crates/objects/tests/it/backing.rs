//! What a [`crate::world::World`] is made of: here the server in this process, elsewhere a real one.

use salvor_apiserver::ApiServer;
use salvor_cluster::Cluster;
use serde_json::Value;

/// Keeps a cluster for one world.
pub(crate) struct Lease;

/// A client of the server of a world.
pub(crate) fn cluster(server: &ApiServer) -> (Cluster, Lease) {
    (Cluster::from_service(server.clone(), "test"), Lease)
}

/// Waits for what controllers make of a new object; here it has happened within the request.
#[expect(clippy::unused_async, reason = "a real server has to be waited for")]
pub(crate) async fn settled(_: &Lease, _: &Cluster, _: &Value) {}
