//! Encrypted bytes, in pieces: 64 KiB of content at a time, each piece with its own tag, the last one marked as such.

use ring::aead::{Aad, LessSafeKey, Nonce};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::AgeError;
use super::header::{self, FileKey, cipher, derive};
use super::key::{Identity, Recipient};

/// Bytes of content in a piece.
const PIECE: usize = 64 << 10;
/// Bytes that a piece grows by.
const TAG: usize = 16;
/// Bytes between the header and the first piece.
const SALT: usize = 16;

/// Encrypts to recipients. What comes in pieces goes out in pieces; nothing counts before [`Sealer::finish`].
pub struct Sealer {
    key: LessSafeKey,
    count: u64,
    held: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl Sealer {
    /// Begins a file; its header goes to `out`.
    ///
    /// # Errors
    /// Without recipients or random numbers.
    pub fn begin(recipients: &[Recipient], out: &mut Vec<u8>) -> Result<Self, AgeError> {
        if recipients.is_empty() {
            return Err(AgeError::NoRecipients);
        }
        let random = SystemRandom::new();
        let mut file_key: FileKey = Zeroizing::new([0; 16]);
        let mut salt = [0; SALT];
        random
            .fill(file_key.as_mut_slice())
            .and_then(|()| random.fill(&mut salt))
            .map_err(|_| AgeError::NoRandomNumbers)?;
        out.extend(header::write(&file_key, recipients)?.as_bytes());
        out.extend(salt);
        Ok(Self {
            key: cipher(&derive(file_key.as_slice(), &salt, b"payload")),
            count: 0,
            held: Zeroizing::new(Vec::with_capacity(PIECE + TAG)),
        })
    }

    /// Takes content; full pieces go to `out`.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            // A full piece waits until it is known not to be the last.
            if self.held.len() == PIECE {
                self.seal(false, out);
            }
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.held.len()));
            self.held.extend_from_slice(now);
            bytes = later;
        }
    }

    /// The last piece.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.seal(true, out);
    }

    fn seal(&mut self, last: bool, out: &mut Vec<u8>) {
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(self.count, last), Aad::empty(), &mut self.held)
            .expect("64 KiB are not too long for the cipher");
        out.extend_from_slice(&self.held);
        out.extend_from_slice(tag.as_ref());
        self.held.clear();
        self.count += 1;
    }
}

/// Decrypts what was encrypted to one of our identities. Each piece that goes out is what was written; that nothing
/// is missing at the end only [`Opener::finish`] says.
pub struct Opener {
    identities: Vec<Identity>,
    key: Option<LessSafeKey>,
    count: u64,
    held: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl Opener {
    /// Begins with a file's first byte.
    #[must_use]
    pub fn new(identities: &[Identity]) -> Self {
        Self {
            identities: identities.to_vec(),
            key: None,
            count: 0,
            held: Zeroizing::new(Vec::new()),
        }
    }

    /// Takes encrypted bytes; content goes to `out`.
    ///
    /// # Errors
    /// It is no such file, not for us, or damaged. The opener is then of no more use.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), AgeError> {
        if self.key.is_none() {
            self.held.extend_from_slice(bytes);
            bytes = &[];
            self.begin()?;
            if self.key.is_none() {
                return Ok(());
            }
        }
        loop {
            // The last piece is only known at the end.
            while self.held.len() > PIECE + TAG {
                self.open(PIECE + TAG, false, out)?;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let (now, later) = bytes.split_at(bytes.len().min(PIECE + TAG));
            self.held.extend_from_slice(now);
            bytes = later;
        }
    }

    /// The last piece.
    ///
    /// # Errors
    /// It is damaged, or there is none.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), AgeError> {
        let at = self.count * PIECE as u64;
        if self.key.is_none() || self.held.len() < TAG {
            return Err(AgeError::CutOff { at });
        }
        let is_empty = self.held.len() == TAG;
        match self.open(self.held.len(), true, out) {
            // Only a file without content ends with an empty piece.
            Ok(()) if is_empty && at > 0 => Err(AgeError::Damaged { at }),
            other => other,
        }
    }

    /// The key, as soon as the header and what follows it are there.
    fn begin(&mut self) -> Result<(), AgeError> {
        let Some(end) = header::length(&self.held)? else {
            return Ok(());
        };
        if self.held.len() < end + SALT {
            return Ok(());
        }
        let file_key = header::open(&self.held[..end], &self.identities)?;
        let salt = &self.held[end..end + SALT];
        self.key = Some(cipher(&derive(file_key.as_slice(), salt, b"payload")));
        self.held.drain(..end + SALT);
        Ok(())
    }

    /// Opens the first bytes that are held, where they are.
    fn open(&mut self, length: usize, last: bool, out: &mut Vec<u8>) -> Result<(), AgeError> {
        let at = self.count * PIECE as u64;
        let key = self.key.as_ref().ok_or(AgeError::CutOff { at })?;
        let is_whole = length == PIECE + TAG;
        let piece = &mut self.held[..length];
        match key.open_in_place(nonce(self.count, last), Aad::empty(), piece) {
            Ok(opened) => {
                out.extend_from_slice(opened);
                self.held.drain(..length);
                self.count += 1;
                Ok(())
            }
            // A piece that is whole but is not the last one: what follows it is missing.
            Err(_) if last && is_whole => Err(AgeError::CutOff { at }),
            Err(_) => Err(AgeError::Damaged { at }),
        }
    }
}

/// Eleven bytes of a counter, and whether it is the last piece.
fn nonce(count: u64, last: bool) -> Nonce {
    let mut bytes = [0; 12];
    bytes[3..11].copy_from_slice(&count.to_be_bytes());
    bytes[11] = u8::from(last);
    Nonce::assume_unique_for_key(bytes)
}
