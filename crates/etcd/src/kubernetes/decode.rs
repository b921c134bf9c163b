//! A value as the JSON that an API server gives.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::cbor;
use super::stored::Stored;
use super::table::{Row, Shape, Shown, Table, table};
use crate::protobuf::{Field, Malformed, Value as Wire, fields};

/// Messages within messages; those of the API are far below.
const DEPTH: u32 = 64;

/// An object.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// `apiVersion`, `kind`, `metadata`, ...
    pub object: Map<String, Value>,
    /// Fields on the wire that the table does not know: those of a newer release, or of one whose fields are gone.
    pub unknown_fields: u64,
}

/// Why a value cannot be shown as an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// An API server encrypted it, and no configuration was given.
    #[error(
        "it is encrypted at rest ({0}), and no encryption configuration was given (--encryption-config)"
    )]
    Encrypted(String),
    /// The configuration has another key, or none of that provider.
    #[error("it is encrypted at rest ({0}), and the encryption configuration has no such key")]
    NoKey(String),
    /// The configuration's key of that name does not open it.
    #[error(
        "it is encrypted at rest ({0}), and does not open with the key of that name: it is damaged, or was encrypted \
         with another key"
    )]
    WrongKey(String),
    /// The key is with a KMS.
    #[error(
        "it is encrypted at rest by a KMS ({0}), whose keys are in no file: an API server with its plugin, on restored \
         data, can read it"
    )]
    Kms(String),
    /// A kind or version that the table does not have.
    #[error(
        "messages of {api_version} {kind} are not known (the table is that of Kubernetes {release})"
    )]
    UnknownKind {
        /// `apps/v1`.
        api_version: String,
        /// `Deployment`.
        kind: String,
        /// Release of the table.
        release: String,
    },
    /// It is not what its first bytes say.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// Kubernetes does not write such values.
    #[error("it is no object of Kubernetes")]
    Other,
}

impl From<Malformed> for Unreadable {
    fn from(malformed: Malformed) -> Self {
        Self::Damaged(malformed.to_string())
    }
}

/// Reads a value. `revision` is that of its last change, which is the object's `resourceVersion`.
///
/// # Errors
/// [`Unreadable`].
pub fn object(value: &[u8], revision: i64) -> Result<Decoded, Unreadable> {
    let mut decoded = match Stored::of(value) {
        Stored::Message {
            api_version,
            kind,
            raw,
        } => of_message(&api_version, &kind, raw)?,
        Stored::Json(bytes) => {
            let object = serde_json::from_slice(bytes).map_err(|error| {
                Unreadable::Damaged(format!("its JSON cannot be read: {error}"))
            })?;
            Decoded {
                object,
                unknown_fields: 0,
            }
        }
        Stored::Cbor(bytes) => match cbor::read(bytes) {
            Ok(Value::Object(object)) => Decoded {
                object,
                unknown_fields: 0,
            },
            Ok(_) => return Err(Unreadable::Other),
            Err(error) => return Err(Unreadable::Damaged(error.to_string())),
        },
        Stored::Encrypted(by) => return Err(Unreadable::Encrypted(by)),
        Stored::Other => return Err(Unreadable::Other),
    };
    let metadata = decoded.object.get_mut("metadata");
    if let Some(metadata) = metadata.and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), json!(revision.to_string()));
    }
    Ok(decoded)
}

fn of_message(api_version: &str, kind: &str, raw: &[u8]) -> Result<Decoded, Unreadable> {
    let table = table();
    let message = table.of_object(api_version, kind);
    let message = message.ok_or_else(|| Unreadable::UnknownKind {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        release: table.release().to_owned(),
    })?;
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), json!(api_version));
    object.insert("kind".to_owned(), json!(kind));
    let mut reader = Reader {
        table,
        unknown_fields: 0,
    };
    reader.message(message, raw, DEPTH, &mut object)?;
    Ok(Decoded {
        object,
        unknown_fields: reader.unknown_fields,
    })
}

struct Reader<'t> {
    table: &'t Table,
    unknown_fields: u64,
}

impl Reader<'_> {
    /// Puts the fields of a message into an object.
    fn message(
        &mut self,
        name: &str,
        bytes: &[u8],
        depth: u32,
        into: &mut Map<String, Value>,
    ) -> Result<(), Unreadable> {
        let depth = depth
            .checked_sub(1)
            .ok_or_else(|| Unreadable::Damaged("its messages are nested too deeply".to_owned()))?;
        let rows = self.table.rows(name);
        let mut found: Vec<Field<'_>> = Vec::new();
        for field in fields(bytes) {
            found.push(field?);
        }
        // What Go writes although it is zero is nothing that is lost.
        let is_nothing =
            |field: &Field<'_>| matches!(field.value, Wire::Varint(0) | Wire::Bytes([]));
        let unknown = found.iter().filter(|field| {
            !is_nothing(field) && !rows.iter().any(|row| row.number == field.number)
        });
        self.unknown_fields += unknown.count() as u64;
        for row in rows {
            let mut of_row = found
                .iter()
                .filter(|field| field.number == row.number)
                .peekable();
            let present = of_row.peek().is_some();
            if let Shape::Inlined(inner) = &row.shape {
                let bytes = match of_row.next_back() {
                    Some(field) => field.bytes()?,
                    None if row.shown == Shown::Present => continue,
                    None => &[],
                };
                self.message(inner, bytes, depth, into)?;
                continue;
            }
            if !present && row.shown != Shown::Always {
                continue;
            }
            let all: Vec<Field<'_>> = of_row.copied().collect();
            let value = self.value(&row.shape, &all, depth)?;
            if row.shown == Shown::Set && is_zero(row, &value, &all) {
                continue;
            }
            into.insert(row.name.clone(), value);
        }
        Ok(())
    }

    /// The value of a field that is there as often as `all` has it.
    fn value(&mut self, shape: &Shape, all: &[Field<'_>], depth: u32) -> Result<Value, Unreadable> {
        match shape {
            Shape::List(of) => {
                // Go has no list where none is on the wire.
                if all.is_empty() {
                    return Ok(Value::Null);
                }
                let items = all.iter().map(|field| self.value(of, &[*field], depth));
                Ok(Value::Array(items.collect::<Result<_, _>>()?))
            }
            Shape::Map(of) => {
                if all.is_empty() {
                    return Ok(Value::Null);
                }
                let mut map = Map::new();
                for field in all {
                    let (mut key, mut value) = (String::new(), None);
                    for part in fields(field.bytes()?) {
                        let part = part?;
                        match part.number {
                            1 => key = part.text()?,
                            2 => value = Some(part),
                            _ => {}
                        }
                    }
                    let value: Vec<Field<'_>> = value.into_iter().collect();
                    map.insert(key, self.value(of, &value, depth)?);
                }
                Ok(Value::Object(map))
            }
            // Of a field that is there more than once the last counts.
            shape => self.single(shape, all.last(), depth),
        }
    }

    fn single(
        &mut self,
        shape: &Shape,
        field: Option<&Field<'_>>,
        depth: u32,
    ) -> Result<Value, Unreadable> {
        let bytes = || field.map_or(Ok(&[][..]), Field::bytes);
        Ok(match shape {
            Shape::Text => json!(field.map_or(Ok(String::new()), Field::text)?),
            Shape::Bool => json!(field.map_or(Ok(0), Field::integer)? != 0),
            Shape::Integer => json!(field.map_or(Ok(0), Field::signed)?),
            Shape::Bytes => match field {
                Some(field) => json!(BASE64.encode(field.bytes()?)),
                None => Value::Null,
            },
            Shape::Time => time(bytes()?, "%Y-%m-%dT%H:%M:%SZ")?,
            Shape::MicroTime => time(bytes()?, "%Y-%m-%dT%H:%M:%S.%6fZ")?,
            Shape::Quantity => match text_of(bytes()?, 1)? {
                empty if empty.is_empty() => json!("0"),
                text => json!(text),
            },
            Shape::IntOrString => int_or_string(bytes()?)?,
            Shape::RawJson => raw_json(bytes()?)?,
            Shape::Message(name) | Shape::Inlined(name) => {
                let mut object = Map::new();
                self.message(name, bytes()?, depth, &mut object)?;
                Value::Object(object)
            }
            Shape::Wrapped(of) => {
                let inner: Result<Vec<Field<'_>>, Malformed> = fields(bytes()?).collect();
                let inner: Vec<Field<'_>> = inner?
                    .into_iter()
                    .filter(|field| field.number == 1)
                    .collect();
                match self.value(of, &inner, depth)? {
                    // A list of its own that is there and empty.
                    Value::Null => json!([]),
                    value => value,
                }
            }
            // Both are taken apart by `value`.
            Shape::List(_) | Shape::Map(_) => Value::Null,
        })
    }
}

/// What Go leaves out of JSON as empty.
fn is_zero(row: &Row, value: &Value, all: &[Field<'_>]) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        // A struct counts as empty when nothing of it was written.
        Value::Object(_) if matches!(row.shape, Shape::Message(_)) => all
            .iter()
            .all(|field| field.bytes().is_ok_and(<[u8]>::is_empty)),
        Value::Object(map) => map.is_empty(),
    }
}

/// 1 seconds, 2 nanoseconds; nothing stands for no time.
fn time(bytes: &[u8], format: &str) -> Result<Value, Unreadable> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanoseconds) = (0, 0);
    for field in fields(bytes) {
        let field = field?;
        match field.number {
            1 => seconds = field.signed()?,
            2 => nanoseconds = field.signed()?,
            _ => {}
        }
    }
    let out_of_range = || Unreadable::Damaged(format!("{seconds} seconds are no time"));
    let nanoseconds = i32::try_from(nanoseconds).map_err(|_| out_of_range())?;
    let time = Timestamp::new(seconds, nanoseconds).map_err(|_| out_of_range())?;
    Ok(json!(time.strftime(format).to_string()))
}

/// 1 whether it is text, 2 the integer, 3 the text.
fn int_or_string(bytes: &[u8]) -> Result<Value, Unreadable> {
    let (mut is_text, mut integer, mut text) = (false, 0, String::new());
    for field in fields(bytes) {
        let field = field?;
        match field.number {
            1 => is_text = field.integer()? == 1,
            2 => integer = field.signed()?,
            3 => text = field.text()?,
            _ => {}
        }
    }
    Ok(if is_text { json!(text) } else { json!(integer) })
}

/// 1 JSON as it is.
fn raw_json(bytes: &[u8]) -> Result<Value, Unreadable> {
    let mut raw = &[][..];
    for field in fields(bytes) {
        let field = field?;
        if field.number == 1 {
            raw = field.bytes()?;
        }
    }
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    // What is none is shown as bytes.
    Ok(serde_json::from_slice(raw).unwrap_or_else(|_| json!(BASE64.encode(raw))))
}

fn text_of(bytes: &[u8], number: u32) -> Result<String, Unreadable> {
    let mut text = String::new();
    for field in fields(bytes) {
        let field = field?;
        if field.number == number {
            text = field.text()?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::Message;
    use proptest::prelude::*;

    fn stored(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let of = Message::new()
            .bytes(1, api_version.as_bytes())
            .bytes(2, kind.as_bytes());
        let envelope = Message::new().bytes(1, &of.finish()).bytes(2, raw).finish();
        [b"k8s\0", &envelope[..]].concat()
    }

    fn config_map() -> Vec<u8> {
        let entry =
            |key: &[u8], value: &[u8]| Message::new().bytes(1, key).bytes(2, value).finish();
        let created = Message::new().integer(1, 1_700_000_000).finish();
        let metadata = Message::new()
            .bytes(1, b"settings")
            .bytes(3, b"shop")
            .bytes(8, &created)
            .bytes(11, &entry(b"app", b"web"))
            .integer(99, 1);
        let raw = Message::new()
            .bytes(1, &metadata.finish())
            .bytes(2, &entry(b"a", b"1"))
            .bytes(2, &entry(b"b", b""))
            .bytes(3, &entry(b"bin", &[0, 255]));
        stored("v1", "ConfigMap", &raw.finish())
    }

    #[test]
    fn an_object_is_what_the_api_server_gives() {
        let decoded = object(&config_map(), 42).expect("it is one");
        let expected = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "settings", "namespace": "shop", "creationTimestamp": "2023-11-14T22:13:20Z",
                         "labels": {"app": "web"}, "resourceVersion": "42"},
            "data": {"a": "1", "b": ""}, "binaryData": {"bin": "AP8="},
        });
        assert_eq!(Value::Object(decoded.object), expected);
        assert_eq!(decoded.unknown_fields, 1);
    }

    #[test]
    fn what_must_be_shown_is_shown_as_zero() {
        let port = Message::new().integer(3, 80).finish();
        let spec = Message::new().bytes(1, &port).finish();
        let service = stored("v1", "Service", &Message::new().bytes(2, &spec).finish());
        let decoded = object(&service, 1).expect("it is one").object;
        assert_eq!(
            decoded["spec"]["ports"],
            json!([{"port": 80, "targetPort": 0}])
        );
        assert_eq!(decoded["status"], json!({"loadBalancer": {}}));
    }

    #[test]
    fn what_cannot_be_shown_says_why() {
        for (value, part) in [
            (b"k8s:enc:kms:v2:key:xx".to_vec(), "kms:v2:key"),
            (stored("no.such/v1", "Thing", b""), "no.such/v1 Thing"),
            (b"{\"kind\":".to_vec(), "damaged"),
            (stored("v1", "Pod", &[0x0a, 0x7f]), "damaged"),
            (b"10.0.0.1".to_vec(), "no object"),
        ] {
            let said = object(&value, 1).expect_err("no object").to_string();
            assert!(said.contains(part), "{said}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            at in 0_usize..200,
            with in any::<u8>(),
            cut in 0_usize..200,
        ) {
            let mut value = config_map();
            let at = at % value.len();
            value[at] = with;
            value.truncate(value.len() - cut % value.len());
            let _ = object(&value, 1);
        }
    }
}
