//! HTTP for remote stores: one pooled client, time limits on every request, and notes of what happened.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::Stream;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opendal::raw::ServiceOperation;
use opendal::{Buffer, HttpBody, HttpTransport};
use tokio::time::{Instant, Sleep};

use super::proxy::ProxyConnector;
use super::tls::{self, Trust};
use super::trace::{Effect, Failure, Refusal, Trace};

/// A connection that is not there after this time will not come.
const CONNECT: Duration = Duration::from_secs(10);
/// Metadata services of clouds answer at once or are not there.
const CONNECT_LINK_LOCAL: Duration = Duration::from_secs(2);
/// Until the head of an answer is there, the time to send the body excepted.
const ANSWER: Duration = Duration::from_secs(60);
/// Putting the parts of a large object together takes stores minutes.
const ANSWER_ASSEMBLY: Duration = Duration::from_secs(300);
/// Slowest line on which a body still gets through, in bytes per second.
const SLOWEST_LINE: u64 = 64 << 10;
/// Between two pieces of an answer.
const IDLE: Duration = Duration::from_secs(60);
/// Load balancers drop idle connections after a minute at the earliest; we let go first.
const POOL_IDLE: Duration = Duration::from_secs(20);
/// More of an error's body than this is not read.
const ERROR_BODY: usize = 64 << 10;

/// A pooled HTTP client. Clones share its connections.
#[derive(Clone, Debug)]
pub(super) struct Client {
    ordinary: HyperClient<HttpsConnector<ProxyConnector>, Full<Buffer>>,
    link_local: HyperClient<HttpConnector, Full<Buffer>>,
}

impl Client {
    /// A client that trusts servers as told.
    ///
    /// # Errors
    /// Why TLS cannot be set up, for people.
    pub(super) fn new(trust: &Trust) -> Result<Self, String> {
        let connector = |limit| {
            let mut http = HttpConnector::new();
            http.enforce_http(false);
            http.set_nodelay(true);
            http.set_connect_timeout(Some(limit));
            http.set_keepalive(Some(Duration::from_secs(30)));
            http
        };
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls::client_config(trust)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(ProxyConnector::from_environment(connector(CONNECT)));
        let mut builder = HyperClient::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE);
        Ok(Self {
            ordinary: builder.build(https),
            link_local: builder.build(connector(CONNECT_LINK_LOCAL)),
        })
    }

    /// The library's transport for one operation, which writes its notes into `trace`.
    pub(super) fn traced(&self, trace: Trace) -> Traced {
        Traced {
            client: self.clone(),
            trace,
        }
    }

    /// The answer to a GET that is no request to a store: status, length, body; or why there is none.
    pub(super) async fn get(
        &self,
        request: Request<()>,
    ) -> Result<
        (
            StatusCode,
            Option<u64>,
            impl Stream<Item = Result<Bytes, String>> + Send + use<>,
        ),
        String,
    > {
        let sending = self.send(request.map(|()| Full::new(Buffer::new())));
        let answer = match tokio::time::timeout(ANSWER, sending).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(broken)) => return Err(broken.reason),
            Err(_) => return Err(format!("no answer within {} seconds", ANSWER.as_secs())),
        };
        let status = answer.status();
        let mut body = IncomingStream::new(answer.into_body());
        let size = body.exact_size();
        let stream = futures::stream::poll_fn(move |context| body.poll_bytes(context));
        Ok((status, size, stream))
    }

    async fn send(&self, request: Request<Full<Buffer>>) -> Result<Response<Incoming>, Broken> {
        let host = request.uri().host().unwrap_or_default();
        let answer = if host.starts_with("169.254.") {
            self.link_local.request(request)
        } else {
            self.ordinary.request(request)
        };
        answer.await.map_err(|error| Broken {
            sent: !error.is_connect(),
            reason: chain(&error),
        })
    }
}

/// A request that ended without an answer.
struct Broken {
    reason: String,
    sent: bool,
}

/// [`Client`] for one operation.
pub(super) struct Traced {
    client: Client,
    trace: Trace,
}

impl HttpTransport for Traced {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        // Requests for credentials carry no name; they are no requests to the store.
        let name = request.extensions().get::<ServiceOperation>().map(|o| o.0);
        let effect = name.map_or(Effect::Nothing, Effect::of);
        let is_head = request.method() == http::Method::HEAD;
        let limit = match name {
            Some("CompleteMultipartUpload" | "CopyObject" | "PutBlockList") => ANSWER_ASSEMBLY,
            _ => ANSWER,
        } + Duration::from_secs(request.body().len() as u64 / SLOWEST_LINE);
        if name.is_some() {
            self.trace.sending();
        }

        let sending = self.client.send(request.map(Full::new));
        let broken = match tokio::time::timeout(limit, sending).await {
            Ok(Ok(answer)) => return self.judge(name, effect, is_head, answer).await,
            Ok(Err(broken)) => broken,
            Err(_) => Broken {
                reason: format!("no answer within {} seconds", limit.as_secs()),
                sent: true,
            },
        };
        if name.is_some() {
            self.trace
                .broken(broken.reason.clone(), broken.sent, effect);
        }
        Err(unanswered(broken.reason))
    }
}

impl Traced {
    async fn judge(
        &self,
        name: Option<&'static str>,
        effect: Effect,
        is_head: bool,
        answer: Response<Incoming>,
    ) -> opendal::Result<Response<HttpBody>> {
        let (parts, incoming) = answer.into_parts();
        let body = IncomingStream::new(incoming);
        let success = parts.status.is_success()
            || (parts.status == StatusCode::PERMANENT_REDIRECT
                && matches!(name, Some("UploadResumableChunk" | "QueryResumableUpload")));
        // S3 begins a slow answer with 200 and may put an error into its body.
        let may_lie = matches!(name, Some("CompleteMultipartUpload" | "CopyObject"));
        if success && !may_lie {
            if name.is_some() {
                // "Go on": what a resumable upload has so far is not visible.
                let going_on = parts.status == StatusCode::PERMANENT_REDIRECT;
                self.trace
                    .succeeded(if going_on { Effect::Part } else { effect });
            }
            let size = if is_head { None } else { body.exact_size() };
            let body = body.noted(self.trace.clone());
            return Ok(Response::from_parts(parts, HttpBody::new(body, size)));
        }

        let body = match body.collect(ERROR_BODY).await {
            Ok(body) => body,
            Err(reason) => {
                if name.is_some() {
                    self.trace.broken(reason.clone(), true, effect);
                }
                return Err(unanswered(reason));
            }
        };
        if name.is_some() {
            let refusal = Refusal::parse(parts.status, &parts.headers, &body);
            if success && refusal.code.is_empty() {
                self.trace.succeeded(effect);
            } else {
                self.trace.refused(embedded(refusal), effect);
            }
        }
        let size = body.len() as u64;
        let whole = futures::stream::iter([Ok(Buffer::from(body))]);
        Ok(Response::from_parts(
            parts,
            HttpBody::new(whole, (!is_head).then_some(size)),
        ))
    }
}

/// An error inside a 200 counts as what it would have been by itself.
fn embedded(mut refusal: Refusal) -> Refusal {
    if refusal.status < 300 {
        refusal.status = match refusal.code.as_str() {
            "PreconditionFailed" => 412,
            "ConditionalRequestConflict" | "OperationAborted" => 409,
            _ => 500,
        };
    }
    refusal
}

fn unanswered(reason: String) -> opendal::Error {
    opendal::Error::new(opendal::ErrorKind::Unexpected, reason).set_temporary()
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// The body of an answer, given up when nothing comes for [`IDLE`].
struct IncomingStream {
    incoming: Incoming,
    idle: Pin<Box<Sleep>>,
    trace: Option<Trace>,
}

impl IncomingStream {
    fn new(incoming: Incoming) -> Self {
        Self {
            incoming,
            idle: Box::pin(tokio::time::sleep(IDLE)),
            trace: None,
        }
    }

    fn noted(mut self, trace: Trace) -> Self {
        self.trace = Some(trace);
        self
    }

    fn exact_size(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, String>>> {
        loop {
            let frame = match Pin::new(&mut self.incoming).poll_frame(context) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    ready!(self.idle.as_mut().poll(context));
                    let reason = format!("the answer stalled for {} seconds", IDLE.as_secs());
                    return Poll::Ready(Some(Err(reason)));
                }
            };
            self.idle.as_mut().reset(Instant::now() + IDLE);
            return Poll::Ready(match frame {
                None => None,
                Some(Err(error)) => Some(Err(chain(&error))),
                // Trailers carry nothing that we need.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Some(Ok(data)),
                    Err(_) => continue,
                },
            });
        }
    }

    async fn collect(mut self, limit: usize) -> Result<Bytes, String> {
        let mut all = BytesMut::new();
        while let Some(chunk) = std::future::poll_fn(|context| self.poll_bytes(context)).await {
            let chunk = chunk?;
            let room = limit.saturating_sub(all.len());
            all.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        Ok(all.freeze())
    }
}

impl Stream for IncomingStream {
    type Item = opendal::Result<Buffer>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.poll_bytes(context));
        Poll::Ready(item.map(|bytes| match bytes {
            Ok(bytes) => Ok(Buffer::from(bytes)),
            Err(reason) => {
                if let Some(trace) = &self.trace {
                    trace.broken(reason.clone(), true, Effect::Nothing);
                }
                Err(unanswered(reason))
            }
        }))
    }
}

/// The region of a bucket on AWS, which every answer names, even a refusal.
pub(super) async fn bucket_region(client: &Client, bucket: &str) -> Result<String, Failure> {
    let uri = format!("https://s3.amazonaws.com/{bucket}");
    let request = Request::head(uri)
        .body(Full::new(Buffer::new()))
        .map_err(|error| Failure::Broken(error.to_string()))?;
    let answer = match tokio::time::timeout(ANSWER, client.send(request)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(broken)) => return Err(Failure::Broken(broken.reason)),
        Err(_) => return Err(Failure::Broken("no answer".to_owned())),
    };
    let refusal = Refusal::parse(answer.status(), answer.headers(), &[]);
    match refusal.region.clone() {
        Some(region) => Ok(region),
        None => Err(Failure::Refused(refusal)),
    }
}
