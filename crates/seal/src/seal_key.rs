//! Seals: texts that only who has the key can have written.

use std::fmt;

use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

/// Bytes of a key.
const LENGTH: usize = 32;

/// The key of seals (HMAC-SHA256). Clones are the same key.
#[derive(Clone)]
pub struct SealKey(hmac::Key);

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl SealKey {
    /// From its bytes; `None` when there are fewer than 32.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= LENGTH).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// Bytes for a new key; `None` without random numbers.
    #[must_use]
    pub fn generate() -> Option<Vec<u8>> {
        let mut bytes = vec![0; LENGTH];
        SystemRandom::new().fill(&mut bytes).ok()?;
        Some(bytes)
    }

    /// The seal of these parts, which a seal of other parts or in another order is not. Lower-case hex.
    /// The first part says what for, so that a seal of one thing is none of another.
    #[must_use]
    pub fn seal(&self, parts: &[&str]) -> String {
        let tag = hmac::sign(&self.0, &joined(parts));
        tag.as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// True for the seal of these parts. Takes as long for any text of its length.
    #[must_use]
    pub fn is_seal(&self, parts: &[&str], text: &str) -> bool {
        let digits = text.as_bytes().chunks(2);
        let bytes: Option<Vec<u8>> = digits
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        // One form only: what is compared as text elsewhere has no other spelling.
        let lower = text.len().is_multiple_of(2)
            && !text.bytes().any(|b| b.is_ascii_uppercase() || b == b'+');
        lower && bytes.is_some_and(|bytes| hmac::verify(&self.0, &joined(parts), &bytes).is_ok())
    }
}

/// Each part with its length before it: where one ends is part of what is sealed.
fn joined(parts: &[&str]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part.as_bytes());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_of_its_parts_and_its_key_alone() {
        let key = SealKey::new(&[7; LENGTH]).expect("a key");
        let seal = key.seal(&["a", "bc"]);
        assert!(key.is_seal(&["a", "bc"], &seal));
        for parts in [
            &["ab", "c"][..],
            &["a", "b", "c"],
            &["abc"],
            &["bc", "a"],
            &[],
        ] {
            assert!(!key.is_seal(parts, &seal), "{parts:?}");
        }
        let other = SealKey::new(&[8; LENGTH]).expect("a key");
        assert!(!other.is_seal(&["a", "bc"], &seal));
        for text in [
            "",
            "0",
            "zz",
            &seal[2..],
            &seal.to_uppercase(),
            &format!("{seal}00"),
        ] {
            assert!(!key.is_seal(&["a", "bc"], text), "{text}");
        }
        assert!(SealKey::new(&[7; LENGTH - 1]).is_none());
    }
}
