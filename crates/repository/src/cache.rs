//! A folder of this machine that keeps index files, snapshots and packs of directories, as the store has them (sealed), so that
//! the next command does not fetch them again.
//!
//! A file is what its name says or it is not used: every read is checked, and what does not fit is removed and fetched anew.
//! Files are written beside their place and renamed, so any number of processes may share the folder, and one that is
//! killed leaves a part that is swept away later. What was not used for 30 days goes, and beyond the limit what was not
//! used for longest. Nothing depends on the cache: where it cannot be read or written, the store is asked.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::files::{Kind, Listed};
use crate::id::FileId;

/// Bytes of one repository that a cache keeps unless something else is said.
pub const USUAL_LIMIT: u64 = 2 << 30;
/// What was not used for so long is removed.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);
/// A part of a file that is older was left by a process that died.
const LEFT_OVER: Duration = Duration::from_secs(3600);
/// When a file was used is noted so seldom.
const NOTED: Duration = Duration::from_secs(3600);
/// What parts of files are called.
const PART: &str = ".part-";
/// Says to backup programs that the folder need not be kept.
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# A cache of salvor; it can be removed at any time.\n";

/// Where a cache is and how large it may become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// The folder of the caches of all repositories.
    pub folder: PathBuf,
    /// Most bytes of one repository.
    pub limit: u64,
}

impl CacheOptions {
    /// `salvor/repositories` in the user's cache folder (`$XDG_CACHE_HOME`, else `~/.cache`), with the usual limit.
    /// `None` where there is no such folder.
    #[must_use]
    pub fn of_this_user() -> Option<Self> {
        let absolute = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let base = absolute("XDG_CACHE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
        Some(Self {
            folder: base.join("salvor/repositories"),
            limit: USUAL_LIMIT,
        })
    }
}

/// The cache of one repository. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    folder: Arc<Path>,
    limit: u64,
    /// Bytes that were written since it was last looked how many there are.
    written: Arc<AtomicU64>,
}

impl Cache {
    /// Opens the cache of a repository and removes what is old.
    pub(crate) fn open(options: &CacheOptions, repository: &FileId) -> io::Result<Self> {
        let folder = options.folder.join(repository.to_string());
        for kind in [Kind::Index, Kind::Snapshot, Kind::Pack] {
            fs::create_dir_all(folder.join(kind.folder()))?;
        }
        set_private(&options.folder)?;
        let tag = options.folder.join("CACHEDIR.TAG");
        if !tag.exists() {
            fs::write(tag, TAG)?;
        }
        // That a repository is used shows in its folder.
        File::open(&folder)?.set_modified(SystemTime::now())?;
        let cache = Self {
            folder: folder.into(),
            limit: options.limit,
            written: Arc::default(),
        };
        remove_unused(&options.folder, &cache.folder)?;
        cache.trim()?;
        Ok(cache)
    }

    /// A file, which is what its name says; `None` when it is not here.
    pub(crate) fn read(&self, kind: Kind, id: &FileId) -> Option<Bytes> {
        let path = self.path(kind, id);
        let mut file = File::open(&path).ok()?;
        let mut bytes = Vec::new();
        let read = file.read_to_end(&mut bytes);
        if read.is_err() || FileId::of(&bytes) != *id {
            tracing::warn!(path = %path.display(), "a file of the cache is not what its name says; it is removed and fetched again");
            let _ = fs::remove_file(&path);
            return None;
        }
        let used = file.metadata().and_then(|meta| meta.modified());
        if used.is_ok_and(|used| age(used) > NOTED) {
            // Seldom and of little account: at worst it is removed early.
            let _ = file.set_modified(SystemTime::now());
        }
        Some(bytes.into())
    }

    /// Keeps a file. That it cannot is no failure of anything.
    pub(crate) fn write(&self, kind: Kind, id: &FileId, bytes: &Bytes) {
        if let Err(error) = self.put(kind, id, bytes) {
            tracing::debug!(folder = %self.folder.display(), %error, "a file could not be kept in the cache");
        }
    }

    fn put(&self, kind: Kind, id: &FileId, bytes: &Bytes) -> io::Result<()> {
        if bytes.len() as u64 > self.limit {
            return Ok(());
        }
        let mut part = tempfile::Builder::new()
            .prefix(PART)
            .tempfile_in(self.folder.join(kind.folder()))?;
        part.write_all(bytes)?;
        part.persist(self.path(kind, id)).map_err(|e| e.error)?;
        let length = bytes.len() as u64;
        let written = self.written.fetch_add(length, Ordering::Relaxed) + length;
        if written > self.limit / 8 {
            self.written.store(0, Ordering::Relaxed);
            self.trim()?;
        }
        Ok(())
    }

    /// Removes files of a kind that the store does not list: nobody will ask for them.
    pub(crate) fn keep(&self, kind: Kind, listed: &[Listed]) {
        let listed: HashSet<String> = listed.iter().map(|file| file.id.to_string()).collect();
        for entry in entries(&self.folder.join(kind.folder())).unwrap_or_default() {
            if !listed.contains(&entry.name) && !entry.name.starts_with(PART) {
                // Another process may have done so.
                let _ = fs::remove_file(entry.path);
            }
        }
    }

    /// Removes what is old, and what was not used for longest until the limit is kept.
    fn trim(&self) -> io::Result<()> {
        let mut all = Vec::new();
        for kind in [Kind::Index, Kind::Snapshot, Kind::Pack] {
            all.extend(entries(&self.folder.join(kind.folder()))?);
        }
        all.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        let mut sum = 0;
        for entry in all {
            sum += entry.size;
            let most = if entry.name.starts_with(PART) {
                LEFT_OVER
            } else {
                UNUSED
            };
            if sum > self.limit || age(entry.used) > most {
                sum -= entry.size;
                // Another process may have done so.
                let _ = fs::remove_file(entry.path);
            }
        }
        Ok(())
    }

    fn path(&self, kind: Kind, id: &FileId) -> PathBuf {
        self.folder.join(kind.folder()).join(id.to_string())
    }
}

struct Entry {
    name: String,
    path: PathBuf,
    size: u64,
    used: SystemTime,
}

fn entries(folder: &Path) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // What vanished meanwhile was removed by another process.
        let Ok(meta) = entry.metadata() else {
            continue;
        };
        found.push(Entry {
            name: entry.file_name().to_string_lossy().into_owned(),
            path: entry.path(),
            size: meta.len(),
            used: meta.modified()?,
        });
    }
    Ok(found)
}

/// Removes the caches of repositories that nobody uses any more.
fn remove_unused(folder: &Path, ours: &Path) -> io::Result<()> {
    for entry in entries(folder)? {
        let is_cache = entry.name.parse::<FileId>().is_ok();
        if is_cache && entry.path != ours && age(entry.used) > UNUSED {
            tracing::debug!(folder = %entry.path.display(), "the cache of a repository that was not used for a month is removed");
            // Another process may have done so.
            let _ = fs::remove_dir_all(entry.path);
        }
    }
    Ok(())
}

/// Ids tell what others have stored, too.
fn set_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

/// How long ago; nothing for what lies in the future.
fn age(time: SystemTime) -> Duration {
    SystemTime::now().duration_since(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

    use super::*;

    fn opened(folder: &Path, limit: u64) -> Cache {
        let options = CacheOptions {
            folder: folder.join("caches"),
            limit,
        };
        Cache::open(&options, &FileId::of(b"repository")).unwrap()
    }

    fn put(cache: &Cache, byte: u8) -> FileId {
        let bytes = Bytes::from(vec![byte; 1000]);
        let id = FileId::of(&bytes);
        cache.write(Kind::Pack, &id, &bytes);
        id
    }

    fn age_by(cache: &Cache, kind: Kind, id: &FileId, by: Duration) {
        let file = File::open(cache.path(kind, id)).unwrap();
        file.set_modified(SystemTime::now() - by).unwrap();
    }

    #[test]
    fn what_is_not_what_its_name_says_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = opened(folder.path(), 1 << 20);
        let id = put(&cache, 1);
        assert_eq!(cache.read(Kind::Pack, &id).unwrap().len(), 1000);
        assert!(cache.read(Kind::Index, &id).is_none());
        for damage in [vec![], vec![1; 999], vec![2; 1000]] {
            fs::write(cache.path(Kind::Pack, &id), damage).unwrap();
            assert!(cache.read(Kind::Pack, &id).is_none());
            assert!(!cache.path(Kind::Pack, &id).exists());
        }
    }

    #[test]
    fn it_keeps_its_limit_and_drops_what_was_not_used_for_longest() {
        let folder = tempfile::tempdir().unwrap();
        let cache = opened(folder.path(), 10_000);
        let ids: Vec<FileId> = (0..9).map(|i| put(&cache, i)).collect();
        for (i, id) in ids.iter().enumerate() {
            age_by(&cache, Kind::Pack, id, Duration::from_secs(7200 + i as u64));
        }
        // Used again: it stays.
        assert!(cache.read(Kind::Pack, &ids[8]).is_some());
        for i in 10..14 {
            put(&cache, i);
        }
        let left: Vec<bool> = ids
            .iter()
            .map(|id| cache.path(Kind::Pack, id).exists())
            .collect();
        assert!(left[8] && left[0] && !left[7], "{left:?}");
        let sum: u64 = entries(&cache.folder.join("data"))
            .unwrap()
            .iter()
            .map(|e| e.size)
            .sum();
        assert!(sum <= 12_000, "{sum}");
    }

    #[test]
    fn what_is_old_or_left_over_goes_when_it_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let cache = opened(folder.path(), 1 << 20);
        let (old, new) = (put(&cache, 1), put(&cache, 2));
        age_by(&cache, Kind::Pack, &old, UNUSED * 2);
        let part = cache.folder.join("data").join(format!("{PART}x"));
        fs::write(&part, b"half").unwrap();
        File::open(&part)
            .unwrap()
            .set_modified(SystemTime::now() - LEFT_OVER * 2)
            .unwrap();
        let other = folder
            .path()
            .join("caches")
            .join(FileId::of(b"another").to_string());
        fs::create_dir(&other).unwrap();
        File::open(&other)
            .unwrap()
            .set_modified(SystemTime::now() - UNUSED * 2)
            .unwrap();
        let cache = opened(folder.path(), 1 << 20);
        assert!(cache.read(Kind::Pack, &old).is_none() && cache.read(Kind::Pack, &new).is_some());
        assert!(!part.exists() && !other.exists());
        let listed = Listed {
            id: old,
            size: 1000,
            modified: None,
        };
        cache.keep(Kind::Pack, &[listed]);
        assert!(
            cache.read(Kind::Pack, &new).is_none(),
            "the store does not list it"
        );
    }
}
