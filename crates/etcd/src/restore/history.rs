//! A snapshot and the changes behind it, up to a revision: which entries belong into the new database.
//!
//! Two sequential passes: the first one notes the last version of each key, the second one writes what is kept. Memory
//! follows the number of live keys (about 50 bytes each), not the history.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::mvcc::{KeyValue, Revision};
use crate::snapshot::{Snapshot, not_stopped};

use super::{Error, Result, io_error};

/// Seconds of a lease of which nobody knows for how long it was granted.
pub const UNKNOWN_TTL: i64 = 3600;
/// Bytes of an element in a page, beside its key and value.
const ELEMENT: u64 = 16;
/// Bytes that are read and written at once.
const BUFFER: usize = 1 << 20;
/// What the file of the changes is called: it has no name.
const UNNAMED: &str = "the local file of the changes";

/// Changes in a local file without a name.
pub struct Changes {
    file: BufWriter<File>,
    /// Last revision in it.
    last: u64,
}

impl Changes {
    /// An empty one, in a folder.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let file = tempfile::tempfile_in(folder)?;
        Ok(Self {
            file: BufWriter::with_capacity(BUFFER, file),
            last: 0,
        })
    }

    /// Last revision in it; 0 when it is empty.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Adds a change: key and value of an entry of etcd's bucket `key`. They come in order.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn push(&mut self, main: u64, key: &[u8], value: &[u8]) -> io::Result<()> {
        // 17 or 18; values are far below 4 GiB.
        self.file.write_all(&[key.len() as u8])?;
        self.file.write_all(&(value.len() as u32).to_le_bytes())?;
        self.file.write_all(key)?;
        self.file.write_all(value)?;
        self.last = main;
        Ok(())
    }

    /// Bytes in it.
    fn length(&mut self) -> io::Result<u64> {
        self.file.flush()?;
        Ok(self.file.get_ref().metadata()?.len())
    }

    /// Goes through it from its beginning; `failed` makes an error of what the disk says.
    pub(crate) fn each<E>(
        &mut self,
        failed: impl Fn(io::Error) -> E,
        take: impl FnMut(&[u8], &[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        self.reader().map_err(&failed)?.each(failed, take)
    }

    /// Reads it from its beginning. It is whole by then: the place in the file is shared.
    fn reader(&mut self) -> io::Result<Reader> {
        self.file.flush()?;
        let mut file = self.file.get_ref().try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Reader(BufReader::with_capacity(BUFFER, file)))
    }
}

/// Goes through changes.
struct Reader(BufReader<File>);

impl Reader {
    fn each<E>(
        mut self,
        failed: impl Fn(io::Error) -> E,
        mut take: impl FnMut(&[u8], &[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        loop {
            let mut length = [0; 1];
            if self.0.read(&mut length).map_err(&failed)? == 0 {
                return Ok(());
            }
            key.resize(length[0].into(), 0);
            let mut length = [0; 4];
            self.0.read_exact(&mut length).map_err(&failed)?;
            self.0.read_exact(&mut key).map_err(&failed)?;
            value.resize(u32::from_le_bytes(length) as usize, 0);
            self.0.read_exact(&mut value).map_err(&failed)?;
            take(&key, &value)?;
        }
    }
}

/// What is to be restored beside a snapshot.
pub struct History {
    /// The revision that is wanted.
    pub target: u64,
    /// Older versions than those of this revision are left out.
    pub compact_at: u64,
    /// What changed behind the snapshot.
    pub changes: Changes,
    /// For how many seconds leases were granted.
    pub leases: BTreeMap<i64, i64>,
    /// The snapshot whose users, roles and passwords are restored, when they are not those of the base.
    pub users: Option<Arc<Snapshot>>,
    /// Bytes that the new database may have: the backend quota of its members.
    pub quota: u64,
}

/// A version that is kept.
#[derive(Clone, Copy)]
struct Version {
    revision: Revision,
    size: u32,
}

/// A history whose first pass is done.
pub(super) struct Prepared<'a> {
    history: &'a mut History,
    secrets: [RandomState; 2],
    /// The last version of each key that is there, of those up to the compaction.
    kept: HashMap<u128, Version, BuildHasherDefault<AsIs>>,
}

impl<'a> Prepared<'a> {
    /// The first pass.
    pub(super) fn new(
        history: &'a mut History,
        snapshot: &Snapshot,
        stop: &AtomicBool,
    ) -> Result<Self> {
        let mut prepared = Self {
            history,
            secrets: [RandomState::new(), RandomState::new()],
            kept: HashMap::default(),
        };
        let mut later = 0;
        let damaged = |source| Error::Snapshot(snapshot.damaged(source));
        let mut walk = snapshot.database().walk();
        let mut last = 0;
        for bucket in walk.buckets().map_err(damaged)? {
            if bucket.name != b"key" {
                continue;
            }
            let mut cursor = walk.cursor(&bucket).map_err(damaged)?;
            while cursor.advance().map_err(damaged)? {
                not_stopped(stop)?;
                last = prepared
                    .note(cursor.key(), cursor.value(), &mut later)
                    .max(last);
            }
        }
        prepared.each_change(last, |prepared, key, value| {
            not_stopped(stop)?;
            prepared.note(key, value, &mut later);
            Ok(())
        })?;
        let needed = prepared
            .kept
            .values()
            .map(|version| u64::from(version.size));
        let needed = needed.sum::<u64>() + later;
        if needed > prepared.history.quota {
            return Err(Error::OverQuota {
                needed,
                quota: prepared.history.quota,
            });
        }
        Ok(prepared)
    }

    /// Notes an entry; gives its revision.
    fn note(&mut self, key: &[u8], value: &[u8], later: &mut u64) -> u64 {
        // What is no entry is not kept; the second pass says so.
        let Some((revision, deletion)) = Revision::from_key(key) else {
            return 0;
        };
        if revision.main > self.history.target {
            return revision.main;
        }
        let size = ELEMENT + (key.len() + value.len()) as u64;
        if revision.main > self.history.compact_at {
            *later += size;
            return revision.main;
        }
        let Ok(entry) = KeyValue::decode(value) else {
            return revision.main;
        };
        let hash = self.hash(entry.key);
        if deletion {
            self.kept.remove(&hash);
        } else {
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            self.kept.insert(hash, Version { revision, size });
        }
        revision.main
    }

    /// Whether an entry belongs into the new database.
    pub(super) fn keeps(&self, key: &[u8], value: &[u8]) -> bool {
        let Some((revision, deletion)) = Revision::from_key(key) else {
            return false;
        };
        if revision.main > self.history.target {
            return false;
        }
        if revision.main > self.history.compact_at {
            return true;
        }
        let Ok(entry) = KeyValue::decode(value) else {
            return false;
        };
        let kept = self.kept.get(&self.hash(entry.key));
        !deletion && kept.is_some_and(|version| version.revision == revision)
    }

    /// Two secrets that are drawn anew each time: nobody can make keys that meet, and by chance they do not.
    fn hash(&self, key: &[u8]) -> u128 {
        let [high, low] = [0, 1].map(|at: usize| u128::from(self.secrets[at].hash_one(key)));
        high << 64 | low
    }

    /// Goes through the changes behind a revision.
    pub(super) fn each_change(
        &mut self,
        behind: u64,
        mut take: impl FnMut(&mut Self, &[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        let failed = |error| io_error("read", Path::new(UNNAMED))(error);
        let changes = self.history.changes.reader().map_err(failed)?;
        changes.each(failed, |key, value| {
            let is_behind = Revision::from_key(key).is_some_and(|(at, _)| at.main > behind);
            match is_behind {
                true => take(self, key, value),
                false => Ok(()),
            }
        })
    }

    /// The history.
    pub(super) fn history(&self) -> &History {
        self.history
    }
}

impl History {
    /// Bytes that a result may have at most: all that there is.
    pub(super) fn most(&mut self, snapshot: &Snapshot) -> Result<u64> {
        let failed = io_error("write", Path::new(UNNAMED));
        let length = self.changes.length().map_err(failed)?;
        let all = snapshot.database().layout().size() + 2 * length;
        Ok(all.min(self.quota))
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

    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }
}
