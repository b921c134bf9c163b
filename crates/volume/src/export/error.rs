//! Why there is no whole archive.

use std::time::Duration;

use salvor_cluster::ErrorKind;
use salvor_cluster::exec::ExecError;

use super::tar_end::NoTar;

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
    /// No ephemeral container could be added to the pod.
    #[error(
        "container {container} of pod {pod} has no tar, and no ephemeral container that reads its files can be added"
    )]
    ReaderRefused {
        /// `namespace/name`.
        pod: String,
        /// The container whose files are meant.
        container: String,
        /// What the server said.
        #[source]
        source: Box<salvor_cluster::Error>,
    },
    /// The ephemeral container was added and does not run.
    #[error(
        "ephemeral container {reader} of pod {pod}, which is to read the files, does not run: {why}"
    )]
    ReaderNotRunning {
        /// `namespace/name`.
        pod: String,
        /// The ephemeral container.
        reader: String,
        /// What the node says.
        why: String,
    },
    /// `tar` failed, or it is not known how it ended.
    #[error(transparent)]
    Exec(ExecError),
    /// The container has nothing at that path.
    #[error("container {container} of pod {pod} has no {path}")]
    NoPath {
        /// `namespace/name`.
        pod: String,
        /// The container.
        container: String,
        /// What was asked for.
        path: String,
    },
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
                "leave --no-debug-container out, and an ephemeral container reads the files; or back the volume up with \
                 the node agent (backup create --default-volumes-to-fs-backup)"
            }
            Self::ReaderRefused { source, .. } => refused(source),
            Self::ReaderNotRunning { .. } => {
                "name an image of Salvor that the node can have with --debug-image; the container that was added ends by \
                 itself"
            }
            Self::Changed { .. } => {
                "stop what writes there, back the volume up instead, or pass --allow-changes to take it as it is"
            }
            Self::NoPath { .. } => {
                "a path is one inside the container, where a volume has the path of its mount; another container is named by \
                 NAMESPACE/POD/CONTAINER:PATH"
            }
            Self::Cut { .. } | Self::Stalled { .. } => {
                "repeat the command; nothing of this attempt counts"
            }
            _ => "",
        }
    }
}

/// What to do where a server adds no ephemeral container.
fn refused(error: &salvor_cluster::Error) -> &'static str {
    match error.kind() {
        // Rights and Pod Security speak alike; what the server said tells which.
        ErrorKind::Forbidden => {
            "it needs the verb patch on pods/ephemeralcontainers, and what Pod Security of the namespace asks for; \
             --debug-user sets another user. The node agent needs neither (backup create --default-volumes-to-fs-backup)"
        }
        ErrorKind::NotFound | ErrorKind::NoSuchKind | ErrorKind::MethodNotAllowed => {
            "servers before 1.23 have no ephemeral containers unless their feature is switched on: back the volume up \
             with the node agent (backup create --default-volumes-to-fs-backup), or use an image with tar"
        }
        _ => {
            "back the volume up with the node agent (backup create --default-volumes-to-fs-backup), or use an image with tar"
        }
    }
}
