//! Definitions, classes, namespaces and cluster-wide roles.

use serde_json::{Value, json};

use super::Planned;

/// A CustomResourceDefinition with one version.
fn definition(group: &str, kind: &str, plural: &str, short: &str, spec: Value) -> Planned {
    Planned::new(
        "customresourcedefinitions.apiextensions.k8s.io",
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {
                    "kind": kind, "listKind": format!("{kind}List"), "plural": plural,
                    "singular": kind.to_lowercase(), "shortNames": [short],
                },
                "versions": [{
                    "name": "v1alpha1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {
                        "type": "object",
                        "required": ["spec"],
                        "properties": {"spec": spec},
                    }},
                    "additionalPrinterColumns": [{
                        "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
                    }],
                }],
            },
        }),
    )
}

/// The definitions of the add-ons.
pub(super) fn definitions() -> Vec<Planned> {
    let open = || json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let application = json!({
        "type": "object",
        "required": ["project", "source", "destination"],
        "properties": {
            "project": {"type": "string"},
            "source": {
                "type": "object",
                "required": ["repoURL"],
                "properties": {
                    "repoURL": {"type": "string"},
                    "path": {"type": "string"},
                    "targetRevision": {"type": "string", "default": "HEAD"},
                },
            },
            "destination": {
                "type": "object",
                "properties": {
                    "server": {"type": "string"},
                    "namespace": {"type": "string"},
                },
            },
            "syncPolicy": open(),
        },
    });
    let mut all = vec![definition(
        "argoproj.io",
        "Application",
        "applications",
        "app",
        application,
    )];
    for (group, kind, plural, short) in [
        ("argoproj.io", "AppProject", "appprojects", "appproj"),
        (
            "clickhouse.altinity.com",
            "ClickHouseInstallation",
            "clickhouseinstallations",
            "chi",
        ),
        (
            "clickhouse.altinity.com",
            "ClickHouseOperatorConfiguration",
            "clickhouseoperatorconfigurations",
            "chopconf",
        ),
        (
            "secrets.hashicorp.com",
            "VaultStaticSecret",
            "vaultstaticsecrets",
            "vss",
        ),
        ("secrets.hashicorp.com", "VaultAuth", "vaultauths", "vauth"),
    ] {
        all.push(definition(group, kind, plural, short, open()));
    }
    all
}

/// Namespaces, classes and cluster-wide roles.
pub(super) fn foundation() -> Vec<Planned> {
    let mut all = Vec::new();
    for (name, team, tier) in [
        ("production", "shop", "critical"),
        ("staging", "shop", "test"),
        ("vault", "security", "critical"),
        ("argocd", "platform", "critical"),
        ("signoz", "platform", "standard"),
    ] {
        all.push(Planned::new(
            "namespaces",
            json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": {"team": team, "tier": tier}},
            }),
        ));
    }
    for (name, policy, default) in [
        ("fast-retain", "Retain", "true"),
        ("bulk", "Delete", "false"),
    ] {
        all.push(Planned::new(
            "storageclasses.storage.k8s.io",
            json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
                "metadata": {"name": name, "annotations": {
                    "storageclass.kubernetes.io/is-default-class": default,
                }},
                "provisioner": "csi.example.com",
                "reclaimPolicy": policy,
                "volumeBindingMode": "Immediate",
                "allowVolumeExpansion": true,
            }),
        ));
    }
    for (name, value) in [
        ("shop-critical", 100_000),
        ("shop-normal", 10_000),
        ("batch", 100),
    ] {
        all.push(Planned::new(
            "priorityclasses.scheduling.k8s.io",
            json!({
                "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                "metadata": {"name": name},
                "value": value,
                "globalDefault": false,
                "description": format!("priority of {name} workloads"),
            }),
        ));
    }
    all.push(Planned::new(
        "ingressclasses.networking.k8s.io",
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
            "metadata": {"name": "nginx"},
            "spec": {"controller": "k8s.io/ingress-nginx"},
        }),
    ));
    for (team, resources) in [
        ("developers", json!(["pods", "services", "configmaps"])),
        (
            "operators",
            json!(["pods", "services", "configmaps", "secrets", "nodes"]),
        ),
        ("auditors", json!(["namespaces", "events"])),
        ("backup-readers", json!(["*"])),
    ] {
        let name = format!("platform:{team}");
        let group = "rbac.authorization.k8s.io";
        all.push(Planned::new(
            "clusterroles.rbac.authorization.k8s.io",
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": {"name": name},
                "rules": [{
                    "apiGroups": [""], "resources": resources, "verbs": ["get", "list", "watch"],
                }],
            }),
        ));
        all.push(Planned::new(
            "clusterrolebindings.rbac.authorization.k8s.io",
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": name},
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
                "subjects": [{"apiGroup": group, "kind": "Group", "name": team}],
            }),
        ));
    }
    all
}
