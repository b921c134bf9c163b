//! What the volume policies of a backup say of its volumes.
//!
//! A volume and its claim come in any order, so what conditions look at is kept until the end; nothing is
//! kept when there are no policies.

use std::collections::BTreeMap;

use salvor_api::resource::ObjectKey;
use salvor_api::resource_policy::{ActionType, ResourcePolicies, VolumeFacts};
use serde_json::{Value, json};

/// What a policy decides for a volume. The texts name the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Its data is not wanted: why.
    Skip(String),
    /// Its data is somebody else's business: whose.
    Elsewhere(String),
    /// Its files are to be copied: who says so.
    Files(String),
    /// A snapshot is to be taken.
    Snapshot {
        /// Who says so.
        by: String,
        /// The VolumeSnapshotClass that it is to be taken with.
        class: Option<String>,
    },
}

/// The policies, and what they look at.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    policies: ResourcePolicies,
    /// Specifications of persistent volumes.
    volumes: BTreeMap<String, Value>,
    /// The parts of claims that conditions look at, by namespace and name.
    claims: BTreeMap<(String, String), Value>,
}

impl Judge {
    pub(crate) fn new(policies: ResourcePolicies) -> Self {
        Self {
            policies,
            ..Self::default()
        }
    }

    /// True when no policy is about volumes.
    pub(crate) fn is_idle(&self) -> bool {
        self.policies.volume_policies.is_empty()
    }

    /// Keeps what matters of a claim.
    pub(crate) fn claim(&mut self, key: &ObjectKey, body: &[u8]) {
        if self.is_idle() {
            return;
        }
        let claim: Value = serde_json::from_slice(body).unwrap_or_default();
        let (spec, status) = (&claim["spec"], &claim["status"]);
        let facts = json!({
            "metadata": {"labels": claim["metadata"]["labels"]},
            "spec": {
                "accessModes": spec["accessModes"],
                "volumeMode": spec["volumeMode"],
                "storageClassName": spec["storageClassName"],
            },
            "status": {"phase": status["phase"], "capacity": status["capacity"]},
        });
        let namespace = key.namespace.clone().unwrap_or_default();
        self.claims.insert((namespace, key.name.clone()), facts);
    }

    /// Keeps what matters of a persistent volume.
    pub(crate) fn volume(&mut self, name: &str, body: &[u8]) {
        if self.is_idle() {
            return;
        }
        let mut volume: Value = serde_json::from_slice(body).unwrap_or_default();
        let facts = json!({"spec": volume["spec"].take()});
        self.volumes.insert(name.to_owned(), facts);
    }

    /// True when a policy asks for files to be copied.
    pub(crate) fn may_copy(&self) -> bool {
        let mut policies = self.policies.volume_policies.iter();
        policies.any(|policy| policy.action.kind == ActionType::FsBackup)
    }

    /// True when a policy asks for snapshots.
    pub(crate) fn may_snapshot(&self) -> bool {
        let mut policies = self.policies.volume_policies.iter();
        policies.any(|policy| policy.action.kind == ActionType::Snapshot)
    }

    /// True when all that conditions look at of a persistent volume is known.
    pub(crate) fn knows(&self, volume: &str) -> bool {
        self.is_idle() || self.volumes.contains_key(volume)
    }

    /// What is done with a persistent volume and its claim; `None` when no policy matches.
    pub(crate) fn of_volume(&self, name: &str, claim: &(String, String)) -> Option<Decision> {
        if self.is_idle() {
            return None;
        }
        let claim = self.claims.get(claim);
        let facts = match (self.volumes.get(name), claim) {
            (Some(volume), claim) => VolumeFacts::of_persistent_volume(volume, claim),
            // The volume's object is not in the backup: its claim tells the class and the capacity.
            (None, Some(claim)) => VolumeFacts::of_persistent_volume(
                &json!({"spec": {
                    "storageClassName": claim["spec"]["storageClassName"],
                    "capacity": claim["status"]["capacity"],
                }}),
                Some(claim),
            ),
            (None, None) => return None,
        };
        self.decide(&facts, true)
    }

    /// What is done with a volume of a pod that has no claim.
    pub(crate) fn of_pod_volume(&self, pod: &[u8], name: &str) -> Option<Decision> {
        if self.is_idle() {
            return None;
        }
        let pod: Value = serde_json::from_slice(pod).ok()?;
        let volumes = pod["spec"]["volumes"].as_array()?;
        let volume = volumes.iter().find(|volume| volume["name"] == name)?;
        self.decide(&VolumeFacts::of_pod_volume(volume, None), false)
    }

    fn decide(&self, facts: &VolumeFacts, snapshots: bool) -> Option<Decision> {
        let (number, action) = self.policies.volume_action(facts)?;
        let policy = format!("volume policy {number}");
        Some(match &action.kind {
            ActionType::Skip => Decision::Skip(format!("{policy} says skip")),
            ActionType::Custom => {
                Decision::Elsewhere(format!("{policy} leaves it to somebody else (custom)"))
            }
            ActionType::FsBackup => Decision::Files(format!("{policy} (fs-backup)")),
            ActionType::Snapshot if snapshots => Decision::Snapshot {
                by: format!("{policy} (snapshot)"),
                class: action.snapshot_class().map(str::to_owned),
            },
            // A volume that only a pod knows cannot be snapshotted; others were refused when read.
            ActionType::Snapshot | ActionType::Missing | ActionType::Other(_) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use salvor_api::resource::GroupResource;
    use salvor_api::resource_policy::Use;

    use super::*;

    #[test]
    fn volumes_claims_and_pods_are_judged_by_what_is_known_of_them() {
        let text = "
version: v1
volumePolicies:
- {conditions: {pvcLabels: {keep: 'no'}}, action: {type: skip}}
- {conditions: {storageClass: [fast]}, action: {type: snapshot, parameters: {snapshotClass: gold}}}
- {conditions: {volumeTypes: [emptyDir]}, action: {type: fs-backup}}
- {conditions: {nfs: {}}, action: {type: custom}}
";
        let policies = crate::policy::parse(text, Use::Backup).expect("valid");
        let mut judge = Judge::new(policies);
        let claims = GroupResource::new("persistentvolumeclaims", "");
        let key = |name: &str| ObjectKey::namespaced(claims.clone(), "a", name);
        judge.claim(&key("scratch"), br#"{"metadata":{"labels":{"keep":"no"}}}"#);
        judge.claim(&key("data"), br#"{"spec":{"storageClassName":"fast"}}"#);
        judge.volume("pv-scratch", br#"{"spec":{"storageClassName":"fast"}}"#);
        judge.volume("pv-share", br#"{"spec":{"nfs":{"server":"s","path":"/"}}}"#);
        judge.volume("pv-other", br#"{"spec":{"hostPath":{"path":"/"}}}"#);
        let of = |volume: &str, claim: &str| {
            let claim = ("a".to_owned(), claim.to_owned());
            judge.of_volume(volume, &claim)
        };
        let skip = Decision::Skip("volume policy 1 says skip".into());
        assert_eq!(of("pv-scratch", "scratch"), Some(skip));
        let snapshot = Decision::Snapshot {
            by: "volume policy 2 (snapshot)".into(),
            class: Some("gold".into()),
        };
        assert_eq!(of("pv-unseen", "data"), Some(snapshot));
        assert!(matches!(of("pv-share", ""), Some(Decision::Elsewhere(_))));
        assert_eq!(of("pv-other", ""), None);
        assert_eq!(of("pv-unseen", ""), None);
        let pod =
            br#"{"spec":{"volumes":[{"name":"d","emptyDir":{}},{"name":"c","configMap":{}}]}}"#;
        let files = Decision::Files("volume policy 3 (fs-backup)".into());
        assert_eq!(judge.of_pod_volume(pod, "d"), Some(files));
        assert_eq!(judge.of_pod_volume(pod, "c"), None);
    }
}
