//! The account of the server and what it may do, no more than its work needs.

use serde_json::{Value, json};

use super::{Install, NAME, Role, labels};
use crate::tls;

/// The core group's resources, without the subresources that reach into pods and nodes.
const CORE: &[&str] = &[
    "configmaps",
    "endpoints",
    "events",
    "limitranges",
    "namespaces",
    "namespaces/finalize",
    "namespaces/status",
    "nodes",
    "persistentvolumeclaims",
    "persistentvolumeclaims/status",
    "persistentvolumes",
    "persistentvolumes/status",
    "pods",
    "pods/status",
    "podtemplates",
    "replicationcontrollers",
    "replicationcontrollers/status",
    "resourcequotas",
    "secrets",
    "serviceaccounts",
    "services",
    "services/status",
];

/// Groups that Kubernetes comes with.
const BUILT_IN: &[&str] = &[
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "velero.io",
];

/// Groups of CSI snapshots, which are no built-in ones.
const SNAPSHOTS: [&str; 2] = ["groupsnapshot.storage.k8s.io", "snapshot.storage.k8s.io"];

pub(super) fn manifests(install: &Install) -> Vec<Value> {
    let cluster = install.cluster_name();
    let mut manifests = vec![
        account(install, NAME),
        cluster_role(&cluster, cluster_rules(install)),
        cluster_binding(&cluster, install),
    ];
    if install.hooks {
        let name = format!("{cluster}-hooks");
        // Over WebSockets a command is started by GET, which newer API servers want to be allowed as `create`.
        let exec = rule(&[""], &["pods/exec"], &["get", "create"]);
        // Pods that a restore brings back are followed until their hooks can run.
        let pods = rule(&[""], &["pods"], &["get", "list", "watch"]);
        manifests.push(cluster_role(&name, vec![exec, pods]));
        manifests.push(cluster_binding(&name, install));
    }
    manifests.push(role(install, NAME, own_rules()));
    manifests.push(binding(install, NAME));
    manifests
}

/// A service account; all of them have the identity in the cloud that was asked for, as all reach the stores.
pub(super) fn account(install: &Install, name: &str) -> Value {
    let mut account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": install.namespace, "labels": labels()},
    });
    if !install.service_account_annotations.is_empty() {
        account["metadata"]["annotations"] = json!(install.service_account_annotations);
    }
    account
}

/// What an account may do in the server's namespace.
pub(super) fn role(install: &Install, account: &str, rules: Vec<Value>) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": account, "namespace": install.namespace, "labels": labels()},
        "rules": rules,
    })
}

/// The binding of an account's role.
pub(super) fn binding(install: &Install, account: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": account, "namespace": install.namespace, "labels": labels()},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
        "subjects": [subject(install, account)],
    })
}

/// In its own namespace: the kinds that it serves, its lease, Events, and what locations and policies name.
fn own_rules() -> Vec<Value> {
    let kinds = ["get", "list", "watch", "create", "patch", "delete"];
    vec![
        rule(&["velero.io"], &["*"], &kinds),
        rule(
            &["coordination.k8s.io"],
            &["leases"],
            &["get", "create", "update"],
        ),
        rule(&[""], &["events"], &["create", "patch"]),
        rule(&[""], &["secrets", "configmaps"], &["get", "list"]),
        // What servers share and what they publish, both installed empty.
        named(&["secrets"], &[tls::SECRET], &["patch"]),
        named(&["configmaps"], &[tls::AUTHORITY], &["patch"]),
        rule(&["apps"], &["deployments"], &["list"]),
    ]
}

fn cluster_rules(install: &Install) -> Vec<Value> {
    let mut verbs = vec!["get", "list"];
    if install.role != Role::BackupOnly {
        verbs.extend(["create", "update", "patch"]);
    }
    if install.role == Role::Full {
        verbs.push("delete");
    }
    let mut rules = match install.api_groups.as_slice() {
        [] => vec![rule(&["*"], &["*"], &verbs)],
        others => {
            let mut groups = BUILT_IN.to_vec();
            groups.extend(others.iter().map(String::as_str));
            groups.sort_unstable();
            groups.dedup();
            vec![rule(&[""], CORE, &verbs), rule(&groups, &["*"], &verbs)]
        }
    };
    if install.role != Role::BackupOnly {
        // A restored role may allow more than the server itself may do.
        rules.push(rule(
            &["rbac.authorization.k8s.io"],
            &["roles", "clusterroles"],
            &["bind", "escalate"],
        ));
    }
    // Whatever the role: a snapshot is taken by making an object and let go by removing it, and backups that go take theirs
    // along. The claims themselves are not touched.
    let whole = ["get", "list", "create", "update", "patch", "delete"];
    rules.push(rule(&SNAPSHOTS, &["*"], &whole));
    let discovery = ["/api", "/api/*", "/apis", "/apis/*", "/version"];
    rules.push(json!({"nonResourceURLs": discovery, "verbs": ["get"]}));
    rules
}

pub(super) fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": groups, "resources": resources, "verbs": verbs})
}

/// For some objects of the core group.
pub(super) fn named(resources: &[&str], names: &[&str], verbs: &[&str]) -> Value {
    let mut rule = rule(&[""], resources, verbs);
    rule["resourceNames"] = json!(names);
    rule
}

pub(super) fn cluster_role(name: &str, rules: Vec<Value>) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": name, "labels": labels()},
        "rules": rules,
    })
}

pub(super) fn cluster_binding(name: &str, install: &Install) -> Value {
    cluster_binding_of(name, install, NAME)
}

/// Binds a role of the cluster to an account.
pub(super) fn cluster_binding_of(name: &str, install: &Install, account: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": name, "labels": labels()},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [subject(install, account)],
    })
}

fn subject(install: &Install, account: &str) -> Value {
    json!({"kind": "ServiceAccount", "name": account, "namespace": install.namespace})
}
