//! What is known of the copies of a backup: beside the original how each copy stands, beside a copy where it comes from.

use jiff::Timestamp;
use salvor_api::name::BackupName;
use salvor_seal::Digest;
use salvor_storage::{Key, PutMode};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::copy::identity;
use crate::copy::place::{Place, Separation};
use crate::error::{Error, Result, with_causes};
use crate::layout;
use crate::location::{BackupRecord, Location};
use crate::manifest::ManifestEntry;
use crate::record;
use crate::run::RunId;

/// Newest format of [`CopyRecord`].
const COPY_VERSION: u64 = 1;
/// Newest format of [`CopiedFrom`].
pub(crate) const COPIED_VERSION: u64 = 1;

/// How an attempt at a copy ended, or that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CopyState {
    /// An attempt began. Its process may be dead: nothing follows from this but that a copy is not there yet.
    Running,
    /// It is committed at the target.
    Done,
    /// The last attempt failed.
    Failed,
}

/// How the copy of a backup in one other location stands, as whoever copied it last wrote down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyRecord {
    /// Format version.
    pub version: u64,
    /// Name of the backup.
    pub backup: String,
    /// What names it wherever it lies, see [`identity`].
    pub identity: String,
    /// The other location.
    pub target: Place,
    /// How the last attempt ended.
    pub state: CopyState,
    /// Attempts so far.
    pub attempts: u32,
    /// The run of the last attempt.
    pub run: RunId,
    /// When the first attempt began, by the writer's clock.
    pub first: Timestamp,
    /// When the last attempt began.
    pub started: Timestamp,
    /// When the copy was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// Bytes of its contents.
    #[serde(default)]
    pub bytes: u64,
    /// When the copy may go, by its own rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Timestamp>,
    /// How far it is from the original.
    pub separation: Separation,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl CopyRecord {
    pub(crate) fn begin(
        source: &Location,
        original: &BackupRecord,
        target: &Location,
        run: &RunId,
    ) -> Self {
        let now = Timestamp::now();
        Self {
            version: COPY_VERSION,
            backup: original.name.to_string(),
            identity: identity(&original.backup),
            target: Place::named(target),
            state: CopyState::Running,
            attempts: 1,
            run: run.clone(),
            first: now,
            started: now,
            finished: None,
            bytes: 0,
            expiration: None,
            separation: Separation::between(source, target),
            message: String::new(),
        }
    }
}

/// Where a copy comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopiedFrom {
    /// Format version.
    pub version: u64,
    /// Name of the backup.
    pub backup: String,
    /// What names it wherever it lies.
    pub identity: String,
    /// The location that it was copied from.
    pub from: Place,
    /// The run that copied it.
    pub run: RunId,
    /// Program and version that copied it.
    pub tool: String,
    /// When, by the writer's clock.
    pub copied: Timestamp,
    /// Its contents with the digests that they had while they passed: all that is known of a backup of Velero's.
    pub objects: Vec<ManifestEntry>,
}

impl Location {
    /// How the copies of a backup stand, by the name of the location. Records of another backup that had the name
    /// are left out, and so is one that cannot be read: the copy itself decides.
    ///
    /// # Errors
    /// The store fails.
    pub async fn copies_of(&self, record: &BackupRecord) -> Result<Vec<CopyRecord>> {
        let mut found = Vec::new();
        for key in self
            .keys_below(&layout::copies_folder(&record.name))
            .await?
        {
            match record::read::<CopyRecord>(&self.store, &key, COPY_VERSION).await {
                Ok(copy) if copy.identity == identity(&record.backup) => found.push(copy),
                Ok(_) => {}
                Err(error @ (Error::BadRecord { .. } | Error::NewerFormat { .. })) => {
                    warn!(%key, %error, "the record of a copy cannot be read");
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        found.sort_by(|a, b| a.target.name.cmp(&b.target.name));
        Ok(found)
    }

    /// Where a backup of this location was copied from; `None` for one that was made here.
    ///
    /// # Errors
    /// The record cannot be read, or the store fails.
    pub async fn copied_from(&self, name: &BackupName) -> Result<Option<CopiedFrom>> {
        let key = layout::copied_key(name);
        match record::read(&self.store, &key, COPIED_VERSION).await {
            Ok(from) => Ok(Some(from)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn copy_record(&self, name: &BackupName, target: &str) -> Option<CopyRecord> {
        record::read(&self.store, &copy_key(name, target), COPY_VERSION)
            .await
            .ok()
    }

    /// Writes down how a copy stands. The copy itself decides, so a location that cannot be written, or fails just
    /// now, keeps nobody from copying.
    pub(crate) async fn note_copy(&self, copy: &CopyRecord) {
        if self.profile().read_only {
            return;
        }
        let noted = async {
            let name = BackupName::new(copy.backup.clone()).map_err(|error| Error::BadRecord {
                key: copy.backup.clone(),
                reason: error.to_string(),
            })?;
            let body = record::encode("record of a copy", copy)?;
            let key = copy_key(&name, &copy.target.name);
            let put = self.store.put(&key, body, PutMode::Overwrite).await;
            put.map_err(Error::store("write down how the copy stands"))
        };
        if let Err(error) = noted.await {
            warn!(
                backup = copy.backup,
                location = self.name(),
                error = with_causes(&error),
                "how its copy stands was not written down"
            );
        }
    }
}

/// Where the record of a copy stands. A location that has no name but its address is called by a digest of that.
fn copy_key(name: &BackupName, target: &str) -> Key {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_plain = !target.is_empty()
        && target.len() <= 253
        && target.chars().all(plain)
        && !target.starts_with('.');
    let file = if is_plain {
        target.to_owned()
    } else {
        format!("at-{}", &Digest::of(target.as_bytes()).to_string()[..16])
    };
    layout::key(format!("{}/{file}.json", layout::copies_folder(name)))
}
