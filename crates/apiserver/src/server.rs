//! The server as a service in process and as a listener for HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use salvor_archive::ArchiveError;
use salvor_archive::archive::Archive;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::archived::ArchiveStore;
use crate::body::ResponseBody;
use crate::faults::{Faults, Requests};
use crate::handler::{ConnectionCut, Handler, Received};
use crate::memory::MemoryStore;
use crate::options::Options;
use crate::status::Failure;
use crate::store::Store;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A Kubernetes API server in this process. Clones share everything.
///
/// As a [`tower::Service`] it takes any body; give it to `kube::Client::new(server, "default")`.
#[derive(Clone)]
pub struct ApiServer {
    handler: Arc<Handler>,
    memory: Option<MemoryStore>,
}

impl ApiServer {
    /// A server that keeps its objects in memory and can be written.
    #[must_use]
    pub fn memory(options: Options) -> Self {
        let store = MemoryStore::new(options.clone());
        Self::over(Arc::new(store.clone()), options, Some(store))
    }

    /// A read-only server over a backup's archive. Reads the archive's custom resource definitions, so
    /// call it where blocking is allowed.
    ///
    /// # Errors
    /// A definition, or the first object of a resource that is in no table, cannot be read.
    pub fn archive(archive: Archive, options: Options) -> Result<Self, ArchiveError> {
        let store = ArchiveStore::open(archive)?;
        Ok(Self::over(Arc::new(store), options, None))
    }

    fn over(store: Arc<dyn Store>, options: Options, memory: Option<MemoryStore>) -> Self {
        let handler = Handler {
            store,
            options,
            faults: Faults::default(),
            requests: Requests::default(),
        };
        Self {
            handler: Arc::new(handler),
            memory,
        }
    }

    /// The faults that this server injects.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.handler.faults.clone()
    }

    /// The requests that came.
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.handler.requests.clone()
    }

    /// Forgets past changes, so that continue tokens and watch positions expire with 410, as after a
    /// compaction of etcd. Does nothing on an archive.
    pub fn compact(&self) {
        if let Some(memory) = &self.memory {
            memory.compact();
        }
    }

    /// How many objects a memory store holds; `None` over an archive.
    #[must_use]
    pub fn object_count(&self) -> Option<usize> {
        self.memory.as_ref().map(MemoryStore::object_count)
    }

    /// Serves HTTP/1.1 and cleartext HTTP/2 until the handle is shut down or dropped.
    ///
    /// # Errors
    /// The listener has no local address.
    pub fn serve(&self, listener: TcpListener) -> std::io::Result<ServerHandle> {
        let addr = listener.local_addr()?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(accept(self.clone(), listener, stop.clone()));
        Ok(ServerHandle { addr, stop, task })
    }
}

async fn accept(server: ApiServer, listener: TcpListener, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let service = TowerToHyperService::new(server.clone());
                    let stop = stop.clone();
                    connections.spawn(async move {
                        let builder = auto::Builder::new(TokioExecutor::new());
                        let connection = builder
                            .serve_connection_with_upgrades(TokioIo::new(stream), service);
                        tokio::select! {
                            () = stop.cancelled() => {}
                            outcome = connection => if let Err(error) = outcome {
                                tracing::debug!(%error, "connection ended");
                            }
                        }
                    });
                }
                Err(error) => tracing::warn!(%error, "a connection was not accepted"),
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

/// A listening server. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct ServerHandle {
    addr: SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl ServerHandle {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://ADDRESS`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// A kubeconfig for it.
    #[must_use]
    pub fn kubeconfig(&self, name: &str) -> String {
        kubeconfig(&self.url(), name)
    }

    /// Closes all connections and waits for their end.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::warn!(%error, "the server ended badly");
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A kubeconfig with one cluster, one context and no credentials.
#[must_use]
pub fn kubeconfig(url: &str, name: &str) -> String {
    let quoted = serde_json::Value::from(name);
    let url = serde_json::Value::from(url);
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: {quoted}\n  cluster:\n    server: {url}\n\
         contexts:\n- name: {quoted}\n  context:\n    cluster: {quoted}\n    user: {quoted}\n\
         users:\n- name: {quoted}\n  user: {{}}\ncurrent-context: {quoted}\n"
    )
}

impl<B> tower::Service<Request<B>> for ApiServer
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody>;
    type Error = ConnectionCut;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectionCut>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectionCut>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let handler = Arc::clone(&self.handler);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let limit = handler.options.max_body_bytes;
            let body = match Limited::new(body, limit).collect().await {
                Ok(collected) => Ok(collected.to_bytes()),
                Err(error) if error.is::<LengthLimitError>() => Err(Failure::new(
                    413,
                    "RequestEntityTooLarge",
                    format!("Request entity too large: limit is {limit}"),
                )),
                Err(error) => Err(Failure::bad_request(format!("the body broke off: {error}"))),
            };
            let received = Received {
                method: parts.method,
                uri: parts.uri,
                headers: parts.headers,
                body,
                upgrade: parts.extensions.remove(),
            };
            handler.handle(received).await
        })
    }
}
