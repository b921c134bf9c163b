//! The server's pods and how they are reached.

use serde_json::{Value, json};

use super::{
    ADMISSION_PORT, CREDENTIALS, DOWNLOADS_PORT, Install, METRICS_PORT, NAME, Resources, labels,
};

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
        "securityContext": pod_security(),
        "containers": [container(install)],
        "volumes": volumes,
    })
}

/// Of pods that need no right on their node.
pub(super) fn pod_security() -> Value {
    json!({
        "runAsNonRoot": true, "runAsUser": NOBODY, "runAsGroup": NOBODY, "fsGroup": NOBODY,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// The variables by which clouds' libraries find the credentials, and where these are mounted.
pub(super) fn credentials_of() -> (Vec<Value>, Value) {
    let file = format!("{CREDENTIALS_FOLDER}/{}", CREDENTIALS.1);
    let variables = CREDENTIALS_VARIABLES.map(|name| json!({"name": name, "value": file}));
    let mount = json!({"name": CREDENTIALS.0, "mountPath": CREDENTIALS_FOLDER, "readOnly": true});
    (variables.into(), mount)
}

fn container(install: &Install) -> Value {
    let mut env = vec![
        json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
        json!({"name": "HOME", "value": "/tmp"}),
    ];
    let mut mounts = vec![json!({"name": "tmp", "mountPath": "/tmp"})];
    if install.credentials.is_some() {
        let (variables, mount) = credentials_of();
        env.extend(variables);
        mounts.push(mount);
    }
    let mut probes =
        [("/healthz", 20, Some(6)), ("/readyz", 5, None)].map(|(path, period, failures)| {
            let mut probe = json!({
                "httpGet": {"path": path, "port": "metrics"},
                "periodSeconds": period, "timeoutSeconds": 5,
            });
            if install.metrics_tls {
                probe["httpGet"]["scheme"] = json!("HTTPS");
            }
            if let Some(failures) = failures {
                probe["failureThreshold"] = json!(failures);
            }
            probe
        });
    let [liveness, readiness] = probes.each_mut().map(Value::take);
    let ports: Vec<Value> = ports(install)
        .map(|(name, port)| json!({"name": name, "containerPort": port}))
        .collect();
    json!({
        "name": NAME,
        "image": install.image,
        "imagePullPolicy": "IfNotPresent",
        "args": arguments(install),
        "env": env,
        "ports": ports,
        "livenessProbe": liveness,
        "readinessProbe": readiness,
        "resources": limits(&install.resources),
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
        "" => {
            let scheme = if install.tls.is_on() { "https" } else { "http" };
            format!("{scheme}://{NAME}.{namespace}.svc:{DOWNLOADS_PORT}")
        }
        url => url.to_owned(),
    };
    let mut arguments = vec![
        "server".to_owned(),
        format!("--namespace={namespace}"),
        format!("--metrics-address=:{METRICS_PORT}"),
        format!("--tls={}", install.tls),
    ];
    if install.metrics_tls {
        arguments.push("--metrics-tls".to_owned());
    }
    if install.is_strict() {
        arguments.extend([
            "--authorize-requests=strict".to_owned(),
            format!("--admission-address=0.0.0.0:{ADMISSION_PORT}"),
            format!("--server-user=system:serviceaccount:{namespace}:{NAME}"),
        ]);
    }
    arguments.extend([
        format!("--download-address=0.0.0.0:{DOWNLOADS_PORT}"),
        format!("--download-url={url}"),
    ]);
    arguments.extend(install.arguments.iter().cloned());
    arguments
}

/// Requests and limits; what is `0` is left out.
pub(super) fn limits(wanted: &Resources) -> Value {
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

/// What the server answers, by name and port.
fn ports(install: &Install) -> impl Iterator<Item = (&'static str, u16)> {
    let admission = install.is_strict().then_some(("admission", ADMISSION_PORT));
    [("metrics", METRICS_PORT), ("downloads", DOWNLOADS_PORT)]
        .into_iter()
        .chain(admission)
}

fn service(install: &Install) -> Value {
    let ports: Vec<Value> = ports(install)
        .map(|(name, port)| json!({"name": name, "port": port, "targetPort": name}))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": metadata(install),
        "spec": {
            "selector": selector(),
            "ports": ports,
        },
    })
}

/// Only its ports are reached from outside. What the server reaches is not limited: where the API server and the
/// stores are, is not known here (`docs/guides/security.md` says how to limit it).
fn network_policy(install: &Install) -> Value {
    let ports: Vec<Value> = ports(install)
        .map(|(_, port)| json!({"protocol": "TCP", "port": port}))
        .collect();
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": metadata(install),
        "spec": {
            "podSelector": {"matchLabels": selector()},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": ports}],
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
