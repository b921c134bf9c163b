//! The fields of a pod that decide about its hooks.

use std::collections::BTreeMap;

use salvor_api::meta::StringMap;
use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_cluster::ApiResource;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// A pod, as far as hooks go.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pod {
    pub(crate) metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    labels: Option<StringMap>,
    annotations: Option<StringMap>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    containers: Option<Vec<Container>>,
    volumes: Option<Vec<Volume>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Volume {
    persistent_volume_claim: Option<Claim>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Claim {
    claim_name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Option<String>,
    container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    name: String,
    ready: bool,
    state: Option<BTreeMap<String, IgnoredAny>>,
}

impl Pod {
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// Pods as the server offers them.
    pub(crate) fn resource() -> ApiResource {
        ApiResource::known("", "v1", "Pod", "pods", true)
    }

    pub(crate) fn labels(&self) -> StringMap {
        self.metadata.labels.clone().unwrap_or_default()
    }

    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        let annotations = self.metadata.annotations.as_ref()?;
        annotations.get(key).map(String::as_str)
    }

    /// True when it has ended, well or not: nothing can run in it.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }

    /// Names of its containers, in order.
    pub(crate) fn containers(&self) -> impl Iterator<Item = &str> {
        let containers = self.spec.containers.iter().flatten();
        containers.map(|container| container.name.as_str())
    }

    /// The container that a hook means.
    ///
    /// # Errors
    /// There is none of this name.
    pub(crate) fn container(&self, named: &str) -> Result<&str, String> {
        let found = match named {
            "" => self.containers().next(),
            named => self.containers().find(|name| *name == named),
        };
        found.ok_or_else(|| match named {
            "" => "the pod has no containers".to_owned(),
            named => format!("the pod has no container `{named}`"),
        })
    }

    /// Its claims.
    pub(crate) fn claims(&self) -> Vec<ObjectKey> {
        let claims = GroupResource::new("persistentvolumeclaims", "");
        let volumes = self.spec.volumes.iter().flatten();
        volumes
            .filter_map(|volume| volume.persistent_volume_claim.as_ref())
            .filter(|claim| !claim.claim_name.is_empty())
            .map(|claim| {
                let namespace = &*self.metadata.namespace;
                ObjectKey::namespaced(claims.clone(), namespace, &*claim.claim_name)
            })
            .collect()
    }

    /// True when a container runs, and is ready where that is asked for.
    pub(crate) fn runs(&self, container: &str, ready: bool) -> bool {
        let statuses = self.status.container_statuses.iter().flatten();
        let mut statuses = statuses.filter(|status| status.name == container);
        statuses.any(|status| {
            let running = status.state.as_ref();
            running.is_some_and(|state| state.contains_key("running")) && (status.ready || !ready)
        })
    }
}
