//! The admission webhook: writes on every request who makes it, and lets nobody write it for another.
//!
//! The API server asks at creation and at every change of the kinds in [`KINDS`], in the server's namespace. What
//! is answered is decided by [`decide::decide`], a pure function; here is the way to it: HTTPS, at a path that
//! only who may read the webhook's configuration knows. Whoever knew the path could have a seal made for any user;
//! so it is made of the seals' key, and the server writes it into the configuration.

mod configuration;
mod decide;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::configuration::{Configuration, path};
use self::decide::{Desk, review};
use crate::serve::{Body, Clients, Security, Serving, full, plain};
use crate::tls::Keys;

/// Plural names of the kinds that ask the server for something.
pub(crate) const KINDS: [&str; 5] = [
    "backups",
    "deletebackuprequests",
    "downloadrequests",
    "restores",
    "schedules",
];
/// Value of the annotation by which somebody takes a request over.
pub(crate) const ME: &str = "me";

/// Longest question that is read: an object and its predecessor, each of at most 1.5 MiB, and room.
const LARGEST: usize = 8 << 20;
/// Connections at once; the API server keeps a few open.
const CONNECTIONS: usize = 64;
/// Longest connection.
const LONGEST: Duration = Duration::from_secs(3600);
/// Pause before an address is tried again that something else has.
const BIND_AGAIN: Duration = Duration::from_secs(2);

/// Answers the API server until `cancel` is cancelled.
pub(crate) async fn serve(
    address: SocketAddr,
    keys: Keys,
    namespace: String,
    server_user: String,
    tasks: TaskTracker,
    cancel: CancellationToken,
) {
    let bound = async {
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(error) => {
                    tracing::error!(%error, %address, "admission cannot be served");
                    tokio::time::sleep(BIND_AGAIN).await;
                }
            }
        }
    };
    let Some(listener) = cancel.run_until_cancelled(bound).await else {
        return;
    };
    tracing::info!(%address, "admission is served");
    let serving = Serving {
        name: "admission",
        listener,
        security: Security::Tls {
            keys: keys.clone(),
            clients: Clients::All,
        },
        connections: CONNECTIONS,
        longest: LONGEST,
        keep_alive: true,
    };
    let server = Arc::new((keys, namespace, server_user));
    let answer = move |request: Request<Incoming>, _| {
        let server = Arc::clone(&server);
        async move {
            let (keys, namespace, server_user) = &*server;
            // As it is now: somebody may have had it made anew.
            let key = keys.seal_key().await;
            let path = path(&key);
            let desk = Desk {
                key,
                namespace: namespace.clone(),
                server_user: server_user.clone(),
            };
            answer(request, &desk, &path).await
        }
    };
    serving.run(answer, tasks, cancel).await;
}

async fn answer(request: Request<Incoming>, desk: &Desk, path: &str) -> Response<Body> {
    if *request.method() != Method::POST || !is_same(request.uri().path(), path) {
        return plain(
            StatusCode::NOT_FOUND,
            "admission is asked by the API server alone\n",
        );
    }
    let body = match Limited::new(request.into_body(), LARGEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return plain(StatusCode::PAYLOAD_TOO_LARGE, "the question is too large\n"),
    };
    let Ok(question) = serde_json::from_slice::<Value>(&body) else {
        return plain(StatusCode::BAD_REQUEST, "the question is not JSON\n");
    };
    let Some(answer) = review(desk, &question) else {
        return plain(
            StatusCode::BAD_REQUEST,
            "this is no AdmissionReview of admission.k8s.io/v1\n",
        );
    };
    let mut response = Response::new(full(answer.to_string()));
    let kind = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Compares in a time that does not tell how much is the same.
fn is_same(one: &str, other: &str) -> bool {
    let different = one
        .bytes()
        .zip(other.bytes())
        .fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && different == 0
}
