//! [`Cluster`]: one API server, and the one place where calls are made.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use tower::BoxError;
use tower::Service;

use crate::error::{Error, ErrorKind};
use crate::limiter::{Answer, Limiter, Work};
use crate::metrics::Requests;
use crate::page::{ListOptions, Page};
use crate::path::with_query;
use crate::resource::ApiResource;
use crate::retry::{self, Repeat};

/// Largest answer to anything but a list, in bytes. etcd holds objects of 1.5 MiB unless it is told
/// otherwise; discovery documents of clusters with thousands of CRDs take a few MiB.
const LARGEST_ANSWER: usize = 32 << 20;
/// Largest `Status` that is read, in bytes.
const LARGEST_STATUS: usize = 256 << 10;

/// How long a call may take, its body included; each attempt counts anew.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Reads of one object and discovery.
    pub read: Duration,
    /// One page of a list.
    pub list: Duration,
    /// Writes; admission webhooks alone may take 30 seconds.
    pub write: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            read: Duration::from_secs(30),
            list: Duration::from_secs(120),
            write: Duration::from_secs(60),
        }
    }
}

/// One Kubernetes API server. Clones share connections and the limiter.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    name: Arc<str>,
    limiter: Limiter,
    timeouts: Timeouts,
    requests: Requests,
}

/// Who a cluster is: stamped on every backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterIdentity {
    /// UID of the `kube-system` namespace, which lives as long as the cluster.
    pub uid: String,
    /// Name for people: the kubeconfig's context, or the host.
    pub name: String,
    /// What the server runs.
    pub version: ServerVersion,
}

/// `/version` of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerVersion {
    /// For example `v1.32.4`.
    pub git_version: String,
    /// For example `1`.
    pub major: String,
    /// For example `32`, or `32+` on some providers.
    pub minor: String,
}

pub(crate) struct Call {
    pub(crate) operation: String,
    pub(crate) method: Method,
    pub(crate) uri: String,
    pub(crate) accept: &'static str,
    pub(crate) body: Option<(Bytes, &'static str)>,
    pub(crate) work: Work,
    pub(crate) largest_answer: usize,
}

pub(crate) const JSON: &str = "application/json";

impl Call {
    pub(crate) fn read(operation: impl Into<String>, uri: impl Into<String>) -> Self {
        Self {
            operation: operation.into(),
            method: Method::GET,
            uri: uri.into(),
            accept: JSON,
            body: None,
            work: Work::Read,
            largest_answer: LARGEST_ANSWER,
        }
    }

    pub(crate) fn write(
        operation: impl Into<String>,
        method: Method,
        uri: impl Into<String>,
        body: Option<(Bytes, &'static str)>,
    ) -> Self {
        Self {
            method,
            body,
            work: Work::Write,
            ..Self::read(operation, uri)
        }
    }
}

impl Cluster {
    /// A cluster behind any HTTP service, for example the in-process API server. Must be called inside a
    /// tokio runtime: the service is driven by a task of its own.
    pub fn from_service<S, B>(service: S, name: &str) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::from_client(kube::Client::new(service, "default"), name)
    }

    pub(crate) fn from_client(client: kube::Client, name: &str) -> Self {
        Self {
            client,
            name: name.into(),
            limiter: Limiter::default(),
            timeouts: Timeouts::default(),
            requests: Requests::default(),
        }
    }

    /// The same cluster with other timeouts.
    #[must_use]
    pub fn with_timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }

    /// The same cluster with a limiter of its own.
    #[must_use]
    pub fn with_limiter(self, limiter: Limiter) -> Self {
        Self { limiter, ..self }
    }

    /// The limiter that all calls share.
    #[must_use]
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Name for people: the kubeconfig's context, or the host.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the server runs.
    ///
    /// # Errors
    /// The call failed or its answer is not a version.
    pub async fn server_version(&self) -> Result<ServerVersion, Error> {
        let operation = "read the server's version";
        let body = self.call(Call::read(operation, "/version")).await?;
        serde_json::from_slice(&body)
            .map_err(|e| Error::caused(ErrorKind::Malformed, operation, e.to_string(), e))
    }

    /// Who the cluster is.
    ///
    /// # Errors
    /// The version or the `kube-system` namespace cannot be read.
    pub async fn identity(&self) -> Result<ClusterIdentity, Error> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            uid: String,
        }
        let version = self.server_version().await?;
        let operation = "read the cluster's identity (namespace kube-system)";
        let body = self
            .call(Call::read(operation, "/api/v1/namespaces/kube-system"))
            .await?;
        let object: Object = serde_json::from_slice(&body)
            .map_err(|e| Error::caused(ErrorKind::Malformed, operation, e.to_string(), e))?;
        Ok(ClusterIdentity {
            uid: object.metadata.uid,
            name: self.name.to_string(),
            version,
        })
    }

    /// One object as the server sends it; `None` when it is not there. `namespace` is ignored for
    /// cluster-scoped resources.
    ///
    /// # Errors
    /// Any failure but "not found"; [`ErrorKind::NoSuchKind`] when the server does not know the resource.
    pub async fn get(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Bytes>, Error> {
        let operation = describe("get", resource, namespace, Some(name));
        let uri = resource
            .object_path(namespace, name)
            .map_err(|reason| Error::local(ErrorKind::Config, &operation, reason))?;
        match self.call(Call::read(operation, uri)).await {
            Ok(body) => Ok(Some(body)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One page of a list, of all namespaces when `namespace` is `None`.
    ///
    /// # Errors
    /// [`ErrorKind::Gone`] when the continue token expired (see [`Error::continue_token`]),
    /// [`ErrorKind::TooLarge`] when the page passes [`ListOptions::max_bytes`] (ask for fewer items),
    /// [`ErrorKind::Malformed`] when the answer is not a list.
    pub async fn list_page(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        options: &ListOptions,
    ) -> Result<Page, Error> {
        let operation = describe("list", resource, namespace, None);
        let path = resource
            .collection_path(namespace)
            .map_err(|reason| Error::local(ErrorKind::Config, &operation, reason))?;
        let uri = with_query(
            &path,
            &[
                ("labelSelector", options.label_selector.clone()),
                ("fieldSelector", options.field_selector.clone()),
                ("limit", options.limit.map(|n| n.to_string())),
                ("continue", options.continue_token.clone()),
            ],
        );
        let body = self
            .call(Call {
                work: Work::List,
                largest_answer: options.max_bytes,
                ..Call::read(operation.clone(), uri)
            })
            .await?;
        let parsed = tokio::task::spawn_blocking(move || Page::parse(body))
            .await
            .map_err(|e| Error::caused(ErrorKind::Malformed, &operation, "split the page", e))?;
        parsed.map_err(|e| Error::caused(ErrorKind::Malformed, &operation, e.to_string(), e))
    }

    /// Makes a call: takes a place in the limiter, keeps the time, repeats what may be repeated.
    pub(crate) async fn call(&self, call: Call) -> Result<Bytes, Error> {
        let repeat = match call.work {
            Work::Read | Work::List => Repeat::Always,
            Work::Write => Repeat::WhenRefused,
        };
        let mut attempt = 0;
        loop {
            let permit = self.limiter.acquire(call.work).await;
            let result = self.attempt(&call).await;
            permit.finish(match &result {
                Err(e) if e.kind() == ErrorKind::TooManyRequests => {
                    Answer::Throttled(e.retry_after())
                }
                Err(e) if e.is_retryable() => Answer::Failed,
                _ => Answer::Good,
            });
            match result {
                Err(error)
                    if attempt + 1 < retry::ATTEMPTS && retry::may_repeat(repeat, &error) =>
                {
                    let pause = retry::delay(attempt, error.retry_after(), retry::random());
                    tracing::debug!(%error, attempt, ?pause, "call repeated");
                    tokio::time::sleep(pause).await;
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    async fn attempt(&self, call: &Call) -> Result<Bytes, Error> {
        let is_write = call.work == Work::Write;
        let limit = match call.work {
            Work::Read => self.timeouts.read,
            Work::List => self.timeouts.list,
            Work::Write => self.timeouts.write,
        };
        let mut code = None;
        let answer = tokio::time::timeout(limit, self.exchange(call, &mut code)).await;
        self.requests.count(&call.method, code);
        answer.unwrap_or_else(|_| {
            let detail = format!("no answer within {} s", limit.as_secs_f32());
            Err(Error::local(ErrorKind::Timeout, &call.operation, detail).with_doubt(is_write))
        })
    }

    /// Sends a call and reads its answer, whose code is left in `code` as soon as it is known.
    async fn exchange(&self, call: &Call, code: &mut Option<StatusCode>) -> Result<Bytes, Error> {
        let is_write = call.work == Work::Write;
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(&call.uri)
            .header(ACCEPT, call.accept)
            .header(USER_AGENT, concat!("salvor/", env!("CARGO_PKG_VERSION")));
        let body = match &call.body {
            Some((bytes, content_type)) => {
                request = request.header(CONTENT_TYPE, *content_type);
                Body::from(bytes.clone())
            }
            None => Body::empty(),
        };
        let request = request
            .body(body)
            .map_err(|e| Error::caused(ErrorKind::Config, &call.operation, e.to_string(), e))?;
        let response = self
            .client
            .send(request)
            .await
            .map_err(|e| transport_error(&call.operation, e, is_write))?;
        let status = response.status();
        *code = Some(status);
        let retry_after = retry_after(response.headers());
        let most = if status.is_success() {
            call.largest_answer
        } else {
            LARGEST_STATUS
        };
        match collect(response.into_body(), most).await {
            Ok(body) if status.is_success() => Ok(body),
            Ok(body) => {
                Err(
                    Error::from_answer(&call.operation, status, &body, retry_after, is_write)
                        .on(&call.method),
                )
            }
            Err(Collect::TooLarge) => Err(Error::local(
                ErrorKind::TooLarge,
                &call.operation,
                format!("the answer is larger than {most} bytes"),
            )
            .with_doubt(is_write)),
            Err(Collect::Broken(e)) => Err(Error::caused(
                ErrorKind::Transport,
                &call.operation,
                "the answer broke off",
                e,
            )
            .with_doubt(is_write)),
        }
    }

    pub(crate) fn client(&self) -> &kube::Client {
        &self.client
    }

    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    pub(crate) async fn stay(&self, pause: Duration) {
        tokio::time::sleep(pause).await;
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// `get pods prod/web-1`, `list pods in all namespaces`.
pub(crate) fn describe(
    verb: &str,
    resource: &ApiResource,
    namespace: Option<&str>,
    name: Option<&str>,
) -> String {
    let what = resource.group_resource();
    match (resource.namespaced, namespace, name) {
        (true, Some(namespace), Some(name)) => format!("{verb} {what} {namespace}/{name}"),
        (_, _, Some(name)) => format!("{verb} {what} {name}"),
        (true, Some(namespace), None) => format!("{verb} {what} in namespace {namespace}"),
        (true, None, None) => format!("{verb} {what} in all namespaces"),
        (false, _, None) => format!("{verb} {what}"),
    }
}

enum Collect {
    TooLarge,
    Broken(kube::Error),
}

async fn collect(mut body: Body, most: usize) -> Result<Bytes, Collect> {
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(Collect::Broken)?.into_data() {
            if collected.len() + data.len() > most {
                return Err(Collect::TooLarge);
            }
            collected.extend_from_slice(&data);
        }
    }
    Ok(collected.freeze())
}

/// Reads the body of an answer that is not a success.
pub(crate) async fn collect_status(operation: &str, body: Body) -> Result<Bytes, Error> {
    match collect(body, LARGEST_STATUS).await {
        Ok(body) => Ok(body),
        Err(Collect::TooLarge) => Ok(Bytes::new()),
        Err(Collect::Broken(e)) => Err(Error::caused(
            ErrorKind::Transport,
            operation,
            "the answer broke off",
            e,
        )),
    }
}

pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

pub(crate) fn transport_error(operation: &str, error: kube::Error, is_write: bool) -> Error {
    if let kube::Error::Auth(_) = &error {
        let detail = format!("get credentials: {error}");
        return Error::caused(ErrorKind::Unauthorized, operation, detail, error);
    }
    // Only a connection that was never made is certain to have carried nothing.
    let mut never_sent = false;
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let mut last = error.to_string();
    while let Some(current) = cause {
        if let Some(e) = current.downcast_ref::<hyper_util::client::legacy::Error>() {
            never_sent |= e.is_connect();
        }
        last = current.to_string();
        cause = current.source();
    }
    Error::caused(ErrorKind::Transport, operation, last, error).with_doubt(is_write && !never_sent)
}
