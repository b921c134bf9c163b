//! Opening the archive of a stored backup, ours or Velero's, wherever it is stored.
//!
//! With a sound index beside it, nothing but the index is read before the first object is asked for, and
//! then only the members that hold what is asked. Without one (a backup of Velero's, or a lost index), the
//! archive is read once and brought into the same shape in a [`Spool`].

use std::fs::File;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread;

use bytes::Bytes;
use futures::TryStreamExt as _;
use salvor_api::name::BackupName;
use salvor_archive::ArchiveError;
use salvor_archive::archive::{Archive, ReadAt};
use salvor_archive::files;
use salvor_archive::findings::Findings;
use salvor_archive::index::Index;
use salvor_archive::limits::Limits;
use salvor_archive::names::BackupFile;
use salvor_location::{BackupRecord, Digest, Location};
use salvor_seal::Spool;
use tokio_util::io::{StreamReader, SyncIoBridge};
use tracing::warn;

use crate::damage::Damage;

/// Largest index that is read: that of about ten million objects.
const INDEX_LIMIT: u64 = 1 << 30;
/// Largest resource list that is read, packed or not: that of three million objects.
const LIST_LIMIT: u64 = 256 << 20;

/// An archive that was opened, and how.
pub struct OpenArchive {
    /// The archive.
    pub archive: Archive,
    /// What one pass over it found; absent when the index made a pass unnecessary.
    pub findings: Option<Findings>,
    /// Why the index was not used although the manifest names one.
    pub index_problem: Option<String>,
    /// What is damaged and so is left out; only [`open_readable`] leaves anything out.
    pub damage: Option<Damage>,
}

/// Why an archive could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The location failed.
    #[error("open the archive of backup `{backup}`")]
    Location {
        /// The backup.
        backup: String,
        /// Why.
        #[source]
        source: salvor_location::Error,
    },
    /// The commit record is there, the archive is not.
    #[error("backup `{backup}` has no archive `{backup}.tar.gz`: it cannot be restored or browsed")]
    NoArchive {
        /// The backup.
        backup: String,
    },
    /// The archive cannot be read.
    #[error("read the archive of backup `{backup}`")]
    Archive {
        /// The backup.
        backup: String,
        /// Why.
        #[source]
        source: Box<ArchiveError>,
    },
    /// The archive is damaged, and nobody said that it may be read all the same.
    #[error("read the archive of backup `{backup}`: {damage}")]
    Damaged {
        /// The backup.
        backup: String,
        /// Where, and what is lost.
        damage: Box<Damage>,
    },
    /// The machine failed: no thread, no temporary file.
    #[error("prepare to read the archive of backup `{backup}`")]
    Local {
        /// The backup.
        backup: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    /// True when the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Location { source, .. } if source.is_retryable())
    }

    /// Always false.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        false
    }

    /// Always false: nothing is written.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        false
    }
}

/// Opens the archive of a backup.
///
/// # Errors
/// There is no archive, it is damaged, or the location fails. A damaged or missing index is no error: the
/// archive is then read as a whole. With an index, damage of the archive shows when objects are read.
pub async fn open(
    location: &Location,
    record: &BackupRecord,
    limits: Limits,
) -> Result<OpenArchive, OpenError> {
    let opened = open_any(location, record, limits, false).await?;
    match opened.damage {
        Some(damage) => Err(OpenError::Damaged {
            backup: record.name.to_string(),
            damage: Box::new(damage),
        }),
        None => Ok(opened),
    }
}

/// Opens what can be read of an archive: the whole of it is read once, and what is damaged is left out and
/// named in [`OpenArchive::damage`].
///
/// # Errors
/// There is no archive, or the location fails.
pub async fn open_readable(
    location: &Location,
    record: &BackupRecord,
    limits: Limits,
) -> Result<OpenArchive, OpenError> {
    let mut opened = open_any(location, record, limits, true).await?;
    if opened.findings.is_some() {
        return Ok(opened);
    }
    let backup = record.name.to_string();
    let archive = opened.archive.clone();
    let surveyed = tokio::task::spawn_blocking(move || {
        let mut members = archive.survey()?;
        let rest = (!members.is_empty()).then(|| archive.without(&mut members));
        Ok((rest, members))
    });
    let (rest, members) = match surveyed.await {
        Ok(Ok(surveyed)) => surveyed,
        Ok(Err(source)) => {
            return Err(OpenError::Archive {
                backup,
                source: Box::new(source),
            });
        }
        Err(join) => {
            let source = io::Error::other(join);
            return Err(OpenError::Local { backup, source });
        }
    };
    opened.damage = Damage::of_members(BackupFile::Archive.name(&record.name), &members);
    opened.archive = rest.unwrap_or(opened.archive);
    Ok(opened)
}

/// Opens an archive, and what can be read of one that is damaged. With `look_up_size` its length is asked
/// for, so that a shorter one than it should be is told from a store that fails.
async fn open_any(
    location: &Location,
    record: &BackupRecord,
    limits: Limits,
    look_up_size: bool,
) -> Result<OpenArchive, OpenError> {
    let backup = &record.name;
    let failed = |source| OpenError::Location {
        backup: backup.to_string(),
        source,
    };
    let manifest = match location.manifest(record).await {
        Ok(manifest) => manifest,
        // The archive may be sound all the same; who wants to know runs a verification.
        Err(error @ salvor_location::Error::BadRecord { .. }) => {
            return by_pass(location, backup, limits, Some(error.to_string())).await;
        }
        Err(error) => return Err(failed(error)),
    };
    let Some(manifest) = manifest else {
        return by_pass(location, backup, limits, None).await;
    };
    let archive_name = BackupFile::Archive.name(backup);
    let index_name = BackupFile::SalvorIndex.name(backup);
    let entry = |name: &str| manifest.objects.iter().find(|entry| entry.name == name);
    let (Some(archive_entry), Some(index_entry)) = (entry(&archive_name), entry(&index_name))
    else {
        return by_pass(
            location,
            backup,
            limits,
            Some("the manifest names no index".into()),
        )
        .await;
    };
    let problem = match location
        .read_file(backup, &index_name, INDEX_LIMIT)
        .await
        .map_err(failed)?
    {
        None => "it is missing".to_owned(),
        Some(bytes) if Digest::of(&bytes) != index_entry.sha256 => {
            "its SHA-256 is not the one that the manifest states".to_owned()
        }
        Some(bytes) => match Index::decode(&bytes, limits) {
            Err(error) => error.to_string(),
            Ok(index) if index.archive_len() != archive_entry.size => {
                "it describes an archive of another length".to_owned()
            }
            Ok(index) => {
                let size = if look_up_size {
                    let found = location.file_size(backup, &archive_name).await;
                    found.map_err(failed)?.unwrap_or(archive_entry.size)
                } else {
                    archive_entry.size
                };
                let data = by_range(location, backup, &archive_name, size)?;
                let archive = Archive::open(index, data);
                return Ok(OpenArchive {
                    archive,
                    findings: None,
                    index_problem: None,
                    damage: None,
                });
            }
        },
    };
    by_pass(location, backup, limits, Some(problem)).await
}

/// One pass over the whole archive.
async fn by_pass(
    location: &Location,
    backup: &BackupName,
    limits: Limits,
    index_problem: Option<String>,
) -> Result<OpenArchive, OpenError> {
    if let Some(problem) = &index_problem {
        warn!(%backup, problem, "the index cannot be used; reading the whole archive");
    }
    let opened = location
        .open_file(backup, &BackupFile::Archive.name(backup))
        .await;
    let opened = opened.map_err(|source| OpenError::Location {
        backup: backup.to_string(),
        source,
    })?;
    let Some((_, body)) = opened else {
        return Err(OpenError::NoArchive {
            backup: backup.to_string(),
        });
    };
    let reader = StreamReader::new(body.map_err(io::Error::other));
    let reader = SyncIoBridge::new(Box::pin(reader));
    let spool = Spool::new().map_err(|source| OpenError::Local {
        backup: backup.to_string(),
        source,
    })?;
    let transcoded = tokio::task::spawn_blocking(move || {
        Archive::from_readable(reader, limits, SpooledItems(spool))
    })
    .await;
    match transcoded {
        Ok(Ok((archive, findings, cut))) => {
            let damage = match cut {
                None => None,
                Some(cut) => Some(cut_off(location, backup, &archive, cut).await?),
            };
            Ok(OpenArchive {
                archive,
                findings: Some(findings),
                index_problem,
                damage,
            })
        }
        Ok(Err(source)) => Err(OpenError::Archive {
            backup: backup.to_string(),
            source: Box::new(source),
        }),
        Err(join) => Err(OpenError::Local {
            backup: backup.to_string(),
            source: io::Error::other(join),
        }),
    }
}

/// What is missing from a stream that ended in an error.
async fn cut_off(
    location: &Location,
    backup: &BackupName,
    archive: &Archive,
    cut: ArchiveError,
) -> Result<Damage, OpenError> {
    let list = BackupFile::ResourceList.name(backup);
    let bytes = location.read_file(backup, &list, LIST_LIMIT).await;
    let bytes = bytes.map_err(|source| OpenError::Location {
        backup: backup.to_string(),
        source,
    })?;
    // A list that is damaged, too, is as good as none.
    let listed = bytes.and_then(|bytes| files::read_json_gz(&bytes, LIST_LIMIT).ok());
    let (archive, file) = (archive.clone(), BackupFile::Archive.name(backup));
    let damage = tokio::task::spawn_blocking(move || {
        Damage::of_stream(file, &cut, &archive, listed.as_ref())
    });
    damage.await.map_err(|join| OpenError::Local {
        backup: backup.to_string(),
        source: io::Error::other(join),
    })
}

/// Bytes of an archive that are kept on a local disk, encrypted, for as long as it is open.
pub struct SpooledItems(Spool);

impl SpooledItems {
    /// Nothing yet.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn new() -> io::Result<Self> {
        Spool::new().map(Self)
    }
}

impl std::fmt::Debug for SpooledItems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpooledItems")
            .field("len", &self.0.len())
            .finish()
    }
}

impl io::Write for SpooledItems {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl ReadAt for SpooledItems {
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.0.read_at(offset, len)
    }

    fn len(&self) -> u64 {
        self.0.len()
    }
}

/// Reads parts of the archive where it is.
fn by_range(
    location: &Location,
    backup: &BackupName,
    file: &str,
    size: u64,
) -> Result<Arc<dyn ReadAt>, OpenError> {
    let local = |source| OpenError::Local {
        backup: backup.to_string(),
        source,
    };
    if let Some(path) = location.local_path(backup, file) {
        let opened = File::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => OpenError::NoArchive {
                backup: backup.to_string(),
            },
            _ => local(source),
        })?;
        return Ok(Arc::new(opened));
    }
    let remote = RemoteFile::start(location.clone(), backup.clone(), file.to_owned(), size);
    Ok(Arc::new(remote.map_err(local)?))
}

/// A file of a location, read from code that is not async. A thread with a runtime of its own carries the
/// requests, so that a caller on any thread, of any runtime or none, can wait for the answer.
struct RemoteFile {
    requests: tokio::sync::mpsc::UnboundedSender<Request>,
    size: u64,
}

struct Request {
    range: std::ops::Range<u64>,
    answer: mpsc::SyncSender<Result<Bytes, salvor_location::Error>>,
}

impl RemoteFile {
    fn start(location: Location, backup: BackupName, file: String, size: u64) -> io::Result<Self> {
        let (requests, mut incoming) = tokio::sync::mpsc::unbounded_channel::<Request>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::Builder::new()
            .name("archive-reader".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    // Ends when the last reader drops its sender.
                    while let Some(Request { range, answer }) = incoming.recv().await {
                        let (location, backup, file) =
                            (location.clone(), backup.clone(), file.clone());
                        tokio::spawn(async move {
                            let bytes = location.read_range(&backup, &file, range).await;
                            // A reader that went away needs no answer.
                            let _ = answer.send(bytes);
                        });
                    }
                });
            })?;
        Ok(Self { requests, size })
    }
}

impl ReadAt for RemoteFile {
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let end = offset
            .checked_add(len as u64)
            .filter(|end| *end <= self.size);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let gone = || io::Error::other("the thread that reads the archive has ended");
        // Room for the one answer, so that the sender never waits.
        let (answer, received) = mpsc::sync_channel(1);
        self.requests
            .send(Request {
                range: offset..end,
                answer,
            })
            .map_err(|_| gone())?;
        let bytes = received
            .recv()
            .map_err(|_| gone())?
            .map_err(io::Error::other)?;
        if bytes.len() == len {
            Ok(bytes.into())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn len(&self) -> u64 {
        self.size
    }
}
