//! What is taken from the segments on the way to a state.

use std::collections::BTreeMap;
use std::io;

use jiff::Timestamp;

use super::recover::Target;
use super::segment::{self, Item};
use crate::points::Details;
use crate::restore::Changes;

/// What was taken from segments.
pub(super) struct Collected {
    pub(super) changes: Changes,
    pub(super) leases: BTreeMap<i64, i64>,
    target: Target,
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
    /// Whether a mark behind the time was seen.
    passed: bool,
}

impl Collected {
    /// Nothing but what a base has.
    pub(super) fn new(target: Target, base: &Details, changes: Changes) -> Self {
        Self {
            changes,
            leases: BTreeMap::new(),
            target,
            before: base.revision,
            reached: base.revision,
            revision: base.revision,
            compacted: base.compacted,
            at: None,
            behind: None,
            passed: false,
        }
    }

    /// Whether more segments would change nothing.
    pub(super) fn is_complete(&self) -> bool {
        match self.target {
            Target::Revision(revision) => self.reached >= revision,
            Target::Time(_) => self.passed,
            Target::Latest => false,
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
                    Target::Time(_) => !self.passed,
                    Target::Latest => true,
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

    fn mark(&mut self, mark: segment::Mark) {
        if let Target::Revision(target) = self.target
            && mark.revision >= target
            && self.behind.is_none()
        {
            self.behind = Timestamp::from_millisecond(mark.millis).ok();
        }
        let counts = match self.target {
            Target::Revision(target) => mark.revision <= target,
            Target::Time(time) => {
                self.passed |= mark.millis > time.as_millisecond();
                !self.passed
            }
            Target::Latest => true,
        };
        if !counts {
            return;
        }
        if matches!(self.target, Target::Time(_)) {
            self.revision = self.revision.max(mark.revision);
        }
        if mark.compacted <= mark.revision {
            self.compacted = self.compacted.max(mark.compacted);
        }
        self.at = Timestamp::from_millisecond(mark.millis).ok().or(self.at);
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
                self.passed
                    || self
                        .at
                        .is_some_and(|at| at.as_millisecond() >= time.as_millisecond())
            }
            Target::Latest => true,
        }
    }
}
