//! The limit of a backup: the same lists, in pages of the same sizes, as many at once, read and thrown away.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use http::Method;
use http_body_util::BodyExt as _;
use salvor_cluster::{ApiResource, Cluster, ConnectOptions, DiscoverOptions, PAGE_BYTES};

use crate::Outcome;
use crate::client::{Plain, refusal};

/// Items of the first page, and the bounds of later ones: as the backup asks.
const FIRST_LIMIT: usize = 100;
const LIMITS: (usize, usize) = (10, 1000);
/// The metadata of a list stand before its items, and a token takes less than this.
const HEAD_BYTES: usize = 4096;

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Paged {
    pub(crate) pages: u64,
    /// Bytes of the answers, which are the objects' JSON but for a hundred bytes a page.
    pub(crate) bytes: u64,
    pub(crate) elapsed: Duration,
}

/// The lists that a backup of everything reads, as paths.
pub(crate) async fn lists(kubeconfig: &std::path::Path) -> Outcome<Vec<String>> {
    let options = ConnectOptions {
        kubeconfig: Some(kubeconfig.to_path_buf()),
        ..ConnectOptions::default()
    };
    let cluster = Cluster::connect(&options)
        .await
        .map_err(|error| error.to_string())?;
    let discovery = cluster
        .discover(DiscoverOptions {
            all_versions: false,
        })
        .await
        .map_err(|error| error.to_string())?;
    let listed = |resource: &&ApiResource| {
        // Events are in two groups and are read from one.
        resource.is_for_backup() && resource.group != "events.k8s.io"
    };
    let path = |resource: &ApiResource| {
        if resource.group.is_empty() {
            format!("/api/{}/{}", resource.version, resource.resource)
        } else {
            let ApiResource { group, version, .. } = resource;
            format!("/apis/{group}/{version}/{}", resource.resource)
        }
    };
    Ok(discovery
        .resources
        .iter()
        .filter(listed)
        .map(path)
        .collect())
}

/// Reads all lists, `parallel` at once.
pub(crate) async fn page(client: &Plain, lists: &[String], parallel: usize) -> Outcome<Paged> {
    let start = Instant::now();
    let mut paged = stream::iter(lists)
        .map(|list| page_list(client, list))
        .buffer_unordered(parallel)
        .try_fold(Paged::default(), |mut sum, list| async move {
            sum.pages += list.pages;
            sum.bytes += list.bytes;
            Ok(sum)
        })
        .await?;
    paged.elapsed = start.elapsed();
    Ok(paged)
}

async fn page_list(client: &Plain, list: &str) -> Outcome<Paged> {
    let mut paged = Paged::default();
    let mut limit = FIRST_LIMIT;
    let mut token = String::new();
    loop {
        let path = if token.is_empty() {
            format!("{list}?limit={limit}")
        } else {
            format!("{list}?limit={limit}&continue={token}")
        };
        let (bytes, head) = read_page(client, &path).await?;
        paged.pages += 1;
        paged.bytes += bytes as u64;
        match continue_token(&head) {
            Some(next) => token = next,
            None => return Ok(paged),
        }
        // A page that is not the last one is full.
        let mean = (bytes / limit).max(1);
        limit = (PAGE_BYTES / mean)
            .clamp(LIMITS.0, LIMITS.1)
            .min(limit.saturating_mul(4));
    }
}

/// The size of a page and its first bytes.
async fn read_page(client: &Plain, path: &str) -> Outcome<(usize, Vec<u8>)> {
    let response = client.send(Method::GET, path, Bytes::new()).await?;
    let status = response.status();
    let mut body = response.into_body();
    let mut head = Vec::with_capacity(HEAD_BYTES);
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("GET {path}: {error}"))?;
        if let Ok(data) = frame.into_data() {
            bytes += data.len();
            let room = HEAD_BYTES - head.len();
            head.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    if status.is_success() {
        Ok((bytes, head))
    } else {
        Err(format!("GET {path}: {}", refusal(status, &head)))
    }
}

/// The token of the list's metadata, which stand before the items; base64 for URLs, so it needs no escaping.
fn continue_token(head: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(head);
    let metadata = head.split("\"items\"").next()?;
    let (_, rest) = metadata.split_once("\"continue\":\"")?;
    let (token, _) = rest.split_once('"')?;
    (!token.is_empty()).then(|| token.to_owned())
}
