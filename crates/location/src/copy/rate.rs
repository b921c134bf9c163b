//! How fast bytes come from one location and go to another, measured with a few of them before a long transfer begins.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use salvor_storage::{GetOptions, Key, PutMode};

use crate::error::{Error, Result};
use crate::layout;
use crate::location::Location;
use crate::run::RunId;

/// Bytes of a sample: enough that the time of a request counts little, and little beside what is to come.
const SAMPLE: u64 = 4 << 20;

/// Bytes per second, measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    bytes: u64,
    took: Duration,
}

impl Rate {
    /// What was measured.
    #[must_use]
    pub fn new(bytes: u64, took: Duration) -> Self {
        Self { bytes, took }
    }

    /// Bytes per second; `None` when there was nothing to measure.
    #[must_use]
    pub fn per_second(&self) -> Option<u64> {
        let millis = self.took.as_millis();
        if self.bytes == 0 || millis == 0 {
            return None;
        }
        u64::try_from(u128::from(self.bytes) * 1000 / millis)
            .ok()
            .filter(|rate| *rate > 0)
    }

    /// How long so many bytes take at this rate; `None` when it is not known.
    #[must_use]
    pub fn time_for(&self, bytes: u64) -> Option<Duration> {
        let rate = self.per_second()?;
        Some(Duration::from_secs(bytes.div_ceil(rate)))
    }
}

/// Reads a sample of the largest file of one of these backups at the source and, with `write`, writes it to the
/// target and removes it. The slower of both counts. `None` when there is nothing to measure with.
///
/// # Errors
/// A store fails.
pub async fn measure(
    source: &Location,
    backups: &[&str],
    target: &Location,
    write: bool,
) -> Result<Option<Rate>> {
    let mut largest: Option<(u64, Key)> = None;
    // A few are enough: it is about the way, not about the cargo.
    for name in backups.iter().take(8) {
        let folder = format!("{}/{name}", layout::BACKUPS);
        let listed = source.store.list_folder(&folder).await;
        for info in listed
            .map_err(Error::store(format!("list `{folder}/`")))?
            .objects
        {
            if largest.as_ref().is_none_or(|(size, _)| info.size > *size) {
                largest = Some((info.size, info.key));
            }
        }
    }
    let Some((_, key)) = largest else {
        return Ok(None);
    };
    let doing = format!("read a sample of `{key}`");
    let began = Instant::now();
    let object = source.store.get(&key, GetOptions::default()).await;
    let mut body = object.map_err(Error::store(doing.clone()))?.body;
    let mut sample = BytesMut::new();
    while let Some(chunk) = body.next().await {
        sample.extend_from_slice(&chunk.map_err(Error::store(doing.clone()))?);
        if sample.len() as u64 >= SAMPLE {
            break;
        }
    }
    let sample: Bytes = sample.freeze();
    let length = sample.len() as u64;
    let reading = Rate::new(length, began.elapsed());
    if !write {
        return Ok(Some(reading));
    }
    let probe = layout::key(format!("{}/probe/{}", layout::PRIVATE, RunId::generate()));
    let doing = || format!("write a sample to location `{}`", target.name());
    let began = Instant::now();
    let put = target.store.put(&probe, sample, PutMode::Create).await;
    let writing = Rate::new(length, began.elapsed());
    put.map_err(Error::store(doing()))?;
    target
        .store
        .delete(&probe)
        .await
        .map_err(Error::store(format!("remove the sample `{probe}`")))?;
    let slower = if writing.took > reading.took {
        writing
    } else {
        reading
    };
    Ok(Some(slower))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_says_how_long_it_takes_or_that_it_does_not_know() {
        let rate = Rate::new(10 << 20, Duration::from_secs(2));
        assert_eq!(rate.per_second(), Some(5 << 20));
        assert_eq!(rate.time_for(50 << 20), Some(Duration::from_secs(10)));
        assert_eq!(Rate::new(0, Duration::from_secs(1)).time_for(1), None);
        assert_eq!(Rate::new(5, Duration::ZERO).time_for(1), None);
    }
}
