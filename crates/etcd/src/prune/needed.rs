//! What of a cluster's points and chains is needed: pure, from what was listed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use salvor_location::collect::Garbage;
use salvor_location::points::{Additions, SegmentInfo};
use salvor_location::{Error, Point};

use super::folder_of;
use crate::chain::{Base, CHAIN_RECORD, Chain, Line, Segment, Timeline};
use crate::points::OBJECTS;

/// Ending of the objects of snapshots.
const FULL: &str = ".db.zst.age";

/// What was listed, and what was decided of it.
pub(super) struct Input<'a> {
    pub(super) timeline: &'a Timeline,
    /// What is said of the points of the cluster.
    pub(super) additions: &'a BTreeMap<String, Additions>,
    /// Objects of the cluster's chains, and those below [`OBJECTS`].
    pub(super) objects: &'a [SegmentInfo],
    /// All points of the location.
    pub(super) all: &'a [Point],
    /// Those of the cluster.
    pub(super) ours: &'a [&'a Point],
    /// Ids of those that go.
    pub(super) removed: &'a BTreeSet<String>,
    /// Segments that another one covers, with its key.
    pub(super) covered: &'a BTreeMap<String, String>,
    /// Ids of points that are damaged.
    pub(super) damaged: &'a BTreeSet<String>,
    /// From when on every revision stays reachable.
    pub(super) window: Timestamp,
}

/// When the window begins: counted from the last capture, so that it does not run out when nothing is captured any more.
pub(super) fn window(timeline: &Timeline, now: Timestamp, span: Duration) -> Timestamp {
    let last = timeline.lines().iter().filter_map(activity).max();
    let end = last.map_or(now, |last| last.min(now));
    end.checked_sub(span).unwrap_or(Timestamp::MIN)
}

/// When something of a history was captured last.
fn activity(line: &Line<'_>) -> Option<Timestamp> {
    let segments = line.segments().into_iter().filter_map(|s| s.modified);
    let bases = line.chains.iter().flat_map(|chain| &chain.bases);
    let begun = line.chains.iter().map(|chain| chain.record.created);
    let created = bases.map(|base| base.point.created);
    segments.chain(created).chain(begun).max()
}

/// What the window needs of each history: `None` when nothing; else the base that it begins with, if there is one.
fn begins<'t>(
    lines: &'t [Line<'t>],
    window: Timestamp,
    damaged: &BTreeSet<String>,
) -> Vec<Option<Option<&'t Base>>> {
    let newest = lines.len().saturating_sub(1);
    let begin = |(at, line): (usize, &'t Line<'t>)| {
        // The newest history is needed however old it is: it is the last that is known of the cluster.
        if at != newest && activity(line).is_none_or(|last| last < window) {
            return None;
        }
        let mut bases = line.bases();
        bases.retain(|base| !damaged.contains(base.point.id.as_str()));
        let before = bases.iter().filter(|base| base.point.created <= window);
        let before = before.max_by_key(|base| (base.point.created, base.details.revision));
        Some(before.or_else(|| bases.first()).copied())
    };
    lines.iter().enumerate().map(begin).collect()
}

/// Points that are needed whatever the policy says, with the reason.
pub(super) fn used_by(
    timeline: &Timeline,
    window: Timestamp,
    damaged: &BTreeSet<String>,
) -> BTreeMap<String, String> {
    let lines = timeline.lines();
    let mut used = BTreeMap::new();
    for (line, begin) in lines.iter().zip(begins(&lines, window, damaged)) {
        let Some(begin) = begin else { continue };
        let begin = begin.map(|base| base.point.id.to_string());
        for base in line.bases() {
            let id = base.point.id.to_string();
            if Some(&id) == begin.as_ref() {
                used.insert(id, format!("the window, which begins at {window:.0}"));
            } else if base.point.created > window {
                used.insert(id, "the window".to_owned());
            }
        }
    }
    used
}

/// Segments that others of their chain cover, with the key of the longest that does, but for those that are unusable.
pub(super) fn covered(
    segments: &[Segment],
    unusable: &HashSet<String>,
) -> BTreeMap<String, String> {
    let usable: Vec<&Segment> = segments
        .iter()
        .filter(|segment| !unusable.contains(&segment.key))
        .collect();
    let mut found = BTreeMap::new();
    for segment in segments {
        let covering = usable.iter().filter(|other| covers(other, segment));
        let longest =
            covering.max_by_key(|other| (other.last - other.first.min(other.last), &other.key));
        if let Some(longest) = longest {
            found.insert(segment.key.clone(), longest.key.clone());
        }
    }
    found
}

/// Whether one segment makes another superfluous.
fn covers(one: &Segment, other: &Segment) -> bool {
    if one.key == other.key {
        return false;
    }
    match (one.is_empty(), other.is_empty()) {
        (false, false) => {
            let spans = one.first <= other.first && one.last >= other.last;
            let is_longer = (one.first, one.last) != (other.first, other.last);
            spans && (is_longer || one.key < other.key)
        }
        // That nothing changed in between is in it; at its ends, it may have been written before or behind it.
        (false, true) => one.first < other.first && one.last >= other.first,
        // That nothing has changed yet says that nothing had before.
        (true, true) => {
            one.first == other.first && (one.modified, &one.key) > (other.modified, &other.key)
        }
        (true, false) => false,
    }
}

/// What may go, by key.
///
/// # Errors
/// The source of a point is no name.
pub(super) fn garbage(input: &Input<'_>) -> Result<BTreeMap<String, Garbage>, Error> {
    let mut garbage = BTreeMap::new();
    let named = points(input, &mut garbage)?;
    let segments = segments(input);
    // What cannot be read may name anything.
    let is_readable = input.timeline.damaged.is_empty();
    for info in input.objects {
        if named.contains(info.key.as_str()) || garbage.contains_key(&info.key) {
            continue;
        }
        let why = if info.file_name().ends_with(FULL) {
            is_readable.then(|| "no point names it".to_owned())
        } else if info.key.starts_with(OBJECTS) {
            None
        } else if info.file_name() == CHAIN_RECORD {
            chain_record(input, info, &segments)
        } else {
            segments.get(&info.key).cloned().flatten()
        };
        if let Some(why) = why {
            let (size, point) = (info.size, None);
            garbage.insert(info.key.clone(), Garbage { size, why, point });
        }
    }
    Ok(garbage)
}

/// Adds the points that go; gives the objects that those name which stay.
fn points<'a>(
    input: &Input<'a>,
    garbage: &mut BTreeMap<String, Garbage>,
) -> Result<HashSet<&'a str>, Error> {
    let goes = |point: &&Point| input.removed.contains(point.id.as_str());
    let ours: HashSet<&str> = input.ours.iter().map(|point| point.id.as_str()).collect();
    let stay = input
        .all
        .iter()
        .filter(|point| !ours.contains(point.id.as_str()) || !goes(point));
    let objects = stay.flat_map(|point| &point.objects);
    let named: HashSet<&str> = objects.map(|object| object.key.as_str()).collect();
    for point in input.ours.iter().copied().filter(goes) {
        let id = point.id.to_string();
        let record = point.record_key()?;
        let said = input.additions.get(&id).into_iter();
        for info in said.flat_map(|said| &said.objects) {
            let is_record = info.key == record;
            let entry = Garbage {
                size: info.size,
                why: format!("point {id} goes"),
                point: is_record.then(|| id.clone()),
            };
            garbage.insert(info.key.clone(), entry);
        }
        let objects = point.objects.iter();
        for object in objects.filter(|object| !named.contains(object.key.as_str())) {
            let entry = Garbage {
                size: object.size,
                why: format!("point {id} goes"),
                point: None,
            };
            garbage.insert(object.key.clone(), entry);
        }
    }
    Ok(named)
}

/// All segments by key, with the reason why one may go.
fn segments(input: &Input<'_>) -> BTreeMap<String, Option<String>> {
    let lines = input.timeline.lines();
    let begins = begins(&lines, input.window, input.damaged);
    let mut all = BTreeMap::new();
    for (line, begin) in lines.iter().zip(begins) {
        for segment in line.segments() {
            let is_needed = match begin {
                None => false,
                Some(None) => true,
                Some(Some(base)) => segment.first.max(segment.last) > base.details.revision,
            };
            let covering = input.covered.get(&segment.key);
            let why = match (is_needed, covering) {
                (false, _) => Some("it is before the window".to_owned()),
                (true, Some(by)) => {
                    let name = by.rsplit('/').next().unwrap_or_default();
                    Some(format!("{name} covers it"))
                }
                (true, None) => None,
            };
            all.insert(segment.key.clone(), why);
        }
    }
    all
}

/// Why the record of a chain may go: nothing of the chain is left.
fn chain_record(
    input: &Input<'_>,
    info: &SegmentInfo,
    segments: &BTreeMap<String, Option<String>>,
) -> Option<String> {
    let timeline = input.timeline;
    let name = folder_of(info);
    let of_name = |chain: &&Chain| chain.record.chain == name;
    let chain = timeline.chains.iter().find(of_name)?;
    let is_newest = timeline.newest().is_some_and(|newest| of_name(&newest));
    let has_segments = chain
        .segments
        .iter()
        .any(|segment| segments.get(&segment.key).is_none_or(Option::is_none));
    let has_bases = chain
        .bases
        .iter()
        .any(|base| !input.removed.contains(base.point.id.as_str()));
    let is_over = !is_newest && !has_segments && !has_bases;
    is_over.then(|| "nothing is left of its chain".to_owned())
}
