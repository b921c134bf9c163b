//! Garbage goes in two steps, and nothing that is reached goes, whatever fails in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use jiff::Timestamp;
use salvor_location::collect::{Garbage, Look, Swept};
use salvor_location::points::retention::{Policy, plan};
use salvor_location::trust::Trust;
use salvor_location::{Error, Location, Point, RunId};
use salvor_seal::age::Identity;
use salvor_storage::testing::{Fault, FaultStore};
use salvor_storage::{ErrorKind, MemoryStore, ObjectStore};

use crate::world::{dump, location};

const SOURCE: &str = "etcd-1";

async fn point(location: &Location, name: &str) -> Point {
    let piece: Result<Bytes, std::io::Error> = Ok(Bytes::copy_from_slice(name.as_bytes()));
    let key = format!("plugins/salvor/etcd/1/{name}/full-1.db.zst.age");
    let written = location.write_point_object(&key, stream::iter([piece]));
    let object = written.await.expect("written");
    let mut point = Point::new(RunId::generate(), SOURCE, "etcd", Timestamp::now());
    point.objects = vec![object];
    location.commit_point(&point).await.expect("committed");
    point
}

fn in_store(store: Arc<dyn ObjectStore>) -> Location {
    let identity = Identity::generate().expect("random numbers");
    location(store).with_trust(Trust {
        recipients: vec![identity.recipient()],
        ..Trust::default()
    })
}

/// A rule that is easy to see: the points that are named go, with their objects.
async fn look(location: &Location, going: &[&Point]) -> Result<Look, Error> {
    let listing = location.points(Some(SOURCE)).await?;
    let additions = location.additions(SOURCE).await?;
    let mut look = Look {
        records: listing
            .entries
            .iter()
            .map(|point| point.id.to_string())
            .collect(),
        ..Look::default()
    };
    // An object counts as garbage when its point does, or is gone.
    for point in going {
        let id = point.id.to_string();
        let said = additions.get(&id).cloned().unwrap_or_default();
        if !said.holds.is_empty() {
            continue;
        }
        let garbage = |point| Garbage {
            size: 1,
            why: "a test".to_owned(),
            point,
        };
        for info in &said.objects {
            let is_record = info.key.ends_with("point.json");
            let entry = garbage(is_record.then(|| id.clone()));
            look.garbage.insert(info.key.clone(), entry);
        }
        for object in &point.objects {
            let key = salvor_storage::Key::new(object.key.clone()).expect("a key");
            if location.store().head(&key).await.is_ok() {
                look.garbage.insert(object.key.clone(), garbage(None));
            }
        }
    }
    Ok(look)
}

/// One run of whoever collects.
async fn collect(location: &Location, going: &[&Point]) -> Result<Swept, Error> {
    let collector = location.collector(SOURCE, &RunId::generate()).await?;
    let done = async {
        let swept = collector
            .sweep(Duration::ZERO, || look(location, going))
            .await?;
        collector.post(&look(location, going).await?).await?;
        Ok(swept)
    };
    let done = done.await;
    collector.close().await;
    done
}

async fn is_whole(location: &Location, point: &Point) -> bool {
    let listed = location.points(Some(SOURCE)).await.expect("listed");
    let there = listed.entries.contains(point);
    there && location.check_point_object(&point.objects[0]).await.is_ok()
}

#[tokio::test]
async fn what_is_noted_goes_with_the_next_run_unless_it_is_held_meanwhile() {
    let location = in_store(Arc::new(MemoryStore::new()));
    let (old, held, kept) = (
        point(&location, "old").await,
        point(&location, "held").await,
        point(&location, "kept").await,
    );
    let going = [&old, &held];
    let first = collect(&location, &going).await.expect("noted");
    assert_eq!(first, Swept::default());
    assert!(is_whole(&location, &old).await, "only noted");
    let hold = location.hold_point(&held, "audit", "alice").await;
    let hold = hold.expect("held");
    let swept = collect(&location, &going).await.expect("swept");
    assert_eq!((swept.removed, swept.points.len()), (2, 1));
    let keys = dump(&location, "plugins/salvor").await;
    assert!(
        !keys
            .keys()
            .any(|key| key.contains("/old/") || key.contains(old.id.as_str()))
    );
    assert!(is_whole(&location, &held).await && is_whole(&location, &kept).await);
    // Released, it is noted anew and waits once more.
    location
        .release_point(&held, "none")
        .await
        .expect_err("no hold");
    location
        .release_point(&held, &hold.id)
        .await
        .expect("released");
    let noted = collect(&location, &going).await.expect("noted");
    assert_eq!((noted.removed, is_whole(&location, &held).await), (0, true));
    let swept = collect(&location, &going).await.expect("swept");
    // Its record, the hold, the release and its object.
    assert_eq!(swept.removed, 4);
    assert!(is_whole(&location, &kept).await);
    let notices = dump(&location, "plugins/salvor/gc").await;
    let notices = notices.keys().filter(|key| key.ends_with(".json"));
    assert_eq!(
        notices.count(),
        1,
        "those that were carried out are forgotten"
    );
}

#[tokio::test]
async fn a_young_notice_waits_and_one_collects_at_a_time() {
    let location = in_store(Arc::new(MemoryStore::new()));
    let old = point(&location, "old").await;
    let collector = location.collector(SOURCE, &RunId::generate()).await;
    let collector = collector.expect("free");
    let seen = look(&location, &[&old]).await.expect("looked");
    let posted = collector.post(&seen).await.expect("noted");
    assert_eq!(posted.expect("one").garbage.len(), 2);
    assert_eq!(collector.post(&seen).await.expect("noted already"), None);
    let going = [&old];
    let swept = collector
        .sweep(Duration::from_secs(3600), || look(&location, &going))
        .await;
    assert_eq!(swept.expect("nothing is due"), Swept::default());
    let busy = location.collector(SOURCE, &RunId::generate()).await;
    assert!(busy.expect_err("taken").is_busy());
    let busy = location.hold_point(&old, "late", "bob").await;
    assert!(busy.expect_err("it may be going").is_busy());
    collector.close().await;
    location
        .hold_point(&old, "early", "bob")
        .await
        .expect("held");
}

#[tokio::test]
async fn a_listing_that_lacks_a_point_stops_it_before_anything_goes() {
    let location = in_store(Arc::new(MemoryStore::new()));
    let (old, other) = (
        point(&location, "old").await,
        point(&location, "other").await,
    );
    collect(&location, &[&old]).await.expect("noted");
    let record = other.record_key().expect("a key");
    let record = salvor_storage::Key::new(record).expect("a key");
    location.store().delete(&record).await.expect("lost");
    let before = dump(&location, "plugins/salvor/etcd").await;
    let stopped = collect(&location, &[&old])
        .await
        .expect_err("one is missing");
    let Error::RecordsMissing { missing, of, named } = &stopped else {
        panic!("{stopped}");
    };
    assert_eq!((*missing, *of, named.as_str()), (1, 2, other.id.as_str()));
    assert_eq!(dump(&location, "plugins/salvor/etcd").await, before);
    assert!(is_whole(&location, &old).await);

    // On purpose: what was noted is forgotten, and the grace period begins anew.
    let collector = location.collector(SOURCE, &RunId::generate()).await;
    let collector = collector.expect("free");
    assert_eq!(collector.withdraw().await.expect("withdrawn"), 1);
    collector.close().await;
    collect(&location, &[&old]).await.expect("noted");
    let swept = collect(&location, &[&old]).await.expect("swept");
    assert_eq!(swept.points.len(), 1);
}

#[tokio::test]
async fn what_the_two_looks_do_not_agree_on_stays() {
    let location = in_store(Arc::new(MemoryStore::new()));
    let (one, two) = (point(&location, "one").await, point(&location, "two").await);
    collect(&location, &[&one, &two]).await.expect("noted");
    let collector = location.collector(SOURCE, &RunId::generate()).await;
    let collector = collector.expect("free");
    let mut looks = 0;
    let swept = collector
        .sweep(Duration::ZERO, || {
            looks += 1;
            let going = if looks == 1 {
                [&one, &two]
            } else {
                [&two, &two]
            };
            let location = &location;
            async move { look(location, &going).await }
        })
        .await;
    let swept: Result<Swept, Error> = swept;
    assert_eq!(swept.expect("swept").points.len(), 1);
    assert!(is_whole(&location, &one).await && !is_whole(&location, &two).await);
    collector.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_every_operation_leaves_what_is_reached_and_the_next_run_finishes() {
    let mut ended = 0;
    for fault in [
        Fault::Before(ErrorKind::Transient),
        Fault::AfterWithError,
        Fault::CrashBefore,
        Fault::CrashAfter,
    ] {
        for at in 0.. {
            let inner: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
            let sound = in_store(Arc::clone(&inner));
            let (old, kept) = (point(&sound, "old").await, point(&sound, "kept").await);
            collect(&sound, &[&old]).await.expect("noted");
            let store = FaultStore::new(Arc::clone(&inner));
            store.at(at, fault);
            let faulty = in_store(Arc::new(store.clone()));
            let outcome = collect(&faulty, &[&old]).await;
            // A point that is listed is whole, at every moment.
            let listed = sound.points(Some(SOURCE)).await.expect("listed");
            for listed in &listed.entries {
                assert!(is_whole(&sound, listed).await, "{fault:?} at {at}");
            }
            assert!(is_whole(&sound, &kept).await, "{fault:?} at {at}");
            // A writer at the same time, and the next run once the claim of the dead one is over.
            let new = point(&sound, "new").await;
            tokio::time::advance(crate::world::LONG).await;
            let patient = impatient(&sound);
            collect(&patient, &[&old]).await.expect("it goes on");
            assert!(!is_whole(&sound, &old).await, "{fault:?} at {at}");
            let keys = dump(&sound, "plugins/salvor/etcd").await;
            assert!(
                !keys.keys().any(|key| key.contains("/old/")),
                "{fault:?} at {at}"
            );
            assert!(is_whole(&sound, &kept).await && is_whole(&sound, &new).await);
            if store.operations() <= at {
                outcome.expect("nothing failed");
                ended += 1;
                break;
            }
        }
    }
    assert_eq!(ended, 4);
}

/// One for whom a claim is over at once: the store's clock stands still here.
fn impatient(location: &Location) -> Location {
    let policy = salvor_location::claim::ClaimPolicy {
        lease: Duration::ZERO,
        ..Default::default()
    };
    location.clone().with_claim_policy(policy)
}

#[tokio::test]
async fn retention_keeps_what_is_held_needed_or_verified() {
    let location = in_store(Arc::new(MemoryStore::new()));
    let mut all = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        all.push(point(&location, name).await);
    }
    let days = |days: i64| Timestamp::now() - Duration::from_secs(days as u64 * 86_400);
    for (point, age) in all.iter_mut().zip([9, 7, 5, 3, 1]) {
        point.created = days(age);
    }
    location
        .hold_point(&all[0], "audit", "alice")
        .await
        .expect("held");
    assert_eq!(location.verify_point(&all[1]).await.expect("read"), None);
    let key = salvor_storage::Key::new(all[4].objects[0].key.clone()).expect("a key");
    location.store().delete(&key).await.expect("gone");
    let found = location.verify_point(&all[4]).await.expect("read");
    assert!(found.expect("damaged").contains("is gone"));
    let additions = location.additions(SOURCE).await.expect("read");
    assert_eq!(additions[all[1].id.as_str()].sound, Some(true));
    assert_eq!(additions[all[4].id.as_str()].sound, Some(false));
    let used = BTreeMap::from([(all[2].id.to_string(), "the window".to_owned())]);
    let policy: Policy = "last=1".parse().expect("a policy");
    let points: Vec<&Point> = all.iter().collect();
    let made = plan(
        "default",
        SOURCE,
        &points,
        &additions,
        Some(&policy),
        &used,
        Timestamp::now(),
    );
    let text = made.to_string();
    let removed: Vec<&str> = made.series[0].removed().collect();
    for kept in &all[..4] {
        assert!(!removed.contains(&kept.id.as_str()), "{text}");
    }
    assert!(
        text.contains("held") && text.contains("the window"),
        "{text}"
    );
    let none = plan(
        "default",
        SOURCE,
        &points,
        &additions,
        None,
        &BTreeMap::new(),
        Timestamp::now(),
    );
    assert_eq!(
        none.series[0].removed().count(),
        0,
        "without a policy nothing goes"
    );
}
