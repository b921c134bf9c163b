//! CBOR (RFC 8949) as newer API servers store custom resources in it, as JSON.
//!
//! Kubernetes writes text as byte strings, and `[]byte` as a byte string that is tagged to stand for base64; lengths are
//! always given. What it never writes is refused, as its own reader does: numbers beyond 64 bits, indefinite lengths,
//! values that JSON does not have, a name twice in one map.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use serde_json::{Map, Number, Value};

/// First bytes of CBOR that says of itself that it is (tag 55799).
pub(super) const SELF_DESCRIBED: [u8; 3] = [0xd9, 0xd9, 0xf7];
/// Containers in containers, as Kubernetes counts.
const DEPTH: u32 = 64;

/// Why bytes are no such value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("its CBOR ends inside a value")]
    Truncated,
    #[error("something stands behind its CBOR")]
    Trailing,
    #[error("its CBOR is nested too deeply")]
    Depth,
    #[error("a length in its CBOR is not given")]
    Indefinite,
    #[error("its CBOR has a head that has no meaning")]
    Head,
    #[error("a text in its CBOR is no UTF-8")]
    Text,
    #[error("a number in its CBOR cannot be shown")]
    Number,
    #[error("a name in its CBOR is no text, or is there twice")]
    Name,
    #[error("a simple value in its CBOR is none of JSON")]
    Simple,
}

/// Reads a value that says of itself that it is CBOR.
pub(super) fn read(bytes: &[u8]) -> Result<Value, Malformed> {
    let rest = bytes.strip_prefix(&SELF_DESCRIBED).unwrap_or(bytes);
    let mut reader = Reader { rest };
    let value = reader.value(DEPTH)?;
    match reader.rest {
        [] => Ok(value),
        _ => Err(Malformed::Trailing),
    }
}

/// How a byte string is shown.
#[derive(Clone, Copy, PartialEq)]
enum Bytes {
    Text,
    Base64,
    Base64Url,
    Hex,
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed::Truncated)?;
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Major type, the bits beside it, and the argument.
    fn head(&mut self) -> Result<(u8, u8, u64), Malformed> {
        let first = self.take(1)?[0];
        let (major, bits) = (first >> 5, first & 0x1f);
        let argument = match bits {
            0..=23 => bits.into(),
            24..=27 => {
                let bytes = self.take(1 << (bits - 24))?;
                bytes
                    .iter()
                    .fold(0, |number, byte| number << 8 | u64::from(*byte))
            }
            31 => return Err(Malformed::Indefinite),
            _ => return Err(Malformed::Head),
        };
        Ok((major, bits, argument))
    }

    fn value(&mut self, depth: u32) -> Result<Value, Malformed> {
        self.shown(depth, Bytes::Text)
    }

    fn shown(&mut self, depth: u32, bytes: Bytes) -> Result<Value, Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed::Depth)?;
        let (major, bits, argument) = self.head()?;
        match major {
            0 => Ok(Value::from(argument)),
            // -1 - argument.
            1 => {
                let below = i64::try_from(argument).map_err(|_| Malformed::Number)?;
                Ok(Value::from(-1 - below))
            }
            2 => encoded(self.take(argument)?, bytes),
            3 => text(self.take(argument)?).map(Value::String),
            4 => {
                let mut items = Vec::new();
                for _ in 0..argument {
                    items.push(self.shown(depth, bytes)?);
                }
                Ok(Value::Array(items))
            }
            5 => self.map(depth, argument, bytes),
            6 => {
                let bytes = match argument {
                    21 => Bytes::Base64Url,
                    22 => Bytes::Base64,
                    23 => Bytes::Hex,
                    // Numbers of any size.
                    2 | 3 => return Err(Malformed::Number),
                    // What a tag says beside that is not shown by JSON.
                    _ => bytes,
                };
                self.shown(depth, bytes)
            }
            _ => simple(bits, argument),
        }
    }

    fn map(&mut self, depth: u32, length: u64, bytes: Bytes) -> Result<Value, Malformed> {
        let mut map = Map::new();
        for _ in 0..length {
            let (major, _, argument) = self.head()?;
            if !matches!(major, 2 | 3) {
                return Err(Malformed::Name);
            }
            let name = text(self.take(argument)?)?;
            let value = self.shown(depth, bytes)?;
            if map.insert(name, value).is_some() {
                return Err(Malformed::Name);
            }
        }
        Ok(Value::Object(map))
    }
}

fn text(bytes: &[u8]) -> Result<String, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed::Text)?;
    Ok(text.to_owned())
}

fn encoded(bytes: &[u8], shown: Bytes) -> Result<Value, Malformed> {
    Ok(Value::String(match shown {
        Bytes::Text => text(bytes)?,
        Bytes::Base64 => BASE64.encode(bytes),
        Bytes::Base64Url => URL_SAFE_NO_PAD.encode(bytes),
        Bytes::Hex => bytes.iter().map(|byte| format!("{byte:02X}")).collect(),
    }))
}

fn simple(bits: u8, argument: u64) -> Result<Value, Malformed> {
    let number = |number: f64| {
        let number = Number::from_f64(number).ok_or(Malformed::Number)?;
        Ok(Value::Number(number))
    };
    match bits {
        20 => Ok(Value::Bool(false)),
        21 => Ok(Value::Bool(true)),
        22 => Ok(Value::Null),
        25 => number(half(argument as u16)),
        26 => number(f32::from_bits(argument as u32).into()),
        27 => number(f64::from_bits(argument)),
        _ => Err(Malformed::Simple),
    }
}

/// A floating-point number of 16 bits.
fn half(bits: u16) -> f64 {
    let fraction = f64::from(bits & 0x3ff);
    let size = match bits >> 10 & 0x1f {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (1024.0 + fraction) * 2_f64.powi(i32::from(exponent) - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn values_are_those_of_the_standard() {
        // Of RFC 8949, appendix A.
        for (bytes, value) in [
            (&[0x00][..], json!(0)),
            (&[0x18, 0x64], json!(100)),
            (&[0x19, 0x03, 0xe8], json!(1000)),
            (
                &[0x1b, 0, 0, 0, 0xe8, 0xd4, 0xa5, 0x10, 0],
                json!(1_000_000_000_000_u64),
            ),
            (
                &[0x1b, 255, 255, 255, 255, 255, 255, 255, 255],
                json!(u64::MAX),
            ),
            (&[0x20], json!(-1)),
            (&[0x39, 0x03, 0xe7], json!(-1000)),
            (&[0xf9, 0x00, 0x00], json!(0.0)),
            (&[0xf9, 0x3e, 0x00], json!(1.5)),
            (&[0xf9, 0x7b, 0xff], json!(65504.0)),
            (&[0xf9, 0x00, 0x01], json!(5.960_464_477_539_063e-8)),
            (&[0xf9, 0xc4, 0x00], json!(-4.0)),
            (&[0xfa, 0x47, 0xc3, 0x50, 0x00], json!(100_000.0)),
            (
                &[0xfb, 0x3f, 0xf1, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a],
                json!(1.1),
            ),
            (&[0xf4], json!(false)),
            (&[0xf5], json!(true)),
            (&[0xf6], json!(null)),
            (&[0x64, 0x49, 0x45, 0x54, 0x46], json!("IETF")),
            (&[0x62, 0xc3, 0xbc], json!("\u{fc}")),
            (&[0x80], json!([])),
            (&[0x83, 0x01, 0x02, 0x03], json!([1, 2, 3])),
            (&[0xa0], json!({})),
            (
                &[0xa2, 0x61, 0x61, 0x01, 0x61, 0x62, 0x82, 0x02, 0x03],
                json!({"a": 1, "b": [2, 3]}),
            ),
            // As Kubernetes writes them: text as bytes, bytes tagged, its own tag before.
            (
                &[0xd9, 0xd9, 0xf7, 0xa1, 0x41, 0x61, 0x41, 0x62],
                json!({"a": "b"}),
            ),
            (&[0xd6, 0x42, 0x00, 0xff], json!("AP8=")),
            (&[0xd5, 0x42, 0xfb, 0xff], json!("-_8")),
            (&[0xd7, 0x42, 0x0a, 0xff], json!("0AFF")),
            (&[0xc0, 0x41, 0x32], json!("2")),
        ] {
            assert_eq!(read(bytes), Ok(value), "{bytes:02x?}");
        }
    }

    #[test]
    fn what_kubernetes_does_not_write_is_refused() {
        let deep = [&[0x81; 70][..], &[0x01]].concat();
        for (bytes, why) in [
            (&[][..], Malformed::Truncated),
            (&[0x42, 0x61], Malformed::Truncated),
            (
                &[0x9b, 255, 255, 255, 255, 255, 255, 255, 255],
                Malformed::Truncated,
            ),
            (
                &[0x5b, 255, 255, 255, 255, 255, 255, 255, 255],
                Malformed::Truncated,
            ),
            (&[0x01, 0x01], Malformed::Trailing),
            (&deep, Malformed::Depth),
            (&[0x9f, 0xff], Malformed::Indefinite),
            (&[0x1c], Malformed::Head),
            (&[0x41, 0xff], Malformed::Text),
            (&[0x3b, 0x80, 0, 0, 0, 0, 0, 0, 0], Malformed::Number),
            (&[0xf9, 0x7e, 0x00], Malformed::Number),
            (&[0xc2, 0x41, 0x01], Malformed::Number),
            (&[0xa1, 0x01, 0x01], Malformed::Name),
            (&[0xa2, 0x41, 0x61, 0x01, 0x61, 0x61, 0x02], Malformed::Name),
            (&[0xf7], Malformed::Simple),
        ] {
            assert_eq!(read(bytes), Err(why), "{bytes:02x?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&bytes);
        }
    }
}
