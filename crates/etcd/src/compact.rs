//! A chain merged into a new full, without the cluster it was captured from.
//!
//! The new full is a point of its own that stands alone, and another base of its chain: what was captured behind it leads
//! on from it. It is made of what is read back from the location, so it needs an identity of a recipient, and it is written
//! like any point: the object first, sealed to the location's recipients, the record last. Until then nothing counts,
//! and nothing that was there is changed.
//!
//! Start with [`compact`].

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use salvor_location::{Location, Point, RunId};
use salvor_seal::age::Identity;

use crate::chain::{Chain, Found, Target, Timeline, recover};
use crate::hash_kv::hash_kv;
use crate::points::{self, Details, KIND, MergedFrom};
use crate::restore::{self, Merged, merge};
use crate::snapshot::{self, Snapshot, Status};
use crate::stop::StopOnDrop;

/// What is merged.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The chain; without it the newest history, up to its end.
    pub chain: Option<&'a str>,
    /// Up to where; without it the end of the chain.
    pub target: Option<Target>,
    /// Who can read what was captured.
    pub identities: &'a [Identity],
    /// Folder for the base, the changes and the result: files without names.
    pub folder: &'a Path,
    /// Why, for people to read.
    pub reason: Option<&'a str>,
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Compacted {
    /// The new point.
    pub point: Point,
    /// What it says of its snapshot.
    pub details: Details,
    /// What could not be used, or is unusual.
    pub remarks: Vec<String>,
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What is wanted cannot be read.
    #[error(transparent)]
    Recover(#[from] recover::Error),
    /// The point cannot be written.
    #[error(transparent)]
    Point(#[from] points::Error),
    /// The location.
    #[error(transparent)]
    Location(#[from] salvor_location::Error),
    /// The merge.
    #[error(transparent)]
    Restore(#[from] restore::Error),
    /// What was merged cannot be read.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// There is no such chain.
    #[error("there is no chain `{chain}` of cluster {cluster:016x}")]
    NoChain {
        /// Its name.
        chain: String,
        /// Of which cluster.
        cluster: u64,
    },
    /// Nothing was captured.
    #[error("there are no captured changes of cluster {cluster:016x} to merge")]
    NothingCaptured {
        /// Of which cluster.
        cluster: u64,
    },
    /// There is nothing to merge.
    #[error("nothing is to be merged: point `{base}` is a full of revision {revision}")]
    NothingBehind {
        /// The full that is there.
        base: String,
        /// What is wanted.
        revision: u64,
    },
    /// What was written is not what was merged.
    #[error(
        "the merged snapshot is not what was merged: its {what} is {found} and should be {expected}; nothing was \
         committed"
    )]
    Differs {
        /// What differs.
        what: &'static str,
        /// What was merged.
        expected: u64,
        /// What was read.
        found: u64,
    },
    /// The merged snapshot has something in it that etcd does not write.
    #[error("the merged snapshot is no good one: {0}; nothing was committed")]
    Unsound(String),
    /// A thread.
    #[error("merge in {}", .path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Merges a chain up to a revision or time into a new full, verifies it and commits it. The cluster is not asked.
///
/// Dropped before its end it stops, and nothing of it counts.
///
/// # Errors
/// What is wanted cannot be reached or read, it is a full already, or the location refuses.
pub async fn compact(
    location: &Location,
    timeline: &Timeline,
    request: &Request<'_>,
) -> Result<Compacted, Error> {
    // What would be refused at the end is refused before a gigabyte is fetched.
    location.recipients().await?;
    let begun = Instant::now();
    let narrowed = narrowed(timeline, request.chain)?;
    let target = target(&narrowed, request);
    let fetched = recover::fetch(
        location,
        &narrowed,
        target,
        request.identities,
        request.folder,
    );
    let found = fetched.await?;
    let base = Details::of_point(&found.point)?;
    let revision = found.revision;
    if revision == base.revision {
        return Err(Error::NothingBehind {
            base: found.point.id.to_string(),
            revision,
        });
    }
    let (chain, remarks) = (placed(&narrowed, revision), found.remarks.clone());
    let (base_point, segments, reached) = (found.point.clone(), found.segments, found.reached);
    let ready = merged(found, request.folder.to_owned()).await?;
    let details = Details {
        chain: Some(chain.record.chain.clone()),
        merged: Some(MergedFrom {
            base: base_point.id.to_string(),
            segments,
            hash_kv: ready.hash_kv,
        }),
        reason: request.reason.map(str::to_owned),
        remarks: remarks.clone(),
        newest_before: None,
        endpoint: String::new(),
        member: String::new(),
        seconds: begun.elapsed().as_secs_f64(),
        ..with_status(base, &ready.status)
    };
    let folder = points::chain_folder(timeline.cluster, &chain.record.chain);
    let key = points::full(&folder, revision);
    let object = points::send_as(location, &ready.file, request.folder, &key).await?;
    // It is dated by the state that it has, so that times lead to it as to any base.
    let source = points::source_of(timeline.cluster);
    let mut point = Point::new(RunId::generate(), &source, KIND, reached);
    point.recipients = location.trust().fingerprints();
    point.objects = vec![object];
    point.details = serde_json::to_value(&details).map_err(|source| points::Error::Details {
        id: point.id.to_string(),
        source,
    })?;
    location.commit_point(&point).await?;
    Ok(Compacted {
        point,
        details,
        remarks,
    })
}

/// The history of the chain that is named, or the newest one.
fn narrowed(timeline: &Timeline, chain: Option<&str>) -> Result<Timeline, Error> {
    let cluster = timeline.cluster;
    let newest = timeline.newest().map(|chain| chain.record.chain.as_str());
    let wanted = chain.or(newest).ok_or(Error::NothingCaptured { cluster })?;
    timeline.narrowed(wanted).ok_or_else(|| Error::NoChain {
        chain: wanted.to_owned(),
        cluster,
    })
}

fn target(timeline: &Timeline, request: &Request<'_>) -> Target {
    let end = request.chain.and_then(|named| {
        let mut chains = timeline.chains.iter();
        let chain = chains.find(|chain| chain.record.chain == named)?;
        Some(Target::Revision(chain.reach().0))
    });
    request.target.or(end).unwrap_or(Target::Latest)
}

/// The chain that a revision belongs to.
fn placed(timeline: &Timeline, revision: u64) -> &Chain {
    let before = |chain: &&Chain| chain.record.start <= revision;
    let chain = timeline.chains.iter().rev().find(before);
    // A history that was reached has a chain.
    chain.unwrap_or(&timeline.chains[0])
}

/// A merged snapshot that was read once more.
struct Ready {
    file: File,
    hash_kv: u32,
    status: Status,
}

/// Merges on a thread that may block, and verifies what came of it.
async fn merged(found: Found, folder: PathBuf) -> Result<Ready, Error> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = StopOnDrop(Arc::clone(&stop));
    let path = folder.clone();
    let revision = found.revision;
    let work = tokio::task::spawn_blocking(move || {
        // As the source was, so that its hash can be compared and its past is kept.
        let (snapshot, mut history) = found.into_history(true, u64::MAX);
        let Merged {
            file,
            hash: expected,
            versions,
            findings,
        } = merge(&snapshot, &mut history, &path, &stop)?;
        if let Some(finding) = findings.into_iter().next() {
            return Err(Error::Unsound(finding));
        }
        let copy = file.try_clone().map_err(io(&path))?;
        let merged = Snapshot::of_file(copy, &path)?;
        let status = snapshot::status(&merged, true, &stop)?;
        let found = [
            ("hash", u64::from(expected), u64::from(status.hash)),
            ("number of versions", versions, status.versions),
            ("revision", revision, status.store_revision()),
        ];
        if let Some((what, expected, found)) = found.into_iter().find(|(_, a, b)| a != b) {
            return Err(Error::Differs {
                what,
                expected,
                found,
            });
        }
        let report = snapshot::verify(&merged, &stop)?;
        let mut findings = report.levels.into_iter().flat_map(|level| level.findings);
        if let Some(finding) = findings.next() {
            return Err(Error::Unsound(finding));
        }
        Ok(Ready {
            file,
            hash_kv: hash_kv(&merged, &stop)?,
            status,
        })
    });
    let ready = work
        .await
        .unwrap_or_else(|error| Err(io(&folder)(io::Error::other(error))));
    drop(told);
    ready
}

fn io(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

/// What a snapshot has, beside what its base says of the source.
fn with_status(base: Details, status: &Status) -> Details {
    Details {
        revision: status.store_revision(),
        compacted: status.compacted,
        hash: status.hash,
        entries: status.entries,
        versions: status.versions,
        live_keys: status.live_keys,
        total_size: status.total_size,
        storage_version: status.version.clone(),
        ..base
    }
}
