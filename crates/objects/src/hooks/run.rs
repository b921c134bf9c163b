//! Running one command of a hook.

use salvor_cluster::Cluster;
use salvor_cluster::exec::Exec;
use tokio_util::sync::CancellationToken;

use super::Pod;
use super::of_backup::Command;

/// Bytes of a command's output that are kept for messages.
const KEPT: usize = 16 << 10;

/// A command that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// What was run, and why it failed.
    pub(crate) text: String,
    /// False when it was certainly not started.
    pub(crate) may_have_run: bool,
}

/// Runs a command in a pod; the text says what ran.
///
/// # Errors
/// It did not end with exit code 0, or that is not known.
pub(crate) async fn run(
    cluster: &Cluster,
    pod: &Pod,
    command: &Command,
    cancel: &CancellationToken,
) -> Result<String, Failed> {
    let container = pod.container(&command.container).map_err(|text| Failed {
        text,
        may_have_run: false,
    })?;
    let exec = Exec {
        namespace: pod.metadata.namespace.clone(),
        pod: pod.metadata.name.clone(),
        container: container.to_owned(),
        command: command.words.clone(),
        stdin: None,
        timeout: command.timeout,
        keep: KEPT,
        // What hangs now would still hold its lock at the next backup.
        end_process: true,
    };
    match cluster.exec(&exec, cancel).await {
        Ok(_) => Ok(exec.to_string()),
        Err(error) => Err(Failed {
            text: error.to_string(),
            may_have_run: error.may_have_run(),
        }),
    }
}
