//! Asking a program: the question on its standard input, the answer on its standard output.

use std::process::Stdio;

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::error::{CallError, excerpt};

/// Longest part of standard error that is kept, in bytes.
const COMPLAINT: usize = 4096;

/// Kills the program with all that it started, when the call ends before it does.
pub(crate) struct Leash(Option<Pid>);

impl Leash {
    pub(crate) fn new(pid: Option<Pid>) -> Self {
        Self(pid)
    }

    /// The program has ended by itself.
    pub(crate) fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // That it has ended already is what was wanted.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Starts a program with pipes and in a process group of its own, which ends with the leash.
pub(crate) fn start(command: &[String]) -> Result<(Child, Leash), CallError> {
    let (program, arguments) = command
        .split_first()
        .ok_or(CallError::Meaningless("no program"))?;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| CallError::Start {
            program: program.clone(),
            source,
        })?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    Ok((child, Leash::new(pid.and_then(Pid::from_raw))))
}

/// Starts the program and asks it. Dropping the future ends the program.
pub(crate) async fn ask(
    command: &[String],
    question: Bytes,
    limit: usize,
) -> Result<Vec<u8>, CallError> {
    let (mut child, mut leash) = start(command)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program may answer without reading everything; how it ends tells.
            let _ = stdin.write_all(&question).await;
        }
    };
    let (_, answer, complaint) = tokio::join!(
        write,
        read_up_to(stdout, limit),
        read_up_to(stderr, COMPLAINT)
    );
    let answer = answer?.ok_or(CallError::TooLarge(limit))?;
    let pipe = |source| CallError::Pipe { source };
    let status = child.wait().await.map_err(pipe)?;
    leash.release();
    if !status.success() {
        let excerpt = match complaint? {
            Some(complaint) => excerpt(&complaint),
            None => "it said more than is kept".to_owned(),
        };
        return Err(CallError::Exit { status, excerpt });
    }
    Ok(answer)
}

/// Reads to the end; `None` when there is more than `limit`.
async fn read_up_to(
    from: Option<impl AsyncRead + Unpin>,
    limit: usize,
) -> Result<Option<Vec<u8>>, CallError> {
    let Some(from) = from else {
        return Ok(Some(Vec::new()));
    };
    let mut bytes = Vec::new();
    let mut bounded = from.take(limit as u64 + 1);
    bounded
        .read_to_end(&mut bytes)
        .await
        .map_err(|source| CallError::Pipe { source })?;
    Ok((bytes.len() <= limit).then_some(bytes))
}
