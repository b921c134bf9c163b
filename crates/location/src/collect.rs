//! Removing what nothing reaches, in two steps: a notice says what it is, and after a grace period what is still
//! unreached goes.
//!
//! ```text
//! plugins/salvor/gc/<source>/<n>.json     the notice: what may go, and all commit records that were seen; create-only
//! plugins/salvor/gc/<source>/<n>.done     it was carried out
//! ```
//!
//! Absence is never concluded from one listing. A sweep looks twice; it removes only what the notice names and both looks
//! found unreached, commit records first. It stops before it removes anything when a commit record that the
//! notice knows is missing and no notice removed it. Killed at any place, the next run goes on: a notice that is not
//! done is looked at again, and what is gone already is no error.
//!
//! One collects at a time, under a claim of the source. Who writes at the same time need not know: what is written is
//! in no notice, and a notice is carried out after the longest run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use salvor_storage::{ErrorKind, PutMode};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::claim::{Claim, Purpose, time_of};
use crate::error::{Error, Result};
use crate::layout;
use crate::location::Location;
use crate::points::SegmentInfo;
use crate::points::object::key_of;
use crate::record;
use crate::run::RunId;

/// Newest format of a notice that we write and read.
const NOTICE_VERSION: u64 = 1;
/// Removals between two looks at the claim.
const STRETCH: usize = 50;

/// An object that nothing needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Garbage {
    /// Its bytes.
    pub size: u64,
    /// Why it may go.
    pub why: String,
    /// The id of the point whose commit record it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
}

/// What one look at a source found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Ids of all points that have a commit record.
    pub records: BTreeSet<String>,
    /// What nothing needs, by key.
    pub garbage: BTreeMap<String, Garbage>,
}

impl Look {
    /// Bytes of the garbage.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.garbage.values().map(|garbage| garbage.size).sum()
    }
}

/// A notice: what may go after the grace period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Format version.
    pub version: u64,
    /// The run that wrote it.
    pub run: RunId,
    /// When, by the writer's clock, for people to read.
    pub created: Timestamp,
    /// All commit records that were there.
    pub records: BTreeSet<String>,
    /// What may go, by key.
    pub garbage: BTreeMap<String, Garbage>,
}

/// A notice where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// Its number.
    pub number: u64,
    /// What it says.
    pub notice: Notice,
    /// When it was written, by the store's clock.
    pub since: Option<Timestamp>,
    /// When it was carried out, if it was.
    pub done: Option<Option<Timestamp>>,
}

/// What a sweep came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Objects that were removed.
    pub removed: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Points among them, by id.
    pub points: BTreeSet<String>,
    /// Objects that a retention rule of the store keeps; they are tried again with the next run.
    pub locked: u64,
}

/// The right to collect the garbage of a source.
#[derive(Debug)]
pub struct Collector<'a> {
    location: &'a Location,
    folder: String,
    claim: Claim,
    run: RunId,
}

impl Location {
    /// Takes the right to collect the garbage of a source.
    ///
    /// # Errors
    /// [`Error::Busy`] while another has it; the location cannot be written.
    pub async fn collector(&self, source: &str, run: &RunId) -> Result<Collector<'_>> {
        let prepared = self.prepare().await?;
        let claim = Claim::take(self, &prepared, "collection", source, run, Purpose::Delete);
        Ok(Collector {
            location: self,
            folder: format!("{}/{source}", layout::GARBAGE),
            claim: claim.await?,
            run: run.clone(),
        })
    }
}

impl Collector<'_> {
    /// All notices, oldest first. One that cannot be read is carried out by nobody.
    ///
    /// # Errors
    /// The store fails.
    pub async fn notices(&self) -> Result<Vec<Posted>> {
        let listed = self.location.list_below(&self.folder).await?;
        let mut all = Vec::new();
        for info in &listed {
            let Some(at) = number(info, ".json") else {
                continue;
            };
            let key = key_of(&info.key)?;
            let read = record::read::<Notice>(&self.location.store, &key, NOTICE_VERSION).await;
            let notice = match read {
                Ok(notice) => notice,
                Err(error) if error.is_not_found() => continue,
                Err(error @ Error::BadRecord { .. }) => {
                    warn!(%error, "a notice cannot be read: what it names stays until another names it");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let done = listed
                .iter()
                .find(|other| number(other, ".done") == Some(at));
            all.push(Posted {
                number: at,
                notice,
                since: info.modified,
                done: done.map(|done| done.modified),
            });
        }
        all.sort_by_key(|posted| posted.number);
        Ok(all)
    }

    /// Carries out the notices that are older than the grace period. `look` tells what is there and what of it nothing
    /// needs; it is asked twice.
    ///
    /// # Errors
    /// [`Error::RecordsMissing`] before anything is removed; [`Error::ClaimLost`]; `look` or the store fails.
    pub async fn sweep<E, F>(
        &self,
        grace: Duration,
        mut look: impl FnMut() -> F,
    ) -> std::result::Result<Swept, E>
    where
        E: From<Error>,
        F: Future<Output = std::result::Result<Look, E>>,
    {
        let all = self.notices().await?;
        let now = self.now().await?;
        let due: Vec<&Posted> = all
            .iter()
            .filter(|posted| posted.done.is_none() && is_over(posted, grace, now))
            .collect();
        let mut swept = Swept::default();
        if due.is_empty() {
            return Ok(swept);
        }
        let (first, second) = (look().await?, look().await?);
        assert_known(&all, &due, &first, &second)?;
        for posted in due {
            self.carry_out(posted, &first, &second, &mut swept).await?;
        }
        self.forget().await?;
        Ok(swept)
    }

    async fn carry_out(
        &self,
        posted: &Posted,
        first: &Look,
        second: &Look,
        swept: &mut Swept,
    ) -> Result<()> {
        let unneeded =
            |key: &&String| first.garbage.contains_key(*key) && second.garbage.contains_key(*key);
        let named = &posted.notice.garbage;
        let mut going: Vec<&String> = named.keys().filter(unneeded).collect();
        // A point without its record is none; one without its object would be a damaged one.
        going.sort_by_key(|key| named[*key].point.is_none());
        let mut locked = 0;
        for (at, key) in going.iter().enumerate() {
            if at % STRETCH == 0 {
                self.claim.assert_held().await?;
            }
            if !self.remove(key).await? {
                locked += 1;
                continue;
            }
            let garbage = &second.garbage[*key];
            swept.removed += 1;
            swept.bytes += garbage.size;
            swept.points.extend(garbage.point.clone());
        }
        swept.locked += locked;
        if locked == 0 {
            let key = layout::key(format!("{}/{:08}.done", self.folder, posted.number));
            let put =
                self.location
                    .store
                    .put(&key, Bytes::from_static(b"{}\n"), PutMode::Overwrite);
            put.await
                .map_err(Error::store("note that garbage was removed"))?;
        }
        Ok(())
    }

    /// Removes an object; false when the store still keeps it. Where versions are kept a removal would only hide it.
    async fn remove(&self, key: &str) -> Result<bool> {
        let key = key_of(key)?;
        let store = &self.location.store;
        let doing = || Error::store(format!("remove `{key}`"));
        match store.retained_until(&key).await {
            Ok(Some(until)) if until > Timestamp::now() => return Ok(false),
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Ok(true),
            Err(error) => return Err(doing()(error)),
        }
        match store.delete(&key).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind == ErrorKind::Locked => Ok(false),
            Err(error) => Err(doing()(error)),
        }
    }

    /// Writes a notice of what no open notice names. `None` when there is nothing.
    ///
    /// # Errors
    /// The store fails.
    pub async fn post(&self, look: &Look) -> Result<Option<Notice>> {
        let all = self.notices().await?;
        let open = all.iter().filter(|posted| posted.done.is_none());
        let named: BTreeSet<&String> = open
            .flat_map(|posted| posted.notice.garbage.keys())
            .collect();
        let new = look.garbage.iter().filter(|(key, _)| !named.contains(key));
        let garbage: BTreeMap<String, Garbage> = new
            .map(|(key, garbage)| (key.clone(), garbage.clone()))
            .collect();
        if garbage.is_empty() {
            return Ok(None);
        }
        let notice = Notice {
            version: NOTICE_VERSION,
            run: self.run.clone(),
            created: Timestamp::now(),
            records: look.records.clone(),
            garbage,
        };
        // Behind those that cannot be read, too.
        let listed = self.location.list_below(&self.folder).await?;
        let number = listed.iter().filter_map(|info| number(info, ".json")).max();
        let number = number.unwrap_or(0) + 1;
        let body = record::encode("notice", &notice)?;
        let key = format!("{}/{number:08}.json", self.folder);
        self.location.create_small(&key, body).await?;
        Ok(Some(notice))
    }

    /// Withdraws all open notices, so that the next ones begin with what is there now.
    ///
    /// # Errors
    /// The store fails.
    pub async fn withdraw(&self) -> Result<u64> {
        let mut withdrawn = 0;
        for posted in self.notices().await? {
            if posted.done.is_none() {
                self.remove_notice(posted.number).await?;
                withdrawn += 1;
            }
        }
        Ok(withdrawn)
    }

    /// Removes notices that were carried out before every open one was written: nothing refers to them. The newest stays,
    /// so that numbers grow.
    async fn forget(&self) -> Result<()> {
        let all = self.notices().await?;
        let open = all.iter().filter(|posted| posted.done.is_none());
        let oldest = open.map(|posted| posted.since).min();
        let newest = all.last().map(|posted| posted.number);
        for posted in &all {
            let Some(done) = posted.done else { continue };
            let is_past = match oldest {
                None => true,
                Some(oldest) => done.is_some() && done < oldest,
            };
            if is_past && Some(posted.number) != newest {
                self.remove_notice(posted.number).await?;
            }
        }
        Ok(())
    }

    async fn remove_notice(&self, number: u64) -> Result<()> {
        // The notice first: what is left of it then means nothing.
        for ending in ["json", "done"] {
            let key = layout::key(format!("{}/{number:08}.{ending}", self.folder));
            let deleted = self.location.store.delete(&key).await;
            deleted.map_err(Error::store("forget a notice"))?;
        }
        Ok(())
    }

    /// The store's time; ours where it tells none.
    async fn now(&self) -> Result<Option<Timestamp>> {
        time_of(&self.location.store, &self.folder)
            .await
            .map_err(Error::store("ask the store for its time"))
    }

    /// Gives the right up.
    pub async fn close(self) {
        self.claim.close().await;
    }
}

/// The number in the name of a notice.
fn number(info: &SegmentInfo, ending: &str) -> Option<u64> {
    let digits = info.file_name().strip_suffix(ending)?;
    let is_number = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

/// Whether the grace period of a notice is over, by the store's clock. A store that tells no times is taken by ours.
fn is_over(posted: &Posted, grace: Duration, now: Option<Timestamp>) -> bool {
    let (since, now) = match (posted.since, now) {
        (Some(since), Some(now)) => (since, now),
        _ => (posted.notice.created, Timestamp::now()),
    };
    let age = now.duration_since(since);
    Duration::try_from(age).is_ok_and(|age| age >= grace)
}

/// Refuses to go on where commit records are missing that nobody here removed: a listing that is not whole looks the
/// same.
fn assert_known(all: &[Posted], due: &[&Posted], first: &Look, second: &Look) -> Result<()> {
    let removed: BTreeSet<&String> = all
        .iter()
        .flat_map(|posted| posted.notice.garbage.values())
        .filter_map(|garbage| garbage.point.as_ref())
        .collect();
    let known = due.iter().flat_map(|posted| &posted.notice.records);
    let known: BTreeSet<&String> = known.chain(&first.records).collect();
    let missing: Vec<&str> = known
        .iter()
        .filter(|id| !first.records.contains(**id) || !second.records.contains(**id))
        .filter(|id| !removed.contains(**id))
        .map(|id| id.as_str())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let named: Vec<&str> = missing.iter().copied().take(5).collect();
    Err(Error::RecordsMissing {
        missing: missing.len(),
        of: known.len(),
        named: named.join(", "),
    })
}
