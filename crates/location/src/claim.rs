//! Who is writing under a shared name.
//!
//! Claims are numbered and create-only: `claims/<kind>/<name>/<n>.json`, the highest number counts. A
//! holder shows life by rewriting `<n>.heartbeat`; how long it has been silent is judged by the *store's*
//! clock, as the difference between that object's time and the time of an object written just now. A silent
//! claim may be taken over by creating number n+1; `<n>.closed` says that its holder is done.
//!
//! On stores whose create-only does not exclude, candidates announce themselves, wait, and the smallest run
//! id goes on: see [`ClaimPolicy::settle`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use salvor_storage::{GetOptions, Key, ObjectStore, PutMode};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::warn;

use crate::error::{Error, Result};
use crate::layout;
use crate::record;
use crate::run::RunId;

/// Times of the claim protocol.
#[derive(Clone, Debug)]
pub struct ClaimPolicy {
    /// How long a silent claim is respected.
    pub lease: Duration,
    /// How often a holder shows life. Well under the lease, so that a few lost requests do no harm.
    pub heartbeat: Duration,
    /// How long candidates wait for each other where create-only does not exclude.
    pub settle: Duration,
}

impl Default for ClaimPolicy {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(180),
            heartbeat: Duration::from_secs(30),
            settle: Duration::from_secs(3),
        }
    }
}

/// Content of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimRecord {
    version: u64,
    run: RunId,
    purpose: Purpose,
    /// By the writer's clock, for people to read.
    created: Timestamp,
    tool: String,
}

const CLAIM_VERSION: u64 = 1;

/// What a claim is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Purpose {
    /// Contents are being written.
    Write,
    /// Everything under the name is being deleted.
    Delete,
}

/// A claim that we hold.
#[derive(Debug)]
pub(crate) struct Claim {
    store: Arc<dyn ObjectStore>,
    kind: &'static str,
    name: String,
    folder: String,
    number: u64,
    run: RunId,
    lost: Arc<AtomicBool>,
    beat: JoinHandle<()>,
    /// Whether an earlier holder may have left something under the name.
    pub(crate) follows_another: bool,
}

/// What is known of the newest claim under a name.
struct Newest {
    number: u64,
    record: ClaimRecord,
    closed: bool,
    last_seen: Option<Timestamp>,
}

impl Claim {
    /// Takes the claim for `name`, over a silent holder if there is one.
    pub(crate) async fn take(
        store: &Arc<dyn ObjectStore>,
        policy: &ClaimPolicy,
        kind: &'static str,
        name: &str,
        run: &RunId,
        purpose: Purpose,
    ) -> Result<Self> {
        let folder = format!("{}/claims/{kind}s/{name}", layout::PRIVATE);
        if !store.excludes() {
            settle(store, policy, kind, name, &folder, run).await?;
        }
        let newest = newest(store, &folder).await?;
        let number = match &newest {
            None => 1,
            Some(held) if held.closed || held.record.run == *run => held.number + 1,
            Some(held) => {
                let busy = |held: &Newest| Error::Busy {
                    kind,
                    name: name.to_owned(),
                    run: held.record.run.clone(),
                    last_seen: held.last_seen,
                    lease_seconds: policy.lease.as_secs(),
                };
                if is_alive(store, policy, &folder, held).await? {
                    return Err(busy(held));
                }
                warn!(kind, name, run = %held.record.run, "taking over from a run that went silent");
                held.number + 1
            }
        };
        let record = ClaimRecord {
            version: CLAIM_VERSION,
            run: run.clone(),
            purpose,
            created: Timestamp::now(),
            tool: format!("salvor {}", env!("CARGO_PKG_VERSION")),
        };
        let body = record::encode("claim", &record)?;
        let key = claim_key(&folder, number, "json");
        match store.put(&key, body, PutMode::Create).await {
            Ok(_) => {}
            Err(error) if error.is_already_exists() => {
                let winner: ClaimRecord = record::read(store, &key, CLAIM_VERSION).await?;
                return Err(Error::Busy {
                    kind,
                    name: name.to_owned(),
                    run: winner.run,
                    last_seen: None,
                    lease_seconds: policy.lease.as_secs(),
                });
            }
            Err(error) => return Err(Error::store(format!("claim {kind} `{name}`"))(error)),
        }
        let lost = Arc::new(AtomicBool::new(false));
        let beat = tokio::spawn(keep_alive(
            Arc::clone(store),
            claim_key(&folder, number, "heartbeat"),
            policy.clone(),
            Arc::clone(&lost),
        ));
        Ok(Self {
            store: Arc::clone(store),
            kind,
            name: name.to_owned(),
            folder,
            number,
            run: run.clone(),
            lost,
            beat,
            follows_another: newest.is_some(),
        })
    }

    /// The run that holds it.
    pub(crate) fn run(&self) -> &RunId {
        &self.run
    }

    /// Fails when somebody has taken our place, or we were silent so long that somebody may.
    pub(crate) async fn assert_held(&self) -> Result<()> {
        let lost = || Error::ClaimLost {
            kind: self.kind,
            name: self.name.clone(),
        };
        if self.lost.load(Ordering::Acquire) {
            return Err(lost());
        }
        match newest(&self.store, &self.folder).await? {
            Some(newest) if newest.number == self.number && newest.record.run == self.run => Ok(()),
            _ => Err(lost()),
        }
    }

    /// Says that the holder is done, whatever came of it. A failure to say so only makes the next one wait
    /// for the lease, so it is not an error.
    pub(crate) async fn close(self) {
        self.beat.abort();
        let body = Bytes::from_static(b"{}\n");
        let key = claim_key(&self.folder, self.number, "closed");
        if let Err(error) = self.store.put(&key, body, PutMode::Overwrite).await {
            warn!(%error, kind = self.kind, name = self.name, "claim could not be closed");
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.beat.abort();
    }
}

fn claim_key(folder: &str, number: u64, ending: &str) -> Key {
    layout::key(format!("{folder}/{number:08}.{ending}"))
}

async fn newest(store: &Arc<dyn ObjectStore>, folder: &str) -> Result<Option<Newest>> {
    let listed = store
        .list_folder(folder)
        .await
        .map_err(Error::store("look for other writers"))?;
    let number_of = |name: &str, ending: &str| -> Option<u64> {
        name.strip_suffix(ending)?.strip_suffix('.')?.parse().ok()
    };
    let Some(number) = listed
        .objects
        .iter()
        .filter_map(|o| number_of(o.key.file_name(), "json"))
        .max()
    else {
        return Ok(None);
    };
    let with = |ending: &'static str| {
        listed
            .objects
            .iter()
            .find(|o| number_of(o.key.file_name(), ending) == Some(number))
    };
    let key = claim_key(folder, number, "json");
    let record = record::read(store, &key, CLAIM_VERSION).await?;
    let modified = |ending| with(ending).and_then(|o| o.modified);
    Ok(Some(Newest {
        number,
        record,
        closed: with("closed").is_some(),
        last_seen: modified("heartbeat").max(modified("json")),
    }))
}

/// Judged by the store's clock: ours may be wrong, and the holder's too.
async fn is_alive(
    store: &Arc<dyn ObjectStore>,
    policy: &ClaimPolicy,
    folder: &str,
    held: &Newest,
) -> Result<bool> {
    let probe = layout::key(format!("{folder}/now"));
    let looked = async {
        store
            .put(&probe, Bytes::from_static(b"{}\n"), PutMode::Overwrite)
            .await?;
        store.head(&probe).await
    };
    let info = looked
        .await
        .map_err(Error::store("ask the store for its time"))?;
    match (info.modified, held.last_seen) {
        (Some(now), Some(seen)) => {
            let silent = now.as_millisecond().saturating_sub(seen.as_millisecond());
            Ok(u128::try_from(silent).unwrap_or(0) < policy.lease.as_millis())
        }
        // A store that tells no times: nobody may be declared dead.
        _ => Ok(true),
    }
}

/// Rewrites the heartbeat until aborted. When it could not for most of a lease, the claim counts as lost,
/// by the monotonic clock, so that a paused process notices.
async fn keep_alive(
    store: Arc<dyn ObjectStore>,
    key: Key,
    policy: ClaimPolicy,
    lost: Arc<AtomicBool>,
) {
    let mut last_success = Instant::now();
    loop {
        tokio::time::sleep(policy.heartbeat).await;
        match store
            .put(&key, Bytes::from_static(b"{}\n"), PutMode::Overwrite)
            .await
        {
            Ok(_) if last_success.elapsed() < policy.lease => last_success = Instant::now(),
            Ok(_) => lost.store(true, Ordering::Release),
            Err(error) => {
                warn!(%error, "heartbeat failed");
                if last_success.elapsed() >= policy.lease / 2 {
                    lost.store(true, Ordering::Release);
                }
            }
        }
    }
}

/// Mutual exclusion by announcement, for stores without create-only: announce, wait until everybody who
/// started before us must be visible, and let the smallest run id go on.
async fn settle(
    store: &Arc<dyn ObjectStore>,
    policy: &ClaimPolicy,
    kind: &'static str,
    name: &str,
    folder: &str,
    run: &RunId,
) -> Result<()> {
    let announced = layout::key(format!("{folder}/candidates/{run}"));
    store
        .put(&announced, Bytes::from_static(b"{}\n"), PutMode::Overwrite)
        .await
        .map_err(Error::store(format!(
            "announce the claim on {kind} `{name}`"
        )))?;
    tokio::time::sleep(policy.settle).await;
    let listed = store
        .list_folder(&format!("{folder}/candidates"))
        .await
        .map_err(Error::store("look for other writers"))?;
    let oldest_counted = listed
        .objects
        .iter()
        .filter_map(|o| o.modified)
        .max()
        .and_then(|newest| newest.checked_sub(policy.lease).ok());
    let smallest = listed
        .objects
        .iter()
        .filter(|o| oldest_counted.is_none_or(|oldest| o.modified.is_none_or(|at| at >= oldest)))
        .map(|o| o.key.file_name().to_owned())
        .min();
    match smallest {
        Some(smallest) if smallest != run.as_str() => Err(Error::Busy {
            kind,
            name: name.to_owned(),
            run: RunId::from(smallest),
            last_seen: None,
            lease_seconds: policy.lease.as_secs(),
        }),
        _ => Ok(()),
    }
}

/// Removes announcements when their writer is done; leftovers are harmless.
pub(crate) async fn withdraw(store: &Arc<dyn ObjectStore>, kind: &str, name: &str, run: &RunId) {
    if store.excludes() {
        return;
    }
    let key = layout::key(format!(
        "{}/claims/{kind}s/{name}/candidates/{run}",
        layout::PRIVATE
    ));
    if let Err(error) = store.delete(&key).await {
        warn!(%error, "announcement could not be withdrawn");
    }
}

/// Whether anybody who is alive holds a claim under this name.
pub(crate) async fn is_held(
    store: &Arc<dyn ObjectStore>,
    policy: &ClaimPolicy,
    kind: &'static str,
    name: &str,
) -> Result<bool> {
    let folder = format!("{}/claims/{kind}s/{name}", layout::PRIVATE);
    match newest(store, &folder).await? {
        Some(held) if !held.closed => is_alive(store, policy, &folder, &held).await,
        _ => Ok(false),
    }
}

/// Reads a whole small object.
pub(crate) async fn read_small(
    store: &Arc<dyn ObjectStore>,
    key: &Key,
    limit: u64,
) -> Result<Bytes, salvor_storage::Error> {
    store
        .get(key, GetOptions::default())
        .await?
        .bytes(limit)
        .await
}
