//! From what stands in a location to a snapshot and the changes behind it.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use salvor_location::{Location, Point};
use salvor_seal::age::Identity;

use super::candidates::{Candidate, candidates};
use super::collected::Collected;
use super::segment::{self, LARGEST_CONTENT, Malformed};
use super::timeline::{Base, Line, Segment, Timeline};
use super::users::{Elsewhere, elsewhere};
use crate::points;
use crate::restore::{Changes, History};
use crate::snapshot::Snapshot;
use salvor_location::with_causes;

/// What is wanted back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The state after this revision.
    Revision(u64),
    /// The state at this time, by the clock of who captured it.
    Time(Timestamp),
    /// The last one that is there.
    Latest,
}

/// What was found.
pub struct Found {
    /// The base.
    pub snapshot: Snapshot,
    /// The snapshot that has users and roles, where they changed behind the base.
    pub users: Option<Arc<Snapshot>>,
    /// The point of the base.
    pub point: Point,
    /// The revision that is restored.
    pub revision: u64,
    /// Up to which revision the source was compacted then.
    pub compacted: u64,
    /// Changes behind the base.
    pub changes: Changes,
    /// For how many seconds leases were granted.
    pub leases: BTreeMap<i64, i64>,
    /// Segments that were read.
    pub segments: u64,
    /// The last mark at or before the revision: everything up to it had happened at this time.
    pub at: Option<Timestamp>,
    /// A time at which the revision had been reached for certain.
    pub reached: Timestamp,
    /// What could not be used.
    pub remarks: Vec<String>,
}

impl Found {
    /// What is restored: compacted at the revision, or as the source was.
    #[must_use]
    pub fn into_history(self, exact: bool, quota: u64) -> (Snapshot, History) {
        let history = History {
            target: self.revision,
            compact_at: if exact { self.compacted } else { self.revision },
            changes: self.changes,
            leases: self.leases,
            users: self.users,
            quota,
        };
        (self.snapshot, history)
    }
}

/// Why a state cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A point or the location.
    #[error(transparent)]
    Point(#[from] points::Error),
    /// The location.
    #[error(transparent)]
    Location(#[from] salvor_location::Error),
    /// Nothing leads there.
    #[error("{wanted} cannot be reached: {there}")]
    Unreachable {
        /// What is wanted.
        wanted: String,
        /// What there is.
        there: String,
    },
    /// The last state was captured, and something on the way to it is damaged or gone.
    #[error(
        "changes up to revision {captured} were captured, and nothing leads beyond revision {reached}: {missing}"
    )]
    Broken {
        /// The last revision that is reached.
        reached: u64,
        /// The last one that was captured.
        captured: u64,
        /// What is in the way.
        missing: String,
    },
    /// The local file.
    #[error("write a file in {}", .path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// True when a part of the way is damaged or gone; another way may do.
    fn is_on_the_way(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => true,
            Self::Point(points::Error::Location(error)) => is_damage(error),
            Self::Point(error) => matches!(error, points::Error::Snapshot(_)),
            Self::Location(_) | Self::Io { .. } => false,
        }
    }

    /// True when the base is whole and what follows it is not.
    fn is_broken(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Broken { .. })
    }
}

/// Finds what a state is made of, and fetches it into `folder`, into files without names.
///
/// # Errors
/// Nothing leads there, or what leads there is damaged, or cannot be read.
pub async fn fetch(
    location: &Location,
    timeline: &Timeline,
    target: Target,
    identities: &[Identity],
    folder: &Path,
) -> Result<Found, Error> {
    let lines = timeline.lines();
    let ways = Ways::new(location, timeline, &lines, target)?;
    ways.fetch(identities, folder).await
}

/// The same from the oldest base that leads there: with every version that was captured on the way.
///
/// # Errors
/// As [`fetch`].
pub async fn fetch_whole(
    location: &Location,
    timeline: &Timeline,
    target: Target,
    identities: &[Identity],
    folder: &Path,
) -> Result<Found, Error> {
    let lines = timeline.lines();
    let ways = Ways::new(location, timeline, &lines, target)?;
    let (line, nearest) = ways.best;
    let base = oldest(line, nearest, target);
    if base.point.id == nearest.point.id {
        return ways.fetch(identities, folder).await;
    }
    match ways.way(line).fetch(base, identities, folder).await {
        // Where something on the long way is damaged, the short one may still lead there.
        Err(error) if error.is_on_the_way() => {
            let mut found = ways.fetch(identities, folder).await?;
            let (from, id) = (base.details.revision, &base.point.id);
            let why = with_causes(&error);
            found.remarks.push(format!(
                "older versions are left out, because nothing leads on from base {id} at revision {from}: {why}"
            ));
            Ok(found)
        }
        fetched => fetched,
    }
}

/// The oldest base of the line from which nothing is missing up to the nearest one.
fn oldest<'t>(line: Option<&'t Line<'t>>, nearest: &'t Base, target: Target) -> &'t Base {
    let to = nearest.details.revision;
    // What is wanted is in the base itself, and no way leads to it.
    if matches!(target, Target::Revision(revision) if to > revision) {
        return nearest;
    }
    let Some(line) = line else {
        return nearest;
    };
    let leads = |base: &&Base| line.reach(base.details.revision) >= to;
    line.bases().into_iter().find(leads).unwrap_or(nearest)
}

/// All ways to a state, the best one first.
struct Ways<'t> {
    location: &'t Location,
    cluster: u64,
    lines: &'t [Line<'t>],
    target: Target,
    best: Candidate<'t>,
    others: Vec<Candidate<'t>>,
}

impl<'t> Ways<'t> {
    fn new(
        location: &'t Location,
        timeline: &'t Timeline,
        lines: &'t [Line<'t>],
        target: Target,
    ) -> Result<Self, Error> {
        let mut all = candidates(lines, timeline, target).into_iter();
        let best = all.next().ok_or_else(|| Error::Unreachable {
            wanted: wanted(target),
            there: described(lines).join("; "),
        })?;
        Ok(Self {
            location,
            cluster: timeline.cluster,
            lines,
            target,
            best,
            others: all.collect(),
        })
    }

    fn way(&self, line: Option<&'t Line<'t>>) -> Way<'t> {
        Way {
            location: self.location,
            cluster: self.cluster,
            lines: self.lines,
            line,
            target: self.target,
        }
    }

    /// Fetches from the best base; where that one is damaged, from the next one that leads there.
    async fn fetch(&self, identities: &[Identity], folder: &Path) -> Result<Found, Error> {
        let (line, base) = self.best;
        let first = match self.way(line).fetch(base, identities, folder).await {
            Err(error) if error.is_on_the_way() => error,
            fetched => return fetched,
        };
        // Behind the base all of a line go the same way: what ends it for one ends it for those before it.
        let mut passed = base.details.revision;
        let mut is_broken = first.is_broken();
        let mut remarks = vec![format!(
            "base {} cannot be used: {}",
            base.point.id,
            with_causes(&first)
        )];
        for (line, base) in self.others.iter().copied() {
            if is_broken && base.details.revision <= passed {
                continue;
            }
            match self.way(line).fetch(base, identities, folder).await {
                Ok(mut found) => {
                    remarks.append(&mut found.remarks);
                    found.remarks = remarks;
                    return Ok(found);
                }
                Err(error) if error.is_on_the_way() => {
                    passed = base.details.revision;
                    is_broken |= error.is_broken();
                    let id = &base.point.id;
                    remarks.push(format!("base {id} cannot be used: {}", with_causes(&error)));
                }
                Err(error) => return Err(error),
            }
        }
        Err(first)
    }
}

/// How a state is reached.
struct Way<'t> {
    location: &'t Location,
    cluster: u64,
    lines: &'t [Line<'t>],
    line: Option<&'t Line<'t>>,
    target: Target,
}

impl Way<'_> {
    /// Fetches a base and what leads on from it.
    async fn fetch(
        &self,
        base: &Base,
        identities: &[Identity],
        folder: &Path,
    ) -> Result<Found, Error> {
        let snapshot = points::fetch(self.location, &base.point, identities, folder).await?;
        let io = |source| Error::Io {
            path: folder.to_owned(),
            source,
        };
        let changes = Changes::create(folder).map_err(io)?;
        let mut collected = Collected::new(self.target, &base.details, changes);
        let (mut remarks, mut unusable, mut segments) = (Vec::new(), HashSet::new(), 0);
        'path: while let Some(line) = self.line {
            let end = end(line, self.target);
            for segment in line.path(collected.reached, &unusable) {
                if collected.is_complete() {
                    break 'path;
                }
                if segment.first >= end {
                    collected.is_passed = true;
                    break 'path;
                }
                match read(self.location, self.cluster, &segment, identities).await? {
                    Ok(content) => {
                        let taken = tokio::task::spawn_blocking(move || {
                            let taken = collected.take(&content);
                            taken.map(|()| collected)
                        });
                        let taken = taken
                            .await
                            .unwrap_or_else(|error| Err(io::Error::other(error)));
                        collected = taken.map_err(io)?;
                        segments += 1;
                    }
                    Err(reason) => {
                        remarks.push(reason);
                        unusable.insert(segment.key);
                        continue 'path;
                    }
                }
            }
            break;
        }
        if matches!(self.target, Target::Time(_)) {
            remarks.extend(collected.went_back.iter().map(went_back));
        }
        if !collected.settle() {
            let mut there = described(self.lines);
            there.extend(remarks);
            return Err(Error::Unreachable {
                wanted: wanted(self.target),
                there: there.join("; "),
            });
        }
        self.assert_last(collected.reached, &remarks)?;
        let reached = collected.reached_by().unwrap_or(base.point.created);
        let (users, told) = self
            .users(base, collected.revision, identities, folder)
            .await?;
        remarks.extend(told);
        Ok(Found {
            snapshot,
            users,
            point: base.point.clone(),
            revision: collected.revision,
            compacted: collected.compacted.min(collected.revision),
            changes: collected.changes,
            leases: collected.leases,
            segments,
            at: collected.at,
            reached,
            remarks,
        })
    }

    /// Refuses what is not the last state that was captured where that one is wanted.
    fn assert_last(&self, reached: u64, remarks: &[String]) -> Result<(), Error> {
        let segments = self.line.map(Line::segments).unwrap_or_default();
        let captured = segments.iter().map(|segment| segment.last).max();
        match (self.target, captured) {
            (Target::Latest, Some(captured)) if captured > reached => {
                let missing = match remarks {
                    [] => format!("what follows revision {reached} is not there"),
                    remarks => remarks.join("; "),
                };
                Err(Error::Broken {
                    reached,
                    captured,
                    missing,
                })
            }
            _ => Ok(()),
        }
    }
}

impl Way<'_> {
    /// The snapshot that has the users and roles of a state, where its base has others; or what is to be said when there is
    /// none.
    async fn users(
        &self,
        base: &Base,
        revision: u64,
        identities: &[Identity],
        folder: &Path,
    ) -> Result<(Option<Arc<Snapshot>>, Vec<String>), Error> {
        let line = self.line.into_iter();
        let found = line.filter_map(|line| elsewhere(line, base, self.target, revision));
        let mut told = Vec::new();
        for Elsewhere { since, bases } in found {
            for other in bases {
                let fetched = points::fetch(self.location, &other.point, identities, folder);
                match fetched.await.map_err(Error::from) {
                    Ok(snapshot) => return Ok((Some(Arc::new(snapshot)), told)),
                    Err(error) if error.is_on_the_way() => told.push(format!(
                        "users and roles cannot be taken from point {}: {}",
                        other.point.id,
                        with_causes(&error)
                    )),
                    Err(error) => return Err(error),
                }
            }
            told.push(format!(
                "users, roles and passwords are those of revision {}, of point {}: no snapshot with those that were \
                 captured at revision {} can be used",
                base.details.revision, base.point.id, since.record.start
            ));
        }
        Ok((None, told))
    }
}

/// The first revision that need not be looked at: chains from there on began behind the time that is wanted. Within a chain
/// the clock may have been set back while nobody captured.
fn end(line: &Line<'_>, target: Target) -> u64 {
    let Target::Time(time) = target else {
        return u64::MAX;
    };
    let chains = line.chains.iter().rev();
    let later = chains.take_while(|chain| chain.record.created > time);
    later.last().map_or(u64::MAX, |chain| chain.record.start)
}

fn went_back((revision, from, to): &(u64, i64, i64)) -> String {
    let time = |millis| {
        let time = Timestamp::from_millisecond(millis);
        time.map_or_else(|_| format!("{millis} ms"), |time| time.to_string())
    };
    let (from, to) = (time(*from), time(*to));
    format!(
        "the clock of the capture went back from {from} to {to} at revision {revision}: a time in between stands for the \
         later one; name a revision for what was before"
    )
}

fn wanted(target: Target) -> String {
    match target {
        Target::Revision(revision) => format!("revision {revision}"),
        Target::Time(time) => format!("time {time}"),
        Target::Latest => "the last state".to_owned(),
    }
}

/// What can be reached, in words.
fn described(lines: &[Line<'_>]) -> Vec<String> {
    let mut there = Vec::new();
    for line in lines {
        for base in line.bases() {
            let from = base.details.revision;
            let (at, reach) = (base.point.created, line.reach(from));
            there.push(format!("from {at} on revisions {from} to {reach}"));
        }
    }
    if there.is_empty() {
        there.push("there is no chain with a base".to_owned());
    }
    there
}

/// The content of a segment. The inner error says what is wrong with it; another one may take its place.
async fn read(
    location: &Location,
    cluster: u64,
    segment: &Segment,
    identities: &[Identity],
) -> Result<Result<Vec<u8>, String>, Error> {
    let read = location.read_segment(&segment.key, segment.digest, identities, LARGEST_CONTENT);
    let content = match read.await {
        Ok(content) => content,
        Err(error) if is_damage(&error) => {
            return Ok(Err(format!(
                "{} cannot be used: {}",
                segment.key,
                with_causes(&error)
            )));
        }
        Err(error) => return Err(error.into()),
    };
    let key = segment.key.clone();
    let (first, last) = (segment.first, segment.last);
    let checking = tokio::task::spawn_blocking(move || {
        let header = segment::read(&content, |_| ())?;
        let own = header.first == first
            && header.last == last
            && header.cluster == format!("{cluster:016x}");
        match own {
            true => Ok(content),
            false => Err(Malformed::Form(
                "its name and its header say different things",
            )),
        }
    });
    let checked = checking
        .await
        .unwrap_or(Err(Malformed::Form("it could not be looked at")));
    Ok(checked.map_err(|error| format!("{key} cannot be used: {}", with_causes(&error))))
}

/// True when the object is not what it should be, or gone.
fn is_damage(error: &salvor_location::Error) -> bool {
    use salvor_location::Error as E;
    use salvor_seal::age::AgeError;
    match error {
        E::BadRecord { .. } => true,
        // With another identity it may open.
        E::Sealed { source, .. } => !matches!(**source, AgeError::NotForUs { .. }),
        error => error.is_not_found(),
    }
}
