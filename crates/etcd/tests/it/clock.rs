//! A clock that is set while changes are captured.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use salvor_etcd::Clock;
use salvor_etcd::capture::{Options, RollUps};
use salvor_etcd::chain::{Chain, Reason, Target, recover};

use crate::bench::Bench;
use crate::capture::reach;
use crate::real::Version;

#[test]
fn a_clock_that_is_set_an_hour_back_and_a_day_ahead_is_told_and_times_lead_to_the_last_revision() {
    let Some(version) = Version::of("3_5_16") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(&version, folder.path());
    let set = Arc::new(AtomicI64::new(0));
    let offset = Arc::clone(&set);
    let now = move || Timestamp::now() + SignedDuration::from_secs(offset.load(Ordering::Relaxed));
    let options = Options {
        clock: Clock::new(now.clone()),
        roll_ups: Some(RollUps {
            short: Duration::from_millis(1500),
            ..RollUps::default()
        }),
        ..bench.options()
    };
    let running = bench.capture_with(options);
    // Revision and time of each phase, with changes before and behind it.
    let mut phases = Vec::new();
    for (number, offset) in [0, -3600, 86_400, 0].into_iter().enumerate() {
        set.store(offset, Ordering::Relaxed);
        if number > 0 {
            let timeline = bench.wait(|timeline| {
                timeline.chains.len() > number && timeline.newest().is_some_and(Chain::has_base)
            });
            let newest = &timeline.newest().expect("one").record;
            assert_eq!(newest.reason, Reason::Clock);
            let before = &timeline.chains[number - 1].record.chain;
            assert_eq!(newest.follows.as_ref(), Some(before));
        }
        let revision = bench.put(3);
        // And nothing changes for a while: that is written down whatever the clock says.
        let quiet = |chain: &Chain| {
            let mut segments = chain.segments.iter();
            segments.any(|segment| segment.last < segment.first && segment.last == revision)
        };
        bench.wait(|timeline| timeline.newest().is_some_and(quiet));
        phases.push((revision, now()));
        let last = bench.put(2);
        bench.wait(|timeline| reach(timeline) >= last);
    }
    let timeline = bench.wait(|timeline| reach(timeline) >= bench.source.revision());
    let metrics = running.stop();
    assert_eq!((metrics.chains, metrics.breaks), (4, 0));
    let timeline = bench.load(timeline.cluster);
    assert_eq!(timeline.lines().len(), 1);
    assert_eq!(timeline.lines()[0].gaps(), []);

    // The clock showed the first time once more at the end of the hour that it was set back.
    let [first, back, ahead, right] = phases[..] else {
        panic!("{phases:?}");
    };
    let found = bench.found(&timeline, Target::Time(first.1));
    assert_eq!(found.revision, timeline.chains[2].record.start - 1);
    let told = found
        .remarks
        .iter()
        .filter(|remark| remark.contains("the clock of the capture went back"));
    assert_eq!(told.count(), 1, "{:?}", found.remarks);
    // What it showed once is exact.
    for (revision, time) in [back, right] {
        let found = bench.found(&timeline, Target::Time(time));
        assert_eq!(
            (found.revision, &found.remarks[..]),
            (revision, &[] as &[String]),
            "{time}"
        );
    }
    // It was set right since, and has not come there again.
    let refused = bench.fetch(&timeline, Target::Time(ahead.1)).err();
    assert!(
        matches!(&refused, Some(recover::Error::Unreachable { there, .. }) if there.contains("went back")),
        "{refused:?}"
    );
    // Each of them is there as a revision, and the last state is the source's own.
    for (revision, _) in phases {
        let found = bench.found(&timeline, Target::Revision(revision));
        assert_eq!(found.revision, revision);
    }
    bench.is_the_source(&version, &timeline);
}
