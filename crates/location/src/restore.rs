//! The records of a restore: request first, then plan and journal, result last.

use bytes::Bytes;
use salvor_api::name::RestoreName;
use salvor_api::velero::Restore;
use salvor_storage::PutMode;
use serde::{Deserialize, Serialize};

use crate::claim::{self, Claim, Purpose, read_small};
use crate::error::{Error, Result};
use crate::layout;
use crate::listing::{Listing, bad_name};
use crate::location::Location;
use crate::record::{self, RECORD_LIMIT};
use crate::run::RunId;

/// Newest format of a restore's request that we write and read.
const REQUEST_VERSION: u64 = 1;

/// A restore as the location knows it.
#[derive(Clone, Debug)]
pub struct RestoreRecord {
    /// The restore: with its result when it is done, as it was asked for otherwise.
    pub restore: Restore,
    /// Its name.
    pub name: RestoreName,
    /// Whether its result was written.
    pub finished: bool,
    /// Whether a live run works on it. A restore that is neither finished nor active can be resumed.
    pub active: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    version: u64,
    run: RunId,
    restore: Restore,
}

/// A restore that is being carried out.
#[derive(Debug)]
pub struct RestoreWriter {
    location: Location,
    name: RestoreName,
    claim: Claim,
    next_journal: u64,
}

impl Location {
    /// Takes the restore's name and records what was asked for, before anything is changed.
    ///
    /// # Errors
    /// [`Error::RestoreExists`], [`Error::ReadOnly`], or the store fails.
    pub async fn begin_restore(&self, restore: &Restore, run: &RunId) -> Result<RestoreWriter> {
        let prepared = self.prepare().await?;
        let name =
            RestoreName::new(restore.metadata.name.clone()).map_err(|error| Error::BadRecord {
                key: "restore".to_owned(),
                reason: error.to_string(),
            })?;
        let claim = Claim::take(
            self,
            &prepared,
            "restore",
            name.as_str(),
            run,
            Purpose::Write,
        )
        .await?;
        let request = Request {
            version: REQUEST_VERSION,
            run: run.clone(),
            restore: restore.clone(),
        };
        let body = record::encode("restore request", &request)?;
        let key = layout::restore_file(&name, layout::RESTORE_REQUEST)
            .map_err(Error::store("name the request"))?;
        match self.store.put(&key, body, PutMode::Create).await {
            Ok(_) => Ok(RestoreWriter {
                location: self.clone(),
                name,
                claim,
                next_journal: 1,
            }),
            Err(error) if error.is_already_exists() => {
                claim.close().await;
                Err(Error::RestoreExists {
                    name: name.to_string(),
                    location: self.name().to_owned(),
                })
            }
            Err(error) => Err(Error::store(format!("record restore `{name}`"))(error)),
        }
    }

    /// Tries whether the records of a restore can be written here, before anything depends on it. What is
    /// written is what any claim on the name writes.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], or the store refuses or fails.
    pub async fn try_to_record(&self, name: &RestoreName) -> Result<()> {
        if self.profile().read_only {
            return Err(Error::ReadOnly {
                location: self.name().to_owned(),
            });
        }
        claim::try_to_write(self, "restore", name.as_str()).await
    }

    /// Goes on with a restore whose run ended before its result was written.
    ///
    /// # Errors
    /// [`Error::RestoreNotFound`], [`Error::RestoreExists`] when it is finished, [`Error::Busy`] while its
    /// run is alive, or the store fails.
    pub async fn resume_restore(&self, name: &RestoreName, run: &RunId) -> Result<RestoreWriter> {
        let prepared = self.prepare().await?;
        self.assert_unfinished(name).await?;
        let claim = Claim::take(
            self,
            &prepared,
            "restore",
            name.as_str(),
            run,
            Purpose::Write,
        )
        .await?;
        let mut writer = RestoreWriter {
            location: self.clone(),
            name: name.clone(),
            claim,
            next_journal: 1,
        };
        // Between our look and our claim its run may have finished.
        let last = async {
            self.assert_unfinished(name).await?;
            writer.last_journal().await
        };
        match last.await {
            Ok(last) => {
                writer.next_journal = last + 1;
                Ok(writer)
            }
            Err(error) => {
                writer.claim.close().await;
                Err(error)
            }
        }
    }

    async fn assert_unfinished(&self, name: &RestoreName) -> Result<()> {
        if self.restore(name).await?.finished {
            return Err(Error::RestoreExists {
                name: name.to_string(),
                location: self.name().to_owned(),
            });
        }
        Ok(())
    }

    /// One restore.
    ///
    /// # Errors
    /// [`Error::RestoreNotFound`], [`Error::BadRecord`], or the store fails.
    pub async fn restore(&self, name: &RestoreName) -> Result<RestoreRecord> {
        if let Some(bytes) = self
            .read_restore_file(name, layout::RESTORE_RECORD, RECORD_LIMIT)
            .await?
        {
            let restore = serde_json::from_slice(&bytes).map_err(|error| Error::BadRecord {
                key: format!(
                    "{}/{}",
                    layout::restore_folder(name),
                    layout::RESTORE_RECORD
                ),
                reason: error.to_string(),
            })?;
            return Ok(RestoreRecord {
                restore,
                name: name.clone(),
                finished: true,
                active: false,
            });
        }
        let key = layout::restore_file(name, layout::RESTORE_REQUEST)
            .map_err(Error::store("name the request"))?;
        let Some(bytes) = self
            .read_restore_file(name, layout::RESTORE_REQUEST, RECORD_LIMIT)
            .await?
        else {
            return Err(Error::RestoreNotFound {
                name: name.to_string(),
                location: self.name().to_owned(),
            });
        };
        let request: Request = record::decode(&key, &bytes, REQUEST_VERSION)?;
        let active = claim::is_held(self, "restore", name.as_str()).await?;
        Ok(RestoreRecord {
            restore: request.restore,
            name: name.clone(),
            finished: false,
            active,
        })
    }

    /// All restores that Salvor has recorded, by name. Those of Velero leave no record in a location.
    ///
    /// # Errors
    /// The listing itself fails.
    pub async fn restores(&self) -> Result<Listing<RestoreRecord>> {
        self.records(layout::RESTORES, |name| async move {
            let name = RestoreName::new(name.clone())
                .map_err(|error| bad_name(layout::RESTORES, &name, &error))?;
            self.restore(&name).await
        })
        .await
    }

    /// Reads a small file of a restore whole; `None` when it is not there.
    ///
    /// # Errors
    /// It is larger than `limit` bytes, or the store fails.
    pub async fn read_restore_file(
        &self,
        name: &RestoreName,
        file: &str,
        limit: u64,
    ) -> Result<Option<Bytes>> {
        let doing = || format!("read `{file}` of restore `{name}`");
        let key = layout::restore_file(name, file).map_err(|e| Error::store(doing())(e))?;
        match read_small(&self.store, &key, limit).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(Error::store(doing())(error)),
        }
    }
}

impl RestoreWriter {
    /// The restore's name.
    #[must_use]
    pub fn name(&self) -> &RestoreName {
        &self.name
    }

    /// The run that carries it out.
    #[must_use]
    pub fn run(&self) -> &RunId {
        self.claim.run()
    }

    /// Writes a file of the restore, create-only.
    ///
    /// # Errors
    /// The file is there already with other bytes, or the store fails.
    pub async fn put(&mut self, file: &str, bytes: Bytes) -> Result<()> {
        let doing = format!("write `{file}` of restore `{}`", self.name);
        let key = layout::restore_file(&self.name, file).map_err(Error::store(doing.clone()))?;
        let store = &self.location.store;
        match store.put(&key, bytes.clone(), PutMode::Create).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_already_exists() => {
                // Of a run before us, which came as far as this.
                match read_small(store, &key, bytes.len() as u64).await {
                    Ok(found) if found == bytes => Ok(()),
                    _ => Err(Error::store(doing)(error)),
                }
            }
            Err(error) => Err(Error::store(doing)(error)),
        }
    }

    /// Writes or rewrites a file that only repeats what journal and plan say: logs and results of a
    /// restore that is resumed.
    ///
    /// # Errors
    /// The store fails.
    pub async fn put_derived(&mut self, file: &str, bytes: Bytes) -> Result<()> {
        let doing = format!("write `{file}` of restore `{}`", self.name);
        let key = layout::restore_file(&self.name, file).map_err(Error::store(doing.clone()))?;
        let put = self
            .location
            .store
            .put(&key, bytes, PutMode::Overwrite)
            .await;
        put.map(drop).map_err(Error::store(doing))
    }

    /// Reads a file of this restore.
    ///
    /// # Errors
    /// As [`Location::read_restore_file`].
    pub async fn read(&self, file: &str, limit: u64) -> Result<Option<Bytes>> {
        self.location
            .read_restore_file(&self.name, file, limit)
            .await
    }

    /// Appends a part to the journal: create-only under the next number, so that two runs cannot both go
    /// on.
    ///
    /// # Errors
    /// [`Error::ClaimLost`] when another run has written under this number, or the store fails.
    pub async fn append_journal(&mut self, bytes: Bytes) -> Result<()> {
        let file = layout::journal_file(self.next_journal);
        let key =
            layout::restore_file(&self.name, &file).map_err(Error::store("name the journal"))?;
        match self.location.store.put(&key, bytes, PutMode::Create).await {
            Ok(_) => {
                self.next_journal += 1;
                Ok(())
            }
            Err(error) if error.is_already_exists() => Err(Error::ClaimLost {
                kind: "restore",
                name: self.name.to_string(),
            }),
            Err(error) => Err(Error::store(format!(
                "write the journal of restore `{}`",
                self.name
            ))(error)),
        }
    }

    /// All parts of the journal, in order.
    ///
    /// # Errors
    /// [`Error::BadRecord`] when a part is missing, or the store fails.
    pub async fn journals(&self) -> Result<Vec<Bytes>> {
        let mut parts = Vec::new();
        for number in 1..=self.last_journal().await? {
            let file = layout::journal_file(number);
            let part = self.read(&file, RECORD_LIMIT).await?;
            parts.push(part.ok_or_else(|| self.journal_gap(number))?);
        }
        Ok(parts)
    }

    fn journal_gap(&self, number: u64) -> Error {
        Error::BadRecord {
            key: format!(
                "{}/{}",
                layout::restore_folder(&self.name),
                layout::journal_file(number)
            ),
            reason:
                "this part of the journal is missing, although later ones are there; without it \
                     nobody knows what was done"
                    .to_owned(),
        }
    }

    /// Number of the last part of the journal, zero without one.
    async fn last_journal(&self) -> Result<u64> {
        let listed = self
            .location
            .store
            .list_folder(&layout::restore_folder(&self.name))
            .await
            .map_err(Error::store(format!(
                "read the journal of restore `{}`",
                self.name
            )))?;
        let mut numbers: Vec<u64> = listed
            .objects
            .iter()
            .filter_map(|o| layout::journal_number(o.key.file_name()))
            .collect();
        numbers.sort_unstable();
        match (1..).zip(&numbers).find(|(expected, n)| expected != *n) {
            Some((missing, _)) => Err(self.journal_gap(missing)),
            None => Ok(numbers.len() as u64),
        }
    }

    /// Writes the result, create-only, and ends the restore.
    ///
    /// # Errors
    /// [`Error::ClaimLost`] when another run has taken over, or the store fails.
    pub async fn finish(self, restore: &Restore) -> Result<()> {
        self.claim.assert_held().await?;
        let body = record::encode("restore", restore)?;
        let key = layout::restore_file(&self.name, layout::RESTORE_RECORD)
            .map_err(Error::store("name the result"))?;
        self.location
            .store
            .put(&key, body, PutMode::Create)
            .await
            .map_err(Error::store(format!(
                "record the result of restore `{}`",
                self.name
            )))?;
        self.claim.close().await;
        Ok(())
    }

    /// Stops without a result; the restore can be resumed at once.
    pub async fn suspend(self) {
        self.claim.close().await;
    }
}
