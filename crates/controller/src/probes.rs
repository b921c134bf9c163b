//! `/metrics`, `/healthz` and `/readyz` over HTTP, whether this server leads or not.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::{Metrics, classic};

/// How long a client may take to say what it wants, and how long a connection lasts that does nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest connection; a scraper makes a new one.
const LONGEST: Duration = Duration::from_secs(600);
/// Pause after a connection that could not be accepted, such as without file descriptors.
const PAUSE: Duration = Duration::from_millis(200);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Answers until `cancel` is cancelled.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    tasks: TaskTracker,
    cancel: CancellationToken,
) {
    loop {
        let Some(accepted) = cancel.run_until_cancelled(listener.accept()).await else {
            return;
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection to the probes was not accepted");
                if cancel
                    .run_until_cancelled(tokio::time::sleep(PAUSE))
                    .await
                    .is_none()
                {
                    return;
                }
                continue;
            }
        };
        let (metrics, cancel) = (metrics.clone(), cancel.clone());
        tasks.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer(&request, &metrics);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service);
            let limited = tokio::time::timeout(LONGEST, connection);
            if let Some(Ok(Err(error))) = cancel.run_until_cancelled(limited).await {
                tracing::trace!(%error, "a probe ended early");
            }
        });
    }
}

fn answer<B>(request: &Request<B>, metrics: &Metrics) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let text = "only GET and HEAD\n".to_owned();
        return response(StatusCode::METHOD_NOT_ALLOWED, PLAIN, text);
    }
    match request.uri().path() {
        "/metrics" => {
            let text = metrics.text();
            let accepts = request.headers().get_all(header::ACCEPT).iter();
            let mut accepts = accepts.filter_map(|value| value.to_str().ok());
            match accepts.any(|value| value.contains("application/openmetrics-text")) {
                true => response(StatusCode::OK, OPEN_METRICS, text),
                false => response(StatusCode::OK, CLASSIC, classic(&text)),
            }
        }
        // The process answers; what it waits for stands in its readiness.
        "/healthz" => response(StatusCode::OK, PLAIN, "ok\n".to_owned()),
        "/readyz" => {
            let stage = metrics.stage();
            let status = match stage.is_ready() {
                true => StatusCode::OK,
                false => StatusCode::SERVICE_UNAVAILABLE,
            };
            response(status, PLAIN, stage.text().to_owned())
        }
        _ => {
            let text = "there are /metrics, /healthz and /readyz\n".to_owned();
            response(StatusCode::NOT_FOUND, PLAIN, text)
        }
    }
}

fn response(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
