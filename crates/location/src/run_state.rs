//! What became of a run that wrote a backup or a restore, as others can see it: for whoever finds what it left elsewhere.

use salvor_api::labels;
use salvor_api::name::{BackupName, RestoreName};

use crate::claim;
use crate::error::Result;
use crate::location::Location;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// Its backup exists.
    Committed,
    /// It may still write.
    Alive,
    /// It has ended, or another run took its place: nothing more comes of it, and it has made no backup.
    Ended,
}

impl Location {
    /// What became of a run that wrote a backup of this name here; `None` when this location knows nothing of it.
    ///
    /// # Errors
    /// The store fails, or a record cannot be read.
    pub async fn backup_run(&self, name: &BackupName, run: &str) -> Result<Option<RunState>> {
        // The claim first: one that commits in between is seen to be alive, or committed.
        let held = claim::is_of_run(self, "backup", name.as_str(), run).await?;
        match self.backup(name).await {
            Ok(record) => {
                let by = record.backup.metadata.annotations.get(labels::RUN_ID);
                if by.is_some_and(|by| by == run) {
                    return Ok(Some(RunState::Committed));
                }
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        Ok(held.map(state))
    }

    /// What became of a run that wrote a restore of this name here, which never counts as committed; `None` when this
    /// location knows nothing of it.
    ///
    /// # Errors
    /// The store fails.
    pub async fn restore_run(&self, name: &RestoreName, run: &str) -> Result<Option<RunState>> {
        let held = claim::is_of_run(self, "restore", name.as_str(), run).await?;
        Ok(held.map(state))
    }
}

fn state(alive: bool) -> RunState {
    match alive {
        true => RunState::Alive,
        false => RunState::Ended,
    }
}
