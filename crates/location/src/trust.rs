//! Whom a location is trusted by: keys that are pinned in the configuration, against what the bucket says.
//!
//! The form of a record is in `docs/formats/location-record.md`. Verification keys and recipients never come from the
//! bucket: who can write to it could otherwise make us encrypt to a key of theirs.

use std::collections::BTreeSet;

use bytes::Bytes;
use salvor_seal::age::Recipient;
use salvor_seal::{SigningKey, VerificationKey};
use salvor_storage::Key;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::claim::read_small;
use crate::error::{Error, Result};
use crate::layout;
use crate::location::{LOCATION_VERSION, Location, LocationRecord};
use crate::record::{self, RECORD_LIMIT};

/// What a signature of a record is for.
const PURPOSE: &str = "salvor location record 1";

/// Annotation of a BackupStorageLocation: the keys that are pinned, with commas between them.
pub const VERIFICATION_KEYS: &str = "salvor.dev/verification-keys";
/// Annotation of a BackupStorageLocation: the recipients that are pinned, with commas between them.
pub const RECIPIENTS: &str = "salvor.dev/recipients";

/// What the configuration pins about a location.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Keys of which one must have signed the location's record; none: any record counts.
    pub verification_keys: Vec<VerificationKey>,
    /// Whom sealed objects are encrypted to.
    pub recipients: Vec<Recipient>,
    /// Id of the location: another one under its URL, such as an empty folder where a file system should be mounted,
    /// is not written to.
    pub id: Option<String>,
}

impl Trust {
    /// From the texts of a configuration, each one key or several, with commas or white space between them.
    ///
    /// # Errors
    /// What is wrong with which.
    pub fn parse<'t>(
        verification_keys: impl IntoIterator<Item = &'t str>,
        recipients: impl IntoIterator<Item = &'t str>,
    ) -> Result<Self, String> {
        let mut trust = Self::default();
        for text in verification_keys.into_iter().flat_map(parts) {
            let key = text.parse::<VerificationKey>();
            trust
                .verification_keys
                .push(key.map_err(|e| e.to_string())?);
        }
        for text in recipients.into_iter().flat_map(parts) {
            let recipient = text.parse::<Recipient>();
            trust.recipients.push(recipient.map_err(|e| e.to_string())?);
        }
        Ok(trust)
    }

    /// Fingerprints of the recipients, sorted.
    #[must_use]
    pub fn fingerprints(&self) -> Vec<String> {
        let all: BTreeSet<String> = self.recipients.iter().map(Recipient::fingerprint).collect();
        all.into_iter().collect()
    }
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    let separated = text.split(|c: char| c == ',' || c.is_whitespace());
    separated.filter(|part| !part.is_empty())
}

/// Who signed a record, and exactly what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordSignature {
    /// Fingerprint of the verification key.
    pub key: String,
    /// The record without this, as JSON.
    pub signed: String,
    /// The signature, in base64.
    pub value: String,
}

/// A record with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// The number in its name.
    pub number: u64,
    /// The record.
    pub record: LocationRecord,
}

/// What the records of a location come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// The one that counts.
    pub counting: Option<Numbered>,
    /// Those above it that do not count, by their names, and why.
    pub passed_over: Vec<(String, String)>,
    /// The highest number that is taken.
    pub highest: u64,
}

impl LocationRecord {
    /// The record with a signature.
    pub(crate) fn signed(mut self, key: &SigningKey) -> Result<Self> {
        self.signature = None;
        let encode = |source| Error::Encode {
            what: "location record",
            source,
        };
        let signed = serde_json::to_string(&self).map_err(encode)?;
        self.signature = Some(RecordSignature {
            key: key.verification_key().fingerprint(),
            value: key.sign(PURPOSE, &signed),
            signed,
        });
        Ok(self)
    }
}

impl Location {
    /// What the location is trusted by.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The same location with what the configuration pins about it.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = trust.into();
        self
    }

    /// The location's own records, and which of them counts.
    ///
    /// # Errors
    /// The one that would count was written by a newer release or cannot be understood, or the store fails. With pinned
    /// keys a record that cannot be understood is passed over, unless one of them signed it.
    pub async fn records_of_location(&self) -> Result<Records> {
        let listed = self
            .store
            .list_folder(layout::LOCATION_RECORDS)
            .await
            .map_err(Error::store(format!("read location `{}`", self.name())))?;
        let mut records = Records::default();
        let objects = listed.objects.iter().rev();
        for key in objects.map(|object| &object.key) {
            let Some(digits) = key.file_name().strip_suffix(".json") else {
                continue;
            };
            let number = digits.parse().unwrap_or(1);
            records.highest = records.highest.max(number);
            let bytes = read_small(&self.store, key, RECORD_LIMIT)
                .await
                .map_err(Error::store(format!("read `{key}`")))?;
            match judged(key, &bytes, &self.trust.verification_keys)? {
                Ok(record) => {
                    records.counting = Some(Numbered { number, record });
                    break;
                }
                Err(why) => records.passed_over.push((key.file_name().to_owned(), why)),
            }
        }
        Ok(records)
    }

    /// Refuses another location than the one whose id is pinned, and one with pinned keys of which none signed a record
    /// that is there.
    pub(crate) fn assert_trusted(&self, records: &Records) -> Result<()> {
        if records.counting.is_some() || records.passed_over.is_empty() {
            let there = records.counting.as_ref().map(|counting| &counting.record);
            self.assert_same(there)?;
        }
        if self.trust.verification_keys.is_empty() || records.counting.is_some() {
            return Ok(());
        }
        let reason = match records.passed_over.first() {
            None => "it has no record".to_owned(),
            Some((file, why)) => format!("`{file}`: {why}"),
        };
        Err(Error::Untrusted {
            location: self.name().to_owned(),
            reason,
        })
    }

    /// Refuses another location than the one whose id is pinned.
    pub(crate) fn assert_same(&self, record: Option<&LocationRecord>) -> Result<()> {
        let Some(pinned) = &self.trust.id else {
            return Ok(());
        };
        let reason = match record {
            Some(record) if record.id == *pinned => return Ok(()),
            Some(record) => format!("its id is {}", record.id),
            None => "it has no record".to_owned(),
        };
        Err(Error::OtherPlace {
            location: self.name().to_owned(),
            pinned: pinned.clone(),
            reason,
        })
    }

    /// Looks whether the location is the one that is pinned: for whoever found nothing in it, since a folder whose file
    /// system is not mounted looks the same.
    ///
    /// # Errors
    /// [`Error::OtherPlace`], [`Error::Untrusted`], or the store fails.
    pub async fn assert_there(&self) -> Result<()> {
        let records = self.records_of_location().await?;
        self.assert_trusted(&records)
    }

    /// Whom sealed objects are encrypted to: those that are pinned.
    ///
    /// # Errors
    /// [`Error::NoRecipients`]; [`Error::RecipientsDiffer`] when the location's record names others;
    /// [`Error::Untrusted`]; or the store fails.
    pub async fn recipients(&self) -> Result<Vec<Recipient>> {
        if self.trust.recipients.is_empty() {
            return Err(Error::NoRecipients {
                location: self.name().to_owned(),
            });
        }
        let records = self.records_of_location().await?;
        self.assert_trusted(&records)?;
        if let Some(Numbered { record, .. }) = &records.counting {
            self.compare_recipients(record)?;
        }
        Ok(self.trust.recipients.clone())
    }

    /// Refuses a record that names other recipients than are pinned. One that names none was written before there were
    /// any.
    pub(crate) fn compare_recipients(&self, record: &LocationRecord) -> Result<()> {
        let pinned = self.trust.fingerprints();
        let mut recorded = record.recipients.clone();
        recorded.sort();
        // Where none are pinned nothing is encrypted either.
        if pinned.is_empty() || recorded.is_empty() || recorded == pinned {
            return Ok(());
        }
        Err(Error::RecipientsDiffer {
            location: self.name().to_owned(),
            pinned: pinned.join(", "),
            recorded: recorded.join(", "),
        })
    }
}

/// A record that counts, or why it does not.
fn judged(
    key: &Key,
    bytes: &Bytes,
    pinned: &[VerificationKey],
) -> Result<Result<LocationRecord, String>> {
    let signature = serde_json::from_slice::<Value>(bytes)
        .ok()
        .and_then(|value| RecordSignature::deserialize(&value["signature"]).ok());
    if pinned.is_empty() {
        let record: LocationRecord = record::decode(key, bytes, LOCATION_VERSION)?;
        return match &signature {
            None => Ok(Ok(record)),
            Some(signature) => {
                agrees(key, &record, signature)?;
                Ok(Ok(record))
            }
        };
    }
    let Some(signature) = signature else {
        return Ok(Err("nobody signed it".to_owned()));
    };
    let verifies =
        |key: &&VerificationKey| key.verifies(PURPOSE, &signature.signed, &signature.value);
    if !pinned.iter().any(|key| verifies(&key)) {
        return Ok(Err(format!(
            "none of the pinned keys signed it (it names key {})",
            signature.key
        )));
    }
    // From here on it is from somebody who is trusted.
    let record: LocationRecord = record::decode(key, bytes, LOCATION_VERSION)?;
    match agrees(key, &record, &signature) {
        Ok(()) => Ok(Ok(record)),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// What stands beside the signature must be what was signed.
fn agrees(key: &Key, record: &LocationRecord, signature: &RecordSignature) -> Result<()> {
    let signed: LocationRecord =
        record::decode(key, signature.signed.as_bytes(), LOCATION_VERSION)?;
    let beside = LocationRecord {
        signature: None,
        ..record.clone()
    };
    if signed == beside {
        return Ok(());
    }
    Err(Error::BadRecord {
        key: key.to_string(),
        reason: "what it says is not what was signed".to_owned(),
    })
}
