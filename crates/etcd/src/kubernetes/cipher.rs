//! The ciphers of the static-key providers of API servers, for reading alone.
//!
//! | provider | value behind its prefix |
//! |---|---|
//! | `aescbc` | 16 bytes initialization vector, ciphertext, padded as PKCS 7 wants |
//! | `aesgcm` | 12 bytes nonce, ciphertext, 16 bytes tag; the key in etcd is authenticated with it |
//! | `secretbox` | 24 bytes nonce, 16 bytes tag, ciphertext (XSalsa20 and Poly1305) |

use aes::cipher::consts::U10;
use aes::cipher::{BlockDecrypt as _, BlockEncrypt as _, KeyInit as _};
use aes::{Aes128, Aes192, Aes256, Block};
use poly1305::Poly1305;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _};
use salsa20::{Salsa20, hsalsa};

/// Bytes of a block of AES.
const BLOCK: usize = 16;
/// Bytes of a tag.
const TAG: usize = 16;
/// Bytes of the nonce of `aesgcm`.
const GCM_NONCE: usize = 12;
/// Bytes of the nonce of `secretbox`.
const BOX_NONCE: usize = 24;
/// Bytes of the key stream that authenticate, before those that encrypt.
const BOX_KEY: usize = 32;

/// AES with a key of any of its three lengths.
enum Aes {
    Short(Aes128),
    Middle(Aes192),
    Long(Aes256),
}

impl Aes {
    fn new(key: &[u8]) -> Option<Self> {
        Some(match key.len() {
            16 => Self::Short(Aes128::new_from_slice(key).ok()?),
            24 => Self::Middle(Aes192::new_from_slice(key).ok()?),
            32 => Self::Long(Aes256::new_from_slice(key).ok()?),
            _ => return None,
        })
    }

    fn encrypt(&self, mut block: [u8; BLOCK]) -> [u8; BLOCK] {
        let inout = Block::from_mut_slice(&mut block);
        match self {
            Self::Short(aes) => aes.encrypt_block(inout),
            Self::Middle(aes) => aes.encrypt_block(inout),
            Self::Long(aes) => aes.encrypt_block(inout),
        }
        block
    }

    fn decrypt(&self, mut block: [u8; BLOCK]) -> [u8; BLOCK] {
        let inout = Block::from_mut_slice(&mut block);
        match self {
            Self::Short(aes) => aes.decrypt_block(inout),
            Self::Middle(aes) => aes.decrypt_block(inout),
            Self::Long(aes) => aes.decrypt_block(inout),
        }
        block
    }
}

/// Opens what `aescbc` wrote. It is not authenticated: what comes out of a wrong key is padded wrongly as a rule, not
/// always.
pub(super) fn open_cbc(key: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let aes = Aes::new(key)?;
    let (vector, ciphertext) = sealed.split_first_chunk::<BLOCK>()?;
    let (blocks, rest) = ciphertext.as_chunks::<BLOCK>();
    if blocks.is_empty() || !rest.is_empty() {
        return None;
    }
    let mut plain = Vec::with_capacity(ciphertext.len());
    let mut before = vector;
    for block in blocks {
        let opened = aes.decrypt(*block);
        plain.extend(opened.iter().zip(before).map(|(a, b)| a ^ b));
        before = block;
    }
    let padding = *plain.last()?;
    let content = plain.len().checked_sub(padding.into())?;
    let is_padding = (1..=BLOCK).contains(&padding.into())
        && plain[content..].iter().all(|byte| *byte == padding);
    plain.truncate(content);
    is_padding.then_some(plain)
}

/// Opens what `aesgcm` wrote.
pub(super) fn open_gcm(key: &[u8], name: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let aes = Aes::new(key)?;
    let (nonce, rest) = sealed.split_first_chunk::<GCM_NONCE>()?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG>()?;
    let mut counter = [0; BLOCK];
    counter[..GCM_NONCE].copy_from_slice(nonce);
    let block_of = |number: u32| {
        let mut counter = counter;
        counter[GCM_NONCE..].copy_from_slice(&number.to_be_bytes());
        aes.encrypt(counter)
    };
    let mut hash = Ghash::new(aes.encrypt([0; BLOCK]));
    hash.update(name);
    hash.update(ciphertext);
    let bits = |bytes: &[u8]| (bytes.len() as u128) << 3;
    hash.block(bits(name) << 64 | bits(ciphertext));
    let expected = hash.sum ^ u128::from_be_bytes(block_of(1));
    if !same(&expected.to_be_bytes(), tag) {
        return None;
    }
    let mut plain = ciphertext.to_vec();
    // The first counter is that of the tag.
    for (piece, number) in plain.chunks_mut(BLOCK).zip(2_u32..) {
        let stream = block_of(number);
        piece.iter_mut().zip(stream).for_each(|(a, b)| *a ^= b);
    }
    Some(plain)
}

/// The hash of Galois/Counter mode. Bit by bit: objects are small, and tables would be another thing to get wrong.
struct Ghash {
    key: u128,
    sum: u128,
}

impl Ghash {
    fn new(key: [u8; BLOCK]) -> Self {
        Self {
            key: u128::from_be_bytes(key),
            sum: 0,
        }
    }

    /// Takes bytes, filled up with zeros to whole blocks.
    fn update(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(BLOCK) {
            let mut block = [0; BLOCK];
            block[..piece.len()].copy_from_slice(piece);
            self.block(u128::from_be_bytes(block));
        }
    }

    fn block(&mut self, block: u128) {
        // x^128 + x^7 + x^2 + x + 1, with the lowest power in the highest bit.
        const REDUCTION: u128 = 0xe1 << 120;
        let factor = self.sum ^ block;
        let (mut product, mut power) = (0, self.key);
        for bit in (0..128).rev() {
            // Without a branch on what is secret.
            product ^= power & (factor >> bit & 1).wrapping_neg();
            power = power >> 1 ^ (REDUCTION & (power & 1).wrapping_neg());
        }
        self.sum = product;
    }
}

/// Opens what `secretbox` wrote.
pub(super) fn open_box(key: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let key: &[u8; 32] = key.try_into().ok()?;
    let (nonce, rest) = sealed.split_first_chunk::<BOX_NONCE>()?;
    let (tag, ciphertext) = rest.split_first_chunk::<TAG>()?;
    let (long, short) = nonce.split_at(BLOCK);
    let inner = hsalsa::<U10>(key.into(), long.into());
    let mut stream = Salsa20::new(&inner, short.into());
    // One stream: first the key of the tag, then what is encrypted.
    let mut first = [0; BOX_KEY];
    stream.apply_keystream(&mut first);
    let authenticator = <Poly1305 as poly1305::universal_hash::KeyInit>::new(&first.into());
    if !same(&authenticator.compute_unpadded(ciphertext), tag) {
        return None;
    }
    let mut plain = ciphertext.to_vec();
    stream.apply_keystream(&mut plain);
    Some(plain)
}

/// Compares tags in a time that does not tell where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pairs = digits.chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).expect("digits");
            u8::from_str_radix(pair, 16).expect("digits")
        });
        pairs.collect()
    }

    /// NIST SP 800-38A, F.2: the four blocks of plaintext, and with a block of padding that was made for it.
    #[test]
    fn cbc_is_that_of_the_standard() {
        let text = hex(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51
                        30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
        );
        let vector = hex("000102030405060708090a0b0c0d0e0f");
        for (key, sealed) in [
            (
                "2b7e151628aed2a6abf7158809cf4f3c",
                "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2
                 73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7",
            ),
            (
                "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
                "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a
                 571b242012fb7ae07fa9baac3df102e008b0e27988598881d920a9e64f5615cd",
            ),
            (
                "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
                "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d
                 39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b",
            ),
        ] {
            let key = hex(key);
            let aes = Aes::new(&key).expect("a key");
            let mut sealed = [vector.clone(), hex(sealed)].concat();
            let last: [u8; BLOCK] = sealed[sealed.len() - BLOCK..].try_into().expect("a block");
            sealed.extend(aes.encrypt(last.map(|byte| byte ^ 16)));
            assert_eq!(open_cbc(&key, &sealed).as_ref(), Some(&text));
            // Without its last block the padding is none.
            assert_eq!(open_cbc(&key, &sealed[..sealed.len() - BLOCK]), None);
            assert_eq!(open_cbc(&key, &sealed[..sealed.len() - 1]), None);
            assert_eq!(open_cbc(&key, &vector), None);
        }
    }

    /// The cases 4, 10 and 16 of the proposal of Galois/Counter mode, which have names beside the text.
    #[test]
    fn gcm_is_that_of_its_proposal() {
        let text = hex(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
                        1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        );
        let name = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let nonce = hex("cafebabefacedbaddecaf888");
        for (key, sealed) in [
            (
                "feffe9928665731c6d6a8f9467308308",
                "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e
                 21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091
                 5bc94fbc3221a5db94fae95ae7121a47",
            ),
            (
                "feffe9928665731c6d6a8f9467308308feffe9928665731c",
                "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c
                 7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710
                 2519498e80f1478f37ba55bd6d27618c",
            ),
            (
                "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
                "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa
                 8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662
                 76fc6ece0f4e1768cddf8853bb2d551b",
            ),
        ] {
            let key = hex(key);
            let sealed = [nonce.clone(), hex(sealed)].concat();
            assert_eq!(open_gcm(&key, &name, &sealed).as_ref(), Some(&text));
            assert_eq!(open_gcm(&key, b"another", &sealed), None);
            for at in 0..sealed.len() {
                let mut other = sealed.clone();
                other[at] ^= 1;
                assert_eq!(open_gcm(&key, &name, &other), None, "{at}");
            }
            assert_eq!(open_gcm(&key, &name, &sealed[..27]), None);
        }
    }

    /// The example of NaCl.
    #[test]
    fn a_box_is_that_of_nacl() {
        let key = hex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389");
        let nonce = hex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37");
        let text = hex(
            "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f4
             1db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52
             f0a089bc76897040e082f937763848645e0705",
        );
        let sealed = hex(
            "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b
             4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da
             99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5",
        );
        let sealed = [nonce, sealed].concat();
        assert_eq!(open_box(&key, &sealed).as_ref(), Some(&text));
        for at in [0, 23, 24, 39, 40, sealed.len() - 1] {
            let mut other = sealed.clone();
            other[at] ^= 1;
            assert_eq!(open_box(&key, &other), None, "{at}");
        }
        assert_eq!(open_box(&key, &sealed[..39]), None);
        assert_eq!(open_box(&key[1..], &sealed), None);
    }
}
