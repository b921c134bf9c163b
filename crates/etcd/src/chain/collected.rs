//! What is taken from the segments on the way to a state.

use std::collections::BTreeMap;
use std::io;

use jiff::Timestamp;

use super::recover::Target;
use super::segment::{self, Item, Mark};
use crate::clock::JUMP;
use crate::points::Details;
use crate::restore::Changes;

/// Places where a clock went back that are told.
const MOST_JUMPS: usize = 3;

/// What was taken from segments.
pub(super) struct Collected {
    pub(super) changes: Changes,
    pub(super) leases: BTreeMap<i64, i64>,
    target: Target,
    /// Revision of the base.
    base: u64,
    /// How far the segments before the one at hand had come.
    before: u64,
    /// Up to here nothing is missing.
    pub(super) reached: u64,
    /// What the target stands for, as far as is known.
    pub(super) revision: u64,
    pub(super) compacted: u64,
    pub(super) at: Option<Timestamp>,
    /// The first mark at or behind a revision that is wanted.
    behind: Option<Timestamp>,
    /// The highest revision with a mark, and its latest time in milliseconds.
    newest: Option<(u64, i64)>,
    /// The highest one whose mark is not after the time, and that.
    found: Option<(u64, i64)>,
    /// Whether what was not read is of a later time.
    pub(super) is_passed: bool,
    /// The latest time in milliseconds since the clock last went back.
    latest: i64,
    /// Where it went back: at which revision, from when and to when.
    pub(super) went_back: Vec<(u64, i64, i64)>,
}

impl Collected {
    /// Nothing but what a base has.
    pub(super) fn new(target: Target, base: &Details, changes: Changes) -> Self {
        Self {
            changes,
            leases: BTreeMap::new(),
            target,
            base: base.revision,
            before: base.revision,
            reached: base.revision,
            revision: base.revision,
            compacted: base.compacted,
            at: None,
            behind: None,
            newest: None,
            found: None,
            is_passed: false,
            latest: i64::MIN,
            went_back: Vec::new(),
        }
    }

    /// Whether more segments would change nothing.
    pub(super) fn is_complete(&self) -> bool {
        match self.target {
            Target::Revision(revision) => self.reached >= revision,
            // The clock may have been set back behind a mark: a later one may be of that time, too.
            Target::Time(_) | Target::Latest => false,
        }
    }

    /// Takes a segment that was looked at.
    pub(super) fn take(&mut self, content: &[u8]) -> io::Result<()> {
        self.before = self.reached;
        let mut written = Ok(());
        let read = segment::read(content, |item| {
            if let (Ok(()), Err(error)) = (&written, self.item(item)) {
                written = Err(error);
            }
        });
        written?;
        read.map(drop).map_err(io::Error::other)
    }

    fn item(&mut self, item: Item<'_>) -> io::Result<()> {
        match item {
            Item::Change {
                revision,
                key,
                value,
                ..
            } => {
                let main = revision.main;
                let is_within = match self.target {
                    Target::Revision(target) => main <= target,
                    Target::Time(_) | Target::Latest => true,
                };
                // What another segment had already is dropped.
                if is_within && main > self.before {
                    self.changes.push(main, key, value)?;
                    self.reached = main;
                    if !matches!(self.target, Target::Time(_)) {
                        self.revision = main;
                    }
                }
            }
            Item::Mark(mark) => self.mark(mark),
            Item::Lease(id, ttl) => {
                self.leases.insert(id, ttl);
            }
        }
        Ok(())
    }

    /// When the revision had been reached.
    pub(super) fn reached_by(&self) -> Option<Timestamp> {
        match self.target {
            Target::Revision(_) => self.behind,
            Target::Time(_) | Target::Latest => self.at,
        }
    }

    fn mark(&mut self, mark: Mark) {
        let Mark {
            revision,
            millis,
            compacted,
        } = mark;
        self.note_clock(revision, millis);
        let counts = match self.target {
            Target::Revision(target) => {
                if revision >= target && self.behind.is_none() {
                    self.behind = Timestamp::from_millisecond(millis).ok();
                }
                revision <= target
            }
            Target::Time(time) => millis <= time.as_millisecond(),
            Target::Latest => true,
        };
        if !counts {
            return;
        }
        if compacted <= revision {
            self.compacted = self.compacted.max(compacted);
        }
        // Segments without changes come in any order.
        self.found = self.found.max(Some((revision, millis)));
        let at = self.found.map(|(_, millis)| millis);
        self.at = at.and_then(|at| Timestamp::from_millisecond(at).ok());
        if matches!(self.target, Target::Time(_)) {
            self.revision = self.revision.max(revision);
        }
    }

    /// Notes what the clock said, and where it went back.
    fn note_clock(&mut self, revision: u64, millis: i64) {
        let is_newer = self.newest.is_none_or(|(newest, _)| revision > newest);
        let jump = i64::try_from(JUMP.as_millis()).unwrap_or(i64::MAX);
        if is_newer && millis < self.latest.saturating_sub(jump) {
            if self.went_back.len() < MOST_JUMPS {
                self.went_back.push((revision, self.latest, millis));
            }
            self.latest = millis;
        }
        // What was said of the base's own revision may come from the chain before.
        if revision > self.base {
            self.latest = self.latest.max(millis);
        }
        self.newest = self.newest.max(Some((revision, millis)));
    }

    /// Whether the target was reached, when there is nothing more to read.
    pub(super) fn settle(&mut self) -> bool {
        match self.target {
            Target::Revision(target) => {
                // A base that is newer holds older versions.
                self.revision = target;
                self.reached >= target
            }
            Target::Time(time) => {
                let reached = self.newest.map(|(_, millis)| millis);
                self.is_passed || reached.is_some_and(|reached| reached >= time.as_millisecond())
            }
            Target::Latest => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The revision that a time in seconds stands for, by marks of revisions and seconds; and where the clock went back.
    fn at(marks: &[(u64, i64)], seconds: i64) -> (Option<u64>, Vec<u64>) {
        let target = Target::Time(Timestamp::from_second(seconds).expect("a time"));
        let folder = std::env::temp_dir();
        let base = serde_json::json!({
            "cluster": "1", "revision": 5, "compacted": 0, "hash": 0, "entries": 0, "versions": 0, "liveKeys": null,
            "totalSize": 0, "storageVersion": "", "etcdVersion": "", "member": "", "endpoint": "", "newestBefore": null,
            "seconds": 0.0,
        });
        let base: Details = serde_json::from_value(base).expect("details");
        let changes = Changes::create(&folder).expect("a file");
        let mut collected = Collected::new(target, &base, changes);
        for (revision, seconds) in marks {
            collected.mark(Mark {
                revision: *revision,
                millis: seconds * 1000,
                compacted: 0,
            });
        }
        let reached = collected.settle();
        let told = collected.went_back.iter().map(|(revision, ..)| *revision);
        (reached.then_some(collected.revision), told.collect())
    }

    #[test]
    fn a_time_is_the_last_revision_that_is_not_after_it_also_where_the_clock_jumps() {
        // In order, and with segments without changes, which come in any order.
        let plain = [(6, 100), (7, 110), (7, 130), (7, 120), (8, 140)];
        for (seconds, expected) in [(99, 5), (100, 6), (109, 6), (135, 7), (140, 8)] {
            assert_eq!(at(&plain, seconds), (Some(expected), vec![]), "{seconds}");
        }
        assert_eq!(at(&plain, 141).0, None, "nobody knows yet");
        // An hour back: what it showed twice is the later one, what it has not shown again yet is not known.
        let back = [(6, 7200), (7, 7300), (8, 3700), (9, 3800), (10, 7250)];
        for (seconds, expected) in [
            (3700, Some(8)),
            (3900, Some(9)),
            (7240, Some(9)),
            (7250, Some(10)),
            (7260, None),
        ] {
            assert_eq!(at(&back, seconds), (expected, vec![8]), "{seconds}");
        }
        // A day ahead and right again.
        let ahead = [(6, 100), (7, 86_500), (8, 86_510), (9, 120), (10, 130)];
        for (seconds, expected) in [
            (110, Some(6)),
            (120, Some(9)),
            (130, Some(10)),
            (86_505, None),
        ] {
            assert_eq!(at(&ahead, seconds), (expected, vec![9]), "{seconds}");
        }
        // A day ahead, and it stays there.
        assert_eq!(at(&ahead[..3], 50_000), (Some(6), vec![]));
        // Seconds are no jump.
        assert_eq!(at(&[(6, 100), (7, 95), (8, 101)], 100), (Some(7), vec![]));
    }
}
