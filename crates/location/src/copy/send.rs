//! One object from one store to another: streamed, compared while it passes, and visible only when it is right.

use futures::StreamExt as _;
use salvor_api::name::BackupName;
use salvor_seal::{Digest, Hasher};
use salvor_storage::{GetOptions, Key, Object, ObjectInfo, PutMode, Upload};
use tracing::warn;

use crate::backup::{digest_of, entry};
use crate::copy::Transfer;
use crate::copy::origin::Expected;
use crate::error::{Error, Result};
use crate::layout;
use crate::location::Location;
use crate::manifest::ManifestEntry;

/// Sends a file of a backup.
pub(crate) async fn file(
    source: &Location,
    target: &Location,
    name: &BackupName,
    expected: &Expected,
    mode: PutMode,
    transfer: &Transfer,
) -> Result<ManifestEntry> {
    let key = layout::backup_file(name, &expected.name)
        .map_err(Error::store(format!("copy `{}`", expected.name)))?;
    let (info, digest) = object(source, target, &key, expected, mode, transfer).await?;
    Ok(entry(&expected.name, expected.size, digest, &info))
}

/// Sends an object to the same key in another location. It is refused when the source has other bytes than those
/// that are expected, and nothing is visible at the target then.
///
/// # Errors
/// [`Error::SourceDamaged`], [`Error::Stopped`], [`Error::ContentsChanged`] when the target has other bytes under the key, or a
/// store fails.
pub(crate) async fn object(
    source: &Location,
    target: &Location,
    key: &Key,
    expected: &Expected,
    mode: PutMode,
    transfer: &Transfer,
) -> Result<(ObjectInfo, Digest)> {
    let reading = format!("read `{key}` in location `{}`", source.name());
    let damaged = |reason: String| Error::SourceDamaged {
        key: key.to_string(),
        location: source.name().to_owned(),
        reason,
    };
    let found = match source.store.get(key, GetOptions::default()).await {
        Ok(found) => found,
        Err(error) if error.is_not_found() => return Err(damaged("it is missing".to_owned())),
        Err(error) => return Err(Error::store(reading)(error)),
    };
    let writing = || format!("write `{key}` in location `{}`", target.name());
    let mut upload = match target.store.upload(key, mode).await {
        Ok(upload) => upload,
        Err(error) if error.is_already_exists() => {
            return taken(source, target, key, expected, error).await;
        }
        Err(error) => return Err(Error::store(writing())(error)),
    };
    let poured = pour(found, &mut upload, key, &reading, &writing, transfer).await;
    let checked = poured.and_then(|(size, digest)| {
        if size != expected.size {
            return Err(damaged(format!(
                "it has {size} bytes instead of {}",
                expected.size
            )));
        }
        match expected.sha256 {
            Some(wanted) if wanted != digest => Err(damaged(format!(
                "its SHA-256 is {digest} instead of {wanted}"
            ))),
            _ => Ok(digest),
        }
    });
    let digest = match checked {
        Ok(digest) => digest,
        Err(error) => {
            if let Err(error) = upload.abort().await {
                warn!(%key, %error, "what was sent of it stays in the store until the name is cleaned");
            }
            return Err(error);
        }
    };
    match upload.finish().await {
        Ok(info) => Ok((info, digest)),
        Err(error) if error.is_already_exists() || error.may_have_happened() => {
            // Only the bytes themselves can tell whether the write was, and whose.
            match digest_of(target, key).await {
                Ok((info, found)) if found == digest => Ok((info, digest)),
                Ok(_) => Err(Error::ContentsChanged {
                    key: key.to_string(),
                    reason: "another writer's bytes are there".to_owned(),
                }),
                Err(_) => Err(Error::store(writing())(error)),
            }
        }
        Err(error) => Err(Error::store(writing())(error)),
    }
}

/// The key is taken: by a late write of an earlier copy, if the bytes are ours.
async fn taken(
    source: &Location,
    target: &Location,
    key: &Key,
    expected: &Expected,
    error: salvor_storage::Error,
) -> Result<(ObjectInfo, Digest)> {
    let read = |error| Error::store(format!("read `{key}`"))(error);
    let wanted = match expected.sha256 {
        Some(wanted) => wanted,
        None => digest_of(source, key).await.map_err(read)?.1,
    };
    let (info, found) = digest_of(target, key).await.map_err(read)?;
    if found == wanted {
        return Ok((info, found));
    }
    Err(Error::store(format!(
        "write `{key}` in location `{}`",
        target.name()
    ))(error))
}

async fn pour(
    mut found: Object,
    upload: &mut Box<dyn Upload>,
    key: &Key,
    reading: &str,
    writing: &impl Fn() -> String,
    transfer: &Transfer,
) -> Result<(u64, Digest)> {
    let mut hasher = Hasher::new();
    while let Some(chunk) = found.body.next().await {
        transfer.go_on(|| format!("copy `{key}`"))?;
        let chunk = chunk.map_err(Error::store(reading))?;
        hasher.update(&chunk);
        let length = chunk.len();
        upload
            .write(chunk)
            .await
            .map_err(|error| Error::store(writing())(error))?;
        transfer.add_sent(length);
    }
    Ok((hasher.length(), hasher.finish()))
}
