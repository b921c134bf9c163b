//! `/metrics`, `/healthz` and `/readyz` over HTTP, whether this server leads or not.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::{Metrics, classic};
use crate::serve::{Body, Security, Serving, full};
use crate::tls::Peer;

/// Connections at once; more wait.
const CONNECTIONS: usize = 64;
/// Longest connection; a scraper makes a new one.
const LONGEST: Duration = Duration::from_secs(600);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Answers until `cancel` is cancelled. With names in `scrapers`, metrics are for those alone whose certificate is
/// for one of them; probes are for everybody, as a kubelet has no certificate.
pub(crate) async fn serve(
    listener: TcpListener,
    security: Security,
    scrapers: Arc<[String]>,
    metrics: Metrics,
    tasks: TaskTracker,
    cancel: CancellationToken,
) {
    let serving = Serving {
        name: "metrics and probes",
        listener,
        security,
        connections: CONNECTIONS,
        longest: LONGEST,
        keep_alive: true,
    };
    let answer = move |request, peer: Peer| {
        let answered = answer(&request, &peer, &scrapers, &metrics);
        async move { answered }
    };
    serving.run(answer, tasks, cancel).await;
}

fn answer<B>(
    request: &Request<B>,
    peer: &Peer,
    scrapers: &[String],
    metrics: &Metrics,
) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let text = "only GET and HEAD\n".to_owned();
        return response(StatusCode::METHOD_NOT_ALLOWED, PLAIN, text);
    }
    match request.uri().path() {
        "/metrics" if !scrapers.is_empty() && !peer.is_one_of(scrapers) => {
            let text = "a client certificate of the server's authority is needed\n".to_owned();
            response(StatusCode::FORBIDDEN, PLAIN, text)
        }
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

fn response(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
