//! Plain files: a folder of any kind, made by other tools, brought into a location. Contents stand under their digest,
//! so what is there is not sent again; what the folder was like at one time is a generation with a record of its own.
//!
//! ```text
//! plugins/salvor/trees/<tree>/objects/<aa>/<sha256>      contents, create-only, shared by the generations
//! plugins/salvor/trees/<tree>/<generation>/files.jsonl   a line per entry, in order of the paths
//! plugins/salvor/trees/<tree>/<generation>/tree.json     commit record, with the digest of files.jsonl
//! ```
//!
//! A run that dies leaves contents that the next one finds. Nothing is ever replaced, so two runs at once do no harm.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use salvor_seal::{Digest, Hasher};
use salvor_storage::{Key, ObjectStore, PutMode};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::copy::Transfer;
use crate::error::{Error, Result};
use crate::layout;
use crate::location::Location;
use crate::record;
use crate::run::RunId;

/// Newest format of a tree that we write and read.
pub(crate) const TREE_VERSION: u64 = 1;
/// Files up to this many bytes are read once, into memory.
const SMALL: u64 = 1 << 20;
/// Bytes that are read from a large file at once.
const PIECE: usize = 1 << 20;
/// Files that are read and sent at once: with [`SMALL`] and [`PIECE`] a few megabytes.
const AT_ONCE: usize = 4;
/// A file that changes each time it is read, such as a log, is given up after this many readings.
const READINGS: u32 = 3;
/// Paths that a record repeats of what could not be taken; the number is exact.
const NAMED: usize = 100;

/// What kind of entry it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum EntryKind {
    /// A file with these bytes.
    #[serde(rename_all = "camelCase")]
    File {
        /// Length in bytes.
        size: u64,
        /// Digest of its bytes.
        sha256: Digest,
    },
    /// A folder.
    Folder,
    /// A symbolic link, as it stands; it is not followed.
    Link {
        /// Where it points.
        target: String,
    },
}

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TreeEntry {
    /// Path below the folder, with `/`.
    pub path: String,
    /// The bytes of the path in hex, where they are no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_path: Option<String>,
    /// What it is.
    #[serde(flatten)]
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    /// When it was last changed.
    pub modified: Timestamp,
    /// Number of its owner.
    pub uid: u32,
    /// Number of its group.
    pub gid: u32,
}

/// One generation of a tree: what a folder was like at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TreeRecord {
    /// Format version.
    pub version: u64,
    /// Name of the tree.
    pub tree: String,
    /// The generation: the run that made it.
    pub generation: RunId,
    /// The folder that it was.
    pub root: String,
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Folders in it.
    pub folders: u64,
    /// Symbolic links in it.
    pub links: u64,
    /// Entries that are not in it: they could not be read, changed all the time, or are sockets and devices.
    pub missing: u64,
    /// The first hundred of them, with the reason.
    pub missing_paths: Vec<String>,
    /// Digest of `files.jsonl`.
    pub list_sha256: Digest,
    /// When it was begun.
    pub begun: Timestamp,
    /// When it was done.
    pub finished: Timestamp,
    /// Program and version that made it.
    pub tool: String,
}

/// What a folder holds, counted without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolderSize {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

pub(crate) fn folder_of(tree: &str) -> String {
    format!("{}/{tree}", layout::TREES)
}

pub(crate) fn object_key(tree: &str, digest: &Digest) -> Key {
    let digest = digest.to_string();
    layout::key(format!(
        "{}/objects/{}/{digest}",
        folder_of(tree),
        &digest[..2]
    ))
}

pub(crate) fn generation_key(tree: &str, generation: &RunId, file: &str) -> Result<Key> {
    Key::new(format!("{}/{generation}/{file}", folder_of(tree))).map_err(|error| Error::BadRecord {
        key: folder_of(tree),
        reason: error.to_string(),
    })
}

/// Refuses what cannot be the name of a tree: letters, digits, `-`, `_` and `.`, at most 100.
///
/// # Errors
/// [`Error::BadRecord`] that says so.
pub fn assert_tree_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=100).contains(&name.len()) && name.chars().all(plain) && !name.starts_with('.') {
        return Ok(());
    }
    Err(Error::BadRecord {
        key: format!("{}/{name}", layout::TREES),
        reason: "the name of a tree has letters, digits, `-`, `_` and `.`, at most 100, and begins with no `.`"
            .to_owned(),
    })
}

/// Counts a folder without reading its files.
///
/// # Errors
/// The folder itself cannot be read.
pub async fn measure(root: &Path) -> Result<FolderSize> {
    let mut size = FolderSize::default();
    let mut found = walk(root.to_owned())?;
    while let Some(found) = found.recv().await {
        if let Ok(metadata) = found.metadata
            && metadata.is_file()
        {
            size.files += 1;
            size.bytes += metadata.len();
        }
    }
    Ok(size)
}

/// Brings a folder into a location, as a new generation of a tree. What cannot be read is left out, and said in the
/// record.
///
/// # Errors
/// The folder itself cannot be read, the name is none, [`Error::ReadOnly`], [`Error::Stopped`], or the store fails.
pub async fn mirror_folder(
    root: &Path,
    target: &Location,
    tree: &str,
    transfer: &Transfer,
) -> Result<TreeRecord> {
    assert_tree_name(tree)?;
    let found = walk(root.to_owned())?;
    target.prepare().await?;
    let generation = RunId::generate();
    let begun = Timestamp::now();
    let list_key = generation_key(tree, &generation, "files.jsonl")?;
    let doing = || format!("write the list of tree `{tree}`");
    let mut list = target
        .store
        .upload(&list_key, PutMode::Create)
        .await
        .map_err(Error::store(doing()))?;
    let mut record = TreeRecord {
        version: TREE_VERSION,
        tree: tree.to_owned(),
        generation: generation.clone(),
        root: std::path::absolute(root)
            .unwrap_or_else(|_| root.to_owned())
            .display()
            .to_string(),
        files: 0,
        bytes: 0,
        folders: 0,
        links: 0,
        missing: 0,
        missing_paths: Vec::new(),
        list_sha256: Digest::of(b""),
        begun,
        finished: begun,
        tool: format!("salvor {}", env!("CARGO_PKG_VERSION")),
    };
    let sender = Sender {
        store: Arc::clone(&target.store),
        tree,
        transfer,
    };
    let mut hasher = Hasher::new();
    let found = stream::unfold(found, |mut found| async move {
        found.recv().await.map(|one| (one, found))
    });
    let mut entries = Box::pin(found.map(|found| sender.take(found)).buffered(AT_ONCE));
    let written = async {
        while let Some(taken) = entries.next().await {
            let entry = match taken? {
                Ok(entry) => entry,
                Err(missing) => {
                    record.missing += 1;
                    if record.missing_paths.len() < NAMED {
                        record.missing_paths.push(missing);
                    }
                    continue;
                }
            };
            match &entry.kind {
                EntryKind::File { size, .. } => {
                    record.files += 1;
                    record.bytes += size;
                    transfer.add_done();
                }
                EntryKind::Folder => record.folders += 1,
                EntryKind::Link { .. } => record.links += 1,
            }
            let mut line = serde_json::to_vec(&entry).map_err(|source| Error::Encode {
                what: "entry of a tree",
                source,
            })?;
            line.push(b'\n');
            hasher.update(&line);
            list.write(line.into())
                .await
                .map_err(Error::store(doing()))?;
        }
        Ok(())
    };
    let written: Result<()> = written.await;
    drop(entries);
    if let Err(error) = written {
        // Nothing refers to it; what could not be removed is in nobody's way.
        drop(list.abort().await);
        return Err(error);
    }
    list.finish().await.map_err(Error::store(doing()))?;
    record.list_sha256 = hasher.finish();
    record.finished = Timestamp::now();
    // The commit point: a generation without this record is none.
    let body = record::encode("tree", &record)?;
    let key = generation_key(tree, &generation, "tree.json")?;
    let put = target.store.put(&key, body, PutMode::Create).await;
    put.map_err(Error::store(format!("record tree `{tree}`")))?;
    Ok(record)
}

/// Something in a folder.
struct Found {
    path: PathBuf,
    relative: PathBuf,
    metadata: std::io::Result<Metadata>,
}

/// All entries below a folder but the folder itself, by name, parents first. One folder's names are in memory per
/// level.
fn walk(root: PathBuf) -> Result<mpsc::Receiver<Found>> {
    let first = names(&root).map_err(|source| Error::File {
        doing: format!("read folder {}", root.display()),
        source,
    })?;
    let (sender, receiver) = mpsc::channel(64);
    tokio::task::spawn_blocking(move || {
        let mut levels = vec![(PathBuf::new(), first.into_iter())];
        while let Some((folder, level)) = levels.last_mut() {
            let Some(name) = level.next() else {
                levels.pop();
                continue;
            };
            let relative = folder.join(name);
            let path = root.join(&relative);
            let metadata = std::fs::symlink_metadata(&path);
            let below = match &metadata {
                Ok(metadata) if metadata.is_dir() => Some(names(&path)),
                _ => None,
            };
            let (metadata, below) = match below {
                Some(Err(error)) => (Err(error), None),
                Some(Ok(below)) => (metadata, Some(below)),
                None => (metadata, None),
            };
            if let Some(below) = below {
                levels.push((relative.clone(), below.into_iter()));
            }
            let found = Found {
                path,
                relative,
                metadata,
            };
            if sender.blocking_send(found).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

fn names(folder: &Path) -> std::io::Result<Vec<OsString>> {
    let entries = std::fs::read_dir(folder)?;
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// An entry, or why it is missing.
type Taken = Result<TreeEntry, String>;

struct Sender<'a> {
    store: Arc<dyn ObjectStore>,
    tree: &'a str,
    transfer: &'a Transfer,
}

impl Sender<'_> {
    async fn take(&self, found: Found) -> Result<Taken> {
        let path = found.relative.display().to_string();
        self.transfer.go_on(|| format!("mirror `{path}`"))?;
        let missing = |error: &dyn std::fmt::Display| Ok(Err(format!("{path}: {error}")));
        let metadata = match &found.metadata {
            Ok(metadata) => metadata,
            Err(error) => return missing(error),
        };
        let kind = if metadata.is_dir() {
            EntryKind::Folder
        } else if metadata.is_symlink() {
            match std::fs::read_link(&found.path) {
                Ok(target) => match target.into_os_string().into_string() {
                    Ok(target) => EntryKind::Link { target },
                    Err(_) => return missing(&"the target of the link is no UTF-8"),
                },
                Err(error) => return missing(&error),
            }
        } else if metadata.is_file() {
            match self.send(&found.path).await? {
                Ok((size, sha256)) => EntryKind::File { size, sha256 },
                Err(why) => return missing(&why),
            }
        } else {
            return missing(&"it is a socket, pipe or device");
        };
        let raw = found.relative.as_os_str().as_bytes();
        let raw_path = found.relative.to_str().is_none().then(|| hex(raw));
        let modified =
            i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Ok(Ok(TreeEntry {
            path,
            raw_path,
            kind,
            mode: metadata.mode() & 0o7777,
            modified: Timestamp::from_nanosecond(modified).unwrap_or(Timestamp::MIN),
            uid: metadata.uid(),
            gid: metadata.gid(),
        }))
    }

    /// Sends a file unless its bytes are there. The inner error says why it cannot be taken.
    async fn send(&self, path: &Path) -> Result<Result<(u64, Digest), String>> {
        for _ in 0..READINGS {
            let (size, digest, small) = match digest_of_file(path).await {
                Ok(read) => read,
                Err(error) => return Ok(Err(error.to_string())),
            };
            let key = object_key(self.tree, &digest);
            match self.store.head(&key).await {
                Ok(info) if info.size == size => {
                    self.transfer.add_kept(size);
                    return Ok(Ok((size, digest)));
                }
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(Error::store(format!("look for `{key}`"))(error)),
            }
            let sent = match small {
                Some(bytes) => self.put(&key, bytes).await?,
                None => match self.upload(&key, path, digest).await? {
                    Ok(sent) => sent,
                    Err(error) => return Ok(Err(error.to_string())),
                },
            };
            if sent {
                return Ok(Ok((size, digest)));
            }
        }
        Ok(Err("it changed each time it was read".to_owned()))
    }

    async fn put(&self, key: &Key, bytes: Bytes) -> Result<bool> {
        let length = bytes.len();
        match self.store.put(key, bytes, PutMode::Create).await {
            Ok(_) => self.transfer.add_sent(length),
            // Another file with these bytes, or another run.
            Err(error) if error.is_already_exists() => self.transfer.add_kept(length as u64),
            Err(error) => return Err(Error::store(format!("write `{key}`"))(error)),
        }
        Ok(true)
    }

    /// Sends a large file while it is read a second time; false when it changed since the first.
    async fn upload(
        &self,
        key: &Key,
        path: &Path,
        digest: Digest,
    ) -> Result<std::io::Result<bool>> {
        let doing = || format!("write `{key}`");
        let mut upload = match self.store.upload(key, PutMode::Create).await {
            Ok(upload) => upload,
            Err(error) if error.is_already_exists() => return Ok(Ok(true)),
            Err(error) => return Err(Error::store(doing())(error)),
        };
        let mut hasher = Hasher::new();
        let mut pieces = pieces(path.to_owned());
        let mut sent = async || {
            while let Some(piece) = pieces.recv().await {
                let piece = match piece {
                    Ok(piece) => piece,
                    Err(error) => return Ok(Err(error)),
                };
                self.transfer
                    .go_on(|| format!("mirror `{}`", path.display()))?;
                hasher.update(&piece);
                let length = piece.len();
                upload.write(piece).await.map_err(Error::store(doing()))?;
                self.transfer.add_sent(length);
            }
            Ok(Ok(()))
        };
        let sent: Result<std::io::Result<()>> = sent().await;
        let unusable = match sent {
            Ok(Ok(())) if hasher.finish() == digest => None,
            Ok(Ok(())) => Some(Ok(Ok(false))),
            Ok(Err(error)) => Some(Ok(Err(error))),
            Err(error) => Some(Err(error)),
        };
        if let Some(result) = unusable {
            if let Err(error) = upload.abort().await {
                tracing::warn!(%key, %error, "what was sent of it stays in the store");
            }
            return result;
        }
        match upload.finish().await {
            Ok(_) => Ok(Ok(true)),
            Err(error) if error.is_already_exists() => Ok(Ok(true)),
            Err(error) => Err(Error::store(doing())(error)),
        }
    }
}

/// Size and digest of a file, and its bytes when they are few.
async fn digest_of_file(path: &Path) -> std::io::Result<(u64, Digest, Option<Bytes>)> {
    let mut hasher = Hasher::new();
    let mut kept = Some(Vec::new());
    let mut pieces = pieces(path.to_owned());
    while let Some(piece) = pieces.recv().await {
        let piece = piece?;
        hasher.update(&piece);
        if hasher.length() > SMALL {
            kept = None;
        } else if let Some(kept) = &mut kept {
            kept.extend_from_slice(&piece);
        }
    }
    Ok((hasher.length(), hasher.finish(), kept.map(Bytes::from)))
}

/// The bytes of a file, read by a thread that may block.
fn pieces(path: PathBuf) -> mpsc::Receiver<std::io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        let mut file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) => {
                drop(sender.blocking_send(Err(error)));
                return;
            }
        };
        loop {
            let mut piece = vec![0; PIECE];
            let read = file.read(&mut piece);
            let piece = read.map(|length| {
                piece.truncate(length);
                Bytes::from(piece)
            });
            let ended = piece.as_ref().map_or(true, Bytes::is_empty);
            if matches!(&piece, Ok(piece) if piece.is_empty()) {
                return;
            }
            if sender.blocking_send(piece).is_err() || ended {
                return;
            }
        }
    });
    receiver
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
