//! `pod-volume-restore`: a pod whose own volumes are filled gets an init container that waits until they are.

use serde_json::{Map, Value, json};

use super::Item;
use super::pod::WAITS_FOR_DATA;
use crate::restore::body;
use crate::restore::rules::Rules;
use crate::restore::skip::Skip;
use crate::restore::volume_data::DataRules;

/// Folder of the container below which it sees the volumes, as in Velero.
const VOLUMES: &str = "/restores";

pub(super) fn run(item: &mut Item<'_>, rules: &Rules) -> Result<(), Skip> {
    let Some(volumes) = rules.data.pods.get(&item.key.scoped_name()) else {
        return Ok(());
    };
    let has = |name: &&String| {
        let all = body::list_at(item.body, &["spec", "volumes"]);
        all.iter()
            .any(|volume| body::text_at(volume, &["name"]) == **name)
    };
    let volumes: Vec<&String> = volumes.iter().filter(has).collect();
    if volumes.is_empty() {
        item.notes.push(
            "the volumes that were backed up with the pod are not in its specification".into(),
        );
        return Ok(());
    }
    let container = container(&rules.data, &volumes, item.body);
    let mut containers = body::list_at(item.body, &["spec", "initContainers"]).to_vec();
    containers.insert(0, container);
    body::set_at(
        item.body,
        &["spec", "initContainers"],
        Value::Array(containers),
    );
    Ok(())
}

fn container(rules: &DataRules, volumes: &[&String], pod: &Value) -> Value {
    let mounts: Vec<Value> = volumes
        .iter()
        .map(|name| json!({"name": name, "mountPath": format!("{VOLUMES}/{name}"), "readOnly": true}))
        .collect();
    let wait = &rules.wait;
    json!({
        "name": WAITS_FOR_DATA,
        "image": wait.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["restore-wait", rules.mark_path(), "--seconds", wait.seconds.to_string(), "--below", VOLUMES],
        "resources": {
            "requests": quantities(&wait.cpu_request, &wait.memory_request),
            "limits": quantities(&wait.cpu_limit, &wait.memory_limit),
        },
        "securityContext": security(pod, volumes),
        "volumeMounts": mounts,
    })
}

fn quantities(cpu: &str, memory: &str) -> Value {
    let given = [("cpu", cpu), ("memory", memory)]
        .into_iter()
        .filter(|(_, amount)| !amount.is_empty());
    Value::Object(
        given
            .map(|(name, amount)| (name.to_owned(), json!(amount)))
            .collect::<Map<_, _>>(),
    )
}

/// The security context of the first container that mounts one of the volumes: what admission lets in and what may
/// read the volume is the same for both. Without one, and without a user of the pod, it is root, who sees every mark.
fn security(pod: &Value, volumes: &[&String]) -> Value {
    let mounts = |container: &&Value| {
        let mounts = body::list_at(container, &["volumeMounts"]).iter();
        mounts
            .map(|mount| body::text_at(mount, &["name"]))
            .any(|name| volumes.iter().any(|v| *v == name))
    };
    let lists = ["containers", "initContainers"].iter();
    let mut all = lists.flat_map(|list| body::list_at(pod, &["spec", list]));
    let context = all
        .find(mounts)
        .and_then(|container| container.get("securityContext"));
    let mut context = context
        .filter(|context| context.is_object())
        .cloned()
        .unwrap_or_else(|| json!({}));
    let of_pod = body::at(pod, &["spec", "securityContext"]).unwrap_or(&Value::Null);
    let says = |field: &str| context.get(field).is_some() || of_pod.get(field).is_some();
    if !says("runAsUser") && !says("runAsNonRoot") {
        body::set_at(&mut context, &["runAsUser"], json!(0));
    }
    if context.get("privileged") != Some(&Value::Bool(true)) {
        body::set_at(&mut context, &["allowPrivilegeEscalation"], json!(false));
    }
    context
}
