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
use salvor_storage::{ErrorKind, GetOptions, Key, ObjectStore, PutMode};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::warn;

use crate::error::{Error, Result};
use crate::layout;
use crate::location::{Location, LocationRecord};
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
    /// Our announcement, where creating does not exclude.
    announced: Option<Key>,
    /// Whether an earlier holder may have left something under the name.
    pub(crate) follows_another: bool,
}

/// Whether a claim of ours is still the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is.
    Held,
    /// Another run took over.
    Followed {
        /// And is done.
        closed: bool,
    },
}

/// What is known of the newest claim under a name.
struct Newest {
    number: u64,
    /// Absent when it cannot be read: nobody can go on under it, but its lease is respected.
    record: Option<ClaimRecord>,
    closed: bool,
    last_seen: Option<Timestamp>,
}

impl Newest {
    fn is_of(&self, run: &RunId) -> bool {
        self.record.as_ref().is_some_and(|r| r.run == *run)
    }

    fn run(&self) -> RunId {
        match &self.record {
            Some(record) => record.run.clone(),
            None => RunId::from("unknown".to_owned()),
        }
    }

    /// Judged by the store's clock: ours may be wrong, and the holder's too.
    fn is_alive(&self, policy: &ClaimPolicy, now: Option<Timestamp>) -> bool {
        match (now, self.last_seen) {
            (Some(now), Some(seen)) => {
                let silent = now.as_millisecond().saturating_sub(seen.as_millisecond());
                u128::try_from(silent).unwrap_or(0) < policy.lease.as_millis()
            }
            // A store that tells no times: nobody may be declared dead.
            _ => true,
        }
    }
}

/// A claim that is about to be taken.
struct Wanted<'a> {
    store: &'a Arc<dyn ObjectStore>,
    policy: &'a ClaimPolicy,
    kind: &'static str,
    name: &'a str,
    run: &'a RunId,
    folder: String,
}

impl Claim {
    /// Takes the claim for `name` in a location that was prepared, over a silent holder if there is one.
    pub(crate) async fn take(
        location: &Location,
        prepared: &LocationRecord,
        kind: &'static str,
        name: &str,
        run: &RunId,
        purpose: Purpose,
    ) -> Result<Self> {
        let wanted = Wanted {
            store: &location.store,
            policy: &location.claims,
            kind,
            name,
            run,
            folder: format!("{}/claims/{kind}s/{name}", layout::PRIVATE),
        };
        if location.creating_excludes(prepared).await {
            return wanted.take(purpose, None).await;
        }
        let announced = layout::key(format!("{}/candidates/{run}", wanted.folder));
        let taken = async {
            wanted.settle(&announced).await?;
            wanted.take(purpose, Some(announced.clone())).await
        };
        let taken = taken.await;
        if taken.is_err() {
            withdraw(&location.store, &announced).await;
        }
        taken
    }
}

impl Wanted<'_> {
    fn busy(&self, run: RunId, last_seen: Option<Timestamp>) -> Error {
        Error::Busy {
            kind: self.kind,
            name: self.name.to_owned(),
            run,
            last_seen,
            lease_seconds: self.policy.lease.as_secs(),
        }
    }

    async fn take(&self, purpose: Purpose, announced: Option<Key>) -> Result<Claim> {
        let (store, folder) = (self.store, &self.folder);
        let newest = newest(store, folder).await?;
        let number = match &newest {
            None => 1,
            Some(held) if held.closed || held.is_of(self.run) => held.number + 1,
            Some(held) => {
                let now = time_of(store, folder)
                    .await
                    .map_err(Error::store("ask the store for its time"))?;
                if held.is_alive(self.policy, now) {
                    return Err(self.busy(held.run(), held.last_seen));
                }
                warn!(
                    kind = self.kind, name = self.name, run = %held.run(),
                    "taking over from a run that went silent"
                );
                held.number + 1
            }
        };
        let record = ClaimRecord {
            version: CLAIM_VERSION,
            run: self.run.clone(),
            purpose,
            created: Timestamp::now(),
            tool: format!("salvor {}", env!("CARGO_PKG_VERSION")),
        };
        let body = record::encode("claim", &record)?;
        let key = claim_key(folder, number, "json");
        match store.put(&key, body, PutMode::Create).await {
            Ok(_) => {}
            Err(error) if error.is_already_exists() => {
                let winner: ClaimRecord = record::read(store, &key, CLAIM_VERSION).await?;
                return Err(self.busy(winner.run, None));
            }
            Err(error) => {
                let doing = format!("claim {} `{}`", self.kind, self.name);
                return Err(Error::store(doing)(error));
            }
        }
        if announced.is_some() || !store.excludes() {
            // Where creating does not exclude, or only did when it was tried, another may have written over
            // ours.
            let winner: ClaimRecord = record::read(store, &key, CLAIM_VERSION).await?;
            if winner.run != *self.run {
                return Err(self.busy(winner.run, None));
            }
        }
        let lost = Arc::new(AtomicBool::new(false));
        let beat = tokio::spawn(keep_alive(
            Arc::clone(store),
            claim_key(folder, number, "heartbeat"),
            self.policy.clone(),
            Arc::clone(&lost),
        ));
        Ok(Claim {
            store: Arc::clone(store),
            kind: self.kind,
            name: self.name.to_owned(),
            folder: folder.clone(),
            number,
            run: self.run.clone(),
            lost,
            beat,
            announced,
            follows_another: newest.is_some(),
        })
    }

    /// Mutual exclusion by announcement, for stores without create-only: announce, wait until everybody
    /// who started before us must be visible, and let the smallest run id go on.
    async fn settle(&self, announced: &Key) -> Result<()> {
        let (store, policy, folder) = (self.store, self.policy, &self.folder);
        store
            .put(announced, Bytes::from_static(b"{}\n"), PutMode::Overwrite)
            .await
            .map_err(Error::store(format!(
                "announce the claim on {} `{}`",
                self.kind, self.name
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
            .filter(|o| {
                oldest_counted.is_none_or(|oldest| o.modified.is_none_or(|at| at >= oldest))
            })
            .map(|o| o.key.file_name().to_owned())
            .min();
        match smallest {
            Some(smallest) if smallest != self.run.as_str() => {
                Err(self.busy(RunId::from(smallest), None))
            }
            _ => Ok(()),
        }
    }
}

impl Claim {
    /// Its number, which only grows under a name.
    pub(crate) fn number(&self) -> u64 {
        self.number
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
        match self.standing().await? {
            Standing::Held => Ok(()),
            Standing::Followed { .. } => Err(lost()),
        }
    }

    /// Whether ours is still the newest claim, whatever our heartbeats came to.
    pub(crate) async fn standing(&self) -> Result<Standing> {
        match newest(&self.store, &self.folder).await? {
            Some(newest) if newest.number == self.number && newest.is_of(&self.run) => {
                Ok(Standing::Held)
            }
            Some(newest) => Ok(Standing::Followed {
                closed: newest.closed,
            }),
            None => Ok(Standing::Followed { closed: false }),
        }
    }

    /// Whether `run` held this name before us.
    pub(crate) async fn follows(&self, run: &str) -> Result<bool> {
        for number in (1..self.number).rev() {
            let key = claim_key(&self.folder, number, "json");
            match record::read::<ClaimRecord>(&self.store, &key, CLAIM_VERSION).await {
                Ok(earlier) if earlier.run.as_str() == run => return Ok(true),
                Ok(_) | Err(Error::BadRecord { .. }) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Says that the holder is done, whatever came of it. A failure to say so only makes the next one wait
    /// for the lease, so it is not an error.
    pub(crate) async fn close(self) {
        self.beat.abort();
        if let Some(announced) = &self.announced {
            withdraw(&self.store, announced).await;
        }
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

/// The number in the name of a claim's file. Only names that [`claim_key`] makes count: eight digits.
fn claim_number(file: &str, ending: &str) -> Option<u64> {
    let digits = file.strip_suffix(ending)?.strip_suffix('.')?;
    let plain = digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

async fn newest(store: &Arc<dyn ObjectStore>, folder: &str) -> Result<Option<Newest>> {
    let listed = store
        .list_folder(folder)
        .await
        .map_err(Error::store("look for other writers"))?;
    let Some(number) = listed
        .objects
        .iter()
        .filter_map(|o| claim_number(o.key.file_name(), "json"))
        .max()
    else {
        return Ok(None);
    };
    let with = |ending: &'static str| {
        listed
            .objects
            .iter()
            .find(|o| claim_number(o.key.file_name(), ending) == Some(number))
    };
    let key = claim_key(folder, number, "json");
    let record = match record::read(store, &key, CLAIM_VERSION).await {
        Ok(record) => Some(record),
        Err(Error::BadRecord { key, reason }) => {
            warn!(key, reason, "a claim cannot be read");
            None
        }
        Err(error) => return Err(error),
    };
    let modified = |ending| with(ending).and_then(|o| o.modified);
    Ok(Some(Newest {
        number,
        record,
        closed: with("closed").is_some(),
        last_seen: modified("heartbeat").max(modified("json")),
    }))
}

/// The store's time, found by writing an object.
pub(crate) async fn time_of(
    store: &Arc<dyn ObjectStore>,
    folder: &str,
) -> Result<Option<Timestamp>, salvor_storage::Error> {
    let probe = layout::key(format!("{folder}/now"));
    store
        .put(&probe, Bytes::from_static(b"{}\n"), PutMode::Overwrite)
        .await?;
    Ok(store.head(&probe).await?.modified)
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

/// Removes an announcement; one that stays is forgotten after the lease.
async fn withdraw(store: &Arc<dyn ObjectStore>, announced: &Key) {
    if let Err(error) = store.delete(announced).await {
        warn!(%error, "announcement could not be withdrawn");
    }
}

/// Whether a claim under this name could be written.
pub(crate) async fn try_to_write(
    location: &Location,
    kind: &'static str,
    name: &str,
) -> Result<()> {
    let folder = format!("{}/claims/{kind}s/{name}", layout::PRIVATE);
    let written = time_of(&location.store, &folder).await;
    written.map(drop).map_err(Error::store(format!(
        "write to location `{}`",
        location.name()
    )))
}

/// Whether anybody who seems alive holds a claim under this name. For people to read: where nothing may be
/// written, so that the store cannot be asked for its time, our clock has to do.
pub(crate) async fn is_held(location: &Location, kind: &'static str, name: &str) -> Result<bool> {
    live_holder(location, kind, name)
        .await
        .map(|holder| holder.is_some())
}

/// Refuses a name that somebody who seems alive holds.
pub(crate) async fn assert_free(location: &Location, kind: &'static str, name: &str) -> Result<()> {
    match live_holder(location, kind, name).await? {
        None => Ok(()),
        Some(held) => Err(Error::Busy {
            kind,
            name: name.to_owned(),
            run: held.run(),
            last_seen: held.last_seen,
            lease_seconds: location.claims.lease.as_secs(),
        }),
    }
}

async fn live_holder(
    location: &Location,
    kind: &'static str,
    name: &str,
) -> Result<Option<Newest>> {
    let folder = format!("{}/claims/{kind}s/{name}", layout::PRIVATE);
    let Some(held) = newest(&location.store, &folder)
        .await?
        .filter(|h| !h.closed)
    else {
        return Ok(None);
    };
    let now = if location.profile().read_only {
        Some(Timestamp::now())
    } else {
        match time_of(&location.store, &folder).await {
            Ok(now) => now,
            Err(error) if matches!(error.kind, ErrorKind::Denied | ErrorKind::Full) => {
                Some(Timestamp::now())
            }
            Err(error) => return Err(Error::store("ask the store for its time")(error)),
        }
    };
    Ok(Some(held).filter(|held| held.is_alive(&location.claims, now)))
}

/// Whether a run holds a claim under this name and seems alive; `None` when it never had one.
pub(crate) async fn is_of_run(
    location: &Location,
    kind: &'static str,
    name: &str,
    run: &str,
) -> Result<Option<bool>> {
    if let Some(held) = live_holder(location, kind, name).await?
        && held.run().as_str() == run
    {
        return Ok(Some(true));
    }
    let store = &location.store;
    let folder = format!("{}/claims/{kind}s/{name}", layout::PRIVATE);
    let listed = store.list_folder(&folder).await;
    let listed = listed.map_err(Error::store("look for earlier writers"))?;
    let files = listed.objects.iter().map(|object| object.key.file_name());
    for number in files.filter_map(|file| claim_number(file, "json")) {
        let key = claim_key(&folder, number, "json");
        match record::read::<ClaimRecord>(store, &key, CLAIM_VERSION).await {
            Ok(claim) if claim.run.as_str() == run => return Ok(Some(false)),
            Ok(_) | Err(Error::BadRecord { .. }) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
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
