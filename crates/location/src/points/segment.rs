//! Objects that commit themselves: each is sealed in memory and created under a name that holds the digest of its bytes.
//! It is there whole or not at all, and who reads it knows from its name what it must be.

use bytes::Bytes;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use salvor_seal::Digest;
use salvor_seal::age::{AgeError, Identity, ObjectOpener, ObjectSealer, Recipient};
use salvor_storage::{ObjectInfo, PutMode};

use super::object::{differs, key_of};
use crate::claim::read_small;
use crate::error::{Error, Result};
use crate::location::Location;

/// Bytes of a sealed segment that are read into memory at most.
pub const LARGEST_SEGMENT: u64 = 256 << 20;

/// An object in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Where it stands.
    pub key: String,
    /// Its bytes.
    pub size: u64,
    /// When it was written, by the store's clock.
    pub modified: Option<Timestamp>,
}

impl SegmentInfo {
    pub(crate) fn of(info: ObjectInfo) -> Self {
        Self {
            key: info.key.to_string(),
            size: info.size,
            modified: info.modified,
        }
    }

    /// The last part of its key.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }
}

impl Location {
    /// Seals content to `recipients` and creates the object that `name` gives a key for, from the digest of its bytes.
    /// Gives key, digest and length.
    ///
    /// # Errors
    /// The content cannot be sealed, or the store fails. After [`Error::may_have_happened`] the object may be there.
    pub async fn create_segment(
        &self,
        recipients: &[Recipient],
        content: Bytes,
        name: impl FnOnce(&Digest) -> String,
    ) -> Result<(String, Digest, u64)> {
        let recipients = recipients.to_vec();
        let sealing = tokio::task::spawn_blocking(move || seal(&recipients, &content));
        let sealed = sealing
            .await
            .unwrap_or_else(|error| Err(AgeError::Compress(std::io::Error::other(error))));
        let bytes = sealed.map_err(|source| Error::Sealed {
            doing: "seal a segment".to_owned(),
            source: Box::new(source),
        })?;
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        let key = key_of(&name(&digest))?;
        let put = self.store.put(&key, bytes, PutMode::Create).await;
        match put {
            Ok(_) => {}
            // The name holds the digest: what is there under it is what was to be written, once it has the length.
            Err(error) if error.is_already_exists() || error.may_have_happened() => {
                let there = self.store.head(&key).await;
                if !there.is_ok_and(|info| info.size == size) {
                    return Err(Error::store(format!("write `{key}`"))(error));
                }
            }
            Err(error) => return Err(Error::store(format!("write `{key}`"))(error)),
        }
        Ok((key.to_string(), digest, size))
    }

    /// The content of a segment, whose bytes must have the digest of its name. Whole in memory.
    ///
    /// # Errors
    /// It is damaged or larger than [`LARGEST_SEGMENT`], opens to more than `limit` bytes, none of the identities opens
    /// it, or the store fails.
    pub async fn read_segment(
        &self,
        key: &str,
        digest: Digest,
        identities: &[Identity],
        limit: usize,
    ) -> Result<Vec<u8>> {
        let key = key_of(key)?;
        let bytes = read_small(&self.store, &key, LARGEST_SEGMENT)
            .await
            .map_err(Error::store(format!("read `{key}`")))?;
        let found = Digest::of(&bytes);
        if found != digest {
            return Err(differs(&key, "SHA-256", found, digest));
        }
        let opener = ObjectOpener::new(identities);
        let opening = tokio::task::spawn_blocking(move || open(opener?, &bytes, limit));
        let opened = opening
            .await
            .unwrap_or_else(|error| Err(AgeError::Decompress(std::io::Error::other(error))));
        opened.map_err(|source| Error::Sealed {
            doing: format!("read `{key}`"),
            source: Box::new(source),
        })
    }

    /// Whether the bytes of a segment are those of its name. No identity is needed.
    ///
    /// # Errors
    /// The store fails, which says nothing of the segment.
    pub async fn is_sound_segment(&self, key: &str, digest: Digest) -> Result<bool> {
        let key = key_of(key)?;
        match self.digest_of(&key).await {
            Ok(found) => Ok(found == digest),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(Error::store(format!("read `{key}`"))(error)),
        }
    }

    /// All objects below a folder, by key.
    ///
    /// # Errors
    /// The store fails.
    pub async fn list_below(&self, folder: &str) -> Result<Vec<SegmentInfo>> {
        let list = async {
            let listed = self.store.list(folder).await?;
            listed.map_ok(SegmentInfo::of).try_collect().await
        };
        list.await
            .map_err(Error::store(format!("list `{folder}/`")))
    }

    /// Creates a small record; one that is there already is an error.
    ///
    /// # Errors
    /// Something is there, or the store fails.
    pub async fn create_small(&self, key: &str, body: Bytes) -> Result<()> {
        let key = key_of(key)?;
        let put = self.store.put(&key, body, PutMode::Create).await;
        put.map(drop)
            .map_err(Error::store(format!("write `{key}`")))
    }

    /// Reads a small record whole.
    ///
    /// # Errors
    /// It is larger than `limit` bytes, not there, or the store fails.
    pub async fn read_record(&self, key: &str, limit: u64) -> Result<Bytes> {
        let key = key_of(key)?;
        read_small(&self.store, &key, limit)
            .await
            .map_err(Error::store(format!("read `{key}`")))
    }
}

fn seal(recipients: &[Recipient], content: &[u8]) -> Result<Bytes, AgeError> {
    let mut out = Vec::new();
    let mut sealer = ObjectSealer::begin(recipients, &mut out)?;
    sealer.push(content, &mut out)?;
    sealer.finish(&mut out)?;
    Ok(out.into())
}

/// Bytes that are opened before it is looked at how much came out.
const STEP: usize = 64 << 10;

fn open(mut opener: ObjectOpener, bytes: &[u8], limit: usize) -> Result<Vec<u8>, AgeError> {
    let too_long = |out: &Vec<u8>| {
        let why = format!("it opens to more than {limit} bytes");
        (out.len() > limit).then(|| AgeError::Decompress(std::io::Error::other(why)))
    };
    let mut out = Vec::new();
    for piece in bytes.chunks(STEP) {
        opener.push(piece, &mut out)?;
        if let Some(error) = too_long(&out) {
            return Err(error);
        }
    }
    opener.finish(&mut out)?;
    too_long(&out).map_or(Ok(out), Err)
}
