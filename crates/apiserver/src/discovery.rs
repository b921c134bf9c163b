//! Discovery documents: which groups, versions and resources are served.
//!
//! Legacy documents (`/api`, `/apis`, `/apis/G`, `/apis/G/V`) are what every client understands; the
//! aggregated ones answer all of it at once and are given to clients that ask by `Accept`.

use serde_json::{Value, json};

use crate::kinds::SubresourceRow;
use crate::registry::{Group, Registry, Resource, api_version};

/// Content type of an aggregated discovery document.
pub(crate) const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// `/api`.
pub(crate) fn core_versions(registry: &Registry) -> Value {
    let versions = registry
        .group("")
        .map(|group| group.versions.clone())
        .unwrap_or_default();
    json!({
        "kind": "APIVersions",
        "versions": versions,
        "serverAddressByClientCIDRs": [],
    })
}

/// `/apis`.
pub(crate) fn group_list(registry: &Registry) -> Value {
    let groups: Vec<Value> = registry
        .groups()
        .iter()
        .filter(|group| !group.name.is_empty())
        .map(group_body)
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/G`.
pub(crate) fn group(group: &Group) -> Value {
    let mut document = json!({"kind": "APIGroup", "apiVersion": "v1"});
    if let (Value::Object(document), Value::Object(body)) = (&mut document, group_body(group)) {
        document.extend(body);
    }
    document
}

fn group_body(group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|version| {
            json!({"groupVersion": api_version(&group.name, version), "version": version})
        })
        .collect();
    json!({"name": group.name, "versions": versions, "preferredVersion": versions.first()})
}

/// `/api/v1` or `/apis/G/V`.
pub(crate) fn resource_list(registry: &Registry, group: &str, version: &str) -> Value {
    let mut resources = Vec::new();
    for resource in registry.in_version(group, version) {
        resources.push(legacy_resource(resource));
        for sub in subresources(resource, version) {
            let mut entry = json!({
                "name": format!("{}/{}", resource.name.resource, sub.name),
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": sub.kind,
                "verbs": sub.verbs,
            });
            if (sub.group.as_str(), sub.version.as_str()) != (group, version) {
                entry["group"] = sub.group.clone().into();
                entry["version"] = sub.version.clone().into();
            }
            resources.push(entry);
        }
    }
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version(group, version),
        "resources": resources,
    })
}

fn subresources<'a>(resource: &'a Resource, version: &str) -> &'a [SubresourceRow] {
    resource
        .version(version)
        .map(|one| one.subresources.as_slice())
        .unwrap_or_default()
}

fn legacy_resource(resource: &Resource) -> Value {
    let mut entry = json!({
        "name": resource.name.resource,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    entry
}

/// The aggregated form of `/api` (`core`) or `/apis`; `stale` names groups whose server is away.
pub(crate) fn aggregated(registry: &Registry, core: bool, stale: impl Fn(&str) -> bool) -> Value {
    let items: Vec<Value> = registry
        .groups()
        .iter()
        .filter(|group| group.name.is_empty() == core)
        .map(|group| {
            let versions: Vec<Value> = group
                .versions
                .iter()
                .map(|version| aggregated_version(registry, group, version, stale(&group.name)))
                .collect();
            let metadata = if core {
                json!({})
            } else {
                json!({"name": group.name})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

fn aggregated_version(registry: &Registry, group: &Group, version: &str, stale: bool) -> Value {
    if stale {
        return json!({"version": version, "freshness": "Stale"});
    }
    let resources: Vec<Value> = registry
        .in_version(&group.name, version)
        .map(|resource| {
            let mut entry = json!({
                "resource": resource.name.resource,
                "responseKind": response_kind(&group.name, version, &resource.kind),
                "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
                "singularResource": resource.singular,
                "verbs": resource.verbs,
            });
            if !resource.short_names.is_empty() {
                entry["shortNames"] = json!(resource.short_names);
            }
            if !resource.categories.is_empty() {
                entry["categories"] = json!(resource.categories);
            }
            let subs: Vec<Value> = subresources(resource, version)
                .iter()
                .map(|sub| {
                    json!({
                        "subresource": sub.name,
                        "responseKind": response_kind(&sub.group, &sub.version, &sub.kind),
                        "verbs": sub.verbs,
                    })
                })
                .collect();
            if !subs.is_empty() {
                entry["subresources"] = subs.into();
            }
            entry
        })
        .collect();
    json!({"version": version, "resources": resources, "freshness": "Current"})
}

fn response_kind(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}
