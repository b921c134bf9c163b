//! What an object refers to: the related items that come along with it.

use std::collections::BTreeMap;

use salvor_api::resource::{GroupResource, ObjectKey};
use serde::Deserialize;

/// Cluster role bindings' resource.
pub(crate) fn cluster_role_bindings() -> GroupResource {
    GroupResource::new("clusterrolebindings", "rbac.authorization.k8s.io")
}

/// Cluster roles' resource.
pub(crate) fn cluster_roles() -> GroupResource {
    GroupResource::new("clusterroles", "rbac.authorization.k8s.io")
}

/// Custom resource definitions' resource.
pub(crate) fn custom_resource_definitions() -> GroupResource {
    GroupResource::new("customresourcedefinitions", "apiextensions.k8s.io")
}

/// The fields of a pod that matter to a backup.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pod {
    pub(crate) metadata: PodMeta,
    pub(crate) spec: PodSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PodMeta {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodSpec {
    pub(crate) priority_class_name: Option<String>,
    pub(crate) volumes: Option<Vec<PodVolume>>,
}

/// One volume of a pod; of its source only the key and a claim's name are kept.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodVolume {
    pub(crate) name: String,
    pub(crate) persistent_volume_claim: Option<ClaimSource>,
    #[serde(flatten)]
    sources: BTreeMap<String, serde::de::IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ClaimSource {
    pub(crate) claim_name: String,
}

/// Volumes whose content is an object of the cluster or of the node, never data of the pod.
const NEVER_BY_FILES: &[&str] = &[
    "hostPath",
    "secret",
    "configMap",
    "projected",
    "downwardAPI",
];

impl Pod {
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    pub(crate) fn volumes(&self) -> &[PodVolume] {
        self.spec.volumes.as_deref().unwrap_or_default()
    }

    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata
            .annotations
            .as_ref()?
            .get(key)
            .map(String::as_str)
    }

    /// Its claims and its priority class.
    pub(crate) fn references(&self) -> Vec<ObjectKey> {
        let claims = GroupResource::new("persistentvolumeclaims", "");
        let mut keys: Vec<ObjectKey> = self
            .volumes()
            .iter()
            .filter_map(|volume| volume.persistent_volume_claim.as_ref())
            .filter(|claim| !claim.claim_name.is_empty())
            .map(|claim| {
                ObjectKey::namespaced(
                    claims.clone(),
                    &*self.metadata.namespace,
                    &*claim.claim_name,
                )
            })
            .collect();
        let class = self.spec.priority_class_name.as_deref().unwrap_or_default();
        if !class.is_empty() {
            let classes = GroupResource::new("priorityclasses", "scheduling.k8s.io");
            keys.push(ObjectKey::cluster(classes, class));
        }
        keys
    }
}

impl PodVolume {
    /// True when the volume can be copied file by file.
    pub(crate) fn is_copied_by_files(&self) -> bool {
        !NEVER_BY_FILES
            .iter()
            .any(|kind| self.sources.contains_key(*kind))
    }
}

/// The fields of a claim.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Claim {
    pub(crate) spec: ClaimSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ClaimSpec {
    pub(crate) volume_name: Option<String>,
}

impl Claim {
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// The volume that it is bound to.
    pub(crate) fn volume(&self) -> Option<&str> {
        self.spec
            .volume_name
            .as_deref()
            .filter(|name| !name.is_empty())
    }
}

/// The fields of a volume.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Volume {
    pub(crate) metadata: VolumeMeta,
    pub(crate) spec: VolumeSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct VolumeMeta {
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct VolumeSpec {
    pub(crate) claim_ref: Option<ClaimRef>,
    pub(crate) persistent_volume_reclaim_policy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ClaimRef {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Volume {
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

/// The fields of a cluster role binding.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Binding {
    subjects: Option<Vec<Subject>>,
    role_ref: RoleRef,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Subject {
    kind: String,
    namespace: String,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RoleRef {
    kind: String,
    name: String,
}

impl Binding {
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// True when one of its subjects is a service account that `is_taken`, asked by namespace and name.
    pub(crate) fn binds(&self, is_taken: impl Fn(&str, &str) -> bool) -> bool {
        self.subjects
            .iter()
            .flatten()
            .any(|s| s.kind == "ServiceAccount" && is_taken(&s.namespace, &s.name))
    }

    /// The role that it gives.
    pub(crate) fn cluster_role(&self) -> Option<ObjectKey> {
        let RoleRef { kind, name } = &self.role_ref;
        (kind == "ClusterRole" && !name.is_empty())
            .then(|| ObjectKey::cluster(cluster_roles(), &**name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_refers_to_its_claims_and_its_priority_class() {
        let pod = Pod::read(
            br#"{"metadata":{"name":"p","namespace":"shop","annotations":null},"spec":{"priorityClassName":"high",
            "volumes":[{"name":"d","persistentVolumeClaim":{"claimName":"data"}},{"name":"c","configMap":{"name":"x"}},
            {"name":"e","emptyDir":{}}]}}"#,
        )
        .expect("a pod");
        let keys: Vec<String> = pod.references().iter().map(ToString::to_string).collect();
        assert_eq!(
            keys,
            [
                "persistentvolumeclaims shop/data",
                "priorityclasses.scheduling.k8s.io high"
            ]
        );
        let by_files: Vec<bool> = pod
            .volumes()
            .iter()
            .map(PodVolume::is_copied_by_files)
            .collect();
        assert_eq!(by_files, [true, false, true]);
    }

    #[test]
    fn a_binding_of_a_service_account_leads_to_its_cluster_role() {
        let binding = Binding::read(
            br#"{"subjects":[{"kind":"Group","name":"g"},{"kind":"ServiceAccount","namespace":"shop","name":"web"}],
            "roleRef":{"kind":"ClusterRole","name":"view"}}"#,
        )
        .expect("a binding");
        assert!(binding.binds(|ns, name| (ns, name) == ("shop", "web")));
        assert!(!binding.binds(|ns, name| (ns, name) == ("", "g")));
        let role = binding.cluster_role().map(|key| key.to_string());
        assert_eq!(
            role.as_deref(),
            Some("clusterroles.rbac.authorization.k8s.io view")
        );
        let none = Binding::read(br#"{"subjects":null,"roleRef":{}}"#).expect("a binding");
        assert!(!none.binds(|_, _| true) && none.cluster_role().is_none());
    }
}
