//! A location: its records, listings and reads.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use salvor_api::labels;
use salvor_api::name::{BackupName, RestoreName};
use salvor_api::velero::Backup;
use salvor_seal::Digest;
use salvor_storage::{Distance, GetOptions, Key, ObjectInfo, ObjectStore, PutMode, StoreUrl};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::claim::{ClaimPolicy, read_small};
use crate::error::{Error, Result};
use crate::init::Found;
use crate::layout;
use crate::listing::{Listing, bad_name};
use crate::manifest::{MANIFEST_VERSION, Manifest};
use crate::record::{self, RECORD_LIMIT};
use crate::run::RunId;
use crate::trust::{Numbered, RecordSignature, Trust};

/// Newest format of a location that we write and read.
pub(crate) const LOCATION_VERSION: u64 = 1;

/// What a user calls a location, and how it may be used.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Name, as in Velero's `--storage-location`.
    pub name: String,
    /// Where it is.
    pub url: StoreUrl,
    /// Refuses writes.
    pub read_only: bool,
}

/// One backup storage location. Clones share it.
#[derive(Clone, Debug)]
pub struct Location {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) profile: Arc<Profile>,
    pub(crate) claims: ClaimPolicy,
    /// What the configuration pins about it.
    pub(crate) trust: Arc<Trust>,
    /// Whether creating excluded when it was tried in this process.
    pub(crate) raced: Arc<OnceCell<bool>>,
}

/// A committed backup.
#[derive(Clone, Debug)]
pub struct BackupRecord {
    /// The commit record.
    pub backup: Backup,
    /// Its name: the folder's, which is what counts.
    pub name: BackupName,
    /// When the commit record was written, by the store's clock.
    pub committed: Option<Timestamp>,
}

/// The location's own record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocationRecord {
    /// Format version.
    pub version: u64,
    /// Identity of the location, made once.
    pub id: String,
    /// When this record was made.
    pub created: Timestamp,
    /// Whether creating one key twice was refused the second time.
    pub create_only: bool,
    /// Id of the location that this one mirrors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror_of: Option<String>,
    /// What a check found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<Found>,
    /// Fingerprints of those that sealed objects are encrypted to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// Who signed this record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<RecordSignature>,
}

impl Location {
    /// A location on `store`, which already points at the bucket's prefix.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, profile: Profile) -> Self {
        Self {
            store,
            profile: Arc::new(profile),
            claims: ClaimPolicy::default(),
            trust: Arc::default(),
            raced: Arc::default(),
        }
    }

    /// The same location with other times for claims.
    #[must_use]
    pub fn with_claim_policy(mut self, claims: ClaimPolicy) -> Self {
        self.claims = claims;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.profile.name
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &StoreUrl {
        &self.profile.url
    }

    /// How it may be used.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The store below it.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// True when the data is on the machine, node or cluster that it protects, and so is lost with it.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.profile.url.distance() <= Distance::Cluster
    }

    /// True when the data is somewhere else, as far as the address tells. One in a private network may be
    /// beside the cluster, so it does not count.
    #[must_use]
    pub fn is_off_site(&self) -> bool {
        self.profile.url.distance() == Distance::Elsewhere
    }

    /// The path of a backup's file, for `file://` locations.
    #[must_use]
    pub fn local_path(&self, name: &BackupName, file: &str) -> Option<PathBuf> {
        let key = layout::backup_file(name, file).ok()?;
        Some(self.store.local_root()?.join(key.as_str()))
    }

    /// Reads the location's own record, and makes one when there is none.
    ///
    /// # Errors
    /// The location was written by a newer release, is read-only, or fails.
    pub async fn prepare(&self) -> Result<LocationRecord> {
        if self.profile.read_only {
            return Err(Error::ReadOnly {
                location: self.name().to_owned(),
            });
        }
        let records = self.records_of_location().await?;
        self.assert_trusted(&records)?;
        if let Some(Numbered { record, .. }) = records.counting {
            return Ok(record);
        }
        let id = RunId::generate();
        let record = LocationRecord {
            version: LOCATION_VERSION,
            id: id.to_string(),
            created: Timestamp::now(),
            create_only: self.probe_create_only(&id).await?,
            mirror_of: None,
            found: Vec::new(),
            recipients: Vec::new(),
            signature: None,
        };
        let key = layout::key(format!("{}/{:06}.json", layout::LOCATION_RECORDS, 1));
        let body = record::encode("location record", &record)?;
        match self.store.put(&key, body, PutMode::Create).await {
            Ok(_) => Ok(record),
            Err(error) if error.is_already_exists() => {
                record::read(&self.store, &key, LOCATION_VERSION).await
            }
            Err(error) => Err(Error::store(format!("write to location `{}`", self.name()))(error)),
        }
    }

    /// Writes down what a trial of create-only came to, when the newest record says otherwise: a store learns
    /// to exclude, or a location was copied to one that does not. True when a record was written.
    ///
    /// # Errors
    /// The store fails, or another check has written at the same time.
    pub(crate) async fn note_create_only(&self, create_only: bool) -> Result<bool> {
        let records = self.records_of_location().await?;
        let Some(Numbered { record, .. }) = records.counting else {
            return Ok(false);
        };
        // A record that nobody signed would not count.
        if record.create_only == create_only || !self.trust.verification_keys.is_empty() {
            return Ok(false);
        }
        let record = LocationRecord {
            create_only,
            signature: None,
            ..record
        };
        let key = layout::key(format!(
            "{}/{:06}.json",
            layout::LOCATION_RECORDS,
            records.highest + 1
        ));
        let body = record::encode("location record", &record)?;
        let put = self.store.put(&key, body, PutMode::Create).await;
        put.map_err(Error::store(format!("write to location `{}`", self.name())))?;
        Ok(true)
    }

    /// The location's own record: the highest that counts.
    ///
    /// # Errors
    /// It was written by a newer release, or the store fails.
    pub async fn record(&self) -> Result<Option<LocationRecord>> {
        let records = self.records_of_location().await?;
        Ok(records.counting.map(|counting| counting.record))
    }

    /// Refuses a location that a newer release has written.
    ///
    /// # Errors
    /// It is newer, or the store fails.
    pub async fn assert_readable(&self) -> Result<()> {
        self.record().await.map(drop)
    }

    /// All committed backups, by name. A folder without a commit record is not a backup.
    ///
    /// # Errors
    /// The listing itself fails, or the location is newer than this release.
    pub async fn backups(&self) -> Result<Listing<BackupRecord>> {
        self.records(layout::BACKUPS, |name| async move {
            let name = BackupName::new(name.clone())
                .map_err(|error| bad_name(layout::BACKUPS, &name, &error))?;
            self.backup(&name).await
        })
        .await
    }

    /// Names of the folders of backups, sorted; whether each is one, its record says. One listing, however
    /// many there are.
    ///
    /// # Errors
    /// The listing fails.
    pub async fn backup_folders(&self) -> Result<Vec<String>> {
        let listed = self.store.list_folder(layout::BACKUPS).await;
        let listed = listed.map_err(Error::store(format!(
            "list backups in location `{}`",
            self.name()
        )))?;
        Ok(listed.folders)
    }

    /// One committed backup.
    ///
    /// # Errors
    /// [`Error::BackupNotFound`] without a commit record, [`Error::BadRecord`] when it cannot be understood.
    pub async fn backup(&self, name: &BackupName) -> Result<BackupRecord> {
        let key = layout::backup_file(name, layout::BACKUP_RECORD)
            .map_err(Error::store("name the commit record"))?;
        let (info, bytes) = self.record_bytes(name, &key).await?;
        Ok(BackupRecord {
            backup: parse_backup(&key, &bytes)?,
            name: name.clone(),
            committed: info.modified,
        })
    }

    pub(crate) async fn record_bytes(
        &self,
        name: &BackupName,
        key: &Key,
    ) -> Result<(ObjectInfo, Bytes)> {
        let read = async {
            let object = self.store.get(key, GetOptions::default()).await?;
            Ok((object.info.clone(), object.bytes(RECORD_LIMIT).await?))
        };
        read.await.map_err(|source: salvor_storage::Error| {
            if source.is_not_found() {
                Error::BackupNotFound {
                    name: name.to_string(),
                    location: self.name().to_owned(),
                }
            } else {
                Error::store(format!("read backup `{name}`"))(source)
            }
        })
    }

    /// The manifest of a backup; `None` for backups that Velero wrote.
    ///
    /// # Errors
    /// The manifest is missing although the record names one, does not have the digest that the record
    /// states, or is newer than this release.
    pub async fn manifest(&self, record: &BackupRecord) -> Result<Option<Manifest>> {
        let Some(bytes) = self.manifest_bytes(record).await? else {
            return Ok(None);
        };
        let key = layout::backup_file(&record.name, layout::MANIFEST)
            .map_err(Error::store("name the manifest"))?;
        record::decode(&key, &bytes, MANIFEST_VERSION).map(Some)
    }

    /// The manifest as it is stored, when it has the digest that the record states.
    pub(crate) async fn manifest_bytes(&self, record: &BackupRecord) -> Result<Option<Bytes>> {
        let stated = record
            .backup
            .metadata
            .annotations
            .get(labels::MANIFEST_DIGEST);
        let Some(bytes) = self
            .read_file(&record.name, layout::MANIFEST, RECORD_LIMIT)
            .await?
        else {
            return match stated {
                None => Ok(None),
                Some(_) => Err(Error::BadRecord {
                    key: format!(
                        "{}/{}",
                        layout::backup_folder(&record.name),
                        layout::MANIFEST
                    ),
                    reason: "it is missing, although the backup's record names it".to_owned(),
                }),
            };
        };
        let key = layout::backup_file(&record.name, layout::MANIFEST)
            .map_err(Error::store("name the manifest"))?;
        let found = Digest::of(&bytes).to_string();
        if stated.is_some_and(|stated| *stated != found) {
            return Err(Error::BadRecord {
                key: key.to_string(),
                reason: format!("its SHA-256 is {found}, the backup's record states another"),
            });
        }
        Ok(Some(bytes))
    }

    /// Reads a small file of a backup whole; `None` when it is not there.
    ///
    /// # Errors
    /// It is larger than `limit` bytes, or the store fails.
    pub async fn read_file(
        &self,
        name: &BackupName,
        file: &str,
        limit: u64,
    ) -> Result<Option<Bytes>> {
        let doing = || format!("read `{file}` of backup `{name}`");
        let key = layout::backup_file(name, file).map_err(|e| Error::store(doing())(e))?;
        match read_small(&self.store, &key, limit).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(Error::store(doing())(error)),
        }
    }

    /// Reads a file of a backup as a stream, with its size; `None` when it is not there.
    ///
    /// # Errors
    /// The store fails.
    pub async fn open_file(
        &self,
        name: &BackupName,
        file: &str,
    ) -> Result<Option<(u64, BoxStream<'static, Result<Bytes>>)>> {
        let doing = format!("read `{file}` of backup `{name}`");
        let key = layout::backup_file(name, file).map_err(Error::store(doing.clone()))?;
        self.open(&key, doing).await
    }

    /// The same for a file of a restore.
    ///
    /// # Errors
    /// The store fails.
    pub async fn open_restore_file(
        &self,
        name: &RestoreName,
        file: &str,
    ) -> Result<Option<(u64, BoxStream<'static, Result<Bytes>>)>> {
        let doing = format!("read `{file}` of restore `{name}`");
        let key = layout::restore_file(name, file).map_err(Error::store(doing.clone()))?;
        self.open(&key, doing).await
    }

    /// A URL under which whoever has it can read a file of a backup for as long as `lasts`, whether the file
    /// is there or not. `None` where the store cannot make one.
    ///
    /// # Errors
    /// The store's credentials cannot be had.
    pub async fn presign_file(
        &self,
        name: &BackupName,
        file: &str,
        lasts: Duration,
    ) -> Result<Option<String>> {
        let doing = format!("sign a URL for `{file}` of backup `{name}`");
        let key = layout::backup_file(name, file).map_err(Error::store(doing.clone()))?;
        let signed = self.store.presign(&key, lasts).await;
        signed.map_err(Error::store(doing))
    }

    /// The same for a file of a restore.
    ///
    /// # Errors
    /// As [`Location::presign_file`].
    pub async fn presign_restore_file(
        &self,
        name: &RestoreName,
        file: &str,
        lasts: Duration,
    ) -> Result<Option<String>> {
        let doing = format!("sign a URL for `{file}` of restore `{name}`");
        let key = layout::restore_file(name, file).map_err(Error::store(doing.clone()))?;
        let signed = self.store.presign(&key, lasts).await;
        signed.map_err(Error::store(doing))
    }

    async fn open(
        &self,
        key: &Key,
        doing: String,
    ) -> Result<Option<(u64, BoxStream<'static, Result<Bytes>>)>> {
        match self.store.get(key, GetOptions::default()).await {
            Ok(object) => {
                let body = object
                    .body
                    .map_err(move |error| Error::store(doing.clone())(error));
                Ok(Some((object.info.size, body.boxed())))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(Error::store(doing)(error)),
        }
    }

    /// Reads a part of a backup's file.
    ///
    /// # Errors
    /// The file is not there or shorter, or the store fails.
    pub async fn read_range(
        &self,
        name: &BackupName,
        file: &str,
        range: std::ops::Range<u64>,
    ) -> Result<Bytes> {
        let length = range.end.saturating_sub(range.start);
        let read = async {
            let key = layout::backup_file(name, file)?;
            let options = GetOptions {
                range: Some(range),
                version: None,
            };
            self.store.get(&key, options).await?.bytes(length).await
        };
        read.await.map_err(Error::store(format!(
            "read a part of `{file}` of backup `{name}`"
        )))
    }

    /// Size of a backup's file; `None` when it is not there.
    ///
    /// # Errors
    /// The store fails.
    pub async fn file_size(&self, name: &BackupName, file: &str) -> Result<Option<u64>> {
        let look = async {
            let key = layout::backup_file(name, file)?;
            self.store.head(&key).await
        };
        match look.await {
            Ok(info) => Ok(Some(info.size)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(Error::store(format!("look up `{file}` of backup `{name}`"))(error)),
        }
    }
}

/// A commit record.
pub(crate) fn parse_backup(key: &Key, bytes: &[u8]) -> Result<Backup> {
    let bad = |reason: String| Error::BadRecord {
        key: key.to_string(),
        reason,
    };
    let backup: Backup = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
    if backup.kind != "Backup" || !backup.api_version.starts_with("velero.io/") {
        return Err(bad(format!(
            "it is a {} {}",
            backup.api_version, backup.kind
        )));
    }
    Ok(backup)
}
