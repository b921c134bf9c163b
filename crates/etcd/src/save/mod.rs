//! Taking a snapshot of a running cluster: from a healthy member that is up to date, whole or not at all.
//!
//! Start with [`save`].

mod candidates;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use salvor_location::with_causes;
use salvor_seal::Digest;
use tempfile::{NamedTempFile, TempPath};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

use crate::client::{self, Access, Status};
use crate::snapshot::{self, Report, Snapshot};
use crate::stop::StopOnDrop;

use candidates::{Candidate, connect, newest, order};

/// Bytes that are collected before they go to the disk.
const BUFFER: usize = 1 << 20;

/// What was saved.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The file.
    pub path: PathBuf,
    /// The member it came from.
    pub endpoint: String,
    /// What that member said of itself before.
    pub member: Status,
    /// Figures of the snapshot.
    pub status: snapshot::Status,
    /// Bytes of the file.
    pub size: u64,
    /// SHA-256 of the database, which stands at the end of the file.
    pub digest: Digest,
    /// The newest revision before the snapshot was asked for; `None` when there was no majority to ask.
    pub newest_before: Option<u64>,
    /// How long it took, connections and verification included.
    pub took: Duration,
    /// Members that could not be used, and why; what is unusual.
    pub remarks: Vec<String>,
}

/// Why nothing was saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No endpoint was named.
    #[error("no endpoint is named")]
    NoEndpoint,
    /// The endpoints are members of different clusters.
    #[error("{first} and {second} belong to different clusters: name the members of one")]
    OtherCluster {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// No member could be asked, or gave a good snapshot.
    #[error("no member gave a snapshot{}", listed(.others))]
    NoMember {
        /// What happened with all but the last one.
        others: Vec<String>,
        /// What happened with the last one.
        #[source]
        last: Box<MemberError>,
    },
    /// The place of the file cannot be written.
    #[error("{doing} {}", .path.display())]
    Io {
        /// What we were doing, a verb.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It was asked to stop.
    #[error("stopped before the snapshot was complete; no file was left")]
    Stopped,
}

impl Error {
    /// True when it was asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Stopped)
    }
}

/// Why one member gave no good snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemberError {
    /// It could not be asked.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The stream ended early.
    #[error("{endpoint} ended the snapshot {remaining} bytes before its end")]
    Short {
        /// Who.
        endpoint: String,
        /// How much is missing.
        remaining: u64,
    },
    /// What came is no good snapshot.
    #[error("the snapshot of {endpoint} is damaged")]
    Damaged {
        /// Of whom.
        endpoint: String,
        /// What is wrong with it.
        #[source]
        source: snapshot::Error,
    },
    /// A level of the verification failed.
    #[error("the snapshot of {endpoint} is damaged: {finding}")]
    Findings {
        /// Of whom.
        endpoint: String,
        /// The first finding.
        finding: String,
    },
    /// The others say that its data is not theirs.
    #[error(
        "the data of {endpoint} differs from the others' (alarm CORRUPT): no snapshot of it is taken"
    )]
    Corrupt {
        /// Who.
        endpoint: String,
    },
    /// The member is behind the others.
    #[error(
        "the snapshot of {endpoint} has revision {revision}, and {newest} was reached before: it is behind"
    )]
    Behind {
        /// Who.
        endpoint: String,
        /// Revision of the snapshot.
        revision: u64,
        /// Revision of the cluster before.
        newest: u64,
    },
}

impl MemberError {
    /// The client's error in it.
    #[must_use]
    pub fn client(&self) -> Option<&client::Error> {
        match self {
            Self::Client(error) => Some(error),
            _ => None,
        }
    }
}

fn listed(others: &[String]) -> String {
    others.iter().map(|other| format!(" ({other})")).collect()
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        doing,
        path,
        source,
    }
}

/// What one try came to: a stop and a full disk end the run, what is wrong with a member does not.
enum Try {
    Member(MemberError),
    Run(Error),
}

impl From<client::Error> for Try {
    fn from(error: client::Error) -> Self {
        Self::Member(error.into())
    }
}

/// Saves a snapshot to a file. A file of that name is replaced, by a rename, once the new one is whole and verified.
///
/// Of several members a healthy follower is preferred; when one fails, or is behind, the next one is asked.
///
/// # Errors
/// No member gives a good snapshot, the file cannot be written, or `stop` is cancelled. Then no file is left, but by a
/// process that is killed: `.NAME.*.part`.
pub async fn save(
    endpoints: &[String],
    access: &Access,
    path: &Path,
    stop: &CancellationToken,
) -> Result<Saved, Error> {
    take(endpoints, access, Target::Named(path), stop)
        .await
        .map(|(saved, _)| saved)
}

/// The same to a file in `folder` that has no name: nothing is left of it when its handle is closed, by whatever.
///
/// # Errors
/// As [`save`].
pub async fn save_unnamed(
    endpoints: &[String],
    access: &Access,
    folder: &Path,
    stop: &CancellationToken,
) -> Result<(Saved, std::fs::File), Error> {
    take(endpoints, access, Target::Unnamed(folder), stop).await
}

/// Where a snapshot goes.
#[derive(Clone, Copy)]
enum Target<'a> {
    /// This file.
    Named(&'a Path),
    /// A file without a name in this folder.
    Unnamed(&'a Path),
}

async fn take(
    endpoints: &[String],
    access: &Access,
    target: Target<'_>,
    stop: &CancellationToken,
) -> Result<(Saved, std::fs::File), Error> {
    let begun = Instant::now();
    let work = async {
        let mut failures = Vec::new();
        let mut candidates = connect(endpoints, access, &mut failures).await?;
        let mut remarks = Vec::new();
        let newest = newest(&mut candidates, &mut remarks).await;
        let corrupt = order(&mut candidates, &mut remarks).await;
        for mut candidate in candidates {
            if corrupt.contains(&candidate.status.member) {
                let endpoint = candidate.member.endpoint().to_string();
                failures.push(MemberError::Corrupt { endpoint });
                continue;
            }
            match from_member(&mut candidate, newest, target).await {
                Ok((mut saved, file)) => {
                    let failed = failures.iter().map(|error| with_causes(error));
                    saved.remarks = failed.chain(remarks).chain(saved.remarks).collect();
                    saved.took = begun.elapsed();
                    return Ok((saved, file));
                }
                Err(Try::Run(error)) => return Err(error),
                Err(Try::Member(error)) => failures.push(error),
            }
        }
        let last = failures.pop().ok_or(Error::NoEndpoint)?;
        Err(Error::NoMember {
            others: failures.iter().map(|error| with_causes(error)).collect(),
            last: Box::new(last),
        })
    };
    tokio::select! {
        done = work => done,
        () = stop.cancelled() => Err(Error::Stopped),
    }
}

async fn from_member(
    candidate: &mut Candidate,
    newest: Option<u64>,
    target: Target<'_>,
) -> Result<(Saved, std::fs::File), Try> {
    let endpoint = candidate.member.endpoint().to_string();
    let (part, file) = target.create().map_err(Try::Run)?;
    let path = target.path();
    let clone = |file: &std::fs::File| file.try_clone();
    let receiver = clone(&file).map_err(|error| Try::Run(io_error("write", path)(error)))?;
    receive(candidate, File::from_std(receiver), path).await?;
    let (status, report, digest, size) = verified(&file, path, &endpoint).await?;
    if let Some(finding) = first_finding(&report) {
        return Err(Try::Member(MemberError::Findings { endpoint, finding }));
    }
    let revision = status.store_revision();
    if let Some(newest) = newest.filter(|newest| revision < *newest) {
        return Err(Try::Member(MemberError::Behind {
            endpoint,
            revision,
            newest,
        }));
    }
    let notices = report.levels.into_iter().flat_map(|level| level.notices);
    let remarks = notices.collect();
    if let Some(part) = part {
        put_in_place(part, path).map_err(Try::Run)?;
    }
    let saved = Saved {
        path: path.to_owned(),
        endpoint,
        member: candidate.status.clone(),
        status,
        size,
        digest,
        newest_before: newest,
        took: Duration::ZERO,
        remarks,
    };
    Ok((saved, file))
}

impl Target<'_> {
    /// What errors call it.
    fn path(&self) -> &Path {
        match self {
            Self::Named(path) | Self::Unnamed(path) => path,
        }
    }

    /// A file for its owner only, which goes when it is dropped: beside the place, or without a name.
    fn create(&self) -> Result<(Option<TempPath>, std::fs::File), Error> {
        match self {
            Self::Named(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let part = tempfile::Builder::new()
                    .prefix(&format!(".{name}."))
                    .suffix(".part")
                    .tempfile_in(folder(path))
                    .map_err(io_error("create a file beside", path))?;
                let (file, path) = NamedTempFile::into_parts(part);
                Ok((Some(path), file))
            }
            Self::Unnamed(folder) => {
                let file = tempfile::tempfile_in(folder);
                let file = file.map_err(io_error("create a file in", folder))?;
                Ok((None, file))
            }
        }
    }
}

fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Writes what a member sends, and waits for the disk.
async fn receive(candidate: &mut Candidate, mut file: File, part: &Path) -> Result<(), Try> {
    let write = |source| Try::Run(io_error("write", part)(source));
    let mut pieces = candidate.member.snapshot().await?;
    let mut buffer = Vec::with_capacity(BUFFER);
    while let Some(piece) = pieces.next().await? {
        buffer.extend_from_slice(&piece);
        if buffer.len() >= BUFFER {
            file.write_all(&buffer).await.map_err(write)?;
            buffer.clear();
        }
    }
    // The count is of the database; the digest comes with 0.
    let remaining = pieces.remaining().unwrap_or(u64::MAX);
    if remaining != 0 {
        let endpoint = candidate.member.endpoint().to_string();
        return Err(Try::Member(MemberError::Short {
            endpoint,
            remaining,
        }));
    }
    file.write_all(&buffer).await.map_err(write)?;
    file.flush().await.map_err(write)?;
    file.sync_all().await.map_err(write)
}

type Verified = (snapshot::Status, Report, Digest, u64);

/// Reads the file that was written, digest, pages and entries.
async fn verified(file: &std::fs::File, part: &Path, endpoint: &str) -> Result<Verified, Try> {
    let path = part.to_owned();
    let file = file.try_clone();
    let file = file.map_err(|error| Try::Run(io_error("verify", part)(error)))?;
    let stop = Arc::new(AtomicBool::new(false));
    // A run that is stopped drops this future: the thread is told.
    let told = StopOnDrop(Arc::clone(&stop));
    let looked = tokio::task::spawn_blocking(move || {
        let length = file.metadata().map(|file| file.len());
        let length = length.map_err(|source| snapshot::Error::Read {
            path: path.clone(),
            source,
        })?;
        let snapshot = Snapshot::of_file(file, &path)?;
        let status = snapshot::status(&snapshot, true, &stop)?;
        let report = snapshot::verify(&snapshot, &stop)?;
        Ok((status, report, snapshot.digest(), length))
    });
    let looked: Result<_, snapshot::Error> = looked
        .await
        .map_err(|error| Try::Run(io_error("verify", part)(io::Error::other(error))))?;
    drop(told);
    let damaged = |source| {
        Try::Member(MemberError::Damaged {
            endpoint: endpoint.to_owned(),
            source,
        })
    };
    let (status, report, digest, length) = looked.map_err(damaged)?;
    match digest {
        Some(digest) => Ok((status, report, digest, length)),
        None => Err(Try::Member(MemberError::Findings {
            endpoint: endpoint.to_owned(),
            finding: "it came without a digest".to_owned(),
        })),
    }
}

fn first_finding(report: &Report) -> Option<String> {
    let mut findings = report.levels.iter().flat_map(|level| &level.findings);
    findings.next().cloned()
}

fn put_in_place(part: TempPath, path: &Path) -> Result<(), Error> {
    part.persist(path)
        .map_err(|error| io_error("put the new snapshot at", path)(error.error))?;
    std::fs::File::open(folder(path))
        .and_then(|folder| folder.sync_all())
        .map_err(io_error("wait for the disk for the folder of", path))
}
