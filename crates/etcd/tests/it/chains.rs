//! What breaks a capture, and what a chain with something missing still gives.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use salvor_etcd::capture::{Bounds, Options};
use salvor_etcd::chain::{Found, Reason, Target, Timeline, recover};
use salvor_etcd::history::{self, Past};
use salvor_etcd::mvcc::KeyValue;
use salvor_etcd::restore::{Error, Revisions, restore_history};
use serde_json::Value;

use crate::bench::{Bench, Running};
use crate::capture::{QUOTA, reach};
use crate::real::{self, Plan};
use crate::support::GO_ON;

impl Bench<'_> {
    fn fetch_whole(&self, timeline: &Timeline, target: Target) -> Found {
        let identities = std::slice::from_ref(&self.identity);
        let fetched =
            recover::fetch_whole(&self.location, timeline, target, identities, self.folder);
        self.runtime.block_on(fetched).expect("there")
    }

    /// Base and segments show the keys of the source at a revision, and from the oldest base on every version.
    fn is_looked_at(&self, timeline: &Timeline, within: u64, last: u64) {
        let found = self.fetch(timeline, Target::Revision(within));
        let mut past = Past::from(found.expect("there"));
        let state = history::state(&mut past, None, |_| true, &GO_ON).expect("readable");
        assert_eq!((state.revision, state.reach.to), (within, within));
        let mut keys = BTreeMap::new();
        history::values(&mut past, &state, &GO_ON, |version| {
            let KeyValue { key, value, .. } = version.entry;
            keys.insert(BASE64.encode(key), BASE64.encode(value));
        })
        .expect("readable");
        let source = self.source.keys(within);
        let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
        let of_source = source.as_array().into_iter().flatten();
        let of_source = of_source.map(|row| (text(&row["key"]), text(&row["value"])));
        assert_eq!(keys, of_source.collect());

        let revisions = |found: Found| {
            let mut past = Past::from(found);
            let mut revisions = BTreeSet::new();
            let reach = history::versions(&mut past, &GO_ON, |version| {
                revisions.insert(version.revision.main);
            });
            (reach.expect("readable"), revisions)
        };
        let (reach, nearest) = revisions(self.fetch(timeline, Target::Latest).expect("there"));
        let (long, whole) = revisions(self.fetch_whole(timeline, Target::Latest));
        assert_eq!((reach.to, long.to), (last, last));
        assert!(nearest.is_subset(&whole));
        // Each of etcd's transactions here changes something.
        assert!((long.from + 1..=last).all(|revision| whole.contains(&revision)));
        let first = timeline.lines()[0].bases()[0].details.compacted;
        assert!(long.from <= first.max(1), "{long:?}");
        // A revision before the newest base: the way there ends at it.
        let found = self.fetch_whole(timeline, Target::Revision(within));
        assert_eq!(revisions(found).0.to, within);
    }
}

#[test]
fn a_compaction_of_what_was_not_captured_begins_a_new_history() {
    let Some(version) = real::Version::of("3_5_16") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(&version, folder.path());
    let first = bench.capture();
    let captured = bench.put(3);
    bench.wait(|timeline| reach(timeline) >= captured);
    assert_eq!(first.stop().captured, captured);

    let newest = bench.put(6);
    bench.source.ctl(&["compact", &newest.to_string()]);
    let second = bench.capture();
    let last = bench.put(2);
    let timeline = bench.wait(|timeline| reach(timeline) >= last);
    let lines = timeline.lines();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1].chains[0].record.reason, Reason::Compacted);
    assert_eq!(lines[1].chains[0].record.follows, None);
    assert_eq!(
        bench
            .fetch(&timeline, Target::Latest)
            .expect("there")
            .revision,
        last
    );
    let old = bench
        .fetch(&timeline, Target::Revision(captured))
        .expect("there");
    assert_eq!(old.revision, captured);
    let lost = bench.fetch(&timeline, Target::Revision(captured + 2));
    let refused = lost.err().expect("nobody has it");
    assert!(
        matches!(refused, recover::Error::Unreachable { .. }),
        "{refused}"
    );

    // A second writer stands by, and takes over when the first one is gone, with a higher number.
    let third = Running::start(&bench.location, bench.options());
    third.wait_to_hear("Standby");
    let metrics = second.stop();
    assert_eq!(metrics.breaks, 1);
    third.wait_to_hear("Resumed");
    let last = bench.put(2);
    let empty = |timeline: &Timeline| {
        let chain = timeline.newest().expect("one");
        chain
            .segments
            .iter()
            .any(|segment| segment.first == last + 1)
    };
    // And nothing changes: that is written down, too.
    let timeline = bench.wait(|timeline| reach(timeline) >= last && empty(timeline));
    third.stop();
    assert_eq!(timeline.chains.len(), 2);
}

#[test]
fn a_long_chain_is_followed_by_another_and_what_is_damaged_ends_the_way() {
    let Some(version) = real::Version::of("3_5_30") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(&version, folder.path());
    let bounded = Options {
        bounds: Bounds {
            segments: 2,
            ..Bounds::default()
        },
        // Segments that say that nothing changed would count too.
        idle: std::time::Duration::from_secs(3600),
        ..bench.options()
    };
    let running = bench.capture_with(bounded);
    let mut last = 0;
    for _ in 0..4 {
        last = bench.put(2);
        bench.wait(|timeline| reach(timeline) >= last);
    }
    bench.wait(|timeline| timeline.chains.len() > 1 && timeline.chains[1].has_base());
    let metrics = running.stop();
    assert_eq!((metrics.breaks, metrics.captured >= last), (0, true));
    let timeline = bench.wait(|timeline| reach(timeline) >= last);
    let lines = timeline.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0].gaps(), []);
    let first = lines[0].bases()[0].details.revision;
    assert_eq!(lines[0].reach(first), last);

    // A revision of the first chain, whose base is older.
    let within = first + 3;
    let found = bench
        .fetch(&timeline, Target::Revision(within))
        .expect("there");
    assert_eq!(found.point.id, lines[0].bases()[0].point.id);
    let (snapshot, mut history) = found.into_history(false, 1000);
    let plan = Plan::new::<1>();
    let options = plan.options(0, folder.path(), Revisions::Exact);
    let refused = restore_history(&snapshot, &mut history, &options, &GO_ON);
    assert!(
        matches!(refused, Err(Error::OverQuota { .. })),
        "{refused:?}"
    );
    assert!(!options.data_dir.exists());
    history.quota = QUOTA;
    let restored = restore_history(&snapshot, &mut history, &options, &GO_ON).expect("restored");
    let member = plan.start(0, &version, folder.path());
    assert_eq!(member.revision(), restored.revision);
    assert_eq!(member.keys(within), bench.source.keys(within));

    bench.is_looked_at(&timeline, within, last);

    // The segment with that revision is damaged: nothing else has it.
    let chain = &timeline.chains[0];
    let damaged = chain
        .segments
        .iter()
        .find(|segment| segment.first <= within && segment.last >= within);
    let damaged = damaged.expect("one");
    bench.damage(&damaged.key);
    // A later base holds it still: the source was not compacted.
    let found = bench.found(&timeline, Target::Revision(within));
    assert!(found.point.id != lines[0].bases()[0].point.id);
    assert!(found.remarks[0].contains("SHA-256"), "{:?}", found.remarks);
    let alone = Timeline {
        chains: vec![chain.clone()],
        ..timeline.clone()
    };
    let refused = bench
        .fetch(&alone, Target::Revision(within))
        .err()
        .expect("damaged");
    let text = refused.to_string();
    assert!(
        text.contains("cannot be used") && text.contains("SHA-256"),
        "{text}"
    );
    let before = damaged.first - 1;
    assert_eq!(
        bench
            .fetch(&timeline, Target::Revision(before))
            .expect("there")
            .revision,
        before
    );
    assert_eq!(
        bench
            .fetch(&timeline, Target::Latest)
            .expect("there")
            .revision,
        last
    );
}

#[test]
fn a_member_that_is_killed_and_comes_back_is_watched_on() {
    let Some(version) = real::Version::of("3_4") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let plan = Plan::new::<1>();
    let mut bench = Bench::of(plan.start(0, &version, folder.path()), folder.path());
    bench.put(3);
    let running = bench.capture();
    let before = bench.put(3);
    bench.wait(|timeline| reach(timeline) >= before);
    // Dropped first: the new one has its data and its port.
    let Bench {
        runtime,
        source,
        identity,
        location,
        ..
    } = bench;
    drop(source);
    running.wait_to_hear("Trouble");
    bench = Bench {
        runtime,
        folder: folder.path(),
        source: plan.start(0, &version, folder.path()),
        identity,
        location,
    };
    let last = bench.put(3);
    let timeline = bench.wait(|timeline| reach(timeline) >= last);
    let metrics = running.stop();
    assert!(metrics.failures > 0);
    assert_eq!((metrics.chains, metrics.breaks), (1, 0));
    let found = bench.fetch(&timeline, Target::Latest).expect("there");
    assert_eq!(found.revision, last);

    // Nobody answers any more: it is stopped all the same.
    let (options, location) = (bench.options(), bench.location.clone());
    drop(bench);
    let alone = Running::start(&location, options);
    alone.wait_to_hear("Trouble");
    assert_eq!(alone.stop().segments, 0);
}
