//! What breaks a capture, and what a chain with something missing still gives.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use salvor_etcd::capture::{self, Bounds, Metrics, Options};
use salvor_etcd::chain::{Found, Reason, Target, Timeline, recover};
use salvor_etcd::history::{self, Past};
use salvor_etcd::mvcc::KeyValue;
use salvor_etcd::restore::{Error, Revisions, restore_history};
use salvor_location::Location;
use salvor_seal::age::Identity;
use salvor_storage::{Key, PutMode};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::capture::{QUOTA, options, reach, wait};
use crate::points::location_of;
use crate::real::{self, Member, Plan, with_history};
use crate::support::{GO_ON, chain};

/// A capture on a thread of its own.
pub(crate) struct Running {
    stop: CancellationToken,
    said: Arc<Mutex<String>>,
    thread: JoinHandle<Metrics>,
}

impl Running {
    pub(crate) fn start(location: &Location, options: Options) -> Self {
        let (stop, said) = (CancellationToken::new(), Arc::<Mutex<String>>::default());
        let (location, token, text) = (location.clone(), stop.clone(), Arc::clone(&said));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            let mut tell = |told: capture::Told<'_>| {
                let mut text = text.lock().expect("nobody panicked");
                text.push_str(&format!("{told:?}\n"));
            };
            let run = capture::run(&location, &options, &token, &mut tell);
            runtime
                .block_on(run)
                .unwrap_or_else(|error| panic!("{}", chain(&error)))
        });
        Self { stop, said, thread }
    }

    pub(crate) fn wait_to_hear(&self, part: &str) {
        let begun = std::time::Instant::now();
        loop {
            let said = self.said.lock().expect("nobody panicked").clone();
            if said.contains(part) {
                return;
            }
            assert!(begun.elapsed().as_secs() < 60, "{part}: {said}");
            std::thread::yield_now();
        }
    }

    pub(crate) fn has_said(&self, part: &str) -> bool {
        self.all_said().contains(part)
    }

    pub(crate) fn all_said(&self) -> String {
        self.said.lock().expect("nobody panicked").clone()
    }

    pub(crate) fn stop(self) -> Metrics {
        self.stop.cancel();
        self.thread.join().expect("it ended")
    }
}

pub(crate) struct Bench<'a> {
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) folder: &'a Path,
    pub(crate) source: Member<'a>,
    pub(crate) identity: Identity,
    pub(crate) location: Location,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(version: &'a real::Version, folder: &'a Path) -> Self {
        Self::of(with_history(version, folder), folder)
    }

    pub(crate) fn of(source: Member<'a>, folder: &'a Path) -> Self {
        let place = folder.join("location");
        std::fs::create_dir(&place).expect("a folder");
        let identity = Identity::generate().expect("random numbers");
        Self {
            runtime: tokio::runtime::Runtime::new().expect("a runtime"),
            folder,
            source,
            location: location_of(&place, &identity),
            identity,
        }
    }

    pub(crate) fn options(&self) -> Options {
        options(&self.source.client, self.folder)
    }

    pub(crate) fn wait(&self, is_so: impl Fn(&Timeline) -> bool) -> Timeline {
        wait(&self.runtime, &self.location, Path::new("/dev/null"), is_so)
    }

    pub(crate) fn put(&self, times: usize) -> u64 {
        for time in 0..times {
            self.source
                .ctl(&["put", &format!("more{}", time % 5), &time.to_string()]);
        }
        self.source.revision()
    }

    pub(crate) fn fetch(
        &self,
        timeline: &Timeline,
        target: Target,
    ) -> Result<Found, recover::Error> {
        let identities = std::slice::from_ref(&self.identity);
        let fetched = recover::fetch(&self.location, timeline, target, identities, self.folder);
        self.runtime.block_on(fetched)
    }

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
    let first = Running::start(&bench.location, bench.options());
    first.wait_to_hear("Base");
    let captured = bench.put(3);
    bench.wait(|timeline| reach(timeline) >= captured);
    assert_eq!(first.stop().captured, captured);

    let newest = bench.put(6);
    bench.source.ctl(&["compact", &newest.to_string()]);
    let second = Running::start(&bench.location, bench.options());
    second.wait_to_hear("Base");
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
        ..bench.options()
    };
    let running = Running::start(&bench.location, bounded);
    running.wait_to_hear("Base");
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
    let path = folder.path().join("location").join(&damaged.key);
    let mut bytes = std::fs::read(path).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let key = Key::new(damaged.key.clone()).expect("a key");
    let put = bench
        .location
        .store()
        .put(&key, bytes.into(), PutMode::Overwrite);
    bench.runtime.block_on(put).expect("changed");
    let refused = bench
        .fetch(&timeline, Target::Revision(within))
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
    let running = Running::start(&bench.location, bench.options());
    running.wait_to_hear("Base");
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
