//! What the target has, as far as a restore's needs go. What may not be read is a gap, not an error.

use std::collections::{BTreeMap, BTreeSet};

use salvor_api::quantity::approximate;
use salvor_api::resource::GroupResource;
use salvor_cluster::{Cluster, Discovery, ErrorKind, ListOptions};
use serde_json::Value;

use super::{Demands, Finding, Severity};
use crate::restore::body;
use crate::restore::error::{Doing as _, RestoreError};

/// An annotation that makes a storage class the default.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// What the target has. `None` is not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Names of storage classes.
    pub storage_classes: Option<BTreeSet<String>>,
    /// Whether one of them is the default.
    pub has_default_storage_class: Option<bool>,
    /// Names of ingress classes.
    pub ingress_classes: Option<BTreeSet<String>>,
    /// Names of priority classes.
    pub priority_classes: Option<BTreeSet<String>>,
    /// Names of runtime classes.
    pub runtime_classes: Option<BTreeSet<String>>,
    /// `IPv4` and `IPv6`, as the API server's own service shows.
    pub ip_families: Option<BTreeSet<String>>,
    /// Labels of each node.
    pub node_labels: Option<Vec<BTreeMap<String, String>>>,
    /// What quotas have left: (namespace, quota, unit, amount).
    pub quotas: Vec<(String, String, String, f64)>,
    /// Fail-closed webhooks whose service has no ready endpoint.
    pub unready_webhooks: Vec<String>,
    /// Namespaces that are being deleted.
    pub terminating_namespaces: BTreeSet<String>,
    /// What could not be read, and why.
    pub unreadable: Vec<(String, String)>,
}

impl Facts {
    /// Reads what `demands` ask about.
    ///
    /// # Errors
    /// The cluster fails.
    pub async fn read(
        cluster: &Cluster,
        discovery: &Discovery,
        demands: &Demands,
    ) -> Result<Self, RestoreError> {
        let mut facts = Self::default();
        let mut reader = Reader {
            cluster,
            discovery,
            unreadable: Vec::new(),
        };
        if let Some(classes) = reader.list("storageclasses.storage.k8s.io", None).await? {
            let is_default = |class: &Value| body::annotation(class, DEFAULT_CLASS) == "true";
            facts.has_default_storage_class = Some(classes.iter().any(is_default));
            facts.storage_classes = Some(names(&classes));
        }
        if !demands.ingress_classes.is_empty() {
            let classes = reader
                .list("ingressclasses.networking.k8s.io", None)
                .await?;
            facts.ingress_classes = classes.as_deref().map(names);
        }
        if !demands.priority_classes.is_empty() {
            let classes = reader
                .list("priorityclasses.scheduling.k8s.io", None)
                .await?;
            facts.priority_classes = classes.as_deref().map(names);
        }
        if !demands.runtime_classes.is_empty() {
            let classes = reader.list("runtimeclasses.node.k8s.io", None).await?;
            facts.runtime_classes = classes.as_deref().map(names);
        }
        if !demands.ip_families.is_empty() {
            facts.ip_families = reader.ip_families().await?;
        }
        if !demands.node_selectors.is_empty() || !demands.volume_affinities.is_empty() {
            let nodes = reader.list("nodes", None).await?;
            facts.node_labels = nodes.map(|nodes| nodes.iter().map(body::labels).collect());
        }
        if let Some(namespaces) = reader.list("namespaces", None).await? {
            facts.terminating_namespaces = namespaces
                .iter()
                .filter(|n| !body::text_at(n, &["metadata", "deletionTimestamp"]).is_empty())
                .map(|n| body::text_at(n, &["metadata", "name"]).to_owned())
                .collect();
        }
        let quotas = reader
            .list("resourcequotas", None)
            .await?
            .unwrap_or_default();
        facts.quotas = quotas.iter().flat_map(left_over).collect();
        facts.unready_webhooks = reader.unready_webhooks().await?;
        facts.unreadable = reader.unreadable;
        Ok(facts)
    }

    /// What could not be looked at.
    pub(super) fn gaps(&self) -> Vec<Finding> {
        self.unreadable
            .iter()
            .map(|(what, why)| {
                Finding::new(
                    Severity::Info,
                    "not-checked",
                    format!(
                        "{what} of the target could not be read, so fitting was not checked: {why}"
                    ),
                )
            })
            .collect()
    }
}

fn names(objects: &[Value]) -> BTreeSet<String> {
    objects
        .iter()
        .map(|object| body::text_at(object, &["metadata", "name"]).to_owned())
        .collect()
}

/// What one quota has left, by unit.
fn left_over(quota: &Value) -> Vec<(String, String, String, f64)> {
    let amount = |list: &str, unit: &str| {
        body::at(quota, &["status", list, unit])
            .or_else(|| (list == "hard").then(|| body::at(quota, &["spec", "hard", unit]))?)
            .map(|value| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            })
            .and_then(|text| approximate(&text))
    };
    let hard = body::at(quota, &["spec", "hard"]).and_then(Value::as_object);
    hard.into_iter()
        .flatten()
        .filter_map(|(unit, _)| {
            let left = amount("hard", unit)? - amount("used", unit).unwrap_or(0.0);
            Some((
                body::text_at(quota, &["metadata", "namespace"]).to_owned(),
                body::text_at(quota, &["metadata", "name"]).to_owned(),
                unit.clone(),
                left,
            ))
        })
        .collect()
}

struct Reader<'a> {
    cluster: &'a Cluster,
    discovery: &'a Discovery,
    unreadable: Vec<(String, String)>,
}

impl Reader<'_> {
    /// All objects of a resource; `None` when the target does not serve it or does not let us look.
    async fn list(
        &mut self,
        resource: &str,
        namespace: Option<&str>,
    ) -> Result<Option<Vec<Value>>, RestoreError> {
        let Ok(name) = resource.parse::<GroupResource>() else {
            return Ok(None);
        };
        let Some(api) = self.discovery.find(&name) else {
            return Ok(Some(Vec::new()));
        };
        let mut pager = self.cluster.pager(api, namespace, ListOptions::default());
        let mut objects = Vec::new();
        loop {
            match pager.next_page().await {
                Ok(None) => return Ok(Some(objects)),
                Ok(Some(page)) => objects.extend(
                    page.items()
                        .filter_map(|item| serde_json::from_slice::<Value>(item).ok()),
                ),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Forbidden | ErrorKind::MethodNotAllowed
                    ) =>
                {
                    self.unreadable
                        .push((resource.to_owned(), error.reason().to_owned()));
                    return Ok(None);
                }
                Err(error) => {
                    return Err(error).doing(|| format!("look at {resource} of the target"));
                }
            }
        }
    }

    async fn ip_families(&mut self) -> Result<Option<BTreeSet<String>>, RestoreError> {
        let Some(services) = self.list("services", Some("default")).await? else {
            return Ok(None);
        };
        let own = services
            .iter()
            .find(|s| body::text_at(s, &["metadata", "name"]) == "kubernetes");
        let mut families: BTreeSet<String> = own
            .map(|service| body::list_at(service, &["spec", "ipFamilies"]))
            .unwrap_or_default()
            .iter()
            .filter_map(|family| family.as_str().map(str::to_owned))
            .collect();
        for node in self.list("nodes", None).await?.unwrap_or_default() {
            for range in body::list_at(&node, &["spec", "podCIDRs"]) {
                let is_v6 = range.as_str().is_some_and(|text| text.contains(':'));
                families.insert(if is_v6 { "IPv6" } else { "IPv4" }.to_owned());
            }
        }
        Ok(Some(families))
    }

    async fn unready_webhooks(&mut self) -> Result<Vec<String>, RestoreError> {
        let mut unready = Vec::new();
        let mut endpoints: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for kind in ["mutating", "validating"] {
            let resource = format!("{kind}webhookconfigurations.admissionregistration.k8s.io");
            let configs = self.list(&resource, None).await?.unwrap_or_default();
            let mut webhooks = Vec::new();
            for config in &configs {
                let name = body::text_at(config, &["metadata", "name"]);
                let own = body::list_at(config, &["webhooks"]);
                webhooks.extend(own.iter().map(|webhook| (name, webhook)));
            }
            for (config, webhook) in webhooks {
                let namespace = body::text_at(webhook, &["clientConfig", "service", "namespace"]);
                let service = body::text_at(webhook, &["clientConfig", "service", "name"]);
                if body::text_at(webhook, &["failurePolicy"]) == "Ignore" || service.is_empty() {
                    continue;
                }
                if !endpoints.contains_key(namespace) {
                    let found = self.list("endpoints", Some(namespace)).await?;
                    endpoints.insert(namespace.to_owned(), found.unwrap_or_default());
                }
                let is_ready = endpoints.get(namespace).into_iter().flatten().any(|e| {
                    body::text_at(e, &["metadata", "name"]) == service
                        && body::list_at(e, &["subsets"])
                            .iter()
                            .any(|subset| !body::list_at(subset, &["addresses"]).is_empty())
                });
                if !is_ready {
                    unready.push(format!("{} of {config}", body::text_at(webhook, &["name"])));
                }
            }
        }
        Ok(unready)
    }
}
