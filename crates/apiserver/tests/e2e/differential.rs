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

const SCRIPT: &str = include_str!("differential.txt");
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

#[tokio::test]
async fn this_server_answers_as_the_real_one() {
    let Some(kubeconfig) = salvor_testkit::required_var("SALVOR_E2E_KUBECONFIG") else {
        return;
    };
    let unique = format!("differential-{}", std::process::id());
    let script = SCRIPT.replace("NS", &unique);
    let theirs = run(&real(&kubeconfig).await, &script).await;
    let options = Options {
        version: "v1.20.2".to_owned(),
        aggregated_discovery: false,
        ..Options::default()
    };
    let ours = run(&Ours(ApiServer::memory(options)), &script).await;

    let mut documented = documented();
    let mut unexplained = Vec::new();
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let (mine, real) = (compared(ours), compared(theirs));
        let request = ours.request.replace(&unique, "NS").replace('|', "/");
        let known = documented.remove(&request);
        let row = (mine.clone(), real.clone());
        if mine != real && known.as_ref() != Some(&row) {
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
    unexplained.extend(
        documented
            .into_keys()
            .map(|request| format!("{request}\n  is in no script")),
    );
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
}
