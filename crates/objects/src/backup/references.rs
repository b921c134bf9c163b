//! What an object refers to: the related items that come along with it.

use std::collections::BTreeMap;

use salvor_api::labels;
use salvor_api::resource::{GroupResource, ObjectKey};
use serde::Deserialize;
use serde_json::Value;

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
    status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PodMeta {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodSpec {
    pub(crate) priority_class_name: Option<String>,
    pub(crate) volumes: Option<Vec<PodVolume>>,
    pub(crate) node_name: Option<String>,
    pub(crate) node_selector: Value,
    pub(crate) affinity: Option<Affinity>,
    pub(crate) tolerations: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Affinity {
    pub(crate) node_affinity: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    phase: Option<String>,
}

/// One volume of a pod; of its source only the key and a claim's name are kept.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodVolume {
    pub(crate) name: String,
    pub(crate) persistent_volume_claim: Option<ClaimSource>,
    ephemeral: Option<serde::de::IgnoredAny>,
    #[serde(flatten)]
    sources: BTreeMap<String, serde::de::IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ClaimSource {
    pub(crate) claim_name: String,
}

/// Volumes whose content is an object of the cluster, or an image: never data of the pod.
const OBJECTS: &[&str] = &["secret", "configMap", "projected", "downwardAPI", "image"];

/// Where the content of a pod's volume is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Content {
    /// In the volume of this claim, in the pod's namespace.
    Claim(String),
    /// In a folder of the node.
    HostPath,
    /// In a volume that comes and goes with the pod, or that the pod reaches by itself: `emptyDir`, `nfs`, ...
    OfPod,
    /// It is no data: objects of the cluster, an image.
    Objects,
}

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

    pub(crate) fn phase(&self) -> &str {
        self.status.phase.as_deref().unwrap_or_default()
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
    /// Where the content is of this volume of pod `pod`.
    pub(crate) fn content(&self, pod: &str) -> Content {
        let is = |kind: &&str| self.sources.contains_key(*kind);
        match &self.persistent_volume_claim {
            Some(claim) => Content::Claim(claim.claim_name.clone()),
            // The name that Kubernetes gives to the claim that it makes for such a volume.
            None if self.ephemeral.is_some() => Content::Claim(format!("{pod}-{}", self.name)),
            None if is(&"hostPath") => Content::HostPath,
            None if OBJECTS.iter().any(is) => Content::Objects,
            None => Content::OfPod,
        }
    }
}

/// The fields of a claim.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Claim {
    pub(crate) metadata: ClaimMeta,
    pub(crate) spec: ClaimSpec,
    pub(crate) status: ClaimStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ClaimMeta {
    pub(crate) uid: String,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ClaimStatus {
    pub(crate) phase: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ClaimSpec {
    pub(crate) volume_name: Option<String>,
    pub(crate) volume_mode: Option<String>,
}

impl Claim {
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// True when its user keeps it out of backups.
    pub(crate) fn is_kept_out(&self) -> bool {
        let own = self.metadata.labels.as_ref();
        let value = own.and_then(|own| own.get(labels::EXCLUDE_FROM_BACKUP));
        value.is_some_and(|value| value == "true")
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
    pub(crate) csi: Option<serde::de::IgnoredAny>,
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
            {"name":"e","emptyDir":{}},{"name":"h","hostPath":{"path":"/"}},{"name":"t","ephemeral":{}},
            {"name":"i","image":{}}]}}"#,
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
        let contents: Vec<Content> = pod.volumes().iter().map(|v| v.content("p")).collect();
        assert_eq!(
            contents,
            [
                Content::Claim("data".into()),
                Content::Objects,
                Content::OfPod,
                Content::HostPath,
                Content::Claim("p-t".into()),
                Content::Objects,
            ]
        );
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
