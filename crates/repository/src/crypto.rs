//! The cipher of the format: AES-256 in counter mode, authenticated by Poly1305-AES.
//!
//! A sealed piece is a nonce of 16 bytes, the ciphertext and a tag of 16 bytes over the ciphertext.

use aes::cipher::{BlockEncrypt as _, KeyInit as _};
use aes::{Aes128, Aes256, Block};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use poly1305::Poly1305;
use poly1305::universal_hash::UniversalHash as _;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes of the nonce, in front of the ciphertext.
pub(crate) const NONCE: usize = 16;
/// Bytes of the tag, behind it.
pub(crate) const TAG: usize = 16;
/// Bytes that sealing adds.
pub(crate) const OVERHEAD: usize = NONCE + TAG;

/// Blocks of the key stream that are made at once: it stays in the fastest cache, and the cipher has enough to do side by
/// side.
const STREAM: usize = 64;
/// Bytes of a block.
const BLOCK: usize = 16;

/// The sealed bytes are not what was sealed, or the key is another.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unauthentic;

/// Keys that everything in a repository is sealed with. `Debug` shows nothing of them.
#[derive(Clone)]
pub struct MasterKey {
    encrypt: Zeroizing<[u8; 32]>,
    mac_k: Zeroizing<[u8; 16]>,
    mac_r: Zeroizing<[u8; 16]>,
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The key's text form inside a key file.
#[derive(Serialize, Deserialize)]
struct KeyText {
    mac: MacText,
    encrypt: String,
}

#[derive(Serialize, Deserialize)]
struct MacText {
    k: String,
    r: String,
}

impl MasterKey {
    /// From 64 bytes: encryption key, then both parts of the authentication key.
    pub(crate) fn from_bytes(bytes: &[u8; 64]) -> Self {
        let mut key = Self {
            encrypt: Zeroizing::new([0; 32]),
            mac_k: Zeroizing::new([0; 16]),
            mac_r: Zeroizing::new([0; 16]),
        };
        key.encrypt.copy_from_slice(&bytes[..32]);
        key.mac_k.copy_from_slice(&bytes[32..48]);
        key.mac_r.copy_from_slice(&bytes[48..]);
        clamp(&mut key.mac_r);
        key
    }

    /// The 32 bytes that other keys are derived from.
    pub(crate) fn root(&self) -> &[u8; 32] {
        &self.encrypt
    }

    /// The JSON that stands sealed in a key file.
    pub(crate) fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let mut text = KeyText {
            mac: MacText {
                k: BASE64.encode(*self.mac_k),
                r: BASE64.encode(*self.mac_r),
            },
            encrypt: BASE64.encode(*self.encrypt),
        };
        let json = serde_json::to_vec(&text).expect("strings are JSON");
        text.mac.k.zeroize();
        text.mac.r.zeroize();
        text.encrypt.zeroize();
        Zeroizing::new(json)
    }

    /// Reads that JSON.
    pub(crate) fn from_json(json: &[u8]) -> Option<Self> {
        let text: KeyText = serde_json::from_slice(json).ok()?;
        let mut bytes = Zeroizing::new([0_u8; 64]);
        decode(&text.encrypt, &mut bytes[..32])?;
        decode(&text.mac.k, &mut bytes[32..48])?;
        decode(&text.mac.r, &mut bytes[48..])?;
        Some(Self::from_bytes(&bytes))
    }

    /// Seals `out[start..]` in place. It must begin with [`NONCE`] bytes that the nonce is put into; the tag
    /// is appended.
    pub(crate) fn seal_tail(&self, out: &mut Vec<u8>, start: usize) -> std::io::Result<()> {
        let (nonce, text) = out[start..].split_at_mut(NONCE);
        getrandom::fill(nonce).map_err(|e| std::io::Error::other(e.to_string()))?;
        let nonce: [u8; NONCE] = (&*nonce).try_into().expect("it was split at its length");
        self.stream(&nonce).apply(text);
        let tag = self.tag(&nonce, text);
        out.extend_from_slice(&tag);
        Ok(())
    }

    /// Seals a piece of its own.
    pub(crate) fn seal(&self, plain: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(plain.len() + OVERHEAD);
        out.resize(NONCE, 0);
        out.extend_from_slice(plain);
        self.seal_tail(&mut out, 0)?;
        Ok(out)
    }

    /// Opens a piece into `out`, which is cleared first.
    pub(crate) fn open_into(&self, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), Unauthentic> {
        out.clear();
        if sealed.len() < OVERHEAD {
            return Err(Unauthentic);
        }
        let (nonce, rest) = sealed.split_at(NONCE);
        let (text, tag) = rest.split_at(rest.len() - TAG);
        let nonce: [u8; NONCE] = nonce.try_into().expect("it was split at its length");
        let expected = self.tag(&nonce, text);
        // Without an early end: how far a forged tag was right must not show.
        let difference = expected
            .iter()
            .zip(tag)
            .fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
        if difference != 0 {
            return Err(Unauthentic);
        }
        out.reserve(text.len());
        let mut stream = self.stream(&nonce);
        // Copied and decrypted bit by bit, so that each byte comes from memory once.
        for part in text.chunks(STREAM * BLOCK) {
            let start = out.len();
            out.extend_from_slice(part);
            stream.apply(&mut out[start..]);
        }
        Ok(())
    }

    /// Opens a piece.
    pub(crate) fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, Unauthentic> {
        let mut out = Vec::new();
        self.open_into(sealed, &mut out)?;
        Ok(out)
    }

    fn stream(&self, nonce: &[u8; NONCE]) -> KeyStream {
        KeyStream {
            cipher: Aes256::new((&*self.encrypt).into()),
            counter: u128::from_be_bytes(*nonce),
        }
    }

    fn tag(&self, nonce: &[u8; NONCE], text: &[u8]) -> [u8; TAG] {
        let mut key = Zeroizing::new([0_u8; 32]);
        key[..16].copy_from_slice(&*self.mac_r);
        let mut pad = (*nonce).into();
        Aes128::new((&*self.mac_k).into()).encrypt_block(&mut pad);
        key[16..].copy_from_slice(&pad);
        let mut mac = Poly1305::new((&*key).into());
        // Whole blocks by a call that takes several side by side; the other takes one after the other.
        let (whole, rest) = text.split_at(text.len() - text.len() % BLOCK);
        mac.update_padded(whole);
        mac.compute_unpadded(rest).into()
    }
}

/// The key stream of counter mode: the counter is 128 bits, big-endian, and begins with the nonce.
struct KeyStream {
    cipher: Aes256,
    counter: u128,
}

impl KeyStream {
    /// Encrypts or decrypts what comes next. Every call but the last takes whole blocks.
    fn apply(&mut self, text: &mut [u8]) {
        let mut stream = [Block::default(); STREAM];
        for part in text.chunks_mut(STREAM * BLOCK) {
            let stream = &mut stream[..part.len().div_ceil(BLOCK)];
            for block in stream.iter_mut() {
                *block = self.counter.to_be_bytes().into();
                self.counter = self.counter.wrapping_add(1);
            }
            self.cipher.encrypt_blocks(stream);
            let mut whole = part.chunks_exact_mut(BLOCK);
            let mut keys = stream.iter();
            for (text, key) in whole.by_ref().zip(keys.by_ref()) {
                let text: &mut [u8; BLOCK] = text.try_into().expect("chunks of this length");
                let key: [u8; BLOCK] = (*key).into();
                *text = (u128::from_ne_bytes(*text) ^ u128::from_ne_bytes(key)).to_ne_bytes();
            }
            let rest = whole.into_remainder();
            if let Some(key) = stream.last() {
                for (byte, key) in rest.iter_mut().zip(key) {
                    *byte ^= key;
                }
            }
        }
    }
}

fn decode(text: &str, into: &mut [u8]) -> Option<()> {
    let bytes = Zeroizing::new(BASE64.decode(text).ok()?);
    (bytes.len() == into.len()).then(|| into.copy_from_slice(&bytes))
}

/// Clears the bits that Poly1305 wants clear, so that the stored key is the one in use.
fn clamp(r: &mut [u8; 16]) {
    for i in [3, 7, 11, 15] {
        r[i] &= 15;
    }
    for i in [4, 8, 12] {
        r[i] &= 252;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> MasterKey {
        MasterKey::from_bytes(&std::array::from_fn(|i| i as u8))
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len() / 2)
            .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex"))
            .collect()
    }

    fn stream(cipher: &[u8], counter: [u8; 16]) -> KeyStream {
        KeyStream {
            cipher: Aes256::new_from_slice(cipher).expect("32 bytes"),
            counter: u128::from_be_bytes(counter),
        }
    }

    /// Example F.5.5 of NIST's SP 800-38A, whose counter carries over between blocks.
    #[test]
    fn the_key_stream_is_that_of_counter_mode() {
        let cipher = hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
        let first: [u8; 16] = std::array::from_fn(|i| 0xf0 + i as u8);
        let mut text = hex(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
             30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
        );
        stream(&cipher, first).apply(&mut text);
        let wanted = hex(
            "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5\
             2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6",
        );
        assert_eq!(text, wanted);
    }

    #[test]
    fn the_key_stream_goes_on_over_the_end_of_the_counter_and_of_its_own_portions() {
        let cipher = [7; 32];
        let length = STREAM * BLOCK * 2 + 5;
        let mut whole = vec![0; length];
        let last = (u128::MAX - 3).to_be_bytes();
        stream(&cipher, last).apply(&mut whole);
        for (number, block) in whole.chunks(BLOCK).enumerate() {
            let counter = (u128::MAX - 3).wrapping_add(number as u128).to_be_bytes();
            let mut alone = [0; BLOCK];
            stream(&cipher, counter).apply(&mut alone);
            assert_eq!(block, &alone[..block.len()], "block {number}");
        }
    }

    /// The vector of the Poly1305-AES paper, appendix B, second case.
    #[test]
    fn the_tag_is_that_of_the_paper() {
        let mut bytes = [0; 64];
        bytes[32..48].copy_from_slice(&hex("75deaa25c09f208e1dc4ce6b5cad3fbf"));
        bytes[48..].copy_from_slice(&hex("a0f3080000f46400d0c7e9076c834403"));
        let key = MasterKey::from_bytes(&bytes);
        let nonce = hex("61ee09218d29b0aaed7e154a2c5509cc")
            .try_into()
            .expect("16 bytes");
        assert_eq!(
            key.tag(&nonce, b"").to_vec(),
            hex("dd3fab2251f11ac759f0887129cc2ee7")
        );
    }

    #[test]
    fn what_was_sealed_opens_and_any_changed_bit_is_noticed() {
        let key = key();
        for length in [0, 1, 15, 16, 17, 1000] {
            let plain = vec![7; length];
            let sealed = key.seal(&plain).expect("seals");
            assert_eq!(sealed.len(), length + OVERHEAD);
            assert_eq!(key.open(&sealed), Ok(plain));
            for bit in 0..sealed.len() * 8 {
                let mut changed = sealed.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(
                    key.open(&changed),
                    Err(Unauthentic),
                    "bit {bit} of {length}"
                );
            }
            for short in 0..sealed.len() {
                assert_eq!(key.open(&sealed[..short]), Err(Unauthentic));
            }
        }
    }

    #[test]
    fn the_text_form_gives_the_same_key() {
        let key = key();
        let again = MasterKey::from_json(&key.to_json()).expect("its own JSON");
        assert_eq!(
            again.open(&key.seal(b"x").expect("seals")),
            Ok(b"x".to_vec())
        );
        assert_eq!(format!("{key:?}"), "[redacted]");
        assert!(MasterKey::from_json(br#"{"mac":{"k":"","r":""},"encrypt":""}"#).is_none());
    }
}
