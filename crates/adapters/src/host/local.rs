//! This machine.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};

use super::{Command, Ended, Exit, Host, HostError, Input, KEPT, KEPT_ERRORS};

/// This machine, as the user that Salvor runs as.
#[derive(Clone, Debug)]
pub struct Local {
    name: String,
}

impl Local {
    /// Under this name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { name }
    }
}

#[async_trait]
impl Host for Local {
    fn name(&self) -> &str {
        &self.name
    }

    async fn run(&self, command: Command<'_>) -> Result<Ended, HostError> {
        run(&self.name, command).await
    }
}

/// Runs a program of this machine; `host` is named in errors. The transports that are programs themselves use it too.
pub(super) async fn run(host: &str, command: Command<'_>) -> Result<Ended, HostError> {
    let text = command.describe();
    let (program, arguments) = command
        .argv
        .split_first()
        .ok_or_else(|| HostError::NotRun {
            host: host.to_owned(),
            command: text.clone(),
            source: "no program is named".into(),
        })?;
    let spawned = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Whatever it starts is ended with it.
        .process_group(0)
        .spawn();
    let child = spawned.map_err(|source| HostError::NotRun {
        host: host.to_owned(),
        command: text.clone(),
        source: source.into(),
    })?;
    let mut group = Group(child);
    let limit = command.limit;
    let talked = talk(&mut group.0, command.input, command.output);
    match tokio::time::timeout(limit, talked).await {
        Ok(Ok((status, stdout, stderr))) => {
            let stdout = stdout.ok_or_else(|| HostError::TooMuch {
                host: host.to_owned(),
                command: text,
            })?;
            Ok(Ended {
                exit: exit(status),
                stdout,
                stderr: String::from_utf8_lossy(&stderr).into_owned(),
            })
        }
        Ok(Err((what, source))) => Err(HostError::Cut {
            host: host.to_owned(),
            command: text,
            what,
            source,
        }),
        Err(_) => Err(HostError::TooLong {
            host: host.to_owned(),
            command: text,
            limit,
            then: "it was killed".to_owned(),
        }),
    }
}

/// A process and all that it started; killed when dropped before it has ended (then it has no number any more).
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let id = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            // It is gone where this fails.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

fn exit(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
    }
}

type Said = (ExitStatus, Option<Bytes>, Vec<u8>);

async fn talk(
    child: &mut Child,
    input: Input<'_>,
    output: Option<&mut (dyn AsyncWrite + Send + Unpin)>,
) -> Result<Said, (&'static str, io::Error)> {
    let piped = "all three are piped";
    let stdin = child.stdin.take().expect(piped);
    let mut stdout = child.stdout.take().expect(piped);
    let mut stderr = child.stderr.take().expect(piped);
    let reads_output = async {
        match output {
            None => keep(&mut stdout).await,
            Some(to) => {
                tokio::io::copy(&mut stdout, to).await?;
                to.flush().await?;
                Ok(Some(Bytes::new()))
            }
        }
    };
    // All at once: whoever waits with one of the three holds up the others. An input that is not taken is judged behind the
    // status: a program that failed says why better than its closed pipe does.
    let (fed, said, errors) = tokio::join!(feed(stdin, input), reads_output, tail(&mut stderr));
    let status = child.wait().await.map_err(|error| ("the status", error))?;
    let said = said.map_err(|error| ("the output", error))?;
    let errors = errors.map_err(|error| ("the errors", error))?;
    match fed {
        Err(error) if status.success() => Err(("the input", error)),
        _ => Ok((status, said, errors)),
    }
}

async fn feed(mut stdin: ChildStdin, input: Input<'_>) -> io::Result<()> {
    match input {
        Input::Empty => {}
        Input::Bytes(bytes) => stdin.write_all(&bytes).await?,
        Input::Stream { from, length } => {
            let copied = tokio::io::copy(from, &mut stdin).await?;
            if let Some(length) = length.filter(|length| *length != copied) {
                let text = format!("{copied} bytes came of {length}");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
        }
    }
    stdin.shutdown().await
}

/// All of an output; `None` where it is longer than [`KEPT`]. Read to its end in any case, so that nobody waits.
async fn keep(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Bytes>> {
    let mut kept = Vec::new();
    let mut limited = from.take(KEPT as u64 + 1);
    limited.read_to_end(&mut kept).await?;
    if kept.len() <= KEPT {
        return Ok(Some(kept.into()));
    }
    tokio::io::copy(limited.get_mut(), &mut tokio::io::sink()).await?;
    Ok(None)
}

async fn tail(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let mut piece = vec![0; KEPT_ERRORS];
    loop {
        let read = from.read(&mut piece).await?;
        if read == 0 {
            return Ok(kept);
        }
        kept.extend_from_slice(&piece[..read]);
        let surplus = kept.len().saturating_sub(KEPT_ERRORS);
        kept.drain(..surplus);
    }
}
