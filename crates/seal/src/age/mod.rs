//! Files for recipients: whoever has a public key can write them, and only who has the secret one can read them.
//!
//! The format is that of `age` (<https://age-encryption.org/v1>) with X25519 recipients, so that the program `age`
//! opens what we write and we open what it wrote. What we add lies within it ([`object`]): zstd, and the digest of
//! what was compressed.
//!
//! - [`key`]: recipients and identities in their text form.
//! - [`stream`]: bytes to encrypted bytes and back, in pieces.
//! - [`object`]: the same with compression and digests: what stands in a location as `<name>.zst.age`.

mod bech32;
mod header;
pub mod key;
pub mod object;
pub mod stream;

pub use key::{Identity, Recipient};
pub use object::{ObjectOpener, ObjectSealer, SealedDigests};
pub use stream::{Opener, Sealer};

/// What is wrong with a key, or with an encrypted file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgeError {
    /// A text is no recipient.
    #[error("`{text}` is no recipient: it has the form age1..., as `age-keygen` prints it ({why})")]
    Recipient {
        /// The text, which is not secret.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A text is no identity. It is not shown.
    #[error(
        "the file holds no identity: it has a line AGE-SECRET-KEY-1..., as `age-keygen` writes it ({why})"
    )]
    Identity {
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nobody could read it.
    #[error("encrypt to nobody: name at least one recipient")]
    NoRecipients,
    /// The system gives no random numbers.
    #[error("get random numbers from the system")]
    NoRandomNumbers,
    /// It is another file.
    #[error("it is no file of age's format, version 1")]
    NotAge,
    /// The header is not what it should be.
    #[error("the header of the encrypted file is damaged: {0}")]
    Header(&'static str),
    /// None of our identities is among the recipients.
    #[error(
        "none of the identities opens it: it was encrypted to {recipients} X25519 recipients and {others} others"
    )]
    NotForUs {
        /// X25519 recipients in the header.
        recipients: usize,
        /// Recipients of other kinds.
        others: usize,
    },
    /// Encrypted bytes are not those that were written.
    #[error("the encrypted file is damaged in the 64 KiB from byte {at} of its content on")]
    Damaged {
        /// Where in what was encrypted.
        at: u64,
    },
    /// It ends too early.
    #[error("the encrypted file is cut off after {at} bytes of its content")]
    CutOff {
        /// Bytes that are there.
        at: u64,
    },
    /// Compression failed.
    #[error("compress")]
    Compress(#[source] std::io::Error),
    /// What was encrypted cannot be decompressed.
    #[error("decompress what was encrypted")]
    Decompress(#[source] std::io::Error),
    /// The content is not what its writer says it wrote.
    #[error("the content has not the digest that its writer put into it")]
    Digest,
}
