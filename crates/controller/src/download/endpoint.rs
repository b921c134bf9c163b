//! Serves files over HTTP to whoever has a token: `GET <public URL>/download/<token>`.
//!
//! Tokens are 32 random bytes; only their digests are kept. A token is worth one file, for ten minutes. What is
//! not granted, and what is not in the store, answers 404.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use salvor_location::Location;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Downloads, File, NOWHERE};
use crate::context::chain;

/// Connections at once; more wait. Each holds little more than a chunk of its file.
const CONNECTIONS: usize = 64;
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest connection: a large archive over a slow line.
const LONGEST: Duration = Duration::from_secs(6 * 3600);
/// Pause after a connection that could not be accepted, such as without file descriptors.
const PAUSE: Duration = Duration::from_millis(200);
const PATH: &str = "/download/";
/// Bytes of a token.
const TOKEN: usize = 32;

type Body = UnsyncBoxBody<Bytes, salvor_location::Error>;

/// What a token is worth.
pub(super) struct Grant {
    request: String,
    location: Location,
    file: File,
    until: Instant,
}

impl Grant {
    pub(super) fn new(request: &str, location: Location, file: File, lasts: Duration) -> Self {
        Self {
            request: request.to_owned(),
            location,
            file,
            until: Instant::now() + lasts,
        }
    }
}

/// The place where files are served. Clones share it.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// The public URL, or why there is none; `None` until that is known.
    base: watch::Receiver<Option<Result<String, String>>>,
    grants: Arc<Mutex<HashMap<[u8; 32], Grant>>>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").finish_non_exhaustive()
    }
}

/// A token that nobody can guess, in hex.
pub(super) fn new_token() -> Result<String, String> {
    let mut random = [0u8; TOKEN];
    // Without a random source there is no secret.
    getrandom::fill(&mut random).map_err(|error| format!("no random numbers: {error}"))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Endpoint {
    /// Begins to serve, until `cancel` is cancelled.
    pub(crate) fn start(
        settings: Option<&Downloads>,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> Self {
        let (sender, base) = watch::channel(None);
        let endpoint = Self {
            base,
            grants: Arc::default(),
        };
        let Some(settings) = settings.cloned() else {
            sender.send_replace(Some(Err(NOWHERE.to_owned())));
            return endpoint;
        };
        let (serving, cancel, tracker) = (endpoint.clone(), cancel.clone(), tasks.clone());
        tasks.spawn(async move {
            let bound = TcpListener::bind(settings.listen).await;
            let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
            let (address, listener) = match bound {
                Ok(bound) => bound,
                Err(error) => {
                    let why = format!("files cannot be served on {}: {error}", settings.listen);
                    tracing::error!("{why}");
                    sender.send_replace(Some(Err(why)));
                    return;
                }
            };
            let base = match settings.public_url.trim_end_matches('/') {
                "" => format!("http://{address}"),
                url => url.to_owned(),
            };
            tracing::info!(%address, url = %base, "files are served");
            sender.send_replace(Some(Ok(base)));
            serving.accept(listener, &tracker, &cancel).await;
        });
        endpoint
    }

    /// The address for a token; an error says why there is none.
    pub(super) async fn url(&self, token: &str) -> Result<String, String> {
        Ok(format!("{}{PATH}{token}", self.base().await?))
    }

    async fn base(&self) -> Result<String, String> {
        let mut base = self.base.clone();
        let known = base.wait_for(Option::is_some).await;
        match known.as_deref() {
            Ok(Some(base)) => base.clone(),
            _ => Err("the server is leaving".to_owned()),
        }
    }

    /// The token in an address of ours.
    pub(super) async fn token_of(&self, url: &str) -> Option<String> {
        let base = self.base().await.ok()?;
        let token = url.strip_prefix(&base)?.strip_prefix(PATH)?;
        let is_hex = token.bytes().all(|byte| byte.is_ascii_hexdigit());
        (token.len() == 2 * TOKEN && is_hex).then(|| token.to_owned())
    }

    pub(super) fn knows(&self, token: &str) -> bool {
        self.lock().contains_key(&digest(token))
    }

    pub(super) fn grant(&self, token: &str, grant: Grant) {
        self.lock().insert(digest(token), grant);
    }

    /// Takes back what a request was granted.
    pub(super) fn withdraw(&self, request: &str) {
        self.lock().retain(|_, grant| grant.request != request);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Grant>> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn accept(&self, listener: TcpListener, tasks: &TaskTracker, cancel: &CancellationToken) {
        let free = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let next = async {
                let place = Arc::clone(&free).acquire_owned().await;
                (place, listener.accept().await)
            };
            let Some((place, accepted)) = cancel.run_until_cancelled(next).await else {
                return;
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let (endpoint, cancel) = (self.clone(), cancel.clone());
            tasks.spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let endpoint = endpoint.clone();
                    async move { Ok::<_, Infallible>(endpoint.answer(&request).await) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(PATIENCE)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                let limited = tokio::time::timeout(LONGEST, connection);
                if let Some(Ok(Err(error))) = cancel.run_until_cancelled(limited).await {
                    tracing::debug!(%error, "a download ended early");
                }
                drop(place);
            });
        }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let with_body = match *request.method() {
            Method::GET => true,
            Method::HEAD => false,
            _ => return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n"),
        };
        let granted = request.uri().path().strip_prefix(PATH).and_then(|token| {
            let grants = self.lock();
            let grant = grants.get(&digest(token))?;
            let valid = grant.until > Instant::now();
            valid.then(|| (grant.location.clone(), grant.file.clone()))
        });
        let Some((location, file)) = granted else {
            return plain(
                StatusCode::NOT_FOUND,
                "this address is not known, or no longer: make a new request\n",
            );
        };
        let opened = match &file {
            File::Backup(name, file) => location.open_file(name, file).await,
            File::Restore(name, file) => location.open_restore_file(name, file).await,
        };
        match opened {
            Ok(Some((size, stream))) => {
                let body = match with_body {
                    true => StreamBody::new(stream.map_ok(Frame::data)).boxed_unsync(),
                    false => empty(),
                };
                let response = Response::builder()
                    // Files are gzip as they are, which is what Velero's client expects.
                    .header(header::CONTENT_TYPE, "application/octet-stream")
                    .header(header::CONTENT_LENGTH, size)
                    .header(header::CACHE_CONTROL, "no-store");
                response
                    .body(body)
                    .unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR, ""))
            }
            Ok(None) => plain(StatusCode::NOT_FOUND, "there is no such file\n"),
            Err(error) => {
                let reason = chain(&error);
                tracing::warn!(
                    reason,
                    location = location.name(),
                    "a file could not be served"
                );
                plain(
                    StatusCode::BAD_GATEWAY,
                    "the store does not give the file\n",
                )
            }
        }
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn empty() -> Body {
    Full::new(Bytes::new())
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
}
