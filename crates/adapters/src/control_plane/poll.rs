//! Waiting for what nobody announces.
//!
//! etcd has no watch for its members, their votes and their health, and a service manager none for what it has started: they are
//! asked again and again, which costs each of them one small request a time.

use std::time::Duration;

use salvor_runbook::StepError;
use tokio::time::{Instant, sleep};

/// Between two questions: short beside what a member takes to start or to catch up.
const PAUSE: Duration = Duration::from_millis(250);

/// Asks until there is something. It has no end of its own: the limit of the step that waits is its end.
pub(super) async fn poll<T, F: Future<Output = Result<Option<T>, StepError>> + Send>(
    mut ask: impl FnMut() -> F + Send,
) -> Result<T, StepError> {
    loop {
        if let Some(found) = ask().await? {
            return Ok(found);
        }
        sleep(PAUSE).await;
    }
}

/// Asks until it is so, failures included, or until that long has passed: then the last reason is the error.
pub(super) async fn until<T, F: Future<Output = Result<T, StepError>> + Send>(
    limit: Duration,
    mut look: impl FnMut() -> F + Send,
) -> Result<T, StepError> {
    let end = Instant::now() + limit;
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(error) if Instant::now() >= end => return Err(error),
            Err(_) => sleep(PAUSE).await,
        }
    }
}
