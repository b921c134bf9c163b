//! What killed runs left in the cluster of their snapshots: looked for when a server begins to lead, soon again while
//! something has to wait, and every hour, as claims that waited for their first pod may have their volumes by then.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use salvor_objects::leftovers;
use salvor_volume::csi::{CsiError, Leftover, LeftoverKind, Settled, Snapshots};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::context::{Context, chain};
use crate::control::{self, Next, Reconcile};
use crate::queue::Queue;

/// The turn that looks at everything; no object has this name.
const ALL: &str = "";
/// Longest pause between two looks.
const EVERY: Duration = Duration::from_secs(3600);

/// Begins to look after what killed runs left.
pub(crate) fn start(context: &Context, tasks: &TaskTracker, cancel: &CancellationToken) {
    let queue = Arc::new(Queue::default());
    let leftovers = Arc::new(Leftovers {
        context: context.clone(),
        pause: Mutex::new(context.options.leftover_look),
    });
    queue.add(ALL);
    control::work(leftovers, &queue, 1, tasks, cancel);
}

struct Leftovers {
    context: Context,
    /// Until the next look while something is left.
    pause: Mutex<Duration>,
}

impl Reconcile for Leftovers {
    const NAME: &'static str = "leftovers";
    type Error = CsiError;

    async fn reconcile(&self, _: &str) -> Result<Next, CsiError> {
        let Settled { removed, left } = self.settle().await?;
        if removed > 0 {
            tracing::info!(
                removed,
                left,
                "objects of snapshots that ended runs left are removed"
            );
        }
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        if removed > 0 || left == 0 {
            *pause = self.context.options.leftover_look;
        }
        let next = match left {
            0 => EVERY,
            _ => *pause,
        };
        *pause = (*pause * 2).min(EVERY);
        Ok(Next::After(next))
    }
}

impl Leftovers {
    async fn settle(&self) -> Result<Settled, CsiError> {
        let context = &self.context;
        let Some(snapshots) = Snapshots::find(&context.cluster).await? else {
            return Ok(Settled::default());
        };
        let mut locations = Vec::new();
        for object in context.storage_locations.list() {
            let name = &object.metadata.name;
            match context.location(name).await {
                Ok(location) => locations.push(location),
                // What only it knows stays until it answers.
                Err(error) => tracing::debug!(error = chain(&error), location = name, "not asked"),
            }
        }
        let is_alive = |leftover: &Leftover| {
            let runs = match leftover.kind {
                LeftoverKind::Restore => &context.restore_runs,
                _ => &context.backup_runs,
            };
            runs.contains(&leftover.of)
        };
        leftovers::settle(&snapshots, &locations, is_alive).await
    }
}
