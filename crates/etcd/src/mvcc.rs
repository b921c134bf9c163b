//! Entries of the bucket `key`: every version of every key, by revision.

use std::fmt;

use crate::protobuf::{Malformed, fields};

/// Length of a revision as a key.
pub const REVISION_LENGTH: usize = 17;

/// When a change was made: a transaction, and a change in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// Number of the transaction; the store's revision after it.
    pub main: u64,
    /// Position of the change in its transaction, from 0.
    pub sub: u64,
}

impl Revision {
    /// Revision of a store in which nothing was changed yet.
    pub const FIRST: u64 = 1;

    /// A revision as a key.
    #[must_use]
    pub fn to_key(self) -> [u8; REVISION_LENGTH] {
        let mut key = [b'_'; REVISION_LENGTH];
        key[..8].copy_from_slice(&self.main.to_be_bytes());
        key[9..].copy_from_slice(&self.sub.to_be_bytes());
        key
    }

    /// Reads a key: the revision, and whether it stands for a deletion. `None` when it is no such key.
    #[must_use]
    pub fn from_key(key: &[u8]) -> Option<(Self, bool)> {
        let deletion = match key.get(REVISION_LENGTH..)? {
            [] => false,
            [b't'] => true,
            _ => return None,
        };
        if key[8] != b'_' {
            return None;
        }
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let revision = Self {
            main: number(&key[..8]),
            sub: number(&key[9..REVISION_LENGTH]),
        };
        // etcd counts in signed integers.
        let positive = revision.main <= i64::MAX as u64 && revision.sub <= i64::MAX as u64;
        positive.then_some((revision, deletion))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.main, self.sub)
    }
}

/// One version of a key (`mvccpb.KeyValue`). Of a deletion only the key is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyValue<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Revision at which the key came into being.
    pub create_revision: i64,
    /// Revision of this change.
    pub mod_revision: i64,
    /// Changes since it came into being, from 1.
    pub version: i64,
    /// The value.
    pub value: &'a [u8],
    /// Id of the lease it hangs on; 0: none.
    pub lease: i64,
}

impl<'a> KeyValue<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut read = Self::default();
        for field in fields(message) {
            let field = field?;
            match field.number {
                1 => read.key = field.bytes()?,
                2 => read.create_revision = field.signed()?,
                3 => read.mod_revision = field.signed()?,
                4 => read.version = field.signed()?,
                5 => read.value = field.bytes()?,
                6 => read.lease = field.signed()?,
                _ => {}
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::Message;
    use proptest::prelude::*;

    #[test]
    fn keys_that_are_no_revisions_are_told() {
        let good = Revision { main: 7, sub: 1 }.to_key();
        assert_eq!(
            Revision::from_key(&good),
            Some((Revision { main: 7, sub: 1 }, false))
        );
        let mut deletion = good.to_vec();
        deletion.push(b't');
        assert_eq!(
            Revision::from_key(&deletion),
            Some((Revision { main: 7, sub: 1 }, true))
        );
        let mut colon = good;
        colon[8] = b':';
        let mut negative = good;
        negative[0] = 0x80;
        for bad in [
            &good[..16],
            &colon,
            &negative,
            &[&deletion[..], b"t"].concat(),
            b"",
        ] {
            assert_eq!(Revision::from_key(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn keys_sort_as_revisions_do(a in any::<(u32, u32)>(), b in any::<(u32, u32)>()) {
            let revision = |(main, sub): (u32, u32)| Revision { main: main.into(), sub: sub.into() };
            let (a, b) = (revision(a), revision(b));
            prop_assert_eq!(a.to_key().cmp(&b.to_key()), a.cmp(&b));
            prop_assert_eq!(Revision::from_key(&a.to_key()), Some((a, false)));
        }
    }

    #[test]
    fn reads_all_six_fields_and_passes_over_others() {
        let message = Message::new()
            .bytes(1, b"k")
            .integer(2, 3)
            .integer(3, 9)
            .integer(4, 2)
            .bytes(5, b"v")
            .integer(6, 77)
            .integer(9, 1)
            .finish();
        let expected = KeyValue {
            key: b"k",
            create_revision: 3,
            mod_revision: 9,
            version: 2,
            value: b"v",
            lease: 77,
        };
        assert_eq!(KeyValue::decode(&message), Ok(expected));
        assert_eq!(
            KeyValue::decode(&Message::new().integer(1, 1).finish()),
            Err(Malformed::FieldType(1))
        );
    }
}
