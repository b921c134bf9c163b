//! A connection to a member: calls with one answer and calls with many, as gRPC puts them on HTTP/2.

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use salvor_seal::Secret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::{Access, Endpoint, Error, tls};

/// Header in which etcd expects its token.
const TOKEN: &str = "token";
/// Length of the prefix of a message: compressed or not, and its length.
const PREFIX: usize = 5;
/// Bytes of a message. Pieces of a snapshot have 32 KiB, other answers that we ask for far less.
const LARGEST_MESSAGE: usize = 64 << 20;
/// Bytes in flight on a connection: enough for a fast network, and what a slow disk lets pile up.
const WINDOW: u32 = 4 << 20;
/// etcd ends connections that ask more often than every 5 seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A connection.
pub(super) struct Channel {
    endpoint: Endpoint,
    sender: http2::SendRequest<Full<Bytes>>,
    token: Option<Secret>,
    patience: Duration,
    connection: JoinHandle<()>,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Channel {
    /// Connects.
    pub(super) async fn connect(endpoint: &Endpoint, access: &Access) -> Result<Self, Error> {
        let failed = |source| Error::Connect {
            endpoint: endpoint.to_string(),
            source,
        };
        let secure = if endpoint.secure {
            let name =
                ServerName::try_from(endpoint.host.clone()).map_err(|_| Error::Endpoint {
                    endpoint: endpoint.to_string(),
                    why: "its host is neither a name nor an address",
                })?;
            Some((tls::config(access)?, name))
        } else {
            None
        };
        let connect = async {
            let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port))
                .await
                .map_err(failed)?;
            // Requests are small and waited for.
            stream.set_nodelay(true).map_err(failed)?;
            match secure {
                None => handshake(stream).await.map_err(failed),
                Some((config, name)) => {
                    let connector = tokio_rustls::TlsConnector::from(config);
                    let stream = connector.connect(name, stream).await.map_err(failed)?;
                    handshake(stream).await.map_err(failed)
                }
            }
        };
        let (sender, connection) =
            in_time("a connection", endpoint, access.patience, connect).await?;
        Ok(Self {
            endpoint: endpoint.clone(),
            sender,
            token: None,
            patience: access.patience,
            connection,
        })
    }

    /// Sends a token with every call from now on.
    pub(super) fn set_token(&mut self, token: Secret) {
        self.token = Some(token);
    }

    /// The member's address.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// How long an answer may take.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// A call with one answer.
    pub(super) async fn ask(
        &mut self,
        call: &'static str,
        message: Vec<u8>,
    ) -> Result<Bytes, Error> {
        let mut messages = self.stream(call, message).await?;
        let answer = messages.next().await?;
        let answer = answer.ok_or_else(|| messages.wrong("it ended without a message"))?;
        match messages.next().await? {
            None => Ok(answer),
            Some(_) => Err(messages.wrong("more than one message came")),
        }
    }

    /// A call with any number of answers.
    pub(super) async fn stream(
        &mut self,
        call: &'static str,
        message: Vec<u8>,
    ) -> Result<Messages, Error> {
        let wrong = |why: String| Error::Answer {
            call,
            endpoint: self.endpoint.to_string(),
            why,
        };
        let length = u32::try_from(message.len())
            .map_err(|_| wrong("the question is too long".to_owned()))?;
        let mut body = vec![0];
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(&message);
        let scheme = if self.endpoint.secure {
            "https"
        } else {
            "http"
        };
        let address = format!(
            "{scheme}://{}/etcdserverpb.{call}",
            self.endpoint.authority()
        );
        let mut request = Request::post(address)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "salvor");
        if let Some(token) = &self.token {
            request = request.header(TOKEN, token.expose());
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| wrong(error.to_string()))?;
        let sent = self.sender.send_request(request);
        let endpoint = self.endpoint.clone();
        let response = in_time(call, &endpoint, self.patience, async {
            sent.await.map_err(|source| Error::Http {
                call,
                endpoint: endpoint.to_string(),
                source,
            })
        });
        let (parts, body) = response.await?.into_parts();
        let messages = Messages {
            call,
            endpoint,
            patience: self.patience,
            body,
            buffer: BytesMut::new(),
        };
        if parts.status != 200 {
            return Err(messages.wrong(format!("HTTP status {}", parts.status)));
        }
        // An answer without a message has its status in front.
        if parts.headers.contains_key("grpc-status") {
            messages.check_status(&parts.headers)?;
        }
        Ok(messages)
    }
}

type Connected = (http2::SendRequest<Full<Bytes>>, JoinHandle<()>);

async fn handshake<S>(stream: S) -> io::Result<Connected>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    let (sender, connection) = builder
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let connection = tokio::spawn(async move {
        // Whoever waits for an answer is told; nobody else needs to know.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to a member ended");
        }
    });
    Ok((sender, connection))
}

async fn in_time<T>(
    call: &'static str,
    endpoint: &Endpoint,
    patience: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(patience, work)
        .await
        .unwrap_or_else(|_| {
            Err(Error::Timeout {
                call,
                endpoint: endpoint.to_string(),
                patience,
            })
        })
}

/// Answers that come one after the other.
pub(super) struct Messages {
    call: &'static str,
    endpoint: Endpoint,
    patience: Duration,
    body: Incoming,
    buffer: BytesMut,
}

impl Messages {
    /// The same where any time may pass between two messages. That the connection is alive is asked beside it.
    pub(super) fn endless(mut self) -> Self {
        self.patience = Duration::MAX;
        self
    }

    /// The next one; `None` when the member said that it is done and all is well.
    ///
    /// # Errors
    /// The connection broke, the member refused, or nothing came in time.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(message) = self.whole()? {
                return Ok(Some(message));
            }
            let frame = tokio::time::timeout(self.patience, self.body.frame()).await;
            let frame = frame.map_err(|_| Error::Timeout {
                call: self.call,
                endpoint: self.endpoint.to_string(),
                patience: self.patience,
            })?;
            let frame = match frame {
                None => {
                    return Err(self.wrong("it ended without a status: a part of it is missing"));
                }
                Some(Ok(frame)) => frame,
                Some(Err(source)) => {
                    return Err(Error::Http {
                        call: self.call,
                        endpoint: self.endpoint.to_string(),
                        source,
                    });
                }
            };
            match frame.into_data() {
                Ok(data) => self.buffer.extend_from_slice(&data),
                Err(frame) => {
                    if let Some(trailers) = frame.trailers_ref() {
                        self.check_status(trailers)?;
                        return if self.buffer.is_empty() {
                            Ok(None)
                        } else {
                            Err(self.wrong("it ended inside of a message"))
                        };
                    }
                }
            }
        }
    }

    fn whole(&mut self) -> Result<Option<Bytes>, Error> {
        let Some((prefix, rest)) = self.buffer.split_at_checked(PREFIX) else {
            return Ok(None);
        };
        if prefix[0] != 0 {
            return Err(self.wrong("a message is compressed"));
        }
        let length = prefix[1..]
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        if length > LARGEST_MESSAGE {
            return Err(self.wrong(format!("a message has {length} bytes")));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    fn check_status(&self, headers: &HeaderMap) -> Result<(), Error> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let status = text("grpc-status").and_then(|status| status.parse().ok());
        match status {
            Some(0) => Ok(()),
            Some(code) => Err(Error::Refused {
                call: self.call,
                endpoint: self.endpoint.to_string(),
                code,
                message: decoded(text("grpc-message").unwrap_or("no reason")),
            }),
            None => Err(self.wrong("it has no status of gRPC")),
        }
    }

    pub(super) fn wrong(&self, why: impl Into<String>) -> Error {
        Error::Answer {
            call: self.call,
            endpoint: self.endpoint.to_string(),
            why: why.into(),
        }
    }

    /// An answer that cannot be read.
    pub(super) fn malformed(&self, source: crate::protobuf::Malformed) -> Error {
        Error::Malformed {
            call: self.call,
            endpoint: self.endpoint.to_string(),
            source,
        }
    }
}

/// A message of a status, where bytes that are no plain text stand as `%XX`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let pair = after
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(value) if byte == b'%' => {
                bytes.push(value);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_status_are_decoded() {
        for (text, expected) in [
            (
                "etcdserver: permission denied",
                "etcdserver: permission denied",
            ),
            ("100%25 %zz %2", "100% %zz %2"),
            ("%EA%B0%80", "가"),
        ] {
            assert_eq!(decoded(text), expected);
        }
    }
}
