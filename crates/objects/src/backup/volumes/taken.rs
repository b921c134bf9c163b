//! What becomes of snapshots that were taken: with `snapshotMoveData` their files are copied and they go; else they stay
//! in the storage, and their objects go from the cluster into the archive.
//!
//! Commit point: the record of the backup. Before it a snapshot goes with its objects; from then on it stays. A run that
//! is killed in between leaves marked objects, and whoever finds them asks whether the backup exists
//! ([`Snapshots::leftovers`](salvor_volume::csi::Snapshots::leftovers)).

use std::sync::atomic::Ordering;

use futures::{StreamExt as _, stream};
use salvor_cluster::Wait;
use salvor_volume::csi::{CsiTaken, MoveSnapshot, Storage};
use salvor_volume::{Placement, VolumePlace};

use super::super::error::BackupError;
use super::super::gather::{Run, blocking};
use super::super::runlog::About;
use super::Place;
use super::act::COPIES;
use super::snapshot::{Taken, is_block};
use super::tell::{Ended, csi_record};
use crate::restore::error::chain;

/// Snapshots whose objects are removed at once.
const RELEASES: usize = 8;

/// Of which claims snapshots may stay in the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// Of none.
    None,
    /// Of those in block mode, whose data cannot be moved.
    OfBlocks,
    /// Of any.
    All,
}

/// What people have to know of a block device where data was to be moved.
const NOT_MOVED: &str = "it is a block device, which has no files to copy: its snapshot stays in the storage and goes when that \
     is lost";

impl Taken {
    fn with_note(mut self, note: &str) -> Self {
        self.snapshot.notes.push(note.to_owned());
        self
    }
}

impl Run {
    /// Settles what becomes of the snapshots that were taken, all of them to their end.
    ///
    /// # Errors
    /// The run was cancelled, or the archive cannot be written.
    pub(super) async fn settle_snapshots(&self) -> Result<(), BackupError> {
        let taken = self.snapshotting.drain();
        self.all(taken, COPIES, |taken| async move {
            match (self.snapshotting.moves, is_block(&taken.claim)) {
                (true, false) => self.move_one(taken).await,
                (true, true) => self.keep_one(taken.with_note(NOT_MOVED)).await,
                (false, _) => self.keep_one(taken).await,
            }
        })
        .await
    }

    async fn move_one(&self, taken: Taken) -> Result<(), BackupError> {
        let (Some(mover), Some(snapshots)) = (self.mover(), self.snapshotting.found()) else {
            return Ok(());
        };
        let ask = MoveSnapshot {
            of: self.of.clone(),
            taken: &taken.snapshot,
            claim: &taken.claim,
            server_namespace: &self.snapshotting.namespace,
            placement: Placement::default(),
            prepare: self.snapshotting.prepare,
            timeout: self.volume_timeout,
        };
        let moved = snapshots.move_data(&**mover, &ask, &self.movers).await;
        self.goes_on()?;
        let ended = match moved {
            Ok(moved) => {
                self.tell_notes(&taken, &moved.notes);
                let mut csi = csi_record(&taken.snapshot);
                // It is deleted.
                csi.handle.clear();
                Ended::Stored {
                    stored: Box::new(moved.stored),
                    at: Box::new(VolumePlace::Claim {
                        claim: taken.snapshot.claim.clone(),
                        placement: Placement::default(),
                    }),
                    consistency: taken.consistency,
                    moved: Some(csi),
                }
            }
            Err(error) => Ended::untaken(taken.asked, chain(&error)),
        };
        self.settle(&taken.place, ended);
        Ok(())
    }

    /// Waits until a snapshot can be used, and puts its objects into the archive.
    async fn keep_one(&self, mut taken: Taken) -> Result<(), BackupError> {
        let Some(snapshots) = self.snapshotting.found() else {
            return Ok(());
        };
        // From here on it goes when the run ends without a backup, however that comes.
        self.snapshotting.kept().push(taken.snapshot.clone());
        let wait = Wait {
            timeout: self.snapshotting.prepare,
            cancel: self.movers.clone(),
        };
        self.progress
            .tick(&self.collector, &taken.place.to_string());
        let ready = snapshots.ready(&mut taken.snapshot, &wait).await;
        self.goes_on()?;
        if let Err(error) = ready {
            self.drop_snapshot(&taken).await;
            let asked = taken.asked.unwrap_or_else(|| "snapshotVolumes".to_owned());
            let ended = Ended::untaken(Some(asked), chain(&error));
            self.settle(&taken.place, ended);
            return Ok(());
        }
        let (collector, snapshot) = (self.collector.clone(), taken.snapshot.clone());
        let backup = self.name.to_string();
        blocking(move || collector.take_snapshot(&snapshot, &backup)).await?;
        self.snapshotting.completed.fetch_add(1, Ordering::Relaxed);
        self.tell_notes(&taken, &[]);
        let ended = Ended::Kept {
            taken: Box::new(taken.snapshot),
            consistency: taken.consistency,
            started: taken.started,
        };
        self.settle(&taken.place, ended);
        Ok(())
    }

    /// Writes the claims that waited for their snapshots.
    ///
    /// # Errors
    /// The archive cannot be written.
    pub(super) async fn write_held_claims(&self) -> Result<(), BackupError> {
        let collector = self.collector.clone();
        blocking(move || collector.write_held()).await
    }

    fn tell_notes(&self, taken: &Taken, more: &[String]) {
        let namespace = About::Namespace(&taken.snapshot.claim.namespace);
        for note in taken.snapshot.notes.iter().chain(more) {
            let text = format!("{}: {note}", taken.place);
            self.log().warn(namespace, &text);
        }
    }

    /// Removes a snapshot that is not in the backup.
    async fn drop_snapshot(&self, taken: &Taken) {
        let dropped = &taken.snapshot;
        let is_same = |one: &CsiTaken| one.claim == dropped.claim;
        self.snapshotting.kept().retain(|one| !is_same(one));
        self.release_snapshot(&taken.place, dropped, Storage::Deleted)
            .await;
    }

    async fn release_snapshot(&self, place: &Place, taken: &CsiTaken, storage: Storage) {
        let Some(snapshots) = self.snapshotting.found() else {
            return;
        };
        if let Err(error) = snapshots.release(taken, storage).await {
            let error = chain(&error);
            tracing::warn!(%place, error, "objects of a snapshot are left behind");
        }
    }

    /// Removes the snapshots of a run that ended before it was settled what becomes of them.
    pub(in crate::backup) async fn discard_snapshots(&self) {
        let taken = self.snapshotting.drain();
        stream::iter(taken)
            .for_each_concurrent(RELEASES, |taken| async move {
                self.release_snapshot(&taken.place, &taken.snapshot, Storage::Deleted)
                    .await;
            })
            .await;
    }

    /// Removes the objects of the snapshots that the archive holds. The storage keeps its snapshots if the backup exists,
    /// and loses them if it does not; where that is not known everything stays, marked, for whoever finds out.
    pub(in crate::backup) async fn release_snapshots(&self, exists: Option<bool>) {
        let storage = match exists {
            Some(true) => Storage::Kept,
            Some(false) => Storage::Deleted,
            None => return,
        };
        let kept = std::mem::take(&mut *self.snapshotting.kept());
        stream::iter(kept)
            .for_each_concurrent(RELEASES, |taken| async move {
                let name = (taken.claim.namespace.clone(), taken.claim.name.clone());
                self.release_snapshot(&Place::Claim(name), &taken, storage)
                    .await;
            })
            .await;
    }
}
