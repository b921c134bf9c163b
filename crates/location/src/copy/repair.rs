//! Repair: what is missing or damaged in a backup is replaced by the bytes of a good copy. Nothing else is ever
//! replaced in a location, and only bytes whose digest the backup itself states replace it.

use salvor_api::labels;
use salvor_api::name::BackupName;
use salvor_api::velero::Backup;
use salvor_seal::Digest;
use salvor_storage::PutMode;

use crate::backup::digest_of;
use crate::claim::{Claim, Purpose, read_small};
use crate::copy::origin::Expected;
use crate::copy::{Transfer, identity, send};
use crate::error::{Error, Result, with_causes};
use crate::layout;
use crate::location::{Location, parse_backup};
use crate::manifest::{MANIFEST_VERSION, Manifest};
use crate::record::{self, RECORD_LIMIT};
use crate::run::RunId;

/// What became of one file of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mend {
    /// It was damaged as said, and has the bytes from this location now.
    Replaced {
        /// What was wrong.
        was: String,
        /// Name of the location that had it right.
        from: String,
    },
    /// It is damaged as said, and no location has it right.
    Lost {
        /// What is wrong.
        was: String,
        /// Why each location could not give it.
        tried: Vec<String>,
    },
}

/// What a repair found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// Files whose bytes were read and are right.
    pub sound: u64,
    /// Files that were not, by name.
    pub mended: Vec<(String, Mend)>,
}

impl Repair {
    /// True when nothing is damaged any more.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let lost = |(_, mend): &(String, Mend)| matches!(mend, Mend::Lost { .. });
        !self.mended.iter().any(lost)
    }
}

impl Location {
    /// Looks at every byte of a backup, and replaces what is missing or damaged by the bytes that one of `copies` has
    /// right. Files are looked at one after another, each is right or as it was.
    ///
    /// A backup without a commit record is none: it is not brought back here, but by [`Location::copy_backup`].
    ///
    /// # Errors
    /// [`Error::BackupNotFound`]; [`Error::CopyDiffers`] when a copy is of another backup; [`Error::BadRecord`] when nobody says
    /// what the backup consists of; [`Error::Busy`] while somebody works on it; [`Error::ReadOnly`]; or the store fails.
    pub async fn repair_backup(
        &self,
        name: &BackupName,
        copies: &[Self],
        transfer: &Transfer,
    ) -> Result<Repair> {
        let prepared = self.prepare().await?;
        if self.file_size(name, layout::BACKUP_RECORD).await?.is_none() {
            return Err(Error::BackupNotFound {
                name: name.to_string(),
                location: self.name().to_owned(),
            });
        }
        let run = RunId::generate();
        let claim = Claim::take(
            self,
            &prepared,
            "backup",
            name.as_str(),
            &run,
            Purpose::Write,
        )
        .await?;
        let work = Work {
            location: self,
            name,
            copies,
            transfer,
        };
        let repaired = work.repair(&claim).await;
        claim.close().await;
        repaired
    }
}

struct Work<'a> {
    location: &'a Location,
    name: &'a BackupName,
    copies: &'a [Location],
    transfer: &'a Transfer,
}

impl Work<'_> {
    async fn repair(&self, claim: &Claim) -> Result<Repair> {
        let mut repair = Repair::default();
        let backup = self.record(&mut repair).await?;
        let contents = self.contents(&backup, &mut repair).await?;
        for expected in &contents {
            self.transfer
                .go_on(|| format!("repair `{}`", expected.name))?;
            claim.assert_held().await?;
            match self.damage_of(expected).await? {
                None => repair.sound += 1,
                Some(was) => {
                    let mend = self.replace(&backup, expected, was).await?;
                    repair.mended.push((expected.name.clone(), mend));
                }
            }
        }
        Ok(repair)
    }

    /// The commit record. One that cannot be read is taken from a copy whose manifest is the one that is here.
    async fn record(&self, repair: &mut Repair) -> Result<Backup> {
        let was = match self.location.backup(self.name).await {
            Ok(record) => {
                repair.sound += 1;
                return Ok(record.backup);
            }
            Err(Error::BadRecord { reason, .. }) => reason,
            Err(error) => return Err(error),
        };
        let manifest = self
            .location
            .read_file(self.name, layout::MANIFEST, RECORD_LIMIT)
            .await;
        let manifest = manifest?.map(|bytes| Digest::of(&bytes).to_string());
        let key = super::record_key(self.name)?;
        let mut tried = Vec::new();
        for copy in self.copies {
            let (backup, bytes) = match copy.record_bytes(self.name, &key).await {
                Ok((_, bytes)) => match parse_backup(&key, &bytes) {
                    Ok(backup) => (backup, bytes),
                    Err(error) => {
                        tried.push(failed(copy, &error));
                        continue;
                    }
                },
                Err(error) => {
                    tried.push(failed(copy, &error));
                    continue;
                }
            };
            let stated = backup.metadata.annotations.get(labels::MANIFEST_DIGEST);
            if stated.is_none() || stated != manifest.as_ref() {
                tried.push(format!("{}: its manifest is another", copy.name()));
                continue;
            }
            let put = self
                .location
                .store
                .put(&key, bytes, PutMode::Overwrite)
                .await;
            put.map_err(Error::store(format!("write `{key}`")))?;
            let from = copy.name().to_owned();
            repair.mended.push((
                layout::BACKUP_RECORD.to_owned(),
                Mend::Replaced { was, from },
            ));
            return Ok(backup);
        }
        Err(Error::BadRecord {
            key: key.to_string(),
            reason: format!("{was}; no copy can replace it: {}", said(&tried)),
        })
    }

    /// What the backup consists of, by its manifest, which is repaired first. What nobody has written down for a
    /// backup of Velero's is known since it was copied.
    async fn contents(&self, backup: &Backup, repair: &mut Repair) -> Result<Vec<Expected>> {
        let Some(stated) = backup.metadata.annotations.get(labels::MANIFEST_DIGEST) else {
            return self.copied_contents(backup).await;
        };
        let key = layout::backup_file(self.name, layout::MANIFEST)
            .map_err(Error::store("name the manifest"))?;
        let right = |bytes: &bytes::Bytes| Digest::of(bytes).to_string() == *stated;
        let found = self
            .location
            .read_file(self.name, layout::MANIFEST, RECORD_LIMIT)
            .await?;
        let bytes = match found {
            Some(bytes) if right(&bytes) => {
                repair.sound += 1;
                bytes
            }
            found => {
                let was = match found {
                    None => "it is missing".to_owned(),
                    Some(bytes) => format!("its SHA-256 is {}", Digest::of(&bytes)),
                };
                let mut tried = Vec::new();
                let mut good = None;
                for copy in self.copies {
                    match read_small(&copy.store, &key, RECORD_LIMIT).await {
                        Ok(bytes) if right(&bytes) => {
                            good = Some((copy.name().to_owned(), bytes));
                            break;
                        }
                        Ok(_) => tried.push(format!("{}: it has another manifest", copy.name())),
                        Err(error) => tried.push(failed(copy, &error)),
                    }
                }
                let Some((from, bytes)) = good else {
                    return Err(Error::BadRecord {
                        key: key.to_string(),
                        reason: format!("{was}; no copy can replace it: {}", said(&tried)),
                    });
                };
                let put = self
                    .location
                    .store
                    .put(&key, bytes.clone(), PutMode::Overwrite);
                put.await.map_err(Error::store(format!("write `{key}`")))?;
                let mend = Mend::Replaced { was, from };
                repair.mended.push((layout::MANIFEST.to_owned(), mend));
                bytes
            }
        };
        let manifest: Manifest = record::decode(&key, &bytes, MANIFEST_VERSION)?;
        let expected = manifest.objects.into_iter().map(|entry| Expected {
            name: entry.name,
            size: entry.size,
            sha256: Some(entry.sha256),
        });
        Ok(expected.collect())
    }

    async fn copied_contents(&self, backup: &Backup) -> Result<Vec<Expected>> {
        for place in std::iter::once(self.location).chain(self.copies) {
            let Ok(Some(from)) = place.copied_from(self.name).await else {
                continue;
            };
            if from.identity == identity(backup) {
                let expected = from.objects.into_iter().map(|entry| Expected {
                    name: entry.name,
                    size: entry.size,
                    sha256: Some(entry.sha256),
                });
                return Ok(expected.collect());
            }
        }
        Err(Error::BadRecord {
            key: layout::backup_folder(self.name),
            reason: "it has no manifest, because Velero made it, and no location has a copy of it with digests: \
                     nobody knows which bytes are right"
                .to_owned(),
        })
    }

    /// What is wrong with a content here.
    async fn damage_of(&self, expected: &Expected) -> Result<Option<String>> {
        let key = layout::backup_file(self.name, &expected.name)
            .map_err(Error::store(format!("read `{}`", expected.name)))?;
        match digest_of(self.location, &key).await {
            Ok((_, digest)) if Some(digest) == expected.sha256 => Ok(None),
            Ok((info, _)) if info.size != expected.size => Ok(Some(format!(
                "it has {} bytes instead of {}",
                info.size, expected.size
            ))),
            Ok((_, digest)) => Ok(Some(format!("its SHA-256 is {digest}"))),
            Err(error) if error.is_not_found() => Ok(Some("it is missing".to_owned())),
            Err(error) => Err(Error::store(format!("read `{key}`"))(error)),
        }
    }

    async fn replace(&self, backup: &Backup, expected: &Expected, was: String) -> Result<Mend> {
        let mut tried = Vec::new();
        for copy in self.copies {
            match copy.backup(self.name).await {
                Ok(other) if identity(&other.backup) == identity(backup) => {}
                Ok(_) => {
                    tried.push(format!(
                        "{}: it has another backup of this name",
                        copy.name()
                    ));
                    continue;
                }
                // Its record may be damaged as well; the digest decides.
                Err(Error::BadRecord { .. }) => {}
                Err(error) => {
                    tried.push(failed(copy, &error));
                    continue;
                }
            }
            let sent = send::file(
                copy,
                self.location,
                self.name,
                expected,
                PutMode::Overwrite,
                self.transfer,
            );
            match sent.await {
                Ok(_) => {
                    let from = copy.name().to_owned();
                    return Ok(Mend::Replaced { was, from });
                }
                Err(error @ Error::SourceDamaged { .. }) => tried.push(failed(copy, &error)),
                Err(error) => return Err(error),
            }
        }
        Ok(Mend::Lost { was, tried })
    }
}

fn failed(copy: &Location, error: &dyn std::error::Error) -> String {
    format!("{}: {}", copy.name(), with_causes(error))
}

fn said(tried: &[String]) -> String {
    match tried {
        [] => "no other location was given".to_owned(),
        tried => tried.join("; "),
    }
}
