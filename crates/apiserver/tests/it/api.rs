//! A client that speaks to the service directly and keeps scripts short.

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use salvor_apiserver::{ApiServer, ConnectionCut, Options, ResponseBody};
use serde_json::Value;
use tower::ServiceExt;

/// A server and the calls that tests make.
pub(crate) struct Api {
    pub(crate) server: ApiServer,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
    pub(crate) text: String,
    pub(crate) content_type: String,
}

impl Api {
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        Self {
            server: ApiServer::memory(Options {
                seed: Some(7),
                ..options
            }),
        }
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Response<ResponseBody>, ConnectionCut> {
        let mut request = Request::builder().method(method).uri(path);
        for (key, value) in headers {
            request = request.header(*key, *value);
        }
        let request = request
            .body(Full::<bytes::Bytes>::from(body.to_owned()))
            .expect("tests write well-formed requests");
        self.server.clone().oneshot(request).await
    }

    pub(crate) async fn call_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let response = self
            .send(method, path, headers, body)
            .await
            .expect("no fault is injected");
        let code = response.status().as_u16();
        let content_type = response.headers().get("content-type");
        let content_type = content_type
            .and_then(|one| one.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let bytes = response
            .into_body()
            .collect()
            .await
            .expect("a whole body")
            .to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Answer {
            code,
            body,
            text,
            content_type,
        }
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        let media = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        self.call_with(method, path, &[("content-type", media)], body)
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "").await
    }

    /// Creates something and demands that it worked.
    pub(crate) async fn create(&self, path: &str, body: &Value) -> Value {
        let answer = self.call("POST", path, &body.to_string()).await;
        assert_eq!(answer.code, 201, "POST {path}: {}", answer.text);
        answer.body
    }
}

/// Names of the items of a list, with their namespaces when they have one.
pub(crate) fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items
        .iter()
        .map(|item| {
            let metadata = &item["metadata"];
            let name = metadata["name"].as_str().unwrap_or_default();
            match metadata["namespace"].as_str() {
                Some(namespace) => format!("{namespace}/{name}"),
                None => name.to_owned(),
            }
        })
        .collect()
}

impl crate::script::Target for Api {
    async fn answer(&self, step: &crate::script::Step) -> (u16, Value) {
        let answer = self
            .call_with(&step.method, &step.path, &step.headers, &step.body)
            .await;
        (answer.code, answer.body)
    }
}

/// Runs a script against a new server and compares the answers.
pub(crate) async fn check(script: &str, expected: expect_test::Expect) {
    let api = Api::new();
    let outcomes = crate::script::run(&api, script).await;
    let text: String = outcomes
        .iter()
        .map(|one| format!("{}\n", one.full()))
        .collect();
    expected.assert_eq(&text);
}
