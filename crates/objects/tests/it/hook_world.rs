//! A cluster whose pods run commands: what they did is written down, and shows in the objects.

use std::sync::{Arc, Mutex, OnceLock};

use salvor_apiserver::{ApiServer, ExecCommand, ExecEnd, ExecHandler, ExecStreams, Options};
use salvor_cluster::{ApiResource, Cluster, WriteOptions};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::world::{World, namespace};

/// What commands see and leave behind.
#[derive(Clone, Default)]
pub(crate) struct Hosts {
    said: Arc<Mutex<Vec<String>>>,
    inner: Arc<OnceLock<Cluster>>,
    /// Commands that hang do so no longer.
    free: CancellationToken,
    /// Cancelled by the command `cancel`.
    pub(crate) cancel: CancellationToken,
}

impl Hosts {
    /// A cluster with namespace `shop` whose pods run these commands: `freeze` and `thaw` mark the pod, its
    /// claims and their volumes; `fail` ends with exit code 3; `cancel` stops the run; `hang` never ends.
    pub(crate) async fn new() -> (World, Self) {
        let hosts = Self::default();
        let mine = hosts.clone();
        let exec = ExecHandler::new(move |command: ExecCommand, streams| {
            let hosts = mine.clone();
            async move { hosts.act(command, streams).await }
        });
        let world = World::served(Options {
            seed: Some(7),
            exec: Some(exec),
            ..Options::default()
        })
        .await;
        let inside = |server: &ApiServer| Cluster::from_service(server.clone(), "inside");
        let set = hosts.inner.set(inside(&world.server));
        assert!(set.is_ok(), "set once");
        world.create(namespace("shop")).await;
        (world, hosts)
    }

    /// The commands that ran, in order: `shop/db main freeze`.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().expect("no panic").clone()
    }

    /// Adds a line of a test's own to the commands.
    pub(crate) fn note(&self, line: &str) {
        self.said.lock().expect("no panic").push(line.to_owned());
    }

    /// Lets commands end that would hang.
    pub(crate) fn let_go(&self) {
        self.free.cancel();
    }

    async fn act(&self, command: ExecCommand, mut to: ExecStreams) -> (ExecStreams, ExecEnd) {
        let ExecCommand {
            namespace,
            pod,
            container,
            command,
            ..
        } = command;
        let word = command.first().map_or("", String::as_str);
        if word != "sh" {
            let line = format!("{namespace}/{pod} {container} {}", command.join(" "));
            self.said.lock().expect("no panic").push(line);
        }
        let end = match word {
            "freeze" | "thaw" => {
                self.mark(&namespace, &pod, word).await;
                ExecEnd::Exit(0)
            }
            "fail" => {
                to.stderr(b"no such device").await;
                ExecEnd::Exit(3)
            }
            "cancel" => {
                self.cancel.cancel();
                ExecEnd::Exit(0)
            }
            "hang" if self.free.is_cancelled() => ExecEnd::Exit(0),
            "hang" => {
                to.gone().await;
                ExecEnd::Cut
            }
            "cut" => ExecEnd::Cut,
            // Nothing is left of a command whose time is up.
            "sh" => {
                to.stdout(b"none\n").await;
                ExecEnd::Exit(0)
            }
            _ => ExecEnd::Exit(0),
        };
        (to, end)
    }

    async fn mark(&self, namespace: &str, pod: &str, state: &str) {
        let patch = json!({"metadata": {"annotations": {"state": state}}}).to_string();
        for (kind, resource, namespace, name) in [
            ("Pod", "pods", Some(namespace), pod.to_owned()),
            (
                "PersistentVolumeClaim",
                "persistentvolumeclaims",
                Some(namespace),
                format!("{pod}-data"),
            ),
            (
                "PersistentVolume",
                "persistentvolumes",
                None,
                format!("{pod}-volume"),
            ),
        ] {
            let resource = ApiResource::known("", "v1", kind, resource, namespace.is_some());
            let cluster = self.inner.get().expect("set when the world was made");
            let options = WriteOptions::default();
            // Not every pod has a claim.
            let _ = cluster
                .merge_patch(
                    &resource,
                    namespace,
                    &name,
                    None,
                    patch.as_bytes(),
                    &options,
                )
                .await;
        }
    }
}

/// A pod of `shop` that runs, with two containers, a claim and its volume.
pub(crate) async fn pod_with_data(world: &World, name: &str, annotations: Value) -> Value {
    let (claim, volume) = (format!("{name}-data"), format!("{name}-volume"));
    world
        .create(json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/tmp/x"},
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "shop", "name": claim}}}))
        .await;
    world
        .create(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"namespace": "shop", "name": claim},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
                "volumeName": volume}}))
        .await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name, "annotations": annotations, "labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": "i"}, {"name": "side", "image": "i"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]}});
    let stored = world.create(pod).await;
    set_status(world, name, json!({"phase": "Running"})).await;
    stored
}

/// Writes the status of a pod of `shop`.
pub(crate) async fn set_status(world: &World, pod: &str, status: Value) {
    let pods = world.resource("pods").await;
    let patch = json!({"status": status}).to_string();
    let options = WriteOptions::default();
    let patched = world
        .cluster
        .merge_patch(
            &pods,
            Some("shop"),
            pod,
            Some("status"),
            patch.as_bytes(),
            &options,
        )
        .await;
    patched.expect("patched");
}
