//! The loop that every controller runs: a name whose object changed, or whose time has come, gets a turn.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;

use salvor_api::velero::Kind;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::informer::Informer;
pub(crate) use crate::queue::Next;
use crate::queue::Queue;

/// One controller: brings the world closer to what an object says, once per turn.
///
/// A turn may be ended at any await and may be repeated: what it has done already it finds done.
pub(crate) trait Reconcile: Send + Sync + 'static {
    /// Name for logs.
    const NAME: &'static str;
    /// Why a turn failed.
    type Error: Error + Send + Sync + 'static;

    /// Has a turn for the object of this name, which may be gone.
    fn reconcile(&self, name: &str) -> impl Future<Output = Result<Next, Self::Error>> + Send;

    /// True when a failure is ordinary, such as a write that came too late, and need not be logged.
    fn is_ordinary(_: &Self::Error) -> bool {
        false
    }
}

/// Runs a controller until `cancel` is cancelled: a turn for each object that is there or changes.
pub(crate) fn run<R: Reconcile, K: Kind>(
    controller: R,
    informer: &Informer<K>,
    workers: usize,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) {
    let queue = Arc::new(Queue::default());
    feed(informer, &queue, tasks, cancel);
    work(Arc::new(controller), &queue, workers, tasks, cancel);
}

/// Makes every object that is there or changes due in a queue.
pub(crate) fn feed<K: Kind>(
    informer: &Informer<K>,
    queue: &Arc<Queue>,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) {
    let mut changes = informer.changes();
    let (queue, cancel) = (Arc::clone(queue), cancel.clone());
    tasks.spawn(async move {
        while let Some(Some(name)) = cancel.run_until_cancelled(changes.recv()).await {
            queue.add(&name);
        }
    });
}

/// Runs a controller on a queue that somebody else fills.
pub(crate) fn work<R: Reconcile>(
    controller: Arc<R>,
    queue: &Arc<Queue>,
    workers: usize,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) {
    for _ in 0..workers.max(1) {
        let (controller, queue, cancel) =
            (Arc::clone(&controller), Arc::clone(queue), cancel.clone());
        tasks.spawn(async move {
            while let Some(name) = cancel.run_until_cancelled(queue.next()).await {
                let turn = cancel.run_until_cancelled(controller.reconcile(&name));
                let next = match turn.await {
                    None => break,
                    Some(Ok(next)) => next,
                    Some(Err(error)) if R::is_ordinary(&error) => Next::Retry,
                    Some(Err(error)) => {
                        let error = &error as &dyn Error;
                        tracing::warn!(error, controller = R::NAME, %name, "a turn failed");
                        Next::Retry
                    }
                };
                queue.done(&name, next);
            }
        });
    }
}
