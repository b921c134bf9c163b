//! Bodies of objects, read on where they broke off.

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use opendal::BytesRange;
use opendal::raw::oio::ReadStreamDyn;
use tracing::debug;

use super::store::{Call, RemoteStore, object_info, read_arguments};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::{ByteStream, GetOptions, Object, ObjectInfo};

const OPERATION: &str = "read";

/// Opens an object or a part of it. The first answer is there when this returns.
pub(super) async fn open(store: &RemoteStore, key: &Key, options: GetOptions) -> Result<Object> {
    let GetOptions { range, version } = options;
    let invalid = |detail: String| {
        store
            .refusal(ErrorKind::Invalid, OPERATION, key.as_str())
            .with_detail(detail)
    };
    let wanted = match &range {
        Some(range) if range.start > range.end => {
            return Err(invalid(format!("range {}-{}", range.start, range.end)));
        }
        // HTTP knows no empty range; the answer to one byte carries the size as well.
        Some(range) if range.start == range.end => {
            return empty(store, key, range.start, version).await;
        }
        Some(range) => BytesRange::new(range.start, Some(range.end - range.start)),
        None => BytesRange::new(0, None),
    };
    let call = store.call(OPERATION, key.as_str()).await?;
    let (info, body) = request(store, &call, key, wanted, version.clone(), None).await?;
    let (start, end) = match range {
        Some(range) if range.end > info.size => {
            return Err(invalid(format!(
                "range {}-{} of {} bytes",
                range.start, range.end, info.size
            )));
        }
        Some(range) => (range.start, range.end),
        None => (0, info.size),
    };
    let reading = Reading {
        store: store.clone(),
        key: key.clone(),
        version,
        etag: info.etag.clone(),
        call,
        body,
        position: start,
        end,
        attempt: 0,
    };
    Ok(Object {
        info,
        body: reading.into_stream(),
    })
}

async fn empty(store: &RemoteStore, key: &Key, at: u64, version: Option<String>) -> Result<Object> {
    let info = match version {
        None => store.stat(key).await?.0,
        Some(_) => {
            let call = store.call(OPERATION, key.as_str()).await?;
            let all = BytesRange::new(0, None);
            request(store, &call, key, all, version, None).await?.0
        }
    };
    if at > info.size {
        return Err(store
            .refusal(ErrorKind::Invalid, OPERATION, key.as_str())
            .with_detail(format!("range {at}-{at} of {} bytes", info.size)));
    }
    Ok(Object {
        info,
        body: stream::empty().boxed(),
    })
}

async fn request(
    store: &RemoteStore,
    call: &Call,
    key: &Key,
    range: BytesRange,
    version: Option<String>,
    etag: Option<String>,
) -> Result<(ObjectInfo, Box<dyn ReadStreamDyn>)> {
    let opened = async {
        let arguments = read_arguments(version, etag);
        let reader = call
            .service
            .read_dyn(&call.context, key.as_str(), arguments)?;
        reader.open_dyn(range).await
    };
    let (answer, body) = opened
        .await
        .map_err(|cause| store.failed(OPERATION, key.as_str(), call, &cause))?;
    let metadata = answer.metadata().ok_or_else(|| {
        store
            .refusal(ErrorKind::Other, OPERATION, key.as_str())
            .with_detail("the answer does not say how long the object is")
    })?;
    Ok((object_info(key.clone(), metadata), body))
}

/// A body on its way.
struct Reading {
    store: RemoteStore,
    key: Key,
    version: Option<String>,
    /// Of the object whose beginning was read: the rest must be of the same.
    etag: Option<String>,
    call: Call,
    body: Box<dyn ReadStreamDyn>,
    /// Bytes up to here were passed on.
    position: u64,
    end: u64,
    /// Failures since the last byte.
    attempt: u32,
}

impl Reading {
    fn into_stream(self) -> ByteStream {
        stream::unfold(Some(self), |state| async {
            let mut reading = state?;
            match reading.next().await {
                Ok(None) => None,
                Ok(Some(bytes)) => Some((Ok(bytes), Some(reading))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let error = match self.body.read_dyn().await {
                Ok(buffer) if !buffer.is_empty() => {
                    let left = self.end - self.position;
                    if buffer.len() as u64 > left {
                        return Err(self.error(ErrorKind::Corrupt).with_detail(format!(
                            "the store sent more than the {left} bytes that were left to read"
                        )));
                    }
                    self.position += buffer.len() as u64;
                    self.attempt = 0;
                    return Ok(Some(buffer.to_bytes()));
                }
                Ok(_) if self.position == self.end => return Ok(None),
                Ok(_) => self.error(ErrorKind::Transient).with_detail(format!(
                    "the body ended {} bytes early",
                    self.end - self.position
                )),
                // Every byte is there; how the connection ended does not matter.
                Err(_) if self.position == self.end => return Ok(None),
                Err(cause) => self
                    .store
                    .failed(OPERATION, self.key.as_str(), &self.call, &cause),
            };
            self.reopen(error).await?;
        }
    }

    /// Reads on from where the body broke off, while that may help.
    async fn reopen(&mut self, mut error: Error) -> Result<()> {
        let policy = self.store.policy().clone();
        // Without a mark of the object's content its rest could be that of another.
        while error.is_retryable() && self.etag.is_some() && self.attempt + 1 < policy.attempts {
            debug!(%error, position = self.position, "reading on where the body broke off");
            tokio::time::sleep(policy.delay(self.attempt, &error)).await;
            self.attempt += 1;
            let rest = BytesRange::new(self.position, Some(self.end - self.position));
            self.call = self.store.call(OPERATION, self.key.as_str()).await?;
            let reopened = request(
                &self.store,
                &self.call,
                &self.key,
                rest,
                self.version.clone(),
                self.etag.clone(),
            )
            .await;
            match reopened {
                Ok((info, body)) if info.etag == self.etag => {
                    self.body = body;
                    return Ok(());
                }
                Ok(_) => {
                    return Err(self
                        .error(ErrorKind::Other)
                        .with_detail("the object was replaced while it was read"));
                }
                Err(next) => error = next,
            }
        }
        Err(error)
    }

    fn error(&self, kind: ErrorKind) -> Error {
        self.store.refusal(kind, OPERATION, self.key.as_str())
    }
}
