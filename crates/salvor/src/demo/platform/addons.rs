//! Vault, Argo CD, and SigNoz on ClickHouse.

use serde_json::{Value, json};

use super::shapes::{Workload, config_map, metadata, secret, service, service_account};
use super::{APPLICATIONS, Planned};

/// A custom resource; `kind` carries its API version: `argoproj.io/v1alpha1/AppProject`.
fn custom(resource: &'static str, kind: &str, namespace: &str, name: &str, spec: Value) -> Planned {
    let (api_version, kind) = kind.rsplit_once('/').unwrap_or(("v1", kind));
    Planned::new(
        resource,
        json!({
            "apiVersion": api_version, "kind": kind,
            "metadata": metadata(namespace, name, name, namespace),
            "spec": spec,
        }),
    )
}

/// A Deployment with its service account and Service, named `namespace/name`.
fn deployed(place: (&str, &str), image: &str, port: u16, replicas: usize) -> Vec<Planned> {
    let (namespace, name) = place;
    let mut all = vec![
        service_account(namespace, name, namespace),
        service(namespace, name, namespace, port, false),
    ];
    let workload = Workload {
        namespace,
        name,
        part_of: namespace,
        image,
        port,
        replicas,
    };
    all.extend(workload.deployment());
    all
}

/// A StatefulSet with its service account.
fn stored(
    place: (&str, &str),
    image: &str,
    port: u16,
    replicas: usize,
    size: &str,
) -> Vec<Planned> {
    let (namespace, name) = place;
    let mut all = vec![service_account(namespace, name, namespace)];
    let workload = Workload {
        namespace,
        name,
        part_of: namespace,
        image,
        port,
        replicas,
    };
    all.extend(workload.stateful_set(size));
    all
}

/// Vault: three members, the injector, and what applications take from it.
pub(super) fn vault() -> Vec<Planned> {
    let mut all = vec![
        config_map(
            "vault",
            "vault-server-config",
            "vault",
            json!({"vault.hcl": "ui = true\nstorage \"raft\" { path = \"/vault/data\" }\n"}),
        ),
        secret(
            "vault",
            "vault-server-tls",
            "vault",
            json!({"tls.crt": "ZGVtbw==", "tls.key": "ZGVtbw=="}),
        ),
    ];
    all.extend(stored(
        ("vault", "vault"),
        "hashicorp/vault:1.18",
        8200,
        3,
        "10Gi",
    ));
    let injector = ("vault", "vault-agent-injector");
    all.extend(deployed(injector, "hashicorp/vault-k8s:1.5", 8080, 1));
    for environment in ["production", "staging"] {
        let role = format!("shop-{environment}");
        all.push(custom(
            "vaultauths.secrets.hashicorp.com",
            "secrets.hashicorp.com/v1alpha1/VaultAuth",
            environment,
            "shop",
            json!({
                "method": "kubernetes", "mount": "kubernetes",
                "kubernetes": {"role": role, "serviceAccount": "api-gateway"},
            }),
        ));
        for app in APPLICATIONS {
            all.push(custom(
                "vaultstaticsecrets.secrets.hashicorp.com",
                "secrets.hashicorp.com/v1alpha1/VaultStaticSecret",
                environment,
                app,
                json!({
                    "vaultAuthRef": "shop",
                    "type": "kv-v2",
                    "mount": "shop",
                    "path": format!("{environment}/{app}"),
                    "refreshAfter": "60s",
                    "destination": {"name": format!("{app}-token")},
                }),
            ));
        }
    }
    all
}

/// Argo CD with its projects and applications.
pub(super) fn argocd() -> Vec<Planned> {
    let mut all = Vec::new();
    for (name, key, value) in [
        ("argocd-cm", "url", "https://argocd.example.com"),
        ("argocd-rbac-cm", "policy.default", "role:readonly"),
        ("argocd-cmd-params-cm", "server.insecure", "false"),
        (
            "argocd-notifications-cm",
            "service.slack",
            "token: $slack-token",
        ),
        (
            "argocd-ssh-known-hosts-cm",
            "ssh_known_hosts",
            "git.example.com ssh-ed25519 AAAA",
        ),
        ("argocd-tls-certs-cm", "git.example.com", "demo"),
    ] {
        all.push(config_map("argocd", name, "argocd", json!({key: value})));
    }
    for name in [
        "argocd-secret",
        "repo-shop",
        "repo-platform",
        "cluster-seoul",
    ] {
        all.push(secret(
            "argocd",
            name,
            "argocd",
            json!({"token": "ZGVtbw=="}),
        ));
    }
    for (name, port, replicas) in [
        ("argocd-server", 8080, 2),
        ("argocd-repo-server", 8081, 2),
        ("argocd-applicationset-controller", 7000, 1),
        ("argocd-notifications-controller", 9001, 1),
        ("argocd-dex-server", 5556, 1),
        ("argocd-redis", 6379, 1),
    ] {
        let image = "quay.io/argoproj/argocd:v3.1";
        all.extend(deployed(("argocd", name), image, port, replicas));
    }
    for project in ["shop", "platform", "observability"] {
        all.push(custom(
            "appprojects.argoproj.io",
            "argoproj.io/v1alpha1/AppProject",
            "argocd",
            project,
            json!({
                "description": format!("applications of {project}"),
                "sourceRepos": ["https://git.example.com/*"],
                "destinations": [{"namespace": "*", "server": "https://kubernetes.default.svc"}],
            }),
        ));
    }
    let application = |name: &str, project: &str, path: String, namespace: &str| {
        let target = json!({"server": "https://kubernetes.default.svc", "namespace": namespace});
        custom(
            "applications.argoproj.io",
            "argoproj.io/v1alpha1/Application",
            "argocd",
            name,
            json!({
                "project": project,
                "source": {
                    "repoURL": format!("https://git.example.com/{project}.git"),
                    "path": path,
                    "targetRevision": "main",
                },
                "destination": target,
                "syncPolicy": {"automated": {"prune": true, "selfHeal": true}},
            }),
        )
    };
    for environment in ["production", "staging"] {
        for app in APPLICATIONS {
            let name = format!("{app}-{environment}");
            let path = format!("{app}/overlays/{environment}");
            all.push(application(&name, "shop", path, environment));
        }
    }
    for name in ["vault", "signoz"] {
        all.push(application(
            name,
            "platform",
            format!("addons/{name}"),
            name,
        ));
    }
    all
}

/// SigNoz and the ClickHouse below it.
pub(super) fn signoz() -> Vec<Planned> {
    let layout = json!({"shardsCount": 1, "replicasCount": 2});
    let mut all = vec![
        custom(
            "clickhouseinstallations.clickhouse.altinity.com",
            "clickhouse.altinity.com/v1alpha1/ClickHouseInstallation",
            "signoz",
            "signoz-clickhouse",
            json!({
                "configuration": {
                    "clusters": [{"name": "cluster", "layout": layout}],
                    "zookeeper": {"nodes": [{"host": "signoz-zookeeper", "port": 2181}]},
                    "users": {"admin/networks/ip": ["10.0.0.0/8"]},
                },
                "defaults": {"templates": {"dataVolumeClaimTemplate": "data"}},
            }),
        ),
        custom(
            "clickhouseoperatorconfigurations.clickhouse.altinity.com",
            "clickhouse.altinity.com/v1alpha1/ClickHouseOperatorConfiguration",
            "signoz",
            "operator",
            json!({"watch": {"namespaces": ["signoz"]}, "reconcile": {"threadsNumber": 4}}),
        ),
        secret(
            "signoz",
            "clickhouse-admin",
            "signoz",
            json!({"password": "ZGVtbw=="}),
        ),
    ];
    let clickhouse = ("signoz", "signoz-clickhouse");
    let image = "clickhouse/clickhouse-server:25.3";
    all.extend(stored(clickhouse, image, 9000, 2, "100Gi"));
    let zookeeper = ("signoz", "signoz-zookeeper");
    all.extend(stored(zookeeper, "zookeeper:3.9", 2181, 3, "8Gi"));
    for (name, port) in [
        ("signoz-frontend", 3301),
        ("signoz-query-service", 8080),
        ("signoz-alertmanager", 9093),
        ("signoz-otel-collector", 4317),
        ("clickhouse-operator", 8888),
    ] {
        all.extend(deployed(("signoz", name), "signoz/signoz:0.90", port, 1));
    }
    for app in APPLICATIONS {
        for view in ["latency", "errors"] {
            let panel = format!(r#"{{"query":"{view}{{app='{app}'}}"}}"#);
            let dashboard = format!(r#"{{"title":"{app} {view}","panels":[{panel}]}}"#);
            all.push(config_map(
                "signoz",
                &format!("dashboard-{app}-{view}"),
                "signoz",
                json!({"dashboard.json": dashboard}),
            ));
        }
    }
    let labels = json!({"app.kubernetes.io/name": "signoz-k8s-infra"});
    let container = json!({
        "name": "collector", "image": "otel/opentelemetry-collector-contrib:0.120.0",
    });
    all.push(Planned::new(
        "daemonsets.apps",
        json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": metadata("signoz", "signoz-k8s-infra", "signoz-k8s-infra", "signoz"),
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        }),
    ));
    all
}
