//! A location in memory, and a backup that is written the way the engine writes one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use salvor_api::name::BackupName;
use salvor_api::velero::{Backup, BackupPhase};
use salvor_location::{BackupRecord, BackupWriter, Location, Profile, Result, RunId};
use salvor_storage::{ObjectStore, StoreUrl};

pub(crate) fn location(store: Arc<dyn ObjectStore>) -> Location {
    location_called("default", store)
}

/// A location of this name, at an address of its own.
pub(crate) fn location_called(name: &str, store: Arc<dyn ObjectStore>) -> Location {
    let url = StoreUrl::parse(&format!("memory://{name}")).expect("valid");
    Location::new(
        store,
        Profile {
            name: name.into(),
            url,
            read_only: false,
        },
    )
}

pub(crate) fn name(text: &str) -> BackupName {
    BackupName::new(text).expect("valid name")
}

/// Contents that tell who wrote them.
pub(crate) fn archive_of(run: &RunId) -> Vec<Bytes> {
    (0..3)
        .map(|part| Bytes::from(format!("{run} part {part}\n").repeat(50)))
        .collect()
}

/// Two small files, one in pieces, a commit.
pub(crate) async fn write_backup(location: &Location, run: &RunId) -> Result<BackupRecord> {
    fill(location.begin_backup(&name("nightly"), run).await?).await
}

/// All of [`write_backup`] after its beginning.
pub(crate) async fn fill(mut writer: BackupWriter) -> Result<BackupRecord> {
    let run = &writer.run().clone();
    writer
        .put("nightly-logs.gz", Bytes::from(format!("log of {run}")))
        .await?;
    let mut upload = writer.upload("nightly.tar.gz").await?;
    for part in archive_of(run) {
        upload.write(part).await?;
    }
    upload.finish(&mut writer).await?;
    writer
        .put(
            "nightly-results.gz",
            Bytes::from(format!("results of {run}")),
        )
        .await?;
    let mut backup = Backup::named("velero", "nightly");
    backup.status.phase = BackupPhase::Completed;
    writer
        .commit(
            backup,
            BTreeMap::from([("pods".to_owned(), "42".to_owned())]),
        )
        .await
}

/// What must hold at every moment: either there is no backup, or it is whole and of one run.
pub(crate) async fn assert_whole_or_absent(location: &Location, context: &str) -> Option<RunId> {
    let listing = location.backups().await.expect("listing works");
    assert!(
        listing.damaged.is_empty(),
        "{context}: {:?}",
        listing.damaged
    );
    let record = listing.entries.into_iter().next()?;
    let report = location
        .verify_files(&record)
        .await
        .expect("verification runs");
    assert!(report.is_sound(), "{context}: {:?}", report.findings);
    assert_eq!(report.files, 3, "{context}");
    let run = RunId::from(record.backup.metadata.annotations["salvor.dev/run-id"].clone());
    let archive = location
        .read_file(&record.name, "nightly.tar.gz", 1 << 20)
        .await
        .expect("readable")
        .expect("present");
    assert_eq!(
        archive,
        archive_of(&run).concat(),
        "{context}: the archive is of the run that committed"
    );
    Some(run)
}

/// Longer than any lease, on a paused clock.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// Everything below a folder, by key.
pub(crate) async fn dump(location: &Location, folder: &str) -> BTreeMap<String, Bytes> {
    use futures::TryStreamExt as _;
    let listed = location.store().list(folder).await.expect("listed");
    let listed: Vec<_> = listed.try_collect().await.expect("listed");
    let mut found = BTreeMap::new();
    for info in listed {
        let object = location
            .store()
            .get(&info.key, salvor_storage::GetOptions::default());
        let bytes = object.await.expect("there").bytes(1 << 24).await;
        found.insert(info.key.to_string(), bytes.expect("readable"));
    }
    found
}

/// Puts other bytes under a key, past every protocol.
pub(crate) async fn damage(location: &Location, key: &str, bytes: &'static [u8]) {
    let key = salvor_storage::Key::new(key).expect("a key");
    let put = location.store().put(
        &key,
        Bytes::from_static(bytes),
        salvor_storage::PutMode::Overwrite,
    );
    put.await.expect("written");
}

/// A backup as Velero leaves one: no manifest, no digests.
pub(crate) async fn velero_backup(location: &Location, called: &str) -> BackupRecord {
    let files = [
        (format!("{called}.tar.gz"), b"an archive".as_slice()),
        (format!("{called}-logs.gz"), b"a log".as_slice()),
    ];
    for (file, bytes) in files {
        damage(location, &format!("backups/{called}/{file}"), bytes).await;
    }
    let record = br#"{"apiVersion":"velero.io/v1","kind":"Backup","metadata":{"name":"NAME","uid":"u-1"},
        "spec":{"ttl":"720h0m0s","new":{"field":1}},
        "status":{"phase":"Completed","startTimestamp":"2026-01-02T03:04:05Z","expiration":"2026-02-01T03:04:05Z"}}"#;
    let text = String::from_utf8_lossy(record).replace("NAME", called);
    let key = salvor_storage::Key::new(format!("backups/{called}/velero-backup.json"));
    let key = key.expect("a key");
    let put = salvor_storage::PutMode::Create;
    let put = location.store().put(&key, text.into(), put);
    put.await.expect("written");
    location.backup(&name(called)).await.expect("a backup")
}
