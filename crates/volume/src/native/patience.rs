//! Waiting for what a storage makes.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{NativeError, Snapshotter, Taken};

/// Between the first looks; it doubles up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(1);
/// Between later looks: storages count questions.
const LONGEST: Duration = Duration::from_secs(15);

/// How waiting ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waited {
    /// A volume can be made of it.
    Ready(Taken),
    /// Not yet; the storage is still at it.
    Pending(Taken),
}

/// Looks at a snapshot until a volume can be made of it, or the time is over. A look that fails for a reason that may
/// pass is repeated.
///
/// # Errors
/// The storage has lost it, does not answer to the end, or it was cancelled.
pub async fn wait_until_ready(
    snapshotter: &dyn Snapshotter,
    snapshot: &str,
    timeout: Duration,
    cancel: &CancellationToken,
) -> Result<Waited, NativeError> {
    let until = Instant::now() + timeout;
    let mut pause = FIRST;
    loop {
        let looked = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(NativeError::Cancelled),
            looked = snapshotter.look(snapshot) => looked,
        };
        let over = Instant::now() + pause > until;
        match looked {
            Ok(taken) if taken.ready => return Ok(Waited::Ready(taken)),
            Ok(taken) if over => return Ok(Waited::Pending(taken)),
            Err(error) if over || !error.is_retryable() => return Err(error),
            Ok(_) | Err(_) => {}
        }
        tokio::select! {
            () = cancel.cancelled() => return Err(NativeError::Cancelled),
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST);
    }
}
