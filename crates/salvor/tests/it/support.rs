//! Running the binary, and a cluster for it to talk to.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use salvor_apiserver::{ApiServer, Options, ServerHandle};
use salvor_cluster::{Cluster, ConnectOptions, DiscoverOptions, WriteOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What a run of the binary left behind.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// Asserts the exit code and returns standard output.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32) -> &str {
        assert_eq!(
            self.code, code,
            "standard output:\n{}\nstandard error:\n{}",
            self.out, self.err
        );
        &self.out
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The binary with nothing of the user's environment.
pub(crate) fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_salvor"));
    command
        .env_clear()
        .env("HOME", home)
        .env("TMPDIR", home)
        .current_dir(home)
        .stdin(std::process::Stdio::null());
    command
}

/// A place for one test: a home folder, a location, and a cluster once it is started.
pub(crate) struct Place {
    pub(crate) home: TempDir,
    runtime: tokio::runtime::Runtime,
    cluster: Option<(ApiServer, ServerHandle)>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            home: tempfile::tempdir().expect("temporary folder"),
            runtime: tokio::runtime::Runtime::new().expect("runtime"),
            cluster: None,
        }
    }

    /// With an API server and a few objects in it.
    pub(crate) fn with_cluster() -> Self {
        let mut this = Self::new();
        this.new_cluster(1);
        this.apply(&shop());
        this
    }

    /// Replaces the cluster by a new, empty one. Another seed is another identity.
    pub(crate) fn new_cluster(&mut self, seed: u64) {
        let (server, handle) = self.runtime.block_on(async {
            let server = ApiServer::memory(Options {
                seed: Some(seed),
                ..Options::default()
            });
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a free port");
            let handle = server.serve(listener).expect("served");
            (server, handle)
        });
        let text = handle.kubeconfig("test");
        std::fs::write(self.kubeconfig(), text).expect("kubeconfig written");
        self.cluster = Some((server, handle));
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.home.path().join("kubeconfig")
    }

    pub(crate) fn location(&self) -> PathBuf {
        self.home.path().join("backups-of-test")
    }

    /// The API server behind the kubeconfig.
    pub(crate) fn server(&self) -> &ApiServer {
        &self.cluster.as_ref().expect("a cluster was started").0
    }

    /// The binary with the location and cluster of this place.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = command(self.home.path());
        command
            .env("KUBECONFIG", self.kubeconfig())
            .env("SALVOR_LOCATION", self.location())
            .args(args);
        command
    }

    /// Runs the binary with the location and cluster of this place.
    pub(crate) fn salvor<S: AsRef<OsStr>>(&self, args: &[S]) -> Run {
        self.command(args).output().expect("the binary runs").into()
    }

    /// Runs the binary with words separated by spaces.
    pub(crate) fn run(&self, line: &str) -> Run {
        self.salvor(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Creates objects.
    pub(crate) fn apply(&self, objects: &[Value]) {
        self.runtime.block_on(async {
            let cluster = self.client().await;
            let discovery = cluster
                .discover(DiscoverOptions::default())
                .await
                .expect("discovery");
            for object in objects {
                let kind = object["kind"].as_str().expect("a kind").to_lowercase();
                let resource = discovery.resolve(&kind).expect("a known kind");
                let namespace = object["metadata"]["namespace"].as_str();
                let body = object.to_string();
                cluster
                    .create(
                        resource,
                        namespace,
                        body.as_bytes(),
                        &WriteOptions::default(),
                    )
                    .await
                    .expect("created");
            }
        });
    }

    /// Deletes an object.
    pub(crate) fn delete(&self, kind: &str, namespace: Option<&str>, name: &str) {
        self.runtime.block_on(async {
            let cluster = self.client().await;
            let discovery = cluster
                .discover(DiscoverOptions::default())
                .await
                .expect("discovery");
            let resource = discovery.resolve(kind).expect("a known kind");
            let options = salvor_cluster::DeleteOptions::default();
            cluster
                .delete(resource, namespace, name, &options)
                .await
                .expect("deleted");
        });
    }

    /// Reads an object.
    pub(crate) fn get(&self, kind: &str, namespace: Option<&str>, name: &str) -> Option<Value> {
        self.runtime.block_on(async {
            let cluster = self.client().await;
            read(&cluster, kind, namespace, name).await
        })
    }

    async fn client(&self) -> Cluster {
        connect(&self.kubeconfig()).await
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

/// A client of the cluster that a kubeconfig names.
pub(crate) async fn connect(kubeconfig: &Path) -> Cluster {
    let options = ConnectOptions {
        kubeconfig: Some(kubeconfig.to_owned()),
        ..ConnectOptions::default()
    };
    Cluster::connect(&options).await.expect("connected")
}

pub(crate) async fn read(
    cluster: &Cluster,
    kind: &str,
    namespace: Option<&str>,
    name: &str,
) -> Option<Value> {
    let discovery = cluster
        .discover(DiscoverOptions::default())
        .await
        .expect("discovery");
    let resource = discovery.resolve(kind).expect("a known kind");
    let bytes = cluster
        .get(resource, namespace, name)
        .await
        .expect("readable")?;
    Some(serde_json::from_slice(&bytes).expect("JSON"))
}

/// A namespace with a small application.
fn shop() -> Vec<Value> {
    let meta = |name: &str| json!({"name": name, "namespace": "shop", "labels": {"app": name}});
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("settings"),
               "data": {"color": "blue"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta("token"),
               "data": {"t": "aHVudGVyMg=="}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("web"),
               "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("web"),
               "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
                        "template": {"metadata": {"labels": {"app": "web"}},
                                     "spec": {"containers": [{"name": "web", "image": "web:1",
                                        "envFrom": [{"configMapRef": {"name": "settings"}}]}]}}}}),
    ]
}
