//! The header of an encrypted file: the file's key, wrapped for each recipient.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::hmac;
use zeroize::Zeroizing;

use super::AgeError;
use super::key::{Identity, Recipient};

/// The first line.
const MAGIC: &str = "age-encryption.org/v1";
/// What an X25519 recipient's part begins with.
const KIND: &str = "X25519";
/// What the wrapping keys are derived for.
const WRAP: &[u8] = b"age-encryption.org/v1/X25519";
/// Columns of the lines of a part's body.
const COLUMNS: usize = 64;
/// Longest header that is read: hundreds of recipients.
pub(super) const LONGEST: usize = 64 << 10;

/// The key of one file.
pub(super) type FileKey = Zeroizing<[u8; 16]>;

/// 32 bytes derived from a secret.
pub(super) fn derive(secret: &[u8], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    Salt::new(HKDF_SHA256, salt)
        .extract(secret)
        .expand(&[info], HKDF_SHA256)
        .and_then(|derived| derived.fill(key.as_mut_slice()))
        .expect("32 bytes are what HKDF-SHA256 gives in one step");
    key
}

/// A cipher with a key that is used for nothing else.
pub(super) fn cipher(key: &[u8; 32]) -> LessSafeKey {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the cipher's keys have 32 bytes");
    LessSafeKey::new(key)
}

/// The header for these recipients.
pub(super) fn write(file_key: &FileKey, recipients: &[Recipient]) -> Result<String, AgeError> {
    let mut text = format!("{MAGIC}\n");
    for recipient in recipients {
        let ours = Identity::generate()?;
        let share = ours.recipient();
        let shared = ours.shared(&recipient.0).ok_or(AgeError::Header(
            "a recipient is a point that everybody can open",
        ))?;
        let mut body = file_key.to_vec();
        cipher(&wrapping_key(&shared, &share, recipient))
            .seal_in_place_append_tag(zero_nonce(), Aad::empty(), &mut body)
            .expect("sixteen bytes are not too long for the cipher");
        text.push_str(&format!(
            "-> {KIND} {}\n{}\n",
            BASE64.encode(share.0),
            BASE64.encode(body)
        ));
    }
    text.push_str("---");
    let seal = BASE64.encode(seal(file_key, text.as_bytes()));
    text.push_str(&format!(" {seal}\n"));
    Ok(text)
}

/// Length of the header that `bytes` begin with, with its last line feed; `None` while it is not all there.
pub(super) fn length(bytes: &[u8]) -> Result<Option<usize>, AgeError> {
    let begin = bytes.len().min(MAGIC.len());
    if bytes[..begin] != MAGIC.as_bytes()[..begin] {
        return Err(AgeError::NotAge);
    }
    let last = bytes.windows(5).position(|five| five == b"\n--- ");
    let end = last.and_then(|at| {
        let feed = bytes[at + 5..].iter().position(|byte| *byte == b'\n')?;
        Some(at + 5 + feed + 1)
    });
    match end {
        None if bytes.len() > LONGEST => Err(AgeError::Header("it does not end")),
        Some(end) if end > LONGEST => Err(AgeError::Header("it is too long")),
        end => Ok(end),
    }
}

/// The file's key, from a header as [`length`] found it.
pub(super) fn open(header: &[u8], identities: &[Identity]) -> Result<FileKey, AgeError> {
    let text = std::str::from_utf8(header).map_err(|_| AgeError::Header("it is no text"))?;
    let mut lines = text.split_terminator('\n').peekable();
    if lines.next() != Some(MAGIC) {
        return Err(AgeError::NotAge);
    }
    let (mut recipients, mut others) = (0, 0);
    let mut found = None;
    loop {
        let line = lines.next().ok_or(AgeError::Header("it has no end"))?;
        if let Some(stated) = line.strip_prefix("--- ") {
            let Some(file_key) = found else {
                return Err(AgeError::NotForUs { recipients, others });
            };
            check(header, line, stated, &file_key)?;
            return Ok(file_key);
        }
        let mut words = line
            .strip_prefix("-> ")
            .ok_or(AgeError::Header("a part has no beginning"))?
            .split(' ');
        let kind = words.next().unwrap_or_default();
        let arguments: Vec<&str> = words.collect();
        let body = body(&mut lines)?;
        if kind != KIND {
            others += 1;
            continue;
        }
        recipients += 1;
        if found.is_none() {
            found = unwrap(&arguments, &body, identities)?;
        }
    }
}

/// The body of a part: lines of 64 columns, and a shorter one at the end.
fn body<'t>(lines: &mut impl Iterator<Item = &'t str>) -> Result<Vec<u8>, AgeError> {
    let mut digits = String::new();
    loop {
        let line = lines.next().ok_or(AgeError::Header("a part is cut off"))?;
        if line.len() > COLUMNS {
            return Err(AgeError::Header("a line of a part is too long"));
        }
        digits.push_str(line);
        if line.len() < COLUMNS {
            break;
        }
    }
    let bytes = BASE64.decode(digits);
    bytes.map_err(|_| AgeError::Header("a part is no base64"))
}

/// The file's key from one part, if one of the identities opens it.
fn unwrap(
    arguments: &[&str],
    body: &[u8],
    identities: &[Identity],
) -> Result<Option<FileKey>, AgeError> {
    let wrong = AgeError::Header("a part for an X25519 recipient is not what it should be");
    let [share] = arguments else {
        return Err(wrong);
    };
    let share = BASE64.decode(share).ok();
    let (Some(share), 32) = (
        share.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()),
        body.len(),
    ) else {
        return Err(wrong);
    };
    for identity in identities {
        let shared = identity.shared(&share).ok_or(AgeError::Header(
            "a part is wrapped with a point that everybody can open",
        ))?;
        let key = wrapping_key(&shared, &Recipient(share), &identity.recipient());
        let mut body = Zeroizing::new(body.to_vec());
        let opened = cipher(&key).open_in_place(zero_nonce(), Aad::empty(), &mut body);
        if let Ok(opened) = opened {
            let key: [u8; 16] = (&*opened)
                .try_into()
                .map_err(|_| AgeError::Header("the file's key has not 16 bytes"))?;
            return Ok(Some(Zeroizing::new(key)));
        }
    }
    Ok(None)
}

/// That the header is the one that was written: all of it counts but the seal itself.
fn check(header: &[u8], line: &str, stated: &str, file_key: &FileKey) -> Result<(), AgeError> {
    let stated = BASE64
        .decode(stated)
        .map_err(|_| AgeError::Header("its seal is no base64"))?;
    let sealed = header.len() - 1 - line.len() + "---".len();
    hmac::verify(&seal_key(file_key), &header[..sealed], &stated)
        .map_err(|_| AgeError::Header("its seal does not match"))
}

fn seal(file_key: &FileKey, text: &[u8]) -> Vec<u8> {
    hmac::sign(&seal_key(file_key), text).as_ref().to_vec()
}

fn seal_key(file_key: &FileKey) -> hmac::Key {
    let key = derive(file_key.as_slice(), &[], b"header");
    hmac::Key::new(hmac::HMAC_SHA256, key.as_slice())
}

fn wrapping_key(
    shared: &[u8; 32],
    share: &Recipient,
    recipient: &Recipient,
) -> Zeroizing<[u8; 32]> {
    let salt = [share.0, recipient.0].concat();
    derive(shared, &salt, WRAP)
}

/// The wrapping key is used once, so its nonce may be anything.
fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}
