//! What an object of a backup needs to work: its definition, and what its pods mount and read.

use std::collections::BTreeSet;

use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_archive::archive::Archive;
use serde_json::Value;

use crate::command::read;
use crate::exit::{Exit, Failure};

/// The object and everything of the archive that it needs, in turn. A namespace needs all that was in it.
pub(crate) fn of(archive: &Archive, object: &ObjectKey) -> Result<BTreeSet<ObjectKey>, Failure> {
    let mut waiting = vec![object.clone()];
    if is_core(&object.resource, "namespaces") {
        let inside = archive
            .index()
            .iter()
            .filter(|entry| entry.preferred() && entry.namespace() == Some(&object.name));
        waiting.extend(inside.map(|entry| entry.key()));
    }
    let mut all = BTreeSet::new();
    while let Some(key) = waiting.pop() {
        let Some(entry) = archive.index().get(&key, None) else {
            continue;
        };
        if !all.insert(key.clone()) {
            continue;
        }
        let what = format!("{} {}", key.resource, key.scoped_name());
        let bytes = archive
            .get(&entry)
            .map_err(|error| read::damaged(&what, error))?;
        let body: Value = serde_json::from_slice(&bytes).map_err(|error| {
            Failure::caused(Exit::VerificationFailed, format!("read {what}"), error)
        })?;
        if !key.resource.group.is_empty() {
            waiting.push(ObjectKey::cluster(
                GroupResource::new("customresourcedefinitions", "apiextensions.k8s.io"),
                key.resource.to_string(),
            ));
        }
        if let Some(namespace) = &key.namespace {
            waiting.push(ObjectKey::cluster(
                GroupResource::new("namespaces", ""),
                namespace.clone(),
            ));
            named_in(&body, &mut |resource, name| {
                let resource = GroupResource::new(resource, "");
                waiting.push(if resource.resource == "persistentvolumes" {
                    ObjectKey::cluster(resource, name)
                } else {
                    ObjectKey::namespaced(resource, namespace.clone(), name)
                });
            });
        }
    }
    Ok(all)
}

fn is_core(resource: &GroupResource, plural: &str) -> bool {
    resource.group.is_empty() && resource.resource == plural
}

/// Calls `found` with the resource and name of everything that a pod specification, wherever it stands in
/// the object, refers to.
fn named_in(value: &Value, found: &mut dyn FnMut(&str, &str)) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let name = |field: &str| inner.get(field).and_then(Value::as_str);
                let reference = match key.as_str() {
                    "serviceAccountName" => inner.as_str().map(|name| ("serviceaccounts", name)),
                    "volumeName" => inner.as_str().map(|name| ("persistentvolumes", name)),
                    "configMap" | "configMapRef" | "configMapKeyRef" => {
                        name("name").map(|name| ("configmaps", name))
                    }
                    "secretRef" | "secretKeyRef" => name("name").map(|name| ("secrets", name)),
                    "secret" => name("secretName").map(|name| ("secrets", name)),
                    "secretName" => inner.as_str().map(|name| ("secrets", name)),
                    "persistentVolumeClaim" => {
                        name("claimName").map(|name| ("persistentvolumeclaims", name))
                    }
                    _ => None,
                };
                if let Some((resource, name)) = reference.filter(|(_, name)| !name.is_empty()) {
                    found(resource, name);
                }
                if key == "imagePullSecrets" {
                    let names = inner.as_array().into_iter().flatten();
                    for name in names.filter_map(|entry| entry.get("name")?.as_str()) {
                        found("secrets", name);
                    }
                }
                named_in(inner, found);
            }
        }
        Value::Array(list) => {
            for inner in list {
                named_in(inner, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_name_what_they_mount_and_read() {
        let object = json!({"spec": {"template": {"spec": {
            "serviceAccountName": "web",
            "imagePullSecrets": [{"name": "registry"}],
            "containers": [{"envFrom": [{"configMapRef": {"name": "settings"}}],
                            "env": [{"valueFrom": {"secretKeyRef": {"name": "token", "key": "t"}}}]}],
            "volumes": [{"secret": {"secretName": "tls"}}, {"configMap": {"name": "files"}},
                        {"persistentVolumeClaim": {"claimName": "data"}}],
        }}}});
        let mut seen = BTreeSet::new();
        named_in(&object, &mut |resource, name| {
            seen.insert(format!("{resource}/{name}"));
        });
        let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
        assert_eq!(
            seen,
            [
                "configmaps/files",
                "configmaps/settings",
                "persistentvolumeclaims/data",
                "secrets/registry",
                "secrets/tls",
                "secrets/token",
                "serviceaccounts/web",
            ]
        );
    }
}
