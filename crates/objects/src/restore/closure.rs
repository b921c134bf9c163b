//! What an object needs to live: the part of a backup that an undelete brings back.
//!
//! A pure walk over the archive from the named objects along their references: namespace, definition,
//! service account, config maps, secrets, claims with their volumes and classes, roles of bindings. A
//! namespace brings everything that was in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_archive::ArchiveError;
use salvor_archive::archive::Archive;
use serde_json::Value;

use super::body;
use super::item_action::pod_spec_path;
use super::mapping::is_namespace;
use super::planner::parse;
use super::skip;

/// Objects to restore together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closure {
    /// The objects, those asked for included.
    pub keys: BTreeSet<ObjectKey>,
    /// References that lead to nothing in the backup: what is referred to, and one object that does.
    pub missing: BTreeMap<ObjectKey, ObjectKey>,
    /// Objects that were asked for and are not in the backup.
    pub unknown: Vec<ObjectKey>,
}

/// Collects `roots` and what they depend on.
///
/// # Errors
/// The archive cannot be read.
pub fn closure(archive: &Archive, roots: &[ObjectKey]) -> Result<Closure, ArchiveError> {
    let mut found = Closure::default();
    let mut queue: VecDeque<(ObjectKey, Option<ObjectKey>)> =
        roots.iter().map(|root| (root.clone(), None)).collect();
    let index = archive.index();
    while let Some((key, needed_by)) = queue.pop_front() {
        if found.keys.contains(&key) {
            continue;
        }
        let Some(entry) = index.get(&key, None) else {
            match needed_by {
                Some(by) => {
                    found.missing.entry(key).or_insert(by);
                }
                // A namespace of which only the contents are in the backup is made empty.
                None if is_namespace(&key) && index.namespaces().contains(&key.name) => {}
                None => found.unknown.push(key.clone()),
            }
            continue;
        };
        let is_root = needed_by.is_none();
        let object = parse(&archive.get(&entry)?);
        if is_root || skip::inherent(&key, &object).is_none() {
            found.keys.insert(key.clone());
        }
        for reference in references(archive, &key, &object) {
            queue.push_back((reference, Some(key.clone())));
        }
    }
    for root in roots.iter().filter(|root| is_namespace(root)) {
        add_contents(archive, &root.name, &mut found, &mut queue)?;
    }
    Ok(found)
}

/// Everything in a namespace, and what that depends on.
fn add_contents(
    archive: &Archive,
    namespace: &str,
    found: &mut Closure,
    queue: &mut VecDeque<(ObjectKey, Option<ObjectKey>)>,
) -> Result<(), ArchiveError> {
    let index = archive.index();
    for resource in index.resources() {
        for entry in index.range(resource, Some(namespace)) {
            queue.push_back((entry.key(), Some(entry.key())));
        }
    }
    while let Some((key, needed_by)) = queue.pop_front() {
        if found.keys.contains(&key) {
            continue;
        }
        let Some(entry) = index.get(&key, None) else {
            if let Some(by) = needed_by {
                found.missing.entry(key).or_insert(by);
            }
            continue;
        };
        let object = parse(&archive.get(&entry)?);
        if skip::inherent(&key, &object).is_some() {
            continue;
        }
        found.keys.insert(key.clone());
        for reference in references(archive, &key, &object) {
            queue.push_back((reference, Some(key.clone())));
        }
    }
    Ok(())
}

/// What an object refers to and cannot do without.
fn references(archive: &Archive, key: &ObjectKey, object: &Value) -> Vec<ObjectKey> {
    let mut list = References {
        namespace: key.namespace.clone(),
        keys: Vec::new(),
    };
    if let Some(namespace) = &key.namespace {
        list.cluster("namespaces", "", namespace);
    }
    let definition = ObjectKey::cluster(
        GroupResource::new("customresourcedefinitions", "apiextensions.k8s.io"),
        key.resource.to_string(),
    );
    if archive.index().get(&definition, None).is_some() {
        list.keys.push(definition);
    }
    let kind = body::text_at(object, &["kind"]);
    match key.resource.to_string().as_str() {
        "pods"
        | "deployments.apps"
        | "statefulsets.apps"
        | "daemonsets.apps"
        | "replicasets.apps"
        | "replicationcontrollers"
        | "jobs.batch"
        | "cronjobs.batch" => {
            if let Some(spec) = body::at(object, pod_spec_path(kind)) {
                list.pod_spec(spec);
            }
            list.claim_templates(archive, key, object);
        }
        "persistentvolumeclaims" => {
            list.cluster(
                "persistentvolumes",
                "",
                body::text_at(object, &["spec", "volumeName"]),
            );
            let class = body::text_at(object, &["spec", "storageClassName"]);
            list.cluster_if_held(archive, "storageclasses", "storage.k8s.io", class);
        }
        "serviceaccounts" => {
            for field in ["secrets", "imagePullSecrets"] {
                for secret in body::list_at(object, &[field]) {
                    let name = body::text_at(secret, &["name"]);
                    if !name.starts_with(&format!("{}-token-", key.name)) {
                        list.local("secrets", "", name);
                    }
                }
            }
        }
        "rolebindings.rbac.authorization.k8s.io"
        | "clusterrolebindings.rbac.authorization.k8s.io" => {
            let role = body::text_at(object, &["roleRef", "name"]);
            let group = "rbac.authorization.k8s.io";
            if body::text_at(object, &["roleRef", "kind"]) == "ClusterRole" {
                list.cluster_if_held(archive, "clusterroles", group, role);
            } else {
                list.local("roles", group, role);
            }
        }
        "ingresses.networking.k8s.io" => {
            for tls in body::list_at(object, &["spec", "tls"]) {
                list.local("secrets", "", body::text_at(tls, &["secretName"]));
            }
            for rule in body::list_at(object, &["spec", "rules"]) {
                for path in body::list_at(rule, &["http", "paths"]) {
                    let service = body::text_at(path, &["backend", "service", "name"]);
                    list.local("services", "", service);
                }
            }
            let class = body::text_at(object, &["spec", "ingressClassName"]);
            list.cluster_if_held(archive, "ingressclasses", "networking.k8s.io", class);
        }
        _ => {}
    }
    list.keys
}

struct References {
    namespace: Option<String>,
    keys: Vec<ObjectKey>,
}

impl References {
    /// An object of the same namespace.
    fn local(&mut self, resource: &str, group: &str, name: &str) {
        if let Some(namespace) = &self.namespace
            && !name.is_empty()
        {
            let resource = GroupResource::new(resource, group);
            let key = ObjectKey::namespaced(resource, namespace.clone(), name);
            self.keys.push(key);
        }
    }

    fn cluster(&mut self, resource: &str, group: &str, name: &str) {
        if !name.is_empty() {
            let resource = GroupResource::new(resource, group);
            self.keys.push(ObjectKey::cluster(resource, name));
        }
    }

    /// A cluster-scoped object that the target probably has: brought along when the backup holds it, not
    /// missed otherwise.
    fn cluster_if_held(&mut self, archive: &Archive, resource: &str, group: &str, name: &str) {
        let key = ObjectKey::cluster(GroupResource::new(resource, group), name);
        if archive.index().get(&key, None).is_some() {
            self.keys.push(key);
        }
    }

    fn pod_spec(&mut self, spec: &Value) {
        self.local(
            "serviceaccounts",
            "",
            body::text_at(spec, &["serviceAccountName"]),
        );
        self.cluster(
            "priorityclasses",
            "scheduling.k8s.io",
            match body::text_at(spec, &["priorityClassName"]) {
                built_in if built_in.starts_with("system-") => "",
                name => name,
            },
        );
        self.cluster(
            "runtimeclasses",
            "node.k8s.io",
            body::text_at(spec, &["runtimeClassName"]),
        );
        for secret in body::list_at(spec, &["imagePullSecrets"]) {
            self.local("secrets", "", body::text_at(secret, &["name"]));
        }
        for volume in body::list_at(spec, &["volumes"]) {
            self.volume(volume);
            for source in body::list_at(volume, &["projected", "sources"]) {
                self.volume(source);
            }
        }
        for containers in ["initContainers", "containers"] {
            for container in body::list_at(spec, &[containers]) {
                for from in body::list_at(container, &["envFrom"]) {
                    self.optional(from, &["configMapRef"], "configmaps", "name");
                    self.optional(from, &["secretRef"], "secrets", "name");
                }
                for env in body::list_at(container, &["env"]) {
                    self.optional(env, &["valueFrom", "configMapKeyRef"], "configmaps", "name");
                    self.optional(env, &["valueFrom", "secretKeyRef"], "secrets", "name");
                }
            }
        }
    }

    fn volume(&mut self, volume: &Value) {
        self.optional(volume, &["configMap"], "configmaps", "name");
        self.optional(volume, &["secret"], "secrets", "secretName");
        self.optional(volume, &["secret"], "secrets", "name");
        self.optional(
            volume,
            &["persistentVolumeClaim"],
            "persistentvolumeclaims",
            "claimName",
        );
    }

    /// A reference that its owner may mark as optional; then its absence is no loss.
    fn optional(&mut self, holder: &Value, path: &[&str], resource: &str, field: &str) {
        if let Some(reference) = body::at(holder, path)
            && reference.get("optional") != Some(&Value::Bool(true))
        {
            self.local(resource, "", body::text_at(reference, &[field]));
        }
    }

    /// Claims that a stateful set made: `<template>-<set>-<number>`.
    fn claim_templates(&mut self, archive: &Archive, key: &ObjectKey, object: &Value) {
        let claims = GroupResource::new("persistentvolumeclaims", "");
        for template in body::list_at(object, &["spec", "volumeClaimTemplates"]) {
            let template = body::text_at(template, &["metadata", "name"]);
            let prefix = format!("{template}-{}-", key.name);
            for entry in archive.index().range(&claims, key.namespace.as_deref()) {
                let number = entry.name().strip_prefix(&prefix);
                if number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())) {
                    self.keys.push(entry.key());
                }
            }
        }
    }
}
