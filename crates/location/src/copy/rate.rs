//! How fast bytes come from one location and go to another, measured with a few of them before a long transfer begins.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use salvor_storage::{GetOptions, Key, PutMode};

use crate::error::{Error, Result};
use crate::estimate::Measured;
use crate::layout;
use crate::location::Location;
use crate::run::RunId;

/// Bytes of a sample: enough that the time of a request counts little, and little beside what is to come.
const SAMPLE: u64 = 4 << 20;

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
) -> Result<Option<Measured>> {
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
    let reading = measured(length, began);
    if !write {
        return Ok(Some(reading));
    }
    let probe = layout::key(format!("{}/probe/{}", layout::PRIVATE, RunId::generate()));
    let doing = || format!("write a sample to location `{}`", target.name());
    let began = Instant::now();
    let put = target.store.put(&probe, sample, PutMode::Create).await;
    let writing = measured(length, began);
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

fn measured(bytes: u64, began: Instant) -> Measured {
    let mut measured = Measured::default();
    measured.add(bytes, began.elapsed());
    measured
}
