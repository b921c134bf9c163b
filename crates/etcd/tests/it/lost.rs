//! What is damaged or gone in a location: the way round it, and what is said where there is none.

use salvor_etcd::chain::{Segment, Target, Timeline, recover};
use salvor_etcd::compact::{Request, compact};
use salvor_etcd::points;
use salvor_etcd::prune::{self, Options};
use salvor_location::points::retention::Policy;

use crate::bench::{Bench, Running};
use crate::capture::reach;
use crate::real::Version;
use crate::support::chain;

/// A chain with several segments and a merged full in the middle; gives the last revision.
fn captured(bench: &Bench<'_>) -> (Timeline, u64) {
    let running = bench.capture();
    let steps = |times: usize| {
        let mut last = 0;
        for _ in 0..times {
            last = bench.put(2);
            bench.wait(|timeline| reach(timeline) >= last);
        }
        last
    };
    let middle = steps(2);
    let timeline = bench.wait(|timeline| reach(timeline) >= middle);
    let request = Request {
        chain: None,
        target: None,
        identities: std::slice::from_ref(&bench.identity),
        folder: bench.folder,
        reason: None,
    };
    let made = compact(&bench.location, &timeline, &request);
    let made = bench.runtime.block_on(made);
    made.unwrap_or_else(|error| panic!("{}", chain(&error)));
    let last = steps(3);
    running.stop();
    let timeline = bench.load(timeline.cluster);
    assert_eq!(timeline.chains[0].bases.len(), 2);
    (timeline, last)
}

/// Segments with changes, by their revisions.
fn changes(timeline: &Timeline) -> Vec<Segment> {
    let segments = timeline.chains[0].segments.iter();
    let mut changes: Vec<Segment> = segments.filter(|s| s.last >= s.first).cloned().collect();
    changes.sort_by_key(|segment| segment.first);
    changes
}

fn bases(timeline: &Timeline) -> Vec<(String, String)> {
    let lines = timeline.lines();
    let bases = lines[0].bases().into_iter();
    bases
        .map(|base| (base.point.id.to_string(), base.point.objects[0].key.clone()))
        .collect()
}

#[test]
fn where_a_base_is_damaged_another_one_leads_to_the_same_state() {
    let Some(version) = Version::of("3_5_30") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(&version, folder.path());
    let (timeline, last) = captured(&bench);
    let bases = bases(&timeline);
    let (first, merged) = (&bases[0], &bases[1]);

    bench.damage(&merged.1);
    for target in [Target::Latest, Target::Revision(last)] {
        let mut found = bench.found(&timeline, target);
        assert_eq!(found.point.id.as_str(), first.0);
        let [remark] = found.remarks.as_slice() else {
            panic!("{:?}", found.remarks);
        };
        assert!(
            remark.contains(&merged.0) && remark.contains("SHA-256"),
            "{remark}"
        );
        found.remarks.clear();
        crate::bench::is_the_source(found, &bench.source, &version);
    }
    // Gone altogether: it is told, and no base any more.
    bench.remove(&merged.1);
    let without = bench.load(timeline.cluster);
    assert_eq!(without.chains[0].bases.len(), 1);
    assert!(
        without.damaged[0].reason.contains("is gone"),
        "{:?}",
        without.damaged
    );
    bench.is_the_source(&version, &without);
    // None is left: what is wrong with the best one is said.
    bench.damage(&first.1);
    let refused = bench.fetch(&without, Target::Latest).err().expect("none");
    assert!(chain(&refused).contains("SHA-256"), "{}", chain(&refused));
}

#[test]
fn the_last_state_is_never_an_older_one() {
    let Some(version) = Version::of("3_5_30") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(&version, folder.path());
    let (timeline, last) = captured(&bench);
    let changes = changes(&timeline);
    let [.., broken, end] = changes.as_slice() else {
        panic!("{changes:?}");
    };
    assert_eq!(end.last, last);
    let is_refused = |timeline: &Timeline, why: &str| {
        let refused = bench.fetch(timeline, Target::Latest).err().expect("broken");
        let recover::Error::Broken {
            reached, captured, ..
        } = &refused
        else {
            panic!("{}", chain(&refused));
        };
        assert_eq!((*reached, *captured), (broken.first - 1, last));
        assert!(refused.to_string().contains(why), "{refused}");
    };
    bench.damage(&broken.key);
    is_refused(&timeline, "cannot be used");
    bench.remove(&broken.key);
    let timeline = bench.load(timeline.cluster);
    is_refused(&timeline, "is not there");
    // What is whole can be had by its revision.
    let whole = bench.found(&timeline, Target::Revision(broken.first - 1));
    assert_eq!(whole.revision, broken.first - 1);
}

#[test]
fn a_chain_whose_record_is_lost_is_read_by_its_segments_and_not_removed() {
    let Some(version) = Version::of("3_5_30") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(&version, folder.path());
    let (timeline, last) = captured(&bench);
    let name = &timeline.chains[0].record.chain;
    let record = format!(
        "{}/chain.json",
        points::chain_folder(timeline.cluster, name)
    );
    for lost in [false, true] {
        match lost {
            true => bench.remove(&record),
            false => bench.overwrite(&record, b"{".to_vec()),
        }
        let found = bench.load(timeline.cluster);
        assert_eq!(&found.chains[0].record.chain, name);
        let said = found.damaged.iter().any(|one| one.name.ends_with(name));
        assert!(said, "{:?}", found.damaged);
        bench.is_the_source(&version, &found);
        let policy: Policy = "last=1".parse().expect("a policy");
        let options = Options {
            policy: Some(&policy),
            window: std::time::Duration::from_secs(3600),
            grace: std::time::Duration::ZERO,
            confirmed: None,
            forget: false,
        };
        for _ in 0..2 {
            let pruned = prune::prune(&bench.location, timeline.cluster, &options);
            let pruned = bench.runtime.block_on(pruned);
            let pruned = pruned.unwrap_or_else(|error| panic!("{}", chain(&error)));
            assert!(!pruned.judged.damaged.is_empty());
        }
        bench.is_the_source(&version, &bench.load(timeline.cluster));
    }
    // A capture goes on in it.
    let running = Running::start(&bench.location, bench.options());
    let next = bench.put(2);
    assert!(next > last);
    bench.wait(|timeline| reach(timeline) >= next);
    running.stop();
    bench.is_the_source(&version, &bench.load(timeline.cluster));
}

#[test]
fn another_identity_is_told_whose_it_should_be() {
    let Some(version) = Version::of("3_5_30") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut bench = Bench::new(&version, folder.path());
    let (timeline, _) = captured(&bench);
    let right = bench.identity.recipient().fingerprint();
    bench.identity = salvor_seal::age::Identity::generate().expect("random numbers");
    let given = bench.identity.recipient().fingerprint();
    let refused = bench
        .fetch(&timeline, Target::Latest)
        .err()
        .expect("closed");
    let recover::Error::Point(points::Error::OtherIdentity {
        recipients,
        given: ours,
        ..
    }) = &refused
    else {
        panic!("{}", chain(&refused));
    };
    assert_eq!((recipients, ours), (&right, &given));
}
