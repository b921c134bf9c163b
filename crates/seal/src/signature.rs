//! Signatures (Ed25519): who has a verification key sees that a text comes from who has its signing key.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::{Digest, Secret};

/// What the text form of a signing key begins with.
const SIGNING: &str = "salvor-signing-key-1:";
/// What the text form of a verification key begins with.
const VERIFICATION: &str = "ed25519:";
/// Digits of a fingerprint.
const FINGERPRINT: usize = 16;

/// What is wrong with a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No signing key; it is not shown.
    #[error("it is no signing key: that is one line, `{SIGNING}` and 64 hexadecimal digits")]
    SigningKey,
    /// No verification key.
    #[error("`{0}` is no verification key: that is `{VERIFICATION}` and 64 hexadecimal digits")]
    VerificationKey(String),
    /// The system gives no random numbers.
    #[error("get random numbers from the system")]
    NoRandomNumbers,
}

/// Signs. `Debug` shows nothing of it; its memory is wiped.
#[derive(Clone)]
pub struct SigningKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl SigningKey {
    /// A new one.
    ///
    /// # Errors
    /// [`SignatureError::NoRandomNumbers`].
    pub fn generate() -> Result<Self, SignatureError> {
        let mut seed = Zeroizing::new([0; 32]);
        SystemRandom::new()
            .fill(seed.as_mut_slice())
            .map_err(|_| SignatureError::NoRandomNumbers)?;
        Ok(Self(seed))
    }

    /// From its text form, white space around it or none.
    ///
    /// # Errors
    /// [`SignatureError::SigningKey`].
    pub fn from_text(text: &str) -> Result<Self, SignatureError> {
        let digits = text.trim().strip_prefix(SIGNING);
        let seed = digits.and_then(|digits| digits.parse::<Digest>().ok());
        let seed = seed.ok_or(SignatureError::SigningKey)?;
        Ok(Self(Zeroizing::new(*seed.as_bytes())))
    }

    /// The text form, to be written where it is kept.
    #[must_use]
    pub fn to_text(&self) -> Secret {
        // A digest is 32 bytes in hexadecimal digits, as this is.
        Secret::new(format!("{SIGNING}{}", Digest::from(*self.0)))
    }

    /// What its signatures are looked at with.
    #[must_use]
    pub fn verification_key(&self) -> VerificationKey {
        let key = self.pair().public_key().as_ref().try_into();
        VerificationKey(key.expect("public keys of Ed25519 have 32 bytes"))
    }

    /// The signature of a text for one purpose, in base64: the same text means nothing for another purpose.
    #[must_use]
    pub fn sign(&self, purpose: &str, text: &str) -> String {
        let signature = self.pair().sign(&signed(purpose, text));
        BASE64.encode(signature.as_ref())
    }

    fn pair(&self) -> Ed25519KeyPair {
        let pair = Ed25519KeyPair::from_seed_unchecked(self.0.as_slice());
        pair.expect("any 32 bytes are a seed")
    }
}

/// Says of signatures whether they are those of its signing key. Shown freely.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerificationKey([u8; 32]);

impl VerificationKey {
    /// By what records name it: the first 16 hexadecimal digits of the SHA-256 of its text form.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut text = Digest::of(self.to_string().as_bytes()).to_string();
        text.truncate(FINGERPRINT);
        text
    }

    /// True for a signature that its signing key made of this text for this purpose.
    #[must_use]
    pub fn verifies(&self, purpose: &str, text: &str, signature: &str) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.0);
        BASE64
            .decode(signature)
            .is_ok_and(|signature| key.verify(&signed(purpose, text), &signature).is_ok())
    }
}

impl fmt::Display for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERIFICATION}{}", Digest::from(self.0))
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VerificationKey {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let digits = text.trim().strip_prefix(VERIFICATION);
        let key = digits.and_then(|digits| digits.parse::<Digest>().ok());
        let shown = || {
            // One that is a signing key by mistake must not be shown.
            match text.trim().starts_with(SIGNING) {
                true => format!("{SIGNING}..."),
                false => text.chars().take(80).collect(),
            }
        };
        key.map(|key| Self(*key.as_bytes()))
            .ok_or_else(|| SignatureError::VerificationKey(shown()))
    }
}

/// What is signed: where the purpose ends is part of it.
fn signed(purpose: &str, text: &str) -> Vec<u8> {
    [purpose.as_bytes(), b"\n", text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_its_text_its_purpose_and_its_key_alone() {
        let key = SigningKey::from_text(&format!("{SIGNING}{}\n", "07".repeat(32))).expect("a key");
        let signature = key.sign("a record", "text");
        let public = key.verification_key();
        assert!(public.verifies("a record", "text", &signature));
        assert!(!public.verifies("a record", "text ", &signature));
        assert!(!public.verifies("another", "text", &signature));
        assert!(!public.verifies("a record", "text", ""));
        assert!(!public.verifies("a record", "text", &signature.to_lowercase()));
        let other = SigningKey::generate().expect("random numbers");
        assert!(
            !other
                .verification_key()
                .verifies("a record", "text", &signature)
        );
        assert_eq!(public.to_string().parse(), Ok(public));
        let back = SigningKey::from_text(other.to_text().expose()).expect("its text");
        assert_eq!(back.verification_key(), other.verification_key());
        assert_eq!(format!("{key:?}"), "[redacted]");
    }

    #[test]
    fn what_is_no_key_is_refused_and_secrets_are_not_shown() {
        let secret = format!("{SIGNING}{}", "07".repeat(32));
        for text in ["", "ed25519:", "ed25519:07", &secret, &"07".repeat(32)] {
            let error = text.parse::<VerificationKey>().expect_err(text).to_string();
            assert!(!error.contains("070707") || text != secret, "{error}");
        }
        for text in ["", SIGNING, &secret[..40], &"07".repeat(32)] {
            assert_eq!(
                SigningKey::from_text(text).err(),
                Some(SignatureError::SigningKey)
            );
        }
    }
}
