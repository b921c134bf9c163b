//! What a server needs that is to do for each requester no more than he may do: the API server asks it who makes
//! requests, and answers what they may do.

use serde_json::{Value, json};

use super::rbac::{cluster_binding, cluster_role, rule};
use super::{ADMISSION_PORT, Install, NAME, labels};
use crate::admission::KINDS;

const REGISTRATION: &str = "admissionregistration.k8s.io";
/// How long the API server waits for an answer, which takes us a millisecond.
const PATIENCE: u32 = 5;

pub(super) fn manifests(install: &Install) -> Vec<Value> {
    if !install.is_strict() {
        return Vec::new();
    }
    let name = install.cluster_name();
    let ask = rule(
        &["authorization.k8s.io"],
        &["subjectaccessreviews"],
        &["create"],
    );
    // Path and authority are filled in by the server.
    let mut fill = rule(
        &[REGISTRATION],
        &["mutatingwebhookconfigurations"],
        &["get", "patch"],
    );
    fill["resourceNames"] = json!([name]);
    let role = format!("{name}-requests");
    vec![
        cluster_role(&role, vec![ask, fill]),
        cluster_binding(&role, install),
        webhook(install),
    ]
}

/// A request that is written while nobody records by whom would be refused later, without its writer looking: so
/// the API server refuses it at once (`failurePolicy: Fail`). Deletions are not asked about, so nothing that is to
/// go is kept by a server that is gone.
fn webhook(install: &Install) -> Value {
    json!({
        "apiVersion": format!("{REGISTRATION}/v1"), "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": install.cluster_name(), "labels": labels()},
        "webhooks": [{
            "name": "requests.salvor.dev",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {
                "name": NAME, "namespace": install.namespace, "port": ADMISSION_PORT,
            }},
            "failurePolicy": "Fail",
            "matchPolicy": "Equivalent",
            // Others may hold objects of the same kinds elsewhere.
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": install.namespace}},
            // What another webhook changes afterwards is sealed as it is then.
            "reinvocationPolicy": "IfNeeded",
            "rules": [{
                "apiGroups": ["velero.io"], "apiVersions": ["*"],
                "operations": ["CREATE", "UPDATE"],
                "resources": KINDS, "scope": "Namespaced",
            }],
            "sideEffects": "None",
            "timeoutSeconds": PATIENCE,
        }],
    })
}
