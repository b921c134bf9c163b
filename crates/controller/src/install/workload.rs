//! The server's pods and how they are reached.

use serde_json::{Value, json};

use super::{CREDENTIALS, DOWNLOADS_PORT, Install, METRICS_PORT, NAME, labels};

/// A user and group that own nothing, as in images without a distribution.
const NOBODY: u32 = 65532;
/// Where Velero mounts the credentials, and the variables by which the clouds' libraries find them.
const CREDENTIALS_FOLDER: &str = "/credentials";
const CREDENTIALS_VARIABLES: [&str; 3] = [
    "AWS_SHARED_CREDENTIALS_FILE",
    "AZURE_CREDENTIALS_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
];

pub(super) fn manifests(install: &Install) -> Vec<Value> {
    let mut manifests = vec![
        deployment(install),
        service(install),
        network_policy(install),
    ];
    if install.replicas > 1 {
        manifests.push(disruption_budget(install));
    }
    manifests
}

fn selector() -> Value {
    json!({"app.kubernetes.io/name": NAME})
}

fn metadata(install: &Install) -> Value {
    json!({"name": NAME, "namespace": install.namespace, "labels": labels()})
}

fn deployment(install: &Install) -> Value {
    let mut pod_labels = labels();
    for (key, value) in &install.pod_labels {
        pod_labels[key] = json!(value);
    }
    // As Velero's pods have them: a Prometheus that goes by annotations finds the metrics.
    let mut annotations = json!({
        "prometheus.io/path": "/metrics",
        "prometheus.io/port": METRICS_PORT.to_string(),
        "prometheus.io/scrape": "true",
    });
    for (key, value) in &install.pod_annotations {
        annotations[key] = json!(value);
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": metadata(install),
        "spec": {
            "replicas": install.replicas,
            "selector": {"matchLabels": selector()},
            "template": {
                "metadata": {"labels": pod_labels, "annotations": annotations},
                "spec": pod(install),
            },
        },
    })
}

fn pod(install: &Install) -> Value {
    // Backups that the store does not take in time wait here, encrypted; so do credentials out of secrets.
    let mut volumes = vec![json!({"name": "tmp", "emptyDir": {}})];
    if install.credentials.is_some() {
        let secret = json!({"secretName": CREDENTIALS.0, "defaultMode": 0o440});
        volumes.push(json!({"name": CREDENTIALS.0, "secret": secret}));
    }
    json!({
        "serviceAccountName": NAME,
        // Time for a backup under way to end in good order.
        "terminationGracePeriodSeconds": 60,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": NOBODY, "runAsGroup": NOBODY, "fsGroup": NOBODY,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container(install)],
        "volumes": volumes,
    })
}

fn container(install: &Install) -> Value {
    let mut env = vec![
        json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
        json!({"name": "HOME", "value": "/tmp"}),
    ];
    let mut mounts = vec![json!({"name": "tmp", "mountPath": "/tmp"})];
    if install.credentials.is_some() {
        let file = format!("{CREDENTIALS_FOLDER}/{}", CREDENTIALS.1);
        for name in CREDENTIALS_VARIABLES {
            env.push(json!({"name": name, "value": file}));
        }
        mounts.push(
            json!({"name": CREDENTIALS.0, "mountPath": CREDENTIALS_FOLDER, "readOnly": true}),
        );
    }
    json!({
        "name": NAME,
        "image": install.image,
        "imagePullPolicy": "IfNotPresent",
        "args": arguments(install),
        "env": env,
        "ports": [
            {"name": "metrics", "containerPort": METRICS_PORT},
            {"name": "downloads", "containerPort": DOWNLOADS_PORT},
        ],
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": "metrics"},
            "periodSeconds": 20, "timeoutSeconds": 5, "failureThreshold": 6,
        },
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": "metrics"},
            "periodSeconds": 5, "timeoutSeconds": 5,
        },
        "resources": resources(install),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    })
}

fn arguments(install: &Install) -> Vec<String> {
    let namespace = &install.namespace;
    let url = match install.download_url.as_str() {
        "" => format!("http://{NAME}.{namespace}.svc:{DOWNLOADS_PORT}"),
        url => url.to_owned(),
    };
    let mut arguments = vec![
        "server".to_owned(),
        format!("--namespace={namespace}"),
        format!("--metrics-address=:{METRICS_PORT}"),
        format!("--download-address=0.0.0.0:{DOWNLOADS_PORT}"),
        format!("--download-url={url}"),
    ];
    arguments.extend(install.arguments.iter().cloned());
    arguments
}

fn resources(install: &Install) -> Value {
    let wanted = &install.resources;
    let some = |pairs: [(&str, &String); 2]| {
        let given = pairs
            .into_iter()
            .filter(|(_, value)| *value != "0" && !value.is_empty());
        let map = given.map(|(key, value)| (key.to_owned(), json!(value)));
        Value::Object(map.collect())
    };
    json!({
        "requests": some([("cpu", &wanted.cpu_request), ("memory", &wanted.memory_request)]),
        "limits": some([("cpu", &wanted.cpu_limit), ("memory", &wanted.memory_limit)]),
    })
}

fn service(install: &Install) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": metadata(install),
        "spec": {
            "selector": selector(),
            "ports": [
                {"name": "metrics", "port": METRICS_PORT, "targetPort": "metrics"},
                {"name": "downloads", "port": DOWNLOADS_PORT, "targetPort": "downloads"},
            ],
        },
    })
}

/// Only the two ports are reached from outside. What the server reaches is not limited: where the API server and
/// the stores are, is not known here.
fn network_policy(install: &Install) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": metadata(install),
        "spec": {
            "podSelector": {"matchLabels": selector()},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [
                {"protocol": "TCP", "port": METRICS_PORT},
                {"protocol": "TCP", "port": DOWNLOADS_PORT},
            ]}],
        },
    })
}

/// Of several servers one stays. A single one has none: it would keep its node from being drained.
fn disruption_budget(install: &Install) -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": metadata(install),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector()}},
    })
}
