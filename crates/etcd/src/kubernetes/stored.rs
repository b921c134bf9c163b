//! What a value is, by its first bytes.

use serde_json::Value;

use super::cbor;
use crate::protobuf::{Malformed, fields};

/// First bytes of a message of Kubernetes.
const PROTOBUF: &[u8] = b"k8s\0";
/// First bytes of a value that an API server encrypted.
pub(super) const ENCRYPTED: &[u8] = b"k8s:enc:";

/// A value as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored<'a> {
    /// A message of a built-in kind.
    Message {
        /// `apps/v1`.
        api_version: String,
        /// `Deployment`.
        kind: String,
        /// The object's own message.
        raw: &'a [u8],
    },
    /// JSON: custom resources, definitions, API services.
    Json(&'a [u8]),
    /// CBOR, which newer servers may write for custom resources.
    Cbor(&'a [u8]),
    /// Encrypted at rest; with the provider and key that the value names, such as `aescbc:v1:key1`.
    Encrypted(String),
    /// Nothing that Kubernetes writes.
    Other,
}

/// What every object says of itself, which needs no table.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// `apps/v1`; empty when it does not say.
    pub api_version: String,
    /// `Deployment`; empty when it does not say.
    pub kind: String,
    /// Its namespace; empty without one.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Identity {
    /// `apps`; empty for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        self.api_version
            .split_once('/')
            .map_or("", |(group, _)| group)
    }
}

impl<'a> Stored<'a> {
    /// Whether an API server encrypted a value, by its first bytes.
    #[must_use]
    pub fn is_encrypted(value: &[u8]) -> bool {
        value.starts_with(ENCRYPTED)
    }

    /// Looks at a value.
    #[must_use]
    pub fn of(value: &'a [u8]) -> Self {
        if let Some(envelope) = value.strip_prefix(PROTOBUF) {
            return read_envelope(envelope).unwrap_or(Self::Other);
        }
        if let Some(rest) = value.strip_prefix(ENCRYPTED) {
            // Provider, version, key name; the ciphertext begins after the third colon.
            let mut parts = rest.splitn(4, |byte| *byte == b':');
            let known: Vec<String> = parts.by_ref().take(3).map(text).collect();
            return Self::Encrypted(known.join(":"));
        }
        if value.starts_with(&cbor::SELF_DESCRIBED) {
            return Self::Cbor(value);
        }
        match value.trim_ascii_start().first() {
            Some(b'{') => Self::Json(value),
            _ => Self::Other,
        }
    }

    /// What the object says of itself; `None` where that cannot be read.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        match self {
            Self::Message {
                api_version,
                kind,
                raw,
            } => {
                let mut identity = of_message(raw).ok()?;
                identity.api_version.clone_from(api_version);
                identity.kind.clone_from(kind);
                Some(identity)
            }
            Self::Json(bytes) => serde_json::from_slice(bytes).ok().map(of_head),
            Self::Cbor(bytes) => {
                let object: Value = cbor::read(bytes).ok()?;
                serde_json::from_value(object).ok().map(of_head)
            }
            Self::Encrypted(_) | Self::Other => None,
        }
    }
}

/// `runtime.Unknown`: 1 the type, 2 the message.
fn read_envelope(envelope: &[u8]) -> Option<Stored<'_>> {
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in fields(envelope) {
        let field = field.ok()?;
        match field.number {
            1 => {
                for part in fields(field.bytes().ok()?) {
                    let part = part.ok()?;
                    match part.number {
                        1 => api_version = part.text().ok()?,
                        2 => kind = part.text().ok()?,
                        _ => {}
                    }
                }
            }
            2 => raw = field.bytes().ok()?,
            _ => {}
        }
    }
    Some(Stored::Message {
        api_version,
        kind,
        raw,
    })
}

/// The metadata is field 1 of every object: 1 name, 3 namespace, 5 UID.
fn of_message(raw: &[u8]) -> Result<Identity, Malformed> {
    let mut identity = Identity::default();
    for field in fields(raw) {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        for part in fields(field.bytes()?) {
            let part = part?;
            match part.number {
                1 => identity.name = part.text()?,
                3 => identity.namespace = part.text()?,
                5 => identity.uid = part.text()?,
                _ => {}
            }
        }
    }
    Ok(identity)
}

/// What every object that is no message begins with.
#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Head {
    api_version: String,
    kind: String,
    metadata: Metadata,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    namespace: String,
    uid: String,
}

fn of_head(head: Head) -> Identity {
    Identity {
        api_version: head.api_version,
        kind: head.kind,
        namespace: head.metadata.namespace,
        name: head.metadata.name,
        uid: head.metadata.uid,
    }
}

fn text(bytes: &[u8]) -> String {
    // Hostile bytes are shown as what they are.
    bytes
        .iter()
        .take(64)
        .copied()
        .collect::<Vec<u8>>()
        .escape_ascii()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::Message;

    fn pod(namespace: &str, name: &str) -> Vec<u8> {
        let metadata = Message::new()
            .bytes(1, name.as_bytes())
            .bytes(3, namespace.as_bytes())
            .bytes(5, b"uid-1");
        let raw = Message::new().bytes(1, &metadata.finish()).finish();
        let kind = Message::new().bytes(1, b"v1").bytes(2, b"Pod").finish();
        let envelope = Message::new().bytes(1, &kind).bytes(2, &raw).finish();
        [PROTOBUF, &envelope].concat()
    }

    #[test]
    fn values_are_told_by_their_bytes() {
        let value = pod("shop", "web");
        let identity = Stored::of(&value).identity().expect("it says");
        assert_eq!(
            (
                identity.kind.as_str(),
                identity.namespace.as_str(),
                identity.name.as_str()
            ),
            ("Pod", "shop", "web")
        );
        let custom =
            br#"{"apiVersion":"a.io/v1","kind":"Thing","metadata":{"name":"n","uid":"u"}}"#;
        let identity = Stored::of(custom).identity().expect("it says");
        assert_eq!(
            (identity.group(), identity.kind.as_str()),
            ("a.io", "Thing")
        );
        let encrypted = Stored::of(b"k8s:enc:aescbc:v1:key1:\x00\x01:\xff");
        assert_eq!(encrypted, Stored::Encrypted("aescbc:v1:key1".to_owned()));
        let cbor = [
            &[0xd9, 0xd9, 0xf7, 0xa2, 0x44][..],
            b"kind",
            &[0x45],
            b"Thing",
            &[0x48],
            b"metadata",
            &[0xa1, 0x44],
            b"name",
            &[0x41],
            b"n",
        ]
        .concat();
        let identity = Stored::of(&cbor).identity().expect("it says");
        assert_eq!(
            (identity.kind.as_str(), identity.name.as_str()),
            ("Thing", "n")
        );
        for other in [&b"10.0.0.1"[..], b"", b"k8s\0\xff\xff"] {
            assert_eq!(Stored::of(other), Stored::Other, "{other:?}");
        }
    }

    #[test]
    fn a_cut_value_is_no_object_and_no_panic() {
        let value = pod("shop", "web");
        for length in 0..value.len() {
            let stored = Stored::of(&value[..length]);
            let named = stored.identity().map(|one| one.name);
            assert!(named.is_none_or(|name| name.is_empty()), "{length}");
        }
    }
}
