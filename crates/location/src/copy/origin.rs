//! What is copied: a backup as it stands at its source.

use bytes::Bytes;
use futures::TryStreamExt as _;
use salvor_api::go::Time;
use salvor_api::labels;
use salvor_api::name::BackupName;
use salvor_api::velero::Backup;
use salvor_seal::Digest;
use salvor_storage::ObjectInfo;
use serde_json::{Value, json};

use crate::backup::digest_of;
use crate::copy::Expiry;
use crate::error::{Error, Result};
use crate::layout;
use crate::location::{BackupRecord, Location};
use crate::manifest::MANIFEST_VERSION;
use crate::record;

/// What names a backup wherever it lies: the digest of its manifest or, for one of Velero's, when it was begun.
#[must_use]
pub fn identity(backup: &Backup) -> String {
    match backup.metadata.annotations.get(labels::MANIFEST_DIGEST) {
        Some(digest) => format!("sha256:{digest}"),
        None => {
            let begun = backup.status.start_timestamp;
            let begun = begun.or(backup.metadata.creation_timestamp);
            format!(
                "begun:{}",
                begun.map(|at| at.to_string()).unwrap_or_default()
            )
        }
    }
}

/// A content that a copy must have.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// File name below the backup's folder.
    pub(crate) name: String,
    /// Length in bytes.
    pub(crate) size: u64,
    /// Digest, unless nobody has written it down.
    pub(crate) sha256: Option<Digest>,
}

/// A backup at its source, with everything that a copy consists of.
pub(crate) struct Origin {
    pub(crate) name: BackupName,
    pub(crate) identity: String,
    /// The commit record, as stored.
    record: Bytes,
    /// When the backup was begun.
    begun: Option<Time>,
    /// The manifest, as stored; `None` for one of Velero's.
    pub(crate) manifest: Option<Bytes>,
    pub(crate) contents: Vec<Expected>,
    /// Without a manifest: what the listing said.
    listed: Vec<ObjectInfo>,
}

impl Origin {
    /// Reads what there is to copy, not the contents.
    pub(crate) async fn read(source: &Location, original: &BackupRecord) -> Result<Self> {
        let name = original.name.clone();
        let backup = &original.backup;
        if !backup.status.phase.is_final() {
            return Err(Error::NotFinished {
                name: name.to_string(),
                location: source.name().to_owned(),
                reason: format!("its phase is {}", backup.status.phase),
            });
        }
        let (_, record) = source
            .record_bytes(&name, &super::record_key(&name)?)
            .await?;
        let mut origin = Self {
            identity: identity(backup),
            record,
            begun: backup
                .status
                .start_timestamp
                .or(backup.metadata.creation_timestamp),
            manifest: source.manifest_bytes(original).await?,
            contents: Vec::new(),
            listed: Vec::new(),
            name,
        };
        match &origin.manifest {
            Some(bytes) => {
                let key = layout::backup_file(&origin.name, layout::MANIFEST)
                    .map_err(Error::store("name the manifest"))?;
                let manifest: crate::Manifest = record::decode(&key, bytes, MANIFEST_VERSION)?;
                let expected = manifest.objects.into_iter().map(|entry| Expected {
                    name: entry.name,
                    size: entry.size,
                    sha256: Some(entry.sha256),
                });
                origin.contents = expected.collect();
            }
            None => origin.list(source, original).await?,
        }
        Ok(origin)
    }

    /// What a backup of Velero's consists of: what stands in its folder. A copy of it says the digests.
    async fn list(&mut self, source: &Location, original: &BackupRecord) -> Result<()> {
        self.listed = files_of(source, &self.name).await?;
        let known = source.copied_from(&self.name).await?;
        let known = known.filter(|known| known.identity == self.identity);
        let folder = layout::backup_folder(&self.name);
        for info in &self.listed {
            let name = info.key.as_str()[folder.len() + 1..].to_owned();
            let of = known.as_ref().map(|known| known.objects.iter());
            let stated = of.and_then(|mut entries| entries.find(|entry| entry.name == name));
            self.contents.push(Expected {
                sha256: stated.map(|entry| entry.sha256),
                size: stated.map_or(info.size, |entry| entry.size),
                name,
            });
        }
        let stated = known.into_iter().flat_map(|known| known.objects);
        let mut needed: Vec<String> = stated.map(|entry| entry.name).collect();
        if original.backup.status.phase.is_restorable() {
            needed.push(format!("{}.tar.gz", self.name));
        }
        for file in needed {
            if !self.contents.iter().any(|content| content.name == file) {
                return Err(Error::SourceDamaged {
                    key: format!("{folder}/{file}"),
                    location: source.name().to_owned(),
                    reason: "it is missing".to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Bytes of all contents.
    pub(crate) fn bytes(&self) -> u64 {
        self.contents.iter().map(|content| content.size).sum()
    }

    /// The digest of a content at the source, for which nobody has written one down.
    pub(crate) async fn digest(&self, source: &Location, content: &Expected) -> Result<Digest> {
        let key = layout::backup_file(&self.name, &content.name)
            .map_err(Error::store(format!("read `{}`", content.name)))?;
        let read = digest_of(source, &key).await;
        Ok(read.map_err(Error::store(format!("read `{key}`")))?.1)
    }

    /// Refuses a source without a manifest that changed while it was copied: it was deleted, or is not finished.
    pub(crate) async fn assert_unchanged(&self, source: &Location) -> Result<()> {
        if self.manifest.is_some() {
            return Ok(());
        }
        let now = files_of(source, &self.name).await?;
        let same =
            |a: &ObjectInfo, b: &ObjectInfo| (&a.key, a.size, &a.etag) == (&b.key, b.size, &b.etag);
        if now.len() == self.listed.len() && now.iter().zip(&self.listed).all(|(a, b)| same(a, b)) {
            return Ok(());
        }
        Err(Error::NotFinished {
            name: self.name.to_string(),
            location: source.name().to_owned(),
            reason: "its files changed while they were copied".to_owned(),
        })
    }

    /// The commit record of the copy: the bytes of the original, unless the copy has its own expiration.
    pub(crate) fn record_with(&self, expiry: Expiry) -> Result<Bytes> {
        let bad = |reason: String| Error::BadRecord {
            key: format!(
                "{}/{}",
                layout::backup_folder(&self.name),
                layout::BACKUP_RECORD
            ),
            reason,
        };
        let after = match expiry {
            Expiry::AsOriginal => return Ok(self.record.clone()),
            Expiry::Never => None,
            Expiry::After(after) => Some(after),
        };
        // Not by way of the kind: fields that this release does not know stay as they are.
        let mut record: Value =
            serde_json::from_slice(&self.record).map_err(|error| bad(error.to_string()))?;
        let expiration = match (after, self.begun) {
            (None, _) => Value::Null,
            (Some(after), Some(begun)) => json!(begun.plus(after)),
            (Some(_), None) => {
                return Err(bad("it does not say when the backup was begun".to_owned()));
            }
        };
        let put = |record: &mut Value, part: &str, field: &str, value: Value| {
            let Some(part) = record.get_mut(part).and_then(Value::as_object_mut) else {
                return;
            };
            match value {
                Value::Null => part.remove(field),
                value => part.insert(field.to_owned(), value),
            };
        };
        put(&mut record, "status", "expiration", expiration);
        let ttl = after.map(salvor_api::go::GoDuration);
        put(&mut record, "spec", "ttl", json!(ttl));
        record::encode("backup", &record)
    }
}

/// The files of a backup but its commit record, by name.
async fn files_of(source: &Location, name: &BackupName) -> Result<Vec<ObjectInfo>> {
    let folder = layout::backup_folder(name);
    let list = async {
        let listed = source.store.list(&folder).await?;
        listed.try_collect::<Vec<ObjectInfo>>().await
    };
    let mut listed = list
        .await
        .map_err(Error::store(format!("list `{folder}/`")))?;
    listed.retain(|info| info.key.file_name() != layout::BACKUP_RECORD);
    Ok(listed)
}
