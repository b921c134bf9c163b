//! The pod that holds a claim: what it is, and why one does not begin.

use std::time::Duration;

use salvor_api::labels::{EXCLUDE_FROM_BACKUP, label_value};
use serde_json::{Value, json};

use super::stuck::telling;
use crate::objects::{MADE_BY, MANAGED_BY, RUN};
use crate::{Claim, Placement};

/// Name of the claim's volume in the pod.
pub(super) const VOLUME: &str = "volume";
/// Label of holders: they are found by it in all namespaces. Its value is the server's namespace.
pub(crate) const HOLDS_FOR: &str = "salvor.dev/holds-for";
/// A user that owns nothing.
const NOBODY: u32 = 65532;
/// What a pod may take longer than what it is for, before the kubelet ends it by itself.
const MARGIN: Duration = Duration::from_secs(600);

/// What a holder is made of.
pub(super) struct Holder<'a> {
    pub(super) name: &'a str,
    pub(super) claim: &'a Claim,
    pub(super) placement: &'a Placement,
    /// Namespace of the server.
    pub(super) server: &'a str,
    pub(super) run: &'a str,
    pub(super) made_by: &'a str,
    pub(super) image: &'a Value,
    pub(super) pull_policy: &'a Value,
    pub(super) timeout: Duration,
}

impl Holder<'_> {
    /// It passes the standard `restricted`, asks for next to nothing, knows nobody and does nothing.
    pub(super) fn pod(&self) -> Value {
        let seconds = (self.timeout + MARGIN).as_secs();
        let mut spec = json!({
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "activeDeadlineSeconds": seconds,
            // No fsGroup: it would have the kubelet change the owner of every file.
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": NOBODY, "runAsGroup": NOBODY,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "hold",
                "image": self.image, "imagePullPolicy": self.pull_policy,
                "args": ["hold"],
                "resources": {
                    "requests": {"cpu": "5m", "memory": "16Mi"},
                    "limits": {"cpu": "50m", "memory": "64Mi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": VOLUME, "mountPath": "/volume", "readOnly": true}],
            }],
            "volumes": [{"name": VOLUME, "persistentVolumeClaim": {"claimName": self.claim.name}}],
        });
        let Placement {
            node_selector,
            node_affinity,
            tolerations,
        } = self.placement;
        for (field, value) in [
            ("nodeSelector", node_selector),
            ("tolerations", tolerations),
        ] {
            if !value.is_null() {
                spec[field] = value.clone();
            }
        }
        if !node_affinity.is_null() {
            spec["affinity"] = json!({ "nodeAffinity": node_affinity });
        }
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": self.name, "namespace": self.claim.namespace,
                "labels": {
                    HOLDS_FOR: label_value(self.server), MANAGED_BY.0: MANAGED_BY.1,
                    EXCLUDE_FROM_BACKUP: "true", "sidecar.istio.io/inject": "false",
                },
                "annotations": {
                    RUN: self.run, MADE_BY: self.made_by,
                    "sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled",
                },
            },
            "spec": spec,
        })
    }
}

/// Why a pod has not begun, from itself and the events about it; what says most first.
pub(super) fn why_not(pod: &Value, events: &[Value]) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_owned();
    if let Some(said) = telling(events) {
        return said;
    }
    let status = &pod["status"];
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let waits = conditions
        .filter(|condition| condition["type"] == "PodScheduled" && condition["status"] == "False")
        .map(|condition| {
            format!(
                "{}: {}",
                text(&condition["reason"]),
                text(&condition["message"])
            )
        });
    let waiting = &status["containerStatuses"][0]["state"]["waiting"];
    let waiting = [text(&waiting["reason"]), text(&waiting["message"])];
    let waiting = waiting
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join(": ");
    let said = waits
        .chain([waiting])
        .find(|text| !text.is_empty() && text != ": ");
    said.unwrap_or_else(|| format!("its pod is {} and nothing says why", text(&status["phase"])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_warning_that_says_most_or_what_the_pod_says() {
        let pending = json!({"status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]}});
        assert_eq!(why_not(&pending, &[]), "Unschedulable: 0/3 nodes");
        let events = [
            json!({"type": "Warning", "reason": "FailedScheduling", "message": "old"}),
            json!({"type": "Warning", "reason": "FailedMount", "message": "no such disk"}),
            json!({"type": "Normal", "reason": "Pulled", "message": "x"}),
        ];
        assert_eq!(why_not(&pending, &events), "FailedMount: no such disk");
        let pulling = json!({"status": {"phase": "Pending", "containerStatuses": [
            {"state": {"waiting": {"reason": "ErrImagePull", "message": "denied"}}}]}});
        assert_eq!(why_not(&pulling, &[]), "ErrImagePull: denied");
        let silent = json!({"status": {"phase": "Pending"}});
        assert_eq!(
            why_not(&silent, &[]),
            "its pod is Pending and nothing says why"
        );
    }

    #[test]
    fn a_holder_is_restricted_and_goes_where_its_consumer_can() {
        let placement = Placement {
            node_selector: json!({"disk": "ssd"}),
            node_affinity: json!({"requiredDuringSchedulingIgnoredDuringExecution": {}}),
            tolerations: json!([{"operator": "Exists"}]),
        };
        let claim = Claim {
            namespace: "shop".into(),
            name: "data".into(),
            ..Claim::default()
        };
        let holder = Holder {
            name: "salvor-hold-1",
            claim: &claim,
            placement: &placement,
            server: "velero",
            run: "r",
            made_by: "server",
            image: &json!("salvor:1"),
            pull_policy: &json!("IfNotPresent"),
            timeout: Duration::from_secs(60),
        };
        let pod = holder.pod();
        let (spec, container) = (&pod["spec"], &pod["spec"]["containers"][0]);
        assert_eq!(spec["activeDeadlineSeconds"], 660);
        assert_eq!(spec["automountServiceAccountToken"], false);
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
        assert_eq!(spec["securityContext"]["fsGroup"], Value::Null);
        assert_eq!(
            container["securityContext"]["capabilities"],
            json!({"drop": ["ALL"]})
        );
        assert_eq!(spec["nodeSelector"]["disk"], "ssd");
        assert!(spec["affinity"]["nodeAffinity"].is_object());
        assert_eq!(spec["tolerations"][0]["operator"], "Exists");
        assert_eq!(
            pod["metadata"]["labels"]["velero.io/exclude-from-backup"],
            "true"
        );
    }
}
