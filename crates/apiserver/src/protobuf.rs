//! Protobuf bodies of the few kinds that kubectl writes with its typed client (`kubectl create
//! namespace` and the like). Answers are JSON, which those clients accept.
//!
//! A body is `k8s\0` and a `runtime.Unknown`: type, then the object's own message. Field numbers are those
//! of the published `generated.proto` files.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::status::Failure;

/// Content type of such bodies.
pub(crate) const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";
pub(crate) const MAGIC: &[u8] = b"k8s\0";

/// How a field is shown in JSON.
enum Shape {
    Text,
    Bytes,
    Flag,
    TextMap,
    BytesMap,
    TextList,
    Object(&'static [Field]),
}

type Field = (u64, &'static str, Shape);

const META: &[Field] = &[
    (1, "name", Shape::Text),
    (2, "generateName", Shape::Text),
    (3, "namespace", Shape::Text),
    (5, "uid", Shape::Text),
    (6, "resourceVersion", Shape::Text),
    (11, "labels", Shape::TextMap),
    (12, "annotations", Shape::TextMap),
    (14, "finalizers", Shape::TextList),
];
const NAMESPACE: &[Field] = &[(1, "metadata", Shape::Object(META))];
const SERVICE_ACCOUNT: &[Field] = &[
    (1, "metadata", Shape::Object(META)),
    (4, "automountServiceAccountToken", Shape::Flag),
];
const CONFIG_MAP: &[Field] = &[
    (1, "metadata", Shape::Object(META)),
    (2, "data", Shape::TextMap),
    (3, "binaryData", Shape::BytesMap),
    (4, "immutable", Shape::Flag),
];
const SECRET: &[Field] = &[
    (1, "metadata", Shape::Object(META)),
    (2, "data", Shape::BytesMap),
    (3, "type", Shape::Text),
    (4, "stringData", Shape::TextMap),
    (5, "immutable", Shape::Flag),
];
const RESOURCE_ATTRIBUTES: &[Field] = &[
    (1, "namespace", Shape::Text),
    (2, "verb", Shape::Text),
    (3, "group", Shape::Text),
    (4, "version", Shape::Text),
    (5, "resource", Shape::Text),
    (6, "subresource", Shape::Text),
    (7, "name", Shape::Text),
];
const PATH_ATTRIBUTES: &[Field] = &[(1, "path", Shape::Text), (2, "verb", Shape::Text)];
const ACCESS_SPEC: &[Field] = &[
    (1, "resourceAttributes", Shape::Object(RESOURCE_ATTRIBUTES)),
    (2, "nonResourceAttributes", Shape::Object(PATH_ATTRIBUTES)),
];
const ACCESS_REVIEW: &[Field] = &[
    (1, "metadata", Shape::Object(META)),
    (2, "spec", Shape::Object(ACCESS_SPEC)),
];
const RULES_SPEC: &[Field] = &[(1, "namespace", Shape::Text)];
const RULES_REVIEW: &[Field] = &[
    (1, "metadata", Shape::Object(META)),
    (2, "spec", Shape::Object(RULES_SPEC)),
];
const TYPE: &[Field] = &[(1, "apiVersion", Shape::Text), (2, "kind", Shape::Text)];

/// Reads a body.
pub(crate) fn read(body: &[u8]) -> Result<Map<String, Value>, Failure> {
    let bad = || Failure::bad_request("the body is not a Kubernetes protobuf message");
    let envelope = body.strip_prefix(MAGIC).ok_or_else(bad)?;
    let (mut head, mut raw) = (Map::new(), &[][..]);
    for (number, value) in fields(envelope).ok_or_else(bad)? {
        match (number, value) {
            (1, Wire::Bytes(bytes)) => head = object(bytes, TYPE).ok_or_else(bad)?,
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let text = |key: &str| head.get(key).and_then(Value::as_str).unwrap_or_default();
    let message = match (text("apiVersion"), text("kind")) {
        ("v1", "Namespace") => NAMESPACE,
        ("v1", "ServiceAccount") => SERVICE_ACCOUNT,
        ("v1", "ConfigMap") => CONFIG_MAP,
        ("v1", "Secret") => SECRET,
        ("authorization.k8s.io/v1", "SelfSubjectAccessReview") => ACCESS_REVIEW,
        ("authorization.k8s.io/v1", "SelfSubjectRulesReview") => RULES_REVIEW,
        (version, kind) => {
            return Err(Failure::unsupported_media_type(format!(
                "this server reads no protobuf bodies of {version} {kind}; send application/json"
            )));
        }
    };
    let mut read = object(raw, message).ok_or_else(bad)?;
    read.extend(head);
    Ok(read)
}

enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message; `None` when it is damaged.
fn fields(mut rest: &[u8]) -> Option<Vec<(u64, Wire<'_>)>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let value = match tag & 7 {
            0 => Wire::Number(varint(&mut rest)?),
            1 => Wire::Bytes(take(&mut rest, 8)?),
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                Wire::Bytes(take(&mut rest, length)?)
            }
            5 => Wire::Bytes(take(&mut rest, 4)?),
            _ => return None,
        };
        found.push((tag >> 3, value));
    }
    Some(found)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn text(bytes: &[u8]) -> Option<Value> {
    Some(std::str::from_utf8(bytes).ok()?.into())
}

fn object(bytes: &[u8], known: &[Field]) -> Option<Map<String, Value>> {
    let mut object = Map::new();
    for (number, value) in fields(bytes)? {
        let Some((_, name, shape)) = known.iter().find(|(one, ..)| *one == number) else {
            continue;
        };
        let value = match (shape, value) {
            (Shape::Flag, Wire::Number(number)) => (number != 0).into(),
            (Shape::Text, Wire::Bytes([])) => continue,
            (Shape::Text, Wire::Bytes(bytes)) => text(bytes)?,
            (Shape::Bytes, Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
            (Shape::Object(fields), Wire::Bytes(bytes)) => {
                Value::Object(self::object(bytes, fields)?)
            }
            (Shape::TextMap, Wire::Bytes(bytes)) => {
                add_member(&mut object, name, bytes, &Shape::Text)?;
                continue;
            }
            (Shape::BytesMap, Wire::Bytes(bytes)) => {
                add_member(&mut object, name, bytes, &Shape::Bytes)?;
                continue;
            }
            (Shape::TextList, Wire::Bytes(bytes)) => {
                let list = object
                    .entry(*name)
                    .or_insert_with(|| Value::Array(Vec::new()));
                list.as_array_mut()?.push(text(bytes)?);
                continue;
            }
            _ => return None,
        };
        object.insert((*name).to_owned(), value);
    }
    Some(object)
}

fn add_member(
    object: &mut Map<String, Value>,
    name: &str,
    entry: &[u8],
    shape: &Shape,
) -> Option<()> {
    let (mut key, mut value) = (String::new(), &[][..]);
    for (number, part) in fields(entry)? {
        match (number, part) {
            (1, Wire::Bytes(bytes)) => key = std::str::from_utf8(bytes).ok()?.to_owned(),
            (2, Wire::Bytes(bytes)) => value = bytes,
            _ => return None,
        }
    }
    let value = match shape {
        Shape::Bytes => STANDARD.encode(value).into(),
        _ => text(value)?,
    };
    let map = object
        .entry(name)
        .or_insert_with(|| Value::Object(Map::new()));
    map.as_object_mut()?.insert(key, value);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(parts: &[(u8, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, bytes) in parts {
            out.push(number << 3 | 2);
            out.push(u8::try_from(bytes.len()).expect("short parts"));
            out.extend_from_slice(bytes);
        }
        out
    }

    fn body(kind: &str, object: &[u8]) -> Vec<u8> {
        let head = message(&[(1, b"v1"), (2, kind.as_bytes())]);
        [MAGIC, &message(&[(1, &head), (2, object)])].concat()
    }

    #[test]
    fn a_secret_is_read() {
        let label = message(&[(1, b"app"), (2, b"web")]);
        let meta = message(&[(1, b"s"), (11, &label), (14, b"hold")]);
        let data = message(&[(1, b"k"), (2, &[0xff])]);
        let mut secret = message(&[(1, &meta), (2, &data), (3, b"Opaque")]);
        secret.extend_from_slice(&[5 << 3, 1]);
        let read = read(&body("Secret", &secret)).expect("a whole message");
        assert_eq!(
            Value::Object(read),
            serde_json::json!({
                "metadata": {"name": "s", "labels": {"app": "web"}, "finalizers": ["hold"]},
                "data": {"k": "/w=="}, "type": "Opaque", "immutable": true,
                "apiVersion": "v1", "kind": "Secret",
            })
        );
    }

    #[test]
    fn damage_and_other_kinds_are_refused() {
        let whole = body("Namespace", &message(&[(1, &message(&[(1, b"n")]))]));
        for cut in 0..whole.len() {
            if let Ok(read) = read(&whole[..cut]) {
                assert!(read.get("metadata").is_none(), "{cut}");
            }
        }
        assert_eq!(
            read(&body("Pod", b"")).map_err(|failure| failure.code()),
            Err(415)
        );
        assert_eq!(read(b"{}").map_err(|failure| failure.code()), Err(400));
    }
}
