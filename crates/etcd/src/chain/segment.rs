//! The content of a segment: changes, marks and leases in frames, as they are collected; [`read`] is the way back.

use jiff::Timestamp;
use salvor_location::Digest;
use serde::{Deserialize, Serialize};

use crate::mvcc::{KeyValue, Revision};
use crate::protobuf::Message;

pub use super::joined::Joined;
pub use super::reading::{Item, read};

/// Bytes of content that are opened at most.
pub const LARGEST_CONTENT: usize = 256 << 20;

pub(super) const MAGIC: &[u8; 8] = b"SALVSEG1";
pub(super) const VERSION: u64 = 1;
/// Bytes before a payload.
pub(super) const PREFIX: usize = 5;
pub(super) const HEADER: u8 = 1;
pub(super) const CHANGE: u8 = 2;
pub(super) const MARK: u8 = 3;
pub(super) const LEASE: u8 = 4;
pub(super) const END: u8 = 5;

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Format version.
    pub version: u64,
    /// Id of the cluster, 16 hexadecimal digits.
    pub cluster: String,
    /// The chain it was written in.
    pub chain: String,
    /// Fencing number of its writer.
    pub writer: u64,
    /// The first revision in it.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// Digest of the segment before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    /// When its first change came, by the clock of who captured it.
    pub began: Timestamp,
    /// When it was closed.
    pub ended: Timestamp,
}

/// Where a segment belongs.
#[derive(Clone, Copy, Debug)]
pub struct Belongs<'a> {
    /// Id of the cluster.
    pub cluster: u64,
    /// The chain.
    pub chain: &'a str,
    /// Fencing number of the writer.
    pub writer: u64,
    /// Digest of the segment before it.
    pub previous: Option<Digest>,
}

/// At `millis` everything up to `revision` had happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The revision.
    pub revision: u64,
    /// Milliseconds since 1970.
    pub millis: i64,
    /// Up to which revision the source was compacted then; 0: it never was.
    pub compacted: u64,
}

/// What is wrong with the content of a segment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// It is something else, or cut off.
    #[error("it is no segment: {0}")]
    Form(&'static str),
    /// Its header cannot be understood.
    #[error("its header cannot be read")]
    Header(#[source] serde_json::Error),
    /// It was written by a newer release.
    #[error("it has format {0}, this release knows up to {VERSION}; use a newer salvor")]
    Newer(u64),
    /// A change is not the one that must come.
    #[error("change {found} stands where {expected} must: a change is missing or moved")]
    Order {
        /// What must come.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A change cannot be what etcd stores.
    #[error("change {revision}: {why}")]
    Change {
        /// Which.
        revision: Revision,
        /// What is wrong.
        why: &'static str,
    },
}

/// A segment that is being filled.
#[derive(Debug)]
pub struct Builder {
    frames: Vec<u8>,
    /// The first revision that belongs into it.
    first: u64,
    /// The next change that may come, and the one that would begin the next revision.
    at: Option<Revision>,
    changes: u64,
    began: Option<Timestamp>,
}

impl Builder {
    /// An empty one that begins with a revision.
    #[must_use]
    pub fn new(first: u64) -> Self {
        Self {
            frames: Vec::new(),
            first,
            at: None,
            changes: 0,
            began: None,
        }
    }

    /// True when nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes == 0
    }

    /// The first revision that belongs into it.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Bytes so far.
    #[must_use]
    pub fn length(&self) -> usize {
        self.frames.len()
    }

    /// Changes so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The last revision in it; one less than the first when nothing changed.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.at.map_or(self.first - 1, |at| at.main)
    }

    /// When its first change came.
    #[must_use]
    pub fn began(&self) -> Option<Timestamp> {
        self.began
    }

    /// Takes a change, the `mvccpb.KeyValue` of an event. Gives the lease that it names.
    ///
    /// # Errors
    /// It is not the one that must come next, or no change.
    pub fn push(
        &mut self,
        deletion: bool,
        message: &[u8],
        now: Timestamp,
    ) -> Result<i64, Malformed> {
        let change = KeyValue::decode(message).map_err(|_| Malformed::Form("an event"))?;
        let main = u64::try_from(change.mod_revision).unwrap_or(0);
        let revision = match self.at {
            Some(at) if at.main == main => Revision {
                main,
                sub: at.sub + 1,
            },
            _ if main == self.last() + 1 => Revision { main, sub: 0 },
            _ => {
                return Err(Malformed::Order {
                    expected: format!("{}.0", self.last() + 1),
                    found: format!("{main}.0"),
                });
            }
        };
        let key = revision.to_key();
        if deletion {
            let stored = Message::new().bytes(1, change.key).finish();
            self.change(&[&key[..], b"t"].concat(), &stored);
        } else {
            self.change(&key, message);
        }
        self.at = Some(revision);
        self.changes += 1;
        self.began.get_or_insert(now);
        Ok(change.lease)
    }

    fn change(&mut self, key: &[u8], value: &[u8]) {
        // 17 or 18.
        let length = [key.len() as u8];
        frame(&mut self.frames, CHANGE, &[&length, key, value]);
    }

    /// Notes that everything up to the last revision had happened at a time.
    pub fn mark(&mut self, time: Timestamp, compacted: u64) {
        let revision = self.last().to_be_bytes();
        let millis = time.as_millisecond().to_be_bytes();
        let parts: [&[u8]; 3] = [&revision, &millis, &compacted.to_be_bytes()];
        frame(&mut self.frames, MARK, &parts);
    }

    /// Notes a lease.
    pub fn lease(&mut self, id: i64, ttl: i64) {
        let parts: [&[u8]; 2] = [&id.to_be_bytes(), &ttl.to_be_bytes()];
        frame(&mut self.frames, LEASE, &parts);
    }

    /// The content.
    ///
    /// # Errors
    /// The header cannot be written as JSON.
    pub fn finish(
        &self,
        belongs: &Belongs<'_>,
        now: Timestamp,
    ) -> Result<Vec<u8>, serde_json::Error> {
        let header = Header {
            version: VERSION,
            cluster: format!("{:016x}", belongs.cluster),
            chain: belongs.chain.to_owned(),
            writer: belongs.writer,
            first: self.first,
            last: self.last(),
            previous: belongs.previous,
            began: self.began.unwrap_or(now),
            ended: now,
        };
        let header = serde_json::to_vec(&header)?;
        let mut content = Vec::with_capacity(self.frames.len() + header.len() + 64);
        content.extend_from_slice(MAGIC);
        frame(&mut content, HEADER, &[&header]);
        content.extend_from_slice(&self.frames);
        frame(&mut content, END, &[&self.changes.to_be_bytes()]);
        Ok(content)
    }
}

pub(super) fn frame(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(kind);
    // etcd has no requests of 4 GiB.
    out.extend_from_slice(&(length as u32).to_le_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BELONGS: Belongs<'_> = Belongs {
        cluster: 7,
        chain: "000001-x",
        writer: 3,
        previous: None,
    };

    fn event(key: &[u8], main: u64, lease: u64) -> Vec<u8> {
        let message = Message::new()
            .bytes(1, key)
            .integer(2, main)
            .integer(3, main);
        let message = message.integer(4, 1).bytes(5, b"value");
        message.integer(6, lease).finish()
    }

    fn content() -> Vec<u8> {
        let now = Timestamp::UNIX_EPOCH;
        let mut builder = Builder::new(5);
        assert_eq!(
            builder
                .push(false, &event(b"a", 5, 9), now)
                .expect("a change"),
            9
        );
        builder
            .push(false, &event(b"b", 5, 0), now)
            .expect("a change");
        builder.mark(now, 2);
        builder
            .push(true, &event(b"a", 6, 0), now)
            .expect("a change");
        builder.lease(9, 60);
        builder.mark(now, 2);
        assert_eq!((builder.last(), builder.changes()), (6, 3));
        builder.finish(&BELONGS, now).expect("JSON")
    }

    #[test]
    fn what_is_written_is_read() {
        let content = content();
        let mut items = Vec::new();
        let header = read(&content, |item| items.push(item)).expect("read");
        assert_eq!((header.first, header.last, header.writer), (5, 6, 3));
        assert_eq!(items.len(), 6);
        let Item::Change {
            revision,
            deletion,
            value,
            ..
        } = items[3]
        else {
            panic!("{:?}", items[3]);
        };
        assert_eq!((revision, deletion), (Revision { main: 6, sub: 0 }, true));
        assert_eq!(value, Message::new().bytes(1, b"a").finish());
        assert_eq!(items[4], Item::Lease(9, 60));
        let empty = Builder::new(7)
            .finish(&BELONGS, Timestamp::UNIX_EPOCH)
            .expect("JSON");
        let header = read(&empty, |_| ()).expect("read");
        assert_eq!((header.first, header.last), (7, 6));
    }

    #[test]
    fn a_hole_is_told_when_it_is_captured() {
        let now = Timestamp::UNIX_EPOCH;
        let mut builder = Builder::new(5);
        for bad in [4, 6] {
            let error = builder
                .push(false, &event(b"a", bad, 0), now)
                .expect_err("a hole");
            assert!(matches!(error, Malformed::Order { .. }), "{error}");
        }
        builder
            .push(false, &event(b"a", 5, 0), now)
            .expect("a change");
        assert!(builder.push(false, &event(b"a", 7, 0), now).is_err());
    }

    #[test]
    fn every_cut_is_an_error() {
        let content = content();
        for length in 0..content.len() {
            assert!(read(&content[..length], |_| ()).is_err(), "{length}");
        }
        let longer = [&content[..], &[0]].concat();
        assert!(read(&longer, |_| ()).is_err());
    }

    proptest! {
        #[test]
        fn a_changed_byte_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut content = content();
            let at = at.index(content.len());
            content[at] = byte;
            let _ = read(&content, |_| ());
        }
    }
}
