//! Shapes of objects that occur more than once.

use serde_json::{Value, json};

use super::Planned;

/// `app.kubernetes.io` labels of a component.
pub(super) fn labels(app: &str, part_of: &str) -> Value {
    json!({
        "app.kubernetes.io/name": app,
        "app.kubernetes.io/part-of": part_of,
        "app.kubernetes.io/managed-by": "argocd",
    })
}

/// Metadata of a namespaced object.
pub(super) fn metadata(namespace: &str, name: &str, app: &str, part_of: &str) -> Value {
    json!({"name": name, "namespace": namespace, "labels": labels(app, part_of)})
}

pub(super) fn service_account(namespace: &str, name: &str, part_of: &str) -> Planned {
    Planned::new(
        "serviceaccounts",
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": metadata(namespace, name, name, part_of),
            "automountServiceAccountToken": false,
        }),
    )
}

pub(super) fn config_map(namespace: &str, name: &str, part_of: &str, data: Value) -> Planned {
    Planned::new(
        "configmaps",
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": metadata(namespace, name, name, part_of),
            "data": data,
        }),
    )
}

/// A Secret with made-up contents.
pub(super) fn secret(namespace: &str, name: &str, part_of: &str, data: Value) -> Planned {
    Planned::new(
        "secrets",
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": metadata(namespace, name, name, part_of),
            "data": data,
        }),
    )
}

/// A Service; headless when it fronts a StatefulSet.
pub(super) fn service(
    namespace: &str,
    name: &str,
    part_of: &str,
    port: u16,
    headless: bool,
) -> Planned {
    let mut spec = json!({
        "selector": {"app.kubernetes.io/name": name},
        "ports": [{"name": "main", "port": port, "targetPort": port, "protocol": "TCP"}],
    });
    if headless {
        spec["clusterIP"] = json!("None");
    }
    Planned::new(
        "services",
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": metadata(namespace, name, name, part_of),
            "spec": spec,
        }),
    )
}

/// What runs in a pod.
#[derive(Clone, Copy)]
pub(super) struct Workload<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) part_of: &'a str,
    pub(super) image: &'a str,
    pub(super) port: u16,
    pub(super) replicas: usize,
}

impl Workload<'_> {
    fn template(&self, mounts_data: bool) -> Value {
        let config = format!("{}-config", self.name);
        let mut container = json!({
            "name": self.name,
            "image": self.image,
            "ports": [{"name": "main", "containerPort": self.port, "protocol": "TCP"}],
            "envFrom": [{"configMapRef": {"name": config, "optional": true}}],
            "resources": {
                "requests": {"cpu": "50m", "memory": "64Mi"},
                "limits": {"memory": "256Mi"},
            },
            "readinessProbe": {"tcpSocket": {"port": self.port}, "periodSeconds": 10},
        });
        if mounts_data {
            container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
        }
        json!({
            "metadata": {"labels": labels(self.name, self.part_of)},
            "spec": {
                "serviceAccountName": self.name,
                "automountServiceAccountToken": false,
                "containers": [container],
            },
        })
    }

    fn pod(&self, name: &str, hash: Option<&str>, claim: Option<&str>) -> Planned {
        let mut metadata = metadata(self.namespace, name, self.name, self.part_of);
        if let Some(hash) = hash {
            metadata["labels"]["pod-template-hash"] = json!(hash);
        }
        let mut spec = self.template(claim.is_some())["spec"].clone();
        if let Some(claim) = claim {
            spec["volumes"] = json!([
                {"name": "data", "persistentVolumeClaim": {"claimName": claim}}
            ]);
        }
        Planned::new(
            "pods",
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}),
        )
    }

    /// A Deployment with the ReplicaSet and Pods that its controllers would make.
    pub(super) fn deployment(&self) -> Vec<Planned> {
        let hash = short_hash(&format!("{}/{}", self.namespace, self.name));
        let set = format!("{}-{hash}", self.name);
        let mut template = self.template(false);
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": metadata(self.namespace, self.name, self.name, self.part_of),
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": {"app.kubernetes.io/name": self.name}},
                "strategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
                },
                "template": template,
            },
        });
        template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
        let mut set_metadata = metadata(self.namespace, &set, self.name, self.part_of);
        set_metadata["labels"]["pod-template-hash"] = json!(hash);
        let replica_set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": set_metadata,
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": {
                    "app.kubernetes.io/name": self.name, "pod-template-hash": hash,
                }},
                "template": template,
            },
        });
        let mut all = vec![
            Planned::new("deployments.apps", deployment),
            Planned::new("replicasets.apps", replica_set).owned_by("Deployment", self.name),
        ];
        for number in 0..self.replicas {
            let suffix = short_hash(&format!("{set}/{number}"));
            let name = format!("{set}-{}", &suffix[..5]);
            let pod = self.pod(&name, Some(&hash), None);
            all.push(pod.owned_by("ReplicaSet", &set));
        }
        all
    }

    /// A StatefulSet with its Service, Pods, claims and volumes.
    pub(super) fn stateful_set(&self, size: &str) -> Vec<Planned> {
        let (namespace, name) = (self.namespace, self.name);
        let claim_spec = json!({
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "fast-retain",
            "volumeMode": "Filesystem",
            "resources": {"requests": {"storage": size}},
        });
        let set = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": metadata(namespace, name, name, self.part_of),
            "spec": {
                "serviceName": name,
                "replicas": self.replicas,
                "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
                "template": self.template(true),
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim_spec}],
            },
        });
        let mut all = vec![
            service(namespace, name, self.part_of, self.port, true),
            Planned::new("statefulsets.apps", set),
        ];
        for number in 0..self.replicas {
            let claim = format!("data-{name}-{number}");
            let volume = format!("pv-{}", short_hash(&format!("{namespace}/{claim}")));
            all.push(Planned::new(
                "persistentvolumes",
                json!({
                    "apiVersion": "v1", "kind": "PersistentVolume",
                    "metadata": {"name": volume, "labels": labels(name, self.part_of)},
                    "spec": {
                        "capacity": {"storage": size},
                        "accessModes": ["ReadWriteOnce"],
                        "persistentVolumeReclaimPolicy": "Retain",
                        "storageClassName": "fast-retain",
                        "volumeMode": "Filesystem",
                        "csi": {
                            "driver": "csi.example.com", "volumeHandle": format!("vol-{volume}"),
                        },
                        "claimRef": {
                            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                            "namespace": namespace, "name": claim,
                        },
                    },
                }),
            ));
            let mut spec = claim_spec.clone();
            spec["volumeName"] = json!(volume);
            all.push(Planned::new(
                "persistentvolumeclaims",
                json!({
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "metadata": metadata(namespace, &claim, name, self.part_of),
                    "spec": spec,
                }),
            ));
            let pod = self.pod(&format!("{name}-{number}"), None, Some(&claim));
            all.push(pod.owned_by("StatefulSet", name));
        }
        all
    }
}

/// Ten characters from the alphabet of Kubernetes' generated names, decided by the text (FNV-1a).
pub(super) fn short_hash(text: &str) -> String {
    const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let size = SAFE.len() as u64;
    (0..10)
        .map(|_| {
            let at = (hash % size) as usize;
            hash = (hash / size).rotate_left(17) ^ 0x9e37_79b9;
            char::from(SAFE[at])
        })
        .collect()
}
