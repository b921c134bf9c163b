//! A path inside a running pod as a tar archive, by the `tar` of its container, as a stream.
//!
//! The end of a stream from a pod says nothing: connections, proxies and servers lose tails and call it success. An
//! archive is whole when three things agree: the status of the command came and says success, its exit code with it, and
//! the archive came to the end that its format has ([`tar_end`]).
//!
//! Where the container's image has no `tar`, an ephemeral container of ours reads the files beside it ([`reader`]), and
//! the same three things are asked for.

mod error;
pub mod pipe;
mod pod;
pub mod reader;
pub mod tar_end;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use salvor_cluster::Cluster;
use salvor_cluster::exec::{Exec, ExecError, ExecFailure};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use error::ExportError;
use pipe::ExportSink;
use pod::Found;
use reader::ReaderOptions;
use tar_end::TarEnd;

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

impl PodPath {
    /// `namespace/name` of the pod.
    fn shown_pod(&self) -> String {
        format!("{}/{}", self.namespace, self.pod)
    }
}

/// How an export is made.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// How long all of it may take.
    pub timeout: Duration,
    /// How long nothing may come.
    pub stall: Duration,
    /// Take an archive in which files changed while they were read; GNU tar tells it by exit code 1.
    pub allow_changes: bool,
    /// How the files of a container without `tar` are read; such a container is refused without it.
    pub reader: Option<ReaderOptions>,
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
    /// The ephemeral container that read the files, where the image has no `tar`. It ends by itself and is listed in
    /// the pod for as long as the pod lives.
    pub reader: Option<String>,
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
    let found = pod::find(cluster, what).await?;
    let (tar, ended) = by_tar(cluster, what, &found, options, sink, cancel).await?;
    if !ended.as_ref().is_err_and(has_no_tar) {
        return exported(ended, &tar, options, None)
            .map_err(|error| named(error, &tar, what, &found));
    }
    let Some(with) = &options.reader else {
        return Err(ExportError::NoTar {
            pod: what.shown_pod(),
            container: found.name().to_owned(),
            image: found.image().to_owned(),
        });
    };
    let times = (options.timeout, options.stall);
    let reader = reader::start(cluster, what, &found, with, times, cancel).await?;
    let exec = in_container(what, &reader.container, reader.command.clone(), options);
    let (tar, ended) = one(cluster, &exec, options, sink, cancel).await?;
    exported(ended, &tar, options, Some(reader.container))
        .map_err(|error| named(error, &tar, what, &found))
}

/// An error that says what is missing, where nothing came because nothing is there.
fn named(error: ExportError, tar: &TarEnd, what: &PodPath, found: &Found) -> ExportError {
    let is_nowhere = |error: &ExecError| {
        matches!(error.failure(), ExecFailure::Exit { stderr, .. }
            if stderr.text().contains("No such file or directory"))
    };
    match error {
        ExportError::Exec(error) if tar.bytes() == 0 && is_nowhere(&error) => ExportError::NoPath {
            pod: what.shown_pod(),
            container: found.name().to_owned(),
            path: what.path.clone(),
        },
        error => error,
    }
}

/// The archive by the container's own `tar`.
async fn by_tar(
    cluster: &Cluster,
    what: &PodPath,
    found: &Found,
    options: &ExportOptions,
    sink: &ExportSink,
    cancel: &CancellationToken,
) -> Result<(TarEnd, Result<bool, ExecError>), ExportError> {
    let attempt = |from: String, name: String| {
        let words = ["tar", "-c", "-f", "-", "-C", &from, &name].map(str::to_owned);
        Exec {
            end_process: true,
            ..in_container(what, found.name(), words.to_vec(), options)
        }
    };
    let path = what.path.trim_end_matches('/');
    let directory = attempt(format!("{path}/"), ".".to_owned());
    let (tar, ended) = one(cluster, &directory, options, sink, cancel).await?;
    if tar.bytes() > 0 || !ended.as_ref().is_err_and(is_no_directory) {
        return Ok((tar, ended));
    }
    let (parent, name) = path.rsplit_once('/').unwrap_or_default();
    let file = attempt(format!("{parent}/"), format!("./{name}"));
    one(cluster, &file, options, sink, cancel).await
}

fn in_container(
    what: &PodPath,
    container: &str,
    command: Vec<String>,
    options: &ExportOptions,
) -> Exec {
    Exec {
        namespace: what.namespace.clone(),
        pod: what.pod.clone(),
        container: container.to_owned(),
        command,
        stdin: None,
        timeout: options.timeout,
        keep: KEPT,
        end_process: false,
    }
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

/// Judges what came.
fn exported(
    ended: Result<bool, ExecError>,
    tar: &TarEnd,
    options: &ExportOptions,
    reader: Option<String>,
) -> Result<Exported, ExportError> {
    let changed = match ended {
        Ok(_) => Vec::new(),
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
    if !tar.is_complete() {
        return Err(ExportError::Cut { bytes: tar.bytes() });
    }
    Ok(Exported {
        entries: tar.entries(),
        bytes: tar.bytes(),
        changed,
        reader,
    })
}

/// Whether it failed because there is no `tar`, and for nothing else.
fn has_no_tar(error: &ExecError) -> bool {
    match error.failure() {
        ExecFailure::NotStarted { reason } => says_no_tar(reason),
        // Where the runtime reports it like a shell does.
        ExecFailure::Exit {
            code: 126 | 127,
            stderr,
        } => stderr.text().is_empty() || says_no_tar(&stderr.text()),
        _ => false,
    }
}

/// Whether a runtime says that the program is missing. A directory that is missing would sound nearly alike, so `tar`
/// must be named as a word of its own.
fn says_no_tar(text: &str) -> bool {
    let text = text.to_lowercase();
    let names_it = text
        .split(|c: char| !c.is_alphanumeric())
        .any(|word| word == "tar");
    let is_missing = (text.contains("executable file") && text.contains("not found"))
        || text.contains("no such file or directory");
    names_it && is_missing
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
