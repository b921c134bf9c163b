//! Connections to this process: one loop accepts them for everything that is served, plain or over TLS.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::tls::{Keys, Peer};

/// How long a client may take to say who it is and what it wants, and how long a connection lasts that does nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after a connection that could not be accepted, such as without file descriptors.
const PAUSE: Duration = Duration::from_millis(200);

/// A body of any kind.
pub(crate) type Body = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// How connections are protected.
#[derive(Clone, Debug)]
pub(crate) enum Security {
    /// Not at all.
    Plain,
    /// By the newest certificate; while there is none, no connection comes about.
    Tls {
        /// Where it is.
        keys: Keys,
        /// Who may connect.
        clients: Clients,
    },
}

/// Who may connect.
#[derive(Clone, Debug)]
pub(crate) enum Clients {
    /// Everybody; nobody is asked for a certificate.
    All,
    /// Everybody; who shows a certificate of the authority is known by its names, and the answer decides by them.
    Asked,
}

/// Something that is served.
pub(crate) struct Serving {
    /// What, for the log.
    pub(crate) name: &'static str,
    pub(crate) listener: TcpListener,
    pub(crate) security: Security,
    /// Connections at once; more wait.
    pub(crate) connections: usize,
    /// Longest connection.
    pub(crate) longest: Duration,
    /// Whether a connection may ask more than once.
    pub(crate) keep_alive: bool,
}

impl Serving {
    /// Answers until `cancel` is cancelled.
    pub(crate) async fn run<A, F>(self, answer: A, tasks: TaskTracker, cancel: CancellationToken)
    where
        A: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let free = Arc::new(Semaphore::new(self.connections));
        let this = Arc::new(self);
        loop {
            let next = async {
                let place = Arc::clone(&free).acquire_owned().await;
                (place, this.listener.accept().await)
            };
            let Some((place, accepted)) = cancel.run_until_cancelled(next).await else {
                return;
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, to = this.name, "a connection was not accepted");
                    let pause = tokio::time::sleep(PAUSE);
                    if cancel.run_until_cancelled(pause).await.is_none() {
                        return;
                    }
                    continue;
                }
            };
            let (this, answer, cancel) = (Arc::clone(&this), answer.clone(), cancel.clone());
            tasks.spawn(async move {
                let served = tokio::time::timeout(this.longest, this.connection(stream, answer));
                if let Some(Ok(Err(error))) = cancel.run_until_cancelled(served).await {
                    tracing::debug!(error = &*error, to = this.name, "a connection ended early");
                }
                drop(place);
            });
        }
    }

    async fn connection<A, F>(
        &self,
        stream: TcpStream,
        answer: A,
    ) -> Result<(), Box<dyn Error + Send + Sync>>
    where
        A: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let (keys, clients) = match &self.security {
            Security::Plain => return self.requests(stream, Peer::default(), answer).await,
            Security::Tls { keys, clients } => (keys, clients),
        };
        let material = keys.material().ok_or("there is no certificate yet")?;
        let config: Arc<ServerConfig> = match clients {
            Clients::All => material.open,
            // Without an authority nobody can be known.
            Clients::Asked => material.asking.unwrap_or(material.open),
        };
        let handshake = TlsAcceptor::from(config).accept(stream);
        let stream = tokio::time::timeout(PATIENCE, handshake).await??;
        let shown = stream.get_ref().1.peer_certificates();
        let peer = Peer {
            certificate: shown.and_then(|chain| chain.first().cloned()),
        };
        self.requests(stream, peer, answer).await
    }

    /// Answers what is asked on a connection.
    async fn requests<S, A, F>(
        &self,
        stream: S,
        peer: Peer,
        answer: A,
    ) -> Result<(), Box<dyn Error + Send + Sync>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        A: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let service = service_fn(move |request: Request<Incoming>| {
            let answered = answer(request, peer.clone());
            async move { Ok::<_, Infallible>(answered.await) }
        });
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .keep_alive(self.keep_alive)
            .serve_connection(TokioIo::new(stream), service)
            .await?;
        Ok(())
    }
}

/// A body that is there already.
pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// An answer for people.
pub(crate) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response
}
