//! kubectl, old and new, against this server.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use salvor_apiserver::{ApiServer, Options};
use salvor_archive::archive::Archive;
use serde_json::json;

use crate::stored::archive;

/// kubectl of one release with a folder of its own.
struct Kubectl {
    program: String,
    folder: tempfile::TempDir,
}

impl Kubectl {
    /// Standard output of a run that must end with one of `codes`.
    async fn run(&self, codes: &[i32], arguments: &str) -> String {
        let mut command = Command::new(&self.program);
        command
            .args(arguments.split_whitespace())
            .arg(format!(
                "--kubeconfig={}",
                self.path("kubeconfig").display()
            ))
            .env("HOME", self.folder.path())
            .env_remove("KUBECONFIG");
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .expect("the task is not cancelled")
            .expect("kubectl starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let code = output.status.code().unwrap_or(-1);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            codes.contains(&code),
            "{arguments}: exit {code}\n{text}\n{errors}"
        );
        text
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).expect("the folder is writable");
        self.path(name).display().to_string()
    }
}

const SHOP: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: "nginx:1", env: [{name: A, value: "1"}]}
      - {name: side, image: "side:1"}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
"#;

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, properties: {size: {type: integer}}}}
"#;

const WIDGET: &str = r#"
apiVersion: example.com/v1
kind: Widget
metadata: {name: gear, namespace: shop}
spec: {size: 3}
"#;

async fn works_with(variable: &str, aggregated_discovery: bool) {
    let Some(program) = salvor_testkit::required_var(variable) else {
        return;
    };
    let server = ApiServer::memory(Options {
        aggregated_discovery,
        ..Options::default()
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let handle = server.serve(listener).expect("the listener is bound");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let kubectl = Kubectl { program, folder };
    kubectl.write("kubeconfig", &handle.kubeconfig("test"));

    kubectl.run(&[0], "create namespace shop").await;
    let shop = kubectl.write("shop.yaml", SHOP);
    let applied = kubectl.run(&[0], &format!("apply -f {shop}")).await;
    assert_eq!(
        applied,
        "deployment.apps/web created\nservice/web created\n"
    );
    let again = kubectl.run(&[0], &format!("apply -f {shop}")).await;
    assert_eq!(
        again,
        "deployment.apps/web unchanged\nservice/web unchanged\n"
    );

    let changed = kubectl.write("changed.yaml", &SHOP.replace("side:1", "side:2"));
    let dry = kubectl
        .run(&[0], &format!("apply --dry-run=server -f {changed}"))
        .await;
    assert!(
        dry.contains("deployment.apps/web configured (server dry run)"),
        "{dry}"
    );
    let diff = kubectl.run(&[1], &format!("diff -f {changed}")).await;
    assert!(
        diff.contains("-      - image: side:1") && diff.contains("+      - image: side:2"),
        "{diff}"
    );
    kubectl.run(&[0], &format!("apply -f {changed}")).await;
    kubectl.run(&[0], &format!("diff -f {changed}")).await;

    let table = kubectl.run(&[0], "get deployments -n shop -o wide").await;
    assert!(
        table.contains("0/2") && table.contains("nginx:1,side:2"),
        "{table}"
    );
    let chosen = kubectl
        .run(&[0], "get deployments -A -l app=web -o name")
        .await;
    assert_eq!(chosen, "deployment.apps/web\n");
    let none = kubectl
        .run(&[0], "get deployments -A -l app=none -o name")
        .await;
    assert_eq!(none, "");
    let yaml = kubectl
        .run(&[0], "get deployment web -n shop -o yaml")
        .await;
    assert!(
        yaml.starts_with("apiVersion: apps/v1\nkind: Deployment\n"),
        "{yaml}"
    );
    let described = kubectl.run(&[0], "describe deployment web -n shop").await;
    assert!(described.contains("side:2"), "{described}");
    kubectl
        .run(&[0], "scale deployment web -n shop --replicas=5")
        .await;
    kubectl
        .run(
            &[0],
            r#"patch service web -n shop --type=merge -p {"spec":{"type":"NodePort"}}"#,
        )
        .await;
    kubectl
        .run(&[0], "label service web -n shop tier=front")
        .await;
    let all = kubectl.run(&[0], "get all -n shop").await;
    assert!(all.contains("0/5") && all.contains("80:30000/TCP"), "{all}");

    let definition = kubectl.write("definition.yaml", DEFINITION);
    kubectl.run(&[0], &format!("apply -f {definition}")).await;
    kubectl
        .run(
            &[0],
            "wait --for=condition=Established crd/widgets.example.com",
        )
        .await;
    let widget = kubectl.write("widget.yaml", WIDGET);
    kubectl.run(&[0], &format!("apply -f {widget}")).await;
    let widgets = kubectl.run(&[0], "get wd -n shop").await;
    assert!(
        widgets.contains("SIZE") && widgets.contains("gear"),
        "{widgets}"
    );
    kubectl.run(&[0], "delete crd widgets.example.com").await;

    let versions = kubectl.run(&[0], "api-versions").await;
    assert!(versions.lines().any(|line| line == "apps/v1"), "{versions}");
    let missing = kubectl.run(&[1], "get pod nobody -n shop").await;
    assert_eq!(missing, "");
    kubectl.run(&[0], "delete service web -n shop").await;
    kubectl.run(&[0], "delete namespace shop").await;
    let left = kubectl.run(&[0], "get deployments -A -o name").await;
    assert_eq!(left, "");
    handle.shutdown().await;
}

#[tokio::test]
async fn kubectl_1_20_works() {
    works_with("SALVOR_KUBECTL_1_20", true).await;
}

#[tokio::test]
async fn kubectl_1_32_works() {
    works_with("SALVOR_KUBECTL_1_32", true).await;
}

#[tokio::test]
async fn kubectl_1_32_works_with_a_server_that_has_no_aggregated_discovery() {
    works_with("SALVOR_KUBECTL_1_32", false).await;
}

#[tokio::test]
async fn kubectl_1_36_works() {
    works_with("SALVOR_KUBECTL_1_36", true).await;
}

async fn browses_with(variable: &str) {
    let Some(program) = salvor_testkit::required_var(variable) else {
        return;
    };
    let labels = json!({"app": "web"});
    let (index, file) = archive(&[
        (
            "namespaces",
            "v1",
            true,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"},
            "status": {"phase": "Active"}}),
        ),
        (
            "configmaps",
            "v1",
            true,
            json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "settings", "namespace": "shop", "labels": labels}, "data": {"k": "v"}}),
        ),
        (
            "deployments.apps",
            "v1",
            true,
            json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "labels": labels},
            "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": "nginx:1"}]}}}, "status": {"readyReplicas": 2}}),
        ),
    ]);
    let archive = Archive::open(index, Arc::new(file));
    let server = ApiServer::archive(archive, Options::default()).expect("the archive is whole");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let handle = server.serve(listener).expect("the listener is bound");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let kubectl = Kubectl { program, folder };
    kubectl.write("kubeconfig", &handle.kubeconfig("backup"));

    let all = kubectl.run(&[0], "get all -n shop").await;
    assert!(
        all.contains("deployment.apps/web") && all.contains("2/2"),
        "{all}"
    );
    let chosen = kubectl
        .run(&[0], "get configmaps -A -l app=web -o name")
        .await;
    assert_eq!(chosen, "configmap/settings\n");
    let yaml = kubectl
        .run(&[0], "get configmap settings -n shop -o yaml")
        .await;
    assert!(
        yaml.contains("k: v") && yaml.starts_with("apiVersion: v1\n"),
        "{yaml}"
    );
    let described = kubectl.run(&[0], "describe deployment web -n shop").await;
    assert!(described.contains("nginx:1"), "{described}");
    assert_eq!(kubectl.run(&[0], "get pods -n shop -o name").await, "");
    kubectl.run(&[1], "delete configmap settings -n shop").await;
    handle.shutdown().await;
}

#[tokio::test]
async fn kubectl_1_20_browses_a_backup() {
    browses_with("SALVOR_KUBECTL_1_20").await;
}

#[tokio::test]
async fn kubectl_1_32_browses_a_backup() {
    browses_with("SALVOR_KUBECTL_1_32").await;
}

#[tokio::test]
async fn kubectl_1_36_browses_a_backup() {
    browses_with("SALVOR_KUBECTL_1_36").await;
}
