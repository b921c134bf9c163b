//! Retention of points and chains of one cluster, and removal of what they no longer need.
//!
//! A policy says which points stay; a window says how far back every revision stays reachable. A base is needed as long
//! as a revision of the window is reached from it. What is not needed goes in two steps
//! ([`salvor_location::collect`]): a notice now, its removal after the grace period and two more looks.
//!
//! Start with [`prune`]; [`look`] changes nothing.

mod needed;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use salvor_location::collect::{Look, Notice, Posted, Swept};
use salvor_location::listing::Damaged;
use salvor_location::points::retention::{self, Policy, RetentionPlan, SeriesPlan, Stop};
use salvor_location::points::{Additions, SegmentInfo};
use salvor_location::{Location, Point, RunId, layout};

use crate::chain::Timeline;
use crate::points::{self, KIND, OBJECTS};

use needed::{Input, covered};

/// What is kept.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Which points stay; without it all do.
    pub policy: Option<&'a Policy>,
    /// How far back from the last capture every revision stays reachable.
    pub window: Duration,
    /// How long what nothing needs stays all the same.
    pub grace: Duration,
    /// Digest of a plan that takes away more than it may without being confirmed.
    pub confirmed: Option<&'a str>,
    /// Begin anew: what was noted before is forgotten.
    pub forget: bool,
}

/// What is there, and what of it nothing needs.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Which points stay, and why.
    pub plan: RetentionPlan,
    /// All that may go.
    pub look: Look,
    /// From when on every revision stays reachable.
    pub window: Timestamp,
    /// What is there and cannot be read: as long as it is, less goes.
    pub damaged: Vec<Damaged>,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Pruned {
    /// Which points stay, and why.
    pub judged: Judged,
    /// What went.
    pub swept: Swept,
    /// What was noted, to go after the grace period.
    pub posted: Option<Notice>,
    /// All notices that are not carried out yet.
    pub open: Vec<Posted>,
}

/// Why nothing, or not everything, was removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The location.
    #[error(transparent)]
    Location(#[from] salvor_location::Error),
    /// Points or chains cannot be read.
    #[error(transparent)]
    Point(#[from] points::Error),
    /// The plan takes away too much to be carried out unseen.
    #[error("{stop}; nothing was noted")]
    Stopped {
        /// Why.
        stop: Stop,
        /// What confirms it.
        digest: String,
        /// The plan.
        plan: Box<RetentionPlan>,
    },
}

/// Whether segments that others cover may go is decided by the bytes of those others.
#[derive(Debug, Default)]
struct Checked(Mutex<BTreeMap<String, bool>>);

/// Looks at a cluster's points and chains and changes nothing.
///
/// # Errors
/// The location cannot be read.
pub async fn look(
    location: &Location,
    cluster: u64,
    options: &Options<'_>,
) -> Result<Judged, Error> {
    judge(location, cluster, options, None).await
}

/// Carries out the notices whose time has come, and notes what else may go.
///
/// # Errors
/// [`Error::Stopped`]; commit records are missing, another collects, or the location fails. What was removed until then
/// is gone; the next run goes on.
pub async fn prune(
    location: &Location,
    cluster: u64,
    options: &Options<'_>,
) -> Result<Pruned, Error> {
    let source = points::source_of(cluster);
    let run = RunId::generate();
    let collector = location.collector(&source, &run).await?;
    let work = async {
        if options.forget {
            collector.withdraw().await?;
        }
        let checked = Checked::default();
        let again = || async {
            let judged = judge(location, cluster, options, Some(&checked)).await?;
            Ok::<Look, Error>(judged.look)
        };
        let swept = collector.sweep(options.grace, again).await?;
        let judged = judge(location, cluster, options, None).await?;
        if let Err(stop) = judged.plan.to_remove(options.confirmed) {
            let noted = |posted: &Posted| posted.done.is_none();
            // What was confirmed before is no news.
            let open: Vec<Posted> = collector
                .notices()
                .await?
                .into_iter()
                .filter(noted)
                .collect();
            if !all_noted(&judged.look, &open) {
                return Err(Error::Stopped {
                    stop,
                    digest: judged.plan.digest(),
                    plan: Box::new(judged.plan),
                });
            }
        }
        let posted = collector.post(&judged.look).await?;
        let notices = collector.notices().await?.into_iter();
        Ok(Pruned {
            judged,
            swept,
            posted,
            open: notices.filter(|posted| posted.done.is_none()).collect(),
        })
    };
    let done = work.await;
    collector.close().await;
    done
}

/// Whether every point that would go stands in a notice already.
fn all_noted(look: &Look, open: &[Posted]) -> bool {
    let points = look
        .garbage
        .iter()
        .filter(|(_, garbage)| garbage.point.is_some());
    let noted: HashSet<&String> = open
        .iter()
        .flat_map(|posted| posted.notice.garbage.keys())
        .collect();
    points.into_iter().all(|(key, _)| noted.contains(key))
}

async fn judge(
    location: &Location,
    cluster: u64,
    options: &Options<'_>,
    check: Option<&Checked>,
) -> Result<Judged, Error> {
    let source = points::source_of(cluster);
    // Records before objects: what is committed in between is named by none of the former, and noted for later at most.
    let all = location.points(None).await?;
    let timeline = Timeline::load(location, cluster).await?;
    let additions = location.additions(&source).await?;
    let folder = format!("{}/{cluster:016x}", layout::ETCD);
    let mut objects = location.list_below(&folder).await?;
    if all.damaged.is_empty() {
        objects.extend(location.list_below(OBJECTS).await?);
    }
    let now = Timestamp::now();
    let window = needed::window(&timeline, now, options.window);
    let of_source = |point: &&Point| point.source == source && point.kind == KIND;
    let ours: Vec<&Point> = all.entries.iter().filter(of_source).collect();
    let known: Vec<&Point> = planned(&timeline);
    let damaged = damaged(&additions);
    let used_by = needed::used_by(&timeline, window, &damaged);
    let plan = retention::plan(
        location.name(),
        &source,
        &known,
        &additions,
        options.policy,
        &used_by,
        now,
    );
    let removed = plan.series.iter().flat_map(SeriesPlan::removed);
    let removed: BTreeSet<String> = removed.map(str::to_owned).collect();
    let covered = sound_covered(location, &timeline, check).await?;
    let input = Input {
        timeline: &timeline,
        additions: &additions,
        objects: &objects,
        all: &all.entries,
        ours: &ours,
        removed: &removed,
        covered: &covered,
        damaged: &damaged,
        window,
    };
    Ok(Judged {
        look: Look {
            records: ours.iter().map(|point| point.id.to_string()).collect(),
            garbage: needed::garbage(&input)?,
        },
        plan,
        window,
        damaged: timeline.damaged,
    })
}

/// The points that are planned: those whose details are understood.
fn planned(timeline: &Timeline) -> Vec<&Point> {
    let bases = timeline.chains.iter().flat_map(|chain| &chain.bases);
    let all = bases.chain(&timeline.alone);
    all.map(|base| &base.point).collect()
}

/// Ids of points that the last verification found damaged.
fn damaged(additions: &BTreeMap<String, Additions>) -> BTreeSet<String> {
    let damaged = additions
        .iter()
        .filter(|(_, said)| said.sound == Some(false));
    damaged.map(|(id, _)| id.clone()).collect()
}

/// Segments that others cover, with the key of the other; where it counts, of those only whose bytes are right.
async fn sound_covered(
    location: &Location,
    timeline: &Timeline,
    check: Option<&Checked>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut all = BTreeMap::new();
    for chain in &timeline.chains {
        let mut unsound = HashSet::new();
        loop {
            let found = covered(&chain.segments, &unsound);
            let Some(check) = check else {
                all.extend(found);
                break;
            };
            let mut new = false;
            let covering: BTreeSet<&String> = found.values().collect();
            for segment in &chain.segments {
                if covering.contains(&segment.key)
                    && !check
                        .is_sound(location, &segment.key, segment.digest)
                        .await?
                {
                    new |= unsound.insert(segment.key.clone());
                }
            }
            if !new {
                all.extend(found);
                break;
            }
        }
    }
    Ok(all)
}

impl Checked {
    async fn is_sound(
        &self,
        location: &Location,
        key: &str,
        digest: salvor_location::Digest,
    ) -> Result<bool, Error> {
        let known = || {
            self.0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        };
        let before = known().get(key).copied();
        if let Some(sound) = before {
            return Ok(sound);
        }
        let sound = location.is_sound_segment(key, digest).await?;
        known().insert(key.to_owned(), sound);
        Ok(sound)
    }
}

/// The last folder of a key.
fn folder_of(info: &SegmentInfo) -> &str {
    info.key.rsplit('/').nth(1).unwrap_or_default()
}
