//! Chains that are made shorter: merged into a new full, and put together into longer segments.

use std::time::Duration;

use salvor_etcd::capture::{Options, RollUps};
use salvor_etcd::chain::{Target, Timeline};
use salvor_etcd::compact::{Compacted, Error, Request, compact};
use salvor_etcd::points::{self, Details};
use salvor_location::Location;

use crate::bench::{Bench, restored};
use crate::capture::reach;
use crate::real::{Version, run};
use crate::support::chain;

pub(crate) fn compacted(
    bench: &Bench<'_>,
    timeline: &Timeline,
    target: Option<Target>,
) -> Result<Compacted, Error> {
    let request = Request {
        chain: None,
        target,
        identities: std::slice::from_ref(&bench.identity),
        folder: bench.folder,
        reason: Some("a test"),
    };
    bench
        .runtime
        .block_on(compact(&bench.location, timeline, &request))
}

/// Removes the first base, so that whatever is reached is reached from the merged one.
fn without_first_base(bench: &Bench<'_>, timeline: &Timeline) -> Timeline {
    bench.remove_point(&timeline.lines()[0].bases()[0].point);
    bench.load(timeline.cluster)
}

#[test]
fn a_chain_becomes_a_full_that_is_the_source_s_own_and_what_follows_leads_on_from_it() {
    for version in Version::all() {
        let folder = tempfile::tempdir().expect("a folder");
        let bench = Bench::new(&version, folder.path());
        let running = bench.capture();
        bench.put(6);
        bench.source.ctl(&["del", "more1", "more2"]);
        let middle = bench.put(2);
        let hash = bench.source.hash_kv(middle);
        let keys = bench.source.keys(middle);
        bench.wait(|timeline| reach(timeline) >= middle);
        let last = bench.put(4);
        let timeline = bench.wait(|timeline| reach(timeline) >= last);
        running.stop();

        let made = compacted(&bench, &timeline, Some(Target::Revision(middle)));
        let made = made.unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert_eq!(made.remarks, [] as [&str; 0]);
        let merged = made.details.merged.clone().expect("merged");
        assert_eq!(made.details.revision, middle);
        // etcd's own hash: nothing was lost, moved or added.
        assert_eq!((u64::from(merged.hash_kv), made.details.compacted), hash);
        let base = timeline.lines()[0].bases()[0].point.id.to_string();
        assert_eq!((merged.base, merged.segments > 0), (base, true));
        // From the same base: as one whose first run was killed before its record.
        let again = compacted(&bench, &timeline, Some(Target::Revision(middle)));
        let again = again.unwrap_or_else(|error| panic!("{}", chain(&error)));
        let second = format!("full-{middle}-2.db.zst.age");
        assert!(again.point.objects[0].key.ends_with(&second));

        // It stands alone, for etcd's own tool.
        let identities = std::slice::from_ref(&bench.identity);
        let fetched = points::fetch(&bench.location, &made.point, identities, folder.path());
        let snapshot = bench.runtime.block_on(fetched).expect("fetched");
        let object = points::object_of(&made.point).expect("one");
        let content = bench.runtime.block_on(async {
            use futures::TryStreamExt as _;
            let read = bench.location.read_point_object(object, identities).await;
            let pieces: Vec<_> = read.expect("read").try_collect().await.expect("whole");
            pieces.concat()
        });
        assert_eq!(content.len() as u64, object.content_size);
        assert!(snapshot.digest().is_some());
        let (plain, data) = (folder.path().join("plain.db"), folder.path().join("theirs"));
        std::fs::write(&plain, content).expect("a file");
        let (plain, data) = (plain.display().to_string(), data.display().to_string());
        let arguments = ["snapshot", "restore", &plain, "--data-dir", &data];
        run(version.tool(), &arguments, "").expect("they restore it");

        // Without the base that it was made of: what it has, and what follows it.
        let timeline = without_first_base(&bench, &timeline);
        for (target, revision) in [
            (Some(middle), middle),
            (Some(last - 1), last - 1),
            (None, last),
        ] {
            let target = target.map_or(Target::Latest, Target::Revision);
            let found = bench.fetch(&timeline, target).expect("there");
            assert_eq!(found.revision, revision);
            assert!(
                Details::of_point(&found.point)
                    .expect("details")
                    .merged
                    .is_some()
            );
        }
        let found = bench
            .fetch(&timeline, Target::Revision(middle))
            .expect("there");
        let (_, plan) = restored(found, folder.path());
        let member = plan.start(0, &version, folder.path());
        assert_eq!((member.hash_kv(middle), member.keys(middle)), (hash, keys));
        let nothing = compacted(&bench, &timeline, Some(Target::Revision(middle)));
        assert!(matches!(nothing, Err(Error::NothingBehind { .. })));
        let before = compacted(&bench, &timeline, Some(Target::Revision(1)));
        assert!(matches!(before, Err(Error::Recover(_))), "{before:?}");
    }
}

#[test]
fn segments_are_put_together_and_the_way_leads_over_the_longer_ones() {
    let Some(version) = Version::of("3_5_16") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(&version, folder.path());
    let options = Options {
        roll_ups: Some(RollUps {
            short: Duration::from_millis(900),
            long: Duration::from_millis(2500),
            largest: 1 << 20,
        }),
        ..bench.options()
    };
    let running = bench.capture_with(options);
    let mut last = 0;
    for _ in 0..12 {
        last = bench.put(2);
        bench.wait(|timeline| reach(timeline) >= last);
    }
    running.wait_to_hear("RolledUp");
    let metrics = running.stop();
    assert!(metrics.roll_ups > 1, "{metrics:?}");
    assert!(metrics.full_only() > metrics.base_bytes);
    let timeline = bench.wait(|timeline| reach(timeline) >= last);
    let start = timeline.chains[0].record.start - 1;
    let path = timeline.chains[0].path(start);
    // What was kept at the end was written, too: one has all there is.
    let segments = timeline.chains[0].segments.len();
    assert!(path.len() * 3 < segments, "{} of {segments}", path.len());
    let found = bench.fetch(&timeline, Target::Latest).expect("there");
    assert_eq!((found.revision, found.segments), (last, path.len() as u64));
    assert_eq!(found.remarks, [] as [&str; 0]);

    // Without what they cover: the same.
    let kept: Vec<String> = path.iter().map(|segment| segment.key.clone()).collect();
    for segment in &timeline.chains[0].segments {
        if !kept.contains(&segment.key) {
            bench.remove(&segment.key);
        }
    }
    bench.is_the_source(&version, &bench.load(timeline.cluster));
}

/// A location of somebody who may not write.
fn nobody(location: &Location) -> Location {
    location
        .clone()
        .with_trust(salvor_location::Trust::default())
}

#[test]
fn without_recipients_nothing_is_fetched_or_written() {
    let Some(version) = Version::of("3_5_30") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(&version, folder.path());
    let running = bench.capture();
    let last = bench.put(2);
    let timeline = bench.wait(|timeline| reach(timeline) >= last);
    running.stop();
    let request = Request {
        chain: Some("000009-none"),
        target: None,
        identities: std::slice::from_ref(&bench.identity),
        folder: bench.folder,
        reason: None,
    };
    let missing = bench
        .runtime
        .block_on(compact(&bench.location, &timeline, &request));
    assert!(matches!(missing, Err(Error::NoChain { .. })), "{missing:?}");
    let location = nobody(&bench.location);
    let refused = bench
        .runtime
        .block_on(compact(&location, &timeline, &request));
    assert!(matches!(refused, Err(Error::Location(_))), "{refused:?}");
    let named = Request {
        chain: Some(&timeline.chains[0].record.chain),
        ..request
    };
    let made = bench
        .runtime
        .block_on(compact(&bench.location, &timeline, &named))
        .expect("made");
    assert_eq!(made.details.revision, timeline.chains[0].reach().0);
}
