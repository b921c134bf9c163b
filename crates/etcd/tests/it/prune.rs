//! Retention of real chains: what goes, what stays reachable, and that the source's hash still comes out.

use std::time::Duration;

use salvor_etcd::capture::{Bounds, Options as Capture, RollUps};
use salvor_etcd::chain::Target;
use salvor_etcd::prune::{self, Options, Pruned, look};
use salvor_location::points::retention::Policy;

use crate::bench::Bench;
use crate::capture::reach;
use crate::compact::compacted;
use crate::real::Version;
use crate::support::chain;

/// Everything but the newest may go, at once.
fn strict(policy: &Policy) -> Options<'_> {
    Options {
        policy: Some(policy),
        window: Duration::ZERO,
        grace: Duration::ZERO,
        confirmed: None,
        forget: false,
    }
}

fn newest_only() -> Policy {
    "last=1".parse().expect("a policy")
}

fn pruned(bench: &Bench<'_>, cluster: u64, options: &Options<'_>) -> Pruned {
    let done = prune::prune(&bench.location, cluster, options);
    let done = bench.runtime.block_on(done);
    done.unwrap_or_else(|error| panic!("{}", chain(&error)))
}

/// Keys of all that stands in the location of etcd.
fn keys(bench: &Bench<'_>) -> Vec<String> {
    let listed = bench.runtime.block_on(async {
        let mut all = bench.location.list_below("plugins/salvor/etcd").await?;
        all.extend(bench.location.list_below("plugins/salvor/points").await?);
        Ok::<_, salvor_location::Error>(all)
    });
    let listed = listed.expect("listed").into_iter();
    listed.map(|info| info.key).collect()
}

#[test]
fn old_chains_and_covered_segments_go_and_the_newest_state_is_the_source_s() {
    let Some(version) = Version::of("3_5_16") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(&version, folder.path());
    let options = Capture {
        roll_ups: Some(RollUps {
            short: Duration::from_millis(700),
            long: Duration::from_millis(2000),
            largest: 1 << 20,
        }),
        bounds: Bounds {
            age: Duration::from_secs(4),
            ..Bounds::default()
        },
        ..bench.options()
    };
    let running = bench.capture_with(options);
    let mut last = 0;
    while load_chains(&bench) < 3 {
        last = bench.put(2);
        bench.wait(|timeline| reach(timeline) >= last);
    }
    bench.wait(|timeline| {
        timeline
            .newest()
            .is_some_and(salvor_etcd::chain::Chain::has_base)
    });
    for _ in 0..4 {
        last = bench.put(2);
        bench.wait(|timeline| reach(timeline) >= last);
    }
    running.stop();
    let timeline = bench.wait(|timeline| reach(timeline) >= last);
    let (cluster, before) = (timeline.cluster, keys(&bench));
    let first = timeline.lines()[0].bases()[0].details.revision;
    let policy = newest_only();

    // A window keeps all of it, but for what is covered.
    let wide = Options {
        window: Duration::from_secs(3600),
        ..strict(&policy)
    };
    let judged = bench
        .runtime
        .block_on(look(&bench.location, cluster, &wide))
        .expect("looked");
    let all_covered = judged
        .look
        .garbage
        .values()
        .all(|garbage| garbage.why.ends_with("covers it"));
    assert!(all_covered && !judged.look.garbage.is_empty(), "{judged:?}");

    let strict = strict(&policy);
    let noted = pruned(&bench, cluster, &strict);
    assert_eq!(noted.swept.removed, 0);
    assert_eq!(keys(&bench), before, "nothing goes before its time");
    assert!(
        bench
            .fetch(&bench.load(cluster), Target::Revision(first + 1))
            .is_ok()
    );
    let swept = pruned(&bench, cluster, &strict);
    let garbage = &noted.posted.expect("noted").garbage;
    assert_eq!(swept.swept.removed, garbage.len() as u64, "{garbage:?}");
    assert!(swept.swept.points.len() >= 2, "{:?}", swept.swept);
    assert_eq!(swept.posted, None, "{:?}", swept.posted);

    let timeline = bench.load(cluster);
    assert_eq!((timeline.chains.len(), timeline.lines().len()), (1, 1));
    assert_eq!(timeline.chains[0].bases.len(), 1);
    let base = timeline.chains[0].bases[0].details.revision;
    let path = timeline.chains[0].path(base);
    assert_eq!(
        path.len(),
        timeline.chains[0].segments.len(),
        "nothing is there twice"
    );
    assert!(base > first, "{base} {first}");
    bench.is_the_source(&version, &timeline);

    // What nobody committed goes, too; what is no file of ours stays.
    let stray = format!("plugins/salvor/etcd/{cluster:016x}/lost/full-3.db.zst.age");
    let other = format!("plugins/salvor/etcd/{cluster:016x}/lost/notes.txt");
    for key in [&stray, &other] {
        bench.overwrite(key, b"x".to_vec());
    }
    pruned(&bench, cluster, &strict);
    let swept = pruned(&bench, cluster, &strict);
    assert_eq!(swept.swept.removed, 1);
    let left = keys(&bench);
    assert!(left.contains(&other) && !left.contains(&stray));
    bench.is_the_source(&version, &bench.load(cluster));
}

fn load_chains(bench: &Bench<'_>) -> usize {
    bench.wait(|_| true).chains.len()
}

#[test]
fn what_a_damaged_roll_up_covers_stays_and_a_capture_goes_on_beside_it() {
    let Some(version) = Version::of("3_5_30") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(&version, folder.path());
    let options = Capture {
        roll_ups: Some(RollUps {
            short: Duration::from_millis(700),
            long: Duration::from_secs(3600),
            largest: 1 << 20,
        }),
        ..bench.options()
    };
    let running = bench.capture_with(options);
    let mut last = 0;
    while !running.has_said("RolledUp") {
        last = bench.put(2);
        bench.wait(|timeline| reach(timeline) >= last);
    }
    let timeline = bench.wait(|timeline| reach(timeline) >= last);
    let cluster = timeline.cluster;
    let segments = &timeline.chains[0].segments;
    let rolled = segments.iter().find(|one| {
        let inside = |other: &&salvor_etcd::chain::Segment| {
            other.first >= one.first && other.last <= one.last && other.key != one.key
        };
        segments.iter().filter(inside).count() > 1
    });
    let rolled = rolled.expect("a roll-up").clone();
    bench.overwrite(&rolled.key, vec![7; rolled.size as usize]);
    let policy = newest_only();
    let strict = strict(&policy);
    // The capture goes on meanwhile.
    for _ in 0..4 {
        pruned(&bench, cluster, &strict);
        last = bench.put(2);
        bench.wait(|timeline| reach(timeline) >= last);
    }
    running.stop();
    let timeline = bench.load(cluster);
    assert_eq!(bench.found(&timeline, Target::Latest).revision, last);

    // A merged full is a base like any: with a policy that keeps only the newest, the one that it was made of goes.
    let made = compacted(&bench, &timeline, None);
    let made = made.unwrap_or_else(|error| panic!("{}", chain(&error)));
    pruned(&bench, cluster, &strict);
    pruned(&bench, cluster, &strict);
    let timeline = bench.load(cluster);
    let bases = &timeline.chains[0].bases;
    assert_eq!((bases.len(), &bases[0].point), (1, &made.point));
    bench.is_the_source(&version, &timeline);
}
