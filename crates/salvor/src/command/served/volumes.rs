//! How far the volumes of a backup are that is waited for, by the objects of the node agents.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use salvor_api::labels::{BACKUP_UID, label_value};
use salvor_api::velero::{Backup, DataPhase, PodVolumeBackup};

use crate::served::Served;

/// Between two looks. Movers say how far they are once a second.
const PAUSE: Duration = Duration::from_secs(2);

/// What was seen of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    /// Volumes that have ended.
    pub(super) done: u64,
    /// Volumes that are known by now.
    pub(super) all: u64,
    /// Bytes that were read.
    pub(super) bytes: u64,
    /// Bytes in all; 0 while one of them does not say.
    pub(super) total: u64,
}

impl Copied {
    pub(super) fn is_under_way(self) -> bool {
        self.done < self.all
    }

    fn of(copies: &[PodVolumeBackup]) -> Self {
        let count = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
        let mut copied = Self::default();
        let mut is_known = true;
        for copy in copies {
            let status = &copy.status;
            copied.all += 1;
            copied.bytes += count(status.progress.bytes_done);
            copied.total += count(status.progress.total_bytes);
            match status.phase {
                DataPhase::Completed | DataPhase::Failed | DataPhase::Canceled => copied.done += 1,
                _ => is_known &= status.progress.total_bytes > 0,
            }
        }
        if !is_known {
            copied.total = 0;
        }
        copied
    }
}

/// The volumes of one backup.
#[derive(Debug)]
pub(super) struct Volumes {
    selector: String,
    seen: Mutex<Option<Copied>>,
}

impl Volumes {
    pub(super) fn of(backup: &Backup) -> Self {
        Self {
            selector: format!("{BACKUP_UID}={}", label_value(&backup.metadata.uid)),
            seen: Mutex::default(),
        }
    }

    /// What was seen last; `None` before that, and while there are no volumes.
    pub(super) fn seen(&self) -> Option<Copied> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks again and again. That they cannot be seen, without the right to, is no reason to say so: it is for the show.
    pub(super) async fn watch(&self, served: &Served) -> Infallible {
        loop {
            match served
                .kinds::<PodVolumeBackup>()
                .list(Some(&self.selector))
                .await
            {
                Ok(copies) if copies.is_empty() => {}
                Ok(copies) => {
                    let copied = Copied::of(&copies);
                    *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(copied);
                }
                Err(error) => tracing::debug!(%error, "how far the volumes are is not known"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn copy(phase: &str, bytes: i64, total: i64) -> PodVolumeBackup {
        let object = json!({"metadata": {"name": "b"}, "status": {"phase": phase,
            "progress": {"bytesDone": bytes, "totalBytes": total}}});
        serde_json::from_value(object).expect("an object")
    }

    #[test]
    fn bytes_are_added_up_and_the_whole_is_known_when_each_says_it() {
        let mut copies = vec![copy("Completed", 10, 10), copy("InProgress", 5, 0)];
        let seen = Copied::of(&copies);
        let wanted = Copied {
            done: 1,
            all: 2,
            bytes: 15,
            total: 0,
        };
        assert_eq!(seen, wanted);
        assert!(seen.is_under_way());
        copies[1] = copy("InProgress", 5, 30);
        assert_eq!(Copied::of(&copies).total, 40);
        copies[1] = copy("Failed", 5, 0);
        let seen = Copied::of(&copies);
        assert_eq!((seen.done, seen.total), (2, 10));
        assert!(!seen.is_under_way());
    }
}
