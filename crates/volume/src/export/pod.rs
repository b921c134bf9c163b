//! The container that is meant, in its pod.

use salvor_cluster::{ApiResource, Cluster};
use serde_json::Value;

use super::{ExportError, PodPath};

/// Annotation of a pod: the container that is meant when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// A container, and the pod as it was read.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) pod: Value,
    /// The container in the pod's specification.
    pub(super) container: Value,
}

impl Found {
    /// Name of the container.
    pub(super) fn name(&self) -> &str {
        self.container["name"].as_str().unwrap_or_default()
    }

    /// Its image.
    pub(super) fn image(&self) -> &str {
        self.container["image"].as_str().unwrap_or_default()
    }

    /// What the node says of the container; null where it says nothing.
    pub(super) fn status(&self) -> &Value {
        let status = &self.pod["status"];
        ["containerStatuses", "ephemeralContainerStatuses"]
            .into_iter()
            .flat_map(|list| status[list].as_array().into_iter().flatten())
            .find(|status| status["name"] == self.name())
            .unwrap_or(&Value::Null)
    }
}

/// Core `v1` pods.
pub(super) fn pods() -> ApiResource {
    ApiResource::known("", "v1", "Pod", "pods", true)
}

/// Reads the pod and finds the container that is meant.
pub(super) async fn find(cluster: &Cluster, what: &PodPath) -> Result<Found, ExportError> {
    let shown = what.shown_pod();
    let found = cluster
        .get(&pods(), Some(&what.namespace), &what.pod)
        .await
        .map_err(|source| ExportError::Pod {
            pod: shown.clone(),
            source,
        })?;
    let Some(found) = found else {
        return Err(ExportError::NoPod { pod: shown });
    };
    let pod: Value = serde_json::from_slice(&found).map_err(|source| ExportError::Malformed {
        pod: shown.clone(),
        source,
    })?;
    let all: Vec<Value> = ["containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten())
        .cloned()
        .collect();
    let named = what
        .container
        .as_deref()
        .or(pod["metadata"]["annotations"][DEFAULT_CONTAINER].as_str());
    let meant = match named {
        Some(name) => all.iter().find(|container| container["name"] == name),
        None => all.first(),
    };
    let Some(container) = meant.cloned() else {
        let name = |container: &Value| container["name"].as_str().unwrap_or_default().to_owned();
        return Err(ExportError::NoContainer {
            pod: shown,
            container: named.unwrap_or_default().to_owned(),
            known: all.iter().map(name).collect(),
        });
    };
    Ok(Found { pod, container })
}
