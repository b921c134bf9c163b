//! One conversation with a provider: its question goes out, its answer comes in, both as they are made. By HTTP it is one
//! POST, with a program one process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use salvor_seal::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::credentials::{self, Authorization, SecretKey};
use super::definition::{Exec, Webhook};
use super::error::{CallError, excerpt};
use super::exec::{self, Leash};
use super::webhook::Endpoint;
use super::wire::{self, Source};

/// Bytes of standard error that are kept.
const COMPLAINT: u64 = 4096;
/// Pieces of a question on their way, each at most a chunk: enough to keep the line busy.
const ON_THE_WAY: usize = 4;

/// How a provider is reached.
pub(crate) enum Transport {
    Webhook(Box<Endpoint>),
    Exec(Vec<String>),
}

/// The answering side of a conversation.
pub(crate) struct Reply {
    opening: Opening,
    running: Option<Running>,
}

enum Opening {
    Request(AbortOnDropHandle<Result<Source, CallError>>),
    Open(Source),
    /// The program could not be started.
    Failed(CallError),
}

/// An answer that is being read.
pub(crate) struct Answering {
    pub(crate) source: Source,
    running: Option<Running>,
}

/// A program at work. Dropping it ends the program and what it started.
struct Running {
    child: Child,
    leash: Leash,
    complaint: AbortOnDropHandle<Vec<u8>>,
    _writer: AbortOnDropHandle<()>,
}

impl Transport {
    /// By whichever of the two is defined.
    ///
    /// # Errors
    /// Neither is, or TLS cannot be set up.
    pub(crate) fn new(webhook: Option<&Webhook>, exec: Option<&Exec>) -> Result<Self, String> {
        match (webhook, exec) {
            (Some(webhook), _) => Ok(Self::Webhook(Box::new(Endpoint::new(webhook)?))),
            (None, Some(exec)) => Ok(Self::Exec(exec.command.clone())),
            (None, None) => Err("it needs either webhook or exec".to_owned()),
        }
    }

    /// The Secret whose value it lacks.
    pub(crate) fn unknown(&self) -> Option<&SecretKey> {
        match self {
            Self::Webhook(endpoint) => match &endpoint.authorization {
                Authorization::Unknown(secret) => Some(secret),
                _ => None,
            },
            Self::Exec(_) => None,
        }
    }

    /// With the credentials that it lacks, where they were found; `None` where nothing changes. Connections
    /// are shared.
    pub(crate) fn with_secrets(
        &self,
        webhook: Option<&Webhook>,
        found: &BTreeMap<SecretKey, Secret>,
    ) -> Result<Option<Self>, String> {
        let credentials = webhook.and_then(|webhook| webhook.credentials.as_ref());
        let (Self::Webhook(endpoint), Some(credentials)) = (self, credentials) else {
            return Ok(None);
        };
        let Some((key, value)) = self.unknown().and_then(|key| found.get_key_value(key)) else {
            return Ok(None);
        };
        let header = credentials::header(credentials.scheme, value);
        let header = header.map_err(|reason| {
            format!(
                "credentials in secret `{}`, key `{}`: {reason}",
                key.name, key.key
            )
        })?;
        let mut endpoint = endpoint.clone();
        endpoint.authorization = Authorization::Known(Arc::new(header));
        Ok(Some(Self::Webhook(endpoint)))
    }

    /// Begins a conversation with a line. With a `body`, everything sent follows it, and the question ends when
    /// the sender is dropped; without one the question is whole.
    pub(crate) fn open(&self, line: Bytes, body: bool) -> (mpsc::Sender<Bytes>, Reply) {
        let (to, from) = mpsc::channel(ON_THE_WAY);
        let (opening, running) = match self {
            Self::Webhook(endpoint) => {
                let endpoint = (**endpoint).clone();
                let request = tokio::spawn(async move {
                    match body {
                        true => endpoint.converse(line, from).await,
                        false => endpoint.ask_once(line).await,
                    }
                });
                (Opening::Request(AbortOnDropHandle::new(request)), None)
            }
            Self::Exec(command) => match start(command, line, from) {
                Ok((source, running)) => (Opening::Open(source), Some(running)),
                Err(error) => (Opening::Failed(error), None),
            },
        };
        (to, Reply { opening, running })
    }
}

impl Reply {
    /// The first line of the answer, within `patience`.
    pub(crate) async fn head(self, patience: Duration) -> Result<(Vec<u8>, Answering), CallError> {
        let opened = async {
            match self.opening {
                Opening::Open(source) => Ok(source),
                Opening::Failed(error) => Err(error),
                Opening::Request(request) => match request.await {
                    Ok(opened) => opened,
                    // Nobody aborts it while we wait, so it has panicked.
                    Err(error) => Err(CallError::Read {
                        reason: error.to_string(),
                    }),
                },
            }
        };
        let source = tokio::time::timeout(patience, opened)
            .await
            .map_err(|_| CallError::Timeout(patience))??;
        let mut answering = Answering {
            source,
            running: self.running,
        };
        match wire::line(&mut answering.source, wire::MAX_HEAD, patience).await? {
            Some(head) => Ok((head, answering)),
            None => {
                // How a program ended says more than that it said nothing.
                answering.end(patience).await?;
                Err(CallError::BrokenOff)
            }
        }
    }
}

impl Answering {
    /// Waits for the other side to be done, after its last byte was read.
    pub(crate) async fn end(&mut self, patience: Duration) -> Result<(), CallError> {
        wire::at_end(&mut self.source, patience).await?;
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        tokio::time::timeout(patience, running.end())
            .await
            .map_err(|_| CallError::Timeout(patience))?
    }
}

impl Running {
    async fn end(mut self) -> Result<(), CallError> {
        let pipe = |source| CallError::Pipe { source };
        let status = self.child.wait().await.map_err(pipe)?;
        self.leash.release();
        if status.success() {
            return Ok(());
        }
        let complaint = self.complaint.await.unwrap_or_default();
        Err(CallError::Exit {
            status,
            excerpt: excerpt(&complaint),
        })
    }
}

fn start(
    command: &[String],
    line: Bytes,
    body: mpsc::Receiver<Bytes>,
) -> Result<(Source, Running), CallError> {
    let (mut child, leash) = exec::start(command)?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(CallError::Meaningless("no pipes"));
    };
    let running = Running {
        child,
        leash,
        complaint: AbortOnDropHandle::new(tokio::spawn(complaint(stderr))),
        _writer: AbortOnDropHandle::new(tokio::spawn(feed(stdin, line, body))),
    };
    Ok((Box::pin(BufReader::new(stdout)), running))
}

/// Dropping the receiver tells the sender that nobody listens; the answer says why.
async fn feed(mut stdin: ChildStdin, line: Bytes, mut body: mpsc::Receiver<Bytes>) {
    let mut next = Some(line);
    while let Some(bytes) = next {
        if stdin.write_all(&bytes).await.is_err() {
            return;
        }
        next = body.recv().await;
    }
}

/// The beginning of what a program says on standard error; the rest is read, so that it never waits for us.
async fn complaint(mut stderr: ChildStderr) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut beginning = (&mut stderr).take(COMPLAINT);
    // What was read before an error is the complaint all the same.
    let _ = beginning.read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    kept
}
