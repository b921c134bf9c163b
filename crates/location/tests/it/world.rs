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
    let url = StoreUrl::parse("memory://test").expect("valid");
    Location::new(
        store,
        Profile {
            name: "default".into(),
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
