//! What verifications found, beside the backup.

use std::sync::Arc;

use salvor_location::RunId;
use salvor_storage::MemoryStore;

use crate::world::{damage, dump, location, name, write_backup};

#[tokio::test]
async fn the_newest_verification_counts_and_speaks_for_one_backup_only() {
    let place = location(Arc::new(MemoryStore::new()));
    let record = write_backup(&place, &RunId::generate())
        .await
        .expect("written");
    let verify = async || {
        let found = place.verify_files(&record).await.expect("read");
        place
            .record_verification(&record, &found)
            .await
            .expect("written down")
    };
    assert_eq!(
        place.verdicts().await.expect("listed").of(&record.backup),
        None
    );
    assert!(verify().await.sound);
    assert!(
        place
            .verdicts()
            .await
            .expect("listed")
            .is_sound(&record.backup)
    );
    let archive = dump(&place, "backups").await["backups/nightly/nightly.tar.gz"].clone();
    damage(&place, "backups/nightly/nightly.tar.gz", b"?").await;
    let report = verify().await;
    assert_eq!(report.findings.len(), 1);
    let verdicts = place.verdicts_on(&name("nightly")).await.expect("listed");
    assert!(verdicts.is_damaged(&record.backup));
    assert_eq!(
        verdicts.of(&record.backup).map(|verdict| verdict.number),
        Some(2)
    );
    let key = salvor_storage::Key::new("backups/nightly/nightly.tar.gz").expect("a key");
    let mode = salvor_storage::PutMode::Overwrite;
    place
        .store()
        .put(&key, archive, mode)
        .await
        .expect("mended");
    verify().await;
    assert!(
        place
            .verdicts()
            .await
            .expect("listed")
            .is_sound(&record.backup)
    );
    // What a deletion that died left speaks for nobody else.
    let left = dump(&place, "plugins/salvor/verified").await;
    assert_eq!(left.len(), 3);
    place
        .delete_backup(&name("nightly"), &RunId::generate())
        .await
        .expect("deleted");
    assert!(dump(&place, "plugins/salvor/verified").await.is_empty());
    for (key, bytes) in left {
        let key = salvor_storage::Key::new(key).expect("a key");
        place.store().put(&key, bytes, mode).await.expect("written");
    }
    let next = write_backup(&place, &RunId::generate())
        .await
        .expect("written");
    assert_eq!(
        place.verdicts().await.expect("listed").of(&next.backup),
        None
    );
}
