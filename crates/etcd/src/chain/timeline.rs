//! What stands in a location of one cluster, and what can be reached from it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;
use salvor_location::listing::Damaged;
use salvor_location::{Digest, Point};

use super::ChainRecord;
use crate::points::Details;

/// Fulls, chains and segments of one cluster.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// Id of the cluster.
    pub cluster: u64,
    /// Chains by name, which is also by age.
    pub chains: Vec<Chain>,
    /// Snapshots that belong to no chain, oldest first.
    pub alone: Vec<Base>,
    /// What is there and cannot be read.
    pub damaged: Vec<Damaged>,
}

/// A chain.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its record.
    pub record: ChainRecord,
    /// Snapshots that it begins with; usually one.
    pub bases: Vec<Base>,
    /// Its segments by their revisions.
    pub segments: Vec<Segment>,
}

/// A snapshot.
#[derive(Clone, Debug)]
pub struct Base {
    /// Its commit record.
    pub point: Point,
    /// What that says of it.
    pub details: Details,
}

/// A segment, as far as its name tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it stands.
    pub key: String,
    /// The first revision in it.
    pub first: u64,
    /// The last one; one less than `first` when nothing changed.
    pub last: u64,
    /// SHA-256 of the object.
    pub digest: Digest,
    /// Bytes of the object.
    pub size: u64,
    /// When it was written, by the store's clock.
    pub modified: Option<Timestamp>,
}

impl Base {
    /// Bytes of its objects.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.point.objects.iter().map(|object| object.size).sum()
    }
}

impl Segment {
    /// Whether it says that nothing changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.last < self.first
    }
}

/// Revisions that are missing between captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last one before it.
    pub after: u64,
    /// The first one that is there again.
    pub until: u64,
}

/// Chains that follow each other: one history.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// In order.
    pub chains: Vec<&'a Chain>,
}

impl Chain {
    /// The last revision up to which its own segments leave nothing out, and the digest of the segment that ends there.
    #[must_use]
    pub fn reach(&self) -> (u64, Option<Digest>) {
        let start = self.record.start.saturating_sub(1);
        let path = path(
            &self.segments.iter().collect::<Vec<_>>(),
            start,
            &HashSet::new(),
        );
        let last = path.last();
        (
            last.map_or(start, |segment| segment.last),
            last.map(|segment| segment.digest),
        )
    }

    /// Its segments behind a revision that leave nothing out: what is read, not what is there beside it.
    #[must_use]
    pub fn path(&self, from: u64) -> Vec<&Segment> {
        let segments: Vec<&Segment> = self.segments.iter().collect();
        path(&segments, from, &HashSet::new())
    }

    /// Whether it has a base that its segments join.
    #[must_use]
    pub fn has_base(&self) -> bool {
        let start = self.record.start;
        self.bases
            .iter()
            .any(|base| base.details.revision + 1 >= start)
    }

    /// Bytes of its segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }
}

impl Line<'_> {
    /// All its segments.
    #[must_use]
    pub fn segments(&self) -> Vec<&Segment> {
        let segments = self.chains.iter().flat_map(|chain| &chain.segments);
        segments.collect()
    }

    /// All its bases that join their chain, oldest revision first.
    #[must_use]
    pub fn bases(&self) -> Vec<&Base> {
        let joined = |chain: &&&Chain| chain.has_base();
        let mut bases: Vec<&Base> = self
            .chains
            .iter()
            .filter(joined)
            .flat_map(|chain| &chain.bases)
            .collect();
        bases.sort_by_key(|base| base.details.revision);
        bases
    }

    /// The segments from a revision on that leave nothing out, without those that are named as unusable.
    #[must_use]
    pub fn path(&self, from: u64, unusable: &HashSet<String>) -> Vec<Segment> {
        let path = path(&self.segments(), from, unusable);
        path.into_iter().cloned().collect()
    }

    /// The last revision that is reached from a revision.
    #[must_use]
    pub fn reach(&self, from: u64) -> u64 {
        let path = self.path(from, &HashSet::new());
        path.last().map_or(from, |segment| segment.last.max(from))
    }

    /// Bytes of all its bases and segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let chains = self.chains.iter();
        let bases = chains.clone().flat_map(|chain| &chain.bases);
        chains.map(|chain| chain.bytes()).sum::<u64>() + bases.map(Base::bytes).sum::<u64>()
    }

    /// Bytes that a full snapshot at its beginning and after each begun hour would have, by the size of those that are
    /// there.
    #[must_use]
    pub fn hourly_fulls(&self) -> u64 {
        let bases: Vec<&Base> = self.chains.iter().flat_map(|chain| &chain.bases).collect();
        let segments = self.chains.iter().flat_map(|chain| &chain.segments);
        let ends = segments.filter_map(|segment| segment.modified);
        let end = ends
            .chain(bases.iter().map(|base| base.point.created))
            .max();
        let begin = self.chains.iter().map(|chain| chain.record.created).min();
        let (Some(begin), Some(end)) = (begin, end) else {
            return 0;
        };
        let count = bases.len().max(1) as u64;
        let one = bases.iter().map(|base| base.bytes()).sum::<u64>() / count;
        let seconds = u64::try_from(end.duration_since(begin).as_secs()).unwrap_or(0);
        (seconds.div_ceil(3600) + 1).saturating_mul(one)
    }

    /// Revisions that no segment has, between the first base and the last segment.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        let Some(first) = self.bases().first().map(|base| base.details.revision) else {
            return Vec::new();
        };
        let mut stops: BTreeSet<u64> = self.bases().iter().map(|b| b.details.revision).collect();
        let segments = self.segments();
        stops.extend(
            segments
                .iter()
                .filter(|s| !s.is_empty())
                .map(|s| s.first - 1),
        );
        let (mut gaps, mut at) = (Vec::new(), first);
        loop {
            let reached = self.reach(at);
            let Some(next) = stops.range(reached + 1..).next() else {
                return gaps;
            };
            gaps.push(Gap {
                after: reached,
                until: next + 1,
            });
            at = *next;
        }
    }
}

/// The longest way over segments from a revision on: always the one that reaches furthest, and on the way those that say
/// that nothing changed.
fn path<'s>(segments: &[&'s Segment], from: u64, unusable: &HashSet<String>) -> Vec<&'s Segment> {
    let usable = segments
        .iter()
        .filter(|segment| !unusable.contains(&segment.key));
    let mut by_first: BTreeMap<u64, Vec<&'s Segment>> = BTreeMap::new();
    for segment in usable {
        by_first.entry(segment.first).or_default().push(segment);
    }
    let mut path = Vec::new();
    let mut reached = from;
    // The furthest of those that begin at or before the next revision.
    let mut furthest: Option<&'s Segment> = None;
    let mut looked = 0;
    loop {
        for (_, segments) in by_first.range(looked..=reached + 1) {
            for segment in segments {
                if segment.last > furthest.map_or(reached, |best| best.last) {
                    furthest = Some(segment);
                }
            }
        }
        looked = reached + 2;
        let unchanged = by_first.get(&(reached + 1)).into_iter().flatten();
        path.extend(unchanged.filter(|segment| segment.is_empty()));
        match furthest.take_if(|best| best.last > reached) {
            None => return path,
            Some(best) => {
                reached = best.last;
                path.push(best);
            }
        }
    }
}

impl Timeline {
    /// The newest chain.
    #[must_use]
    pub fn newest(&self) -> Option<&Chain> {
        self.chains.last()
    }

    /// Nothing but the history that a chain belongs to.
    #[must_use]
    pub fn narrowed(&self, chain: &str) -> Option<Self> {
        let lines = self.lines();
        let of_chain = |line: &&Line<'_>| {
            let mut chains = line.chains.iter();
            chains.any(|other| other.record.chain == chain)
        };
        let line = lines.iter().find(of_chain)?;
        Some(Self {
            cluster: self.cluster,
            chains: line.chains.iter().copied().cloned().collect(),
            alone: Vec::new(),
            damaged: Vec::new(),
        })
    }

    /// Chains that follow each other, oldest first. A chain that follows one that is gone begins a line of its own.
    #[must_use]
    pub fn lines(&self) -> Vec<Line<'_>> {
        let mut lines: Vec<Line<'_>> = Vec::new();
        for chain in &self.chains {
            let before = chain.record.follows.as_deref();
            let line = lines.iter_mut().find(|line| {
                let last = line.chains.last().map(|last| last.record.chain.as_str());
                before.is_some() && last == before
            });
            match line {
                Some(line) => line.chains.push(chain),
                None => lines.push(Line {
                    chains: vec![chain],
                }),
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(first: u64, last: u64, copy: u8) -> Segment {
        Segment {
            key: format!("{first}-{last}-{copy}"),
            first,
            last,
            digest: Digest::of(&[copy]),
            size: 1,
            modified: None,
        }
    }

    fn reached(segments: &[Segment], from: u64, unusable: &[&str]) -> Vec<(u64, u64)> {
        let all: Vec<&Segment> = segments.iter().collect();
        let unusable = unusable.iter().map(|key| (*key).to_owned()).collect();
        let path = path(&all, from, &unusable);
        path.iter()
            .map(|segment| (segment.first, segment.last))
            .collect()
    }

    #[test]
    fn the_way_reaches_as_far_as_nothing_is_missing() {
        let all = [
            segment(3, 5, 0),
            segment(6, 9, 0),
            segment(8, 7, 0),
            // Two writers at once.
            segment(6, 7, 1),
            segment(8, 12, 1),
            segment(13, 12, 0),
            segment(13, 12, 1),
            segment(14, 20, 0),
        ];
        assert_eq!(
            reached(&all, 2, &[]),
            [(3, 5), (6, 9), (8, 12), (13, 12), (13, 12)]
        );
        assert_eq!(reached(&all, 4, &[])[0], (3, 5));
        assert_eq!(reached(&all, 13, &[]), [(14, 20)]);
        assert_eq!(reached(&all, 0, &[]), []);
        // What one copy lost, another has.
        let without = reached(&all, 2, &["6-9-0"]);
        assert_eq!(without[..4], [(3, 5), (6, 7), (8, 7), (8, 12)]);
        assert_eq!(reached(&all, 2, &["3-5-0"]), []);
    }
}
