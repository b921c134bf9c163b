//! A stream between the part that waits for the network and the part that waits for disks, whose end is only its end when
//! everything was right.

use std::io::{self, Read};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

/// Pieces between the two; each is one frame of the connection, some tens of kilobytes.
const PIECES: usize = 64;

/// Where an archive goes.
#[derive(Debug)]
pub struct ExportSink {
    to: mpsc::Sender<Bytes>,
    verdict: oneshot::Sender<Result<(), String>>,
}

/// An archive as a reader, for a thread that may block. `Ok(0)` means that the whole archive was read and its making
/// ended well; anything else is an error.
#[derive(Debug)]
pub struct ExportReader {
    from: mpsc::Receiver<Bytes>,
    piece: Bytes,
    verdict: Option<oneshot::Receiver<Result<(), String>>>,
}

/// Both ends of a stream.
#[must_use]
pub fn pipe() -> (ExportSink, ExportReader) {
    let (to, from) = mpsc::channel(PIECES);
    let (verdict, awaited) = oneshot::channel();
    let reader = ExportReader {
        from,
        piece: Bytes::new(),
        verdict: Some(awaited),
    };
    (ExportSink { to, verdict }, reader)
}

impl ExportSink {
    /// Sends a piece. False when nobody reads any more.
    pub(super) async fn send(&self, piece: Bytes) -> bool {
        self.to.send(piece).await.is_ok()
    }

    /// Says how it ended.
    pub(super) fn end(self, verdict: Result<(), String>) {
        // Who does not read any more has a reason of its own.
        let _ = self.verdict.send(verdict);
    }
}

impl Read for ExportReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            if let Some(piece) = self.from.blocking_recv() {
                self.piece = piece;
                continue;
            }
            let Some(verdict) = self.verdict.take() else {
                return Ok(0);
            };
            return match verdict.blocking_recv() {
                Ok(Ok(())) => Ok(0),
                Ok(Err(why)) => Err(io::Error::other(why)),
                Err(_) => Err(io::Error::other("the export was given up")),
            };
        }
        let part = self.piece.len().min(buffer.len());
        buffer[..part].copy_from_slice(&self.piece.split_to(part));
        Ok(part)
    }
}
