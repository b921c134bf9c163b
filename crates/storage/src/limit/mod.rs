//! How fast a store may be used: bytes per second each way, operations per second, operations at once.
//!
//! A [`Limiter`] holds the limits of one store and is shared by everything that uses it; it may be told other
//! limits while transfers run. [`LimitStore`] lets operations wait for it. Waiting is fair: whoever wants much
//! takes it in slices and queues again behind the others, so that the small write that keeps a claim alive
//! never waits for the end of a large upload.

mod bucket;
mod places;
mod store;

use self::bucket::Bucket;
use self::places::{Place, Places};

pub use self::store::LimitStore;

/// How fast a store may be used; `None` is as fast as it goes. Zero is taken as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes per second to the store.
    pub upload: Option<u64>,
    /// Bytes per second from the store.
    pub download: Option<u64>,
    /// Operations per second: what is asked of [`crate::ObjectStore`]. The parts of one upload and further
    /// pages of one listing are of one operation.
    pub requests: Option<u64>,
    /// Operations in flight.
    pub in_flight: Option<usize>,
}

/// The limits of one store and what was used of them.
#[derive(Debug)]
pub struct Limiter {
    upload: Bucket,
    download: Bucket,
    requests: Bucket,
    places: Places,
}

impl Limiter {
    /// A limiter of which nothing was used yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let limiter = Self {
            upload: Bucket::default(),
            download: Bucket::default(),
            requests: Bucket::default(),
            places: Places::default(),
        };
        limiter.set(limits);
        limiter
    }

    /// Other limits, at once, also for what waits now.
    pub fn set(&self, limits: Limits) {
        self.upload.set(limits.upload);
        self.download.set(limits.download);
        self.requests.set(limits.requests);
        self.places.set(limits.in_flight);
    }

    /// Waits until an operation may begin, and keeps its place among those in flight.
    async fn begin(&self) -> Place<'_> {
        self.requests.take(1).await;
        self.places.take().await
    }

    async fn sending(&self, bytes: usize) {
        self.upload.take(bytes as u64).await;
    }

    async fn received(&self, bytes: usize) {
        self.download.take(bytes as u64).await;
    }
}
