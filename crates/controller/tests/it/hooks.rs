//! Hooks of backups and restores that the server makes, and what a server that is killed between them leaves to the next.

use std::sync::{Arc, Mutex};

use salvor_api::labels;
use salvor_api::velero::{Backup, BackupPhase, Restore, RestorePhase};
use salvor_apiserver::{
    ApiServer, ExecCommand, ExecEnd, ExecHandler, ExecStreams, Options, ServerHandle,
};
use salvor_cluster::{ApiResource, Cluster, ConnectOptions, DeleteOptions, WriteOptions};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::world::{World, until};

struct Hosts {
    world: World,
    said: Arc<Mutex<Vec<String>>>,
    kubeconfig: std::path::PathBuf,
    _served: (ServerHandle, tempfile::TempDir),
}

async fn act(command: ExecCommand, mut to: ExecStreams) -> (ExecStreams, ExecEnd) {
    let end = match command.command.first().map(String::as_str) {
        Some("hang") => {
            to.gone().await;
            ExecEnd::Cut
        }
        Some("fail") => ExecEnd::Exit(1),
        _ => ExecEnd::Exit(0),
    };
    (to, end)
}

impl Hosts {
    async fn new() -> Self {
        let said = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&said);
        let exec = ExecHandler::new(move |command: ExecCommand, streams| {
            let words = command.command.join(" ");
            notes
                .lock()
                .expect("no panic")
                .push(format!("{} {words}", command.pod));
            act(command, streams)
        });
        let api = ApiServer::memory(Options {
            seed: Some(3),
            exec: Some(exec),
            ..Options::default()
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let handle = api.serve(listener).expect("an address");
        let folder = tempfile::tempdir().expect("a folder");
        let kubeconfig = folder.path().join("config");
        std::fs::write(&kubeconfig, handle.kubeconfig("test")).expect("a file");
        let cluster = connect(&kubeconfig).await;
        let hosts = Self {
            world: World::over(api, cluster).await,
            said,
            kubeconfig,
            _served: (handle, folder),
        };
        hosts.pod("db").await;
        hosts
    }

    async fn pod(&self, name: &str) {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"containers": [{"name": "main", "image": "i"}]}});
        self.world.create(pods(), Some("shop"), pod).await;
        self.set_status(name, json!({"phase": "Running"})).await;
    }

    async fn set_status(&self, pod: &str, status: Value) {
        let patch = json!({"status": status}).to_string();
        let options = WriteOptions::default();
        let patched = self
            .world
            .cluster
            .merge_patch(
                &pods(),
                Some("shop"),
                pod,
                Some("status"),
                patch.as_bytes(),
                &options,
            )
            .await;
        patched.expect("patched");
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().expect("no panic").clone()
    }

    async fn until_said(&self, line: &str) {
        until(async || self.said().iter().any(|said| said == line).then_some(())).await;
    }
}

fn pods() -> ApiResource {
    ApiResource::known("", "v1", "Pod", "pods", true)
}

async fn connect(kubeconfig: &std::path::Path) -> Cluster {
    let options = ConnectOptions {
        kubeconfig: Some(kubeconfig.to_owned()),
        ..ConnectOptions::default()
    };
    Cluster::connect(&options).await.expect("connected")
}

fn with_hooks(backup: &mut Backup, pre: &str, post: &[&str]) {
    let post: Vec<_> = post
        .iter()
        .map(|word| json!({"exec": {"command": [word]}}))
        .collect();
    let pre = json!([{"exec": {"command": [pre], "timeout": "10m"}}]);
    backup.spec.hooks.resources = vec![json!({"name": "a", "pre": pre, "post": post})];
}

fn is_final(backup: &Backup) -> bool {
    backup.status.phase.is_final()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_run_and_are_counted_in_the_status() {
    let hosts = Hosts::new().await;
    let server = hosts.world.serve();
    for (name, pre, phase, failed) in [
        ("good", "freeze", BackupPhase::Completed, 0),
        ("bad", "fail", BackupPhase::PartiallyFailed, 1),
    ] {
        hosts
            .world
            .back_up(name, |backup| with_hooks(backup, pre, &["thaw"]))
            .await;
        let backup: Backup = hosts.world.until(name, is_final).await;
        let status = backup.status.hook_status.expect("counted");
        assert_eq!((status.hooks_attempted, status.hooks_failed), (2, failed));
        assert_eq!(backup.status.phase, phase);
        assert!(!backup.metadata.annotations.contains_key(labels::OPEN_HOOKS));
    }
    server.stop().await;
    assert_eq!(hosts.said(), ["db freeze", "db thaw", "db fail", "db thaw"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_ends_after_the_hooks_of_its_pods() {
    for (word, phase) in [
        ("load", RestorePhase::Completed),
        ("fail", RestorePhase::PartiallyFailed),
    ] {
        let hosts = Hosts::new().await;
        let server = hosts.world.serve();
        hosts.world.back_up("b", |_| ()).await;
        let _: Backup = hosts.world.until("b", is_final).await;
        let options = DeleteOptions::default();
        let cluster = &hosts.world.cluster;
        cluster
            .delete(&pods(), Some("shop"), "db", &options)
            .await
            .expect("deleted");
        let mut restore = Restore::named(crate::world::NAMESPACE, "r");
        restore.spec.backup_name = "b".to_owned();
        let hook = json!({"exec": {"command": [word]}});
        restore.spec.hooks.resources = vec![json!({"name": "a", "postHooks": [hook]})];
        hosts.world.kinds().create(&restore).await.expect("created");
        until(async || {
            let found = hosts.world.cluster.get(&pods(), Some("shop"), "db").await;
            found.expect("readable")
        })
        .await;
        // It waits for the container, and says what is left to do.
        let _: Restore = hosts
            .world
            .until("r", |r: &Restore| {
                r.status.phase == RestorePhase::Finalizing
            })
            .await;
        let status = json!({"phase": "Running",
            "containerStatuses": [{"name": "main", "ready": true, "state": {"running": {}}}]});
        hosts.set_status("db", status).await;
        let restore: Restore = hosts
            .world
            .until("r", |r: &Restore| r.status.phase.is_final())
            .await;
        server.stop().await;
        let status = restore.status.hook_status.expect("counted");
        let failed = i64::from(word == "fail");
        assert_eq!((status.hooks_attempted, status.hooks_failed), (1, failed));
        assert_eq!(
            (restore.status.phase, restore.status.errors),
            (phase, failed)
        );
        assert_eq!(hosts.said(), [format!("db {word}")]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_backup_lets_its_pods_go() {
    let hosts = Hosts::new().await;
    let server = hosts.world.serve();
    hosts
        .world
        .back_up("b", |backup| with_hooks(backup, "hang", &["thaw"]))
        .await;
    hosts.until_said("db hang").await;
    hosts
        .world
        .annotate::<Backup>("b", labels::CANCEL, "true")
        .await;
    let backup: Backup = hosts.world.until("b", is_final).await;
    server.stop().await;
    assert_eq!(backup.status.phase, BackupPhase::Failed);
    assert_eq!(hosts.said().last().map(String::as_str), Some("db thaw"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_leader_runs_the_post_hooks_that_a_killed_one_left() {
    for (post, event, text) in [
        (
            ["thaw", "tell"],
            "PostHooksRun",
            "2 post hooks were run now",
        ),
        (
            ["fail", "tell"],
            "PostHooksNotRun",
            "its post hooks may not have run, look at it",
        ),
    ] {
        let hosts = Hosts::new().await;
        hosts
            .world
            .back_up("b", |backup| with_hooks(backup, "hang", &post))
            .await;
        // A runtime of its own: what is killed is everything, tasks and threads.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("runtime");
        let path = hosts.kubeconfig.clone();
        let cluster = runtime
            .spawn(async move { connect(&path).await })
            .await
            .expect("no panic");
        let server = hosts.world.server(&cluster, "first");
        runtime.spawn(async move { server.run(&CancellationToken::new()).await });
        hosts.until_said("db hang").await;
        runtime.shutdown_background();
        let left: Backup = hosts.world.get("b").await.expect("there");
        assert!(left.metadata.annotations[labels::OPEN_HOOKS].contains("\"name\":\"db\""));

        let server = hosts.world.serve();
        let backup: Backup = hosts.world.until("b", is_final).await;
        hosts.world.until_event("b", event, |_| true).await;
        server.stop().await;
        assert_eq!(
            hosts.said(),
            [
                "db hang".to_owned(),
                format!("db {}", post[0]),
                "db tell".to_owned()
            ]
        );
        assert_eq!(backup.status.phase, BackupPhase::Failed);
        let reason = &backup.status.failure_reason;
        assert!(
            reason.starts_with("the server ended while the backup was made"),
            "{reason}"
        );
        assert!(
            reason.contains("pod shop/db was left between its hooks") && reason.contains(text),
            "{reason}"
        );
        assert!(!backup.metadata.annotations.contains_key(labels::OPEN_HOOKS));
    }
}
