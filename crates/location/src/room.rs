//! Room to delete in when a disk is full.
//!
//! A deletion begins with a claim, and a claim is a file. On a disk without a free block nothing could be
//! deleted any more, so every folder location keeps a reserve: a file that means nothing and that a deletion
//! gives up before it takes its claim. The claim itself is written as always: nobody is excluded less.
//!
//! Stores that are no folders keep none: deleting there may free nothing, where versions are kept, or not be
//! allowed.

use std::time::Duration;

use bytes::Bytes;
use salvor_storage::{FsStore, PutMode};
use tracing::{info, warn};

use crate::claim::{Claim, Purpose};
use crate::error::{Error, Result};
use crate::layout;
use crate::location::{Location, LocationRecord};
use crate::run::RunId;

/// Bytes of the reserve: sixty-four blocks of 4 KiB, for the claims of a backup and of its restores.
const RESERVE_BYTES: usize = 256 << 10;
/// A temporary file that nobody has written to for a day has no writer: uploads that wait so long have failed
/// long before.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

impl Location {
    /// Makes the reserve when there is none. Best effort: without it everything works but deleting on a full
    /// disk.
    pub(crate) async fn keep_reserve(&self) {
        if self.store.local_root().is_none() {
            return;
        }
        let key = layout::key(layout::RESERVE.to_owned());
        match self.store.head(&key).await {
            Ok(_) => return,
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                warn!(%error, "the reserve cannot be looked at");
                return;
            }
        }
        let put = self.store.put(&key, reserve(), PutMode::Create).await;
        match put {
            Err(error) if !error.is_already_exists() => warn!(%error, "no reserve could be made"),
            _ => {}
        }
    }

    /// Takes a claim for a deletion. When the disk is full, room is made first.
    pub(crate) async fn claim_for_deletion(
        &self,
        prepared: &LocationRecord,
        kind: &'static str,
        name: &str,
        run: &RunId,
    ) -> Result<Claim> {
        let claim = || Claim::take(self, prepared, kind, name, run, Purpose::Delete);
        match claim().await {
            Err(error) if error.is_full() && self.make_room().await? => {
                info!(name, "the disk is full: the reserve was given up to delete");
                claim().await
            }
            taken => taken,
        }
    }

    /// Gives up what is not needed; true when that freed anything.
    pub(crate) async fn make_room(&self) -> Result<bool> {
        if self.store.local_root().is_none() {
            return Ok(false);
        }
        let key = layout::key(layout::RESERVE.to_owned());
        let had_reserve = self.store.head(&key).await.is_ok();
        if had_reserve {
            let deleted = self.store.delete(&key).await;
            deleted.map_err(Error::store("give up the reserve"))?;
        }
        Ok(self.sweep().await? > 0 || had_reserve)
    }

    /// Removes temporary files that crashed writers left in a folder location; returns how many.
    ///
    /// # Errors
    /// The folder cannot be read, or a file not be removed.
    pub async fn sweep(&self) -> Result<usize> {
        let Some(root) = self.store.local_root() else {
            return Ok(0);
        };
        let swept = FsStore::new(root).sweep(ABANDONED).await;
        swept.map_err(Error::store(format!(
            "remove leftovers from location `{}`",
            self.name()
        )))
    }
}

/// Bytes that no file system can store in less room.
fn reserve() -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(RESERVE_BYTES);
    while bytes.len() < RESERVE_BYTES {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.into()
}
