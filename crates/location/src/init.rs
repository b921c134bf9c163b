//! `init`: a location gets a record of what it is, what was found out about it, and whom its objects are for.

use jiff::Timestamp;
use salvor_seal::SigningKey;
use salvor_storage::PutMode;
use serde::{Deserialize, Serialize};

use crate::check::CheckReport;
use crate::error::{Error, Result};
use crate::layout;
use crate::location::{LOCATION_VERSION, Location, LocationRecord};
use crate::record;
use crate::run::RunId;
use crate::verify::Severity;

/// What a check found, as a record keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// What was tried.
    pub name: String,
    /// `info`, `warning` or `error`.
    pub severity: String,
    /// What was found.
    pub text: String,
}

/// What a location is to be.
#[derive(Clone, Debug, Default)]
pub struct InitLocation {
    /// Id of the location that it mirrors.
    pub mirror_of: Option<String>,
    /// What its record is signed with.
    pub signing_key: Option<SigningKey>,
}

impl Location {
    /// Writes a record of the location: a new one, with the id that it has already, or the first. The recipients are
    /// those that are pinned. `report` is what a check of it found.
    ///
    /// # Errors
    /// [`Error::Untrusted`] when keys are pinned and the one that signs is none of them; [`Error::OtherPlace`] when an id
    /// is pinned and this is not it; [`Error::ReadOnly`]; another
    /// record was written at the same time, or the store fails.
    pub async fn init(
        &self,
        options: &InitLocation,
        report: &CheckReport,
    ) -> Result<LocationRecord> {
        if self.profile.read_only {
            return Err(Error::ReadOnly {
                location: self.name().to_owned(),
            });
        }
        self.assert_signs(options)?;
        // What counts without pinned keys: a location that is signed for the first time keeps its id.
        let known = self.records_of_location().await?;
        let before = match known.counting {
            Some(counting) => Some(counting.record),
            None => {
                let bare = self.clone().with_trust(crate::trust::Trust::default());
                let any = bare.records_of_location().await?;
                any.counting.map(|counting| counting.record)
            }
        };
        self.assert_same(before.as_ref())?;
        let run = RunId::generate();
        let create_only = self.probe_create_only(&run).await?;
        let record = LocationRecord {
            version: LOCATION_VERSION,
            id: match &before {
                Some(before) => before.id.clone(),
                None => run.to_string(),
            },
            created: Timestamp::now(),
            create_only,
            mirror_of: options
                .mirror_of
                .clone()
                .or_else(|| before.and_then(|before| before.mirror_of)),
            found: found(report),
            recipients: self.trust.fingerprints(),
            signature: None,
        };
        let record = match &options.signing_key {
            Some(key) => record.signed(key)?,
            None => record,
        };
        let number = known.highest + 1;
        let key = layout::key(format!("{}/{number:06}.json", layout::LOCATION_RECORDS));
        let body = record::encode("location record", &record)?;
        let doing = format!("write the record of location `{}`", self.name());
        match self.store.put(&key, body.clone(), PutMode::Create).await {
            Ok(_) => Ok(record),
            // Ours may have arrived although the answer did not.
            Err(error) if error.is_already_exists() || error.may_have_happened() => {
                let there = crate::claim::read_small(&self.store, &key, body.len() as u64).await;
                match there {
                    Ok(there) if there == body => Ok(record),
                    _ => Err(Error::store(doing)(error)),
                }
            }
            Err(error) => Err(Error::store(doing)(error)),
        }
    }

    /// A record that the pinned keys do not verify would make the location unusable.
    fn assert_signs(&self, options: &InitLocation) -> Result<()> {
        let pinned = &self.trust.verification_keys;
        let ours = options
            .signing_key
            .as_ref()
            .map(SigningKey::verification_key);
        let reason = match ours {
            _ if pinned.is_empty() => return Ok(()),
            Some(ours) if pinned.contains(&ours) => return Ok(()),
            Some(_) => "the signing key is none of those that are pinned",
            None => "keys are pinned, so its record must be signed: name the signing key",
        };
        Err(Error::Untrusted {
            location: self.name().to_owned(),
            reason: reason.to_owned(),
        })
    }
}

fn found(report: &CheckReport) -> Vec<Found> {
    let problems = report.steps.iter().filter_map(|step| {
        let (severity, text) = step.problem.as_ref()?;
        Some(Found {
            name: step.name.to_owned(),
            severity: match severity {
                Severity::Info => "info",
                Severity::Warning => "warning",
                Severity::Error => "error",
            }
            .to_owned(),
            text: text.clone(),
        })
    });
    problems.collect()
}
