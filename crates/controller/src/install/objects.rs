//! What is installed beside the server and its rights.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use salvor_api::labels::EXCLUDE_FROM_BACKUP;
use salvor_cluster::ApiResource;
use serde_json::{Value, json};

use super::{CREDENTIALS, Install, labels};
use crate::tls;

/// Label by which a namespace says which pods it lets in.
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
const PRIVILEGED: &str = "privileged";
const ALERTS: &str = include_str!("../../../../deploy/alerts.yaml");

pub(super) fn namespace(install: &Install) -> Value {
    let mut labels = labels();
    // The server keeps to it, so nothing else needs to be let in. Movers read directories of their node as root.
    let standard = match install.node_agent {
        None => "restricted",
        Some(_) => PRIVILEGED,
    };
    labels[ENFORCE] = json!(standard);
    // As API servers from 1.21 on write it themselves.
    labels["kubernetes.io/metadata.name"] = json!(install.namespace);
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": install.namespace, "labels": labels},
    })
}

pub(super) fn credentials(install: &Install) -> Option<Value> {
    let contents = install.credentials.as_ref()?;
    let (name, key) = CREDENTIALS;
    let encoded = BASE64.encode(contents);
    Some(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": name, "namespace": install.namespace, "labels": labels()},
        "data": {key: encoded},
    }))
}

/// The Secret that servers share. It is installed empty, so that a server needs no right to create Secrets. It
/// stays out of backups: who can read one must not be able to speak for the server.
pub(crate) fn shared_secret(namespace: &str) -> Value {
    let mut labels = labels();
    labels[EXCLUDE_FROM_BACKUP] = json!("true");
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": tls::SECRET, "namespace": namespace, "labels": labels},
    })
}

/// The ConfigMap that shows clients whom to trust; empty until a server fills it.
pub(crate) fn authority_map(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": tls::AUTHORITY, "namespace": namespace, "labels": labels()},
    })
}

pub(super) fn storage_location(install: &Install) -> Option<Value> {
    let location = install.location.as_ref()?;
    let mut storage = json!({"bucket": location.bucket});
    if !location.prefix.is_empty() {
        storage["prefix"] = json!(location.prefix);
    }
    if !location.ca_cert.is_empty() {
        storage["caCert"] = json!(BASE64.encode(&location.ca_cert));
    }
    let mut spec = json!({
        "provider": location.provider, "default": true, "objectStorage": storage,
    });
    if !location.config.is_empty() {
        spec["config"] = json!(location.config);
    }
    if install.credentials.is_some() {
        // Read anew each time: changed credentials need no restart.
        spec["credential"] = json!({"name": CREDENTIALS.0, "key": CREDENTIALS.1});
    }
    Some(json!({
        "apiVersion": "velero.io/v1", "kind": "BackupStorageLocation",
        "metadata": {"name": "default", "namespace": install.namespace, "labels": labels()},
        "spec": spec,
    }))
}

pub(super) fn snapshot_location(install: &Install) -> Option<Value> {
    let (provider, config) = install.snapshot_location.as_ref()?;
    let mut spec = json!({"provider": provider});
    if !config.is_empty() {
        spec["config"] = json!(config);
    }
    Some(json!({
        "apiVersion": "velero.io/v1", "kind": "VolumeSnapshotLocation",
        "metadata": {"name": "default", "namespace": install.namespace, "labels": labels()},
        "spec": spec,
    }))
}

/// The alert rules of `deploy/alerts.yaml`, for the operator of Prometheus.
#[must_use]
pub fn prometheus_rule(namespace: &str) -> Value {
    let spec: Value = serde_saphyr::from_str(ALERTS).expect("promtool reads it in the tests");
    json!({
        "apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
        "metadata": {"name": super::NAME, "namespace": namespace, "labels": labels()},
        "spec": spec,
    })
}

/// The resource that a manifest is created as; `None` for a kind that is not installed here.
#[must_use]
pub fn resource_of_manifest(manifest: &Value) -> Option<ApiResource> {
    let kind = manifest["kind"].as_str()?;
    let (plural, namespaced) = match kind {
        "Namespace" => ("namespaces", false),
        "CustomResourceDefinition" => ("customresourcedefinitions", false),
        "ServiceAccount" => ("serviceaccounts", true),
        "ClusterRole" => ("clusterroles", false),
        "ClusterRoleBinding" => ("clusterrolebindings", false),
        "Role" => ("roles", true),
        "RoleBinding" => ("rolebindings", true),
        "Secret" => ("secrets", true),
        "ConfigMap" => ("configmaps", true),
        "DaemonSet" => ("daemonsets", true),
        "Deployment" => ("deployments", true),
        "Service" => ("services", true),
        "NetworkPolicy" => ("networkpolicies", true),
        "PodDisruptionBudget" => ("poddisruptionbudgets", true),
        "BackupStorageLocation" => ("backupstoragelocations", true),
        "VolumeSnapshotLocation" => ("volumesnapshotlocations", true),
        "MutatingWebhookConfiguration" => ("mutatingwebhookconfigurations", false),
        "PrometheusRule" => ("prometheusrules", true),
        _ => return None,
    };
    let version = manifest["apiVersion"].as_str()?;
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    Some(ApiResource::known(group, version, kind, plural, namespaced))
}

/// True for what stays as it is when it is there already: it may be somebody else's work.
#[must_use]
pub fn is_left_alone(manifest: &Value) -> bool {
    match manifest["kind"].as_str() {
        // One that would let no mover in is of no use.
        Some("Namespace") => manifest["metadata"]["labels"][ENFORCE] != PRIVILEGED,
        kind => matches!(
            kind,
            Some("BackupStorageLocation" | "VolumeSnapshotLocation")
        ),
    }
}
