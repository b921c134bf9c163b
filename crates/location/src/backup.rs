//! Writing a backup, so that it is there whole or not at all.
//!
//! 1. **Claim** the name ([`crate::claim`]); remove what a dead predecessor left.
//! 2. **Contents** under their final names, create-only: a writer that was paused and lost its claim can
//!    overwrite nothing.
//! 3. **Manifest**: name, size, SHA-256 and tag of every content; then each content is looked at once more,
//!    so that a store that lied about a write is noticed.
//! 4. **Commit record**, create-only, with the manifest's digest and the run id in its annotations. This is
//!    the commit point.
//! 5. The claim is looked at once more: whoever took it over before our record was there may have removed
//!    the contents, and then the commit does not count as one. The claim is closed.
//!
//! A writer that fails deletes nothing: it cannot know whether the name is still its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use salvor_api::labels;
use salvor_api::name::BackupName;
use salvor_api::velero::Backup;
use salvor_seal::{Digest, Hasher};
use salvor_storage::{GetOptions, Key, ObjectInfo, PutMode, Upload};

use crate::claim::{Claim, Purpose};
use crate::commit::{self, Sealed};
use crate::error::{Error, Result};
use crate::layout;
use crate::location::{BackupRecord, Location};
use crate::manifest::{MANIFEST_VERSION, Manifest, ManifestEntry};
use crate::record;
use crate::run::RunId;

/// Contents that are looked at or removed at once.
pub(crate) const PARALLELISM: usize = 8;

/// A backup that is being written. Dropping it leaves an uncommitted folder that the next writer of the
/// name cleans.
#[derive(Debug)]
pub struct BackupWriter {
    location: Location,
    name: BackupName,
    claim: Claim,
    contents: Vec<ManifestEntry>,
}

impl Location {
    /// Takes the name `name` for a new backup.
    ///
    /// # Errors
    /// [`Error::BackupExists`], [`Error::Busy`] while another run is writing under the name,
    /// [`Error::ReadOnly`], or the store fails.
    pub async fn begin_backup(&self, name: &BackupName, run: &RunId) -> Result<BackupWriter> {
        let prepared = self.prepare().await?;
        self.refuse_existing(name).await?;
        let claim = Claim::take(
            self,
            &prepared,
            "backup",
            name.as_str(),
            run,
            Purpose::Write,
        )
        .await?;
        // Between our look and our claim another writer may have committed and closed.
        if let Err(error) = self.clear_leftovers(name, claim.follows_another).await {
            claim.close().await;
            return Err(error);
        }
        self.keep_reserve().await;
        Ok(BackupWriter {
            location: self.clone(),
            name: name.clone(),
            claim,
            contents: Vec::new(),
        })
    }

    pub(crate) async fn refuse_existing(&self, name: &BackupName) -> Result<()> {
        let key = layout::backup_file(name, layout::BACKUP_RECORD)
            .map_err(Error::store("name the commit record"))?;
        match self.store.head(&key).await {
            Ok(_) => Err(Error::BackupExists {
                name: name.to_string(),
                location: self.name().to_owned(),
            }),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(Error::store(format!("look for backup `{name}`"))(error)),
        }
    }

    /// Removes what an earlier holder of the claim left, unless it has committed. Its holder is dead or
    /// done, so without a commit record it is nobody's; that there is none must both a look and the
    /// listing say.
    async fn clear_leftovers(&self, name: &BackupName, follows_another: bool) -> Result<()> {
        self.refuse_existing(name).await?;
        if !follows_another {
            return Ok(());
        }
        let folder = layout::backup_folder(name);
        let left = self.keys_below(&folder).await?;
        if left
            .iter()
            .any(|key| key.file_name() == layout::BACKUP_RECORD)
        {
            return Err(Error::BackupExists {
                name: name.to_string(),
                location: self.name().to_owned(),
            });
        }
        self.remove(&folder, left).await
    }

    /// Removes every object below a folder; returns how many there were.
    pub(crate) async fn remove_folder(&self, folder: &str) -> Result<u64> {
        let keys = self.keys_below(folder).await?;
        let count = keys.len() as u64;
        self.remove(folder, keys).await?;
        Ok(count)
    }

    pub(crate) async fn keys_below(&self, folder: &str) -> Result<Vec<Key>> {
        let list = async {
            let listed = self.store.list(folder).await?;
            listed.map_ok(|info| info.key).try_collect().await
        };
        list.await
            .map_err(Error::store(format!("list `{folder}/`")))
    }

    pub(crate) async fn remove(&self, folder: &str, keys: Vec<Key>) -> Result<()> {
        let remove = async {
            stream::iter(keys)
                .map(|key| {
                    let store = Arc::clone(&self.store);
                    async move { store.delete(&key).await }
                })
                .buffer_unordered(PARALLELISM)
                .try_collect::<Vec<()>>()
                .await?;
            self.store.discard_unfinished(folder).await.map(drop)
        };
        remove
            .await
            .map_err(Error::store(format!("remove `{folder}/`")))
    }
}

impl BackupWriter {
    /// The backup's name.
    #[must_use]
    pub fn name(&self) -> &BackupName {
        &self.name
    }

    /// The run that writes it.
    #[must_use]
    pub fn run(&self) -> &RunId {
        self.claim.run()
    }

    /// Bytes of all contents so far.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.contents.iter().map(|entry| entry.size).sum()
    }

    /// Writes a content that is in memory.
    ///
    /// # Errors
    /// The name is taken (an earlier holder of the claim is alive after all), or the store fails.
    pub async fn put(&mut self, file: &str, bytes: Bytes) -> Result<()> {
        let doing = format!("write `{file}` of backup `{}`", self.name);
        let key = layout::backup_file(&self.name, file).map_err(Error::store(doing.clone()))?;
        let (size, sha256) = (bytes.len() as u64, Digest::of(&bytes));
        let info = self
            .location
            .store
            .put(&key, bytes, PutMode::Create)
            .await
            .map_err(Error::store(doing))?;
        self.contents.push(entry(file, size, sha256, &info));
        Ok(())
    }

    /// Begins a content that comes in pieces; hand it back by [`FileUpload::finish`].
    ///
    /// # Errors
    /// As [`BackupWriter::put`].
    pub async fn upload(&mut self, file: &str) -> Result<FileUpload> {
        let doing = format!("write `{file}` of backup `{}`", self.name);
        let begin = async {
            let key = layout::backup_file(&self.name, file)?;
            let upload = self.location.store.upload(&key, PutMode::Create).await?;
            Ok((key, upload))
        };
        let (key, upload) = begin.await.map_err(Error::store(doing.clone()))?;
        Ok(FileUpload {
            file: file.to_owned(),
            key,
            doing,
            upload,
            hasher: Hasher::new(),
        })
    }

    /// Commits the backup: manifest, a second look at the contents, commit record.
    ///
    /// `backup` is the record to write; its annotations for run and manifest are set here.
    /// `list_revisions` goes into the manifest.
    ///
    /// # Errors
    /// [`Error::ClaimLost`] or [`Error::ContentsChanged`] when the backup may not be committed, or the
    /// store fails.
    pub async fn commit(
        self,
        mut backup: Backup,
        list_revisions: BTreeMap<String, String>,
    ) -> Result<BackupRecord> {
        let Self {
            location,
            name,
            claim,
            mut contents,
        } = self;
        contents.sort_by(|a, b| a.name.cmp(&b.name));
        let annotations = &mut backup.metadata.annotations;
        let tool = format!("salvor {}", env!("CARGO_PKG_VERSION"));
        let manifest = Manifest {
            version: MANIFEST_VERSION,
            backup: name.to_string(),
            run: claim.run().clone(),
            tool: tool.clone(),
            created: Timestamp::now(),
            cluster_uid: annotations
                .get(labels::CLUSTER_UID)
                .cloned()
                .unwrap_or_default(),
            objects: contents,
            list_revisions,
        };
        let manifest_bytes = record::encode("manifest", &manifest)?;
        annotations.insert(
            labels::MANIFEST_DIGEST.to_owned(),
            Digest::of(&manifest_bytes).to_string(),
        );
        annotations.insert(labels::RUN_ID.to_owned(), claim.run().to_string());
        annotations.insert(labels::TOOL_VERSION.to_owned(), tool);
        let record = record::encode("backup", &backup)?;
        let sealed = Sealed {
            contents: manifest.objects,
            manifest: Some(manifest_bytes),
            record,
        };
        let committed = commit::commit(&location, &name, claim, &sealed).await?;
        Ok(BackupRecord {
            backup,
            name,
            committed: committed.modified,
        })
    }

    /// Gives up without deleting anything, so that the next writer need not wait for the lease.
    pub async fn abandon(self) {
        self.claim.close().await;
    }
}

pub(crate) fn entry(file: &str, size: u64, sha256: Digest, info: &ObjectInfo) -> ManifestEntry {
    ManifestEntry {
        name: file.to_owned(),
        size,
        sha256,
        version_id: info.version.clone(),
        etag: info.etag.clone(),
    }
}

/// A content that is being written in pieces.
pub struct FileUpload {
    file: String,
    key: Key,
    doing: String,
    upload: Box<dyn Upload>,
    hasher: Hasher,
}

impl std::fmt::Debug for FileUpload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileUpload")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl FileUpload {
    /// Takes the next bytes; waits while the store is slower than the caller.
    ///
    /// # Errors
    /// The store fails.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.hasher.update(&bytes);
        self.upload
            .write(bytes)
            .await
            .map_err(Error::store(self.doing.clone()))
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.hasher.length()
    }

    /// Makes the content visible and adds it to the backup.
    ///
    /// # Errors
    /// The store fails, or holds other bytes.
    pub async fn finish(self, writer: &mut BackupWriter) -> Result<()> {
        let Self {
            file,
            key,
            doing,
            upload,
            hasher,
        } = self;
        let size = hasher.length();
        let sha256 = hasher.finish();
        let info = match upload.finish().await {
            Ok(info) => info,
            Err(error) if error.may_have_happened() => {
                // The answer was lost. Only the bytes themselves can tell whether the write was.
                let (info, found) = digest_of(&writer.location, &key)
                    .await
                    .map_err(|_| Error::store(doing.clone())(error))?;
                if found != sha256 {
                    return Err(Error::ContentsChanged {
                        key: key.to_string(),
                        reason: "another writer's bytes are there".to_owned(),
                    });
                }
                info
            }
            Err(error) => return Err(Error::store(doing)(error)),
        };
        writer.contents.push(entry(&file, size, sha256, &info));
        Ok(())
    }
}

/// Reads an object through a hasher.
pub(crate) async fn digest_of(
    location: &Location,
    key: &Key,
) -> Result<(ObjectInfo, Digest), salvor_storage::Error> {
    let mut object = location.store.get(key, GetOptions::default()).await?;
    let mut hasher = Hasher::new();
    while let Some(chunk) = object.body.next().await {
        hasher.update(&chunk?);
    }
    Ok((object.info, hasher.finish()))
}
