//! Messages of the kinds that move bytes: one line of JSON and, when it says so, a body in chunks whose end says
//! whether it is whole. `docs/formats/providers.md` has the form.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};
use tokio::sync::mpsc;

use super::error::{CallError, Complaint, excerpt};

/// Longest first line, in bytes: a page of 1,000 keys of 1,024 bytes, or a page of objects, has room.
pub(crate) const MAX_HEAD: usize = 8 << 20;
/// Longest chunk of a body, in bytes: what one side must hold at once.
pub const MAX_CHUNK: usize = 1 << 20;
/// Longest last line of a body, in bytes.
const MAX_END: usize = 64 << 10;
/// Digits of the length of a chunk, and room for those who pad.
const MAX_LENGTH: usize = 16;

/// What a body, or an answer, is read from.
pub(crate) type Source = Pin<Box<dyn AsyncBufRead + Send>>;

/// The last line of a body.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct End {
    /// False when the sender could not go on: the body is worth nothing.
    complete: bool,
    /// How many bytes the body has.
    #[serde(default)]
    bytes: u64,
    /// Their SHA-256, in hex.
    #[serde(default)]
    sha256: String,
    /// Why it is not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Complaint>,
}

/// Reads a line without its end; at most `limit` bytes. A last line may lack its end. `None` at the end.
pub(crate) async fn line(
    source: &mut Source,
    limit: usize,
    patience: Duration,
) -> Result<Option<Vec<u8>>, CallError> {
    let mut line = Vec::new();
    loop {
        let available = fill(source, patience).await?;
        if available.is_empty() {
            return Ok((!line.is_empty()).then_some(line));
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(available.len());
        if line.len() + taken > limit {
            return Err(CallError::TooLarge(limit));
        }
        line.extend_from_slice(&available[..taken]);
        source.as_mut().consume(taken + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

async fn fill(source: &mut Source, patience: Duration) -> Result<&[u8], CallError> {
    let filled = tokio::time::timeout(patience, source.fill_buf()).await;
    filled
        .map_err(|_| CallError::Timeout(patience))?
        .map_err(|error| CallError::Read {
            reason: error.to_string(),
        })
}

/// Whether anything follows; a message ends where its last line ends.
pub(crate) async fn at_end(source: &mut Source, patience: Duration) -> Result<(), CallError> {
    match fill(source, patience).await?.is_empty() {
        true => Ok(()),
        false => Err(CallError::Meaningless("bytes behind its end")),
    }
}

/// Reads the chunks of a body. What came before the end counts only when the end was reached.
pub(crate) struct Chunks {
    left: usize,
    bytes: u64,
    hash: Sha256,
}

impl Chunks {
    pub(crate) fn new() -> Self {
        Self {
            left: 0,
            bytes: 0,
            hash: Sha256::new(),
        }
    }

    /// The next bytes; `None` when the body was complete and is what its sender sent.
    pub(crate) async fn next(
        &mut self,
        source: &mut Source,
        patience: Duration,
    ) -> Result<Option<Bytes>, CallError> {
        if self.left == 0 {
            self.left = chunk_length(source, patience).await?;
            if self.left == 0 {
                self.end(source, patience).await?;
                return Ok(None);
            }
        }
        let available = fill(source, patience).await?;
        if available.is_empty() {
            return Err(CallError::BrokenOff);
        }
        let taken = available.len().min(self.left);
        let bytes = Bytes::copy_from_slice(&available[..taken]);
        source.as_mut().consume(taken);
        self.left -= taken;
        self.bytes += taken as u64;
        self.hash.update(&bytes);
        Ok(Some(bytes))
    }

    async fn end(&mut self, source: &mut Source, patience: Duration) -> Result<(), CallError> {
        let end = line(source, MAX_END, patience).await?;
        let end = end.ok_or(CallError::BrokenOff)?;
        let end: End =
            serde_json::from_slice(&end).map_err(|source| CallError::Malformed { source })?;
        if let Some(complaint) = end.error {
            return Err(CallError::Refused(complaint.shortened()));
        }
        if !end.complete {
            return Err(CallError::BrokenOff);
        }
        let sha256 = hex(&std::mem::take(&mut self.hash).finalize());
        if (end.bytes, &end.sha256) != (self.bytes, &sha256) {
            return Err(CallError::Digest);
        }
        at_end(source, patience).await
    }
}

async fn chunk_length(source: &mut Source, patience: Duration) -> Result<usize, CallError> {
    let text = line(source, MAX_LENGTH, patience).await?;
    let text = text.ok_or(CallError::BrokenOff)?;
    let digits = std::str::from_utf8(&text).ok();
    let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let length: Option<usize> = digits.and_then(|digits| digits.parse().ok());
    match length {
        Some(length) if length <= MAX_CHUNK => Ok(length),
        Some(_) => Err(CallError::TooLarge(MAX_CHUNK)),
        None => Err(CallError::Chunk(excerpt(&text))),
    }
}

pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where the body of a question goes. Dropping it before [`Sink::finish`] breaks the body off: its receiver
/// must then forget what it got.
#[derive(Debug)]
pub(crate) struct Sink {
    to: mpsc::Sender<Bytes>,
    bytes: u64,
    hash: Sha256,
    patience: Duration,
}

impl Sink {
    pub(crate) fn new(to: mpsc::Sender<Bytes>, patience: Duration) -> Self {
        Self {
            to,
            bytes: 0,
            hash: Sha256::new(),
            patience,
        }
    }

    /// Sends bytes; waits while the other side is slower.
    ///
    /// # Errors
    /// [`CallError::Unheard`] when the other side listens no longer: its answer says why.
    pub(crate) async fn write(&mut self, mut bytes: Bytes) -> Result<(), CallError> {
        while !bytes.is_empty() {
            let chunk = bytes.split_to(bytes.len().min(MAX_CHUNK));
            self.bytes += chunk.len() as u64;
            self.hash.update(&chunk);
            self.send(format!("{}\n", chunk.len()).into()).await?;
            self.send(chunk).await?;
        }
        Ok(())
    }

    /// How many bytes were sent.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Says that the body is whole.
    ///
    /// # Errors
    /// As [`Sink::write`].
    pub(crate) async fn finish(self) -> Result<(), CallError> {
        let sha256 = hex(&self.hash.clone().finalize());
        self.finish_with(sha256).await
    }

    /// Says that the body is whole and has this digest: for checking what the other side makes of a wrong one.
    pub(crate) async fn finish_with(mut self, sha256: String) -> Result<(), CallError> {
        let end = End {
            complete: true,
            bytes: self.bytes,
            sha256,
            error: None,
        };
        let end = serde_json::to_string(&end).map_err(|source| CallError::Malformed { source })?;
        self.send(format!("0\n{end}\n").into()).await
    }

    pub(crate) async fn send(&mut self, bytes: Bytes) -> Result<(), CallError> {
        let sent = tokio::time::timeout(self.patience, self.to.send(bytes)).await;
        sent.map_err(|_| CallError::Timeout(self.patience))?
            .map_err(|_| CallError::Unheard)
    }
}
