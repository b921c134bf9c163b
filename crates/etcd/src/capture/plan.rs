//! Where a capture goes on: in the chain that is there, or with a new one.

use std::time::Duration;

use jiff::Timestamp;
use salvor_location::Digest;

use super::{Bounds, Options};
use crate::chain::{Chain, Reason, Timeline};
use crate::clock::JUMP;

/// What is known of the chain that is written.
pub(super) struct Current {
    pub(super) name: String,
    pub(super) start: u64,
    pub(super) created: Timestamp,
    /// Digest of its last segment.
    pub(super) previous: Option<Digest>,
    pub(super) segments: u64,
    pub(super) bytes: u64,
    pub(super) base_bytes: u64,
    pub(super) has_base: bool,
}

impl Current {
    fn of(chain: &Chain, previous: Option<Digest>) -> Self {
        // What is read to come to its end: a newer full shortens it, and roll-ups do.
        let newest = chain.bases.iter().max_by_key(|base| base.details.revision);
        let start = chain.record.start.saturating_sub(1);
        let path = chain.path(newest.map_or(start, |base| base.details.revision.max(start)));
        let objects = newest.iter().flat_map(|base| &base.point.objects);
        Self {
            name: chain.record.chain.clone(),
            start: chain.record.start,
            created: chain.record.created,
            previous,
            segments: path.len() as u64,
            bytes: path.iter().map(|segment| segment.size).sum(),
            base_bytes: objects.map(|object| object.size).sum(),
            has_base: chain.has_base(),
        }
    }

    /// Whether it has come to its bounds at a time. One without a base yet goes on.
    pub(super) fn is_long(&self, bounds: &Bounds, now: Timestamp) -> bool {
        let age = now.duration_since(self.created);
        let is_old = Duration::try_from(age).is_ok_and(|age| age >= bounds.age);
        self.has_base
            && (self.segments >= bounds.segments
                || self.bytes >= bounds.bytes.max(self.base_bytes)
                || is_old)
    }
}

/// Where the capture goes on.
pub(super) enum Plan {
    /// Behind the last segment of this chain.
    Resume(Current, u64),
    /// With a new chain.
    Begin {
        number: u64,
        reason: Reason,
        /// The chain before it, when nothing is missing between them, and its last revision.
        follows: Option<(String, u64)>,
    },
}

/// Decides where to go on, from what is there and what the cluster says.
pub(super) fn plan(
    timeline: &Timeline,
    begin: Option<Reason>,
    newest: u64,
    options: &Options,
) -> Plan {
    let Some(chain) = timeline.newest() else {
        return Plan::Begin {
            number: 1,
            reason: begin.unwrap_or(Reason::First),
            follows: None,
        };
    };
    let (last, previous) = chain.reach();
    let number = chain.record.chain.split('-').next();
    let number = number
        .and_then(|number| number.parse::<u64>().ok())
        .unwrap_or(0)
        .saturating_add(1);
    let begin_with = |reason: Reason, follows| Plan::Begin {
        number,
        reason,
        follows,
    };
    let joined = || Some((chain.record.chain.clone(), last));
    match begin {
        Some(reason) if reason.is_break() => begin_with(reason, None),
        _ if newest < last => begin_with(Reason::WentBack, None),
        Some(reason) => begin_with(reason, joined()),
        None => {
            let current = Current::of(chain, previous);
            // Set back while nobody captured: times of the chain would go back with it.
            let bases = chain.bases.iter().map(|base| base.point.created);
            let told = bases.fold(chain.record.created, Timestamp::max);
            let now = options.clock.now();
            if now < told.checked_sub(JUMP).unwrap_or(Timestamp::MIN) {
                begin_with(Reason::Clock, joined())
            } else if current.is_long(&options.bounds, now) {
                begin_with(Reason::Bounds, joined())
            } else {
                Plan::Resume(current, last)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Clock;
    use crate::chain::{ChainRecord, Segment};
    use crate::client::Access;

    fn options() -> Options {
        Options {
            endpoints: Vec::new(),
            access: Access {
                authorities: None,
                identity: None,
                user: None,
                patience: Duration::from_secs(1),
            },
            folder: std::path::PathBuf::new(),
            objective: Duration::from_secs(5),
            idle: Duration::from_secs(60),
            largest: 1,
            lease: Duration::from_secs(15),
            bounds: Bounds::default(),
            roll_ups: None,
            metrics: None,
            clock: Clock::default(),
        }
    }

    /// One chain with the revisions 5 to 9.
    fn timeline() -> Timeline {
        let segment = Segment {
            key: "one".to_owned(),
            first: 5,
            last: 9,
            digest: Digest::of(b"one"),
            size: 1,
            modified: None,
        };
        let chain = Chain {
            record: ChainRecord {
                version: 1,
                cluster: String::new(),
                chain: "000004-x".to_owned(),
                created: Timestamp::now(),
                start: 5,
                follows: None,
                writer: 1,
                reason: Reason::First,
                auth: None,
            },
            bases: Vec::new(),
            segments: vec![segment],
        };
        Timeline {
            cluster: 1,
            chains: vec![chain],
            alone: Vec::new(),
            damaged: Vec::new(),
        }
    }

    #[test]
    fn a_clock_that_was_set_back_meanwhile_begins_a_chain_that_follows() {
        for (hours, expected) in [(1, Some(Reason::Clock)), (-1, None)] {
            let shifted = Timestamp::now() - jiff::SignedDuration::from_hours(hours);
            let options = Options {
                clock: Clock::new(move || shifted),
                ..options()
            };
            let reason = match plan(&timeline(), None, 9, &options) {
                Plan::Begin {
                    reason, follows, ..
                } => {
                    assert_eq!(follows, Some(("000004-x".to_owned(), 9)));
                    Some(reason)
                }
                Plan::Resume(..) => None,
            };
            assert_eq!(reason, expected);
        }
    }

    #[test]
    fn a_chain_is_gone_on_with_unless_its_history_is_another() {
        let options = options();
        let resumed = plan(&timeline(), None, 9, &options);
        assert!(matches!(resumed, Plan::Resume(_, 9)));
        for (begin, newest, expected) in [
            (None, 8, (Reason::WentBack, None)),
            (Some(Reason::Auth), 8, (Reason::WentBack, None)),
            (Some(Reason::Auth), 9, (Reason::Auth, Some(9))),
            (Some(Reason::Bounds), 12, (Reason::Bounds, Some(9))),
            (Some(Reason::Gap), 12, (Reason::Gap, None)),
            (Some(Reason::Compacted), 12, (Reason::Compacted, None)),
        ] {
            let Plan::Begin {
                number,
                reason,
                follows,
            } = plan(&timeline(), begin, newest, &options)
            else {
                panic!("{begin:?} {newest}");
            };
            let follows = follows.map(|(name, last)| {
                assert_eq!(name, "000004-x");
                last
            });
            assert_eq!((number, (reason, follows)), (5, expected));
        }
    }
}
