//! `pods/exec` over WebSocket: the protocol is ours, the process is the embedding program's.
//!
//! Without a handler in [`Options::exec`](crate::Options::exec) the subresource is refused: this server runs
//! nothing. With one, the server checks pod and container as the real one and a kubelet do, speaks the
//! protocol, and hands the command over.

use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::body::{self, ResponseBody};
use crate::status::Failure;

const V4: &str = "v4.channel.k8s.io";
const V5: &str = "v5.channel.k8s.io";

/// Runs commands for the server.
#[derive(Clone)]
pub struct ExecHandler {
    run: Arc<dyn Fn(ExecCommand, ExecStreams) -> BoxFuture<'static, ExecEnd> + Send + Sync>,
    only_v4: bool,
}

/// A command that a client wants to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecCommand {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container; the pod's only one when the client named none.
    pub container: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// The protocol that was agreed on, for example `v5.channel.k8s.io`.
    pub protocol: &'static str,
}

/// How a command ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecEnd {
    /// With this exit code.
    Exit(i32),
    /// It could not be started, for this reason.
    NotStarted(String),
    /// The connection is closed in good order, without a status.
    NoStatus,
    /// The connection breaks.
    Cut,
}

/// Both ends of a command's streams.
pub struct ExecStreams {
    sink: SplitSink<WebSocketStream<TokioIo<Upgraded>>, Message>,
    source: SplitStream<WebSocketStream<TokioIo<Upgraded>>>,
}

impl ExecHandler {
    /// Runs each command with `run`.
    pub fn new<F>(run: impl Fn(ExecCommand, ExecStreams) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = (ExecStreams, ExecEnd)> + Send + 'static,
    {
        let run = move |command, streams| -> BoxFuture<'static, ExecEnd> {
            let running = run(command, streams);
            Box::pin(async move {
                let (streams, end) = running.await;
                streams.finish(&end).await;
                end
            })
        };
        Self {
            run: Arc::new(run),
            only_v4: false,
        }
    }

    /// The same, as a server before 1.30 speaks: without a way to end an input.
    #[must_use]
    pub fn only_v4(self) -> Self {
        Self {
            only_v4: true,
            ..self
        }
    }

    /// Agrees on the protocol and lets the command run in a task that ends with it.
    pub(crate) fn begin(
        &self,
        command: Requested,
        headers: &HeaderMap,
        upgrade: Option<OnUpgrade>,
    ) -> Result<Response<ResponseBody>, Failure> {
        let text = |name| {
            headers
                .get(name)
                .and_then(|v: &HeaderValue| v.to_str().ok())
        };
        let upgrade = upgrade.ok_or_else(|| {
            Failure::bad_request("exec needs a connection: serve this server over HTTP")
        })?;
        let key = text(header::SEC_WEBSOCKET_KEY).ok_or_else(|| {
            Failure::bad_request("Upgrade request required: exec speaks WebSocket only")
        })?;
        let offered = text(header::SEC_WEBSOCKET_PROTOCOL).unwrap_or_default();
        let offered: Vec<&str> = offered.split(',').map(str::trim).collect();
        let protocol = [V5, V4]
            .into_iter()
            .filter(|protocol| *protocol != V5 || !self.only_v4)
            .find(|protocol| offered.contains(protocol))
            .ok_or_else(|| Failure::bad_request("no protocol that both sides know was offered"))?;
        let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
            .map_err(|_| Failure::bad_request("the key of the handshake is not usable"))?;
        let command = ExecCommand {
            namespace: command.namespace,
            pod: command.pod,
            container: command.container,
            command: command.command,
            protocol,
        };
        let run = Arc::clone(&self.run);
        tokio::spawn(async move {
            match upgrade.await {
                Ok(connection) => {
                    let stream = TokioIo::new(connection);
                    let stream = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
                    let (sink, source) = stream.split();
                    let end = run(command, ExecStreams { sink, source }).await;
                    tracing::debug!(?end, "a command ended");
                }
                Err(error) => tracing::debug!(%error, "a command was not begun"),
            }
        });
        let mut response = Response::new(body::full(""));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        for (name, value) in [
            (header::CONNECTION, HeaderValue::from_static("Upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, accept),
            (
                header::SEC_WEBSOCKET_PROTOCOL,
                HeaderValue::from_static(protocol),
            ),
        ] {
            response.headers_mut().insert(name, value);
        }
        Ok(response)
    }
}

impl fmt::Debug for ExecHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecHandler")
            .field("only_v4", &self.only_v4)
            .finish_non_exhaustive()
    }
}

impl ExecStreams {
    /// Sends output. False when the client is gone.
    pub async fn stdout(&mut self, data: &[u8]) -> bool {
        self.send(1, data).await
    }

    /// Sends errors. False when the client is gone.
    pub async fn stderr(&mut self, data: &[u8]) -> bool {
        self.send(2, data).await
    }

    /// Sends bytes on any channel. False when the client is gone.
    pub async fn send(&mut self, channel: u8, data: &[u8]) -> bool {
        let mut frame = BytesMut::with_capacity(data.len() + 1);
        frame.put_u8(channel);
        frame.put(data);
        let sent = self.sink.send(Message::Binary(frame.freeze())).await;
        sent.is_ok()
    }

    /// The next bytes of the input; `None` when it or the connection ended.
    pub async fn stdin(&mut self) -> Option<Bytes> {
        while let Some(Ok(message)) = self.source.next().await {
            if let Message::Binary(frame) = message {
                match frame.first() {
                    Some(0) => return Some(frame.slice(1..)),
                    Some(255) if frame.get(1) == Some(&0) => return None,
                    _ => {}
                }
            }
        }
        None
    }

    /// Waits until the client is gone.
    pub async fn gone(&mut self) {
        while let Some(Ok(message)) = self.source.next().await {
            if matches!(message, Message::Close(_)) {
                return;
            }
        }
    }

    async fn finish(mut self, end: &ExecEnd) {
        let status = match end {
            ExecEnd::Exit(0) => Some(json!({"metadata": {}, "status": "Success"})),
            ExecEnd::Exit(code) => Some(exited(*code)),
            ExecEnd::NotStarted(reason) => Some(json!({
                "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
                "message": format!("Internal error occurred: error executing command in container: {reason}"),
                "details": {"causes": [{"message": format!("error executing command in container: {reason}")}]},
            })),
            ExecEnd::NoStatus => None,
            ExecEnd::Cut => return,
        };
        if let Some(status) = status {
            self.send(3, status.to_string().as_bytes()).await;
        }
        // The client may be gone; then there is nobody to say goodbye to.
        let _ = self.sink.close().await;
        self.gone().await;
    }
}

fn exited(code: i32) -> Value {
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: command terminated with exit code {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

/// What a request asks for, checked against the pod.
pub(crate) struct Requested {
    namespace: String,
    pod: String,
    container: String,
    command: Vec<String>,
}

impl Requested {
    /// Checks a request as API server and kubelet do.
    pub(crate) fn check(
        namespace: &str,
        pod: &Value,
        container: &str,
        command: Vec<String>,
    ) -> Result<Self, Failure> {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        if command.is_empty() {
            return Err(Failure::bad_request(
                "you must specify at least 1 command for the container",
            ));
        }
        let containers: Vec<&str> = ["containers", "initContainers", "ephemeralContainers"]
            .iter()
            .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten())
            .filter_map(|container| container["name"].as_str())
            .collect();
        let container = match (container, containers.as_slice()) {
            ("", [only]) => only,
            ("", _) => {
                return Err(Failure::bad_request(format!(
                    "a container name must be specified for pod {name}, choose one of: {containers:?}"
                )));
            }
            (named, all) if all.contains(&named) => named,
            (named, _) => {
                return Err(Failure::bad_request(format!(
                    "container {named} is not valid for pod {name}"
                )));
            }
        };
        if pod["status"]["phase"] != "Running" {
            return Err(Failure::new(
                500,
                "InternalError",
                format!(
                    "Internal error occurred: unable to upgrade connection: container not found (\"{container}\")"
                ),
            ));
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            pod: name.to_owned(),
            container: container.to_owned(),
            command,
        })
    }
}
