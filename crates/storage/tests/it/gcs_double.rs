//! A double of Google Cloud Storage, written from the documentation of its JSON API: single and resumable
//! uploads with generation preconditions, media with ranges, metadata, paged listings, deletion. There is no
//! emulator that implements these well enough. It shows that we speak as documented, not how Google answers.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

type Answer = Response<Full<Bytes>>;

/// Fewer than Google's 1000, so that listings have pages.
const PAGE: usize = 400;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Object>,
    sessions: BTreeMap<String, Session>,
    counter: u64,
    requests: Vec<String>,
}

#[derive(Clone)]
struct Object {
    body: Bytes,
    generation: u64,
    metadata: Value,
}

struct Session {
    name: String,
    only_new: bool,
    metadata: Value,
    body: Vec<u8>,
}

/// A running double with one bucket of any name. Dropping it ends it.
pub(crate) struct GcsDouble {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    serving: JoinHandle<()>,
}

impl GcsDouble {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = listener.local_addr().expect("address");
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let state = Arc::clone(&state);
                        async move { Ok::<_, Infallible>(answer(&state, request).await) }
                    });
                    // A client that goes away is no concern of ours.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            state,
            serving,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Uploads that were begun and neither finished nor cancelled.
    pub(crate) fn open_sessions(&self) -> usize {
        lock(&self.state).sessions.len()
    }

    /// Method and target of every request so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        lock(&self.state).requests.clone()
    }
}

impl Drop for GcsDouble {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(state: &Mutex<State>, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let target = url::Url::parse(&format!("http://double{}", parts.uri)).expect("a target");
    let query: BTreeMap<String, String> = target.query_pairs().into_owned().collect();
    let path = parts.uri.path();
    let mut state = lock(state);
    state
        .requests
        .push(format!("{} {}", parts.method, parts.uri));
    if path.starts_with("/upload/storage/v1/b/") {
        return match (parts.method, query.get("upload_id")) {
            (Method::POST, None) => state.insert(&query, &parts.headers, body),
            (Method::PUT, Some(id)) => state.go_on(id, &parts.headers, &body),
            (Method::DELETE, Some(id)) => {
                state.sessions.remove(id);
                plain(499)
            }
            _ => plain(501),
        };
    }
    let Some((_, rest)) = path
        .strip_prefix("/storage/v1/b/")
        .and_then(|p| p.split_once("/o"))
    else {
        return plain(501);
    };
    let name = decode(rest.trim_start_matches('/'));
    match (parts.method, name.as_str()) {
        (Method::GET, "") => state.list(&query),
        (Method::GET, name) if query.get("alt").is_some_and(|alt| alt == "media") => {
            state.media(name, &parts.headers)
        }
        (Method::GET, name) => match state.objects.get(name) {
            Some(object) => ok(&resource(name, object)),
            None => error(404, "notFound"),
        },
        (Method::DELETE, name) => match state.objects.remove(name) {
            Some(_) => plain(204),
            None => error(404, "notFound"),
        },
        _ => plain(501),
    }
}

impl State {
    fn insert(
        &mut self,
        query: &BTreeMap<String, String>,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Answer {
        let name = query.get("name").cloned().unwrap_or_default();
        let only_new = query
            .get("ifGenerationMatch")
            .is_some_and(|value| value == "0");
        if only_new && self.objects.contains_key(&name) {
            return error(412, "conditionNotMet");
        }
        match query.get("uploadType").map(String::as_str) {
            Some("media") => self.store(&name, body, Value::Null),
            Some("multipart") => match related(headers, &body) {
                Some((metadata, body)) => self.store(&name, body, metadata),
                None => error(400, "badRequest"),
            },
            Some("resumable") => {
                self.counter += 1;
                let id = format!("session{}", self.counter);
                let metadata = serde_json::from_slice(&body).unwrap_or(Value::Null);
                let session = Session {
                    name,
                    only_new,
                    metadata,
                    body: Vec::new(),
                };
                self.sessions.insert(id.clone(), session);
                let host = header(headers, "host");
                let location = format!("http://{host}/upload/storage/v1/b/b/o?upload_id={id}");
                Response::builder()
                    .header("location", location)
                    .body(Full::default())
                    .expect("valid answer")
            }
            _ => plain(501),
        }
    }

    fn go_on(&mut self, id: &str, headers: &HeaderMap, body: &Bytes) -> Answer {
        let Some(session) = self.sessions.get_mut(id) else {
            return error(404, "notFound");
        };
        let range = header(headers, "content-range");
        let (span, total) = range
            .strip_prefix("bytes ")
            .and_then(|range| range.split_once('/'))
            .unwrap_or_default();
        if let Some((start, _)) = span.split_once('-') {
            let start: usize = start.parse().unwrap_or(usize::MAX);
            // What is there already is ignored; a gap is refused.
            let Some(known) = session.body.len().checked_sub(start) else {
                return error(503, "gap");
            };
            session
                .body
                .extend_from_slice(body.get(known..).unwrap_or_default());
        }
        if total.parse() != Ok(session.body.len()) {
            let answer = Response::builder().status(StatusCode::PERMANENT_REDIRECT);
            let answer = match session.body.len() {
                0 => answer,
                length => answer.header("range", format!("bytes=0-{}", length - 1)),
            };
            return answer.body(Full::default()).expect("valid answer");
        }
        let taken = session.only_new && self.objects.contains_key(&session.name);
        let Some(session) = self.sessions.remove(id) else {
            return error(404, "notFound");
        };
        if taken {
            return error(412, "conditionNotMet");
        }
        self.store(&session.name, session.body.into(), session.metadata)
    }

    fn store(&mut self, name: &str, body: Bytes, metadata: Value) -> Answer {
        self.counter += 1;
        let object = Object {
            body,
            generation: self.counter,
            metadata: metadata
                .get("metadata")
                .cloned()
                .unwrap_or_else(|| json!({})),
        };
        let answer = ok(&resource(name, &object));
        self.objects.insert(name.to_owned(), object);
        answer
    }

    fn media(&self, name: &str, headers: &HeaderMap) -> Answer {
        let Some(object) = self.objects.get(name) else {
            return error(404, "notFound");
        };
        let etag = format!("\"{}\"", object.generation);
        let wanted = header(headers, "if-match");
        if !wanted.is_empty() && wanted != etag {
            return error(412, "conditionNotMet");
        }
        let answer = Response::builder().header("etag", etag);
        let range = header(headers, "range");
        let Some((start, end)) = range.strip_prefix("bytes=").and_then(|r| r.split_once('-'))
        else {
            return answer
                .body(Full::new(object.body.clone()))
                .expect("valid answer");
        };
        let (start, length) = (start.parse().unwrap_or(0), object.body.len());
        let end = end
            .parse()
            .map_or(length, |end: usize| (end + 1).min(length));
        if start >= length {
            return error(416, "requestedRangeNotSatisfiable");
        }
        answer
            .status(StatusCode::PARTIAL_CONTENT)
            .header(
                "content-range",
                format!("bytes {start}-{}/{length}", end - 1),
            )
            .body(Full::new(object.body.slice(start..end)))
            .expect("valid answer")
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Answer {
        let text = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let (prefix, after) = (text("prefix"), text("pageToken"));
        let (mut items, mut prefixes, mut last) = (Vec::new(), BTreeSet::new(), "");
        let mut more = false;
        for (name, object) in &self.objects {
            let Some(rest) = name.strip_prefix(prefix) else {
                continue;
            };
            let folded = (text("delimiter") == "/")
                .then(|| rest.split_once('/'))
                .flatten()
                .map(|(folder, _)| format!("{prefix}{folder}/"));
            if !after.is_empty() && name.as_str() <= after {
                continue;
            }
            if items.len() + prefixes.len() == PAGE {
                more = true;
                break;
            }
            match folded {
                Some(folder) => {
                    prefixes.insert(folder);
                }
                None => items.push(resource(name, object)),
            }
            last = name;
        }
        let mut page = json!({ "items": items, "prefixes": prefixes });
        if more {
            page["nextPageToken"] = last.into();
        }
        ok(&page)
    }
}

fn resource(name: &str, object: &Object) -> Value {
    json!({
        "name": name,
        "size": object.body.len().to_string(),
        "generation": object.generation.to_string(),
        "etag": object.generation.to_string(),
        "md5Hash": "",
        "contentType": "application/octet-stream",
        "updated": "2026-01-01T00:00:00Z",
        "metadata": object.metadata,
    })
}

/// Metadata and content of a `multipart/related` body.
fn related(headers: &HeaderMap, body: &Bytes) -> Option<(Value, Bytes)> {
    let kind = header(headers, "content-type");
    let (_, boundary) = kind.split_once("boundary=")?;
    let mark = format!("--{}", boundary.trim_matches('"')).into_bytes();
    let find = |from: usize, needle: &[u8]| {
        body.get(from..)?
            .windows(needle.len())
            .position(|window| window == needle)
            .map(|at| from + at)
    };
    let part = |start: usize| {
        let content = find(start, b"\r\n\r\n")? + 4;
        let end = find(content, &mark)?;
        Some((body.slice(content..end.checked_sub(2)?), end))
    };
    let (metadata, next) = part(0)?;
    let (content, _) = part(next)?;
    Some((serde_json::from_slice(&metadata).ok()?, content))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn decode(path: &str) -> String {
    // The query's decoder, with its rule for `+` taken out.
    let pair = format!("x={}", path.replace('+', "%2B"));
    url::form_urlencoded::parse(pair.as_bytes())
        .map(|(_, value)| value.into_owned())
        .collect()
}

fn ok(value: &Value) -> Answer {
    Response::new(Full::new(value.to_string().into()))
}

fn plain(status: u16) -> Answer {
    Response::builder()
        .status(status)
        .body(Full::default())
        .expect("valid answer")
}

fn error(status: u16, reason: &str) -> Answer {
    let body = json!({ "error": { "code": status, "errors": [{ "reason": reason }] } });
    Response::builder()
        .status(status)
        .body(Full::new(body.to_string().into()))
        .expect("valid answer")
}
