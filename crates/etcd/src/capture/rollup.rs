//! Roll-ups: what was captured, once more in fewer segments.
//!
//! The host that captures cannot read back what it wrote, so it keeps what it wrote last in memory until it is written
//! once more: segments until an hour is full, these hours until a day is. What a killed capture had kept stays in the
//! location as the segments it was. See `docs/decisions/0028-etcd-rollups.md`.

use std::time::Duration;

use tokio::time::Instant;

use super::session::Session;
use super::{Error, Told};
use crate::chain::segment::Joined;

/// When segments are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollUps {
    /// Segments of so long become one.
    pub short: Duration,
    /// Those of so long become one again.
    pub long: Duration,
    /// Bytes of content of one, of which up to two are kept in memory.
    pub largest: usize,
}

impl Default for RollUps {
    fn default() -> Self {
        Self {
            short: Duration::from_secs(3600),
            long: Duration::from_secs(24 * 3600),
            // A busy cluster fills it in some minutes, which is few objects all the same; two of them and what is
            // encrypted of one fit into a small container.
            largest: 16 << 20,
        }
    }
}

/// What is kept of a chain to be written once more.
#[derive(Debug, Default)]
pub(super) struct Kept {
    short: Level,
    long: Level,
}

#[derive(Debug, Default)]
struct Level(Option<(Joined, Instant)>);

impl Level {
    /// Whether so many bytes have no place behind it, or what comes does not join it.
    fn is_over(&self, next: &Joined, largest: usize) -> bool {
        self.0
            .as_ref()
            .is_some_and(|(kept, _)| !kept.joins(next) || kept.length() + next.length() > largest)
    }

    fn is_full(&self, span: Duration, now: Instant) -> bool {
        self.0
            .as_ref()
            .is_some_and(|(_, since)| now.duration_since(*since) >= span)
    }

    fn push(&mut self, next: Joined, now: Instant) {
        match &mut self.0 {
            Some((kept, _)) => kept.push(next),
            None => self.0 = Some((next, now)),
        }
    }

    fn take(&mut self) -> Option<Joined> {
        self.0.take().map(|(joined, _)| joined)
    }
}

/// Whether writing it once more makes less of it.
fn is_worth(joined: &Joined) -> bool {
    joined.parts() > 1 && joined.changes() > 0
}

impl Session<'_, '_> {
    /// Keeps a segment that was committed, and writes what is full. A failure leaves the segments as they are: nothing is
    /// lost, and what was kept of them is forgotten.
    pub(super) async fn roll_up(&mut self, content: &[u8], stored: u64) {
        let Some(options) = self.capture.options.roll_ups else {
            return;
        };
        // It was written here.
        let Ok(next) = Joined::of(content, stored) else {
            return;
        };
        let now = Instant::now();
        if self.capture.kept.short.is_over(&next, options.largest) {
            self.end_short(&options, now).await;
        }
        self.capture.kept.short.push(next, now);
        if self.capture.kept.short.is_full(options.short, now) {
            self.end_short(&options, now).await;
        }
        if self.capture.kept.long.is_full(options.long, now) {
            self.end_long().await;
        }
    }

    /// Writes everything that is kept: the chain ends, or the capture does.
    pub(super) async fn roll_up_rest(&mut self) {
        if let Some(options) = self.capture.options.roll_ups {
            self.end_short(&options, Instant::now()).await;
            self.end_long().await;
        }
    }

    async fn end_short(&mut self, options: &RollUps, now: Instant) {
        let Some(joined) = self.capture.kept.short.take() else {
            return;
        };
        let Some(joined) = self.written(joined).await else {
            return;
        };
        if self.capture.kept.long.is_over(&joined, options.largest) {
            self.end_long().await;
        }
        self.capture.kept.long.push(joined, now);
    }

    async fn end_long(&mut self) {
        if let Some(joined) = self.capture.kept.long.take() {
            self.written(joined).await;
        }
    }

    /// Writes what is worth it; gives what is in the location now. Of another chain nothing is written: its writer is
    /// another claim.
    async fn written(&mut self, joined: Joined) -> Option<Joined> {
        if !is_worth(&joined) || joined.chain() != self.chain.name {
            return Some(joined);
        }
        match self.write(&joined).await {
            Ok(size) => {
                let (first, last) = joined.span();
                self.chain.segments = self.chain.segments.saturating_sub(joined.parts()) + 1;
                self.chain.bytes = self.chain.bytes.saturating_sub(joined.stored()) + size;
                let metrics = &mut self.capture.metrics;
                metrics.roll_ups += 1;
                metrics.roll_up_bytes += size;
                (self.capture.tell)(Told::RolledUp {
                    first,
                    last,
                    segments: joined.parts(),
                    size,
                });
                Some(joined.stored_as(size))
            }
            Err(error) => {
                (self.capture.tell)(Told::Trouble(&error));
                self.capture.metrics.failures += 1;
                None
            }
        }
    }

    async fn write(&mut self, joined: &Joined) -> Result<u64, Error> {
        let Some(held) = &self.capture.held else {
            return Ok(0);
        };
        let content = joined.content(held.writer.number());
        let content = content.map_err(Error::Encode)?;
        let (location, chain) = (self.capture.location, &self.chain.name);
        let created = held.create_segment(location, chain, joined.span(), content.into());
        let (_, size) = created.await?;
        Ok(size)
    }
}
