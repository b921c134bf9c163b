//! Values that an API server encrypted at rest, opened with the keys of its `EncryptionConfiguration`.
//!
//! Keys are in memory only, in places that are wiped; no error and no `Debug` shows one.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::cipher::{open_box, open_cbc, open_gcm};
use super::decode::{self, Decoded, Unreadable};
use super::stored::{ENCRYPTED, Stored};

/// Kinds of the file, now and before Kubernetes 1.13.
const KINDS: [&str; 2] = ["EncryptionConfiguration", "EncryptionConfig"];

/// Why a file is no encryption configuration. None of them shows what a key is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// It is of another kind.
    #[error("its kind is `{0}`, not EncryptionConfiguration")]
    Kind(String),
    /// A key is not base64.
    #[error("the secret of key `{name}` of {provider} is not base64")]
    Secret {
        /// Of which provider.
        provider: Provider,
        /// Its name.
        name: String,
    },
    /// A key has another length than its cipher takes.
    #[error("the secret of key `{name}` of {provider} has {length} bytes, which is no key of it")]
    Length {
        /// Of which provider.
        provider: Provider,
        /// Its name.
        name: String,
        /// Bytes it has.
        length: usize,
    },
}

/// A provider whose keys are in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// AES in cipher block chaining.
    AesCbc,
    /// AES in Galois/Counter mode.
    AesGcm,
    /// XSalsa20 and Poly1305.
    Secretbox,
}

impl Provider {
    const ALL: [Self; 3] = [Self::AesCbc, Self::AesGcm, Self::Secretbox];

    fn name(self) -> &'static str {
        match self {
            Self::AesCbc => "aescbc",
            Self::AesGcm => "aesgcm",
            Self::Secretbox => "secretbox",
        }
    }

    fn takes(self, length: usize) -> bool {
        match self {
            Self::AesCbc | Self::AesGcm => matches!(length, 16 | 24 | 32),
            Self::Secretbox => length == 32,
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An encryption configuration as it stands in its file.
#[derive(Deserialize)]
pub struct Configuration {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    resources: Vec<Resources>,
}

#[derive(Deserialize)]
struct Resources {
    #[serde(default)]
    providers: Vec<Providers>,
}

/// One of them is set. `identity` and `kms` have no key here.
#[derive(Deserialize)]
struct Providers {
    aescbc: Option<KeyList>,
    aesgcm: Option<KeyList>,
    secretbox: Option<KeyList>,
}

#[derive(Deserialize)]
struct KeyList {
    #[serde(default)]
    keys: Vec<KeyText>,
}

#[derive(Deserialize)]
struct KeyText {
    name: String,
    #[serde(deserialize_with = "wiped")]
    secret: Zeroizing<String>,
}

fn wiped<'de, D: Deserializer<'de>>(source: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(source).map(Zeroizing::new)
}

/// Keys of the static-key providers; none of them by default.
#[derive(Default)]
pub struct Keys {
    keys: Vec<Key>,
    /// Whether there was a configuration.
    given: bool,
}

struct Key {
    provider: Provider,
    /// `aescbc:v1:NAME:`, what values begin with behind the mark of encryption.
    prefix: Vec<u8>,
    secret: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefixes = self
            .keys
            .iter()
            .map(|key| key.prefix.escape_ascii().to_string());
        f.debug_list().entries(prefixes).finish()
    }
}

impl Keys {
    /// Adds the keys of a configuration. Which resources it names counts for writing alone: a value says what encrypted it.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn add(&mut self, configuration: &Configuration) -> Result<(), KeysError> {
        if !KINDS.contains(&configuration.kind.as_str()) {
            return Err(KeysError::Kind(configuration.kind.clone()));
        }
        self.given = true;
        let groups = configuration.resources.iter();
        for providers in groups.flat_map(|group| &group.providers) {
            for provider in Provider::ALL {
                let list = match provider {
                    Provider::AesCbc => &providers.aescbc,
                    Provider::AesGcm => &providers.aesgcm,
                    Provider::Secretbox => &providers.secretbox,
                };
                for text in list.iter().flat_map(|list| &list.keys) {
                    self.keys.push(Key::new(provider, text)?);
                }
            }
        }
        Ok(())
    }

    /// A value as it was before it was encrypted; one that is not encrypted as it is.
    #[must_use]
    pub fn open<'v>(&self, name: &[u8], value: &'v [u8]) -> Opened<'v> {
        let Stored::Encrypted(by) = Stored::of(value) else {
            return Opened::plain(value);
        };
        let (value, problem) = match self.decrypt(&by, name, value) {
            Ok(plain) => (Cow::Owned(plain), None),
            Err(problem) => (Cow::Borrowed(value), Some(problem)),
        };
        Opened {
            value,
            by: Some(by),
            problem,
        }
    }

    fn decrypt(&self, by: &str, name: &[u8], value: &[u8]) -> Result<Vec<u8>, Unreadable> {
        if by.starts_with("kms:") {
            return Err(Unreadable::Kms(by.to_owned()));
        }
        if !self.given {
            return Err(Unreadable::Encrypted(by.to_owned()));
        }
        let rest = value.strip_prefix(ENCRYPTED).unwrap_or_default();
        let mut known = false;
        for key in &self.keys {
            let Some(sealed) = rest.strip_prefix(key.prefix.as_slice()) else {
                continue;
            };
            known = true;
            // What is not authenticated is looked at.
            if let Some(plain) = key.open(name, sealed).filter(|plain| is_object(plain)) {
                return Ok(plain);
            }
        }
        Err(match known {
            true => Unreadable::WrongKey(by.to_owned()),
            false => Unreadable::NoKey(by.to_owned()),
        })
    }
}

fn is_object(plain: &[u8]) -> bool {
    !matches!(Stored::of(plain), Stored::Other | Stored::Encrypted(_))
}

impl Key {
    fn new(provider: Provider, text: &KeyText) -> Result<Self, KeysError> {
        let name = text.name.clone();
        let secret = BASE64.decode(text.secret.as_bytes()).map(Zeroizing::new);
        let Ok(secret) = secret else {
            return Err(KeysError::Secret { provider, name });
        };
        let length = secret.len();
        if !provider.takes(length) {
            return Err(KeysError::Length {
                provider,
                name,
                length,
            });
        }
        Ok(Self {
            provider,
            prefix: format!("{provider}:v1:{name}:").into_bytes(),
            secret,
        })
    }

    fn open(&self, name: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        match self.provider {
            Provider::AesCbc => open_cbc(&self.secret, sealed),
            Provider::AesGcm => open_gcm(&self.secret, name, sealed),
            Provider::Secretbox => open_box(&self.secret, sealed),
        }
    }
}

/// A value, opened where that was possible.
#[derive(Clone, Debug)]
pub struct Opened<'v> {
    /// The value: as it was before it was encrypted, or as it is stored.
    pub value: Cow<'v, [u8]>,
    /// By what it is encrypted in etcd, such as `aescbc:v1:key1`.
    pub by: Option<String>,
    /// Why it could not be opened.
    problem: Option<Unreadable>,
}

impl<'v> Opened<'v> {
    fn plain(value: &'v [u8]) -> Self {
        Self {
            value: Cow::Borrowed(value),
            by: None,
            problem: None,
        }
    }

    /// What it is.
    #[must_use]
    pub fn stored(&self) -> Stored<'_> {
        Stored::of(&self.value)
    }

    /// The object in it. `revision` is that of its last change.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn object(&self, revision: i64) -> Result<Decoded, Unreadable> {
        match &self.problem {
            Some(problem) => Err(problem.clone()),
            None => decode::object(&self.value, revision),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(configuration: &str) -> Result<Keys, KeysError> {
        let configuration = serde_json::from_str(configuration).expect("JSON");
        let mut keys = Keys::default();
        keys.add(&configuration).map(|()| keys)
    }

    fn with(provider: &str, secret: &str) -> String {
        format!(
            r#"{{"kind":"EncryptionConfiguration","apiVersion":"apiserver.config.k8s.io/v1","resources":[
               {{"resources":["secrets"],"providers":[{{"identity":{{}}}},{{"kms":{{"name":"k"}}}},
               {{"{provider}":{{"keys":[{{"name":"one","secret":"{secret}"}}]}}}}]}}]}}"#
        )
    }

    #[test]
    fn keys_are_not_shown() {
        let secret = BASE64.encode([0x41; 32]);
        let keys = keys(&with("aescbc", &secret)).expect("keys");
        assert_eq!(format!("{keys:?}"), r#"["aescbc:v1:one:"]"#);
    }

    #[test]
    fn what_is_no_configuration_says_why_without_its_keys() {
        let thirty = BASE64.encode([0x41; 30]);
        let sixteen = BASE64.encode([0x41; 16]);
        for (provider, secret, part) in [
            ("aescbc", "hunter2!", "key `one` of aescbc is not base64"),
            (
                "aesgcm",
                thirty.as_str(),
                "key `one` of aesgcm has 30 bytes",
            ),
            ("secretbox", &sixteen, "key `one` of secretbox has 16 bytes"),
        ] {
            let error = keys(&with(provider, secret))
                .expect_err("no keys")
                .to_string();
            assert!(error.contains(part) && !error.contains(secret), "{error}");
        }
        let other = keys(r#"{"kind":"Pod"}"#).expect_err("no keys");
        assert_eq!(other, KeysError::Kind("Pod".to_owned()));
    }

    #[test]
    fn what_cannot_be_opened_says_why() {
        let secret = BASE64.encode([0x41; 32]);
        let one = keys(&with("aesgcm", &secret)).expect("keys");
        let none = Keys::default();
        for (keys, value, part) in [
            (
                &none,
                &b"k8s:enc:aesgcm:v1:one:xx"[..],
                "no encryption configuration",
            ),
            (&one, b"k8s:enc:aesgcm:v1:two:xx", "has no such key"),
            (&one, b"k8s:enc:aescbc:v1:one:xx", "has no such key"),
            (&one, b"k8s:enc:aesgcm:v1:one:xx", "another key"),
            (&one, b"k8s:enc:kms:v2:vault:xx", "KMS"),
            (&none, b"k8s:enc:kms:v1:vault:xx", "KMS"),
        ] {
            let opened = keys.open(b"/registry/secrets/a/b", value);
            assert_eq!(&*opened.value, value);
            let error = opened.object(1).expect_err("no object").to_string();
            assert!(error.contains(part), "{error}");
        }
        let plain = br#"{"kind":"Thing","metadata":{"name":"a"}}"#;
        let opened = one.open(b"/registry/a.io/things/a", plain);
        assert!(opened.by.is_none() && opened.object(1).is_ok());
    }
}
