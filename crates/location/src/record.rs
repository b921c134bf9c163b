//! Records: small JSON objects with a format version.

use std::sync::Arc;

use bytes::Bytes;
use salvor_storage::{Key, ObjectStore};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::claim::read_small;
use crate::error::{Error, Result};

/// No record of ours is larger; a manifest of a backup is a few kilobytes.
pub(crate) const RECORD_LIMIT: u64 = 16 << 20;

/// A record as it is stored.
pub(crate) fn encode(what: &'static str, value: &impl Serialize) -> Result<Bytes> {
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|source| Error::Encode { what, source })?;
    text.push(b'\n');
    Ok(text.into())
}

/// Decodes a record, refusing formats that are newer than `known`.
pub(crate) fn decode<T: DeserializeOwned>(key: &Key, bytes: &[u8], known: u64) -> Result<T> {
    #[derive(serde::Deserialize)]
    struct Version {
        version: u64,
    }
    let bad = |error: serde_json::Error| Error::BadRecord {
        key: key.to_string(),
        reason: error.to_string(),
    };
    let Version { version } = serde_json::from_slice(bytes).map_err(bad)?;
    if version > known {
        return Err(Error::NewerFormat {
            key: key.to_string(),
            found: version,
            known,
        });
    }
    serde_json::from_slice(bytes).map_err(bad)
}

/// Reads and decodes a record.
pub(crate) async fn read<T: DeserializeOwned>(
    store: &Arc<dyn ObjectStore>,
    key: &Key,
    known: u64,
) -> Result<T> {
    let bytes = read_small(store, key, RECORD_LIMIT)
        .await
        .map_err(Error::store(format!("read `{key}`")))?;
    decode(key, &bytes, known)
}
