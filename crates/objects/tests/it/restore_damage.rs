//! Restores of damaged archives: refused with the damage named, or everything that is readable.

use std::collections::BTreeSet;

use bytes::Bytes;
use salvor_api::name::BackupName;
use salvor_api::velero::RestorePhase;
use salvor_location::Location;
use salvor_objects::damage::Damage;
use salvor_objects::diff;
use salvor_objects::restore::error::Cause;
use salvor_objects::restore::plan::Action;
use salvor_objects::restore::selection::Selection;
use salvor_objects::restore::{RestoreRequest, Source};
use salvor_storage::{Key, PutMode};
use serde_json::{Value, json};

use crate::restore_world::{carried_out, complaints, hand_made, planned, request};
use crate::world::{World, back_up, config_map, memory_location, namespace, request as backup};

/// A ConfigMap that fills a member of its own: hexadecimal digits without repetition.
fn large(name: &str, seed: u64) -> Value {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        format!("{:08x}", state >> 32)
    };
    let text: String = (0..40_000).map(|_| next()).collect();
    let mut object = config_map("prod", name);
    object["data"]["key"] = json!(text);
    object
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Backup `b` of five large ConfigMaps and a small one elsewhere.
async fn stored() -> Location {
    let (world, location) = (World::empty(), memory_location());
    world.create(namespace("prod")).await;
    world.create(namespace("dev")).await;
    for (name, seed) in NAMES.iter().zip(1..) {
        world.create(large(name, seed)).await;
    }
    world.create(config_map("dev", "small")).await;
    back_up(&world, &location, backup("b", |_| ()))
        .await
        .expect("a backup");
    location
}

fn name() -> BackupName {
    BackupName::new("b").expect("valid")
}

async fn change(location: &Location, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let bytes = location
        .read_file(&name(), file, 64 << 20)
        .await
        .expect("readable");
    let mut bytes = bytes.expect("it is there").to_vec();
    change(&mut bytes);
    put(location, file, bytes.into()).await;
}

async fn put(location: &Location, file: &str, bytes: Bytes) {
    let key = Key::new(format!("backups/b/{file}")).expect("valid");
    let written = location.store().put(&key, bytes, PutMode::Overwrite).await;
    written.expect("memory");
}

/// Flips one bit in the middle of the member that holds this ConfigMap.
async fn damage(location: &Location, object: &str) {
    let source = Source::open(location, &name()).await.expect("a backup");
    let entry = source
        .archive
        .index()
        .iter()
        .find(|entry| entry.name() == object);
    let place = entry.expect("it is held").member();
    let middle = (place.offset + place.compressed_len / 2) as usize;
    change(location, "b.tar.gz", |bytes| bytes[middle] ^= 4).await;
}

async fn readable(request: RestoreRequest, location: &Location) -> RestoreRequest {
    let source = Source::open_readable(location, &name()).await;
    RestoreRequest {
        source: source.expect("it can be read in part"),
        ..request
    }
}

fn damage_of(source: &Source) -> &Damage {
    source.damage.as_ref().expect("it is damaged")
}

#[tokio::test]
async fn a_flipped_bit_is_refused_and_told_with_what_is_lost() {
    let location = stored().await;
    damage(&location, "c").await;
    let world = World::empty();
    let request = request(&world.cluster, &location, "r", |_, _| ()).await;
    let error = planned(&request).await.expect_err("it is damaged");
    assert!(matches!(error.cause(), Cause::Damaged(_)), "{error}");
    let text = error.to_string();
    for part in [
        "`b.tar.gz`",
        "the member at byte ",
        "does not decompress",
        "configmaps prod/c",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("prod/a"), "{text}");
    let selection = Selection::compile(&request.restore.spec, &[], None).expect("valid");
    let source = Source::open(&location, &name())
        .await
        .expect("the index is sound");
    let differs = diff::with_cluster(&source, &world.cluster, &selection).await;
    let error = differs.expect_err("it is damaged").to_string();
    assert!(error.contains("configmaps prod/c"), "{error}");
}

#[tokio::test]
async fn everything_but_the_damaged_member_is_restored_and_each_lost_object_is_an_error() {
    let location = stored().await;
    damage(&location, "c").await;
    let world = World::empty();
    let all = request(&world.cluster, &location, "r", |_, options| {
        options.skip_damaged = true;
    });
    let request = readable(all.await, &location).await;
    let lost: BTreeSet<String> = damage_of(&request.source)
        .lost
        .iter()
        .map(|lost| lost.key.scoped_name())
        .collect();
    assert!(lost.contains("prod/c") && lost.len() < 3, "{lost:?}");
    let plan = planned(&request).await.expect("planned");
    let blocked = plan.entries.iter().filter(|e| e.action == Action::Blocked);
    let blocked: BTreeSet<String> = blocked.map(|e| e.source().scoped_name()).collect();
    assert_eq!(blocked, lost);

    let outcome = carried_out(&request, &location).await.expect("restored");
    assert_eq!(*outcome.phase(), RestorePhase::PartiallyFailed);
    assert_eq!(outcome.restore.status.errors, lost.len() as i64);
    let complaints = complaints(&outcome);
    for name in &lost {
        let (_, name) = name.split_once('/').expect("in a namespace");
        let is_told = |line: &String| {
            line.starts_with("error") && line.contains(name) && line.contains("damaged")
        };
        assert!(complaints.iter().any(is_told), "{name}: {complaints:?}");
    }
    for name in NAMES {
        let found = world.get("configmaps", Some("prod"), name).await.is_some();
        assert_eq!(found, !lost.contains(&format!("prod/{name}")), "{name}");
    }
    assert!(
        world
            .get("configmaps", Some("dev"), "small")
            .await
            .is_some()
    );
}

#[tokio::test]
async fn a_restore_that_needs_nothing_damaged_is_completed() {
    let location = stored().await;
    damage(&location, "c").await;
    let world = World::empty();
    let dev = request(&world.cluster, &location, "r", |restore, _| {
        restore.spec.included_namespaces = vec!["dev".into()];
    });
    let request = readable(dev.await, &location).await;
    let outcome = carried_out(&request, &location).await.expect("restored");
    let complaints = complaints(&outcome);
    // The damage is told; it cost this restore nothing.
    assert_eq!(*outcome.phase(), RestorePhase::Completed, "{complaints:?}");
    assert!(
        complaints
            .iter()
            .any(|line| line.contains("`b.tar.gz` is damaged"))
    );
}

#[tokio::test]
async fn an_archive_that_is_cut_off_or_lost_its_index_gives_what_is_there() {
    for lose_index in [false, true] {
        let location = stored().await;
        change(&location, "b.tar.gz", |bytes| {
            bytes.truncate(bytes.len() / 2);
        })
        .await;
        if lose_index {
            put(
                &location,
                "salvor-index.zst",
                Bytes::from_static(b"nonsense"),
            )
            .await;
            let refused = Source::open(&location, &name()).await.expect_err("damaged");
            let cause = std::error::Error::source(&refused)
                .expect("a cause")
                .to_string();
            assert!(
                cause.contains("cut off") && cause.contains("lost with it"),
                "{cause}"
            );
        }
        let world = World::empty();
        let source = Source::open_readable(&location, &name())
            .await
            .expect("in part");
        let lost: BTreeSet<_> = damage_of(&source)
            .lost
            .iter()
            .map(|l| l.key.clone())
            .collect();
        let held: BTreeSet<_> = source.archive.index().iter().map(|e| e.key()).collect();
        assert!(!lost.is_empty() && !held.is_empty() && held.is_disjoint(&lost));
        let of_prod = |keys: &BTreeSet<salvor_api::resource::ObjectKey>| {
            let large = |key: &&salvor_api::resource::ObjectKey| {
                key.namespace.as_deref() == Some("prod") && NAMES.contains(&key.name.as_str())
            };
            keys.iter().filter(large).count()
        };
        assert_eq!(
            of_prod(&lost) + of_prod(&held),
            NAMES.len(),
            "index lost: {lose_index}"
        );
        let sound = stored().await;
        let mut request = request(&world.cluster, &sound, "r", |_, _| ()).await;
        request.source = source;
        let outcome = carried_out(&request, &location).await.expect("restored");
        assert_eq!(*outcome.phase(), RestorePhase::PartiallyFailed);
        assert!(outcome.restore.status.errors >= of_prod(&lost) as i64);
    }
}

#[tokio::test]
async fn a_damaged_archive_of_veleros_says_that_it_cannot_say_what_is_lost() {
    let location = memory_location();
    let objects: Vec<Value> = NAMES
        .iter()
        .zip(1..)
        .map(|(n, seed)| large(n, seed))
        .collect();
    let objects: Vec<(&str, Value)> = objects.into_iter().map(|o| ("configmaps", o)).collect();
    hand_made(&location, &objects).await;
    change(&location, "b.tar.gz", |bytes| {
        bytes.truncate(bytes.len() / 2);
    })
    .await;
    let refused = Source::open(&location, &name()).await.expect_err("cut off");
    let cause = std::error::Error::source(&refused)
        .expect("a cause")
        .to_string();
    for part in [
        "`b.tar.gz`",
        "which objects are lost is not known",
        "may be altered",
    ] {
        assert!(cause.contains(part), "{part}: {cause}");
    }
    let source = Source::open_readable(&location, &name())
        .await
        .expect("in part");
    let world = World::empty();
    let intact = memory_location();
    hand_made(&intact, &objects).await;
    let mut request = request(&world.cluster, &intact, "r", |_, _| ()).await;
    request.source = source;
    let outcome = carried_out(&request, &location).await.expect("restored");
    // Nothing that is known is lost, but nobody may take it for complete.
    assert_eq!(*outcome.phase(), RestorePhase::PartiallyFailed);
    assert!(world.get("configmaps", Some("prod"), "a").await.is_some());
    assert!(world.get("configmaps", Some("prod"), "e").await.is_none());
}
