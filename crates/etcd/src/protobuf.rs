//! The wire form of protocol buffers, as far as etcd's few messages need it.
//!
//! Messages are read field by field out of a slice and written field by field into a `Vec`: there is no schema
//! compiler in the build, and unknown fields are passed over as the format wants it.

/// What is wrong with bytes that should be a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes end inside a field.
    #[error("it ends inside a field")]
    Truncated,
    /// A variable-length integer of more than 64 bits.
    #[error("an integer is longer than 64 bits")]
    LongInteger,
    /// Field number 0, or one above 2^29 - 1.
    #[error("field number {0} is not allowed")]
    FieldNumber(u64),
    /// A wire type that is not used any more or never was.
    #[error("wire type {0} is not known")]
    WireType(u8),
    /// A field has another type than its message says.
    #[error("field {0} has another type than it should")]
    FieldType(u32),
}

/// The value of a field as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Integers, enumerations, booleans.
    Varint(u64),
    /// Eight bytes, little-endian.
    Fixed64(u64),
    /// Strings, bytes, messages, packed lists.
    Bytes(&'a [u8]),
    /// Four bytes, little-endian.
    Fixed32(u32),
}

/// A field: number and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its number in the schema.
    pub number: u32,
    /// Its value.
    pub value: Value<'a>,
}

impl<'a> Field<'a> {
    /// The value as an integer.
    ///
    /// # Errors
    /// It is none.
    pub fn integer(&self) -> Result<u64, Malformed> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(Malformed::FieldType(self.number)),
        }
    }

    /// The value as a signed integer (`int64`: two's complement).
    ///
    /// # Errors
    /// It is no integer.
    pub fn signed(&self) -> Result<i64, Malformed> {
        self.integer().map(|value| value as i64)
    }

    /// The value as bytes.
    ///
    /// # Errors
    /// It is an integer.
    pub fn bytes(&self) -> Result<&'a [u8], Malformed> {
        match self.value {
            Value::Bytes(value) => Ok(value),
            _ => Err(Malformed::FieldType(self.number)),
        }
    }

    /// The value as text; bytes that are no UTF-8 are replaced.
    ///
    /// # Errors
    /// It is an integer.
    pub fn text(&self) -> Result<String, Malformed> {
        self.bytes()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }
}

/// The fields of a message, in the order in which they stand.
///
/// After an error it ends.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// The fields of a message.
#[must_use]
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Malformed::Truncated)?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return Err(Malformed::LongInteger);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::LongInteger)
    }

    fn field(&mut self) -> Result<Field<'a>, Malformed> {
        let tag = self.varint()?;
        let number = tag >> 3;
        let number = u32::try_from(number)
            .ok()
            .filter(|number| (1..1 << 29).contains(number))
            .ok_or(Malformed::FieldNumber(number))?;
        let value = match (tag & 7) as u8 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(array(self.take(8)?))),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed::Truncated)?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(array(self.take(4)?))),
            other => return Err(Malformed::WireType(other)),
        };
        Ok(Field { number, value })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Exactly N bytes as an array; callers have taken N.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

/// A message that is being written. Zeros are written when they are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With an integer field.
    #[must_use]
    pub fn integer(mut self, number: u32, value: u64) -> Self {
        self.varint(u64::from(number) << 3);
        self.varint(value);
        self
    }

    /// With a field of bytes, text or a message.
    #[must_use]
    pub fn bytes(mut self, number: u32, value: &[u8]) -> Self {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// The bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_is_no_message() {
        for (bytes, expected) in [
            (&[0x08][..], Malformed::Truncated),
            (&[0x0a, 5, 1], Malformed::Truncated),
            (&[0x09, 1], Malformed::Truncated),
            (&[0x00, 1], Malformed::FieldNumber(0)),
            (&[0x0b], Malformed::WireType(3)),
            (
                &[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2],
                Malformed::LongInteger,
            ),
            (
                &[0x0a, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
                Malformed::Truncated,
            ),
        ] {
            let read: Result<Vec<_>, _> = fields(bytes).collect();
            assert_eq!(read, Err(expected), "{bytes:?}");
        }
    }

    #[test]
    fn a_field_of_another_type_is_an_error() {
        let message = Message::new().integer(1, 7).finish();
        let field = fields(&message).next().expect("one").expect("well formed");
        assert_eq!(field.integer(), Ok(7));
        assert_eq!(field.bytes(), Err(Malformed::FieldType(1)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(list in prop::collection::vec((1_u32..1 << 29, any::<u64>(), any::<Vec<u8>>()), 0..8)) {
            let message = list.iter().fold(Message::new(), |message, (number, integer, bytes)| {
                message.integer(*number, *integer).bytes(*number, bytes)
            });
            let message = message.finish();
            let read: Vec<_> = fields(&message).collect::<Result<_, _>>().expect("well formed");
            let expected: Vec<_> = list
                .iter()
                .flat_map(|(number, integer, bytes)| {
                    [Value::Varint(*integer), Value::Bytes(bytes)].map(|value| Field { number: *number, value })
                })
                .collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn hostile_bytes_end_and_do_not_panic(bytes in any::<Vec<u8>>()) {
            prop_assert!(fields(&bytes).count() <= bytes.len());
        }
    }
}
