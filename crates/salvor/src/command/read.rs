//! Reading backups and restores for the commands that show them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use salvor_api::labels;
use salvor_api::meta::LabelSelector;
use salvor_api::name::{BackupName, RestoreName};
use salvor_api::selector::Selector;
use salvor_api::velero::{Backup, Restore, RestorePhase};
use salvor_archive::files::{SalvorVolumes, read_json_gz, read_text_gz};
use salvor_archive::names::{BackupFile, RestoreFile};
use salvor_extension::{Actions, Origin, Providers};
use salvor_location::verified::Verdicts;
use salvor_location::{Archived, BackupRecord, Damaged, Location, RestoreRecord};
use salvor_objects::restore::Source;
use serde::de::DeserializeOwned;

use crate::args::DamageArgs;
use crate::exit::{Exit, Failure};
use crate::served::Served;
use crate::session::{Session, spec_name};

/// Most bytes that a file beside an archive may have, packed or not. A resource list of 300,000 objects
/// has about 20 MiB.
pub(crate) const LARGEST_FILE: u64 = 256 << 20;

/// A backup's name from the command line.
pub(crate) fn backup_name(text: &str) -> Result<BackupName, Failure> {
    BackupName::new(text).map_err(|error| Failure::usage(error.to_string()))
}

/// A restore's name from the command line.
pub(crate) fn restore_name(text: &str) -> Result<RestoreName, Failure> {
    RestoreName::new(text).map_err(|error| Failure::usage(error.to_string()))
}

/// Where backups and restores are seen.
pub(crate) enum Place {
    /// As objects of a server.
    Server(Box<Served>),
    /// In a location.
    Location(Location),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(served) => write!(f, "namespace `{}`", served.namespace),
            Self::Location(location) => write!(f, "location `{}`", location.name()),
        }
    }
}

impl Place {
    /// The server that is to be asked, or the location in use.
    pub(crate) async fn of(session: &Session) -> Result<Self, Failure> {
        match session.served().await? {
            Some(served) => Ok(Self::Server(Box::new(served))),
            None => Ok(Self::Location(session.location(None)?)),
        }
    }

    /// The backups that a command is about, and those that cannot be read.
    pub(crate) async fn backups(
        &self,
        names: &[String],
        selector: Option<&LabelSelector>,
    ) -> Result<(Vec<Backup>, Vec<Damaged>), Failure> {
        match self {
            Self::Server(served) => Ok((served.chosen(names, selector).await?, Vec::new())),
            Self::Location(location) => {
                let (records, damaged) = backups(location, names, selector).await?;
                Ok((backup_kinds(records), damaged))
            }
        }
    }

    /// The backups of a schedule whose newest verification did not fail. Those that are passed over are said.
    pub(crate) async fn trusted_backups(
        &self,
        schedule: &str,
        session: &Session,
    ) -> Result<Vec<Backup>, Failure> {
        let (mut backups, _) = self.backups(&[], None).await?;
        let label = labels::label_value(schedule);
        backups.retain(|backup| backup.metadata.labels.get(labels::SCHEDULE_NAME) == Some(&label));
        let mut verdicts = BTreeMap::new();
        for backup in &backups {
            let storage = &backup.spec.storage_location;
            if !verdicts.contains_key(storage) {
                verdicts.insert(storage.clone(), self.verdicts(storage, session).await?);
            }
        }
        backups.retain(|backup| {
            let damaged = verdicts[&backup.spec.storage_location].is_damaged(backup);
            if damaged {
                let name = &backup.metadata.name;
                session
                    .printer
                    .warning(&session.messages.damaged_is_passed_over(name));
            }
            !damaged
        });
        Ok(backups)
    }

    /// What verifications found. Where the server's store cannot be read from here, nothing is known.
    async fn verdicts(&self, storage: &str, session: &Session) -> Result<Verdicts, Failure> {
        match self {
            Self::Location(location) => Ok(location.verdicts().await?),
            Self::Server(served) => {
                let read =
                    async { Ok::<_, Failure>(served.open(storage).await?.verdicts().await?) };
                Ok(read.await.unwrap_or_else(|failure| {
                    session.printer.note(&failure.chain());
                    Verdicts::default()
                }))
            }
        }
    }

    /// That there are no backups.
    pub(crate) fn no_backups(&self, session: &Session) -> String {
        match self {
            Self::Server(served) => session.messages.none_in_namespace(&served.namespace),
            Self::Location(location) => session.messages.no_backups(location.name()),
        }
    }

    /// What people call the durability of everything that is seen here; empty when each differs.
    pub(crate) fn durability(&self, session: &Session) -> String {
        match self {
            Self::Server(_) => String::new(),
            Self::Location(location) => session.durability(location.url().distance()),
        }
    }
}

/// The backups that a command is about, and those that cannot be read.
pub(crate) async fn backups(
    location: &Location,
    names: &[String],
    selector: Option<&LabelSelector>,
) -> Result<(Vec<BackupRecord>, Vec<Damaged>), Failure> {
    assert_folder(location)?;
    if names.is_empty() {
        let listing = location.backups().await?;
        let archived = location.archived().await?;
        let chosen = selector.map(compile).transpose()?;
        let entries = listing
            .entries
            .into_iter()
            .filter(|record| {
                chosen
                    .as_ref()
                    .is_none_or(|selector| selector.matches(&record.backup.metadata.labels))
            })
            .map(|record| {
                let archived = archived.get(record.name.as_str());
                relocated(record, archived, location)
            })
            .collect();
        return Ok((entries, listing.damaged));
    }
    let mut records = Vec::with_capacity(names.len());
    for name in names {
        let name = backup_name(name)?;
        let record = location.backup(&name).await?;
        let archived = location.archived_backup(&name).await?;
        records.push(relocated(record, archived.as_ref(), location));
    }
    Ok((records, Vec::new()))
}

/// A backup says which location it was written to; what counts is where it was found, and in which storage class.
fn relocated(
    mut record: BackupRecord,
    archived: Option<&Archived>,
    location: &Location,
) -> BackupRecord {
    let annotations = &mut record.backup.metadata.annotations;
    match archived {
        Some(archived) => annotations.insert(labels::ARCHIVED.to_owned(), archived.mark()),
        None => annotations.remove(labels::ARCHIVED),
    };
    spec_name(location).clone_into(&mut record.backup.spec.storage_location);
    record
}

/// A backup, open. With `--skip-damaged` only what can be read of it, which is said.
pub(crate) async fn source(
    location: &Location,
    name: &BackupName,
    damage: DamageArgs,
    session: &Session,
) -> Result<Source, Failure> {
    if !damage.skip_damaged {
        return Ok(Source::open(location, name).await?);
    }
    let source = Source::open_readable(location, name).await?;
    if let Some(damage) = &source.damage {
        let text = session
            .messages
            .damaged_is_left_out(name.as_str(), &damage.to_string());
        session.printer.warning(&text);
    }
    Ok(source)
}

/// The restores that a command is about, and those that cannot be read.
pub(crate) async fn restores(
    location: &Location,
    names: &[String],
    selector: Option<&LabelSelector>,
) -> Result<(Vec<RestoreRecord>, Vec<Damaged>), Failure> {
    assert_folder(location)?;
    if names.is_empty() {
        let listing = location.restores().await?;
        let chosen = selector.map(compile).transpose()?;
        let entries = listing
            .entries
            .into_iter()
            .filter(|record| {
                chosen
                    .as_ref()
                    .is_none_or(|selector| selector.matches(&record.restore.metadata.labels))
            })
            .map(begun)
            .collect();
        return Ok((entries, listing.damaged));
    }
    let mut records = Vec::with_capacity(names.len());
    for name in names {
        records.push(begun(location.restore(&restore_name(name)?).await?));
    }
    Ok((records, Vec::new()))
}

/// Until a restore ends its record is the request, which says `New`. Objects may have been created since.
fn begun(mut record: RestoreRecord) -> RestoreRecord {
    let status = &mut record.restore.status;
    if !record.finished && matches!(status.phase, RestorePhase::Unset | RestorePhase::New) {
        status.phase = RestorePhase::InProgress;
        status.start_timestamp = record.restore.metadata.creation_timestamp;
    }
    record
}

/// Says how to go on with restores that nobody is at work on.
pub(crate) fn note_unfinished(records: &[RestoreRecord], session: &Session) {
    for record in records.iter().filter(|r| !r.finished && !r.active) {
        let name = record.name.as_str();
        session
            .printer
            .note(&session.messages.restore_stopped(name));
    }
}

/// A listing of a folder that is not there is as empty as one of a folder without backups. Which of the
/// two it is decides whether backups are lost or a path was mistyped.
pub(crate) fn assert_folder(location: &Location) -> Result<(), Failure> {
    let url = location.url();
    if url.scheme != "file" {
        return Ok(());
    }
    let path = Path::new(&url.path);
    let reason = match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => "it is not a folder",
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "there is no such folder",
        // Whatever else it is, the store says so itself.
        Err(_) => return Ok(()),
    };
    let name = location.name();
    let shown = path.display();
    let text = if name == url.to_string() {
        format!("location `{name}`: {reason}")
    } else {
        format!("location `{name}` is {shown}: {reason}")
    };
    Err(Failure::new(Exit::NotFound, text)
        .hint("check the path, and whether what belongs there is mounted; the first backup makes a new folder"))
}

fn compile(selector: &LabelSelector) -> Result<Selector, Failure> {
    Selector::compile(selector).map_err(|error| Failure::usage(error.to_string()))
}

/// Just the kinds.
pub(crate) fn backup_kinds(records: Vec<BackupRecord>) -> Vec<Backup> {
    records.into_iter().map(|record| record.backup).collect()
}

/// Just the kinds.
pub(crate) fn restore_kinds(records: Vec<RestoreRecord>) -> Vec<Restore> {
    records.into_iter().map(|record| record.restore).collect()
}

/// A JSON file beside a backup; `None` when it is not there.
pub(crate) async fn backup_json<T: DeserializeOwned + Default>(
    location: &Location,
    name: &BackupName,
    file: BackupFile,
) -> Result<Option<T>, Failure> {
    let file = file.name(name);
    let Some(bytes) = location.read_file(name, &file, LARGEST_FILE).await? else {
        return Ok(None);
    };
    read_json_gz(&bytes, LARGEST_FILE)
        .map(Some)
        .map_err(|error| damaged(&format!("`{file}` of backup `{name}`"), error))
}

/// Our own record of a backup's volumes; `None` when it has none.
pub(crate) async fn own_volumes(
    location: &Location,
    name: &BackupName,
) -> Result<Option<SalvorVolumes>, Failure> {
    let file = BackupFile::SalvorVolumes.name(name);
    let bytes = location.read_file(name, &file, LARGEST_FILE).await?;
    let read = bytes.map(|bytes| SalvorVolumes::decode(&bytes)).transpose();
    read.map_err(|error| damaged(&format!("`{file}` of backup `{name}`"), error))
}

/// A JSON file beside a restore; `None` when it is not there.
pub(crate) async fn restore_json<T: DeserializeOwned + Default>(
    location: &Location,
    name: &RestoreName,
    file: RestoreFile,
) -> Result<Option<T>, Failure> {
    let file = file.name(name);
    let Some(bytes) = location
        .read_restore_file(name, &file, LARGEST_FILE)
        .await?
    else {
        return Ok(None);
    };
    read_json_gz(&bytes, LARGEST_FILE)
        .map(Some)
        .map_err(|error| damaged(&format!("`{file}` of restore `{name}`"), error))
}

/// A log, unpacked.
pub(crate) fn log_text(what: &str, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    read_text_gz(bytes, LARGEST_FILE).map_err(|error| damaged(what, error))
}

/// Stored bytes that are not what they should be.
pub(crate) fn damaged(what: &str, error: salvor_archive::ArchiveError) -> Failure {
    Failure::caused(Exit::VerificationFailed, format!("read {what}"), error)
        .hint("run `salvor backup verify` to see what is damaged")
}

/// The item actions that a file defines; none without a file.
pub(crate) fn item_actions(path: Option<&Path>) -> Result<Actions, Failure> {
    let Some(path) = path else {
        return Ok(Actions::default());
    };
    definitions("item actions", path, Actions::parse)
}

/// The providers that a file defines.
pub(crate) fn providers(path: &Path) -> Result<Providers, Failure> {
    definitions("providers", path, Providers::parse)
}

fn definitions<T>(
    what: &str,
    path: &Path,
    parse: impl Fn(&str, Origin) -> Result<T, Vec<String>>,
) -> Result<T, Failure> {
    let doing = format!("read the {what} in {}", path.display());
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::caused(Exit::Usage, doing.clone(), error))?;
    parse(&text, Origin::File)
        .map_err(|errors| Failure::usage(format!("{doing}: {}", errors.join("; "))))
}
