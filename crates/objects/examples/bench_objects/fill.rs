//! Fills a cluster, and thereby measures how many objects per second its API server can create.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use http::{Method, StatusCode};

use crate::Outcome;
use crate::client::{Plain, refusal};
use crate::generate::{self, Recipe};

/// Creates at once that are tried; the best one makes the rest.
const CONCURRENCIES: [usize; 5] = [4, 8, 16, 32, 64];
/// Objects of one trial: enough that large ones are among them.
const FEWEST_OF_A_TRIAL: u64 = 100;
/// How long the API server may take for what it does by itself.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a cluster was filled.
#[derive(Clone, Debug)]
pub(crate) struct Filled {
    /// Creates per second at the best concurrency.
    pub(crate) capacity: f64,
    pub(crate) concurrency: usize,
    /// Bytes of the bodies that were sent.
    pub(crate) bytes: u64,
    /// Creates that the server asked to repeat.
    pub(crate) repeated: u64,
    /// Creates per second of each trial.
    pub(crate) trials: BTreeMap<usize, f64>,
}

/// What one run of creates did.
#[derive(Clone, Copy, Default)]
struct Created {
    bytes: u64,
    repeated: u64,
}

/// Makes the namespaces and the custom resource definition, and waits until both can be used.
pub(crate) async fn prepare(client: &Plain, recipe: &Recipe) -> Outcome<()> {
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    create_new(client, crds, &generate::crd()).await?;
    for name in recipe.namespaces() {
        let body = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        create_new(client, "/api/v1/namespaces", &body).await?;
    }
    let is_served = async || {
        let widgets = "/apis/bench.salvor.dev/v1/widgets?limit=1";
        let (status, _) = client.call(Method::GET, widgets, Bytes::new()).await?;
        Ok(status == StatusCode::OK)
    };
    wait_until("the custom resources are served", is_served).await?;
    for name in recipe.namespaces() {
        let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        // Pods are refused without it, and before 1.24 also without its token.
        let has_account = async || {
            let (status, answer) = client.call(Method::GET, &account, Bytes::new()).await?;
            Ok(status == StatusCode::OK && !is_waiting_for_token(client, &answer).await?)
        };
        wait_until(&format!("{name} has its service account"), has_account).await?;
    }
    Ok(())
}

/// Servers up to 1.23 make a secret for each service account and refuse pods until it is there.
async fn is_waiting_for_token(client: &Plain, account: &[u8]) -> Outcome<bool> {
    let account: serde_json::Value =
        serde_json::from_slice(account).map_err(|error| format!("read an account: {error}"))?;
    if account["secrets"].is_array() {
        return Ok(false);
    }
    let version: serde_json::Value = serde_json::from_slice(&client.get("/version").await?)
        .map_err(|error| format!("read /version: {error}"))?;
    let minor = version["minor"].as_str().unwrap_or_default();
    let minor: u32 = minor
        .trim_end_matches('+')
        .parse()
        .map_err(|_| format!("/version: `{minor}` is not a minor version"))?;
    Ok(minor < 24)
}

async fn create_new(client: &Plain, collection: &str, body: &serde_json::Value) -> Outcome<()> {
    let sent = Bytes::from(body.to_string());
    let (status, answer) = client.call(Method::POST, collection, sent).await?;
    if status == StatusCode::CONFLICT {
        return Err(format!(
            "{}: take an empty cluster, or --reuse for one that this program has filled",
            refusal(status, &answer)
        ));
    }
    if status.is_success() {
        Ok(())
    } else {
        Err(format!("POST {collection}: {}", refusal(status, &answer)))
    }
}

/// Creates the objects with these numbers.
pub(crate) async fn fill(client: &Plain, recipe: &Recipe, numbers: Range<u64>) -> Outcome<Filled> {
    let count = numbers.end - numbers.start;
    let trial = (count / 40).max(FEWEST_OF_A_TRIAL);
    let mut next = numbers.start;
    let mut all = Created::default();
    let mut trials = BTreeMap::new();
    for concurrency in CONCURRENCIES {
        let end = (next + trial).min(numbers.end);
        let (rate, created) = run(client, recipe, next..end, concurrency).await?;
        trials.insert(concurrency, rate);
        all.add(created);
        next = end;
    }
    let (&concurrency, &best) = trials
        .iter()
        .max_by(|a, b| a.1.total_cmp(b.1))
        .ok_or("no concurrency was tried")?;
    let capacity = if next < numbers.end {
        let (rate, created) = run(client, recipe, next..numbers.end, concurrency).await?;
        all.add(created);
        rate
    } else {
        best
    };
    Ok(Filled {
        capacity,
        concurrency,
        bytes: all.bytes,
        repeated: all.repeated,
        trials,
    })
}

/// Creates per second.
async fn run(
    client: &Plain,
    recipe: &Recipe,
    numbers: Range<u64>,
    concurrency: usize,
) -> Outcome<(f64, Created)> {
    let count = numbers.end - numbers.start;
    let start = Instant::now();
    let created = stream::iter(numbers)
        .map(|number| create(client, recipe, number))
        .buffer_unordered(concurrency)
        .try_fold(Created::default(), |mut sum, created| async move {
            sum.add(created);
            Ok(sum)
        })
        .await?;
    Ok((count as f64 / start.elapsed().as_secs_f64(), created))
}

async fn create(client: &Plain, recipe: &Recipe, number: u64) -> Outcome<Created> {
    let object = recipe.object(number);
    for repeated in 0..10 {
        let (status, answer) = client
            .call(Method::POST, &object.collection, object.body.clone())
            .await?;
        if status.is_success() {
            let bytes = object.body.len() as u64;
            return Ok(Created { bytes, repeated });
        }
        let asks_again = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        if !asks_again {
            return Err(format!(
                "create object {number} in {}: {}",
                object.collection,
                refusal(status, &answer)
            ));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(format!(
        "create object {number}: the server asked to repeat ten times"
    ))
}

impl Created {
    fn add(&mut self, other: Created) {
        let Created { bytes, repeated } = other;
        self.bytes += bytes;
        self.repeated += repeated;
    }
}

/// Asks `done` until it says yes.
pub(crate) async fn wait_until(what: &str, done: impl AsyncFn() -> Outcome<bool>) -> Outcome<()> {
    let start = Instant::now();
    while !done().await? {
        if start.elapsed() > PATIENCE {
            return Err(format!("{what}: not within {} s", PATIENCE.as_secs()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
