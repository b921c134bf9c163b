//! How far a run is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use salvor_api::resource::GroupResource;

use super::collect::Collector;
use super::{BackupProgress, ProgressSink};

/// Progress, thinned out to one message a second.
pub(super) struct Progress {
    sink: ProgressSink,
    last: Mutex<Option<Instant>>,
    remaining: Arc<AtomicU64>,
}

/// The share of one list in what is still to come.
pub(super) struct ListProgress {
    pub(super) resource: String,
    remaining: AtomicU64,
    all: Arc<AtomicU64>,
}

impl Progress {
    pub(super) fn new(sink: ProgressSink) -> Self {
        Self {
            sink,
            last: Mutex::new(None),
            remaining: Arc::default(),
        }
    }

    pub(super) fn list(&self, resource: &GroupResource) -> ListProgress {
        ListProgress {
            resource: resource.to_string(),
            remaining: AtomicU64::new(0),
            all: Arc::clone(&self.remaining),
        }
    }

    pub(super) fn tick(&self, collector: &Collector, current: &str) {
        {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|at| at.elapsed() < Duration::from_secs(1)) {
                return;
            }
            *last = Some(Instant::now());
        }
        self.report(collector, current);
    }

    pub(super) fn last(&self, collector: &Collector) {
        self.remaining.store(0, Ordering::Relaxed);
        self.report(collector, "");
    }

    fn report(&self, collector: &Collector, current: &str) {
        let counts = collector.counts();
        self.sink.send(BackupProgress {
            items: counts.taken,
            items_expected: counts.taken + self.remaining.load(Ordering::Relaxed),
            bytes: counts.bytes,
            current: current.to_owned(),
        });
    }
}

impl ListProgress {
    pub(super) fn remaining(&self, now: u64) {
        let before = self.remaining.swap(now, Ordering::Relaxed);
        self.all.fetch_add(now, Ordering::Relaxed);
        self.all.fetch_sub(before, Ordering::Relaxed);
    }
}

impl Drop for ListProgress {
    fn drop(&mut self) {
        self.remaining(0);
    }
}
