//! Several locations for one backup: copies, a mirror of a whole location or of a plain folder, and repair from a
//! copy.
//!
//! A copy has the bytes of its original: contents and manifest are the same, so the digest of the manifest names the
//! backup wherever it lies. Only when a copy has an expiration of its own does its commit record differ, in
//! `status.expiration` and `spec.ttl`.
//!
//! Invariants:
//! - what is copied is compared with the manifest while it passes, and becomes visible at the target only when it is
//!   right; a damaged original is never copied;
//! - a copy is committed by the protocol of a backup that is made ([`crate::backup`]): claim, create-only contents, a second
//!   look, commit record last. What an interrupted copy left is compared by digest and kept;
//! - what is known of copies stands beside the backups, never in them; what it says can be lost, because the copies
//!   themselves decide;
//! - contents are replaced by [`repair`] alone, and only by bytes whose digest the manifest states.
//!
//! ```text
//! plugins/salvor/copies/<backup>/<location>.json   at the original: how the copy there stands
//! plugins/salvor/copied/<backup>.json              at the copy: where it comes from, with digests
//! plugins/salvor/trees/<tree>/...                  plain files, see [`tree`]
//! ```

mod known;
pub mod mirror;
mod origin;
pub mod place;
mod points;
pub mod rate;
pub mod repair;
mod repositories;
mod restores;
mod send;
pub mod state;
pub mod tree;
pub mod tree_read;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use salvor_api::name::BackupName;
use salvor_storage::{ObjectInfo, PutMode};
use tracing::warn;

use crate::backup::{digest_of, entry};
use crate::claim::{Claim, Purpose};
use crate::commit::{self, Sealed};
use crate::copy::origin::{Expected, Origin};
use crate::copy::state::{COPIED_VERSION, CopiedFrom, CopyRecord, CopyState};
use crate::error::{Error, Result, with_causes};
use crate::layout;
use crate::location::{BackupRecord, Location};
use crate::manifest::ManifestEntry;
use crate::record;
use crate::run::RunId;

pub use origin::identity;
pub use place::{Place, Separation};

/// When a copy may go. Its own rule decides, not that of the original.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// As the original says.
    #[default]
    AsOriginal,
    /// Never by itself.
    Never,
    /// This long after the backup was begun.
    After(Duration),
}

/// How a backup is copied.
#[derive(Clone, Debug, Default)]
pub struct CopyOptions {
    /// When the copy may go.
    pub expiry: Expiry,
    /// How far it is, and whether to stop.
    pub transfer: Transfer,
}

/// How far a transfer is, and whether it is to stop. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Transfer(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    kept: AtomicU64,
    done: AtomicU64,
    waiting: AtomicU64,
    stop: AtomicBool,
}

impl Transfer {
    /// Bytes that were sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Bytes that were at the target already, and right.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.0.kept.load(Ordering::Relaxed)
    }

    /// Backups, restores or files that are done.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.0.done.load(Ordering::Relaxed)
    }

    /// Backups that somebody else is writing, and that nothing but waiting is left for; zero while there is work.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.0.waiting.load(Ordering::Relaxed)
    }

    /// Asks it to stop between two pieces. What is complete stays, and is not sent again.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
    }

    /// Whether it was asked to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.stop.load(Ordering::Acquire)
    }

    fn add_sent(&self, bytes: usize) {
        self.0.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn add_kept(&self, bytes: u64) {
        self.0.kept.fetch_add(bytes, Ordering::Relaxed);
    }

    fn wait_for(&self, backups: usize) {
        self.0.waiting.store(backups as u64, Ordering::Relaxed);
    }

    fn add_done(&self) {
        self.0.done.fetch_add(1, Ordering::Relaxed);
    }

    fn go_on(&self, doing: impl FnOnce() -> String) -> Result<()> {
        if self.is_stopped() {
            return Err(Error::Stopped { doing: doing() });
        }
        Ok(())
    }
}

/// What a copy came to.
#[derive(Clone, Debug)]
pub struct Copied {
    /// The backup as it stands at the target.
    pub record: BackupRecord,
    /// Whether it was there already, so that nothing was sent.
    pub already: bool,
    /// Bytes of its contents.
    pub bytes: u64,
    /// How far the two places are from each other.
    pub separation: Separation,
}

impl Location {
    /// Copies a backup to another location, and writes down how that went. What an interrupted copy left there is
    /// not sent again.
    ///
    /// # Errors
    /// [`Error::BackupNotFound`], [`Error::SourceDamaged`], [`Error::BadRecord`] or [`Error::NotFinished`] for what cannot
    /// be copied; [`Error::CopyDiffers`], [`Error::SamePlace`], [`Error::ReadOnly`] and [`Error::Busy`] for what cannot be
    /// written; [`Error::Stopped`]; or a store fails.
    pub async fn copy_backup(
        &self,
        name: &BackupName,
        target: &Self,
        options: &CopyOptions,
    ) -> Result<Copied> {
        if self.url() == target.url() && self.store.describe() == target.store.describe() {
            return Err(Error::SamePlace {
                location: target.name().to_owned(),
                url: target.url().to_string(),
            });
        }
        let original = self.backup(name).await?;
        let run = RunId::generate();
        let mut state = self.begin_copy_record(&original, target, &run).await;
        let copied = Box::pin(copy(self, &original, target, options, &run)).await;
        match &copied {
            Ok(copied) => {
                state.state = CopyState::Done;
                state.finished = copied.record.committed.or_else(|| Some(Timestamp::now()));
                state.bytes = copied.bytes;
                state.expiration = copied
                    .record
                    .backup
                    .status
                    .expiration
                    .map(salvor_api::go::Time::timestamp);
                state.message.clear();
            }
            Err(error) => {
                state.state = CopyState::Failed;
                state.message = with_causes(error);
            }
        }
        self.note_copy(&state).await;
        copied
    }

    /// The record of an attempt that begins.
    async fn begin_copy_record(
        &self,
        original: &BackupRecord,
        target: &Self,
        run: &RunId,
    ) -> CopyRecord {
        let earlier = self.copy_record(&original.name, target.name()).await;
        let mut state = CopyRecord::begin(self, original, target, run);
        if let Some(earlier) = earlier.filter(|earlier| earlier.identity == state.identity) {
            state.attempts += earlier.attempts;
            state.first = earlier.first;
        }
        self.note_copy(&state).await;
        state
    }
}

async fn copy(
    source: &Location,
    original: &BackupRecord,
    target: &Location,
    options: &CopyOptions,
    run: &RunId,
) -> Result<Copied> {
    let origin = Origin::read(source, original).await?;
    let prepared = target.prepare().await?;
    let name = &original.name;
    let separation = Separation::between(source, target);
    let copied = |record, already| Copied {
        record,
        already,
        bytes: origin.bytes(),
        separation: separation.clone(),
    };
    if let Some(there) = there(target, &origin).await? {
        if let Some(damage) = target.known_damage(&there).await? {
            warn!(backup = %name, location = target.name(), damage, "the copy is not whole; what is wrong is brought again");
            target.heal_copy(&there, source, &options.transfer).await?;
            copy_holds(source, target, name, Some(run)).await?;
            return Ok(copied(there, false));
        }
        copy_holds(source, target, name, Some(run)).await?;
        options.transfer.add_kept(origin.bytes());
        return Ok(copied(there, true));
    }
    let claim = Claim::take(
        target,
        &prepared,
        "backup",
        name.as_str(),
        run,
        Purpose::Write,
    )
    .await?;
    let sealed = match write(source, &origin, target, &claim, options).await {
        Ok(sealed) => sealed,
        Err(error) => {
            // Whatever a late write of ours may still do: it creates, and the bytes are those that the next
            // copy wants. So the next one need not wait for our lease.
            claim.close().await;
            // Somebody else may have finished between our look and our claim.
            return match (&error, there(target, &origin).await?) {
                (Error::BackupExists { .. }, Some(there)) => Ok(copied(there, true)),
                _ => Err(error),
            };
        }
    };
    target.keep_reserve().await;
    let committed = commit::commit(target, name, claim, &sealed).await?;
    let key = record_key(name)?;
    let record = BackupRecord {
        backup: crate::location::parse_backup(&key, &sealed.record)?,
        name: name.clone(),
        committed: committed.modified,
    };
    Ok(copied(record, false))
}

fn record_key(name: &BackupName) -> Result<salvor_storage::Key> {
    layout::backup_file(name, layout::BACKUP_RECORD).map_err(Error::store("name the commit record"))
}

/// The backup at the target, when it is the one that is to be copied.
async fn there(target: &Location, origin: &Origin) -> Result<Option<BackupRecord>> {
    let found = match target.backup(&origin.name).await {
        Ok(found) => found,
        Err(Error::BackupNotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (ours, theirs) = (&origin.identity, identity(&found.backup));
    if *ours != theirs {
        return Err(Error::CopyDiffers {
            name: origin.name.to_string(),
            location: target.name().to_owned(),
            difference: format!("it is {theirs}, the one to copy is {ours}"),
        });
    }
    Ok(Some(found))
}

/// Everything before the manifest, under the claim.
async fn write(
    source: &Location,
    origin: &Origin,
    target: &Location,
    claim: &Claim,
    options: &CopyOptions,
) -> Result<Sealed> {
    let name = &origin.name;
    let transfer = &options.transfer;
    let mut contents = take_stock(source, origin, target, transfer).await?;
    for expected in &origin.contents {
        if contents.iter().any(|entry| entry.name == expected.name) {
            continue;
        }
        claim.assert_held().await?;
        let sent = send::file(source, target, name, expected, PutMode::Create, transfer).await?;
        contents.push(sent);
    }
    contents.sort_by(|a, b| a.name.cmp(&b.name));
    origin.assert_unchanged(source).await?;
    copy_holds(source, target, name, None).await?;
    let from = CopiedFrom {
        version: COPIED_VERSION,
        backup: name.to_string(),
        identity: origin.identity.clone(),
        from: Place::of(source).await,
        run: claim.run().clone(),
        tool: format!("salvor {}", env!("CARGO_PKG_VERSION")),
        copied: Timestamp::now(),
        objects: contents.iter().map(without_tags).collect(),
    };
    let body = record::encode("record of a copy", &from)?;
    let put = target
        .store
        .put(&layout::copied_key(name), body, PutMode::Overwrite)
        .await;
    put.map_err(Error::store(format!(
        "record where backup `{name}` comes from"
    )))?;
    Ok(Sealed {
        contents,
        manifest: origin.manifest.clone(),
        record: origin.record_with(options.expiry)?,
    })
}

/// Tags are of one store and mean nothing in another.
fn without_tags(entry: &ManifestEntry) -> ManifestEntry {
    ManifestEntry {
        etag: None,
        version_id: None,
        ..entry.clone()
    }
}

/// What an earlier copy left and is right; everything else under the name is removed. There is no commit record,
/// and its writer is dead or done, so it is nobody's.
async fn take_stock(
    source: &Location,
    origin: &Origin,
    target: &Location,
    transfer: &Transfer,
) -> Result<Vec<ManifestEntry>> {
    let folder = layout::backup_folder(&origin.name);
    let listed = async {
        let listed = target.store.list(&folder).await?;
        listed.try_collect::<Vec<ObjectInfo>>().await
    };
    let listed = listed
        .await
        .map_err(Error::store(format!("list `{folder}/`")))?;
    let file_of = |info: &ObjectInfo| info.key.as_str()[folder.len() + 1..].to_owned();
    if listed
        .iter()
        .any(|info| file_of(info) == layout::BACKUP_RECORD)
    {
        return Err(Error::BackupExists {
            name: origin.name.to_string(),
            location: target.name().to_owned(),
        });
    }
    let (mut right, mut wrong) = (Vec::new(), Vec::new());
    for info in listed {
        let file = file_of(&info);
        let doing = || format!("look at what is left of `{file}`");
        transfer.go_on(doing)?;
        let expected = origin.contents.iter().find(|content| content.name == file);
        let kept = match (expected, &origin.manifest) {
            (Some(expected), _) if expected.size == info.size => {
                same_bytes(source, origin, target, &info, expected).await?
            }
            (None, Some(manifest)) if file == layout::MANIFEST => {
                let found =
                    crate::claim::read_small(&target.store, &info.key, record::RECORD_LIMIT)
                        .await
                        .map_err(Error::store(doing()))?;
                if found == *manifest {
                    continue;
                }
                None
            }
            _ => None,
        };
        match kept {
            Some(digest) => {
                transfer.add_kept(info.size);
                right.push(entry(&file, info.size, digest, &info));
            }
            None => wrong.push(info.key),
        }
    }
    // Removes unfinished uploads as well, of which a listing tells nothing.
    target.remove(&folder, wrong).await?;
    Ok(right)
}

/// The digest of what is at the target, when it is that of the original.
async fn same_bytes(
    source: &Location,
    origin: &Origin,
    target: &Location,
    info: &ObjectInfo,
    expected: &Expected,
) -> Result<Option<salvor_seal::Digest>> {
    let wanted = match expected.sha256 {
        Some(wanted) => wanted,
        None => origin.digest(source, expected).await?,
    };
    let found = digest_of(target, &info.key)
        .await
        .map_err(Error::store(format!("read `{}`", info.key)))?;
    Ok((found.1 == wanted).then_some(wanted))
}

/// Brings the holds of the original to the copy, and their releases. A hold of the copy's own stays. `run` takes the
/// claim of the name, as every hold does, where something is missing.
pub(crate) async fn copy_holds(
    source: &Location,
    target: &Location,
    name: &BackupName,
    run: Option<&RunId>,
) -> Result<()> {
    let folder = layout::hold_folder(name);
    let there = target.keys_below(&folder).await?;
    let mut missing = source.keys_below(&folder).await?;
    missing.retain(|key| !there.contains(key));
    if missing.is_empty() {
        return Ok(());
    }
    let claim = match run {
        None => None,
        Some(run) => {
            let prepared = target.prepare().await?;
            let claim = Claim::take(
                target,
                &prepared,
                "backup",
                name.as_str(),
                run,
                Purpose::Write,
            )
            .await?;
            if target
                .file_size(name, layout::BACKUP_RECORD)
                .await?
                .is_none()
            {
                claim.close().await;
                return Ok(());
            }
            Some(claim)
        }
    };
    let written = async {
        for key in missing {
            let doing = || format!("copy the hold `{key}`");
            let read = crate::claim::read_small(&source.store, &key, record::RECORD_LIMIT).await;
            let bytes: Bytes = match read {
                Ok(bytes) => bytes,
                // Gone with its backup since it was listed.
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(Error::store(doing())(error)),
            };
            match target.store.put(&key, bytes, PutMode::Create).await {
                Ok(_) => {}
                Err(error) if error.is_already_exists() => {}
                Err(error) => return Err(Error::store(doing())(error)),
            }
        }
        Ok(())
    };
    let written = written.await;
    if let Some(claim) = claim {
        claim.close().await;
    }
    if let Err(error) = &written {
        warn!(backup = %name, error = %error, "its holds were not all copied");
    }
    written
}
