//! The real API servers, and the binary working on one of them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use salvor_api::resource::ObjectKey;
use salvor_cluster::{Cluster, DeleteOptions, Wait};
use salvor_objects::diff::comparison::Snapshot;
use salvor_testkit::required_path;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, discover};
use crate::support::{Run, command, connect};

/// A cluster that the tests may change at will.
pub(crate) const FIRST: &str = "SALVOR_E2E_KUBECONFIG";
/// Another one, which has nothing in it.
pub(crate) const SECOND: &str = "SALVOR_E2E_KUBECONFIG_2";

/// For what controllers do on two busy cores.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn patience() -> Wait {
    Wait {
        timeout: PATIENCE,
        cancel: CancellationToken::new(),
    }
}

/// A real cluster, and the binary with a kubeconfig of it.
pub(crate) struct Real {
    pub(crate) cluster: Cluster,
    pub(crate) kubeconfig: PathBuf,
    home: TempDir,
}

impl Real {
    /// The cluster of a variable; `None`, said aloud, when there is none.
    pub(crate) async fn connect(variable: &str) -> Option<Self> {
        let kubeconfig = required_path(variable)?;
        Some(Self::of(kubeconfig).await)
    }

    /// The cluster of a kubeconfig.
    pub(crate) async fn of(kubeconfig: PathBuf) -> Self {
        Self {
            cluster: connect(&kubeconfig).await,
            kubeconfig,
            home: tempfile::tempdir().expect("a folder"),
        }
    }

    /// The binary with this location.
    pub(crate) fn command(&self, location: &str, line: &str) -> Command {
        let mut command = command(self.home.path());
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("SALVOR_LOCATION", location)
            // The S3 server of the tests takes any.
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .args(line.split_whitespace());
        command
    }

    /// Runs the binary.
    pub(crate) fn run(&self, location: &str, line: &str) -> Run {
        let output = self.command(location, line).output();
        output.expect("the binary runs").into()
    }

    /// Every object, once nothing changes any more and nothing is being deleted: controllers have done what
    /// they do, and what earlier tests left is gone.
    pub(crate) async fn settled(&self) -> Snapshot {
        let deadline = Instant::now() + PATIENCE;
        let mut last = self.snapshot().await;
        let mut same = 0;
        // Controllers answer a change within milliseconds, those that retry after a second or two.
        while same < 6 {
            let next = self.snapshot().await;
            let mut moving = changed(&last, &next);
            moving.extend(
                next.objects
                    .iter()
                    .filter_map(|(key, object)| Some(format!("{key} ({})", awaited(key, object)?))),
            );
            same = if moving.is_empty() { same + 1 } else { 0 };
            assert!(Instant::now() < deadline, "still changing: {moving:#?}");
            last = next;
        }
        last
    }

    async fn snapshot(&self) -> Snapshot {
        Snapshot::read(&self.cluster).await.expect("readable")
    }

    /// Deletes everything of a fixture and waits until it is gone.
    pub(crate) async fn remove(&self, fixture: &Fixture) {
        let discovery = discover(&self.cluster).await;
        let patience = patience();
        let named = fixture.outside_namespaces();
        let resource = |version, kind: &str| {
            let found = discovery.find_kind(version, kind);
            found.unwrap_or_else(|| panic!("no {kind}"))
        };
        for (version, kind, name) in &named {
            let (resource, options) = (resource(version, kind), DeleteOptions::default());
            let removed = self.cluster.delete(resource, None, name, &options).await;
            removed.expect("removable");
        }
        for (version, kind, name) in &named {
            let resource = resource(version, kind);
            let gone = self.cluster.wait_gone(resource, None, name, &patience);
            gone.await.expect("gone");
        }
    }
}

/// What a controller has yet to do for an object, where the object tells.
fn awaited(key: &ObjectKey, object: &Value) -> Option<&'static str> {
    let (spec, status) = (&object["spec"], &object["status"]);
    if object["metadata"].get("deletionTimestamp").is_some() {
        return Some("being deleted");
    }
    match key.resource.resource.as_str() {
        "persistentvolumeclaims" => {
            let names_a_volume = spec["volumeName"].is_string();
            (names_a_volume && status["phase"] != "Bound").then_some("not bound")
        }
        "deployments" | "replicasets" | "replicationcontrollers" | "statefulsets" => {
            let is_seen = object["metadata"]["generation"] == status["observedGeneration"];
            // No replicas are no field of the status.
            let replicas = |of: &Value| of["replicas"].as_u64().unwrap_or(0);
            (!is_seen || replicas(spec) != replicas(status)).then_some("not scaled")
        }
        _ => None,
    }
}

/// What was made, written or removed in between. Events, autoscalers, endpoints and their slices are left out:
/// their controllers write them at their own time. What a restore itself writes is counted on its way.
pub(crate) fn changed(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let version = |of: &Snapshot, key: &ObjectKey| {
        let object = of.objects.get(key)?;
        Some(object["metadata"]["resourceVersion"].to_string())
    };
    let keys = before.objects.keys().chain(after.objects.keys());
    let is_left_out = |key: &&ObjectKey| {
        let written_late = [
            "events",
            "horizontalpodautoscalers",
            "endpoints",
            "endpointslices",
        ];
        written_late.contains(&key.resource.resource.as_str())
    };
    let keys: BTreeSet<&ObjectKey> = keys.filter(|key| !is_left_out(key)).collect();
    keys.into_iter()
        .filter(|key| version(before, key) != version(after, key))
        .map(ToString::to_string)
        .collect()
}
