//! The objects of points: written sealed, read only when they are what their record says.

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use salvor_seal::age::{Identity, SealedDigests};
use salvor_seal::{Digest, Hasher};
use salvor_storage::{GetOptions, Key};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::location::Location;
use crate::sealed_object::opened;

/// One sealed object, and what was written into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PointObject {
    /// Where it stands in the location.
    pub key: String,
    /// Its bytes.
    pub size: u64,
    /// SHA-256 of them.
    pub sha256: Digest,
    /// Bytes of its content.
    pub content_size: u64,
    /// SHA-256 of its content.
    pub content_sha256: Digest,
}

impl PointObject {
    fn new(key: &Key, digests: &SealedDigests) -> Self {
        Self {
            key: key.to_string(),
            size: digests.size,
            sha256: digests.object,
            content_size: digests.content_size,
            content_sha256: digests.content,
        }
    }
}

/// A key from text.
pub(crate) fn key_of(text: &str) -> Result<Key> {
    Key::new(text).map_err(|error| Error::BadRecord {
        key: text.to_owned(),
        reason: error.to_string(),
    })
}

/// An object that is not what its record says.
pub(super) fn differs(key: &Key, what: &str, found: impl ToString, said: impl ToString) -> Error {
    Error::BadRecord {
        key: key.to_string(),
        reason: format!(
            "its {what} is {}, and its record says {}: it is damaged or another object",
            found.to_string(),
            said.to_string()
        ),
    }
}

impl Location {
    /// Seals content to the location's recipients and creates an object of it. It counts once a point that names it is
    /// committed.
    ///
    /// # Errors
    /// As [`Location::write_sealed`].
    pub async fn write_point_object<S, E>(&self, key: &str, content: S) -> Result<PointObject>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::error::Error + Send + Sync + 'static,
    {
        let key = key_of(key)?;
        let digests = self.write_sealed(&key, content).await?;
        Ok(PointObject::new(&key, &digests))
    }

    /// The content of an object of a point. Length and digest of the object and of its content are compared; the stream
    /// ends with an error where they differ, so nothing of it may be used before its end.
    ///
    /// # Errors
    /// The object is not there or the store fails; in the stream: it is not what its record says, or none of the
    /// identities opens it.
    pub async fn read_point_object(
        &self,
        object: &PointObject,
        identities: &[Identity],
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let key = key_of(&object.key)?;
        let body = self.checked_body(&key, object).await?;
        let content = opened(&key, body, identities)?;
        let (key, object) = (key.clone(), object.clone());
        let state = Some((content, Hasher::new()));
        let checked = stream::try_unfold(state, move |state| {
            let (key, object) = (key.clone(), object.clone());
            async move {
                let Some((mut content, mut hasher)) = state else {
                    return Ok(None);
                };
                if let Some(bytes) = content.try_next().await? {
                    hasher.update(&bytes);
                    if hasher.length() > object.content_size {
                        // Before more of it fills a disk.
                        let found = format!("more than {}", object.content_size);
                        return Err(differs(&key, "content", found, object.content_size));
                    }
                    return Ok(Some((bytes, Some((content, hasher)))));
                }
                let found = hasher.finish();
                if found == object.content_sha256 {
                    return Ok(None);
                }
                Err(differs(&key, "content", found, object.content_sha256))
            }
        });
        Ok(checked.boxed())
    }

    /// Reads an object of a point as it is stored and compares it with its record. No identity is needed.
    ///
    /// # Errors
    /// It is not what its record says, or the store fails.
    pub async fn check_point_object(&self, object: &PointObject) -> Result<()> {
        let key = key_of(&object.key)?;
        let body = self.checked_body(&key, object).await?;
        body.try_for_each(|_| std::future::ready(Ok(()))).await
    }

    /// The encrypted bytes, which end with an error when they are not those of the record.
    async fn checked_body(
        &self,
        key: &Key,
        object: &PointObject,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let doing = format!("read `{key}`");
        let got = self.store.get(key, GetOptions::default()).await;
        let got = got.map_err(Error::store(doing.clone()))?;
        if got.info.size != object.size {
            return Err(differs(key, "length", got.info.size, object.size));
        }
        let body = got.body.map_err(Error::store_each(doing));
        let state = Some((body, Hasher::new()));
        let (key, expected) = (key.clone(), object.sha256);
        let checked = stream::try_unfold(state, move |state| {
            let key = key.clone();
            async move {
                let Some((mut body, mut hasher)) = state else {
                    return Ok(None);
                };
                if let Some(bytes) = body.try_next().await? {
                    hasher.update(&bytes);
                    return Ok(Some((bytes, Some((body, hasher)))));
                }
                let found = hasher.finish();
                if found == expected {
                    return Ok(None);
                }
                Err(differs(&key, "SHA-256", found, expected))
            }
        });
        Ok(checked.boxed())
    }

    /// The second look at an object before its point is committed.
    pub(super) async fn look_at_object(&self, object: &PointObject) -> Result<()> {
        let key = key_of(&object.key)?;
        let changed = |reason: String| Error::ContentsChanged {
            key: key.to_string(),
            reason,
        };
        match self.store.head(&key).await {
            Ok(info) if info.size == object.size => Ok(()),
            Ok(info) => Err(changed(format!(
                "{} bytes instead of {}",
                info.size, object.size
            ))),
            Err(error) if error.is_not_found() => Err(changed("it is gone".to_owned())),
            Err(error) => Err(Error::store(format!("look at `{key}` again"))(error)),
        }
    }
}
