//! The contract of a store.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use jiff::Timestamp;

use crate::bucket::{Access, BucketRules, Tier};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

/// Bytes of an object as they arrive.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;
/// Objects of a listing as they arrive.
pub type MetaStream = BoxStream<'static, Result<ObjectInfo>>;

/// Whether a write may replace what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// Refuse with [`ErrorKind::AlreadyExists`] when the key is taken.
    Create,
    /// Replace what is there.
    Overwrite,
}

/// What a store knows of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: Key,
    /// Its length in bytes.
    pub size: u64,
    /// When it was written, by the store's clock.
    pub modified: Option<Timestamp>,
    /// Changes whenever the content changes; opaque.
    pub etag: Option<String>,
    /// Version id, on stores that keep versions.
    pub version: Option<String>,
}

/// One version of an object, on stores that keep versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionInfo {
    /// The object; `size` is zero for a delete marker.
    pub object: ObjectInfo,
    /// True when this version is a deletion.
    pub is_delete_marker: bool,
    /// True for the version that a plain read gives.
    pub is_latest: bool,
}

/// An object that is being read.
pub struct Object {
    /// What the store knows of it. `size` is that of the whole object, not of the range.
    pub info: ObjectInfo,
    /// Its bytes, or those of the range.
    pub body: ByteStream,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

impl Object {
    /// All bytes, at most `limit` of them.
    ///
    /// # Errors
    /// The body fails, or is longer than `limit`.
    pub async fn bytes(mut self, limit: u64) -> Result<Bytes> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.body.next().await {
            let chunk = chunk?;
            if (all.len() + chunk.len()) as u64 > limit {
                return Err(Error::new(ErrorKind::Invalid, "read", &self.info.key)
                    .with_detail(format!("longer than the {limit} bytes that it may have")));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }
}

/// Which part and version of an object to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetOptions {
    /// Bytes to read; the whole object when absent. A range that reaches beyond the end is an
    /// [`ErrorKind::Invalid`] error, so that a truncated object is noticed.
    pub range: Option<Range<u64>>,
    /// Version to read; the newest when absent.
    pub version: Option<String>,
}

/// Objects and folders directly below a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// Names of folders, without the prefix and without a trailing `/`, sorted.
    pub folders: Vec<String>,
    /// Objects directly below, sorted by key.
    pub objects: Vec<ObjectInfo>,
}

/// A place for bytes under names.
///
/// What callers may rely on, with every implementation:
/// - **Atomic.** An object is seen whole or not at all, under a concurrent reader and after a crash. When
///   a write has returned, it survives a crash.
/// - **Create-only excludes.** Of several [`PutMode::Create`] writers of one key, at most one succeeds, on
///   stores where [`ObjectStore::excludes`] is true.
/// - **Read after write.** What was written is read by whoever asks next.
/// - **Honest errors.** A failed write says by [`Error::may_have_happened`] whether it may have happened.
/// - **Cancellation.** Dropping a future leaves either the old or the new object; a dropped [`Upload`]
///   leaves no object.
#[async_trait]
pub trait ObjectStore: fmt::Debug + Send + Sync {
    /// The store for humans, without secrets: `s3://bucket/prefix`.
    fn describe(&self) -> String;

    /// Whether [`PutMode::Create`] excludes other writers. Where it is not known to, the location takes
    /// the store's word for nothing and tries it.
    fn excludes(&self) -> bool;

    /// Where the objects are files of this machine, their folder.
    fn local_root(&self) -> Option<PathBuf> {
        None
    }

    /// Writes an object that is in memory.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] with [`PutMode::Create`] when the key is taken.
    async fn put(&self, key: &Key, body: Bytes, mode: PutMode) -> Result<ObjectInfo>;

    /// Begins an object that comes in pieces.
    ///
    /// # Errors
    /// As [`ObjectStore::put`]; a taken key may be noticed here or in [`Upload::finish`].
    async fn upload(&self, key: &Key, mode: PutMode) -> Result<Box<dyn Upload>>;

    /// Reads an object or a part of it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and [`ErrorKind::Invalid`] for a range outside the object.
    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object>;

    /// What the store knows of an object.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    async fn head(&self, key: &Key) -> Result<ObjectInfo>;

    /// All objects whose key starts with `prefix` (a folder, with or without its `/`; empty for all), by
    /// key. A listing that breaks off yields an error, never a short list.
    ///
    /// # Errors
    /// The listing cannot begin.
    async fn list(&self, prefix: &str) -> Result<MetaStream>;

    /// Objects and folders directly below a folder (empty for the root).
    ///
    /// # Errors
    /// The listing fails.
    async fn list_folder(&self, folder: &str) -> Result<Folder>;

    /// Removes an object. Removing what is not there succeeds.
    ///
    /// # Errors
    /// The store refuses or fails.
    async fn delete(&self, key: &Key) -> Result<()>;

    /// A URL under which whoever has it can read an object with a plain GET for as long as `lasts`. The store
    /// is not asked whether the object is there. `None` where such URLs cannot be made: folders, and stores
    /// whose credentials cannot sign.
    ///
    /// # Errors
    /// The credentials cannot be had.
    async fn presign(&self, _key: &Key, _lasts: Duration) -> Result<Option<String>> {
        Ok(None)
    }

    /// Removes what unfinished uploads below a folder have left in the store, so that a crashed writer
    /// costs no space for ever. An upload that is still open there fails. Returns how many were removed;
    /// zero where unfinished uploads leave nothing.
    ///
    /// # Errors
    /// The store refuses or fails.
    async fn discard_unfinished(&self, _folder: &str) -> Result<usize> {
        Ok(0)
    }

    /// What the bucket does by itself with what lies below the root of this store; `None` where nothing is known to.
    ///
    /// # Errors
    /// The store fails. What may not be asked is said in the answer.
    async fn rules(&self) -> Result<Option<BucketRules>> {
        Ok(None)
    }

    /// Until when the store lets nobody remove an object, by a lock of the object's own or one that a default retention of
    /// the bucket gave it; `None` where it has none, or where the right to ask is missing.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    async fn retained_until(&self, _key: &Key) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    /// Lets nobody remove an object before `until`, in the mode of [`BucketRules::default_retention`]. To do it twice is to
    /// do it once.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where objects have no locks of their own; [`ErrorKind::Denied`] where the right is
    /// missing, or where the object is kept for longer already.
    async fn retain(&self, key: &Key, _mode: &str, _until: Timestamp) -> Result<()> {
        let doing = "extend the retention of";
        Err(Error::new(ErrorKind::Unsupported, doing, key).in_store(self.describe()))
    }

    /// In which storage class an object is, and whether it can be read now.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    async fn tier(&self, key: &Key) -> Result<Tier> {
        self.head(key).await.map(|_| Tier {
            class: String::new(),
            access: Access::Now,
        })
    }

    /// Moves an object to another storage class. Its bytes stay what they are; readers see it throughout, as long
    /// as the class can be read.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where there are no classes, [`ErrorKind::Frozen`] for an object that would have
    /// to be thawed before.
    async fn set_class(&self, key: &Key, _class: &str) -> Result<()> {
        let doing = "move to another storage class";
        Err(Error::new(ErrorKind::Unsupported, doing, key).in_store(self.describe()))
    }

    /// Asks for an object of a cold class to be readable for a week. That it was asked before is no error.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where nothing is cold.
    async fn thaw(&self, key: &Key) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "thaw", key).in_store(self.describe()))
    }

    /// All versions below a prefix, newest first per key.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where versions are not kept.
    async fn list_versions(&self, prefix: &str) -> Result<Vec<VersionInfo>> {
        Err(
            Error::new(ErrorKind::Unsupported, "list versions of", prefix)
                .in_store(self.describe()),
        )
    }
}

/// An object that is being written in pieces. Nothing is visible before [`Upload::finish`].
#[async_trait]
pub trait Upload: Send {
    /// Takes the next bytes; waits while the store is slower than the caller.
    ///
    /// # Errors
    /// The store refuses; the upload is then of no more use.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Makes the object visible.
    ///
    /// # Errors
    /// As [`ObjectStore::put`].
    async fn finish(self: Box<Self>) -> Result<ObjectInfo>;

    /// Gives up and removes what was stored so far.
    ///
    /// # Errors
    /// Leftovers could not be removed; no object is visible in any case.
    async fn abort(self: Box<Self>) -> Result<()>;
}

/// `prefix` with exactly one trailing `/`, or empty.
pub(crate) fn folder_prefix(folder: &str) -> String {
    let trimmed = folder.trim_end_matches('/');
    if trimmed.is_empty() {
        String::new()
    } else {
        format!("{trimmed}/")
    }
}
