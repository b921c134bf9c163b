//! The secret that opens the repositories of a cluster or of a location, and the passwords that follow from it.
//!
//! Each trust domain has a repository of its own, and each repository a password of its own:
//! `hex(HKDF-SHA256(secret, info = "salvor repository 1:" + domain))`, without a salt, 32 bytes, lower case. Whoever is
//! given the password of one domain opens that one and can compute no other; whoever has the secret opens all of them,
//! which is what must be kept outside of the cluster. The password is typed into plain restic as it is. The form is
//! described in `docs/formats/repository-keys.md`; a change of it is a new `info`.

use std::fmt;

use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use crate::Secret;

/// Name of the Kubernetes Secret, in the server's namespace, that holds the key.
pub const SECRET: &str = "salvor-repository-key";

/// Key in [`SECRET`] under which the key stands.
pub const SECRET_KEY: &str = "repository-key";

/// Name of the Secret in which Velero keeps the one password of all its repositories.
pub const VELERO_SECRET: &str = "velero-repo-credentials";

/// Key in [`VELERO_SECRET`] under which the password stands.
pub const VELERO_SECRET_KEY: &str = "repository-password";

/// What the passwords are derived for; the number is that of the derivation.
const PURPOSE: &str = "salvor repository 1:";

/// Bytes of a new secret. 256 bits: the cost is nothing, and nobody has to argue about halves.
const NEW: usize = 32;

/// Fewest bytes of a secret: 128 random bits cannot be guessed, whatever a repository's key slot costs to try.
const FEWEST: usize = 16;

/// Most bytes of a secret: what is longer is another file.
const MOST: usize = 128;

/// Bytes of a derived password before they are written as digits.
const PASSWORD: usize = 32;

/// The secret is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepositoryKeyError {
    /// Other characters than hexadecimal digits, or an odd number of them.
    #[error(
        "a repository key is written in hexadecimal digits, two for each byte: make one with `openssl rand -hex 32`"
    )]
    NotHexadecimal,
    /// Fewer than 16 bytes or more than 128.
    #[error(
        "a repository key has {FEWEST} to {MOST} bytes, this one has {bytes}: make one with `openssl rand -hex 32`"
    )]
    Length {
        /// How many bytes it has.
        bytes: usize,
    },
    /// Bytes that repeat as random ones never do.
    #[error(
        "this repository key is not random, it has {different} different bytes only: make one with `openssl rand -hex 32`"
    )]
    NotRandom {
        /// How many different bytes there are.
        different: usize,
    },
    /// The system gives no random numbers.
    #[error("get random numbers from the system")]
    NoRandomNumbers,
    /// A password that nobody could type: empty, or no text.
    #[error("the password in `{VELERO_SECRET}` is empty or is no text")]
    NoPassword,
}

/// The secret from which the passwords of repositories follow. `Debug` shows nothing of it; its memory is wiped.
#[derive(Clone, PartialEq, Eq)]
pub struct RepositoryKey(Zeroizing<Vec<u8>>);

impl fmt::Debug for RepositoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl RepositoryKey {
    /// A new one of 256 random bits.
    ///
    /// # Errors
    /// [`RepositoryKeyError::NoRandomNumbers`].
    pub fn generate() -> Result<Self, RepositoryKeyError> {
        let mut bytes = Zeroizing::new(vec![0; NEW]);
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| RepositoryKeyError::NoRandomNumbers)?;
        Ok(Self(bytes))
    }

    /// From its text form, as a key file or a Kubernetes Secret holds it: hexadecimal digits, white space around them.
    ///
    /// # Errors
    /// When it is no text form, too short or evidently not random. The error shows nothing of the text.
    pub fn from_text(text: &str) -> Result<Self, RepositoryKeyError> {
        let digits = text.trim();
        let byte = |pair: &[u8]| {
            let [high, low] = pair else { return None };
            let digit = |one: u8| char::from(one).to_digit(16);
            u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
        };
        let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
        let bytes = Zeroizing::new(bytes.ok_or(RepositoryKeyError::NotHexadecimal)?);
        if !(FEWEST..=MOST).contains(&bytes.len()) {
            return Err(RepositoryKeyError::Length { bytes: bytes.len() });
        }
        let mut seen = [false; 256];
        bytes
            .iter()
            .for_each(|byte| seen[usize::from(*byte)] = true);
        let different = seen.iter().filter(|seen| **seen).count();
        // Fewer than eight of sixteen random bytes being different does not happen in the age of the universe.
        if different < FEWEST / 2 {
            return Err(RepositoryKeyError::NotRandom { different });
        }
        Ok(Self(bytes))
    }

    /// The text form, without a line end. Call it only to write it where it is kept.
    #[must_use]
    pub fn to_text(&self) -> Secret {
        Secret::new(hex(&self.0))
    }

    /// The password of the repository of a trust domain (`ns-shop`, `host-db1`): 64 hexadecimal digits. See
    /// [`password_of_domain`].
    #[must_use]
    pub fn password_of_domain(&self, domain: &str) -> Secret {
        password_of_domain(self, domain)
    }
}

/// The password of the repository of a trust domain (`ns-shop`, `host-db1`): 64 hexadecimal digits, the same for the
/// same key and domain always. One domain's password says nothing about another's, nor about the key.
#[must_use]
pub fn password_of_domain(key: &RepositoryKey, domain: &str) -> Secret {
    struct Length;
    impl KeyType for Length {
        fn len(&self) -> usize {
            PASSWORD
        }
    }
    let info = [PURPOSE.as_bytes(), domain.as_bytes()];
    let mut bytes = Zeroizing::new([0; PASSWORD]);
    Salt::new(HKDF_SHA256, &[])
        .extract(&key.0)
        .expand(&info, Length)
        .and_then(|password| password.fill(bytes.as_mut_slice()))
        .expect("32 bytes are fewer than HKDF-SHA256 can give, and as many as were asked for");
    Secret::new(hex(bytes.as_slice()))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).expect("half a byte is one digit"));
        }
    }
    text
}

/// What opens the repositories of a cluster: a key of which each domain gets a password of its own, or one password
/// for all of them, as Velero has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyMaterial {
    /// Each domain has the password that follows from this key.
    Key(RepositoryKey),
    /// Every repository has this password: whoever opens one opens all.
    Password(Secret),
}

impl KeyMaterial {
    /// From the values of a cluster's Secrets: ours ([`SECRET`], [`SECRET_KEY`]) when it is there, else Velero's
    /// ([`VELERO_SECRET`], [`VELERO_SECRET_KEY`]) as a plain password; `None` when neither is. A value of ours that is
    /// no key is an error and never falls back: repositories would be made that nobody can open with the key.
    ///
    /// # Errors
    /// When the value that counts is no key or no password.
    pub fn of_secrets(
        ours: Option<&[u8]>,
        velero: Option<&[u8]>,
    ) -> Result<Option<Self>, RepositoryKeyError> {
        if let Some(ours) = ours {
            let text = std::str::from_utf8(ours).map_err(|_| RepositoryKeyError::NotHexadecimal)?;
            return RepositoryKey::from_text(text).map(Self::Key).map(Some);
        }
        let Some(velero) = velero else {
            return Ok(None);
        };
        // To the byte, as Velero hands it to restic: no trimming.
        match std::str::from_utf8(velero) {
            Ok(text) if !text.is_empty() => Ok(Some(Self::Password(Secret::new(text.to_owned())))),
            _ => Err(RepositoryKeyError::NoPassword),
        }
    }

    /// The password of a trust domain's repository.
    #[must_use]
    pub fn password_of(&self, domain: &str) -> Secret {
        match self {
            Self::Key(key) => password_of_domain(key, domain),
            Self::Password(password) => password.clone(),
        }
    }

    /// True when a password has 128 random bits or more, so that a key slot need not be expensive to try.
    #[must_use]
    pub fn is_machine_made(&self) -> bool {
        matches!(self, Self::Key(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn key(text: &str) -> RepositoryKey {
        RepositoryKey::from_text(text).expect("a key")
    }

    /// The expected digits were made with `openssl kdf -keylen 32 -kdfopt digest:SHA2-256 -kdfopt hexkey:...
    /// -kdfopt info:"salvor repository 1:ns-shop" HKDF`.
    #[test]
    fn passwords_are_what_another_implementation_derives() {
        assert_eq!(
            key(TEXT).password_of_domain("ns-shop").expose(),
            "15898b4060ff7976b94238fb3c91c37fc010965d24e29e175883b5fe8b51903e"
        );
        assert_eq!(
            key(TEXT).password_of_domain("host-db1").expose(),
            "597aef643a3e4edffecbb4ba8a491f39eade449183003fafee233f82b0d95daa"
        );
    }

    #[test]
    fn each_key_and_each_domain_has_a_password_of_its_own() {
        let other = key(&TEXT.replace("00", "20"));
        let one = key(TEXT);
        let mut all: Vec<String> = ["", "ns-a", "ns-b", "ns-a "]
            .iter()
            .flat_map(|domain| {
                [
                    one.password_of_domain(domain),
                    other.password_of_domain(domain),
                ]
            })
            .map(|password| password.expose().to_owned())
            .collect();
        assert!(all.iter().all(|password| password.len() == 64));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 8);
    }

    #[test]
    fn a_key_comes_back_from_its_text_with_white_space_around_it_and_either_case() {
        let made = RepositoryKey::generate().expect("random numbers");
        let text = made.to_text();
        assert_eq!(text.expose().len(), 64);
        assert_eq!(key(&format!(" {}\n", text.expose())), made);
        assert_eq!(key(&text.expose().to_uppercase()), made);
        assert_eq!(format!("{made:?}"), "[redacted]");
        assert_ne!(RepositoryKey::generate().expect("random numbers"), made);
    }

    #[test]
    fn what_is_no_key_is_refused_without_showing_it() {
        for (text, error) in [
            ("", RepositoryKeyError::Length { bytes: 0 }),
            (
                "correct horse battery staple",
                RepositoryKeyError::NotHexadecimal,
            ),
            (&TEXT[1..], RepositoryKeyError::NotHexadecimal),
            (
                "+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1",
                RepositoryKeyError::NotHexadecimal,
            ),
            (&TEXT[..30], RepositoryKeyError::Length { bytes: 15 }),
            (&TEXT.repeat(5), RepositoryKeyError::Length { bytes: 160 }),
            (
                &"00".repeat(32),
                RepositoryKeyError::NotRandom { different: 1 },
            ),
        ] {
            assert_eq!(RepositoryKey::from_text(text), Err(error), "{text}");
        }
    }

    #[test]
    fn our_secret_counts_before_veleros_and_a_bad_one_does_not_fall_back() {
        let of = KeyMaterial::of_secrets;
        let velero = Some(b"static-passw0rd".as_slice());
        let ours = of(Some(TEXT.as_bytes()), velero)
            .expect("a key")
            .expect("material");
        assert_eq!(
            ours.password_of("ns-shop"),
            key(TEXT).password_of_domain("ns-shop")
        );
        assert!(ours.is_machine_made());
        let theirs = of(None, velero).expect("a password").expect("material");
        assert_eq!(theirs.password_of("ns-shop").expose(), "static-passw0rd");
        assert!(!theirs.is_machine_made());
        assert_eq!(of(None, None), Ok(None));
        assert_eq!(
            of(Some(b"\xff"), velero),
            Err(RepositoryKeyError::NotHexadecimal)
        );
        assert_eq!(
            of(Some(b""), velero),
            Err(RepositoryKeyError::Length { bytes: 0 })
        );
        assert_eq!(of(None, Some(b"")), Err(RepositoryKeyError::NoPassword));
    }
}
