//! Objects that come in pieces.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use opendal::raw::oio::Writer;
use opendal::{Buffer, Metadata, options};
use tracing::debug;

use super::store::{Call, RemoteStore, object_info, verb};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::{ObjectInfo, ObjectStore as _, PutMode, Upload};

/// Bytes per part. With [`IN_FLIGHT`] parts on their way, one waiting for them and one being filled, an
/// upload takes 40 MiB of memory.
const PART: usize = 8 << 20;
/// Parts on their way at once.
const IN_FLIGHT: usize = 3;
/// S3 and Google take this many parts, Azure more.
const MOST_PARTS: usize = 10_000;
/// The mark by which an upload finds its own object after a lost answer. Letters only: Azure allows nothing
/// else in such names.
const MARK: &str = "salvorupload";

/// An upload on its way.
pub(super) struct RemoteUpload {
    store: RemoteStore,
    key: Key,
    mode: PutMode,
    mark: String,
    call: Call,
    /// Taken out by the end, whichever it is.
    writer: Option<Writer>,
    buffer: BytesMut,
    parts: usize,
    size: u64,
}

/// Whose object is under the key.
enum Owner {
    Ours(ObjectInfo),
    Others,
    Nobody,
    /// The store does not say.
    Unknown,
}

impl RemoteUpload {
    pub(super) async fn begin(store: RemoteStore, key: Key, mode: PutMode) -> Result<Self> {
        let call = store.call(verb(mode), key.as_str()).await?;
        let mark = random_mark(&store, &key, mode)?;
        let given = options::WriteOptions {
            concurrent: IN_FLIGHT,
            user_metadata: Some(HashMap::from([(MARK.to_owned(), mark.clone())])),
            ..options::WriteOptions::default()
        };
        let arguments = store.write_arguments(&call, &key, mode, given)?;
        let writer = call
            .service
            .write_dyn(&call.context, key.as_str(), arguments)
            .map_err(|cause| store.failed(verb(mode), key.as_str(), &call, &cause))?;
        Ok(Self {
            store,
            key,
            mode,
            mark,
            call,
            writer: Some(writer),
            buffer: BytesMut::new(),
            parts: 0,
            size: 0,
        })
    }

    fn error(&self, kind: ErrorKind) -> Error {
        self.store.refusal(kind, verb(self.mode), self.key.as_str())
    }

    fn failed(&self, cause: &opendal::Error) -> Error {
        self.store
            .failed(verb(self.mode), self.key.as_str(), &self.call, cause)
    }

    /// Hands the buffer to the store. The library keeps a part that failed and takes it up when asked again,
    /// as long as it calls the failure temporary.
    async fn flush(&mut self) -> Result<()> {
        if self.parts == MOST_PARTS {
            return Err(self.error(ErrorKind::Invalid).with_detail(format!(
                "larger than the {} GiB that an upload may have",
                (PART * MOST_PARTS) >> 30
            )));
        }
        let part = Buffer::from(self.buffer.split().freeze());
        let policy = self.store.policy().clone();
        let mut attempt = 0;
        loop {
            let Some(writer) = self.writer.as_mut() else {
                return Err(self
                    .error(ErrorKind::Invalid)
                    .with_detail("the upload has failed"));
            };
            let Err(cause) = writer.write_dyn(part.clone()).await else {
                self.parts += 1;
                return Ok(());
            };
            // Parts change nothing that is visible.
            let mut error = self.failed(&cause);
            error.indeterminate = false;
            let again = cause.is_temporary() && error.is_retryable();
            if !again || attempt + 1 >= policy.attempts {
                self.give_up().await;
                return Err(error);
            }
            debug!(%error, attempt, "part of an upload is sent again");
            tokio::time::sleep(policy.delay(attempt, &error)).await;
            attempt += 1;
        }
    }

    /// Removes the parts; what cannot be removed stays invisible.
    async fn give_up(&mut self) {
        if let Some(mut writer) = self.writer.take()
            && let Err(error) = writer.abort_dyn().await
        {
            debug!(error = error.message(), key = %self.key, "parts of a failed upload stay");
        }
    }

    /// Makes the object visible, and finds out whether it did.
    async fn settle(&mut self, writer: &mut Writer) -> Result<ObjectInfo> {
        let policy = self.store.policy().clone();
        let mut attempt = 0;
        let mut in_doubt = false;
        loop {
            let cause = match writer.close_dyn().await {
                Ok(metadata) => {
                    return Ok(ObjectInfo {
                        size: self.size,
                        ..object_info(self.key.clone(), &metadata)
                    });
                }
                Err(cause) => cause,
            };
            let mut error = self.failed(&cause);
            in_doubt |= error.may_have_happened();
            // The parts are gone: our own earlier attempt took them, or another writer's end swept them away.
            let parts_gone = matches!(error.kind, ErrorKind::NotFound | ErrorKind::Invalid);
            if in_doubt || (parts_gone && self.mode == PutMode::Create) {
                match (self.owner().await, self.mode) {
                    (Owner::Ours(info), _) => return Ok(info),
                    (Owner::Others, PutMode::Create) => {
                        return Err(self.error(ErrorKind::AlreadyExists));
                    }
                    (Owner::Unknown, _) => return Err(error.maybe_happened()),
                    (Owner::Others, PutMode::Overwrite) | (Owner::Nobody, _) => {}
                }
            }
            let again = cause.is_temporary() && error.is_retryable();
            if !again || attempt + 1 >= policy.attempts {
                error.indeterminate = in_doubt;
                return Err(error);
            }
            debug!(%error, attempt, in_doubt, "end of an upload is tried again");
            tokio::time::sleep(policy.delay(attempt, &error)).await;
            attempt += 1;
        }
    }

    async fn owner(&self) -> Owner {
        match self.look().await {
            Ok(Some((info, metadata))) => {
                let mark = metadata.user_metadata().and_then(|marks| marks.get(MARK));
                match mark {
                    Some(mark) if mark == self.mark => Owner::Ours(info),
                    Some(_) => Owner::Others,
                    None if info.size != self.size => Owner::Others,
                    // Somebody's object of our length, or ours on a store that drops marks.
                    None => Owner::Unknown,
                }
            }
            Ok(None) => Owner::Nobody,
            Err(_) => Owner::Unknown,
        }
    }

    /// What is under the key. Nobody else can repeat this question, so it is repeated here.
    async fn look(&self) -> Result<Option<(ObjectInfo, Metadata)>> {
        let policy = self.store.policy().clone();
        let mut attempt = 0;
        loop {
            match self.store.stat(&self.key).await {
                Ok(found) => return Ok(Some(found)),
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) if error.is_retryable() && attempt + 1 < policy.attempts => {
                    tokio::time::sleep(policy.delay(attempt, &error)).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn random_mark(store: &RemoteStore, key: &Key, mode: PutMode) -> Result<String> {
    let mut random = [0u8; 16];
    getrandom::fill(&mut random).map_err(|error| {
        store
            .refusal(ErrorKind::Other, verb(mode), key.as_str())
            .with_detail(format!("no randomness: {error}"))
    })?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[async_trait]
impl Upload for RemoteUpload {
    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            // Only a full buffer that is followed by more is sent: the last part waits for the end, so that
            // a small object is one request.
            if self.buffer.len() == PART {
                self.flush().await?;
            }
            let room = PART - self.buffer.len();
            self.buffer
                .extend_from_slice(&bytes.split_to(room.min(bytes.len())));
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<ObjectInfo> {
        // A store that may ignore the condition is asked first. That narrows the window; it does not close
        // it, which is why such a store does not count as one that excludes.
        if self.mode == PutMode::Create && !self.store.excludes() {
            let refusal = match self.look().await {
                Ok(None) => None,
                Ok(Some(_)) => Some(self.error(ErrorKind::AlreadyExists)),
                Err(error) => Some(error),
            };
            if let Some(error) = refusal {
                self.give_up().await;
                return Err(error);
            }
        }
        if !self.buffer.is_empty() {
            self.flush().await?;
        }
        let Some(mut writer) = self.writer.take() else {
            return Err(self
                .error(ErrorKind::Invalid)
                .with_detail("the upload has failed"));
        };
        let outcome = self.settle(&mut writer).await;
        if outcome.is_err() {
            self.writer = Some(writer);
            self.give_up().await;
        }
        outcome
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        let Some(mut writer) = self.writer.take() else {
            return Ok(());
        };
        writer
            .abort_dyn()
            .await
            .map_err(|cause| self.failed(&cause))
    }
}

impl Drop for RemoteUpload {
    fn drop(&mut self) {
        let (Some(mut writer), true) = (self.writer.take(), self.parts > 0) else {
            return;
        };
        // Without a runtime the program is ending, and the parts stay until the store's own rule.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let call = self.call.clone();
            runtime.spawn(async move {
                if let Err(error) = writer.abort_dyn().await {
                    debug!(error = error.message(), "parts of a dropped upload stay");
                }
                drop(call);
            });
        }
    }
}
