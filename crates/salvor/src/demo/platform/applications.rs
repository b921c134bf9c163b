//! One environment: the applications, their data stores and the rules around them.

use serde_json::json;

use super::shapes::{Workload, config_map, labels, metadata, secret, service, service_account};
use super::{APPLICATIONS, Planned};

/// Everything of `production` or `staging`.
pub(super) fn environment(namespace: &str, replicas: usize) -> Vec<Planned> {
    let mut all = rules(namespace);
    for (port, app) in (8080..).zip(APPLICATIONS) {
        all.extend(application(namespace, app, port, replicas));
    }
    for (name, image, port, size, members) in [
        ("mysql", "mysql:8.4", 3306, "20Gi", 1),
        ("redis", "redis:7.4", 6379, "5Gi", replicas),
    ] {
        all.push(service_account(namespace, name, "shop"));
        all.push(secret(
            namespace,
            &format!("{name}-auth"),
            "shop",
            json!({"username": "c2hvcA==", "password": "ZGVtby1vbmx5"}),
        ));
        all.push(config_map(
            namespace,
            &format!("{name}-config"),
            "shop",
            json!({"server.cnf": format!("# {name} of {namespace}\nmax_connections = 500\n")}),
        ));
        let workload = Workload {
            namespace,
            name,
            part_of: "shop",
            image,
            port,
            replicas: members,
        };
        all.extend(workload.stateful_set(size));
    }
    for (name, schedule) in [
        ("nightly-report", "0 1 * * *"),
        ("session-cleanup", "*/30 * * * *"),
        ("mysql-dump", "0 2 * * *"),
    ] {
        let container = json!({"name": name, "image": "registry.example.com/shop/jobs:2.1"});
        all.push(Planned::new(
            "cronjobs.batch",
            json!({
                "apiVersion": "batch/v1", "kind": "CronJob",
                "metadata": metadata(namespace, name, name, "shop"),
                "spec": {
                    "schedule": schedule,
                    "timeZone": "Asia/Seoul",
                    "concurrencyPolicy": "Forbid",
                    "jobTemplate": {"spec": {"template": {"spec": {
                        "restartPolicy": "OnFailure", "containers": [container],
                    }}}},
                },
            }),
        ));
    }
    all
}

/// Quotas, limits, roles and network policies.
fn rules(namespace: &str) -> Vec<Planned> {
    let mut all = vec![
        Planned::new(
            "resourcequotas",
            json!({
                "apiVersion": "v1", "kind": "ResourceQuota",
                "metadata": {"name": "quota", "namespace": namespace},
                "spec": {"hard": {"pods": "200", "requests.memory": "64Gi"}},
            }),
        ),
        Planned::new(
            "limitranges",
            json!({
                "apiVersion": "v1", "kind": "LimitRange",
                "metadata": {"name": "defaults", "namespace": namespace},
                "spec": {"limits": [{
                    "type": "Container",
                    "default": {"memory": "256Mi"},
                    "defaultRequest": {"cpu": "50m", "memory": "64Mi"},
                }]},
            }),
        ),
        Planned::new(
            "networkpolicies.networking.k8s.io",
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"name": "default-deny", "namespace": namespace},
                "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
            }),
        ),
    ];
    for (role, verbs) in [
        ("viewer", json!(["get", "list", "watch"])),
        (
            "editor",
            json!(["get", "list", "watch", "create", "update", "patch"]),
        ),
        ("deployer", json!(["get", "list", "patch"])),
    ] {
        let group = "rbac.authorization.k8s.io";
        all.push(Planned::new(
            "roles.rbac.authorization.k8s.io",
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
                "metadata": {"name": role, "namespace": namespace},
                "rules": [{"apiGroups": ["", "apps"], "resources": ["*"], "verbs": verbs}],
            }),
        ));
        let subject = format!("shop-{role}s");
        all.push(Planned::new(
            "rolebindings.rbac.authorization.k8s.io",
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": {"name": role, "namespace": namespace},
                "roleRef": {"apiGroup": group, "kind": "Role", "name": role},
                "subjects": [{"apiGroup": group, "kind": "Group", "name": subject}],
            }),
        ));
    }
    all
}

/// One application with everything around it.
fn application(namespace: &str, name: &str, port: u16, replicas: usize) -> Vec<Planned> {
    let level = if namespace == "production" {
        "info"
    } else {
        "debug"
    };
    let mut all = vec![
        service_account(namespace, name, "shop"),
        config_map(
            namespace,
            &format!("{name}-config"),
            "shop",
            json!({
                "ENVIRONMENT": namespace,
                "LOG_LEVEL": level,
                "DATABASE_HOST": format!("mysql.{namespace}.svc"),
                "CACHE_HOST": format!("redis.{namespace}.svc"),
            }),
        ),
        config_map(
            namespace,
            &format!("{name}-features"),
            "shop",
            json!({"features.yaml": format!("app: {name}\nnewCheckout: true\ncanary: 5\n")}),
        ),
        secret(
            namespace,
            &format!("{name}-token"),
            "shop",
            json!({"token": "ZGVtby1vbmx5LXRva2Vu"}),
        ),
        service(namespace, name, "shop", port, false),
    ];
    let workload = Workload {
        namespace,
        name,
        part_of: "shop",
        image: &format!("registry.example.com/shop/{name}:2.1"),
        port,
        replicas,
    };
    all.extend(workload.deployment());
    let scaled = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name});
    let cpu = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}});
    all.push(Planned::new(
        "horizontalpodautoscalers.autoscaling",
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": metadata(namespace, name, name, "shop"),
            "spec": {
                "scaleTargetRef": scaled,
                "minReplicas": replicas,
                "maxReplicas": replicas * 4,
                "metrics": [{"type": "Resource", "resource": cpu}],
            },
        }),
    ));
    all.push(Planned::new(
        "poddisruptionbudgets.policy",
        json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": metadata(namespace, name, name, "shop"),
            "spec": {
                "maxUnavailable": 1,
                "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
            },
        }),
    ));
    all.push(Planned::new(
        "networkpolicies.networking.k8s.io",
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": metadata(namespace, name, name, "shop"),
            "spec": {
                "podSelector": {"matchLabels": {"app.kubernetes.io/name": name}},
                "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"port": port, "protocol": "TCP"}]}],
            },
        }),
    ));
    if matches!(name, "web-frontend" | "api-gateway") {
        let host = format!("{name}.{namespace}.example.com");
        let backend = json!({"service": {"name": name, "port": {"name": "main"}}});
        let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
        all.push(Planned::new(
            "ingresses.networking.k8s.io",
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                "metadata": {
                    "name": name, "namespace": namespace, "labels": labels(name, "shop"),
                    "annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": "8m"},
                },
                "spec": {
                    "ingressClassName": "nginx",
                    "tls": [{"hosts": [host], "secretName": format!("{name}-token")}],
                    "rules": [{"host": host, "http": {"paths": [path]}}],
                },
            }),
        ));
    }
    all
}
