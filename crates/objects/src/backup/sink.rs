//! From compressed members to the upload: listing never waits for the store.
//!
//! A continue token dies when etcd compacts its history, about five minutes after the list began. So
//! members that the store does not take in time go to memory up to [`IN_MEMORY`], then to a
//! [`Spool`], and from there to the store, in order.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use salvor_archive::assemble::Assembler;
use salvor_archive::index::Index;
use salvor_archive::segment::Member;
use salvor_seal::Spool;
use tokio::sync::Notify;

use super::BackupError;

/// Bytes of finished members that wait in memory.
const IN_MEMORY: usize = 8 << 20;
/// Bytes that are read back from the file at once.
const CHUNK: usize = 1 << 20;

/// The archive on its way out.
#[derive(Debug)]
pub(crate) struct ArchiveSink {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// `None` once the archive has ended.
    assembler: Option<Assembler>,
    memory: VecDeque<Bytes>,
    memory_bytes: usize,
    spool: Option<Spool>,
    spool_read: u64,
    /// No more bytes will come.
    closed: bool,
    /// Nobody will take more bytes.
    broken: bool,
}

impl ArchiveSink {
    /// Begins an archive; its first bytes wait to be taken.
    pub(crate) fn new(mtime_unix: i64) -> Self {
        let (assembler, head) = Assembler::dated(mtime_unix);
        Self {
            state: Mutex::new(State {
                assembler: Some(assembler),
                memory_bytes: head.len(),
                memory: VecDeque::from([head]),
                spool: None,
                spool_read: 0,
                closed: false,
                broken: false,
            }),
            changed: Notify::new(),
        }
    }

    /// Appends a member. Blocks only for a write to a local file.
    ///
    /// # Errors
    /// The index is full, the temporary file cannot be written, or the upload has failed.
    pub(crate) fn push(&self, member: Member) -> Result<(), BackupError> {
        let mut state = self.lock();
        if state.broken {
            return Err(BackupError::UploadEnded);
        }
        let assembler = state.assembler.as_mut().ok_or(BackupError::UploadEnded)?;
        let bytes = assembler
            .add(member)
            .map_err(|source| BackupError::Archive { source })?;
        state
            .append(bytes)
            .map_err(|source| BackupError::Spool { source })?;
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// The temporary file cannot be written, or the archive has ended before.
    pub(crate) fn finish(&self) -> Result<Index, BackupError> {
        let mut state = self.lock();
        let assembler = state.assembler.take().ok_or(BackupError::UploadEnded)?;
        let (tail, index) = assembler.finish();
        state
            .append(tail)
            .map_err(|source| BackupError::Spool { source })?;
        state.closed = true;
        drop(state);
        self.changed.notify_one();
        Ok(index)
    }

    /// Gives up: nothing more is taken, waiting ends.
    pub(crate) fn abort(&self) {
        let mut state = self.lock();
        state.broken = true;
        state.memory.clear();
        state.spool = None;
        drop(state);
        self.changed.notify_one();
    }

    /// True when the upload has failed.
    pub(crate) fn is_broken(&self) -> bool {
        self.lock().broken
    }

    /// The next bytes in order; `None` at the end. One caller only.
    ///
    /// # Errors
    /// The temporary file cannot be read back, or the sink was given up.
    pub(crate) async fn next(&self) -> Result<Option<Bytes>, BackupError> {
        loop {
            {
                let mut state = self.lock();
                if state.broken {
                    return Err(BackupError::UploadEnded);
                }
                let taken = state
                    .take()
                    .map_err(|source| BackupError::Spool { source })?;
                if taken.is_some() {
                    return Ok(taken);
                }
                if state.closed {
                    return Ok(None);
                }
            }
            self.changed.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // After a panic the bytes may be out of order, so nothing more goes out.
        self.state
            .lock()
            .unwrap_or_else(|poisoned: PoisonError<_>| {
                let mut state = poisoned.into_inner();
                state.broken = true;
                state
            })
    }
}

impl State {
    fn append(&mut self, bytes: Bytes) -> io::Result<()> {
        // While the spool holds unread bytes, newer ones must queue behind them.
        if self.spool.is_none() && self.memory_bytes + bytes.len() <= IN_MEMORY {
            self.memory_bytes += bytes.len();
            self.memory.push_back(bytes);
            return Ok(());
        }
        let spool = match &mut self.spool {
            Some(spool) => spool,
            None => self.spool.insert(Spool::new()?),
        };
        spool.write_all(&bytes)
    }

    fn take(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(bytes) = self.memory.pop_front() {
            self.memory_bytes -= bytes.len();
            return Ok(Some(bytes));
        }
        let Some(spool) = &self.spool else {
            return Ok(None);
        };
        let left = spool.len() - self.spool_read;
        let length = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
        let chunk = spool.read_at(self.spool_read, length)?;
        self.spool_read += chunk.len() as u64;
        if self.spool_read == spool.len() {
            // The disk is given back; what comes next has another key.
            (self.spool, self.spool_read) = (None, 0);
        }
        Ok(Some(chunk.into()))
    }
}

#[cfg(test)]
mod tests {
    use salvor_api::resource::{GroupResource, ObjectKey};
    use salvor_archive::item::ItemRef;
    use salvor_archive::segment::SegmentBuilder;

    use super::*;

    /// Members of incompressible bodies, so that their size is what it looks like.
    fn member(number: u32) -> Member {
        let mut body = vec![0u8; 700 << 10];
        let mut state = u64::from(number) + 1;
        for byte in &mut body {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state as u8;
        }
        let key = ObjectKey::cluster(GroupResource::new("things", "x.io"), format!("t{number}"));
        let item = ItemRef {
            key: &key,
            version: "v1",
            preferred: false,
            body: &body,
        };
        let mut builder = SegmentBuilder::new();
        builder.push(&item, 0).expect("fits");
        builder.finish().compress().expect("compresses")
    }

    #[tokio::test]
    async fn members_that_nobody_takes_go_to_a_file_and_come_out_in_order() {
        let sink = ArchiveSink::new(0);
        let (mut reference, head) = Assembler::dated(0);
        let mut expected = head.to_vec();
        let mut got = Vec::new();
        for round in 0..3 {
            for number in 0..20 {
                sink.push(member(round * 100 + number))
                    .expect("room on disk");
                let bytes = reference.add(member(round * 100 + number)).expect("small");
                expected.extend_from_slice(&bytes);
            }
            assert!(sink.lock().memory_bytes <= IN_MEMORY);
            for _ in 0..12 {
                got.extend(
                    sink.next()
                        .await
                        .expect("readable")
                        .expect("not at the end"),
                );
            }
        }
        let index = sink.finish().expect("room on disk");
        expected.extend_from_slice(&reference.finish().0);
        while let Some(bytes) = sink.next().await.expect("readable") {
            got.extend(bytes);
        }
        assert!(got == expected, "bytes are out of order");
        assert_eq!(index.archive_len(), expected.len() as u64);
    }

    #[tokio::test]
    async fn a_failed_upload_stops_the_producer() {
        let sink = ArchiveSink::new(0);
        sink.abort();
        assert!(sink.is_broken());
        assert!(matches!(
            sink.push(member(1)),
            Err(BackupError::UploadEnded)
        ));
        assert!(sink.next().await.is_err());
    }
}
