//! The same requests against a real kube-apiserver and against this one.
//!
//! Code, reason, causes and the fields that a script asks for must agree; messages may differ. A
//! difference that stays is a row of `docs/compatibility.md`, and a row without a difference is an error.

use std::collections::BTreeMap;

use http::Request;
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use salvor_apiserver::{ApiServer, Options};
use serde_json::Value;
use tower::ServiceExt;

use crate::script::{Outcome, Step, Target, run};

const BUILT_IN: &str = include_str!("differential.txt");
const CUSTOM: &str = include_str!("differential-custom.txt");
const COMPATIBILITY: &str = include_str!("../../../../docs/compatibility.md");

struct Real(kube::Client);
struct Ours(ApiServer);

fn request(step: &Step) -> Request<Body> {
    let mut request = Request::builder()
        .method(step.method.as_str())
        .uri(step.path.as_str());
    for (key, value) in &step.headers {
        request = request.header(*key, *value);
    }
    request
        .body(Body::from(step.body.clone().into_bytes()))
        .expect("scripts hold valid requests")
}

impl Target for Real {
    async fn answer(&self, step: &Step) -> (u16, Value) {
        let response = self
            .0
            .send(request(step))
            .await
            .expect("the test bed answers");
        let code = response.status().as_u16();
        let bytes = response
            .into_body()
            .collect()
            .await
            .expect("a whole body")
            .to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or_default())
    }
}

impl Target for Ours {
    async fn answer(&self, step: &Step) -> (u16, Value) {
        let response = self
            .0
            .clone()
            .oneshot(request(step))
            .await
            .expect("no fault is injected");
        let code = response.status().as_u16();
        let bytes = response
            .into_body()
            .collect()
            .await
            .expect("a whole body")
            .to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or_default())
    }
}

async fn real(kubeconfig: &str) -> Real {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("the kubeconfig is read");
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let config = config.expect("the kubeconfig names a cluster");
    // A second installation in this process changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Real(kube::Client::try_from(config).expect("a client for the test bed"))
}

/// Rows of the table: request, ours, theirs.
fn documented() -> BTreeMap<String, (String, String)> {
    let rows = COMPATIBILITY
        .lines()
        .filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| {
        let mut cells = row
            .split(" | ")
            .map(|cell| cell.trim().trim_matches('`').to_owned());
        Some((cells.next()?, (cells.next()?, cells.next()?)))
    })
    .collect()
}

fn compared(outcome: &Outcome) -> String {
    outcome.comparable().replace('|', "/")
}

async fn compare(script: &str, name: &str) {
    let Some(kubeconfig) = salvor_testkit::required_var("SALVOR_E2E_KUBECONFIG") else {
        return;
    };
    let unique = format!("{name}-{}", std::process::id());
    let script = script.replace("NS", &unique);
    let theirs = run(&real(&kubeconfig).await, &script).await;
    let options = Options {
        version: "v1.20.2".to_owned(),
        aggregated_discovery: false,
        ..Options::default()
    };
    let ours = run(&Ours(ApiServer::memory(options)), &script).await;

    let documented = documented();
    let mut unexplained = Vec::new();
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let (mine, real) = (compared(ours), compared(theirs));
        let request = ours.request.replace(&unique, "NS").replace('|', "/");
        let known = documented.get(&request);
        let row = (mine.replace(&unique, "NS"), real.replace(&unique, "NS"));
        if mine != real && known != Some(&row) {
            unexplained.push(format!(
                "{request}\n  ours:   {mine}\n  theirs: {real}\n  {}\n  {}",
                ours.full(),
                theirs.full()
            ));
        } else if mine == real && known.is_some() {
            unexplained.push(format!(
                "{request}\n  is documented as different and is not"
            ));
        }
    }
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
}

#[tokio::test]
async fn built_in_kinds_behave_as_on_the_real_server() {
    compare(BUILT_IN, "differential").await;
}

#[tokio::test]
async fn custom_resources_behave_as_on_the_real_server() {
    compare(CUSTOM, "differential-custom").await;
}

#[test]
fn every_documented_difference_is_in_a_script() {
    let scripts = format!("{BUILT_IN}\n{CUSTOM}").replace('|', "/");
    for request in documented().keys() {
        assert!(scripts.lines().any(|line| line == request), "{request}");
    }
}
