//! Bytes that wait on a local disk, encrypted with a key that only this process has.
//!
//! A spool is a file without a name. A name can be missing and the blocks still be on the disk after the
//! process died, so what goes there is encrypted (AES-256-GCM) with a random key that is never written
//! anywhere: what is left on the disk is noise.
//!
//! Plaintext is cut into chunks of [`CHUNK`] bytes; chunk `n` stands at `n * (CHUNK + 16)` and has `n` as its
//! nonce, which is never used twice under the key. So any chunk can be read alone, and one that was changed,
//! cut off or put in another's place is noticed. The last, unfilled chunk stays in memory: a small spool never
//! touches the disk.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

/// Plaintext bytes per chunk: large enough that tag, nonce and system call cost little, small enough that a
/// read of a few bytes does not decrypt much.
const CHUNK: usize = 64 << 10;
/// Bytes that a chunk takes in the file.
const STORED: usize = CHUNK + 16;

/// An encrypted temporary file that grows at its end and is read anywhere. It vanishes when it is dropped.
///
/// Writing copies into the last chunk; no more than 64 KiB of plaintext are held.
pub struct Spool {
    key: LessSafeKey,
    /// Absent until a chunk is full.
    file: Option<File>,
    /// Chunks in the file.
    chunks: u64,
    /// The chunk that is not full yet, or could not be written.
    tail: Vec<u8>,
}

impl Spool {
    /// An empty spool with a key of its own.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn new() -> io::Result<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        let unusable = |_| io::Error::other("no randomness for the key of a temporary file");
        SystemRandom::new().fill(&mut *bytes).map_err(unusable)?;
        let key = UnboundKey::new(&AES_256_GCM, &*bytes).map_err(unusable)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            file: None,
            chunks: 0,
            tail: Vec::new(),
        })
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.chunks * CHUNK as u64 + self.tail.len() as u64
    }

    /// True when nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Exactly `len` bytes from `offset`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the range is not inside, [`io::ErrorKind::InvalidData`] when the
    /// file does not hold what was written, or it cannot be read.
    pub fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let inside = offset
            .checked_add(len as u64)
            .is_some_and(|end| end <= self.len());
        if !inside {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut out = Vec::with_capacity(len);
        let mut stored = Vec::new();
        while out.len() < len {
            let at = offset + out.len() as u64;
            let chunk = self.chunk(at / CHUNK as u64, &mut stored)?;
            // Both are below CHUNK.
            let from = (at % CHUNK as u64) as usize;
            let take = (len - out.len()).min(chunk.len() - from);
            out.extend_from_slice(&chunk[from..from + take]);
        }
        Ok(out)
    }

    /// Reads from the start to the end.
    #[must_use]
    pub fn into_reader(self) -> SpoolReader {
        SpoolReader {
            spool: self,
            at: 0,
            stored: Vec::new(),
        }
    }

    /// The plaintext of a chunk; `stored` is room for it.
    fn chunk<'a>(&'a self, number: u64, stored: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        if number == self.chunks {
            return Ok(&self.tail);
        }
        let damaged = || {
            let text = format!("chunk {number} of a temporary file was changed, cut off or moved");
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let file = self.file.as_ref().ok_or_else(damaged)?;
        stored.resize(STORED, 0);
        file.read_exact_at(stored, number * STORED as u64)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => damaged(),
                _ => error,
            })?;
        let opened = self.key.open_in_place(nonce(number), Aad::empty(), stored);
        opened.map(|plain| &*plain).map_err(|_| damaged())
    }

    /// Moves the full last chunk to the file. When that fails it stays, and the next attempt encrypts the
    /// same bytes under the same nonce, which tells nobody anything.
    fn seal(&mut self) -> io::Result<()> {
        let mut sealed = Vec::with_capacity(STORED);
        sealed.extend_from_slice(&self.tail);
        self.key
            .seal_in_place_append_tag(nonce(self.chunks), Aad::empty(), &mut sealed)
            .map_err(|_| io::Error::other("encrypt a chunk of a temporary file"))?;
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile()?),
        };
        file.write_all_at(&sealed, self.chunks * STORED as u64)?;
        self.chunks += 1;
        self.tail.clear();
        Ok(())
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.tail.len() == CHUNK {
            self.seal()?;
        }
        let taken = bytes.len().min(CHUNK - self.tail.len());
        self.tail.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Does nothing: what is not in the file yet is read from memory.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Reads a [`Spool`] from its start.
#[derive(Debug)]
pub struct SpoolReader {
    spool: Spool,
    at: u64,
    /// The chunk of `at`, decrypted, unless `at` is where it begins.
    stored: Vec<u8>,
}

impl Read for SpoolReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (number, from) = (
            self.at / CHUNK as u64,
            (self.at % CHUNK as u64) as usize, // below CHUNK
        );
        let chunk = if from == 0 || number == self.spool.chunks {
            self.spool.chunk(number, &mut self.stored)?
        } else {
            &self.stored[..CHUNK]
        };
        let taken = out.len().min(chunk.len() - from);
        out[..taken].copy_from_slice(&chunk[from..from + taken]);
        self.at += taken as u64;
        Ok(taken)
    }
}

/// The number of a chunk as a nonce.
fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - 8..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is done to a spool's file, and its name.
    type Damage = (&'static str, fn(&Spool));

    /// Four chunks, the last one not full.
    const LEN: usize = 3 * CHUNK + 1234;

    fn text() -> Vec<u8> {
        b"password=hunter2;"
            .iter()
            .copied()
            .cycle()
            .take(LEN)
            .collect()
    }

    fn filled() -> Spool {
        let mut spool = Spool::new().expect("random key");
        for part in text().chunks(10_007) {
            spool.write_all(part).expect("room on disk");
        }
        spool
    }

    fn file(spool: &Spool) -> &File {
        spool.file.as_ref().expect("more than a chunk was written")
    }

    fn on_disk(spool: &Spool) -> Vec<u8> {
        let len = file(spool).metadata().expect("open").len();
        let mut bytes = vec![0; usize::try_from(len).expect("small")];
        file(spool).read_exact_at(&mut bytes, 0).expect("readable");
        bytes
    }

    #[test]
    fn what_was_written_is_read_anywhere_and_in_order() {
        let (spool, text) = (filled(), text());
        assert_eq!(spool.len(), LEN as u64);
        let edges = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, LEN - 1, LEN];
        for from in edges {
            for to in edges.into_iter().filter(|to| *to >= from) {
                let read = spool.read_at(from as u64, to - from).expect("inside");
                assert!(read == text[from..to], "{from}..{to}");
            }
        }
        for (offset, len) in [(LEN as u64, 1), (0, LEN + 1), (u64::MAX, 1)] {
            let error = spool.read_at(offset, len).expect_err("outside");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        let mut all = Vec::new();
        spool.into_reader().read_to_end(&mut all).expect("readable");
        assert!(all == text, "front to back");
    }

    #[test]
    fn the_disk_holds_nothing_of_it_and_two_spools_share_no_bytes() {
        let (one, other) = (on_disk(&filled()), on_disk(&filled()));
        assert_eq!(one.len(), 3 * STORED);
        for bytes in [&one, &other] {
            assert!(!bytes.windows(7).any(|window| window == b"hunter2"));
        }
        let same = one.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(same < one.len() / 100, "{same} bytes alike: keys differ");
    }

    #[test]
    fn a_small_spool_never_touches_the_disk() {
        let mut spool = Spool::new().expect("random key");
        assert!(spool.is_empty());
        spool.write_all(&text()[..CHUNK]).expect("memory");
        assert!(spool.file.is_none());
        assert_eq!(spool.read_at(5, 3).expect("inside"), text()[5..8]);
    }

    #[test]
    fn what_was_changed_moved_or_cut_off_is_an_error_and_the_rest_is_read() {
        let damages: [Damage; 3] = [
            ("a bit is flipped", |spool| {
                let mut byte = [0];
                file(spool).read_exact_at(&mut byte, 77).expect("readable");
                let flipped = [byte[0] ^ 1];
                file(spool).write_all_at(&flipped, 77).expect("writable");
            }),
            ("the second chunk stands where the first did", |spool| {
                let second = on_disk(spool)[STORED..2 * STORED].to_vec();
                file(spool).write_all_at(&second, 0).expect("writable");
            }),
            ("the end is cut off", |spool| {
                let second = on_disk(spool)[STORED..2 * STORED].to_vec();
                file(spool).write_all_at(&second, 0).expect("writable");
                file(spool).set_len(STORED as u64 + 5).expect("writable");
            }),
        ];
        for (damage, apply) in damages {
            let spool = filled();
            apply(&spool);
            let error = spool.read_at(0, 10).expect_err(damage);
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{damage}");
            assert!(error.to_string().contains("chunk 0"), "{damage}: {error}");
            let tail = spool.read_at(3 * CHUNK as u64, 10).expect("in memory");
            assert_eq!(tail, text()[3 * CHUNK..3 * CHUNK + 10]);
            let error = spool.into_reader().read_to_end(&mut Vec::new());
            assert_eq!(error.expect_err(damage).kind(), io::ErrorKind::InvalidData);
        }
        let spool = filled();
        file(&spool)
            .set_len(2 * STORED as u64 + 5)
            .expect("writable");
        assert!(spool.read_at(0, 2 * CHUNK).is_ok(), "whole chunks before");
        let error = spool.read_at(2 * CHUNK as u64, 1).expect_err("cut off");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
