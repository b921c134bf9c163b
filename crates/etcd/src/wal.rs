//! The log of a member: what a restored one begins with, and a reader that checks every record.

mod first;
mod tail;

use crate::checksum::Crc32c;
use crate::membership::{Cluster, Member};
use crate::protobuf::{Malformed, Message, fields};

pub use first::first_snapshot;
pub use tail::{Tail, first_index, tail};

/// Name of the first file.
pub const FIRST_FILE: &str = "0000000000000000-0000000000000000.wal";

/// Length that etcd gives each file before it writes to it, bytes.
pub const FILE_LENGTH: u64 = 64_000_000;

/// The term of everything in a restored log.
pub const TERM: u64 = 1;

/// Kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Ids of member and cluster.
    Metadata = 1,
    /// An entry of Raft's log.
    Entry = 2,
    /// Term, vote and commit index.
    State = 3,
    /// The checksum so far, at the beginning of a file.
    Checksum = 4,
    /// A snapshot was taken.
    Snapshot = 5,
}

impl Kind {
    fn of(number: u64) -> Option<Self> {
        [
            Self::Metadata,
            Self::Entry,
            Self::State,
            Self::Checksum,
            Self::Snapshot,
        ]
        .into_iter()
        .find(|kind| *kind as u64 == number)
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is.
    pub kind: Kind,
    /// A message that depends on the kind.
    pub data: Vec<u8>,
}

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It ends in a record.
    #[error("the log ends inside the record at {0}")]
    Truncated(usize),
    /// A record is no message.
    #[error("the record at {at} of the log is malformed")]
    Malformed {
        /// Where.
        at: usize,
        /// What is wrong with it.
        #[source]
        source: Malformed,
    },
    /// A kind that does not exist.
    #[error("the record at {at} of the log is of the unknown kind {kind}")]
    Kind {
        /// Where.
        at: usize,
        /// The kind.
        kind: u64,
    },
    /// The running checksum is another one.
    #[error(
        "the checksum of the record at {at} of the log is {found:08x} and should be {expected:08x}"
    )]
    Checksum {
        /// Where.
        at: usize,
        /// What it says.
        found: u32,
        /// What it should be.
        expected: u32,
    },
    /// A file of another name.
    #[error("`{0}` is no name of a file of a log")]
    Name(String),
    /// Nothing says whose it is.
    #[error("the log does not say whose it is")]
    NoIdentity,
}

/// The log that member `own` of a cluster begins with; zeros up to [`FILE_LENGTH`] follow it.
#[must_use]
pub fn initial(cluster: &Cluster, own: &Member) -> Vec<u8> {
    let count = cluster.members().len() as u64;
    let voters = cluster.members().iter().map(|member| member.id);
    let mut log = Log::default();
    log.add(Kind::Checksum, None);
    let metadata = Message::new().integer(1, own.id).integer(2, cluster.id());
    log.add(Kind::Metadata, Some(metadata));
    log.add(
        Kind::Snapshot,
        Some(Message::new().integer(1, 0).integer(2, 0)),
    );
    for (index, member) in (1..).zip(cluster.members()) {
        let change = Message::new()
            .integer(1, 0)
            .integer(2, 0)
            .integer(3, member.id)
            .bytes(4, &member.to_json());
        let entry = Message::new()
            .integer(1, 1)
            .integer(2, TERM)
            .integer(3, index)
            .bytes(4, &change.finish());
        log.add(Kind::Entry, Some(entry));
    }
    let vote = cluster.members().first().map_or(0, |member| member.id);
    let state = Message::new()
        .integer(1, TERM)
        .integer(2, vote)
        .integer(3, count);
    log.add(Kind::State, Some(state));
    let configuration = voters
        .fold(Message::new(), |message, id| message.integer(1, id))
        .integer(5, 0);
    let snapshot = Message::new()
        .integer(1, count)
        .integer(2, TERM)
        .bytes(3, &configuration.finish());
    log.add(Kind::Snapshot, Some(snapshot));
    log.bytes
}

/// The log of a member that joins a cluster and knows nothing yet: it says who the member is, and the others tell it the rest.
/// A member that was killed right after it joined has the same. Zeros up to [`FILE_LENGTH`] follow it.
#[must_use]
pub fn joining(cluster: u64, member: u64) -> Vec<u8> {
    let mut log = Log::default();
    log.add(Kind::Checksum, None);
    let metadata = Message::new().integer(1, member).integer(2, cluster);
    log.add(Kind::Metadata, Some(metadata));
    let nothing = Message::new().integer(1, 0).integer(2, 0);
    log.add(Kind::Snapshot, Some(nothing));
    log.bytes
}

struct Log {
    bytes: Vec<u8>,
    crc: Crc32c,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            crc: Crc32c::new(),
        }
    }
}

impl Log {
    fn add(&mut self, kind: Kind, data: Option<Message>) {
        let mut record = Message::new().integer(1, kind as u64);
        match data.map(Message::finish) {
            Some(data) => {
                self.crc.update(&data);
                record = record.integer(2, self.crc.value().into()).bytes(3, &data);
            }
            None => record = record.integer(2, self.crc.value().into()),
        }
        let record = record.finish();
        let padding = record.len().wrapping_neg() % 8;
        let mut length = record.len() as u64;
        if padding > 0 {
            length |= (0x80 | padding as u64) << 56;
        }
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&record);
        self.bytes.resize(self.bytes.len() + padding, 0);
    }
}

/// Reads the records of a log that begins with this file; what etcd reserved behind them is zeros.
///
/// # Errors
/// A record is cut off, malformed, or not what its checksum says.
pub fn read(log: &[u8]) -> Result<Vec<Record>, Error> {
    let mut records = Vec::new();
    let (_, _, end) = scan(log, |_, record| records.push(record));
    end.map(|()| records)
}

/// Goes through the records of a file. Returns how many bytes hold whole records, the checksum behind them, and why it ended.
fn scan(log: &[u8], mut take: impl FnMut(usize, Record)) -> (usize, Crc32c, Result<(), Error>) {
    let mut crc = Crc32c::new();
    let mut at = 0;
    loop {
        let mut behind = crc.clone();
        match next(log, at, &mut behind) {
            Ok(Some((record, end))) => {
                take(at, record);
                (at, crc) = (end, behind);
            }
            Ok(None) => return (at, crc, Ok(())),
            Err(error) => return (at, crc, Err(error)),
        }
    }
}

/// The record at a place, and where it ends.
fn next(log: &[u8], at: usize, crc: &mut Crc32c) -> Result<Option<(Record, usize)>, Error> {
    let Some(field) = log.get(at..at + 8) else {
        return if at == log.len() {
            Ok(None)
        } else {
            Err(Error::Truncated(at))
        };
    };
    let field = field
        .iter()
        .rev()
        .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    if field == 0 {
        return Ok(None);
    }
    let length = field & ((1 << 56) - 1);
    let padding = if field >> 63 == 1 { field >> 56 & 7 } else { 0 };
    let end = (at as u64 + 8)
        .checked_add(length + padding)
        .filter(|end| *end <= log.len() as u64)
        .ok_or(Error::Truncated(at))?;
    // Both are at most the length of the slice.
    let record = &log[at + 8..at + 8 + length as usize];
    Ok(Some((record_of(record, at, crc)?, end as usize)))
}

fn record_of(bytes: &[u8], at: usize, crc: &mut Crc32c) -> Result<Record, Error> {
    let malformed = |source| Error::Malformed { at, source };
    let (mut kind, mut sum, mut data) = (0, 0, &[][..]);
    for field in fields(bytes) {
        let field = field.map_err(malformed)?;
        match field.number {
            1 => kind = field.integer().map_err(malformed)?,
            2 => sum = field.integer().map_err(malformed)?,
            3 => data = field.bytes().map_err(malformed)?,
            _ => {}
        }
    }
    let kind = Kind::of(kind).ok_or(Error::Kind { at, kind })?;
    crc.update(data);
    let (found, expected) = (sum as u32, crc.value());
    if kind == Kind::Checksum && expected == 0 {
        // A file behind others begins with the checksum of those.
        *crc = Crc32c::from(found);
    } else if found != expected {
        return Err(Error::Checksum {
            at,
            found,
            expected,
        });
    }
    Ok(Record {
        kind,
        data: data.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log() -> Vec<u8> {
        let cluster = Cluster::new("a=http://h:1,b=http://h:2,c=http://h:3", "t").expect("valid");
        let mut log = initial(&cluster, &cluster.members()[1]);
        log.resize(log.len() + 512, 0);
        log
    }

    #[test]
    fn a_restored_log_holds_ids_members_state_and_snapshot_in_order() {
        let records = read(&log()).expect("our own");
        let kinds: Vec<Kind> = records.iter().map(|record| record.kind).collect();
        use Kind::{Checksum, Entry, Metadata, Snapshot, State};
        assert_eq!(
            kinds,
            [
                Checksum, Metadata, Snapshot, Entry, Entry, Entry, State, Snapshot
            ]
        );
        assert_eq!(records[2].data, [8, 0, 16, 0]);
        assert_eq!(log().len() % 8, 0);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_told_or_changes_nothing_that_counts() {
        let log = log();
        let records = read(&log).expect("our own");
        let used = log.len() - 512;
        for bit in 0..used * 8 {
            let mut damaged = log.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(read) = read(&damaged) {
                // Kinds and what fills a record up are not covered by checksums, and a length of nothing ends the log.
                let data = |record: &Record| record.data.clone();
                let expected: Vec<_> = records.iter().map(data).take(read.len()).collect();
                let read: Vec<_> = read.iter().map(data).collect();
                assert_eq!(read, expected, "bit {bit}");
            }
        }
        for length in 0..used {
            let read = read(&log[..length]);
            assert!(read.is_err() || records.starts_with(&read.expect("a whole record")));
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_read_without_a_panic(bytes in any::<Vec<u8>>()) {
            let _ = read(&bytes);
        }
    }
}
