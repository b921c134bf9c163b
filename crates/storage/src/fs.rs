//! A folder as a store, with a create-only that really excludes.
//!
//! A write goes to a temporary file beside its target, is flushed to the disk, and only then gets its
//! name: by `link()` for create-only, which fails when the name is taken, and by `rename()` otherwise. Then
//! the directory is flushed, so that the name survives a power loss. Files are 0600 in 0700 directories.
//!
//! Temporary files are named `.salvor-<random>.part`; listings do not show them, and [`FsStore::sweep`]
//! removes those that a crash left.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind as IoKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;

use crate::direct;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::{
    Folder, GetOptions, MetaStream, Object, ObjectInfo, ObjectStore, PutMode, Upload, folder_prefix,
};

/// How much of a file is read at once.
const CHUNK: usize = 1 << 20;
const PART_PREFIX: &str = ".salvor-";
const PART_SUFFIX: &str = ".part";

/// Objects as files below a folder. Clones share it.
#[derive(Clone, Debug)]
pub struct FsStore {
    root: Arc<PathBuf>,
}

impl FsStore {
    /// A store below `root`, which is made when the first object is written.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: Arc::new(root.into()),
        }
    }

    /// Removes temporary files that were last written more than `older_than` ago; returns how many.
    ///
    /// # Errors
    /// The folder cannot be read, or a file cannot be removed.
    pub async fn sweep(&self, older_than: Duration) -> Result<usize> {
        let root = Arc::clone(&self.root);
        self.blocking("sweep", "", move || {
            let deadline = SystemTime::now()
                .checked_sub(older_than)
                .unwrap_or(SystemTime::UNIX_EPOCH);
            remove_parts(root.as_ref().clone(), Some(deadline))
        })
        .await
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// Runs file system calls on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        key: impl std::fmt::Display,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result.map_err(|error| self.error(operation, key, error)),
            Err(join) => Err(Error::new(ErrorKind::Other, operation, key)
                .in_store(self.describe())
                .maybe_happened()
                .caused_by(join)),
        }
    }

    fn error(
        &self,
        operation: &'static str,
        key: impl std::fmt::Display,
        error: io::Error,
    ) -> Error {
        let kind = match error.kind() {
            IoKind::NotFound => ErrorKind::NotFound,
            IoKind::AlreadyExists => ErrorKind::AlreadyExists,
            IoKind::PermissionDenied | IoKind::ReadOnlyFilesystem => ErrorKind::Denied,
            IoKind::StorageFull | IoKind::QuotaExceeded | IoKind::FileTooLarge => ErrorKind::Full,
            IoKind::InvalidFilename
            | IoKind::InvalidInput
            | IoKind::NotADirectory
            | IoKind::IsADirectory => ErrorKind::Invalid,
            IoKind::Interrupted | IoKind::TimedOut | IoKind::StaleNetworkFileHandle => {
                ErrorKind::Transient
            }
            _ => ErrorKind::Other,
        };
        let detail = error.to_string();
        Error::new(kind, operation, key)
            .in_store(self.describe())
            .with_detail(detail)
            .caused_by(error)
    }
}

#[async_trait]
impl ObjectStore for FsStore {
    fn describe(&self) -> String {
        format!("file://{}", self.root.display())
    }

    fn excludes(&self) -> bool {
        true
    }

    fn local_root(&self) -> Option<PathBuf> {
        Some(self.root.as_ref().clone())
    }

    async fn put(&self, key: &Key, body: Bytes, mode: PutMode) -> Result<ObjectInfo> {
        let mut upload = self.upload(key, mode).await?;
        upload.write(body).await?;
        upload.finish().await
    }

    async fn upload(&self, key: &Key, mode: PutMode) -> Result<Box<dyn Upload>> {
        if is_part(std::ffi::OsStr::new(key.file_name())) {
            // It would not be listed, and swept.
            return Err(Error::new(ErrorKind::Invalid, verb(mode), key)
                .in_store(self.describe())
                .with_detail("the name is one of temporary files"));
        }
        let target = self.path(key);
        let taken = target.clone();
        let part = self
            .blocking(verb(mode), key, move || {
                if mode == PutMode::Create && taken.symlink_metadata().is_ok() {
                    return Err(IoKind::AlreadyExists.into());
                }
                PartFile::create(&taken)
            })
            .await?;
        Ok(Box::new(FsUpload {
            store: self.clone(),
            key: key.clone(),
            mode,
            target,
            part: Some(part),
        }))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        if options.version.is_some() {
            return Err(Error::new(ErrorKind::Unsupported, "read a version of", key)
                .in_store(self.describe()));
        }
        let path = self.path(key);
        let (file, info, range) = {
            let key = key.clone();
            let range = options.range.clone();
            self.blocking("read", key.clone(), move || {
                let mut file = File::open(&path)?;
                let info = info_of(key, &file.metadata()?)?;
                let range = range.unwrap_or(0..info.size);
                if range.start > range.end || range.end > info.size {
                    let text =
                        format!("range {}-{} of {} bytes", range.start, range.end, info.size);
                    return Err(io::Error::new(IoKind::InvalidInput, text));
                }
                file.seek(SeekFrom::Start(range.start))?;
                Ok((file, info, range))
            })
            .await?
        };
        let reader = FileReader {
            store: self.clone(),
            key: key.clone(),
            file,
            left: range.end - range.start,
        };
        let body = stream::try_unfold(reader, FileReader::next).boxed();
        Ok(Object { info, body })
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo> {
        let (path, wanted) = (self.path(key), key.clone());
        self.blocking("look up", key, move || {
            info_of(wanted, &fs::metadata(path)?)
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<MetaStream> {
        let prefix = folder_prefix(prefix);
        let walk = Walk {
            store: self.clone(),
            pending: vec![Pending::Folder(prefix)],
        };
        Ok(stream::try_unfold(walk, Walk::next).boxed())
    }

    async fn list_folder(&self, folder: &str) -> Result<Folder> {
        let prefix = folder_prefix(folder);
        let path = self.root.join(&prefix);
        self.blocking("list", folder, move || {
            let mut result = Folder::default();
            for Entry { name, metadata, .. } in sorted_entries(&path)? {
                if metadata.is_dir() {
                    result.folders.push(name);
                } else if let Ok(key) = Key::new(format!("{prefix}{name}")) {
                    result.objects.push(info_of(key, &metadata)?);
                }
            }
            Ok(result)
        })
        .await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let (path, root) = (self.path(key), Arc::clone(&self.root));
        self.blocking("delete", key, move || {
            match fs::remove_file(&path) {
                Err(error) if matches!(error.kind(), IoKind::NotFound | IoKind::NotADirectory) => {
                    return Ok(());
                }
                other => other?,
            }
            // Folders exist only because of what is in them; an empty one goes with its last file. A
            // concurrent writer that finds its folder gone makes it again.
            let mut folder = path.parent();
            while let Some(path) =
                folder.filter(|p| p.starts_with(root.as_ref()) && *p != root.as_ref())
            {
                if fs::remove_dir(path).is_err() {
                    return sync_folder(path);
                }
                folder = path.parent();
            }
            sync_folder(&root)
        })
        .await
    }

    async fn discard_unfinished(&self, folder: &str) -> Result<usize> {
        let path = self.root.join(folder_prefix(folder));
        self.blocking("discard unfinished uploads in", folder, move || {
            remove_parts(path, None)
        })
        .await
    }
}

/// Removes temporary files below a folder, or those last written before a moment; returns how many.
fn remove_parts(folder: PathBuf, before: Option<SystemTime>) -> io::Result<usize> {
    let mut removed = 0;
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in entries_of(&folder)? {
            let remove = || -> io::Result<bool> {
                if entry.file_type()?.is_dir() || !is_part(&entry.file_name()) {
                    return Ok(false);
                }
                let old = match before {
                    Some(before) => entry.metadata()?.modified()? < before,
                    None => true,
                };
                if old {
                    fs::remove_file(entry.path())?;
                }
                Ok(old)
            };
            match remove() {
                Ok(done) => removed += usize::from(done),
                // Its writer has finished or given up meanwhile.
                Err(error) if error.kind() == IoKind::NotFound => {}
                Err(error) => return Err(error),
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    Ok(removed)
}

/// A temporary file that removes itself unless it was given its name.
#[derive(Debug)]
struct PartFile {
    path: PathBuf,
    file: File,
}

impl PartFile {
    fn create(target: &Path) -> io::Result<Self> {
        let folder = target.parent().ok_or(IoKind::InvalidInput)?;
        // A concurrent delete may take a folder away while we make the next one, and before our file.
        for _ in 0..64 {
            match make_folders(folder) {
                Err(error) if error.kind() == IoKind::NotFound => continue,
                made => made?,
            }
            let path = folder.join(part_name()?);
            match OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
            {
                Ok(file) => return Ok(Self { path, file }),
                Err(error) if error.kind() == IoKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(IoKind::NotFound.into())
    }

    /// The commit point: the file gets its name. The boolean of an error says whether the name may have
    /// been given before the failure.
    fn persist(&self, target: &Path, mode: PutMode) -> Result<fs::Metadata, (io::Error, bool)> {
        self.file.sync_all().map_err(|error| (error, false))?;
        match mode {
            PutMode::Create => match fs::hard_link(&self.path, target) {
                // A network file system may have sent the request twice.
                Err(error) if error.kind() == IoKind::AlreadyExists && self.has_name(target) => {
                    Ok(())
                }
                linked => linked,
            },
            PutMode::Overwrite => fs::rename(&self.path, target),
        }
        .map_err(|error| (error, false))?;
        let folder = target.parent().unwrap_or(target);
        sync_folder(folder).map_err(|error| (error, true))?;
        self.file.metadata().map_err(|error| (error, true))
    }
}

impl PartFile {
    /// Whether `target` is this very file.
    fn has_name(&self, target: &Path) -> bool {
        match (self.file.metadata(), fs::symlink_metadata(target)) {
            (Ok(ours), Ok(theirs)) => (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()),
            _ => false,
        }
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        // Already renamed, or swept later: a leftover is harmless.
        let _ = fs::remove_file(&self.path);
    }
}

struct FsUpload {
    store: FsStore,
    key: Key,
    mode: PutMode,
    target: PathBuf,
    part: Option<PartFile>,
}

impl FsUpload {
    fn taken(&self) -> Error {
        Error::new(ErrorKind::Invalid, verb(self.mode), &self.key)
            .in_store(self.store.describe())
            .with_detail("the upload has failed before")
    }
}

#[async_trait]
impl Upload for FsUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let mut part = self.part.take().ok_or_else(|| self.taken())?;
        let part = self
            .store
            .blocking(verb(self.mode), &self.key, move || {
                direct::write_all(&mut part.file, &bytes)?;
                Ok(part)
            })
            .await?;
        self.part = Some(part);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<ObjectInfo> {
        let part = self.part.take().ok_or_else(|| self.taken())?;
        let (target, mode, key) = (self.target.clone(), self.mode, self.key.clone());
        let outcome = self
            .store
            .blocking(verb(mode), &self.key, move || {
                match part.persist(&target, mode) {
                    Ok(metadata) => Ok(Ok(info_of(key, &metadata)?)),
                    Err(failure) => Ok(Err(failure)),
                }
            })
            .await?;
        outcome.map_err(|(error, named)| {
            let error = self.store.error(verb(mode), &self.key, error);
            if named { error.maybe_happened() } else { error }
        })
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        let part = self.part.take();
        self.store
            .blocking("abort", &self.key, move || {
                drop(part);
                Ok(())
            })
            .await
    }
}

struct FileReader {
    store: FsStore,
    key: Key,
    file: File,
    left: u64,
}

impl FileReader {
    async fn next(self) -> Result<Option<(Bytes, Self)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let (store, key) = (self.store.clone(), self.key.clone());
        store
            .blocking("read", key, move || {
                let mut reader = self;
                // At most CHUNK, so the conversion cannot cut.
                let want = reader.left.min(CHUNK as u64);
                // Into memory that nobody has filled before.
                let mut buffer = Vec::with_capacity(want as usize);
                (&mut reader.file).take(want).read_to_end(&mut buffer)?;
                if (buffer.len() as u64) < want {
                    return Err(IoKind::UnexpectedEof.into());
                }
                reader.left -= want;
                Ok(Some((Bytes::from(buffer), reader)))
            })
            .await
    }
}

struct Walk {
    store: FsStore,
    pending: Vec<Pending>,
}

enum Pending {
    Folder(String),
    Object(ObjectInfo),
}

impl Walk {
    async fn next(mut self) -> Result<Option<(ObjectInfo, Self)>> {
        while let Some(pending) = self.pending.pop() {
            let prefix = match pending {
                Pending::Object(info) => return Ok(Some((info, self))),
                Pending::Folder(prefix) => prefix,
            };
            let path = self.store.root.join(&prefix);
            let mut found = self
                .store
                .blocking("list", prefix.clone(), move || {
                    let mut found = Vec::new();
                    for entry in sorted_entries(&path)? {
                        let (name, metadata) = (entry.name, entry.metadata);
                        let is_folder = metadata.is_dir();
                        // Everything that is listed may be deleted: never what a link leads to.
                        if is_folder && entry.is_link {
                            let text = format!("`{prefix}{name}` is a link to another folder");
                            return Err(io::Error::new(IoKind::InvalidInput, text));
                        }
                        let sort = if is_folder {
                            format!("{name}/")
                        } else {
                            name.clone()
                        };
                        if is_folder {
                            found.push((sort, Pending::Folder(format!("{prefix}{name}/"))));
                        } else if let Ok(key) = Key::new(format!("{prefix}{name}")) {
                            found.push((sort, Pending::Object(info_of(key, &metadata)?)));
                        }
                    }
                    Ok(found)
                })
                .await?;
            // By key order: a folder sorts as its name with a slash. Last first, since it is a stack.
            found.sort_by(|(a, _), (b, _)| b.cmp(a));
            self.pending
                .extend(found.into_iter().map(|(_, pending)| pending));
        }
        Ok(None)
    }
}

fn verb(mode: PutMode) -> &'static str {
    match mode {
        PutMode::Create => "create",
        PutMode::Overwrite => "write",
    }
}

fn info_of(key: Key, metadata: &fs::Metadata) -> io::Result<ObjectInfo> {
    if metadata.is_dir() {
        return Err(IoKind::NotFound.into());
    }
    let modified = Timestamp::new(
        metadata.mtime(),
        i32::try_from(metadata.mtime_nsec()).unwrap_or(0),
    );
    Ok(ObjectInfo {
        key,
        size: metadata.len(),
        modified: modified.ok(),
        etag: Some(format!(
            "{:x}-{:x}-{:x}-{:x}",
            metadata.ino(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.len()
        )),
        version: None,
    })
}

fn entries_of(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if matches!(error.kind(), IoKind::NotFound | IoKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// What stands in a folder; the metadata is that of what a link leads to.
struct Entry {
    name: String,
    is_link: bool,
    metadata: fs::Metadata,
}

/// By name; without temporary files and what vanished meanwhile.
fn sorted_entries(folder: &Path) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    for entry in entries_of(folder)? {
        let name = entry.file_name();
        if is_part(&name) {
            continue;
        }
        let metadata = match fs::metadata(entry.path()) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == IoKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        // A name that is not UTF-8 cannot be a key, so it is not an object of this store.
        if let Ok(name) = name.into_string() {
            found.push(Entry {
                name,
                is_link: entry.file_type()?.is_symlink(),
                metadata,
            });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn is_part(name: &std::ffi::OsStr) -> bool {
    name.to_str()
        .is_some_and(|n| n.starts_with(PART_PREFIX) && n.ends_with(PART_SUFFIX))
}

fn part_name() -> io::Result<String> {
    let mut random = [0u8; 12];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{PART_PREFIX}{hex}{PART_SUFFIX}"))
}

/// Makes missing folders, 0700, and flushes the parent of each one made.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|p| !p.as_os_str().is_empty()) {
        make_folders(parent)?;
        match DirBuilder::new().mode(0o700).create(folder) {
            Ok(()) => sync_folder(parent),
            Err(error) if error.kind() == IoKind::AlreadyExists && folder.is_dir() => Ok(()),
            Err(error) => Err(error),
        }
    } else {
        DirBuilder::new().mode(0o700).create(folder)
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder) {
        Ok(file) => file.sync_all(),
        // Taken away by a concurrent delete: there is nothing left to flush.
        Err(error) if error.kind() == IoKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).expect("valid key")
    }

    #[tokio::test]
    async fn files_and_folders_are_for_their_owner_only() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = FsStore::new(folder.path().join("a/b"));
        store
            .put(&key("x/y"), Bytes::from_static(b"1"), PutMode::Create)
            .await
            .expect("written");
        let mode = |p: &str| {
            fs::metadata(folder.path().join(p))
                .expect("exists")
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!(
            (mode("a"), mode("a/b/x"), mode("a/b/x/y")),
            (0o700, 0o700, 0o600)
        );
    }

    #[tokio::test]
    async fn a_dropped_upload_leaves_nothing_and_a_crashed_one_is_swept() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = FsStore::new(folder.path());
        let mut upload = store
            .upload(&key("a/b"), PutMode::Create)
            .await
            .expect("begun");
        upload
            .write(Bytes::from_static(b"half"))
            .await
            .expect("written");
        assert!(
            store
                .list_folder("a")
                .await
                .expect("listed")
                .objects
                .is_empty(),
            "part is hidden"
        );
        drop(upload);
        assert_eq!(
            fs::read_dir(folder.path().join("a"))
                .expect("folder")
                .count(),
            0
        );
        fs::write(folder.path().join("a/.salvor-00.part"), b"left by a crash").expect("written");
        assert_eq!(
            store.sweep(Duration::from_secs(3600)).await.expect("swept"),
            0,
            "too young"
        );
        assert_eq!(store.sweep(Duration::ZERO).await.expect("swept"), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn writers_and_deleters_of_neighbours_do_not_disturb_each_other() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = FsStore::new(folder.path());
        let tasks = (0..4).map(|task| {
            let (store, key) = (store.clone(), key(&format!("a/b/c/{task}")));
            tokio::spawn(async move {
                for _ in 0..60 {
                    store.put(&key, Bytes::new(), PutMode::Create).await?;
                    store.delete(&key).await?;
                }
                Ok::<(), Error>(())
            })
        });
        for outcome in futures::future::join_all(tasks).await {
            outcome.expect("no panic").expect("no error");
        }
    }

    #[test]
    fn a_name_that_was_given_twice_by_a_repeated_request_is_no_conflict() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let target = folder.path().join("x");
        let part = PartFile::create(&target).expect("made");
        part.persist(&target, PutMode::Create).expect("named");
        part.persist(&target, PutMode::Create)
            .expect("the answer to the first was lost");
        let other = PartFile::create(&target).expect("made");
        let (error, named) = other.persist(&target, PutMode::Create).expect_err("taken");
        assert_eq!((error.kind(), named), (IoKind::AlreadyExists, false));
    }

    #[tokio::test]
    async fn a_crashed_upload_is_discarded_and_an_open_one_fails() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = FsStore::new(folder.path());
        let mut upload = store
            .upload(&key("a/b/c"), PutMode::Create)
            .await
            .expect("begun");
        upload
            .write(Bytes::from_static(b"half"))
            .await
            .expect("written");
        store
            .put(&key("a/kept"), Bytes::new(), PutMode::Create)
            .await
            .expect("written");
        assert_eq!(store.discard_unfinished("x").await.expect("empty"), 0);
        assert_eq!(store.discard_unfinished("a").await.expect("removed"), 1);
        assert!(!upload.finish().await.expect_err("gone").may_have_happened());
        let listed = store.list_folder("a").await.expect("listed");
        assert_eq!((listed.objects.len(), listed.folders.len()), (1, 1));
        store.head(&key("a/b/c")).await.expect_err("never was");
    }

    #[tokio::test]
    async fn an_object_cannot_have_the_name_of_a_temporary_file() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = FsStore::new(folder.path());
        let error = store
            .put(&key("a/.salvor-1.part"), Bytes::new(), PutMode::Overwrite)
            .await
            .expect_err("it would be swept");
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(!error.may_have_happened());
    }

    #[tokio::test]
    async fn a_listing_does_not_follow_a_link_out_of_the_store() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let outside = folder.path().join("outside");
        fs::create_dir_all(&outside).expect("made");
        fs::write(outside.join("precious"), b"1").expect("written");
        let store = FsStore::new(folder.path().join("store"));
        store
            .put(&key("a/b"), Bytes::new(), PutMode::Create)
            .await
            .expect("written");
        std::os::unix::fs::symlink(&outside, folder.path().join("store/a/link")).expect("linked");
        let listed: Vec<_> = store.list("a").await.expect("begun").collect().await;
        assert!(
            listed.iter().any(Result::is_err),
            "an error, not what the link leads to: {listed:?}"
        );
    }

    #[tokio::test]
    async fn a_file_in_the_place_of_a_folder_is_an_error_not_a_loss() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = FsStore::new(folder.path());
        store
            .put(&key("a"), Bytes::from_static(b"1"), PutMode::Create)
            .await
            .expect("written");
        let error = store
            .put(&key("a/b"), Bytes::new(), PutMode::Create)
            .await
            .expect_err("refused");
        assert!(!error.may_have_happened());
        assert_eq!(
            store
                .get(&key("a"), GetOptions::default())
                .await
                .expect("kept")
                .info
                .size,
            1
        );
    }
}
