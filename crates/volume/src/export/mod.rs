//! A path inside a running pod as a tar archive, by the `tar` of its container, as a stream.
//!
//! The end of a stream from a pod says nothing: connections, proxies and servers lose tails and call it success. An
//! archive is whole when three things agree: the status of the command came and says success, its exit code with it, and
//! the archive came to the end that its format has ([`tar_end`]).

pub mod pipe;
pub mod tar_end;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use salvor_cluster::exec::{Exec, ExecError, ExecFailure};
use salvor_cluster::{ApiResource, Cluster};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use pipe::ExportSink;
use tar_end::{NoTar, TarEnd};

/// Annotation of a pod: the container that is meant when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// Bytes of the command's errors that are kept: what changed while it was read is told there.
const KEPT: usize = 64 << 10;
/// Pieces between the connection and the look at the archive.
const PIECES: usize = 4;

/// `NAMESPACE/POD[/CONTAINER]:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPath {
    /// Namespace of the pod.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container; the pod's default one, or its first, where none is named.
    pub container: Option<String>,
    /// Absolute path in the container.
    pub path: String,
}

impl FromStr for PodPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: &str| {
            Err(format!(
                "`{text}` is not NAMESPACE/POD[/CONTAINER]:PATH: {why}, such as shop/db-0:/var/lib/data"
            ))
        };
        let Some((place, path)) = text.split_once(':') else {
            return bad("it has no `:` before the path");
        };
        if !path.starts_with('/') || path.contains('\0') {
            return bad("the path must begin with `/`");
        }
        let parts: Vec<&str> = place.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return bad("a name is empty");
        }
        let (namespace, pod, container) = match parts.as_slice() {
            [namespace, pod] => (namespace, pod, None),
            [namespace, pod, container] => (namespace, pod, Some((*container).to_owned())),
            _ => return bad("it names no pod in a namespace"),
        };
        Ok(Self {
            namespace: (*namespace).to_owned(),
            pod: (*pod).to_owned(),
            container,
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for PodPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.pod)?;
        if let Some(container) = &self.container {
            write!(f, "/{container}")?;
        }
        write!(f, ":{}", self.path)
    }
}

/// How an export is made.
#[derive(Clone, Copy, Debug)]
pub struct ExportOptions {
    /// How long all of it may take.
    pub timeout: Duration,
    /// How long nothing may come.
    pub stall: Duration,
    /// Take an archive in which files changed while they were read; GNU tar tells it by exit code 1.
    pub allow_changes: bool,
}

/// An archive that is whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Entries in it.
    pub entries: u64,
    /// Bytes of it.
    pub bytes: u64,
    /// What tar said about files that changed while it read them, one line each.
    pub changed: Vec<String>,
}

/// Why there is no whole archive. What was written of it until then is good for nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The pod cannot be read.
    #[error("read pod {pod}")]
    Pod {
        /// `namespace/name`.
        pod: String,
        /// What the server said.
        #[source]
        source: salvor_cluster::Error,
    },
    /// The pod is not what its kind promises.
    #[error("understand pod {pod}")]
    Malformed {
        /// `namespace/name`.
        pod: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// There is no such pod.
    #[error("there is no pod {pod}")]
    NoPod {
        /// `namespace/name`.
        pod: String,
    },
    /// The pod has no such container.
    #[error("pod {pod} has no container {container}: it has {}", .known.join(", "))]
    NoContainer {
        /// `namespace/name`.
        pod: String,
        /// The container.
        container: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// The container's image has no `tar`.
    #[error(
        "container {container} of pod {pod} has no tar: its image ({image}) does not bring one"
    )]
    NoTar {
        /// `namespace/name`.
        pod: String,
        /// The container.
        container: String,
        /// Its image.
        image: String,
    },
    /// `tar` failed, or it is not known how it ended.
    #[error(transparent)]
    Exec(ExecError),
    /// Files changed while they were read.
    #[error("files changed while they were read: {what}")]
    Changed {
        /// What tar said.
        what: String,
    },
    /// What came is no archive.
    #[error("what tar in the container wrote is no archive: {0}")]
    Archive(NoTar),
    /// Everything says success, but the archive was cut on its way.
    #[error(
        "the archive was cut on its way: {bytes} bytes came and no end, though tar says that it succeeded"
    )]
    Cut {
        /// Bytes that came.
        bytes: u64,
    },
    /// Nothing came for too long.
    #[error("nothing came for {} s, after {bytes} bytes; tar in the container was ended", .stall.as_secs())]
    Stalled {
        /// How long.
        stall: Duration,
        /// Bytes that came.
        bytes: u64,
    },
    /// Who takes the archive failed; it knows why.
    #[error("the archive cannot be put where it should go")]
    NotTaken,
}

impl ExportError {
    /// What to do next; empty where the error says it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NoTar { .. } => {
                "add a container that has one: `kubectl debug -n NAMESPACE POD --image=busybox --target=CONTAINER -c salvor -- sleep 1d`, \
                 then export NAMESPACE/POD/salvor:/proc/1/root/PATH"
            }
            Self::Changed { .. } => {
                "stop what writes there, back the volume up instead, or pass --allow-changes to take it as it is"
            }
            Self::Cut { .. } | Self::Stalled { .. } => {
                "repeat the command; nothing of this attempt counts"
            }
            _ => "",
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: Meta,
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Meta {
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    containers: Vec<Container>,
    ephemeral_containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
    image: String,
}

/// The container that is meant.
async fn container(cluster: &Cluster, what: &PodPath) -> Result<Container, ExportError> {
    let shown = format!("{}/{}", what.namespace, what.pod);
    let pods = ApiResource::known("", "v1", "Pod", "pods", true);
    let found = cluster.get(&pods, Some(&what.namespace), &what.pod).await;
    let found = found.map_err(|source| ExportError::Pod {
        pod: shown.clone(),
        source,
    })?;
    let Some(found) = found else {
        return Err(ExportError::NoPod { pod: shown });
    };
    let pod: Pod = serde_json::from_slice(&found).map_err(|source| ExportError::Malformed {
        pod: shown.clone(),
        source,
    })?;
    let annotations = pod.metadata.annotations.unwrap_or_default();
    let all: Vec<Container> = [pod.spec.containers, pod.spec.ephemeral_containers].concat();
    let named = what
        .container
        .as_ref()
        .or(annotations.get(DEFAULT_CONTAINER));
    let meant = match named {
        Some(name) => all.iter().find(|container| container.name == *name),
        None => all.first(),
    };
    meant.cloned().ok_or_else(|| ExportError::NoContainer {
        pod: shown,
        container: named.cloned().unwrap_or_default(),
        known: all.iter().map(|container| container.name.clone()).collect(),
    })
}

/// Streams a path into a sink. A directory's archive has what is in it (`./...`), a file's has the file.
///
/// The container's files are read by its own user, one after the other, while they may be written.
///
/// # Errors
/// The archive is not whole; the reader at the other end of the sink then gets an error as well, never an end.
pub async fn export(
    cluster: &Cluster,
    what: &PodPath,
    options: &ExportOptions,
    sink: ExportSink,
    cancel: &CancellationToken,
) -> Result<Exported, ExportError> {
    let exported = into_sink(cluster, what, options, &sink, cancel).await;
    sink.end(exported.as_ref().map(drop).map_err(ToString::to_string));
    exported
}

async fn into_sink(
    cluster: &Cluster,
    what: &PodPath,
    options: &ExportOptions,
    sink: &ExportSink,
    cancel: &CancellationToken,
) -> Result<Exported, ExportError> {
    let container = container(cluster, what).await?;
    let attempt = |from: String, name: String| {
        let words = ["tar", "-c", "-f", "-", "-C", &from, &name].map(str::to_owned);
        Exec {
            namespace: what.namespace.clone(),
            pod: what.pod.clone(),
            container: container.name.clone(),
            command: words.to_vec(),
            stdin: None,
            timeout: options.timeout,
            keep: KEPT,
            end_process: true,
        }
    };
    let path = what.path.trim_end_matches('/');
    let directory = attempt(format!("{path}/"), ".".to_owned());
    let (mut tar, mut ended) = one(cluster, &directory, options, sink, cancel).await?;
    if tar.bytes() == 0 && ended.as_ref().is_err_and(is_no_directory) {
        let (parent, name) = path.rsplit_once('/').unwrap_or_default();
        let file = attempt(format!("{parent}/"), format!("./{name}"));
        (tar, ended) = one(cluster, &file, options, sink, cancel).await?;
    }
    let changed = verdict(ended, &tar, options, what, &container)?;
    Ok(Exported {
        entries: tar.entries(),
        bytes: tar.bytes(),
        changed,
    })
}

/// Runs one command and hands on what comes; how the command ended is left to be judged.
async fn one(
    cluster: &Cluster,
    exec: &Exec,
    options: &ExportOptions,
    sink: &ExportSink,
    cancel: &CancellationToken,
) -> Result<(TarEnd, Result<bool, ExecError>), ExportError> {
    let (to, from) = mpsc::channel(PIECES);
    let running = cluster.exec_streamed(exec, to, cancel);
    let (ended, handed) = tokio::join!(running, hand_on(from, options.stall, sink));
    // What was wrong with the output is why the command was ended, not the other way round.
    let tar = handed?;
    Ok((tar, ended.map(|output| output.complete)))
}

/// Looks at each piece and hands it on. Returning early drops the receiver, which ends the command.
async fn hand_on(
    mut from: mpsc::Receiver<Bytes>,
    stall: Duration,
    sink: &ExportSink,
) -> Result<TarEnd, ExportError> {
    let mut tar = TarEnd::default();
    loop {
        let piece = match tokio::time::timeout(stall, from.recv()).await {
            Ok(Some(piece)) => piece,
            Ok(None) => return Ok(tar),
            Err(_) => {
                return Err(ExportError::Stalled {
                    stall,
                    bytes: tar.bytes(),
                });
            }
        };
        tar.feed(&piece).map_err(ExportError::Archive)?;
        if !sink.send(piece).await {
            return Err(ExportError::NotTaken);
        }
    }
}

/// Whether tar could not enter the path because it is no directory.
fn is_no_directory(error: &ExecError) -> bool {
    matches!(error.failure(), ExecFailure::Exit { stderr, .. } if stderr.text().contains("ot a directory"))
}

/// Judges what came: lines about files that changed, or why the archive does not count.
fn verdict(
    ended: Result<bool, ExecError>,
    tar: &TarEnd,
    options: &ExportOptions,
    what: &PodPath,
    container: &Container,
) -> Result<Vec<String>, ExportError> {
    let changed = match ended {
        Ok(_) => Vec::new(),
        Err(error) if has_no_tar(&error) => {
            return Err(ExportError::NoTar {
                pod: format!("{}/{}", what.namespace, what.pod),
                container: container.name.clone(),
                image: container.image.clone(),
            });
        }
        Err(error) => match changes(&error) {
            Some(lines) if options.allow_changes => lines,
            Some(lines) => {
                return Err(ExportError::Changed {
                    what: lines.join("; "),
                });
            }
            None => return Err(ExportError::Exec(error)),
        },
    };
    // A server that kept the connection open after the status may still have had output: the archive decides.
    if tar.is_complete() {
        Ok(changed)
    } else {
        Err(ExportError::Cut { bytes: tar.bytes() })
    }
}

fn has_no_tar(error: &ExecError) -> bool {
    let says_so = |text: &str| {
        text.contains("executable file not found") || text.contains("no such file or directory")
    };
    match error.failure() {
        ExecFailure::NotStarted { reason } => says_so(reason),
        // Where the runtime reports it like a shell does.
        ExecFailure::Exit {
            code: 126 | 127,
            stderr,
        } => says_so(&stderr.text()) || stderr.text().is_empty(),
        _ => false,
    }
}

/// What GNU tar says of files that changed, where it says nothing else: then its exit code is 1, and the archive is
/// whole.
fn changes(error: &ExecError) -> Option<Vec<String>> {
    let ExecFailure::Exit { code: 1, stderr } = error.failure() else {
        return None;
    };
    let text = stderr.text();
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    let is_change = |line: &String| {
        line.ends_with("file changed as we read it")
            || line.ends_with("File removed before we read it")
    };
    let is_all = stderr.dropped() == 0 && !lines.is_empty() && lines.iter().all(is_change);
    is_all.then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_pod_is_read_and_written() {
        for text in [
            "shop/db-0:/var/lib/data",
            "shop/db-0/main:/",
            "a/b:/with:colon",
        ] {
            let path: PodPath = text.parse().expect(text);
            assert_eq!(path.to_string(), text);
        }
        let path: PodPath = "shop/db-0/main:/x".parse().expect("a path");
        assert_eq!(path.container.as_deref(), Some("main"));
        for bad in [
            "db-0:/x",
            "shop/db-0",
            "shop/db-0:x",
            "shop//c:/x",
            "a/b/c/d:/x",
            "shop/db-0:",
            "",
        ] {
            let error = bad.parse::<PodPath>().expect_err(bad);
            assert!(error.contains("NAMESPACE/POD"), "{error}");
        }
    }
}
