//! What `snapshot status` says.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::atomic::AtomicBool;

use super::{Error, Snapshot, not_stopped};
use crate::checksum::Crc32c;
use crate::kubernetes::Stored;
use crate::mvcc::{KeyValue, Revision};

/// Figures of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// CRC-32C of names, keys and values, as etcd's tools compute it.
    pub hash: u32,
    /// Revision of the last entry, as the tools print it.
    pub revision: u64,
    /// Revision up to which the store was compacted, or began to be; 0: never.
    pub compacted: u64,
    /// Entries of all buckets: what the tools to 3.5 call total keys.
    pub entries: u64,
    /// Keys that are there at the revision: what the tools from 3.6 on call total keys. `None` when not counted.
    pub live_keys: Option<u64>,
    /// Versions of keys, deletions included.
    pub versions: u64,
    /// Bytes of the pages.
    pub total_size: u64,
    /// Storage version, such as `3.6.0`; empty below 3.6.
    pub version: String,
    /// Whether a digest stands at its end; it was compared.
    pub has_digest: bool,
    /// Versions of values that an API server encrypted; 0 where live keys are not counted.
    pub encrypted: u64,
}

impl Status {
    /// Revision of the store: where deletions were the last changes, a compaction takes their entries away, and a store
    /// begins at [`FIRST`](Revision::FIRST) without an entry.
    #[must_use]
    pub fn store_revision(&self) -> u64 {
        self.revision.max(self.compacted).max(Revision::FIRST)
    }

    fn take_meta(&mut self, key: &[u8], value: &[u8]) {
        match key {
            b"storageVersion" => self.version = String::from_utf8_lossy(value).into_owned(),
            b"scheduledCompactRev" | b"finishedCompactRev" => {
                let revision = Revision::from_key(value).map_or(0, |(revision, _)| revision.main);
                self.compacted = self.compacted.max(revision);
            }
            _ => {}
        }
    }

    /// The number that the tools of the file's own storage version print as total keys.
    #[must_use]
    pub fn total_key(&self) -> u64 {
        self.live_keys
            .filter(|_| !self.version.is_empty())
            .unwrap_or(self.entries)
    }
}

/// Reads a whole snapshot and counts; keys that are there cost about 16 bytes of memory each, when they are counted.
///
/// # Errors
/// The digest is wrong, or the database is damaged.
pub fn status(snapshot: &Snapshot, count_live: bool, stop: &AtomicBool) -> Result<Status, Error> {
    let has_digest = snapshot.check_digest(stop)?;
    let mut crc = Crc32c::new();
    let mut live = count_live.then(LiveKeys::default);
    let mut status = Status {
        hash: 0,
        revision: 0,
        compacted: 0,
        entries: 0,
        live_keys: None,
        versions: 0,
        total_size: snapshot.database().layout().size(),
        version: String::new(),
        has_digest,
        encrypted: 0,
    };
    let damaged = |source| snapshot.damaged(source);
    let mut walk = snapshot.database().walk();
    for bucket in walk.buckets().map_err(damaged)? {
        crc.update(&bucket.name);
        let mut cursor = walk.cursor(&bucket).map_err(damaged)?;
        while cursor.advance().map_err(damaged)? {
            not_stopped(stop)?;
            let (key, value) = (cursor.key(), cursor.value());
            crc.update(key);
            crc.update(value);
            status.entries += 1;
            match bucket.name.as_slice() {
                b"key" => {
                    status.versions += 1;
                    if let Some((revision, deletion)) = Revision::from_key(key) {
                        status.revision = revision.main;
                        if let Some(live) = &mut live {
                            live.take(value, deletion);
                        }
                    }
                }
                b"meta" => status.take_meta(key, value),
                _ => {}
            }
        }
    }
    status.hash = crc.value();
    status.encrypted = live.as_ref().map_or(0, |live| live.encrypted);
    status.live_keys = live.map(|live| live.hashes.len() as u64);
    Ok(status)
}

/// Keys that are there, by a hash of 64 bits whose secret is drawn anew each time.
#[derive(Default)]
struct LiveKeys {
    secret: RandomState,
    hashes: HashSet<u64, BuildHasherDefault<AsIs>>,
    encrypted: u64,
}

impl LiveKeys {
    fn take(&mut self, value: &[u8], deletion: bool) {
        // What cannot be read is for `verify`; the mark of a raised revision has no key.
        let Ok(entry) = KeyValue::decode(value) else {
            return;
        };
        if entry.key.is_empty() {
            return;
        }
        self.encrypted += u64::from(Stored::is_encrypted(entry.value));
        let hash = self.secret.hash_one(entry.key);
        if deletion {
            self.hashes.remove(&hash);
        } else {
            self.hashes.insert(hash);
        }
    }
}

/// Takes what is a hash already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}
