//! What verifications of a backup found, beside the backup: which point may be trusted is known without reading it
//! again.
//!
//! ```text
//! plugins/salvor/verified/<backup>/<n>-<verdict>-<identity>.json     create-only, numbered
//! ```
//!
//! Number, verdict (`sound` or `damaged`) and the first eight hex digits of the digest of what names the backup stand in
//! the name of the record, so one listing tells the verdicts of all backups. The highest number counts.

use std::collections::BTreeMap;
use std::fmt;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use salvor_api::name::BackupName;
use salvor_api::velero::Backup;
use salvor_seal::Digest;
use salvor_storage::{ObjectInfo, PutMode};
use serde::{Deserialize, Serialize};

use crate::copy::identity;
use crate::error::{Error, Result};
use crate::layout;
use crate::location::{BackupRecord, Location};
use crate::record;
use crate::verify::{Severity, Verification};

/// Newest format of a record that we write and read.
const VERIFIED_VERSION: u64 = 1;
/// Findings that a record repeats; it is the verdict that counts.
const FINDINGS: usize = 100;
/// Records of others that may come between our look and our write.
const ATTEMPTS: usize = 8;

/// What one verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerificationRecord {
    /// Format version.
    pub version: u64,
    /// Name of the backup.
    pub backup: String,
    /// What names it wherever it lies, see [`identity`].
    pub identity: String,
    /// Whether nothing is lost or damaged.
    pub sound: bool,
    /// Files that were read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was found, at most a hundred lines of `file: message`.
    pub findings: Vec<String>,
    /// When, by the writer's clock.
    pub verified: Timestamp,
    /// Program and version that verified it.
    pub tool: String,
}

/// What the newest verification of a backup says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Number of the verification.
    pub number: u64,
    /// Whether nothing was lost or damaged.
    pub sound: bool,
    /// When, by the store's clock.
    pub at: Option<Timestamp>,
    /// Which backup of the name it was.
    mark: String,
}

/// `sound` or `damaged`, and when: `sound 2026-11-20 08:30:00 UTC`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.sound { "sound" } else { "damaged" })?;
        match self.at {
            Some(at) => write!(f, "{}", at.strftime(" %Y-%m-%d %H:%M:%S UTC")),
            None => Ok(()),
        }
    }
}

/// The newest verdict on each backup of a location.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts(BTreeMap<String, Vec<Verdict>>);

impl Verdicts {
    /// The newest verdict on a backup; `None` when it was never verified. A verdict on another backup of the name
    /// does not count.
    #[must_use]
    pub fn of(&self, backup: &Backup) -> Option<&Verdict> {
        let mark = mark(backup);
        let all = self.0.get(&backup.metadata.name)?;
        all.iter()
            .filter(|verdict| verdict.mark == mark)
            .max_by_key(|verdict| verdict.number)
    }

    /// True when the newest verification of a backup found that something is lost or damaged.
    #[must_use]
    pub fn is_damaged(&self, backup: &Backup) -> bool {
        self.of(backup).is_some_and(|verdict| !verdict.sound)
    }

    /// True when the newest verification of a backup found nothing.
    #[must_use]
    pub fn is_sound(&self, backup: &Backup) -> bool {
        self.of(backup).is_some_and(|verdict| verdict.sound)
    }
}

impl Location {
    /// Writes down what a verification found.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], or the store fails.
    pub async fn record_verification(
        &self,
        record: &BackupRecord,
        found: &Verification,
    ) -> Result<VerificationRecord> {
        self.prepare().await?;
        let told = found
            .findings
            .iter()
            .filter(|finding| finding.severity > Severity::Info);
        let report = VerificationRecord {
            version: VERIFIED_VERSION,
            backup: record.name.to_string(),
            identity: identity(&record.backup),
            sound: found.is_sound(),
            files: found.files,
            bytes: found.bytes,
            findings: told
                .take(FINDINGS)
                .map(|finding| format!("{}: {}", finding.file, finding.message))
                .collect(),
            verified: Timestamp::now(),
            tool: format!("salvor {}", env!("CARGO_PKG_VERSION")),
        };
        let body = record::encode("verification", &report)?;
        let folder = layout::verified_folder(&record.name);
        let doing = || format!("write down the verification of backup `{}`", record.name);
        let verdict = if report.sound { "sound" } else { "damaged" };
        let mark = mark(&record.backup);
        let mut number = 1 + self.newest_verification(&folder).await?;
        for _ in 0..ATTEMPTS {
            let key = layout::key(format!("{folder}/{number:06}-{verdict}-{mark}.json"));
            match self.store.put(&key, body.clone(), PutMode::Create).await {
                Ok(_) => return Ok(report),
                Err(error) if error.is_already_exists() => number += 1,
                Err(error) => return Err(Error::store(doing())(error)),
            }
        }
        Err(Error::ContentsChanged {
            key: folder,
            reason: "many verifications are written down at once".to_owned(),
        })
    }

    async fn newest_verification(&self, folder: &str) -> Result<u64> {
        let keys = self.keys_below(folder).await?;
        let numbers = keys.iter().filter_map(|key| parse(key.file_name()));
        Ok(numbers.map(|(number, ..)| number).max().unwrap_or(0))
    }

    /// The verdicts on all backups: one listing.
    ///
    /// # Errors
    /// The store fails.
    pub async fn verdicts(&self) -> Result<Verdicts> {
        self.verdicts_below(layout::VERIFIED).await
    }

    /// The verdicts on one name.
    ///
    /// # Errors
    /// The store fails.
    pub async fn verdicts_on(&self, name: &BackupName) -> Result<Verdicts> {
        self.verdicts_below(&layout::verified_folder(name)).await
    }

    async fn verdicts_below(&self, folder: &str) -> Result<Verdicts> {
        let list = async {
            let listed = self.store.list(folder).await?;
            listed.try_collect::<Vec<ObjectInfo>>().await
        };
        let listed = list
            .await
            .map_err(Error::store(format!("list `{folder}/`")))?;
        let mut verdicts = Verdicts::default();
        for info in listed {
            let below = info.key.as_str().strip_prefix(layout::VERIFIED);
            let below = below.and_then(|below| below.strip_prefix('/'));
            let Some((backup, file)) = below.and_then(|below| below.split_once('/')) else {
                continue;
            };
            // What somebody else put there says nothing.
            let Some((number, sound, mark)) = parse(file) else {
                continue;
            };
            verdicts
                .0
                .entry(backup.to_owned())
                .or_default()
                .push(Verdict {
                    number,
                    sound,
                    at: info.modified,
                    mark: mark.to_owned(),
                });
        }
        Ok(verdicts)
    }
}

/// Number, verdict and mark in the name of a record.
fn parse(file: &str) -> Option<(u64, bool, &str)> {
    let mut parts = file.strip_suffix(".json")?.splitn(3, '-');
    let (number, verdict, mark) = (parts.next()?, parts.next()?, parts.next()?);
    let sound = match verdict {
        "sound" => true,
        "damaged" => false,
        _ => return None,
    };
    Some((number.parse().ok()?, sound, mark))
}

/// Eight hex digits for which backup of a name it is.
fn mark(backup: &Backup) -> String {
    Digest::of(identity(backup).as_bytes()).to_string()[..8].to_owned()
}
