//! Commands in containers: `pods/exec` over WebSocket, with exit codes that can be believed.
//!
//! ```text
//! GET .../pods/NAME/exec?command=...   ->  101, v5.channel.k8s.io or v4.channel.k8s.io
//! frames: one byte of channel, then data; 0 in, 1 out, 2 errors, 3 the status, 255 "this channel ends" (v5)
//! ```
//!
//! The end of a stream says nothing: connections break in the middle and look the same. What a command came
//! to is the `Status` on channel 3, and nothing else; without one the answer is [`ExecFailure::Lost`].
//!
//! Kubernetes lets a process run on when its stream is closed. So when the time is up, a second command looks
//! for the process in the container and ends it ([`Exec::end_process`]); the error says what came of that.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use http::header::USER_AGENT;
use http::{Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::client::{Cluster, transport_error};
use crate::error::{Error, ErrorKind, Status};
use crate::resource::ApiResource;
use crate::retry::{self, Repeat};

mod failure;
mod process;
mod tail;

pub use failure::{ExecError, ExecFailure};
use process::END_PROCESS;
pub use process::ProcessEnd;
pub use tail::Tail;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const CLOSE: u8 = 255;
/// Bytes of the status at most; it is some hundred bytes of JSON.
const LARGEST_STATUS: usize = 256 << 10;
/// Bytes of input in one frame; what the servers themselves copy at once.
const INPUT_FRAME: usize = 32 << 10;
/// A command may be silent for long, and what stands between closes connections that are.
const PING: Duration = Duration::from_secs(15);
/// Output may arrive after the status, as servers copy the channels one beside the other. They close the
/// connection right after. Counted from the last piece, as whoever takes the output may be slow.
const LATE_OUTPUT: Duration = Duration::from_secs(3);
/// How long ending a process may take: two seconds of patience in [`END_PROCESS`], and the way there.
const ENDING: Duration = Duration::from_secs(10);

/// A command to run in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container; a server refuses an empty name when the pod has several.
    pub container: String,
    /// Program and arguments; no shell unless named.
    pub command: Vec<String>,
    /// Input, which ends after these bytes. Servers before 1.30 cannot end an input: such a command is given
    /// up with [`ExecFailure::NoEndOfInput`] before any of it is sent.
    pub stdin: Option<Bytes>,
    /// How long it may take, the connection included.
    pub timeout: Duration,
    /// Bytes of output, and of errors, that are kept: the last ones. The others are counted.
    pub keep: usize,
    /// Look for the process and end it when the time is up or the run is cancelled. Needs `sh`, `cat` and
    /// `tr` in the container; without them the process is left, and the error says so.
    pub end_process: bool,
}

/// What a command that ended with exit code 0 left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    /// The end of its output.
    pub stdout: Tail,
    /// The end of its errors.
    pub stderr: Tail,
    /// False when the server did not close the connection after the status, so that output may be missing.
    pub complete: bool,
}

/// What a conversation came to, before anything is done about a process that is left.
enum Talk {
    Done(Result<ExecOutput, ExecFailure>),
    TimeIsUp,
    Cancelled,
}

struct Output {
    stdout: Tail,
    stderr: Tail,
    status: BytesMut,
}

impl Cluster {
    /// Runs a command in a container. Takes no place in the limiter: it waits most of its time. Nothing is
    /// repeated, except a request that certainly did nothing.
    ///
    /// Dropping the future closes the connection and leaves the process to itself; cancel instead.
    ///
    /// # Errors
    /// [`ExecError`]: everything but a status that says success. [`ExecError::may_have_run`] tells whether the
    /// command was certainly not started.
    pub async fn exec(
        &self,
        exec: &Exec,
        cancel: &CancellationToken,
    ) -> Result<ExecOutput, ExecError> {
        self.run(exec, None, cancel).await
    }

    /// [`Cluster::exec`], whose output goes to `output` as it comes instead of being kept. Who takes slowly slows the
    /// command down; who stops taking ends it, as if cancelled. That no more comes says nothing about the command: look
    /// at what this returns.
    ///
    /// # Errors
    /// As [`Cluster::exec`].
    pub async fn exec_streamed(
        &self,
        exec: &Exec,
        output: mpsc::Sender<Bytes>,
        cancel: &CancellationToken,
    ) -> Result<ExecOutput, ExecError> {
        self.run(exec, Some(&output), cancel).await
    }

    async fn run(
        &self,
        exec: &Exec,
        to: Option<&mpsc::Sender<Bytes>>,
        cancel: &CancellationToken,
    ) -> Result<ExecOutput, ExecError> {
        let begun = Instant::now();
        let failure = match self.talk(exec, to, cancel).await {
            Talk::Done(Ok(output)) => return Ok(output),
            Talk::Done(Err(failure)) => failure,
            Talk::TimeIsUp => ExecFailure::Timeout {
                limit: exec.timeout,
                process: self.end_process(exec, begun).await,
            },
            Talk::Cancelled => ExecFailure::Cancelled {
                process: self.end_process(exec, begun).await,
            },
        };
        Err(ExecError::new(operation(exec), failure))
    }

    async fn talk(
        &self,
        exec: &Exec,
        to: Option<&mpsc::Sender<Bytes>>,
        cancel: &CancellationToken,
    ) -> Talk {
        let deadline = Instant::now() + exec.timeout;
        let connected = tokio::select! {
            biased;
            () = cancel.cancelled() => return Talk::Cancelled,
            () = tokio::time::sleep_until(deadline) => return Talk::TimeIsUp,
            connected = self.begin(exec) => connected,
        };
        let connection = match connected {
            Ok(connection) => connection,
            Err(failure) => return Talk::Done(Err(failure)),
        };
        let ends_input = connection.supports_stream_close();
        let (mut sink, mut source) = connection.into_stream().split();
        if exec.stdin.is_some() && !ends_input {
            close(&mut sink).await;
            return Talk::Done(Err(ExecFailure::NoEndOfInput));
        }
        let said = {
            let feeding = feed(&mut sink, exec.stdin.clone());
            let hearing = hear(&mut source, exec.keep, to);
            tokio::select! {
                biased;
                () = cancel.cancelled() => Talk::Cancelled,
                () = nobody_takes(to) => Talk::Cancelled,
                () = tokio::time::sleep_until(deadline) => Talk::TimeIsUp,
                said = hearing => Talk::Done(said),
                never = feeding => match never {},
            }
        };
        close(&mut sink).await;
        said
    }

    async fn begin(&self, exec: &Exec) -> Result<kube::client::Connection, ExecFailure> {
        let operation = operation(exec);
        let pods = ApiResource::known("", "v1", "Pod", "pods", true);
        let path = pods
            .object_path(Some(&exec.namespace), &exec.pod)
            .map_err(|reason| Error::local(ErrorKind::Config, &operation, reason));
        let uri = format!(
            "{}/exec?{}",
            path.map_err(ExecFailure::refused)?,
            query(exec)
        );
        let mut attempt = 0;
        loop {
            let request = Request::get(&uri)
                .header(USER_AGENT, concat!("salvor/", env!("CARGO_PKG_VERSION")))
                .body(Vec::new())
                .map_err(|e| Error::caused(ErrorKind::Config, &operation, e.to_string(), e));
            let connected = self
                .client()
                .connect(request.map_err(ExecFailure::refused)?);
            let error = match connected.await {
                Ok(connection) => return Ok(connection),
                Err(error) => refusal(&operation, error),
            };
            attempt += 1;
            if attempt == retry::ATTEMPTS || !retry::may_repeat(Repeat::WhenRefused, &error) {
                return Err(ExecFailure::refused(error));
            }
            let pause = retry::delay(attempt - 1, error.retry_after(), retry::random());
            self.stay(pause).await;
        }
    }

    /// Ends the process of a command that is not waited for any more.
    async fn end_process(&self, exec: &Exec, begun: Instant) -> ProcessEnd {
        if !exec.end_process {
            return ProcessEnd::Left("nobody asked to end it".to_owned());
        }
        // A second for the clocks' rounding, one for the way there.
        let age = begun.elapsed().as_secs() + 2;
        let script = [
            "sh",
            "-c",
            END_PROCESS,
            "salvor",
            &exec.command.concat(),
            "0",
        ];
        let mut command: Vec<String> = script.map(str::to_owned).to_vec();
        command.push(age.to_string());
        let end = Exec {
            command,
            stdin: None,
            timeout: ENDING,
            keep: 4 << 10,
            ..exec.clone()
        };
        match self.talk(&end, None, &CancellationToken::new()).await {
            Talk::Done(Ok(output)) => ProcessEnd::said(&output.stdout.text()),
            Talk::Done(Err(ExecFailure::NotStarted { .. })) => {
                ProcessEnd::Left("the container has no shell to end it with".to_owned())
            }
            Talk::Done(Err(failure)) => ProcessEnd::Left(failure.to_string()),
            Talk::TimeIsUp | Talk::Cancelled => {
                ProcessEnd::Left("looking for it took too long".to_owned())
            }
        }
    }
}

/// `run fsfreeze in container db of pod shop/db-0`. Arguments are not told: some hold passwords.
fn operation(exec: &Exec) -> String {
    let program = exec.command.first().map_or("nothing", String::as_str);
    let program: String = program.chars().take(80).collect();
    let (namespace, pod, container) = (&exec.namespace, &exec.pod, &exec.container);
    format!("run `{program}` in container `{container}` of pod {namespace}/{pod}")
}

fn query(exec: &Exec) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for word in &exec.command {
        query.append_pair("command", word);
    }
    if !exec.container.is_empty() {
        query.append_pair("container", &exec.container);
    }
    let stdin = if exec.stdin.is_some() {
        "true"
    } else {
        "false"
    };
    query.append_pair("stdin", stdin);
    query.append_pair("stdout", "true");
    query.append_pair("stderr", "true");
    query.append_pair("tty", "false");
    query.finish()
}

/// Why the connection was not made.
fn refusal(operation: &str, error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => {
            let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::BAD_GATEWAY);
            let body = serde_json::to_vec(&status).unwrap_or_default();
            Error::from_answer(operation, code, &body, None, true)
        }
        kube::Error::UpgradeConnection(error) => {
            let detail = format!("the server does not speak WebSocket here: {error}");
            Error::caused(ErrorKind::Malformed, operation, detail, error).with_doubt(true)
        }
        error => transport_error(operation, error, true),
    }
}

/// Sends the input and its end, then a ping now and then. Never returns: a connection that broke is noticed
/// by who reads from it.
async fn feed<S>(
    sink: &mut SplitSink<WebSocketStream<S>, Message>,
    stdin: Option<Bytes>,
) -> Infallible
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let fed = async {
        if let Some(mut bytes) = stdin {
            while !bytes.is_empty() {
                let chunk = bytes.split_to(bytes.len().min(INPUT_FRAME));
                let mut frame = BytesMut::with_capacity(chunk.len() + 1);
                frame.put_u8(STDIN);
                frame.put(chunk);
                sink.send(Message::Binary(frame.freeze())).await?;
            }
            let end = Bytes::from_static(&[CLOSE, STDIN]);
            sink.send(Message::Binary(end)).await?;
        }
        loop {
            tokio::time::sleep(PING).await;
            sink.send(Message::Ping(Bytes::new())).await?;
        }
    };
    let broken: Result<(), tokio_tungstenite::tungstenite::Error> = fed.await;
    if let Err(error) = broken {
        tracing::debug!(%error, "the input of a command was not sent to its end");
    }
    std::future::pending().await
}

/// Ends when who takes the output has gone.
async fn nobody_takes(to: Option<&mpsc::Sender<Bytes>>) {
    match to {
        Some(to) => to.closed().await,
        None => std::future::pending().await,
    }
}

/// Reads until the status and what comes after it.
async fn hear<S>(
    source: &mut SplitStream<WebSocketStream<S>>,
    keep: usize,
    to: Option<&mpsc::Sender<Bytes>>,
) -> Result<ExecOutput, ExecFailure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut output = Output {
        stdout: Tail::new(keep),
        stderr: Tail::new(keep),
        status: BytesMut::new(),
    };
    let status = loop {
        match source.next().await {
            Some(Ok(Message::Binary(frame))) => output.take(&frame, to).await?,
            Some(Ok(Message::Text(text))) => {
                let shown: String = text.as_str().chars().take(80).collect();
                let detail = format!("text where the protocol has bytes: `{shown}`");
                return Err(ExecFailure::Malformed { detail });
            }
            Some(Ok(_)) => continue,
            Some(Err(error)) => return Err(output.lost(&format!("the connection broke: {error}"))),
            None => return Err(output.lost("the connection ended without a status")),
        }
        if let Some(status) = output.read_status() {
            break status;
        }
    };
    let complete = loop {
        match tokio::time::timeout(LATE_OUTPUT, source.next()).await {
            Ok(Some(Ok(Message::Binary(frame)))) => output.take(&frame, to).await?,
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(_)) | None) => break true,
            Err(_) => break false,
        }
    };
    output.end(&status, complete)
}

impl Output {
    async fn take(
        &mut self,
        frame: &Bytes,
        to: Option<&mpsc::Sender<Bytes>>,
    ) -> Result<(), ExecFailure> {
        let Some((channel, data)) = frame.split_first() else {
            return Ok(());
        };
        match *channel {
            STDOUT => match to {
                // Who has gone is noticed beside this.
                Some(to) if to.send(frame.slice(1..)).await.is_err() => {
                    std::future::pending::<()>().await;
                }
                Some(_) => {}
                None => self.stdout.push(data),
            },
            STDERR => self.stderr.push(data),
            STATUS if self.status.len() + data.len() > LARGEST_STATUS => {
                let detail = format!("a status of more than {LARGEST_STATUS} bytes");
                return Err(ExecFailure::Malformed { detail });
            }
            STATUS => self.status.extend_from_slice(data),
            CLOSE => {}
            other => {
                let detail = format!("a frame on channel {other}");
                return Err(ExecFailure::Malformed { detail });
            }
        }
        Ok(())
    }

    /// The status once all of it is there.
    fn read_status(&self) -> Option<ExecStatus> {
        serde_json::from_slice(&self.status).ok()
    }

    fn lost(&self, detail: &str) -> ExecFailure {
        let detail = match self.status.is_empty() {
            true => detail.to_owned(),
            false => format!("{detail}, and what came of it cannot be read"),
        };
        ExecFailure::Lost { detail }
    }

    fn end(self, status: &ExecStatus, complete: bool) -> Result<ExecOutput, ExecFailure> {
        if status.status == "Success" {
            return Ok(ExecOutput {
                stdout: self.stdout,
                stderr: self.stderr,
                complete,
            });
        }
        match status.exit_code() {
            Some(code) => Err(ExecFailure::Exit {
                code,
                stderr: self.stderr,
            }),
            None => Err(ExecFailure::NotStarted {
                reason: status.rest.message.clone(),
            }),
        }
    }
}

/// `metav1.Status` as channel 3 has it: with the word, and with the exit code among the causes.
#[derive(serde::Deserialize)]
struct ExecStatus {
    status: String,
    #[serde(flatten)]
    rest: Status,
}

impl ExecStatus {
    fn exit_code(&self) -> Option<i32> {
        if self.rest.reason != "NonZeroExitCode" {
            return None;
        }
        let causes = &self.rest.details.as_ref()?.causes;
        let code = causes.iter().find(|cause| cause.reason == "ExitCode")?;
        code.message.trim().parse().ok()
    }
}

/// Says goodbye; the connection is closed in any case.
async fn close<S>(sink: &mut SplitSink<WebSocketStream<S>, Message>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let goodbye = tokio::time::timeout(Duration::from_secs(1), sink.close());
    if let Ok(Err(error)) = goodbye.await {
        tracing::debug!(%error, "the connection of a command was gone before it was closed");
    }
}

impl fmt::Display for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&operation(self))
    }
}
