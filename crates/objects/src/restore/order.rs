//! When each resource is restored: stages with a barrier between them, and Velero's priorities inside.
//!
//! A barrier means that every item of the stage was attempted, not that each succeeded; what failed for a
//! reason that may pass waits in the deferred queue. Velero restores one item at a time along one list;
//! here the list only says which stage an item belongs to and in which order a plan is printed.
//!
//! Two places differ from Velero on purpose. Admission configurations come last (in Velero they fall in
//! the alphabetical middle, and a fail-closed webhook whose backend is not up yet then refuses what
//! follows), and so do aggregated APIs. Runtime classes and CSI drivers come before pods, because
//! admission looks at them.

use std::fmt;

use salvor_api::resource::GroupResource;
use serde::{Deserialize, Serialize};

/// One stage of a restore, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Custom resource definitions; waited for until they are established.
    Definitions,
    /// Namespaces; waited for until they are active.
    Namespaces,
    /// Storage and snapshot classes, snapshot contents, persistent volumes.
    Volumes,
    /// Claims and snapshots.
    Claims,
    /// Roles and service accounts: a controller deletes a token whose account is not there.
    Accounts,
    /// Bindings, secrets, config maps, limits, priority classes.
    Settings,
    /// Data of claims, before anything that could mount them; see [`super::volume_data`].
    Data,
    /// Pods, before their controllers, which adopt them.
    Pods,
    /// Replica sets and revisions, before the workloads that own them.
    ReplicaSets,
    /// Endpoints and services.
    Services,
    /// Everything that is in no other stage.
    Rest,
    /// Cluster API and package managers, which act on what stands already.
    Packages,
    /// Aggregated APIs.
    ApiServices,
    /// Admission webhooks and policies.
    Admission,
}

impl Stage {
    /// All stages, first to last.
    pub const ALL: [Stage; 14] = [
        Stage::Definitions,
        Stage::Namespaces,
        Stage::Volumes,
        Stage::Claims,
        Stage::Accounts,
        Stage::Settings,
        Stage::Data,
        Stage::Pods,
        Stage::ReplicaSets,
        Stage::Services,
        Stage::Rest,
        Stage::Packages,
        Stage::ApiServices,
        Stage::Admission,
    ];

    /// The stage's name in plans and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Definitions => "definitions",
            Stage::Namespaces => "namespaces",
            Stage::Volumes => "volumes",
            Stage::Claims => "claims",
            Stage::Accounts => "accounts",
            Stage::Settings => "settings",
            Stage::Data => "data",
            Stage::Pods => "pods",
            Stage::ReplicaSets => "replica-sets",
            Stage::Services => "services",
            Stage::Rest => "rest",
            Stage::Packages => "packages",
            Stage::ApiServices => "api-services",
            Stage::Admission => "admission",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Resources with a place of their own, in order.
const PLACES: &[(&str, Stage)] = &[
    (
        "customresourcedefinitions.apiextensions.k8s.io",
        Stage::Definitions,
    ),
    ("namespaces", Stage::Namespaces),
    ("storageclasses.storage.k8s.io", Stage::Volumes),
    ("csidrivers.storage.k8s.io", Stage::Volumes),
    ("volumeattributesclasses.storage.k8s.io", Stage::Volumes),
    (
        "volumesnapshotclasses.snapshot.storage.k8s.io",
        Stage::Volumes,
    ),
    (
        "volumesnapshotcontents.snapshot.storage.k8s.io",
        Stage::Volumes,
    ),
    ("persistentvolumes", Stage::Volumes),
    ("volumesnapshots.snapshot.storage.k8s.io", Stage::Claims),
    ("datauploads.velero.io", Stage::Claims),
    ("persistentvolumeclaims", Stage::Claims),
    ("clusterroles.rbac.authorization.k8s.io", Stage::Accounts),
    ("roles.rbac.authorization.k8s.io", Stage::Accounts),
    ("serviceaccounts", Stage::Accounts),
    (
        "clusterrolebindings.rbac.authorization.k8s.io",
        Stage::Settings,
    ),
    ("rolebindings.rbac.authorization.k8s.io", Stage::Settings),
    ("secrets", Stage::Settings),
    ("configmaps", Stage::Settings),
    ("limitranges", Stage::Settings),
    ("priorityclasses.scheduling.k8s.io", Stage::Settings),
    ("runtimeclasses.node.k8s.io", Stage::Settings),
    ("pods", Stage::Pods),
    ("replicasets.apps", Stage::ReplicaSets),
    ("replicasets.extensions", Stage::ReplicaSets),
    // Before their stateful and daemon sets, whose controllers would make others and number them anew.
    ("controllerrevisions.apps", Stage::ReplicaSets),
    ("clusterclasses.cluster.x-k8s.io", Stage::ReplicaSets),
    ("endpoints", Stage::Services),
    ("services", Stage::Services),
    ("clusterbootstraps.run.tanzu.vmware.com", Stage::Packages),
    ("clusters.cluster.x-k8s.io", Stage::Packages),
    (
        "clusterresourcesets.addons.cluster.x-k8s.io",
        Stage::Packages,
    ),
    ("apps.kappctrl.k14s.io", Stage::Packages),
    ("packageinstalls.packaging.carvel.dev", Stage::Packages),
    ("apiservices.apiregistration.k8s.io", Stage::ApiServices),
    (
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        Stage::Admission,
    ),
    (
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        Stage::Admission,
    ),
    (
        "mutatingadmissionpolicies.admissionregistration.k8s.io",
        Stage::Admission,
    ),
    (
        "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
        Stage::Admission,
    ),
    (
        "validatingadmissionpolicies.admissionregistration.k8s.io",
        Stage::Admission,
    ),
    (
        "validatingadmissionpolicybindings.admissionregistration.k8s.io",
        Stage::Admission,
    ),
];

/// The stage of a resource.
#[must_use]
pub fn stage_of(resource: &GroupResource) -> Stage {
    place_of(resource).map_or(Stage::Rest, |(_, stage)| stage)
}

/// Where a resource stands in a printed plan: stages in order, Velero's list inside them, the rest by
/// name.
#[must_use]
pub fn sort_key(resource: &GroupResource) -> (Stage, usize, String) {
    let (rank, stage) = place_of(resource).unwrap_or((PLACES.len(), Stage::Rest));
    (stage, rank, resource.to_string())
}

fn place_of(resource: &GroupResource) -> Option<(usize, Stage)> {
    let name = resource.to_string();
    PLACES
        .iter()
        .position(|(known, _)| *known == name)
        .map(|at| (at, PLACES[at].1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(names: &[&str]) -> Vec<String> {
        let mut list: Vec<GroupResource> = names
            .iter()
            .map(|name| name.parse().expect("a resource"))
            .collect();
        list.sort_by_key(sort_key);
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn definitions_come_first_unknown_resources_by_name_and_webhooks_last() {
        assert_eq!(
            sorted(&[
                "validatingwebhookconfigurations.admissionregistration.k8s.io",
                "apiservices.apiregistration.k8s.io",
                "statefulsets.apps",
                "deployments.apps",
                "clusters.cluster.x-k8s.io",
                "services",
                "endpoints",
                "replicasets.apps",
                "pods",
                "configmaps",
                "serviceaccounts",
                "persistentvolumeclaims",
                "persistentvolumes",
                "storageclasses.storage.k8s.io",
                "namespaces",
                "networkpolicies.networking.k8s.io",
                "customresourcedefinitions.apiextensions.k8s.io",
            ]),
            [
                "customresourcedefinitions.apiextensions.k8s.io",
                "namespaces",
                "storageclasses.storage.k8s.io",
                "persistentvolumes",
                "persistentvolumeclaims",
                "serviceaccounts",
                "configmaps",
                "pods",
                "replicasets.apps",
                "endpoints",
                "services",
                "deployments.apps",
                "networkpolicies.networking.k8s.io",
                "statefulsets.apps",
                "clusters.cluster.x-k8s.io",
                "apiservices.apiregistration.k8s.io",
                "validatingwebhookconfigurations.admissionregistration.k8s.io",
            ]
        );
    }

    #[test]
    fn a_token_is_not_restored_beside_its_account() {
        let stage = |name: &str| stage_of(&name.parse().expect("a resource"));
        assert!(stage("serviceaccounts") < stage("secrets"));
        assert!(stage("secrets") < stage("pods"));
    }

    #[test]
    fn places_stand_in_stage_order() {
        assert!(PLACES.is_sorted_by_key(|(_, stage)| *stage));
        assert!(Stage::ALL.is_sorted());
    }
}
