//! Everything that is committed in one location, brought to another.

use std::sync::Arc;

use expect_test::expect;
use salvor_api::velero::Restore;
use salvor_location::copy::{CopyOptions, mirror};
use salvor_location::{Digest, Error, Location, RunId};
use salvor_storage::testing::{Fault, FaultStore};
use salvor_storage::{Key, MemoryStore, PutMode};

use crate::world::{damage, dump, location_called, name, velero_backup, write_backup};

async fn busy_location() -> Location {
    let source = location_called("here", Arc::new(MemoryStore::new()));
    write_backup(&source, &RunId::generate())
        .await
        .expect("written");
    for called in ["old-1", "old-2", "old-3"] {
        velero_backup(&source, called).await;
    }
    source
        .hold(&name("old-1"), "audit", "alice")
        .await
        .expect("held");
    let mut restore = Restore::named("velero", "back");
    restore.spec.backup_name = "nightly".into();
    let mut writer = source
        .begin_restore(&restore, &RunId::generate())
        .await
        .expect("begun");
    writer
        .put("salvor-plan.zst", "a plan".into())
        .await
        .expect("written");
    writer.finish(&restore).await.expect("finished");
    let mut open = Restore::named("velero", "open");
    open.spec.backup_name = "nightly".into();
    source
        .begin_restore(&open, &RunId::generate())
        .await
        .expect("begun")
        .suspend()
        .await;
    damage(&source, "restores/theirs/restore-theirs-logs.gz", b"a log").await;
    damage(&source, "kopia/ns/p01", b"a pack").await;
    source
}

/// What a mirror must make equal: all but claims and what each location says of itself.
async fn stored(location: &Location) -> Vec<(String, bytes::Bytes)> {
    let mut all = Vec::new();
    for folder in ["backups", "restores", "plugins/salvor/holds"] {
        let found = dump(location, folder).await;
        all.extend(
            found
                .into_iter()
                .filter(|(key, _)| !key.starts_with("restores/open")),
        );
    }
    all
}

#[tokio::test]
async fn a_mirror_brings_backups_restores_and_holds_and_says_what_it_leaves() {
    let source = busy_location().await;
    let target = location_called("there", Arc::new(MemoryStore::new()));
    let plan = mirror::plan(&source, &target, false)
        .await
        .expect("planned");
    assert!(dump(&target, "").await.is_empty(), "a plan changes nothing");
    let text = plan.to_string();
    let shown: Vec<String> = text
        .lines()
        .map(|line| {
            line.split(char::is_numeric)
                .next()
                .map_or(line, |_| line)
                .to_owned()
        })
        .filter(|line| !line.contains("nightly") && !line.contains("back:"))
        .collect();
    expect![[r#"
        backup old-1: copy 261 bytes
        backup old-2: copy 261 bytes
        backup old-3: copy 261 bytes
        restore open: leave: it is not finished
        restore theirs: copy 5 bytes
        folder kopia/: not part of a mirror"#]]
    .assert_eq(&normal(&shown.join("\n")));
    let options = CopyOptions::default();
    let done = mirror::apply(&source, &target, &plan, &options)
        .await
        .expect("mirrored");
    assert!(done.failed.is_empty(), "{:?}", done.failed);
    assert_eq!(done.done.len(), 6);
    assert_eq!(options.transfer.done(), plan.steps());
    assert_eq!(stored(&target).await, stored(&source).await);
    let again = mirror::plan(&source, &target, true).await.expect("planned");
    assert_eq!((again.steps(), again.bytes()), (0, 0), "{again}");
}

/// The size of a record depends on how it is indented in this file.
fn normal(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        match line
            .strip_suffix(" bytes")
            .and_then(|line| line.rsplit_once(' '))
        {
            Some((head, size)) if line.contains("old-") => {
                let size: u64 = size.parse().expect("a size");
                assert!(size > 100, "{line}");
                lines.push(format!("{head} 261 bytes"));
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}

#[tokio::test]
async fn a_mirror_killed_at_any_operation_is_completed_by_the_next() {
    let source = busy_location().await;
    let wanted = stored(&source).await;
    let run = async |store: &FaultStore| {
        let policy = salvor_location::claim::ClaimPolicy {
            lease: std::time::Duration::ZERO,
            ..Default::default()
        };
        let target = location_called("there", Arc::new(store.clone())).with_claim_policy(policy);
        let plan = mirror::plan(&source, &target, false).await?;
        let done = mirror::apply(&source, &target, &plan, &CopyOptions::default()).await?;
        Ok::<_, Error>((target, done))
    };
    let store = FaultStore::new(Arc::new(MemoryStore::new()));
    run(&store).await.expect("mirrored");
    let operations = store.operations();
    for operation in (0..operations).step_by(3) {
        let store = FaultStore::new(Arc::new(MemoryStore::new()));
        store.at(operation, Fault::CrashAfter);
        drop(run(&store).await);
        store.heal();
        let (target, done) = run(&store).await.expect("mirrored");
        assert!(
            done.failed.is_empty(),
            "after {operation}: {:?}",
            done.failed
        );
        assert_eq!(stored(&target).await, wanted, "after {operation}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_writes_at_the_target_is_waited_for_but_not_for_ever() {
    use std::time::Duration;
    for gives_up in [true, false] {
        let source = busy_location().await;
        let target = location_called("there", Arc::new(MemoryStore::new()));
        let run = RunId::generate();
        let other = target
            .begin_backup(&name("old-1"), &run)
            .await
            .expect("begun");
        let other = tokio::spawn(async move {
            let lasts = if gives_up { 60 } else { 3600 };
            let lasts = Duration::from_secs(lasts);
            drop(tokio::time::timeout(lasts, std::future::pending::<()>()).await);
            other.abandon().await;
        });
        let plan = mirror::plan(&source, &target, false)
            .await
            .expect("planned");
        let began = tokio::time::Instant::now();
        let done = mirror::apply(&source, &target, &plan, &CopyOptions::default()).await;
        let done = done.expect("mirrored");
        if gives_up {
            assert_eq!(
                (done.done.len(), done.failed.len()),
                (6, 0),
                "{:?}",
                done.failed
            );
            assert!(began.elapsed() >= Duration::from_secs(60));
        } else {
            assert_eq!(
                (done.done.len(), done.failed.len()),
                (5, 1),
                "nothing else waits"
            );
            assert!(matches!(done.failed[0].1, Error::Busy { .. }));
            assert!(began.elapsed() < Duration::from_secs(600));
        }
        other.abort();
    }
}

#[tokio::test]
async fn what_is_deleted_at_the_source_stays_unless_its_removal_is_asked_for() {
    let source = busy_location().await;
    let target = location_called("there", Arc::new(MemoryStore::new()));
    velero_backup(&target, "own").await;
    let mirror = async |prune| {
        let plan = mirror::plan(&source, &target, prune)
            .await
            .expect("planned");
        let done = mirror::apply(&source, &target, &plan, &CopyOptions::default()).await;
        done.expect("mirrored")
    };
    mirror(false).await;
    for gone in ["old-2", "old-3"] {
        source
            .delete_backup(&name(gone), &RunId::generate())
            .await
            .expect("deleted");
    }
    target
        .hold(&name("old-3"), "kept", "bob")
        .await
        .expect("held");
    assert_eq!(mirror(false).await.removed, Vec::<String>::new());
    let plan = mirror::plan(&source, &target, true).await.expect("planned");
    assert_eq!(plan.removals().collect::<Vec<_>>(), ["old-2"], "{plan}");
    assert!(
        plan.to_string().contains("backup old-3: leave: held: kept"),
        "{plan}"
    );
    assert_eq!(mirror(true).await.removed, ["old-2"]);
    target
        .backup(&name("own"))
        .await
        .expect("what was made there stays");
}

#[tokio::test]
async fn a_source_that_lost_most_of_its_backups_takes_none_from_the_mirror() {
    let source = location_called("here", Arc::new(MemoryStore::new()));
    write_backup(&source, &RunId::generate())
        .await
        .expect("written");
    for n in 0..12 {
        velero_backup(&source, &format!("old-{n:02}")).await;
    }
    let target = location_called("there", Arc::new(MemoryStore::new()));
    let plan = mirror::plan(&source, &target, false)
        .await
        .expect("planned");
    let options = CopyOptions::default();
    mirror::apply(&source, &target, &plan, &options)
        .await
        .expect("mirrored");
    for n in 0..10 {
        let gone = name(&format!("old-{n:02}"));
        source
            .delete_backup(&gone, &RunId::generate())
            .await
            .expect("deleted");
    }
    let plan = mirror::plan(&source, &target, true).await.expect("planned");
    assert!(plan.stopped);
    assert_eq!(plan.removals().count(), 0, "{plan}");
    assert_eq!(plan.left_out().count(), 10);
}

#[tokio::test]
async fn one_damaged_backup_keeps_no_other_from_being_mirrored() {
    let source = busy_location().await;
    damage(&source, "backups/nightly/nightly.tar.gz", b"?").await;
    damage(&source, "backups/broken/velero-backup.json", b"{").await;
    let target = location_called("there", Arc::new(MemoryStore::new()));
    let plan = mirror::plan(&source, &target, false)
        .await
        .expect("planned");
    assert_eq!(plan.left_out().count(), 2, "{plan}");
    let done = mirror::apply(&source, &target, &plan, &CopyOptions::default()).await;
    let done = done.expect("mirrored");
    assert_eq!(done.failed.len(), 1, "{:?}", done.failed);
    assert_eq!(done.failed[0].0, "nightly");
    assert_eq!(target.backups().await.expect("listed").entries.len(), 3);
}

/// A folder as restic writes it, as far as a mirror looks: files named by their bytes, and others.
async fn repository(location: &Location, folder: &str, config: &str) {
    put(location, &format!("{folder}/config"), config.as_bytes()).await;
    for (part, count) in [("keys", 1), ("data", 3), ("index", 2), ("snapshots", 2)] {
        for i in 0..count {
            let bytes = format!("{folder} {part} {i}");
            let name = Digest::of(bytes.as_bytes()).to_string();
            let shard = if part == "data" {
                format!("data/{}", &name[..2])
            } else {
                part.to_owned()
            };
            put(
                location,
                &format!("{folder}/{shard}/{name}"),
                bytes.as_bytes(),
            )
            .await;
        }
    }
    put(
        location,
        &format!("{folder}/locks/{}", Digest::of(b"lock")),
        b"lock",
    )
    .await;
    put(location, &format!("{folder}/data/tmp-123"), b"half").await;
}

async fn put(location: &Location, key: &str, bytes: &[u8]) {
    let key = Key::new(key).expect("a key");
    let body = bytes::Bytes::copy_from_slice(bytes);
    let put = location.store().put(&key, body, PutMode::Overwrite).await;
    put.expect("written");
}

/// What a mirror of a repository must bring.
async fn repository_files(
    location: &Location,
    folder: &str,
) -> std::collections::BTreeMap<String, bytes::Bytes> {
    let all = dump(location, folder).await;
    all.into_iter()
        .filter(|(key, _)| !key.contains("/locks/") && !key.contains("tmp-"))
        .collect()
}

#[tokio::test]
async fn repositories_go_along_with_their_snapshots_last_and_strangers_are_left() {
    let source = location_called("here", Arc::new(MemoryStore::new()));
    let ours = "plugins/salvor/repository/host-a";
    repository(&source, ours, "ours").await;
    repository(&source, "restic/shop", "velero's").await;
    let empty = location_called("there", Arc::new(MemoryStore::new()));
    let plan = mirror::plan(&source, &empty, false).await.expect("planned");
    assert_eq!(plan.left, Vec::<String>::new());
    let mut operation = 0;
    loop {
        let store = FaultStore::new(Arc::new(MemoryStore::new()));
        let target = location_called("there", Arc::new(store.clone()));
        let plan = mirror::plan(&source, &target, false)
            .await
            .expect("planned");
        assert_eq!(plan.steps(), 2, "{plan}");
        let seen = store.operations();
        store.at(seen + operation, Fault::CrashBefore);
        let broken = mirror::apply(&source, &target, &plan, &CopyOptions::default()).await;
        let is_over = store.operations() <= seen + operation;
        store.heal();
        // A snapshot is there only with all that it needs.
        let there = dump(&target, ours).await;
        if there.iter().any(|(key, _)| key.contains("/snapshots/")) {
            let needed = there
                .iter()
                .filter(|(key, _)| !key.contains("/snapshots/") && !key.ends_with("/config"));
            assert_eq!(needed.count(), 6, "after {operation} operations");
        }
        let plan = mirror::plan(&source, &target, false)
            .await
            .expect("planned");
        let done = mirror::apply(&source, &target, &plan, &CopyOptions::default())
            .await
            .expect("mirrored");
        assert!(done.failed.is_empty(), "{:?}", done.failed);
        for folder in [ours, "restic/shop"] {
            assert_eq!(
                dump(&target, folder).await,
                repository_files(&source, folder).await,
                "after {operation}"
            );
        }
        let again = mirror::plan(&source, &target, false)
            .await
            .expect("planned");
        assert_eq!(again.steps(), 0, "{again}");
        if is_over {
            assert!(broken.is_ok_and(|done| done.failed.is_empty()));
            break;
        }
        operation += 1;
    }
    assert!(operation > 20, "only {operation} operations");
}

#[tokio::test]
async fn a_damaged_pack_keeps_the_snapshots_back_and_another_repository_is_not_written_to() {
    let source = location_called("here", Arc::new(MemoryStore::new()));
    let target = location_called("there", Arc::new(MemoryStore::new()));
    repository(&source, "restic/shop", "one").await;
    repository(&source, "restic/bank", "two").await;
    put(&target, "restic/bank/config", b"three").await;
    let pack = Digest::of(b"restic/shop data 0").to_string();
    put(
        &source,
        &format!("restic/shop/data/{}/{pack}", &pack[..2]),
        b"restic/shop data X",
    )
    .await;
    let plan = mirror::plan(&source, &target, false)
        .await
        .expect("planned");
    let left: Vec<_> = plan.left_out().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(left, ["restic/bank"]);
    let done = mirror::apply(&source, &target, &plan, &CopyOptions::default())
        .await
        .expect("mirrored");
    let [(name, Error::SourceDamaged { key, .. })] = done.failed.as_slice() else {
        panic!("{:?}", done.failed);
    };
    assert!(
        name == "restic/shop" && key.contains(&pack),
        "{name}: {key}"
    );
    let there = dump(&target, "restic").await;
    assert!(
        there.iter().all(|(key, _)| !key.contains("/snapshots/")),
        "{there:?}"
    );
    assert_eq!(
        there
            .iter()
            .filter(|(key, _)| key.contains("/data/"))
            .count(),
        2
    );
}
