//! What the controllers of a running cluster say of the platform's workloads, volumes and claims.
//!
//! The API server of the demo runs nothing, so without this every Pod of a backup would be shown as pending.

use serde_json::{Value, json};

use super::Planned;

/// The status of an object that runs since `since`; `number` tells Pods apart. `None` where a controller
/// would have nothing to say.
pub(in crate::demo) fn status(planned: &Planned, since: &str, number: usize) -> Option<Value> {
    let spec = &planned.object["spec"];
    let status = match planned.object["kind"].as_str()? {
        "Pod" => pod(spec, since, number),
        "Deployment" => json!({
            "observedGeneration": 1, "replicas": spec["replicas"],
            "updatedReplicas": spec["replicas"], "readyReplicas": spec["replicas"],
            "availableReplicas": spec["replicas"],
            "conditions": [
                condition("Available", "MinimumReplicasAvailable", since),
                condition("Progressing", "NewReplicaSetAvailable", since),
            ],
        }),
        "ReplicaSet" => json!({
            "observedGeneration": 1, "replicas": spec["replicas"],
            "fullyLabeledReplicas": spec["replicas"], "readyReplicas": spec["replicas"],
            "availableReplicas": spec["replicas"],
        }),
        "StatefulSet" => json!({
            "observedGeneration": 1, "replicas": spec["replicas"],
            "currentReplicas": spec["replicas"], "updatedReplicas": spec["replicas"],
            "readyReplicas": spec["replicas"], "availableReplicas": spec["replicas"],
        }),
        "PersistentVolume" => json!({"phase": "Bound"}),
        "PersistentVolumeClaim" => json!({
            "phase": "Bound", "accessModes": spec["accessModes"],
            "capacity": spec["resources"]["requests"],
        }),
        _ => return None,
    };
    Some(status)
}

fn pod(spec: &Value, since: &str, number: usize) -> Value {
    let (subnet, host) = (number / 250, number % 250 + 1);
    let address = format!("10.244.{subnet}.{host}");
    let containers = spec["containers"].as_array().into_iter().flatten();
    let containers: Vec<Value> = containers
        .map(|container| {
            json!({
                "name": container["name"], "image": container["image"],
                "imageID": container["image"], "ready": true, "started": true,
                "restartCount": 0, "state": {"running": {"startedAt": since}},
            })
        })
        .collect();
    let conditions: Vec<Value> = ["Initialized", "Ready", "ContainersReady", "PodScheduled"]
        .iter()
        .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": since}))
        .collect();
    json!({
        "phase": "Running", "qosClass": "Burstable", "startTime": since,
        "hostIP": "192.0.2.10", "podIP": address, "podIPs": [{"ip": address}],
        "conditions": conditions, "containerStatuses": containers,
    })
}

fn condition(kind: &str, reason: &str, since: &str) -> Value {
    json!({
        "type": kind, "status": "True", "reason": reason,
        "lastUpdateTime": since, "lastTransitionTime": since,
    })
}
