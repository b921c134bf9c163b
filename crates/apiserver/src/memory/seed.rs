//! The objects that a new cluster has, and those that controllers keep in every namespace.

use salvor_api::resource::{GroupResource, ObjectKey};
use serde_json::{Map, Value, json};

use super::state::State;
use crate::entry::metadata_mut;
use crate::registry::{Group, api_version};

const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
/// Label of the API services that the server keeps for its own groups.
const AUTO_MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// Stores the objects of a new cluster.
pub(super) fn seed(state: &mut State) {
    for name in NAMESPACES {
        let key = ObjectKey::cluster(GroupResource::new("namespaces", ""), name);
        store(
            state,
            &key,
            json!({
                "metadata": {"labels": {"kubernetes.io/metadata.name": name}},
                "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Active"},
            }),
        );
        if state.options.controllers {
            fill_namespace(state, name);
        }
    }
    let service =
        ObjectKey::namespaced(GroupResource::new("services", ""), "default", "kubernetes");
    store(
        state,
        &service,
        json!({
            "metadata": {"labels": {"component": "apiserver", "provider": "kubernetes"}},
            "spec": {
                "type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"],
                "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443}],
                "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
                "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            },
            "status": {"loadBalancer": {}},
        }),
    );
    for (name, value) in [
        ("system-cluster-critical", 2_000_000_000),
        ("system-node-critical", 2_000_001_000),
    ] {
        let key = ObjectKey::cluster(
            GroupResource::new("priorityclasses", "scheduling.k8s.io"),
            name,
        );
        store(
            state,
            &key,
            json!({
                "metadata": {"generation": 1}, "value": value,
                "description": "Used for system critical pods that must not be moved from their current node.",
                "preemptionPolicy": "PreemptLowerPriority",
            }),
        );
    }
    sync_api_services(state);
}

fn store(state: &mut State, key: &ObjectKey, body: Value) {
    let Value::Object(mut object) = body else {
        return;
    };
    let (uid, now) = (state.new_uid(), state.options.now());
    let metadata = metadata_mut(&mut object);
    metadata.insert("name".into(), key.name.clone().into());
    if let Some(namespace) = &key.namespace {
        metadata.insert("namespace".into(), namespace.clone().into());
    }
    metadata.insert("uid".into(), uid.into());
    metadata.insert("creationTimestamp".into(), now.into());
    state.put(key, object);
}

/// Gives a namespace its `default` service account and the cluster's CA, unless it has them.
pub(super) fn fill_namespace(state: &mut State, namespace: &str) {
    let account = ObjectKey::namespaced(
        GroupResource::new("serviceaccounts", ""),
        namespace,
        "default",
    );
    if state.get(&account).is_none() {
        store(state, &account, json!({"metadata": {}}));
    }
    let config_maps = GroupResource::new("configmaps", "");
    let authority = ObjectKey::namespaced(config_maps, namespace, "kube-root-ca.crt");
    if state.get(&authority).is_none() {
        store(
            state,
            &authority,
            json!({
                "metadata": {"annotations": {"kubernetes.io/description":
                    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."}},
                "data": {"ca.crt": "-----BEGIN CERTIFICATE-----\nin-process server without TLS\n-----END CERTIFICATE-----\n"},
            }),
        );
    }
}

/// Keeps one API service per group and version that is served here.
pub(super) fn sync_api_services(state: &mut State) {
    if !state.options.default_objects {
        return;
    }
    let resource = GroupResource::new("apiservices", "apiregistration.k8s.io");
    let groups: Vec<Group> = state.registry.groups().to_vec();
    let mut wanted = Vec::new();
    for group in &groups {
        for version in &group.versions {
            let name = format!("{version}.{}", group.name);
            let key = ObjectKey::cluster(resource.clone(), &name);
            if state.get(&key).is_none() {
                store(
                    state,
                    &key,
                    api_service(&group.name, version, &state.options.now()),
                );
            }
            wanted.push(name);
        }
    }
    let gone: Vec<ObjectKey> = state
        .entries(&resource, None)
        .filter(|entry| {
            entry.meta.labels.contains_key(AUTO_MANAGED) && !wanted.contains(&entry.meta.name)
        })
        .map(|entry| ObjectKey::cluster(resource.clone(), entry.meta.name.clone()))
        .collect();
    for key in gone {
        state.remove(&key);
    }
}

fn api_service(group: &str, version: &str, now: &str) -> Value {
    let mut spec = Map::new();
    if !group.is_empty() {
        spec.insert("group".into(), group.into());
    }
    spec.insert("version".into(), version.into());
    spec.insert(
        "groupPriorityMinimum".into(),
        if group.is_empty() { 18_000 } else { 1_000 }.into(),
    );
    spec.insert(
        "versionPriority".into(),
        if version.contains("alpha") { 9 } else { 15 }.into(),
    );
    json!({
        "metadata": {"labels": {AUTO_MANAGED: "onstart"}},
        "spec": spec,
        "status": {"conditions": [{
            "type": "Available", "status": "True", "lastTransitionTime": now, "reason": "Local",
            "message": format!("Local APIServices are always available ({})", api_version(group, version)),
        }]},
    })
}
