//! The node agent: a DaemonSet that needs no right on its node, the account of the movers that it makes, and what the
//! server needs to hold claims.

use serde_json::{Value, json};

use salvor_seal::repository_key::{SECRET, VELERO_SECRET};
use salvor_volume::agent::ACCOUNT;
use salvor_volume::place::KUBELET_ROOT;

use super::rbac::{account, binding, cluster_binding_of, cluster_role, named, role, rule};
use super::workload::{credentials_of, limits, pod_security};
use super::{CREDENTIALS, Install, Resources, labels};

/// Name of the DaemonSet, as in Velero, and of its account.
pub const NODE_AGENT: &str = salvor_volume::NODE_AGENT;
/// Port of its probes.
const HEALTH: u16 = 8085;

/// How node agents are installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAgent {
    /// What each agent asks for and may use.
    pub resources: Resources,
    /// Whether movers are privileged.
    pub privileged: bool,
    /// Folder of the nodes' kubelets.
    pub kubelet_root: String,
    /// Velero's ConfigMap with settings of node agents; empty for none.
    pub config_map: String,
    /// Labels of its pods, beside ours.
    pub labels: std::collections::BTreeMap<String, String>,
}

impl Default for NodeAgent {
    /// It watches a few objects and makes pods.
    fn default() -> Self {
        Self {
            resources: Resources {
                cpu_request: "10m".to_owned(),
                memory_request: "32Mi".to_owned(),
                cpu_limit: "0".to_owned(),
                memory_limit: "256Mi".to_owned(),
            },
            privileged: false,
            kubelet_root: KUBELET_ROOT.to_owned(),
            config_map: String::new(),
            labels: std::collections::BTreeMap::new(),
        }
    }
}

pub(super) fn manifests(install: &Install) -> Vec<Value> {
    let Some(agent) = &install.node_agent else {
        return Vec::new();
    };
    let name = format!("{}-{NODE_AGENT}", install.cluster_name());
    let holds = format!("{}-volumes", install.cluster_name());
    vec![
        account(install, NODE_AGENT),
        // Which directory of the node a volume is follows from these.
        cluster_role(
            &name,
            vec![rule(
                &[""],
                &[
                    "nodes",
                    "pods",
                    "persistentvolumeclaims",
                    "persistentvolumes",
                ],
                &["get"],
            )],
        ),
        cluster_binding_of(&name, install, NODE_AGENT),
        role(install, NODE_AGENT, agent_rules()),
        binding(install, NODE_AGENT),
        account(install, ACCOUNT),
        role(install, ACCOUNT, mover_rules()),
        binding(install, ACCOUNT),
        // Pods of the server's hold claims that no other pod mounts.
        cluster_role(
            &holds,
            vec![
                rule(&[""], &["pods"], &["get", "list", "create", "delete"]),
                rule(&[""], &["events", "nodes"], &["list"]),
            ],
        ),
        cluster_binding_of(&holds, install, super::NAME),
        daemon_set(install, agent),
    ]
}

fn agent_rules() -> Vec<Value> {
    let objects = ["podvolumebackups", "podvolumerestores"];
    vec![
        rule(&["velero.io"], &objects, &["get", "list", "watch", "patch"]),
        rule(&["velero.io"], &["backupstoragelocations"], &["get"]),
        rule(
            &[""],
            &["pods"],
            &["get", "list", "watch", "create", "delete"],
        ),
        // Why a mover does not begin.
        rule(&[""], &["events"], &["list"]),
        rule(&[""], &["configmaps"], &["get"]),
        // Of the key of the repositories follow the passwords that movers get, each that of one repository.
        named(&["secrets"], &[SECRET, VELERO_SECRET], &["get"]),
        rule(&[""], &["secrets"], &["create"]),
    ]
}

fn mover_rules() -> Vec<Value> {
    let objects = ["podvolumebackups", "podvolumerestores"];
    vec![
        rule(&["velero.io"], &objects, &["get", "patch"]),
        rule(&["velero.io"], &["backupstoragelocations"], &["get"]),
    ]
}

fn agent_labels() -> Value {
    // `name` and `role` are Velero's: what looks for its agents finds ours.
    json!({"app.kubernetes.io/name": "salvor-node-agent", "component": "velero",
        "name": NODE_AGENT, "role": NODE_AGENT})
}

fn daemon_set(install: &Install, agent: &NodeAgent) -> Value {
    let mut pod_labels = agent_labels();
    for (key, value) in &agent.labels {
        pod_labels[key] = json!(value);
    }
    let mut volumes = vec![json!({"name": "tmp", "emptyDir": {}})];
    if install.credentials.is_some() {
        let secret = json!({"secretName": CREDENTIALS.0, "defaultMode": 0o440});
        volumes.push(json!({"name": CREDENTIALS.0, "secret": secret}));
    }
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": NODE_AGENT, "namespace": install.namespace, "labels": labels()},
        "spec": {
            "selector": {"matchLabels": {"name": NODE_AGENT}},
            "template": {
                "metadata": {"labels": pod_labels},
                "spec": {
                    "serviceAccountName": NODE_AGENT,
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    // Where there are volumes, there is an agent.
                    "tolerations": [{"operator": "Exists"}],
                    "securityContext": pod_security(),
                    "containers": [container(install, agent)],
                    "volumes": volumes,
                },
            },
        },
    })
}

fn container(install: &Install, agent: &NodeAgent) -> Value {
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    let mut env = vec![
        json!({"name": "NODE_NAME", "valueFrom": field("spec.nodeName")}),
        json!({"name": "POD_NAME", "valueFrom": field("metadata.name")}),
        json!({"name": "HOME", "value": "/tmp"}),
    ];
    let mut mounts = vec![json!({"name": "tmp", "mountPath": "/tmp"})];
    // The agent itself uses none of them: movers are made after it.
    if install.credentials.is_some() {
        let (variables, mount) = credentials_of();
        env.extend(variables);
        mounts.push(mount);
    }
    let mut arguments = vec![
        "node-agent".to_owned(),
        format!("--namespace={}", install.namespace),
        format!("--health-address=0.0.0.0:{HEALTH}"),
    ];
    if agent.kubelet_root != KUBELET_ROOT {
        arguments.push(format!("--kubelet-root-dir={}", agent.kubelet_root));
    }
    if agent.privileged {
        arguments.push("--privileged-movers".to_owned());
    }
    if !agent.config_map.is_empty() {
        arguments.push(format!("--node-agent-configmap={}", agent.config_map));
    }
    let probe = |path: &str, period: u32| json!({"httpGet": {"path": path, "port": "health"}, "periodSeconds": period, "timeoutSeconds": 5});
    json!({
        "name": NODE_AGENT,
        "image": install.image,
        "imagePullPolicy": "IfNotPresent",
        "args": arguments,
        "env": env,
        "ports": [{"name": "health", "containerPort": HEALTH}],
        "livenessProbe": probe("/healthz", 20),
        "readinessProbe": probe("/readyz", 5),
        "resources": limits(&agent.resources),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    })
}
