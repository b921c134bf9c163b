//! Single objects that only their recipients can read: `<name>.zst.age` (`docs/formats/sealed-objects.md`).
//!
//! An object is its own commit: it is created under its name and seen at its end only, so nothing is half done after a
//! crash, and whoever comes next may write under the same name or finds it taken. Its digests belong into the record
//! of whoever wrote it, which is written after it.

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use salvor_seal::age::{AgeError, Identity, ObjectOpener, ObjectSealer, SealedDigests};
use salvor_seal::{Digest, Hasher};
use salvor_storage::{GetOptions, Key, PutMode, Upload};

use crate::error::{Error, Result};
use crate::location::Location;

/// Ending of the names of sealed objects.
pub const ENDING: &str = ".zst.age";
/// Encrypted bytes that are sent together.
const SEND: usize = 1 << 20;

impl Location {
    /// Encrypts content to the location's pinned recipients and creates an object of it. When this fails nothing is
    /// there under the name, or, after [`Error::may_have_happened`], the whole object.
    ///
    /// # Errors
    /// No recipients are pinned, or the location's record names others; the name does not end with [`ENDING`] or is
    /// taken; the content or the store fails.
    pub async fn write_sealed<S, E>(&self, key: &Key, content: S) -> Result<SealedDigests>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::error::Error + Send + Sync + 'static,
    {
        let doing = format!("write `{key}`");
        if !key.as_str().ends_with(ENDING) {
            return Err(Error::BadRecord {
                key: key.to_string(),
                reason: format!("the name of a sealed object ends with `{ENDING}`"),
            });
        }
        let recipients = self.recipients().await?;
        self.prepare().await?;
        let upload = self.store.upload(key, PutMode::Create).await;
        let mut upload = upload.map_err(Error::store(doing.clone()))?;
        match send(&mut *upload, &recipients, content, &doing).await {
            Ok(digests) => match upload.finish().await {
                Ok(_) => Ok(digests),
                // Ours may have arrived although the answer did not.
                Err(error) if error.is_already_exists() || error.may_have_happened() => {
                    match self.digest_of(key).await {
                        Ok(there) if there == digests.object => Ok(digests),
                        _ => Err(Error::store(doing)(error)),
                    }
                }
                Err(error) => Err(Error::store(doing)(error)),
            },
            Err(error) => {
                // Nothing is visible; what is left of the upload costs space at most.
                if let Err(error) = upload.abort().await {
                    tracing::debug!(%error, %key, "an upload could not be given up");
                }
                Err(error)
            }
        }
    }

    /// The content of a sealed object, as it arrives. It is complete only when the stream has ended without an error.
    ///
    /// # Errors
    /// The object is not there or the store fails; in the stream: none of the identities opens it, it is damaged or cut
    /// off.
    pub async fn read_sealed(
        &self,
        key: &Key,
        identities: &[Identity],
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let doing = format!("read `{key}`");
        let object = self.store.get(key, GetOptions::default()).await;
        let body = object.map_err(Error::store(doing.clone()))?.body;
        opened(
            key,
            body.map_err(Error::store_each(doing)).boxed(),
            identities,
        )
    }

    pub(crate) async fn digest_of(&self, key: &Key) -> Result<Digest, salvor_storage::Error> {
        let mut body = self.store.get(key, GetOptions::default()).await?.body;
        let mut hasher = Hasher::new();
        while let Some(bytes) = body.try_next().await? {
            hasher.update(&bytes);
        }
        Ok(hasher.finish())
    }
}

/// The content of encrypted bytes as they arrive.
pub(crate) fn opened(
    key: &Key,
    body: BoxStream<'static, Result<Bytes>>,
    identities: &[Identity],
) -> Result<BoxStream<'static, Result<Bytes>>> {
    let doing = format!("read `{key}`");
    let opener = ObjectOpener::new(identities).map_err(sealed(&doing))?;
    let state = Some((opener, body));
    let content = stream::try_unfold(state, move |state| {
        let doing = doing.clone();
        async move {
            let Some((opener, mut body)) = state else {
                return Ok(None);
            };
            match body.try_next().await? {
                Some(bytes) => {
                    let opened = blocking(move || {
                        let (mut opener, mut out) = (opener, Vec::new());
                        opener.push(&bytes, &mut out).map(|()| (opener, out))
                    });
                    let (opener, out) = opened.await.map_err(sealed(&doing))?;
                    Ok(Some((Bytes::from(out), Some((opener, body)))))
                }
                None => {
                    let opened = blocking(move || {
                        let mut out = Vec::new();
                        opener.finish(&mut out).map(|_| out)
                    });
                    let out = opened.await.map_err(sealed(&doing))?;
                    Ok(Some((Bytes::from(out), None)))
                }
            }
        }
    });
    Ok(content.boxed())
}

/// Encrypts and sends everything.
async fn send<S, E>(
    upload: &mut dyn Upload,
    recipients: &[salvor_seal::age::Recipient],
    content: S,
    doing: &str,
) -> Result<SealedDigests>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut out = Vec::with_capacity(SEND * 2);
    let mut sealer = ObjectSealer::begin(recipients, &mut out).map_err(sealed(doing))?;
    let mut content = std::pin::pin!(content);
    while let Some(bytes) = content.next().await {
        let bytes = bytes.map_err(|source| Error::Content {
            doing: doing.to_owned(),
            source: Box::new(source),
        })?;
        let sealing = blocking(move || {
            let (mut sealer, mut out) = (sealer, out);
            sealer.push(&bytes, &mut out).map(|()| (sealer, out))
        });
        (sealer, out) = sealing.await.map_err(sealed(doing))?;
        if out.len() >= SEND {
            let full = Bytes::from(std::mem::take(&mut out));
            upload.write(full).await.map_err(Error::store(doing))?;
        }
    }
    let sealing = blocking(move || {
        let mut out = out;
        sealer.finish(&mut out).map(|digests| (digests, out))
    });
    let (digests, out) = sealing.await.map_err(sealed(doing))?;
    let sent = upload.write(Bytes::from(out)).await;
    sent.map_err(Error::store(doing))?;
    Ok(digests)
}

/// Ciphers and compression go to a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AgeError> + Send + 'static,
) -> Result<T, AgeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(AgeError::Compress(std::io::Error::other(error))),
    }
}

fn sealed(doing: &str) -> impl FnOnce(AgeError) -> Error {
    let doing = doing.to_owned();
    move |source| Error::Sealed {
        doing,
        source: Box::new(source),
    }
}
