//! A damaged backup, and a good copy of it.

use std::sync::Arc;

use salvor_location::copy::repair::Mend;
use salvor_location::copy::{CopyOptions, Transfer};
use salvor_location::{Error, Location, RunId};
use salvor_storage::testing::{Fault, FaultStore};
use salvor_storage::{Key, MemoryStore};

use crate::world::{damage, dump, location_called, name, velero_backup, write_backup};

const FOLDER: &str = "backups/nightly";

async fn pair(ours: Arc<dyn salvor_storage::ObjectStore>) -> (Location, Location) {
    let source = location_called("here", ours);
    write_backup(&source, &RunId::generate())
        .await
        .expect("written");
    let target = location_called("there", Arc::new(MemoryStore::new()));
    let copied = source
        .copy_backup(&name("nightly"), &target, &CopyOptions::default())
        .await;
    copied.expect("copied");
    (source, target)
}

#[tokio::test]
async fn every_file_that_is_damaged_or_gone_comes_back_from_the_copy() {
    let files = [
        "nightly.tar.gz",
        "nightly-logs.gz",
        "nightly-results.gz",
        "salvor-manifest.json",
        "velero-backup.json",
    ];
    for file in files {
        for gone in [false, true] {
            let (source, copy) = pair(Arc::new(MemoryStore::new())).await;
            let wanted = dump(&source, FOLDER).await;
            let key = format!("{FOLDER}/{file}");
            if gone {
                let key = Key::new(&*key).expect("a key");
                source.store().delete(&key).await.expect("deleted");
            } else {
                damage(&source, &key, b"not this").await;
            }
            let mend = source
                .repair_backup(
                    &name("nightly"),
                    std::slice::from_ref(&copy),
                    &Transfer::default(),
                )
                .await;
            if gone && file == "velero-backup.json" {
                // What has no commit record may have been deleted on purpose.
                assert!(matches!(mend, Err(Error::BackupNotFound { .. })));
                continue;
            }
            let mend = mend.expect(file);
            assert!(mend.is_whole());
            assert_eq!(mend.mended.len(), 1, "{file}");
            assert_eq!(mend.mended[0].0, file);
            assert_eq!(mend.sound, 4, "{file}");
            assert_eq!(dump(&source, FOLDER).await, wanted, "{file}");
        }
    }
}

#[tokio::test]
async fn bytes_that_are_damaged_in_both_are_left_and_the_rest_is_repaired() {
    let (source, copy) = pair(Arc::new(MemoryStore::new())).await;
    for place in [&source, &copy] {
        damage(place, &format!("{FOLDER}/nightly.tar.gz"), b"not this").await;
    }
    damage(&source, &format!("{FOLDER}/nightly-logs.gz"), b"nor that").await;
    let mend = source
        .repair_backup(
            &name("nightly"),
            std::slice::from_ref(&copy),
            &Transfer::default(),
        )
        .await
        .expect("looked at");
    assert!(!mend.is_whole());
    let lost = mend
        .mended
        .iter()
        .find(|(file, _)| file == "nightly.tar.gz");
    match lost {
        Some((_, Mend::Lost { tried, .. })) => assert!(tried[0].contains("there"), "{tried:?}"),
        other => panic!("{other:?}"),
    }
    let now = dump(&source, FOLDER).await;
    assert_eq!(
        now[&format!("{FOLDER}/nightly.tar.gz")],
        "not this",
        "it is as it was"
    );
    // From a third place that is whole, it is whole again.
    let whole = mend.mended.iter().any(|(file, mend)| {
        file == "nightly-logs.gz" && matches!(mend, Mend::Replaced { from, .. } if from == "there")
    });
    assert!(whole, "{mend:?}");
}

#[tokio::test]
async fn another_backup_of_the_name_repairs_nothing() {
    let (source, _) = pair(Arc::new(MemoryStore::new())).await;
    let other = location_called("other", Arc::new(MemoryStore::new()));
    write_backup(&other, &RunId::generate())
        .await
        .expect("written");
    for file in [
        "nightly-logs.gz",
        "salvor-manifest.json",
        "velero-backup.json",
    ] {
        let key = format!("{FOLDER}/{file}");
        let before = dump(&source, FOLDER).await;
        damage(&source, &key, b"not this").await;
        let mend = source
            .repair_backup(
                &name("nightly"),
                std::slice::from_ref(&other),
                &Transfer::default(),
            )
            .await;
        assert!(!mend.is_ok_and(|mend| mend.is_whole()), "{file}");
        assert_eq!(dump(&source, FOLDER).await[&key], "not this", "{file}");
        let right = before[&key].clone();
        let key = Key::new(key).expect("a key");
        let mode = salvor_storage::PutMode::Overwrite;
        source
            .store()
            .put(&key, right, mode)
            .await
            .expect("as it was");
    }
}

#[tokio::test]
async fn a_repair_killed_at_any_operation_leaves_each_file_right_or_as_it_was() {
    let store = FaultStore::new(Arc::new(MemoryStore::new()));
    let (source, copy) = pair(Arc::new(store.clone())).await;
    let source = source.with_claim_policy(salvor_location::claim::ClaimPolicy {
        lease: std::time::Duration::ZERO,
        ..Default::default()
    });
    let wanted = dump(&source, FOLDER).await;
    let key = format!("{FOLDER}/nightly.tar.gz");
    let repair = async || {
        let copies = std::slice::from_ref(&copy);
        source
            .repair_backup(&name("nightly"), copies, &Transfer::default())
            .await
    };
    damage(&source, &key, b"not this").await;
    let before = store.operations();
    repair().await.expect("repaired");
    let operations = store.operations() - before;
    for operation in 0..operations {
        damage(&source, &key, b"not this").await;
        store.at(store.operations() + operation, Fault::CrashAfter);
        drop(repair().await);
        store.heal();
        let now = dump(&source, FOLDER).await;
        assert!(
            now[&key] == "not this" || now[&key] == wanted[&key],
            "{operation}"
        );
        assert!(repair().await.expect("repaired").is_whole());
        assert_eq!(dump(&source, FOLDER).await, wanted, "{operation}");
    }
}

#[tokio::test]
async fn a_backup_of_veleros_is_repaired_by_the_digests_that_its_copy_has() {
    let source = location_called("here", Arc::new(MemoryStore::new()));
    velero_backup(&source, "old").await;
    let copy = location_called("there", Arc::new(MemoryStore::new()));
    let alone = source
        .repair_backup(&name("old"), &[], &Transfer::default())
        .await;
    assert!(
        matches!(alone, Err(Error::BadRecord { .. })),
        "nobody knows what is right"
    );
    source
        .copy_backup(&name("old"), &copy, &CopyOptions::default())
        .await
        .expect("copied");
    let wanted = dump(&source, "backups").await;
    damage(&source, "backups/old/old.tar.gz", b"an archivE").await;
    let mend = source
        .repair_backup(
            &name("old"),
            std::slice::from_ref(&copy),
            &Transfer::default(),
        )
        .await
        .expect("repaired");
    assert!(mend.is_whole());
    assert_eq!(dump(&source, "backups").await, wanted);
}
