//! Points and chains in another location: what was captured comes back from the copy.

use salvor_etcd::chain::{Target, Timeline, recover};
use salvor_location::copy::CopyOptions;
use salvor_location::copy::mirror::{Action, Mirrored, apply, plan};
use salvor_location::{Error, Location};

use crate::bench::{Bench, is_the_source};
use crate::capture::reach;
use crate::points::location_of;
use crate::real::Version;
use crate::support::chain;

fn mirrored(bench: &Bench<'_>, target: &Location) -> Result<Mirrored, Error> {
    bench.runtime.block_on(async {
        let made = plan(&bench.location, target, false).await?;
        apply(&bench.location, target, &made, &CopyOptions::default()).await
    })
}

#[test]
fn a_chain_is_mirrored_and_restored_from_the_copy() {
    let Some(version) = Version::of("3_5_16") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(&version, folder.path());
    let place = folder.path().join("copy");
    std::fs::create_dir(&place).expect("a folder");
    let target = location_of(&place, &bench.identity);
    let running = bench.capture();
    let first = bench.put(3);
    bench.wait(|timeline| reach(timeline) >= first);
    // While the capture goes on.
    let copied = mirrored(&bench, &target).expect("copied");
    assert_eq!(copied.failed.len(), 0, "{copied:?}");
    let last = bench.put(4);
    let timeline = bench.wait(|timeline| reach(timeline) >= last);
    running.stop();
    let cluster = timeline.cluster;
    let point = timeline.chains[0].bases[0].point.clone();
    let held = bench.location.hold_point(&point, "audit", "alice");
    bench.runtime.block_on(held).expect("held");

    // A segment that is damaged at the source is not copied, and said; everything else is.
    let segments = &timeline.chains[0].segments;
    let newest = segments.iter().max_by_key(|segment| segment.last);
    let newest = newest.expect("one").clone();
    let path = folder.path().join("location").join(&newest.key);
    let sound = std::fs::read(&path).expect("there");
    bench.overwrite(&newest.key, vec![7; sound.len()]);
    let copied = mirrored(&bench, &target).expect("the rest is copied");
    assert!(
        matches!(&copied.failed[..], [(_, Error::SourceDamaged { .. })]),
        "{copied:?}"
    );
    bench.overwrite(&newest.key, sound);
    mirrored(&bench, &target).expect("copied");
    let made = bench
        .runtime
        .block_on(plan(&bench.location, &target, false));
    let made = made.expect("planned");
    assert!(
        made.points
            .values()
            .all(|action| *action == Action::Present),
        "{made}"
    );
    assert_eq!(made.points.len(), 1);

    let (found, additions) = bench.runtime.block_on(async {
        let timeline = Timeline::load(&target, cluster).await.expect("read");
        let identities = std::slice::from_ref(&bench.identity);
        let fetched = recover::fetch(
            &target,
            &timeline,
            Target::Latest,
            identities,
            folder.path(),
        );
        let additions = target.additions(&point.source).await.expect("read");
        (fetched.await, additions)
    });
    assert_eq!(
        additions[point.id.as_str()].holds.len(),
        1,
        "holds hold the copy"
    );
    let found = found.unwrap_or_else(|error| panic!("{}", chain(&error)));
    is_the_source(found, &bench.source, &version);
}
