//! Pods: one of a kubelet, or those of a CronJob and a Deployment.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::{Jobs, Rendered};
use crate::exit::Failure;
use crate::output::structured;

/// Image of this version.
const IMAGE: &str = concat!("ghcr.io/salvor-dr/salvor:v", env!("CARGO_PKG_VERSION"));
/// Where the local copy of a snapshot is.
const WORK: &str = "/work";
/// Where static pods belong: it is there before anything else.
const STATIC_NAMESPACE: &str = "kube-system";
/// Labels of nodes with etcd, now and before Kubernetes 1.20.
const NODES: [&str; 2] = [
    "node-role.kubernetes.io/control-plane",
    "node-role.kubernetes.io/master",
];
/// First release whose CronJobs are stable, and the first one with zones.
const STABLE: u32 = 21;
const ZONES: u32 = 27;

pub(super) fn of_kubelet(jobs: &Jobs<'_>) -> Result<Vec<Rendered>, Failure> {
    let mut containers = Vec::new();
    if jobs.has_snapshot() {
        // Nobody starts it at times: it waits for them itself.
        let schedule = jobs.args.schedule.as_str();
        containers.push(jobs.container("snapshot", jobs.snapshot(Some(schedule))));
    }
    if jobs.has_stream() {
        containers.push(jobs.container("stream", jobs.stream()));
    }
    let settings = json!({"hostPath": {"path": jobs.args.settings, "type": "Directory"}});
    let mut spec = jobs.pod(containers, settings);
    spec["priorityClassName"] = json!("system-node-critical");
    let namespace = jobs.namespace.unwrap_or(STATIC_NAMESPACE);
    let manifest = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "salvor-etcd", "namespace": namespace, "labels": labels("node")},
        "spec": spec,
    });
    Ok(vec![Rendered::new(
        "salvor-etcd.yaml",
        structured::yaml(&manifest)?,
    )])
}

pub(super) fn of_cluster(jobs: &Jobs<'_>, namespace: &str) -> Result<Vec<Rendered>, Failure> {
    let mut files = Vec::new();
    let metadata = |name: &str, part: &str| json!({"name": name, "namespace": namespace, "labels": labels(part)});
    let pod = |container: Value| {
        let secret = json!({"secret": {"secretName": jobs.args.secret, "defaultMode": 0o400}});
        let mut spec = jobs.pod(vec![container], secret);
        spec["automountServiceAccountToken"] = json!(false);
        let terms =
            NODES.map(|label| json!({"matchExpressions": [{"key": label, "operator": "Exists"}]}));
        spec["affinity"] = json!({"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
        spec["tolerations"] = json!(
            NODES.map(|key| json!({"key": key, "operator": "Exists", "effect": "NoSchedule"}))
        );
        spec
    };
    if jobs.has_snapshot() {
        let minor = jobs.args.kubernetes_version;
        let fields =
            super::calendar::fields(&jobs.args.schedule).ok_or_else(|| jobs.no_interval())?;
        let mut spec = pod(jobs.container("snapshot", jobs.snapshot(None)));
        spec["restartPolicy"] = json!("Never");
        let mut job = json!({
            "schedule": fields.join(" "),
            // One at a time; what was missed is made up for within an hour.
            "concurrencyPolicy": "Forbid", "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 3,
            "jobTemplate": {"spec": {"backoffLimit": 3, "template": {
                "metadata": {"labels": labels("snapshot")}, "spec": spec}}},
        });
        if let Some(zone) = jobs.args.schedule.zone().and_then(|zone| zone.iana_name()) {
            if minor < ZONES {
                return Err(Failure::usage(format!(
                    "CronJobs of Kubernetes 1.{minor} have no time zone: leave {zone} out of the schedule"
                )));
            }
            job["timeZone"] = json!(zone);
        }
        let version = if minor < STABLE {
            "batch/v1beta1"
        } else {
            "batch/v1"
        };
        let manifest = json!({
            "apiVersion": version, "kind": "CronJob",
            "metadata": metadata("salvor-etcd-snapshot", "snapshot"), "spec": job,
        });
        files.push(Rendered::new(
            "salvor-etcd-snapshot.yaml",
            structured::yaml(&manifest)?,
        ));
    }
    if jobs.has_stream() {
        let manifest = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": metadata("salvor-etcd-stream", "stream"),
            "spec": {
                // One captures, the other stands by.
                "replicas": 2,
                "selector": {"matchLabels": labels("stream")},
                "template": {"metadata": {"labels": labels("stream")},
                             "spec": pod(jobs.container("stream", jobs.stream()))},
            },
        });
        files.push(Rendered::new(
            "salvor-etcd-stream.yaml",
            structured::yaml(&manifest)?,
        ));
    }
    Ok(files)
}

fn labels(part: &str) -> Value {
    json!({"app.kubernetes.io/name": "salvor-etcd", "app.kubernetes.io/component": part})
}

impl Jobs<'_> {
    fn container(&self, name: &str, words: Vec<String>) -> Value {
        let mut env = vec![
            json!({"name": "HOME", "value": WORK}),
            json!({"name": "TMPDIR", "value": WORK}),
        ];
        let own = self.variables();
        env.extend(
            own.iter()
                .map(|(name, value)| json!({"name": name, "value": value})),
        );
        let mut mounts = vec![
            json!({"name": "work", "mountPath": WORK}),
            json!({"name": "settings", "mountPath": self.args.settings, "readOnly": true}),
        ];
        for (number, folder) in self.folders().iter().enumerate() {
            let name = format!("certificates-{number}");
            mounts.push(json!({"name": name, "mountPath": folder, "readOnly": true}));
        }
        json!({
            "name": name,
            "image": self.args.image.as_deref().unwrap_or(IMAGE),
            "args": words,
            "env": env,
            "volumeMounts": mounts,
            // The keys of etcd are root's.
            "securityContext": {
                "runAsUser": 0, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        })
    }

    fn pod(&self, containers: Vec<Value>, mut settings: Value) -> Value {
        settings["name"] = json!("settings");
        let mut volumes = vec![json!({"name": "work", "emptyDir": {}}), settings];
        for (number, folder) in self.folders().iter().enumerate() {
            let name = format!("certificates-{number}");
            volumes.push(json!({"name": name, "hostPath": {"path": folder, "type": "Directory"}}));
        }
        json!({
            // Members listen on the addresses of their nodes.
            "hostNetwork": true,
            "dnsPolicy": "ClusterFirstWithHostNet",
            "terminationGracePeriodSeconds": 30,
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "containers": containers,
            "volumes": volumes,
        })
    }

    /// Folders of the host that certificates, keys and passwords are in, beside that of the settings.
    fn folders(&self) -> BTreeSet<&Path> {
        let parents = self.files().filter_map(Path::parent);
        parents
            .filter(|folder| !folder.starts_with(&self.args.settings))
            .collect()
    }

    /// Where the local copy of a snapshot is.
    pub(super) fn work(&self) -> &'static str {
        WORK
    }
}
