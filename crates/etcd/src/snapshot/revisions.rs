//! Looking at the entries of the bucket `key`, one after the other.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use crate::mvcc::{KeyValue, Revision};

/// What has been seen of the bucket.
#[derive(Default)]
pub(crate) struct Revisions {
    /// The last entry.
    pub(crate) last: Revision,
    /// Entries without a value: a revision that was raised.
    pub(crate) raised: u64,
    /// Whether a value or key is one of Kubernetes.
    pub(crate) kubernetes: bool,
    secret: RandomState,
    /// Keys of the transaction at hand.
    keys: HashSet<u64>,
}

impl Revisions {
    /// Takes the next entry; what is wrong with it. The order of keys is the tree's own.
    pub(crate) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let (revision, deletion) = Revision::from_key(key)
            .ok_or_else(|| format!("a key of {} bytes is no revision", key.len()))?;
        let bad = |what: String| Err(format!("revision {revision}: {what}"));
        if revision.main != self.last.main {
            self.keys.clear();
        }
        let repeated = self.last == revision && self.last != Revision::default();
        self.last = revision;
        if repeated {
            return bad("it is there as a value and as a deletion".to_owned());
        }
        if value.is_empty() && !deletion {
            self.raised += 1;
            return Ok(());
        }
        let entry = match KeyValue::decode(value) {
            Ok(entry) => entry,
            Err(malformed) => return bad(format!("its value cannot be read: {malformed}")),
        };
        if entry.key.is_empty() {
            return bad("it has no key".to_owned());
        }
        self.kubernetes |=
            entry.value.starts_with(b"k8s\0") || entry.key.starts_with(b"/registry/");
        if !self.keys.insert(self.secret.hash_one(entry.key)) {
            return bad("its transaction changes the same key twice".to_owned());
        }
        if deletion {
            let bare = KeyValue {
                key: entry.key,
                ..KeyValue::default()
            };
            return if entry == bare {
                Ok(())
            } else {
                bad("it is a deletion with more than a key".to_owned())
            };
        }
        check_version(revision, &entry).map_or(Ok(()), |what| bad(what.to_owned()))
    }
}

/// What does not fit in the numbers of a version.
fn check_version(revision: Revision, entry: &KeyValue<'_>) -> Option<&'static str> {
    if u64::try_from(entry.mod_revision) != Ok(revision.main) {
        return Some("its value is of another revision");
    }
    if entry.create_revision < 1 || entry.create_revision > entry.mod_revision {
        return Some("it is older than its key");
    }
    if entry.version < 1 {
        return Some("its version is below 1");
    }
    // The first version is the one that creates the key, and no other is.
    if (entry.version == 1) != (entry.create_revision == entry.mod_revision) {
        return Some("its version does not fit to when its key was created");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::Message;

    fn value(key: &[u8], create: u64, modified: u64, version: u64) -> Vec<u8> {
        Message::new()
            .bytes(1, key)
            .integer(2, create)
            .integer(3, modified)
            .integer(4, version)
            .bytes(5, b"v")
            .finish()
    }

    #[test]
    fn a_history_is_taken_and_what_does_not_fit_is_told() {
        let key = |main, sub| Revision { main, sub }.to_key().to_vec();
        let tombstone = |main| [&key(main, 0)[..], b"t"].concat();
        let only_key = Message::new().bytes(1, b"a").finish();
        let good = [
            (key(2, 0), value(b"a", 2, 2, 1)),
            (key(2, 1), value(b"b", 2, 2, 1)),
            (key(3, 0), value(b"a", 2, 3, 2)),
            (tombstone(4), only_key.clone()),
            (key(9, 0), Vec::new()),
        ];
        let mut revisions = Revisions::default();
        for (key, value) in &good {
            assert_eq!(revisions.take(key, value), Ok(()));
        }
        assert_eq!((revisions.last.main, revisions.raised), (9, 1));
        assert!(!revisions.kubernetes);
        for (key, value, part) in [
            (b"short".to_vec(), Vec::new(), "no revision"),
            (key(10, 0), vec![0x0a], "cannot be read"),
            (key(10, 0), Message::new().bytes(5, b"v").finish(), "no key"),
            (key(10, 0), value(b"a", 9, 9, 1), "another revision"),
            (key(10, 0), value(b"a", 11, 10, 1), "older"),
            (key(10, 0), value(b"a", 10, 10, 0), "below 1"),
            (key(10, 0), value(b"a", 10, 10, 2), "does not fit"),
            (key(10, 0), value(b"a", 9, 10, 1), "does not fit"),
            (tombstone(10), value(b"a", 9, 10, 2), "more than a key"),
        ] {
            let error = Revisions::default().take(&key, &value).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_key_changes_once_in_a_transaction() {
        let mut revisions = Revisions::default();
        let entry = value(b"a", 2, 2, 1);
        let key = |sub| Revision { main: 2, sub }.to_key();
        assert_eq!(revisions.take(&key(0), &entry), Ok(()));
        let error = revisions.take(&key(1), &entry).expect_err("twice");
        assert!(error.contains("same key twice"), "{error}");
    }
}
