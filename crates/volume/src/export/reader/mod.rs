//! Files of a container whose image has no `tar`, read by an ephemeral container of ours beside it.
//!
//! ```text
//!   salvor                           pod
//!     patch pods/ephemeralcontainers -> reader: `salvor reader stay`, waits for who reads
//!     exec in it                     -> `salvor reader read PATH`: the archive on its standard output
//!                                       it ends, is killed, or nobody takes what it writes: `stay` ends too
//! ```
//!
//! Nobody can take an ephemeral container out of a pod again, so it has to end by itself, whatever becomes of us
//! ([`stay`]). It shares the pod's memory and must not be what makes the application run out of it: nothing that grows
//! with the files is kept ([`tree`]).

pub mod processes;
mod resolve;
mod spec;
pub mod stay;
mod tar_write;
pub mod tree;

use std::time::Duration;

use salvor_cluster::{Cluster, Look, Patch, ServerVersion, Wait, WriteOptions};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::pod::{self, Found};
use super::{ExportError, PodPath};
use spec::Reader;
pub use stay::WAITS;

/// Where the program is in our image.
const PROGRAM: &str = "/salvor";
/// How long the image may take to come and the container to run.
const START: Duration = Duration::from_secs(180);
/// Minor version of Kubernetes 1 since which the subresource is a pod. Before it had a kind of its own.
const IS_A_POD_SINCE: u32 = 22;

/// How files of a container without `tar` are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderOptions {
    /// Image of Salvor.
    pub image: String,
    /// User by number; that of the container when `None`, as far as the pod tells it.
    pub user: Option<i64>,
}

/// An ephemeral container that runs.
pub(super) struct Started {
    /// Its name.
    pub(super) container: String,
    /// What reads the files, to be run in it.
    pub(super) command: Vec<String>,
}

/// Adds the ephemeral container and waits until it runs. The archive may take as long as the first of the times, and
/// nobody may take any of it for as long as the second.
pub(super) async fn start(
    cluster: &Cluster,
    what: &PodPath,
    found: &Found,
    options: &ReaderOptions,
    (limit, stall): (Duration, Duration),
    cancel: &CancellationToken,
) -> Result<Started, ExportError> {
    let reader = Reader::new(found, &what.path, options, &crate::ask::random(), limit);
    add(cluster, what, &reader)
        .await
        .map_err(|source| ExportError::ReaderRefused {
            pod: what.shown_pod(),
            container: found.name().to_owned(),
            source: Box::new(source),
        })?;
    tracing::info!(pod = what.pod, container = reader.name, "reader added");
    until_running(cluster, what, &reader.name, cancel).await?;
    Ok(Started {
        command: reader.command(PROGRAM, &what.path, stall),
        container: reader.name,
    })
}

/// Adds it in the way that the server's version has. The name is random: a repeated request finds its own container.
async fn add(
    cluster: &Cluster,
    what: &PodPath,
    reader: &Reader,
) -> Result<(), salvor_cluster::Error> {
    let (kind, body) = if is_a_pod(&cluster.server_version().await?) {
        let pod = json!({"spec": {"ephemeralContainers": [reader.spec]}});
        (Patch::Strategic, pod)
    } else {
        // Servers that old refuse fields that they do not know in this place.
        let mut container = reader.spec.clone();
        if let Some(fields) = container.as_object_mut() {
            fields.remove("securityContext");
        }
        let added = json!([{"op": "add", "path": "/ephemeralContainers/-", "value": container}]);
        (Patch::Json, added)
    };
    let body = body.to_string();
    cluster
        .patch(
            &pod::pods(),
            Some(&what.namespace),
            &what.pod,
            Some("ephemeralcontainers"),
            kind,
            body.as_bytes(),
            &WriteOptions::default(),
        )
        .await
        .map(drop)
}

fn is_a_pod(version: &ServerVersion) -> bool {
    let digits = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit());
        text[..end.unwrap_or(text.len())].parse::<u32>().ok()
    };
    // What is not understood is newer than what is old.
    match (digits(&version.major), digits(&version.minor)) {
        (Some(1), Some(minor)) => minor >= IS_A_POD_SINCE,
        _ => true,
    }
}

/// What a node says about a container.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Running,
    /// It will not run, and why.
    Never(String),
    /// It does not run yet, and why.
    NotYet(String),
}

async fn until_running(
    cluster: &Cluster,
    what: &PodPath,
    name: &str,
    cancel: &CancellationToken,
) -> Result<(), ExportError> {
    let not_running = |why: String| ExportError::ReaderNotRunning {
        pod: what.shown_pod(),
        reader: name.to_owned(),
        why,
    };
    let wait = Wait {
        timeout: START,
        cancel: cancel.clone(),
    };
    let look = |pod: Option<&Value>| match pod.map(|pod| state(pod, name)) {
        Some(State::NotYet(why)) => Look::NotYet(why),
        _ => Look::Done,
    };
    let (pods, namespace) = (pod::pods(), Some(what.namespace.as_str()));
    let waited = cluster
        .wait_until(&pods, namespace, &what.pod, &wait, look)
        .await
        .map_err(|error| not_running(error.reason().to_owned()))?;
    let Some(pod) = waited else {
        return Err(ExportError::NoPod {
            pod: what.shown_pod(),
        });
    };
    let pod: Value = serde_json::from_slice(&pod).map_err(|source| ExportError::Malformed {
        pod: what.shown_pod(),
        source,
    })?;
    match state(&pod, name) {
        State::Running => Ok(()),
        State::Never(why) | State::NotYet(why) => Err(not_running(why)),
    }
}

fn state(pod: &Value, name: &str) -> State {
    let statuses = pod["status"]["ephemeralContainerStatuses"].as_array();
    let status = statuses
        .into_iter()
        .flatten()
        .find(|status| status["name"] == name);
    let Some(status) = status else {
        return State::NotYet("its node has not said anything about it".to_owned());
    };
    let state = &status["state"];
    if state["running"].is_object() {
        return State::Running;
    }
    let said = |of: &Value| {
        let texts = [&of["reason"], &of["message"]].map(|text| text.as_str().unwrap_or_default());
        let texts: Vec<&str> = texts.into_iter().filter(|text| !text.is_empty()).collect();
        texts.join(": ")
    };
    let ended = &state["terminated"];
    if ended.is_object() {
        return State::Never(format!(
            "it ended with exit code {}: {}",
            ended["exitCode"],
            said(ended)
        ));
    }
    let waiting = &state["waiting"];
    match waiting["reason"].as_str().unwrap_or_default() {
        "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImagePullBackOff"
        | "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError" => State::Never(said(waiting)),
        _ => State::NotYet(said(waiting)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subresource_is_a_pod_since_it_is_one() {
        for (major, minor, expected) in [
            ("1", "20", false),
            ("1", "21+", false),
            ("1", "22", true),
            ("1", "34-gke.1", true),
            ("2", "0", true),
            ("", "", true),
        ] {
            let version = ServerVersion {
                git_version: String::new(),
                major: major.to_owned(),
                minor: minor.to_owned(),
            };
            assert_eq!(is_a_pod(&version), expected, "{major}.{minor}");
        }
    }

    #[test]
    fn a_container_runs_will_run_or_never_will() {
        let pod = |state: Value| json!({"status": {"ephemeralContainerStatuses": [{"name": "other", "state": {"running": {}}}, {"name": "r", "state": state}]}});
        assert_eq!(state(&pod(json!({"running": {}})), "r"), State::Running);
        assert!(matches!(
            state(&pod(json!({"running": {}})), "x"),
            State::NotYet(_)
        ));
        let waiting = |reason: &str| pod(json!({"waiting": {"reason": reason, "message": "m"}}));
        assert_eq!(
            state(&waiting("ContainerCreating"), "r"),
            State::NotYet("ContainerCreating: m".to_owned())
        );
        assert_eq!(
            state(&waiting("ImagePullBackOff"), "r"),
            State::Never("ImagePullBackOff: m".to_owned())
        );
        let ended = pod(json!({"terminated": {"exitCode": 2, "reason": "Error"}}));
        assert_eq!(
            state(&ended, "r"),
            State::Never("it ended with exit code 2: Error".to_owned())
        );
    }
}
