//! `init-restore-hook`: init containers that the restore's spec or the pod's annotations ask for.

use serde::Deserialize as _;
use serde_json::Value;

use super::Item;
use crate::hooks::Pod;
use crate::hooks::of_restore::RestoreHooks;
use crate::restore::body;
use crate::restore::mapping::target_key;
use crate::restore::rules::Rules;
use crate::restore::skip::Skip;

/// The container of Velero that waits for volume data; whatever works on the data comes after it.
const WAITS_FOR_DATA: &str = "restore-wait";

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
    let waits = containers.first().map(name).as_deref() == Some(WAITS_FOR_DATA);
    let at = usize::from(waits);
    containers.splice(at..at, added);
    body::set_at(
        item.body,
        &["spec", "initContainers"],
        Value::Array(containers),
    );
    Ok(())
}
