//! `init-restore-hook`: init containers that the restore's spec or the pod's annotations ask for.

use serde::Deserialize as _;
use serde_json::{Value, json};

use super::Item;
use super::pod::WAITS_FOR_DATA;
use crate::hooks::Pod;
use crate::hooks::of_restore::RestoreHooks;
use crate::restore::body;
use crate::restore::mapping::target_key;
use crate::restore::rules::Rules;
use crate::restore::skip::Skip;

pub(super) fn run(item: &mut Item<'_>, rules: &Rules) -> Result<(), Skip> {
    let Ok(pod) = Pod::deserialize(item.backed_up) else {
        return Ok(());
    };
    // They were valid when the restore was planned.
    let hooks = RestoreHooks::compile(&rules.hooks).unwrap_or_default();
    let target = target_key(item.key, &rules.namespaces);
    let added = hooks.init_containers(&pod, target.namespace.as_deref().unwrap_or_default());
    if added.is_empty() {
        return Ok(());
    }
    let name = |container: &Value| body::text_at(container, &["name"]).to_owned();
    let names: Vec<String> = added.iter().map(name).collect();
    let mut containers = body::list_at(item.body, &["spec", "initContainers"]).to_vec();
    // A pod that was restored with the hook has its container already.
    containers.retain(|container| !names.contains(&name(container)));
    // A container that waits for volume data comes before them, later.
    containers.retain(|container| name(container) != WAITS_FOR_DATA);
    containers.splice(0..0, added.into_iter().map(with_defaults));
    body::set_at(
        item.body,
        &["spec", "initContainers"],
        Value::Array(containers),
    );
    Ok(())
}

/// A container with what the API server would add to it: otherwise the restored pod would differ from what a
/// second restore sends, while everything else of the pod has its defaults since it was backed up.
fn with_defaults(mut container: Value) -> Value {
    let policy = pull_policy(body::text_at(&container, &["image"]));
    for (field, value) in [
        ("resources", json!({})),
        ("terminationMessagePath", json!("/dev/termination-log")),
        ("terminationMessagePolicy", json!("File")),
        ("imagePullPolicy", json!(policy)),
    ] {
        if body::at(&container, &[field]).is_none() {
            body::set_at(&mut container, &[field], value);
        }
    }
    for port in body::list_at_mut(&mut container, &["ports"])
        .into_iter()
        .flatten()
    {
        if body::text_at(port, &["protocol"]).is_empty() {
            body::set_at(port, &["protocol"], json!("TCP"));
        }
    }
    for variable in body::list_at_mut(&mut container, &["env"])
        .into_iter()
        .flatten()
    {
        let field = ["valueFrom", "fieldRef"];
        if body::at(variable, &field).is_some() {
            let version = ["valueFrom", "fieldRef", "apiVersion"];
            if body::text_at(variable, &version).is_empty() {
                body::set_at(variable, &version, json!("v1"));
            }
        }
    }
    container
}

/// `latest` is what an image without a tag or digest means.
fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or_default();
    match (name.contains('@'), name.split_once(':')) {
        (false, None | Some((_, "latest"))) => "Always",
        _ => "IfNotPresent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_added_container_is_as_the_api_server_would_store_it() {
        let given = json!({"name": "a", "image": "i:1", "command": ["x"], "terminationMessagePolicy": "FallbackToLogsOnError",
            "ports": [{"containerPort": 1}], "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, {"name": "M", "value": "v"}]});
        let stored = json!({"name": "a", "image": "i:1", "command": ["x"], "terminationMessagePolicy": "FallbackToLogsOnError",
            "ports": [{"containerPort": 1, "protocol": "TCP"}],
            "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name", "apiVersion": "v1"}}}, {"name": "M", "value": "v"}],
            "resources": {}, "terminationMessagePath": "/dev/termination-log", "imagePullPolicy": "IfNotPresent"});
        assert_eq!(with_defaults(given), stored);
        for (image, policy) in [
            ("busybox", "Always"),
            ("localhost:5000/busybox", "Always"),
            ("busybox:latest", "Always"),
            ("localhost:5000/busybox:1.36", "IfNotPresent"),
            ("busybox@sha256:0123", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
