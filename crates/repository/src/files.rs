//! The files of a repository in its store, by kind and id.
//!
//! Everything but `config` is named by the SHA-256 of its stored bytes, so a file is written once, can be
//! written twice without harm, and what is read whole is checked against its name.
//!
//! The engine runs on plain threads; calls into the store wait for it here.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::SignedDuration;
use salvor_storage::{ErrorKind, GetOptions, Key, ObjectInfo, ObjectStore, PutMode};
use tokio::runtime::Handle;

use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::id::FileId;

/// Longest file that is read whole: packs are at most 128 MiB, and an index file of that size would
/// describe a million blobs.
const LONGEST: u64 = 256 << 20;

/// The file that says what the repository is.
pub(crate) const CONFIG: &str = "config";
/// Longest default retention that is understood, in days: a thousand years.
const LONGEST_RETENTION: i64 = 366_000;

/// A rule of the store that lets nobody remove what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// `COMPLIANCE` or `GOVERNANCE`.
    pub mode: String,
    /// For how long.
    pub period: SignedDuration,
}

/// What a file of the repository is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Blobs.
    Pack,
    /// Which blob is where.
    Index,
    /// A recovery point.
    Snapshot,
    /// The master key, sealed by a password.
    Key,
    /// Who works on the repository.
    Lock,
    /// What the next sweep may remove; ours, ignored by restic.
    Mark,
    /// That a lock of the same id holds nothing any more, where the store lets nobody remove it; ours, ignored by restic,
    /// and not named by its bytes.
    Release,
    /// Which snapshots and packs a check found damaged; ours, ignored by restic.
    Damage,
    /// What stood among the snapshots under the same id and could not be read; ours, ignored by restic.
    SetAside,
}

impl Kind {
    /// Its folder.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Pack => "data",
            Self::Index => "index",
            Self::Snapshot => "snapshots",
            Self::Key => "keys",
            Self::Lock => "locks",
            Self::Mark => "salvor/marks",
            Self::Release => "salvor/releases",
            Self::Damage => "salvor/damage",
            Self::SetAside => "salvor/set-aside",
        }
    }

    /// The file's path in the repository.
    #[must_use]
    pub fn path(self, id: &FileId) -> String {
        match self {
            Self::Pack => {
                let name = id.to_string();
                format!("data/{}/{name}", &name[..2])
            }
            _ => format!("{}/{id}", self.folder()),
        }
    }
}

/// A file as the store lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: FileId,
    /// Its length in bytes.
    pub size: u64,
    /// When it was written, by the store's clock.
    pub modified: Option<jiff::Timestamp>,
}

/// The files of one repository.
#[derive(Clone, Debug)]
pub struct Files {
    store: Arc<dyn ObjectStore>,
    runtime: Handle,
    cache: Option<Cache>,
}

impl Files {
    /// Files in `store`, whose root is the repository. Calls wait on `runtime` and must come from threads
    /// that may block.
    pub fn new(store: Arc<dyn ObjectStore>, runtime: Handle) -> Self {
        Self {
            store,
            runtime,
            cache: None,
        }
    }

    /// The same with a cache of files of this repository.
    pub(crate) fn with_cache(self, cache: Cache) -> Self {
        Self {
            cache: Some(cache),
            ..self
        }
    }

    /// The same without.
    pub(crate) fn uncached(&self) -> Self {
        Self {
            cache: None,
            ..self.clone()
        }
    }

    /// Files of a kind that the cache may keep: those that the store lists.
    pub(crate) fn keep_cached(&self, kind: Kind, listed: &[Listed]) {
        if let Some(cache) = &self.cache {
            cache.keep(kind, listed);
        }
    }

    /// The cache, where it has to do with files of this kind.
    fn cache_of(&self, kind: Kind) -> Option<&Cache> {
        let cached = matches!(kind, Kind::Index | Kind::Snapshot | Kind::Pack);
        self.cache.as_ref().filter(|_| cached)
    }

    /// The store for humans.
    #[must_use]
    pub fn place(&self) -> String {
        self.store.describe()
    }

    /// Whether the files are in a folder of this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.store.local_root().is_some()
    }

    /// A file's bytes, which are those that its name says.
    ///
    /// # Errors
    /// The store fails, or the bytes are others.
    pub fn read(&self, kind: Kind, id: &FileId) -> Result<Bytes> {
        let cache = self.cache_of(kind);
        if let Some(bytes) = cache.and_then(|cache| cache.read(kind, id)) {
            return Ok(bytes);
        }
        let path = kind.path(id);
        let bytes = self.read_at(&path, None)?;
        if FileId::of(&bytes) != *id {
            return Err(self.damaged(path, "its bytes are not those that its name says"));
        }
        if let Some(cache) = cache {
            cache.write(kind, id, &bytes);
        }
        Ok(bytes)
    }

    /// A file's bytes as the store has them, whatever its name says.
    ///
    /// # Errors
    /// The store fails.
    pub(crate) fn read_as_it_is(&self, kind: Kind, id: &FileId) -> Result<Bytes> {
        self.read_at(&kind.path(id), None)
    }

    /// Some bytes of a file, as the store has them: exactly as many as were asked for.
    ///
    /// # Errors
    /// The store fails, the file is shorter, or the store gives another number of bytes.
    pub fn read_range(&self, kind: Kind, id: &FileId, from: u64, length: u64) -> Result<Bytes> {
        let mut bytes = Vec::new();
        self.read_range_into(kind, id, from..from + length, &mut bytes)?;
        Ok(Bytes::from(bytes))
    }

    /// The same into a buffer that may have been used before: whoever reads many files has its memory from the system once.
    ///
    /// # Errors
    /// As [`Files::read_range`]; what is in the buffer then is of no use.
    pub(crate) fn read_range_into(
        &self,
        kind: Kind,
        id: &FileId,
        range: std::ops::Range<u64>,
        into: &mut Vec<u8>,
    ) -> Result<()> {
        let path = kind.path(id);
        let length = range.end - range.start;
        self.fetch(&path, Some(range), into)?;
        // Readers cut pieces out of it: what a store breaks off in silence must not end in a panic.
        if into.len() as u64 != length {
            let got = into.len();
            return Err(self.damaged(
                path,
                format!("the store gave {got} bytes of it where {length} were asked for"),
            ));
        }
        Ok(())
    }

    /// Writes a file that is named by its bytes.
    ///
    /// # Errors
    /// The store fails.
    pub fn write(&self, kind: Kind, bytes: Bytes) -> Result<FileId> {
        let id = FileId::of(&bytes);
        self.write_named(kind, id, bytes)?;
        Ok(id)
    }

    /// Writes a file whose id is known.
    ///
    /// # Errors
    /// The store fails.
    pub fn write_named(&self, kind: Kind, id: FileId, bytes: Bytes) -> Result<()> {
        self.create(&kind.path(&id), bytes)
    }

    /// Writes a file that is named by its bytes in place of one that is damaged or gone.
    ///
    /// # Errors
    /// The store fails.
    pub(crate) fn replace(&self, kind: Kind, bytes: Bytes) -> Result<()> {
        let path = kind.path(&FileId::of(&bytes));
        let key = self.key(&path)?;
        self.runtime
            .block_on(self.store.put(&key, bytes, PutMode::Overwrite))
            .map(drop)
            .map_err(|source| self.failed("replace", &path, source))
    }

    /// Writes `config` in the place of one that is damaged.
    pub(crate) fn replace_config(&self, bytes: Bytes) -> Result<()> {
        let key = self.key("config")?;
        self.runtime
            .block_on(self.store.put(&key, bytes, PutMode::Overwrite))
            .map(drop)
            .map_err(|source| self.failed("replace", "config", source))
    }

    /// Removes a file; one that is not there is removed already.
    ///
    /// # Errors
    /// The store refuses or fails.
    pub fn remove(&self, kind: Kind, id: &FileId) -> Result<()> {
        let path = kind.path(id);
        let key = self.key(&path)?;
        self.runtime
            .block_on(self.store.delete(&key))
            .map_err(|source| self.failed("remove", &path, source))
    }

    /// All files of a kind, by id. Names that are no ids are left out, as restic does: stores keep
    /// temporary files there.
    ///
    /// # Errors
    /// The listing fails or breaks off; a short listing is never returned.
    pub fn list(&self, kind: Kind) -> Result<Vec<Listed>> {
        let folder = kind.folder();
        let listed: Vec<ObjectInfo> = self
            .runtime
            .block_on(async { self.store.list(folder).await?.try_collect().await })
            .map_err(|source| self.failed("list", folder, source))?;
        let mut files: Vec<Listed> = listed
            .into_iter()
            .filter_map(|object| {
                let id: FileId = object.key.file_name().parse().ok()?;
                (object.key.as_str() == kind.path(&id)).then_some(Listed {
                    id,
                    size: object.size,
                    modified: object.modified,
                })
            })
            .collect();
        files.sort_by_key(|file| file.id);
        Ok(files)
    }

    /// Whether a file is there.
    ///
    /// # Errors
    /// The store cannot say.
    pub fn exists(&self, kind: Kind, id: &FileId) -> Result<bool> {
        let path = kind.path(id);
        let key = self.key(&path)?;
        match self.runtime.block_on(self.store.head(&key)) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(source) => Err(self.failed("look for", &path, source)),
        }
    }

    /// `config`, sealed; `None` when there is none.
    ///
    /// # Errors
    /// The store fails.
    pub fn config(&self) -> Result<Option<Bytes>> {
        match self.read_at("config", None) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::Store { source, .. }) if source.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes `config`, which makes the repository exist.
    ///
    /// # Errors
    /// [`Error::Exists`] when there is one.
    pub fn create_config(&self, bytes: Bytes) -> Result<()> {
        let key = self.key("config")?;
        match self
            .runtime
            .block_on(self.store.put(&key, bytes.clone(), PutMode::Create))
        {
            Ok(_) => Ok(()),
            // Ours may have arrived although the answer did not.
            Err(error) if error.is_already_exists() || error.may_have_happened() => {
                match self.config()? {
                    Some(there) if there == bytes => Ok(()),
                    Some(_) => Err(Error::Exists {
                        place: self.place(),
                    }),
                    None => Err(self.failed("create", "config", error)),
                }
            }
            Err(source) => Err(self.failed("create", "config", source)),
        }
    }

    /// For how long the store lets nobody remove what was written; `None` where no such rule is known.
    ///
    /// # Errors
    /// The store fails, or the rule is none that this program understands.
    pub fn retention(&self) -> Result<Option<Retention>> {
        let rules = self
            .runtime
            .block_on(self.store.rules())
            .map_err(|source| self.failed("ask for the retention", "", source))?;
        let retention = rules.and_then(|rules| rules.default_retention.get().cloned().flatten());
        let Some(retention) = retention else {
            return Ok(None);
        };
        let period = period_of(&retention.period).ok_or_else(|| {
            Error::Invalid(format!(
                "the default retention of {} is {:?}, which this program does not understand",
                self.place(),
                retention.period
            ))
        })?;
        Ok(Some(Retention {
            mode: retention.mode,
            period,
        }))
    }

    /// Until when the store lets nobody remove a file; `None` where nothing keeps it, or nobody may ask.
    ///
    /// # Errors
    /// The store fails.
    pub(crate) fn retained_until(&self, path: &str) -> Result<Option<jiff::Timestamp>> {
        let key = self.key(path)?;
        match self.runtime.block_on(self.store.retained_until(&key)) {
            Ok(until) => Ok(until),
            Err(error) if matches!(error.kind, ErrorKind::Denied | ErrorKind::NotFound) => Ok(None),
            Err(source) => Err(self.failed("ask for the retention of", path, source)),
        }
    }

    /// Lets nobody remove a file before `until`.
    ///
    /// # Errors
    /// The store refuses or fails.
    pub(crate) fn retain(&self, path: &str, mode: &str, until: jiff::Timestamp) -> Result<()> {
        let key = self.key(path)?;
        self.runtime
            .block_on(self.store.retain(&key, mode, until))
            .map_err(|source| self.failed("extend the retention of", path, source))
    }

    /// When `config` was written, by the store's clock.
    ///
    /// # Errors
    /// The store fails.
    pub(crate) fn config_written(&self) -> Result<Option<jiff::Timestamp>> {
        let key = self.key(CONFIG)?;
        let info = self.runtime.block_on(self.store.head(&key));
        info.map(|info| info.modified)
            .map_err(|source| self.failed("look for", CONFIG, source))
    }

    /// An error that says that a file is damaged.
    pub(crate) fn damaged(&self, file: impl Into<String>, what: impl Into<String>) -> Error {
        Error::Damaged {
            file: file.into(),
            place: self.place(),
            what: what.into(),
        }
    }

    fn create(&self, path: &str, bytes: Bytes) -> Result<()> {
        let key = self.key(path)?;
        let size = bytes.len() as u64;
        match self
            .runtime
            .block_on(self.store.put(&key, bytes, PutMode::Create))
        {
            Ok(_) => Ok(()),
            Err(error) if error.is_already_exists() || error.may_have_happened() => {
                // The name is the digest of the bytes: what stands there whole is what we wrote.
                match self.runtime.block_on(self.store.head(&key)) {
                    Ok(there) if there.size == size => Ok(()),
                    Ok(there) => Err(self.damaged(
                        path,
                        format!("it has {} bytes and should have {size}", there.size),
                    )),
                    Err(_) => Err(self.failed("write", path, error)),
                }
            }
            Err(source) => Err(self.failed("write", path, source)),
        }
    }

    fn read_at(&self, path: &str, range: Option<std::ops::Range<u64>>) -> Result<Bytes> {
        let mut bytes = Vec::new();
        self.fetch(path, range, &mut bytes)?;
        Ok(Bytes::from(bytes))
    }

    /// Reads a file or a part of it into a buffer, which is cleared first.
    fn fetch(
        &self,
        path: &str,
        range: Option<std::ops::Range<u64>>,
        into: &mut Vec<u8>,
    ) -> Result<()> {
        into.clear();
        let key = self.key(path)?;
        let wanted = range.as_ref().map(|range| range.end - range.start);
        let options = GetOptions {
            range,
            ..GetOptions::default()
        };
        let read = async || -> salvor_storage::Result<bool> {
            let mut object = self.store.get(&key, options).await?;
            let expected = wanted.unwrap_or(object.info.size).min(LONGEST);
            // At most 256 MiB, so the conversion cannot cut.
            into.reserve_exact(expected as usize);
            while let Some(chunk) = object.body.next().await {
                let chunk = chunk?;
                if (into.len() + chunk.len()) as u64 > LONGEST {
                    return Ok(false);
                }
                into.extend_from_slice(&chunk);
            }
            Ok(true)
        };
        match self.runtime.block_on(read()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.damaged(path, format!("it is longer than {LONGEST} bytes"))),
            // A range outside the file.
            Err(source) if source.kind == ErrorKind::Invalid => {
                Err(self.damaged(path, "it is shorter than the index says"))
            }
            Err(source) => Err(self.failed("read", path, source)),
        }
    }

    fn key(&self, path: &str) -> Result<Key> {
        Key::new(path).map_err(|e| self.failed("name", path, e.into()))
    }

    fn failed(&self, action: &'static str, file: &str, source: salvor_storage::Error) -> Error {
        Error::Store {
            action,
            file: file.to_owned(),
            place: self.place(),
            source: Box::new(source),
        }
    }
}

/// `30 days`, `1 years`.
fn period_of(period: &str) -> Option<SignedDuration> {
    let (number, unit) = period.split_once(' ')?;
    let number: i64 = number.parse().ok().filter(|number| *number >= 0)?;
    let days = match unit.trim_end_matches('s') {
        "day" => number,
        // A leap year's day too long rather than too short.
        "year" => number.checked_mul(366)?,
        _ => return None,
    };
    // Beyond what a date can be, nothing can be computed with it.
    (days <= LONGEST_RETENTION).then(|| SignedDuration::from_hours(days * 24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_of_retention_are_understood_or_refused() {
        let hours = |text| period_of(text).map(|period| period.as_hours());
        assert_eq!(hours("30 days"), Some(720));
        assert_eq!(hours("1 days"), Some(24));
        assert_eq!(hours("2 years"), Some(2 * 366 * 24));
        for bad in [
            "",
            "30",
            "days",
            "-1 days",
            "3 weeks",
            "9999999 days",
            "99999999999999999999 days",
        ] {
            assert_eq!(hours(bad), None, "{bad}");
        }
    }
}
