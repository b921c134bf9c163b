//! How a server is set up.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::exec::ExecHandler;

/// Where the time comes from.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Settings of an [`ApiServer`](crate::ApiServer). [`Options::default`] is a current release with
/// working controllers.
#[derive(Clone)]
pub struct Options {
    /// `gitVersion` of `/version`, for example `v1.37.0`.
    pub version: String,
    /// Answer aggregated discovery to clients that ask for it. Off, the server looks like a release
    /// before 1.26.
    pub aggregated_discovery: bool,
    /// Serve alpha and beta versions that are off by default too.
    pub all_versions: bool,
    /// Do what kube-controller-manager does for stored objects: empty and finish namespaces that are
    /// deleted, collect the garbage of deleted owners, give each namespace its `default` ServiceAccount
    /// and its `kube-root-ca.crt`. Off, the server behaves as an API server that runs alone.
    pub controllers: bool,
    /// Start with the namespaces, Service and priority classes that a new cluster has.
    pub default_objects: bool,
    /// How many changes are remembered for watches and for later pages of a list.
    pub history_events: usize,
    /// How many bytes of object text those changes may hold on to.
    pub history_bytes: usize,
    /// Largest request body in bytes; the real server takes 3 MiB.
    pub max_body_bytes: usize,
    /// Source of time stamps.
    pub clock: Clock,
    /// Seed of UIDs and generated names; `None` takes one from the system. Two servers with the same
    /// seed and the same requests give the same names.
    pub seed: Option<u64>,
    /// Runs what `pods/exec` asks for; without one the subresource is refused. Works over
    /// [`ApiServer::serve`](crate::ApiServer::serve) only, as it needs a connection.
    pub exec: Option<ExecHandler>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: format!("v{}.0", crate::kinds::kinds().release),
            aggregated_discovery: true,
            all_versions: false,
            controllers: true,
            default_objects: true,
            history_events: 10_000,
            history_bytes: 64 << 20,
            max_body_bytes: 3 << 20,
            clock: Arc::new(Timestamp::now),
            seed: None,
            exec: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("version", &self.version)
            .field("aggregated_discovery", &self.aggregated_discovery)
            .field("all_versions", &self.all_versions)
            .field("controllers", &self.controllers)
            .field("default_objects", &self.default_objects)
            .field("history_events", &self.history_events)
            .field("history_bytes", &self.history_bytes)
            .field("max_body_bytes", &self.max_body_bytes)
            .field("seed", &self.seed)
            .field("exec", &self.exec)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// The time now, as the API writes it: UTC, whole seconds.
    pub(crate) fn now(&self) -> String {
        (self.clock)().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}
