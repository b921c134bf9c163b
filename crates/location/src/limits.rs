//! How fast a location is used.

use std::sync::Arc;

use salvor_api::limits::TransferLimits;
use salvor_storage::{LimitStore, Limiter, Limits};

use crate::location::Location;

/// The words of a location as the store takes them.
#[must_use]
pub fn store_limits(limits: &TransferLimits) -> Limits {
    let TransferLimits {
        upload,
        download,
        requests,
        in_flight,
    } = *limits;
    Limits {
        upload,
        download,
        requests,
        in_flight: in_flight.map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
    }
}

impl Location {
    /// The same location, used no faster than this by whoever has the value that is returned and its clones.
    /// Limits that it had before go on to count.
    #[must_use]
    pub fn limited(self, limits: &TransferLimits) -> Self {
        if limits.is_empty() {
            return self;
        }
        let limiter = Arc::new(Limiter::new(store_limits(limits)));
        let store = Arc::new(LimitStore::new(Arc::clone(&self.store), limiter));
        Self { store, ..self }
    }
}
