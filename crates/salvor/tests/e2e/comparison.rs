//! A full comparison of a cluster before and after, which shares nothing with the comparison that restores
//! plan by. What is not compared is written down here, each with its reason; everything else is.

use std::collections::BTreeMap;

use salvor_api::resource::ObjectKey;
use salvor_objects::diff::comparison::Snapshot;
use serde_json::Value;

type Matches = fn(&ObjectKey, &Value) -> bool;

/// Whole objects that are not compared, and why.
const LEFT_OUT: &[(&str, Matches)] = &[
    ("events tell what happened in one incarnation", |key, _| {
        key.resource.resource == "events"
    }),
    ("component statuses are asked for, not stored", |key, _| {
        key.resource.resource == "componentstatuses"
    }),
    (
        "a token of a service account is generated, with a name of its own, for each incarnation",
        |key, object| {
            let account = &object["metadata"]["annotations"]["kubernetes.io/service-account.name"];
            let generated = account.as_str().map(|account| format!("{account}-token-"));
            object["type"] == "kubernetes.io/service-account-token"
                && generated.is_some_and(|start| key.name.starts_with(&start))
        },
    ),
    (
        "slices that a controller keeps are made from services, with names of their own",
        |_, object| {
            let manager = &object["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"];
            let manager = manager.as_str().unwrap_or_default();
            manager.ends_with("-controller.k8s.io")
        },
    ),
    ("the API server keeps its own address here", |key, _| {
        key.namespace.as_deref() == Some("default") && key.name == "kubernetes"
    }),
];

/// Fields that are not compared: of which resource (`*` is all), where, and why. `[]` is every element of a
/// list, `~1` a slash.
const FIELDS: &[(&str, &str, &str)] = &[
    ("*", "/metadata/uid", "each incarnation has its own"),
    ("*", "/metadata/resourceVersion", "of the store"),
    ("*", "/metadata/generation", "counted from 1 again"),
    ("*", "/metadata/creationTimestamp", "of the incarnation"),
    (
        "*",
        "/metadata/managedFields",
        "who wrote when: now a restore did",
    ),
    (
        "*",
        "/metadata/generateName",
        "how the name came to be; dropped as in Velero",
    ),
    (
        "*",
        "/metadata/ownerReferences/[]/uid",
        "the owner's new one; owners are compared by kind and name",
    ),
    (
        "*",
        "/metadata/labels/velero.io~1backup-name",
        "where a restored object came from",
    ),
    (
        "*",
        "/metadata/labels/velero.io~1restore-name",
        "where a restored object came from",
    ),
    (
        "jobs.batch",
        "/spec/selector/matchLabels/controller-uid",
        "generated from the UID",
    ),
    (
        "jobs.batch",
        "/spec/template/metadata/labels/controller-uid",
        "generated from the UID",
    ),
    (
        "services",
        "/spec/clusterIP",
        "allocated anew, unless it is None",
    ),
    (
        "services",
        "/spec/clusterIPs",
        "allocated anew, unless it is None",
    ),
    (
        "persistentvolumes",
        "/spec/claimRef/uid",
        "of the claim's incarnation",
    ),
    (
        "persistentvolumes",
        "/spec/claimRef/resourceVersion",
        "of the claim's incarnation",
    ),
    (
        "persistentvolumes",
        "/metadata/annotations/pv.kubernetes.io~1bound-by-controller",
        "who bound it: a restored volume is reserved for its claim beforehand",
    ),
    (
        "persistentvolumeclaims",
        "/metadata/annotations/pv.kubernetes.io~1bind-completed",
        "written when it is bound, which takes a while",
    ),
    (
        "endpoints",
        "/metadata/annotations/endpoints.kubernetes.io~1last-change-trigger-time",
        "a time of the controller",
    ),
    (
        "horizontalpodautoscalers.autoscaling",
        "/metadata/annotations/autoscaling.alpha.kubernetes.io~1conditions",
        "a part of the status, for which this version has no other place",
    ),
    (
        "secrets",
        "/metadata/annotations/kubernetes.io~1service-account.uid",
        "of the account's incarnation",
    ),
    (
        "configmaps",
        "/data/ca.crt",
        "the certificate authority of the cluster, published in every namespace",
    ),
];

/// An object without what is not compared; `None` when it is left out as a whole. `with_status` says for
/// which group of custom resources the restore was asked to bring the status back; elsewhere the status is
/// what controllers make of the object, and is not restored, as in Velero.
fn compared(key: &ObjectKey, object: &Value, with_status: &str) -> Option<Value> {
    if LEFT_OUT.iter().any(|(_, matches)| matches(key, object)) {
        return None;
    }
    let resource = key.resource.to_string();
    let mut object = object.clone();
    if key.resource.group != with_status {
        remove(&mut object, &["status"]);
    }
    let headless = object["spec"]["clusterIP"] == "None";
    for (of, path, _) in FIELDS {
        let applies = *of == "*" || *of == resource;
        let kept = headless && path.starts_with("/spec/clusterIP")
            || path.starts_with("/data/ca.crt") && key.name != "kube-root-ca.crt";
        if applies && !kept {
            let steps = steps(path);
            let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
            remove(&mut object, &steps);
        }
    }
    drop_tokens(&resource, &mut object);
    // Nothing is left where only a restore's labels or a binding's annotations were.
    for field in ["labels", "annotations"] {
        if object["metadata"][field]
            .as_object()
            .is_some_and(serde_json::Map::is_empty)
        {
            remove(&mut object, &["metadata", field]);
        }
    }
    Some(object)
}

/// Rules that nothing in these snapshots needs: a list of exceptions is not to be longer than it must be.
pub(crate) fn unused(snapshots: &[&Snapshot]) -> Vec<String> {
    let objects = || snapshots.iter().flat_map(|snapshot| &snapshot.objects);
    let mut unused = Vec::new();
    for (reason, matches) in LEFT_OUT {
        if !objects().any(|(key, object)| matches(key, object)) {
            unused.push((*reason).to_owned());
        }
    }
    for (of, path, _) in FIELDS {
        // Its controller comes by every 15 seconds, or has not yet.
        if of.starts_with("horizontalpodautoscalers") {
            continue;
        }
        let steps = steps(path);
        let has = |(key, object): (&ObjectKey, &Value)| {
            (*of == "*" || *of == key.resource.to_string()) && has(object, &steps)
        };
        if !objects().any(has) {
            unused.push(format!("{of} {path}"));
        }
    }
    unused
}

fn steps(path: &str) -> Vec<String> {
    let steps = path[1..].split('/');
    steps.map(|step| step.replace("~1", "/")).collect()
}

fn has(value: &Value, path: &[String]) -> bool {
    match path {
        [] => true,
        [first, rest @ ..] if first == "[]" => {
            let items = value.as_array().into_iter().flatten();
            items.into_iter().any(|item| has(item, rest))
        }
        [first, rest @ ..] => value.get(first).is_some_and(|inner| has(inner, rest)),
    }
}

/// Removes the generated tokens of service accounts where they are referred to or kept.
fn drop_tokens(resource: &str, object: &mut Value) {
    let name = object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    match resource {
        "serviceaccounts" => {
            let generated = format!("{name}-token-");
            drop_from(&mut object["secrets"], &generated);
        }
        "pods" => {
            let account = object["spec"]["serviceAccountName"]
                .as_str()
                .unwrap_or("default");
            let generated = format!("{account}-token-");
            drop_from(&mut object["spec"]["volumes"], &generated);
            for container in object["spec"]["containers"]
                .as_array_mut()
                .into_iter()
                .flatten()
            {
                drop_from(&mut container["volumeMounts"], &generated);
            }
        }
        // Made by hand: the controller fills it for the new incarnation of the account.
        "secrets" if object["type"] == "kubernetes.io/service-account-token" => {
            for field in ["token", "ca.crt"] {
                remove(object, &["data", field]);
            }
        }
        _ => {}
    }
}

/// Removes from a list what has a name that begins like this. An absent list stays `null` on both sides.
fn drop_from(list: &mut Value, start: &str) {
    if let Some(items) = list.as_array_mut() {
        items.retain(|item| {
            !item["name"]
                .as_str()
                .is_some_and(|name| name.starts_with(start))
        });
        if items.is_empty() {
            *list = Value::Null;
        }
    }
}

/// Removes a field; `[]` is every element of a list.
pub(crate) fn remove(value: &mut Value, path: &[&str]) {
    match path {
        [] => {}
        ["[]", rest @ ..] => {
            for item in value.as_array_mut().into_iter().flatten() {
                remove(item, rest);
            }
        }
        [last] => {
            if let Some(map) = value.as_object_mut() {
                map.shift_remove(*last);
            }
        }
        [first, rest @ ..] => {
            if let Some(inner) = value.get_mut(*first) {
                remove(inner, rest);
            }
        }
    }
}

/// What is compared of a cluster.
pub(crate) fn contents(snapshot: &Snapshot, with_status: &str) -> BTreeMap<ObjectKey, Value> {
    let mut pods_of: BTreeMap<String, u32> = BTreeMap::new();
    let of = snapshot.objects.iter();
    of.filter_map(|(key, object)| {
        let (mut key, mut object) = (key.clone(), compared(key, object, with_status)?);
        if let Some(set) = replica_set_of(&key, &object) {
            let number = pods_of
                .entry(format!("{:?}/{set}", key.namespace))
                .or_default();
            key.name = format!("{set}-pod-{number}");
            object["metadata"]["name"] = key.name.clone().into();
            *number += 1;
        }
        Some((key, object))
    })
    .collect()
}

/// The replica set of a pod. Such pods are compared by number and content: the controller watches pods and sets
/// apart, and when it sees a restored set before its last restored pod, it makes one of its own and then ends
/// any of them.
fn replica_set_of(key: &ObjectKey, object: &Value) -> Option<String> {
    let owner = &object["metadata"]["ownerReferences"][0];
    let is_pod = key.resource.group.is_empty() && key.resource.resource == "pods";
    (is_pod && owner["kind"] == "ReplicaSet").then(|| owner["name"].as_str().map(str::to_owned))?
}

/// Every difference, one per line.
pub(crate) fn differences(
    before: &BTreeMap<ObjectKey, Value>,
    after: &BTreeMap<ObjectKey, Value>,
) -> Vec<String> {
    let mut found = Vec::new();
    for (key, old) in before {
        match after.get(key) {
            None => found.push(format!("{key}: lost")),
            Some(new) => differ(&key.to_string(), old, new, &mut found),
        }
    }
    let added = after.keys().filter(|key| !before.contains_key(*key));
    found.extend(added.map(|key| format!("{key}: new")));
    found
}

fn differ(at: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            for (field, value) in a {
                differ(
                    &format!("{at} /{field}"),
                    value,
                    b.get(field).unwrap_or(&Value::Null),
                    found,
                );
            }
            for (field, value) in b.iter().filter(|(field, _)| !a.contains_key(*field)) {
                differ(&format!("{at} /{field}"), &Value::Null, value, found);
            }
        }
        _ if old == new => {}
        _ => found.push(format!("{at}: {old} became {new}")),
    }
}
