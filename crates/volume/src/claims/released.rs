//! Volumes that outlived their claim: what they were, where their bytes are, and who could have them again.

use salvor_api::go::Time;
use serde::Serialize;

use super::objects::Claim;
use super::volume::{ClaimRef, Place, Volume, is_left};

/// A volume that outlived its claim.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    /// Name of the volume.
    pub name: String,
    /// `Released`, or `Failed` where deleting it failed.
    pub phase: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Size as it is written, `10Gi`.
    pub capacity: String,
    /// Storage class; empty for none.
    pub storage_class: String,
    /// `Retain`, `Delete` or `Recycle`. With another than `Retain` the bytes may go at any time.
    pub reclaim_policy: String,
    /// Ways in which it can be mounted.
    pub access_modes: Vec<String>,
    /// The claim that it belonged to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimRef>,
    /// Where its bytes are.
    pub place: Place,
    /// When it was made.
    pub created: Option<Time>,
    /// Since when it is without its claim; on servers before 1.29 when its phase was last written.
    pub since: Option<Time>,
    /// The claim that has the same name now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim_now: Option<ClaimNow>,
}

/// A claim of the same name as that which left a volume behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimNow {
    /// `Pending`, `Bound` or `Lost`.
    pub phase: String,
    /// The volume that it has or asks for; empty for none.
    pub volume: String,
}

/// The volumes among `volumes` that outlived their claim, in their order.
#[must_use]
pub fn released(volumes: &[Volume], claims: &[Claim]) -> Vec<Released> {
    let left = volumes.iter().filter(|volume| is_left(volume));
    left.map(|volume| of(volume, claims)).collect()
}

fn of(volume: &Volume, claims: &[Claim]) -> Released {
    let reference = volume.spec.claim_ref.clone();
    let now = reference.as_ref().and_then(|reference| {
        claims
            .iter()
            .find(|claim| reference.names(&claim.metadata.namespace, &claim.metadata.name))
    });
    Released {
        name: volume.metadata.name.clone(),
        phase: volume.status.phase.clone(),
        message: volume.status.message.clone(),
        capacity: volume.capacity().to_owned(),
        storage_class: volume.class().to_owned(),
        reclaim_policy: volume.spec.persistent_volume_reclaim_policy.clone(),
        access_modes: volume.spec.access_modes.clone(),
        place: volume.place(),
        created: volume.metadata.creation_timestamp,
        since: volume.phase_since(),
        claim_now: now.map(|claim| ClaimNow {
            phase: claim.status.phase.clone(),
            volume: claim.spec.volume_name.clone(),
        }),
        claim: reference,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn volumes_without_their_claim_say_what_they_are_and_since_when() {
        let volume = |value| serde_json::from_value::<Volume>(value).expect("a volume");
        let written = "2026-03-01T10:00:00Z";
        let volumes = [
            volume(json!({
                "metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [
                    {"manager": "kubectl", "time": "2026-04-01T10:00:00Z", "fieldsV1": {"f:spec": {}}},
                    {"manager": "binder", "time": written, "fieldsV1": {"f:status": {"f:phase": {}}}}]},
                "spec": {"capacity": {"storage": "8Gi"}, "accessModes": ["ReadWriteOnce"],
                    "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "local-path",
                    "claimRef": {"namespace": "shop", "name": "data-db-0", "uid": "1"},
                    "hostPath": {"path": "/opt/local-path/pvc-1"},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                        {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node1"]}]}]}}},
                "status": {"phase": "Released"}})),
            volume(
                json!({"metadata": {"name": "b"}, "spec": {"csi": {"driver": "ebs", "volumeHandle": "vol-1"}},
                "status": {"phase": "Failed", "message": "no", "lastPhaseTransitionTime": written}}),
            ),
            volume(
                json!({"metadata": {"name": "c"}, "spec": {"claimRef": {"namespace": "shop", "name": "x"}},
                "status": {"phase": "Bound"}}),
            ),
        ];
        let claims = [serde_json::from_value::<Claim>(json!({
            "metadata": {"namespace": "shop", "name": "data-db-0", "uid": "2"},
            "spec": {"volumeName": "c"}, "status": {"phase": "Bound"}}))
        .expect("a claim")];
        let found = released(&volumes, &claims);
        let names: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(
            found[0].place.to_string(),
            "hostPath /opt/local-path/pvc-1 on node1"
        );
        assert_eq!(
            found[0].claim.as_ref().map(ToString::to_string).as_deref(),
            Some("shop/data-db-0")
        );
        assert_eq!(
            found[0].claim_now,
            Some(ClaimNow {
                phase: "Bound".into(),
                volume: "c".into()
            })
        );
        assert_eq!(found[1].place.to_string(), "csi ebs vol-1");
        assert_eq!((&found[1].claim, &found[1].claim_now), (&None, &None));
        for one in &found {
            assert_eq!(
                one.since.map(|since| since.to_string()).as_deref(),
                Some(written),
                "{}",
                one.name
            );
        }
    }
}
