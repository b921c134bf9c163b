//! Recipients (public) and identities (secret), in the text form that `age-keygen` writes.

use std::fmt;
use std::str::FromStr;

use ring::rand::{SecureRandom as _, SystemRandom};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};
use zeroize::Zeroizing;

use super::{AgeError, bech32};
use crate::{Digest, Secret};

const RECIPIENT: &str = "age";
const IDENTITY: &str = "age-secret-key-";

/// Digits of a fingerprint.
const FINGERPRINT: usize = 16;

/// Whom something is encrypted to: an X25519 public key, `age1...`. Shown freely.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient(pub(super) [u8; 32]);

impl Recipient {
    /// By what records name it: the first 16 hexadecimal digits of the SHA-256 of its text form.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut text = Digest::of(self.to_string().as_bytes()).to_string();
        text.truncate(FINGERPRINT);
        text
    }

    /// Those of a file: one in each line; empty lines and those that begin with `#` are left out.
    ///
    /// # Errors
    /// A line is something else.
    pub fn of_lines(text: &str) -> Result<Vec<Self>, AgeError> {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(str::parse).collect()
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32::encode(RECIPIENT, &self.0))
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Recipient {
    type Err = AgeError;

    fn from_str(text: &str) -> Result<Self, AgeError> {
        let wrong = |why| AgeError::Recipient {
            // One that is a secret key by mistake must not be shown.
            text: if text.to_ascii_lowercase().starts_with(IDENTITY) {
                "AGE-SECRET-KEY-1...".to_owned()
            } else {
                text.chars().take(80).collect()
            },
            why,
        };
        let bytes = bech32::decode(RECIPIENT, text).map_err(wrong)?;
        let key: [u8; 32] = bytes.try_into().map_err(|_| wrong("it has not 32 bytes"))?;
        let probe = x25519([9; 32], key);
        if probe == [0; 32] {
            return Err(wrong("it is a point that everybody can open"));
        }
        Ok(Self(key))
    }
}

/// What opens what was encrypted to its recipient. `Debug` shows nothing of it; its memory is wiped.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity(Zeroizing<[u8; 32]>);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Identity {
    /// A new one.
    ///
    /// # Errors
    /// [`AgeError::NoRandomNumbers`].
    pub fn generate() -> Result<Self, AgeError> {
        let mut bytes = Zeroizing::new([0; 32]);
        SystemRandom::new()
            .fill(bytes.as_mut_slice())
            .map_err(|_| AgeError::NoRandomNumbers)?;
        Ok(Self(bytes))
    }

    /// Those of a file, as `age-keygen` writes it: comments, empty lines and one identity in each other line.
    ///
    /// # Errors
    /// There is none, or a line is something else. Nothing of the text is shown.
    pub fn of_lines(text: &str) -> Result<Vec<Self>, AgeError> {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let found: Vec<Self> = lines.map(Self::from_text).collect::<Result<_, _>>()?;
        if found.is_empty() {
            return Err(AgeError::Identity {
                why: "it has comments only",
            });
        }
        Ok(found)
    }

    /// From `AGE-SECRET-KEY-1...`.
    ///
    /// # Errors
    /// It is something else. Nothing of the text is shown.
    pub fn from_text(text: &str) -> Result<Self, AgeError> {
        let wrong = |why| AgeError::Identity { why };
        let bytes = Zeroizing::new(bech32::decode(IDENTITY, text.trim()).map_err(wrong)?);
        let key: [u8; 32] = bytes
            .as_slice()
            .try_into()
            .map_err(|_| wrong("it has not 32 bytes"))?;
        Ok(Self(Zeroizing::new(key)))
    }

    /// `AGE-SECRET-KEY-1...`, to be written where it is kept.
    #[must_use]
    pub fn to_text(&self) -> Secret {
        Secret::new(bech32::encode(IDENTITY, self.0.as_slice()).to_ascii_uppercase())
    }

    /// Whom to encrypt to, so that this identity opens it.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient(x25519(*self.0, X25519_BASEPOINT_BYTES))
    }

    /// What this identity and the holder of the secret of `theirs` know, and nobody else.
    pub(super) fn shared(&self, theirs: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        let shared = Zeroizing::new(x25519(*self.0, *theirs));
        (*shared != [0; 32]).then_some(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thirty-two bytes of 0x42 and their recipient, as `age-keygen -y` prints it.
    const SECRET: &str =
        "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
    const PUBLIC: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

    #[test]
    fn text_forms_are_those_of_age() {
        let identity = Identity::from_text(SECRET).expect("an identity");
        assert_eq!(identity.0.as_slice(), [0x42; 32]);
        assert_eq!(identity.to_text().expose(), SECRET);
        assert_eq!(identity.recipient().to_string(), PUBLIC);
        assert_eq!(
            PUBLIC.parse::<Recipient>().expect("a recipient"),
            identity.recipient()
        );
        assert_eq!(identity.recipient().fingerprint().len(), FINGERPRINT);
        let made = Identity::generate().expect("random numbers");
        assert_eq!(
            Identity::from_text(made.to_text().expose()).expect("its text"),
            made
        );
        assert_eq!(format!("{made:?}"), "[redacted]");
        let file = format!("# created: today\n# public key: {PUBLIC}\n{SECRET}\n");
        assert_eq!(Identity::of_lines(&file).expect("a file"), [identity]);
        let file = format!("# ours\n\n {PUBLIC} \n");
        assert_eq!(Recipient::of_lines(&file).expect("a file").len(), 1);
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_reason_and_secrets_are_not_shown() {
        for (text, why) in [
            ("", "no separator"),
            ("age1", "checksum"),
            (&PUBLIC[..61], "checksum"),
            (&PUBLIC.replace("zvky", "zvkx"), "checksum"),
            (&PUBLIC.replace("zvky", "zVky"), "mixes"),
            (&PUBLIC.replace("zvky", "zbky"), "cannot be"),
            (SECRET, "begins otherwise"),
            (
                "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
                "begins otherwise",
            ),
            (&bech32::encode("age", &[1; 31]), "32 bytes"),
            (&bech32::encode("age", &[0; 32]), "everybody"),
        ] {
            let error = text.parse::<Recipient>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("GFPYY"), "{error}");
        }
        for text in ["", "x", PUBLIC, &SECRET[..60]] {
            let error = Identity::from_text(text).expect_err(text).to_string();
            assert!(
                text.is_empty() || text == "x" || !error.contains(text),
                "{error}"
            );
        }
        assert!(Identity::of_lines("# nothing\n").is_err());
    }
}
