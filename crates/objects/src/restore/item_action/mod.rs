//! Restore item actions: what each kind of object needs before it can live in a new cluster.
//!
//! One file per action, named as Velero names it; they run in the order of [`ACTIONS`], which is Velero's
//! name order. An action edits the body in place, adds notes (warnings of the item), or says that the
//! item is not restored. Actions are pure: what they know of the target is in [`Rules`].

mod admission_webhook;
mod api_service;
mod change_image_name;
mod change_storage_class;
mod cluster_role_bindings;
mod crd_preserve_fields;
mod init_restore_hook;
mod job;
mod persistent_volume;
mod persistent_volume_claim;
mod pod;
mod pod_volume_restore;
mod role_bindings;
mod secret;
mod service;
mod service_account;

use salvor_api::resource::ObjectKey;
use serde_json::Value;

use super::rules::Rules;
use super::skip::Skip;

pub(crate) use change_image_name::pod_spec_path;
pub(crate) use pod::WAITS_FOR_DATA;

/// One object on its way through the actions.
pub struct Item<'a> {
    /// Its key in the backup: source namespace, and the resource that it is restored as.
    pub key: &'a ObjectKey,
    /// As it stands in the backup, before anything was stripped.
    pub backed_up: &'a Value,
    /// As it will be sent.
    pub body: &'a mut Value,
    /// Warnings about this item.
    pub notes: &'a mut Vec<String>,
}

/// One action: what it applies to and what it does.
struct Action {
    name: &'static str,
    resources: &'static [&'static str],
    run: fn(&mut Item<'_>, &Rules) -> Result<(), Skip>,
}

/// Resources whose objects hold a pod template (or are pods).
const WORKLOADS: &[&str] = &[
    "pods",
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "replicasets.apps",
    "replicationcontrollers",
    "jobs.batch",
    "cronjobs.batch",
];

const ACTIONS: &[Action] = &[
    Action {
        name: "admission-webhook-configuration",
        resources: &[
            "mutatingwebhookconfigurations.admissionregistration.k8s.io",
            "validatingwebhookconfigurations.admissionregistration.k8s.io",
        ],
        run: admission_webhook::run,
    },
    Action {
        name: "apiservice",
        resources: &["apiservices.apiregistration.k8s.io"],
        run: api_service::run,
    },
    Action {
        name: "change-image-name",
        resources: WORKLOADS,
        run: change_image_name::run,
    },
    Action {
        name: "change-storage-class",
        resources: &[
            "persistentvolumes",
            "persistentvolumeclaims",
            "statefulsets.apps",
        ],
        run: change_storage_class::run,
    },
    Action {
        name: "cluster-role-bindings",
        resources: &["clusterrolebindings.rbac.authorization.k8s.io"],
        run: cluster_role_bindings::run,
    },
    Action {
        name: "crd-preserve-fields",
        resources: &["customresourcedefinitions.apiextensions.k8s.io"],
        run: crd_preserve_fields::run,
    },
    Action {
        name: "init-restore-hook",
        resources: &["pods"],
        run: init_restore_hook::run,
    },
    Action {
        name: "job",
        resources: &["jobs.batch"],
        run: job::run,
    },
    Action {
        name: "pod",
        resources: &["pods"],
        run: pod::run,
    },
    Action {
        name: "pod-volume-restore",
        resources: &["pods"],
        run: pod_volume_restore::run,
    },
    Action {
        name: "pv",
        resources: &["persistentvolumes"],
        run: persistent_volume::run,
    },
    Action {
        name: "pvc",
        resources: &["persistentvolumeclaims"],
        run: persistent_volume_claim::run,
    },
    Action {
        name: "role-bindings",
        resources: &["rolebindings.rbac.authorization.k8s.io"],
        run: role_bindings::run,
    },
    Action {
        name: "secret",
        resources: &["secrets"],
        run: secret::run,
    },
    Action {
        name: "service",
        resources: &["services"],
        run: service::run,
    },
    Action {
        name: "service-account",
        resources: &["serviceaccounts"],
        run: service_account::run,
    },
];

/// Runs every action that applies to the item.
///
/// # Errors
/// The first action that asks to leave the item out.
pub fn run(item: &mut Item<'_>, rules: &Rules) -> Result<(), Skip> {
    let resource = item.key.resource.to_string();
    for action in ACTIONS {
        if action.resources.contains(&resource.as_str()) {
            tracing::trace!(item = %item.key, action = action.name, "item action");
            (action.run)(item, rules)?;
        }
    }
    Ok(())
}

/// Removes from `body` what a server, not a user, put there, so that a live object and its restored
/// form are comparable.
pub(crate) fn drop_server_owned(resource: &str, body: &mut Value, keep_node_ports: bool) {
    match resource {
        "pods" => pod::drop_server_owned(body),
        "jobs.batch" => job::drop_generated(body),
        "services" => service::drop_allocated(body, keep_node_ports),
        "serviceaccounts" => service_account::drop_token_secrets(body),
        "secrets" => secret::drop_token(body),
        "persistentvolumes" => persistent_volume::drop_binding(body),
        "persistentvolumeclaims" => persistent_volume_claim::drop_binding(body),
        // `autoscaling/v1` has no other place for this part of the status.
        "horizontalpodautoscalers.autoscaling" => super::body::drop_annotations(
            body,
            &[
                "autoscaling.alpha.kubernetes.io/conditions",
                "autoscaling.alpha.kubernetes.io/current-metrics",
            ],
        ),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
