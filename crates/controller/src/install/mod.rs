//! What stands in a cluster where a server is installed: one source for `salvor install`, for the chart and for
//! the tests that run a server with nothing but these rights.
//!
//! Everything here is a pure function of [`Install`]. Names are made of the server's namespace, so that two
//! installations do not meet.

mod iam;
mod node_agent;
mod objects;
mod rbac;
mod requests;
mod workload;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::authorize::AuthorizeRequests;
use crate::tls::TlsSource;

pub use self::iam::iam_policy;
pub use self::node_agent::{NODE_AGENT, NodeAgent};
pub(crate) use self::objects::{authority_map, shared_secret};
pub use self::objects::{is_left_alone, prometheus_rule, resource_of_manifest};

/// Name of the workload, its account, its service and its roles.
pub const NAME: &str = "salvor";
/// Name of the secret with the credentials of the default location, and of the key in it, as in Velero.
pub const CREDENTIALS: (&str, &str) = ("cloud-credentials", "cloud");
/// Port of metrics and probes.
pub const METRICS_PORT: u16 = 8085;
/// Port of downloads.
pub const DOWNLOADS_PORT: u16 = 8086;
/// Port where the API server asks who makes requests.
pub const ADMISSION_PORT: u16 = 8087;

/// What a server may do to the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Read everything, change nothing outside its namespace.
    BackupOnly,
    /// Also create and change everything; delete nothing.
    Restore,
    /// Also delete, which the existing-resource policy `recreate` needs.
    #[default]
    Full,
}

/// Where backups go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DefaultLocation {
    /// Velero's name of the provider: `aws`, `azure`, `gcp`.
    pub provider: String,
    /// Bucket or container.
    pub bucket: String,
    /// Folder in it; may be empty.
    pub prefix: String,
    /// Velero's keys, such as `region`.
    pub config: BTreeMap<String, String>,
    /// Certificates of the store, PEM; empty for those that everybody knows.
    pub ca_cert: Vec<u8>,
}

/// What the server's container asks for and may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Processor that it asks for.
    pub cpu_request: String,
    /// Memory that it asks for.
    pub memory_request: String,
    /// Processor that it may use; `0` for as much as there is.
    pub cpu_limit: String,
    /// Memory that it may use; `0` for as much as there is.
    pub memory_limit: String,
}

impl Default for Resources {
    /// Requests are what an idle server needs; the limit of memory is several times what 300,000 objects took
    /// (docs/benchmarks.md). Compression takes what processor there is, so that is not limited.
    fn default() -> Self {
        Self {
            cpu_request: "100m".to_owned(),
            memory_request: "128Mi".to_owned(),
            cpu_limit: "0".to_owned(),
            memory_limit: "1Gi".to_owned(),
        }
    }
}

/// What to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// Namespace of the server and its kinds.
    pub namespace: String,
    /// Image of the server.
    pub image: String,
    /// What it may do.
    pub role: Role,
    /// API groups whose objects it may see; empty for all, also those that come later. The core group and
    /// those that Kubernetes comes with are always among them.
    pub api_groups: Vec<String>,
    /// Whether it may run commands in pods, as hooks do.
    pub hooks: bool,
    /// Servers, of which one leads.
    pub replicas: u16,
    /// Further arguments of the server.
    pub arguments: Vec<String>,
    /// What each asks for.
    pub resources: Resources,
    /// Where the server's certificate comes from.
    pub tls: TlsSource,
    /// Whether metrics and probes are served over TLS too.
    pub metrics_tls: bool,
    /// How much a request is worth.
    pub authorize_requests: AuthorizeRequests,
    /// How users reach the downloads; empty for the service's name in the cluster.
    pub download_url: String,
    /// Labels of the pods, beside ours.
    pub pod_labels: BTreeMap<String, String>,
    /// Annotations of the pods.
    pub pod_annotations: BTreeMap<String, String>,
    /// Annotations of the service account: a cloud's workload identity.
    pub service_account_annotations: BTreeMap<String, String>,
    /// Contents of a credentials file.
    pub credentials: Option<Vec<u8>>,
    /// The default location.
    pub location: Option<DefaultLocation>,
    /// Provider and configuration of the default snapshot location.
    pub snapshot_location: Option<(String, BTreeMap<String, String>)>,
    /// How node agents are installed; `None` for none.
    pub node_agent: Option<NodeAgent>,
    /// Whether alert rules are installed, which needs the kind PrometheusRule.
    pub prometheus_rule: bool,
}

impl Install {
    /// The defaults: everything may be backed up and restored, and no location is there.
    #[must_use]
    pub fn new(namespace: &str, image: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            image: image.to_owned(),
            role: Role::default(),
            api_groups: Vec::new(),
            hooks: true,
            replicas: 1,
            arguments: Vec::new(),
            resources: Resources::default(),
            tls: TlsSource::Generated,
            metrics_tls: false,
            authorize_requests: AuthorizeRequests::default(),
            download_url: String::new(),
            pod_labels: BTreeMap::new(),
            pod_annotations: BTreeMap::new(),
            service_account_annotations: BTreeMap::new(),
            credentials: None,
            location: None,
            snapshot_location: None,
            node_agent: None,
            prometheus_rule: false,
        }
    }

    /// Everything but the definitions of the kinds ([`salvor_api::crds`]), in the order in which it is created.
    #[must_use]
    pub fn manifests(&self) -> Vec<Value> {
        let mut manifests = vec![objects::namespace(self)];
        manifests.extend(rbac::manifests(self));
        manifests.push(shared_secret(&self.namespace));
        manifests.push(authority_map(&self.namespace));
        manifests.extend(objects::credentials(self));
        manifests.extend(workload::manifests(self));
        manifests.extend(node_agent::manifests(self));
        manifests.extend(requests::manifests(self));
        manifests.extend(objects::storage_location(self));
        manifests.extend(objects::snapshot_location(self));
        if self.prometheus_rule {
            manifests.push(prometheus_rule(&self.namespace));
        }
        manifests
    }

    /// True when a request is worth what its requester may do.
    fn is_strict(&self) -> bool {
        self.authorize_requests == AuthorizeRequests::Strict
    }

    /// Name of what belongs to the whole cluster.
    #[must_use]
    pub fn cluster_name(&self) -> String {
        cluster_name(&self.namespace)
    }
}

/// Name of the cluster-wide role and binding of the server in a namespace, and of its webhook configuration. The
/// role of its hooks ends in `-hooks`, that of asking what requesters may do in `-requests`, that of holding claims in
/// `-volumes`, that of the node agents in `-node-agent`.
#[must_use]
pub fn cluster_name(namespace: &str) -> String {
    format!("{NAME}-{namespace}")
}

/// Labels of everything that is installed; the second is Velero's.
fn labels() -> Value {
    serde_json::json!({"app.kubernetes.io/name": NAME, "component": "velero"})
}
