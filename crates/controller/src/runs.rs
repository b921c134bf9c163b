//! Backups and restores that this process is carrying out.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio_util::sync::CancellationToken;

/// Why a run was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Its object asks for it.
    Asked,
    /// The server ends, or is no longer the leader. Another one deals with what is left.
    Leaving,
}

/// The runs under way, by the name of their object. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Runs {
    running: Arc<Mutex<HashMap<String, Handle>>>,
    all_stopped: CancellationToken,
}

/// One run: how it is told to stop, and why.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) cancel: CancellationToken,
    why: Arc<OnceLock<Stop>>,
}

/// A run's place among those under way; given up when dropped, however the run ends.
#[derive(Debug)]
pub(crate) struct Place {
    runs: Runs,
    name: String,
    pub(crate) handle: Handle,
}

impl Runs {
    /// Runs that also stop when `leaving` is cancelled.
    pub(crate) fn new(leaving: &CancellationToken) -> Self {
        Self {
            running: Arc::default(),
            all_stopped: leaving.clone(),
        }
    }

    /// Takes the place of a run; `None` when it is under way already.
    pub(crate) fn begin(&self, name: &str) -> Option<Place> {
        let mut running = self.lock();
        if running.contains_key(name) {
            return None;
        }
        let handle = Handle {
            cancel: self.all_stopped.child_token(),
            why: Arc::new(OnceLock::new()),
        };
        running.insert(name.to_owned(), handle.clone());
        Some(Place {
            runs: self.clone(),
            name: name.to_owned(),
            handle,
        })
    }

    /// True while the run is under way.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }

    /// How many are under way.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Tells a run to stop because its object asks for it; false when there is none.
    pub(crate) fn stop(&self, name: &str) -> bool {
        let handle = self.lock().get(name).cloned();
        let Some(handle) = handle else {
            return false;
        };
        // The first reason counts.
        let _ = handle.why.set(Stop::Asked);
        handle.cancel.cancel();
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Handle>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// Why the run was told to stop; `None` when it was not.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        let cancelled = self.cancel.is_cancelled();
        cancelled.then(|| self.why.get().copied().unwrap_or(Stop::Leaving))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.runs.lock().remove(&self.name);
    }
}

impl fmt::Debug for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_under_way_once_and_knows_why_it_stops() {
        let leaving = CancellationToken::new();
        let runs = Runs::new(&leaving);
        let place = runs.begin("a").expect("free");
        assert!(runs.begin("a").is_none());
        assert!(!runs.stop("b") && runs.stop("a"));
        leaving.cancel();
        assert_eq!(place.handle.stopped(), Some(Stop::Asked));
        drop(place);
        let next = runs.begin("a").expect("free again");
        assert_eq!(next.handle.stopped(), Some(Stop::Leaving));
    }
}
