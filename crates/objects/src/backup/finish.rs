//! The end of a run: the files beside the archive, then the record.

use std::io::Read as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use salvor_api::go::Time;
use salvor_api::velero::{self, Backup};
use salvor_archive::files::{EMPTY, Results, write_json_gz};
use salvor_archive::index::Index;
use salvor_archive::names::BackupFile;
use salvor_location::BackupWriter;

use super::error::BackupError;
use super::gather::{Run, blocking};
use super::runlog::About;
use super::{BackupOutcome, BackupStats, prepare};

/// Writes the files beside the archive and commits.
pub(super) async fn finish(
    run: &Run,
    mut writer: BackupWriter,
    mut backup: Backup,
    index: Index,
    clock: Instant,
) -> Result<BackupOutcome, BackupError> {
    match write_files(run, &mut writer, &mut backup, &index).await {
        Ok(results) => {
            let counts = run.collector.counts();
            let revisions =
                std::mem::take(&mut *run.revisions.lock().unwrap_or_else(PoisonError::into_inner));
            let record =
                writer
                    .commit(backup, revisions)
                    .await
                    .map_err(|source| BackupError::Location {
                        name: run.name.to_string(),
                        source,
                    })?;
            run.progress.last(&run.collector);
            Ok(BackupOutcome {
                backup: record.backup.clone(),
                record: Some(record),
                results,
                stats: BackupStats {
                    items: counts.taken,
                    body_bytes: counts.bytes,
                    archive_bytes: index.archive_len(),
                    skipped: counts
                        .skipped
                        .into_iter()
                        .map(|(reason, count)| (reason.to_owned(), count))
                        .collect(),
                    elapsed: clock.elapsed(),
                },
            })
        }
        Err(error) => {
            writer.abandon().await;
            Err(error)
        }
    }
}

async fn write_files(
    run: &Run,
    writer: &mut BackupWriter,
    backup: &mut Backup,
    index: &Index,
) -> Result<Results, BackupError> {
    let store_error = |source| BackupError::Location {
        name: run.name.to_string(),
        source,
    };
    let archive_error = |source| BackupError::Archive { source };
    let name = |file: BackupFile| file.name(&run.name);
    let log = run.log();
    let collector = Arc::clone(&run.collector);
    let (resource_list, volumes) = blocking(move || collector.finish()).await?;
    let (infos, volumes) = volumes.finish();
    let empty = Bytes::from(write_json_gz(&EMPTY).map_err(archive_error)?);
    let volume_info = write_json_gz(&infos).map_err(archive_error)?;
    let volumes = volumes.encode().map_err(archive_error)?;
    let native = run.native.list();
    let snapshots = write_json_gz(&native).map_err(archive_error)?;
    for (file, bytes) in [
        (BackupFile::SalvorIndex, Bytes::from(index.encode())),
        (BackupFile::ResourceList, resource_list),
        (BackupFile::VolumeInfo, volume_info.into()),
        (BackupFile::SalvorVolumes, volumes.into()),
        (BackupFile::PodVolumeBackups, empty.clone()),
        (BackupFile::VolumeSnapshots, snapshots.into()),
        (BackupFile::ItemOperations, empty),
    ] {
        run.check_cancelled()?;
        writer.put(&name(file), bytes).await.map_err(store_error)?;
    }
    let counts = run.collector.counts();
    for (reason, count) in &counts.skipped {
        log.info(About::Run, &format!("{count} objects skipped: {reason}"));
    }
    if counts.taken == 0 && log.errors() == 0 {
        log.warn(
            About::Run,
            "no object matches the filters: the backup is empty",
        );
    }
    let (phase, reason) = prepare::outcome(
        counts.taken,
        log.errors(),
        run.lists_read.load(Ordering::Relaxed),
    );
    log.info(
        About::Run,
        &format!(
            "{} objects, {} bytes backed up: {phase}",
            counts.taken, counts.bytes
        ),
    );
    let finished = log
        .finish()
        .map_err(|source| BackupError::Spool { source })?;
    let mut upload = writer
        .upload(&name(BackupFile::Logs))
        .await
        .map_err(store_error)?;
    let mut file = finished.file;
    loop {
        let mut chunk = Vec::new();
        // A local file, a mebibyte at a time.
        let read = (&mut file)
            .take(1 << 20)
            .read_to_end(&mut chunk)
            .map_err(|source| BackupError::Spool { source })?;
        if read == 0 {
            break;
        }
        upload.write(chunk.into()).await.map_err(store_error)?;
    }
    upload.finish(writer).await.map_err(store_error)?;
    let results = write_json_gz(&finished.results).map_err(archive_error)?;
    writer
        .put(&name(BackupFile::Results), results.into())
        .await
        .map_err(store_error)?;
    let items = i64::try_from(counts.taken).unwrap_or(i64::MAX);
    let status = &mut backup.status;
    status.phase = phase;
    status.failure_reason = reason;
    status.warnings = i64::try_from(finished.warnings).unwrap_or(i64::MAX);
    status.errors = i64::try_from(finished.errors).unwrap_or(i64::MAX);
    let (attempted, completed) = run.snapshotting.counts();
    status.csi_volume_snapshots_attempted = attempted;
    status.csi_volume_snapshots_completed = completed;
    let count = |of: usize| i64::try_from(of).unwrap_or(i64::MAX);
    let completed = native.iter().filter(|one| one.is_completed()).count();
    status.volume_snapshots_attempted = count(native.len());
    status.volume_snapshots_completed = count(completed);
    status.hook_status = Some(run.hook_counts.status());
    status.completion_timestamp = Some(Time::new(jiff::Timestamp::now()));
    status.progress = Some(velero::BackupProgress {
        total_items: items,
        items_backed_up: items,
    });
    Ok(finished.results)
}
