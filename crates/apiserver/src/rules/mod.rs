//! What single kinds do on create and update: allocation, generated fields, immutable fields.
//!
//! One table, one pair of functions per kind. These are the behaviours that a restore stumbles over; full
//! defaulting and validation of built-in kinds is not the aim.

mod config;
pub(crate) mod service;
mod storage;
mod workload;

use salvor_api::resource::GroupResource;
use serde_json::{Map, Value};

use crate::status::FieldError;
use service::Allocations;

/// An object's JSON fields.
pub(crate) type Object = Map<String, Value>;
type Create = fn(&mut Object, &Context<'_>) -> Vec<FieldError>;
type Update = fn(&Object, &mut Object, &Context<'_>) -> Vec<FieldError>;

/// What rules may look at beside the object.
pub(crate) struct Context<'a> {
    pub(crate) allocations: &'a Allocations,
    /// The time now, as the API writes it.
    pub(crate) now: &'a str,
}

struct Rule {
    group: &'static str,
    plural: &'static str,
    create: Create,
    update: Update,
}

const fn rule(group: &'static str, plural: &'static str, create: Create, update: Update) -> Rule {
    Rule {
        group,
        plural,
        create,
        update,
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";

const RULES: &[Rule] = &[
    rule("", "services", service::create, service::update),
    rule("", "pods", workload::create_pod, workload::update_pod),
    rule(
        "",
        "replicationcontrollers",
        workload::create_controller,
        update_nothing,
    ),
    rule(
        "apps",
        "deployments",
        workload::create_selecting,
        workload::update_selecting,
    ),
    rule(
        "apps",
        "replicasets",
        workload::create_selecting,
        workload::update_selecting,
    ),
    rule(
        "apps",
        "daemonsets",
        workload::create_selecting,
        workload::update_selecting,
    ),
    rule(
        "apps",
        "statefulsets",
        workload::create_selecting,
        workload::update_stateful_set,
    ),
    rule("batch", "jobs", workload::create_job, workload::update_job),
    rule(
        "",
        "persistentvolumeclaims",
        storage::create_claim,
        storage::update_claim,
    ),
    rule(
        "",
        "persistentvolumes",
        storage::create_volume,
        storage::update_volume,
    ),
    rule(
        "storage.k8s.io",
        "storageclasses",
        storage::create_class,
        storage::update_class,
    ),
    rule("", "secrets", config::create_secret, config::update_secret),
    rule(
        "",
        "configmaps",
        config::create_config_map,
        config::update_config_map,
    ),
    rule(
        "",
        "namespaces",
        config::create_namespace,
        config::update_namespace,
    ),
    rule("", "serviceaccounts", create_nothing, update_nothing),
    rule(
        RBAC,
        "rolebindings",
        config::create_binding,
        config::update_binding,
    ),
    rule(
        RBAC,
        "clusterrolebindings",
        config::create_binding,
        config::update_binding,
    ),
    rule(
        "scheduling.k8s.io",
        "priorityclasses",
        create_nothing,
        config::update_priority_class,
    ),
    rule(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        config::create_crd,
        config::update_crd,
    ),
];

/// Applies a kind's rule for new objects.
pub(crate) fn on_create(
    resource: &GroupResource,
    object: &mut Object,
    context: &Context<'_>,
) -> Vec<FieldError> {
    find(resource)
        .map(|rule| (rule.create)(object, context))
        .unwrap_or_default()
}

/// Applies a kind's rule for changes.
pub(crate) fn on_update(
    resource: &GroupResource,
    old: &Object,
    new: &mut Object,
    context: &Context<'_>,
) -> Vec<FieldError> {
    find(resource)
        .map(|rule| (rule.update)(old, new, context))
        .unwrap_or_default()
}

fn find(resource: &GroupResource) -> Option<&'static Rule> {
    RULES
        .iter()
        .find(|rule| rule.group == resource.group && rule.plural == resource.resource)
}

fn create_nothing(_: &mut Object, _: &Context<'_>) -> Vec<FieldError> {
    Vec::new()
}

fn update_nothing(_: &Object, _: &mut Object, _: &Context<'_>) -> Vec<FieldError> {
    Vec::new()
}

/// `field is immutable` when a field differs; absent and `null` are the same.
fn immutable(old: &Object, new: &Object, path: &[&str], detail: &str) -> Option<FieldError> {
    use crate::entry::at;
    let (before, after) = (at(old, path), at(new, path));
    if before.filter(|one| !one.is_null()) == after.filter(|one| !one.is_null()) {
        return None;
    }
    Some(FieldError::invalid(
        path.join("."),
        after.unwrap_or(&Value::Null),
        detail,
    ))
}
