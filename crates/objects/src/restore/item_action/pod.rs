//! `pod`: the scheduler and admission decide anew where it runs, with which priority and which token.

use serde_json::Value;

use super::Item;
use crate::restore::body;
use crate::restore::rules::Rules;
use crate::restore::skip::Skip;

pub(super) fn run(item: &mut Item<'_>, _rules: &Rules) -> Result<(), Skip> {
    if !body::list_at(item.body, &["spec", "ephemeralContainers"]).is_empty() {
        item.notes.push(
            "ephemeral containers are not restored: a pod cannot be created with them".into(),
        );
    }
    drop_server_owned(item.body);
    Ok(())
}

/// The container of Velero and of ours that waits for volume data, before all others.
pub(crate) const WAITS_FOR_DATA: &str = "restore-wait";

/// Removes node, priority, ephemeral containers, the volumes that carry service account tokens, and the container in
/// which an earlier restore had the pod wait: it would wait for a mark that nobody makes any more.
pub(super) fn drop_server_owned(pod: &mut Value) {
    if let Some(containers) = body::list_at_mut(pod, &["spec", "initContainers"]) {
        let before = containers.len();
        containers.retain(|container| body::text_at(container, &["name"]) != WAITS_FOR_DATA);
        if containers.is_empty() && before > 0 {
            body::remove_at(pod, &["spec", "initContainers"]);
        }
    }
    for field in ["nodeName", "priority", "ephemeralContainers"] {
        body::remove_at(pod, &["spec", field]);
    }
    let account = match body::text_at(pod, &["spec", "serviceAccountName"]) {
        "" => "default".to_owned(),
        name => name.to_owned(),
    };
    let secret_prefix = format!("{account}-token-");
    let is_token =
        |name: &str| name.starts_with(&secret_prefix) || name.starts_with("kube-api-access-");
    if let Some(volumes) = body::list_at_mut(pod, &["spec", "volumes"]) {
        volumes.retain(|volume| !is_token(body::text_at(volume, &["name"])));
        if volumes.is_empty() {
            body::remove_at(pod, &["spec", "volumes"]);
        }
    }
    for list in ["initContainers", "containers"] {
        let containers = body::list_at_mut(pod, &["spec", list]);
        for container in containers.into_iter().flatten() {
            if let Some(mounts) = body::list_at_mut(container, &["volumeMounts"]) {
                mounts.retain(|mount| !is_token(body::text_at(mount, &["name"])));
                if mounts.is_empty() {
                    body::remove_at(container, &["volumeMounts"]);
                }
            }
        }
    }
}
