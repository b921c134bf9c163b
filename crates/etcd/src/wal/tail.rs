//! The end of a log, and a member made the only one of its cluster.

use super::{Error, Kind, Log, Record, scan};
use crate::checksum::Crc32c;
use crate::protobuf::{Malformed, Message, fields};

/// etcd writes a file in sectors of so many bytes: one that was not written when the machine stopped is zeros.
const SECTOR: usize = 512;
/// A change of members, among the types of entries; and the removal, among changes.
const CONFIGURATION: u64 = 1;
const REMOVAL: u64 = 1;

/// How far the log of a member goes, by its last file.
#[derive(Clone)]
pub struct Tail {
    /// Id of the cluster.
    pub cluster: u64,
    /// Id of the member.
    pub member: u64,
    /// Term of the member.
    pub term: u64,
    /// Last entry of which it knew that a majority has it.
    pub commit: u64,
    /// Term and index of the last entry that it has. Of two members the one whose pair is greater knows more.
    pub last: (u64, u64),
    vote: u64,
    /// Bytes of the file that hold records.
    used: usize,
    crc: Crc32c,
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail")
            .field("cluster", &self.cluster)
            .field("member", &self.member)
            .field("term", &self.term)
            .field("commit", &self.commit)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

/// Reads the last file of a log, given its name: each begins with all that is needed to read it alone. A record at its end that was
/// written in part when the machine stopped is left out, as etcd leaves it out.
///
/// # Errors
/// The name is none of a log's files; a record is malformed, or not what its checksum says; the ids are missing.
pub fn tail(name: &str, file: &[u8]) -> Result<Tail, Error> {
    let first = first_index(name).ok_or_else(|| Error::Name(name.to_owned()))?;
    let mut tail = Tail {
        cluster: 0,
        member: 0,
        term: 0,
        commit: 0,
        // The file before it ends there.
        last: (0, first.saturating_sub(1)),
        vote: 0,
        used: 0,
        crc: Crc32c::new(),
    };
    let mut wrong = None;
    let (used, crc, end) = scan(file, |at, record| {
        if let Err(source) = tail.take(&record) {
            wrong.get_or_insert(Error::Malformed { at, source });
        }
    });
    match end {
        Err(error) if !is_torn(file, used) => return Err(error),
        Ok(()) | Err(_) => {}
    }
    if let Some(error) = wrong {
        return Err(error);
    }
    if tail.member == 0 {
        return Err(Error::NoIdentity);
    }
    (tail.used, tail.crc) = (used, crc);
    if tail.last.0 == 0 {
        tail.last.0 = tail.term;
    }
    Ok(tail)
}

/// The index that stands in the name of a file: `SEQUENCE-INDEX.wal`, 16 hexadecimal digits each.
#[must_use]
pub fn first_index(name: &str) -> Option<u64> {
    let (sequence, index) = name.strip_suffix(".wal")?.split_once('-')?;
    let is_number = |text: &str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_number(sequence) || !is_number(index) {
        return None;
    }
    u64::from_str_radix(index, 16).ok()
}

impl Tail {
    fn take(&mut self, record: &Record) -> Result<(), Malformed> {
        let mut numbers = [0; 4];
        for field in fields(&record.data) {
            let field = field?;
            if let (1..=3, Ok(number)) = (field.number, field.integer()) {
                numbers[field.number as usize] = number;
            }
        }
        match record.kind {
            Kind::Metadata => [_, self.member, self.cluster, _] = numbers,
            Kind::State => [_, self.term, self.vote, self.commit] = numbers,
            // An entry takes the place of an older one with its index, and of all behind that.
            Kind::Entry => self.last = (numbers[2], numbers[3]),
            Kind::Checksum | Kind::Snapshot => {}
        }
        Ok(())
    }

    /// The last entry of the log when it has been made that of an only member.
    #[must_use]
    pub fn behind(&self, others: &[u64]) -> u64 {
        self.last.1 + others.len() as u64
    }

    /// The same file, where the others leave the cluster behind the last entry, and all of it counts as committed.
    ///
    /// It is what etcd does with `--force-new-cluster`, but that this keeps entries of which the member did not know yet that a
    /// majority had them: some of them were answered for, and none of them may be lost.
    #[must_use]
    pub fn alone(&self, file: &[u8], others: &[u64]) -> Vec<u8> {
        let mut log = Log {
            bytes: file[..self.used].to_vec(),
            crc: self.crc.clone(),
        };
        for (index, id) in (self.last.1 + 1..).zip(others) {
            let change = Message::new()
                .integer(1, 0)
                .integer(2, REMOVAL)
                .integer(3, *id);
            let entry = Message::new()
                .integer(1, CONFIGURATION)
                .integer(2, self.term)
                .integer(3, index)
                .bytes(4, &change.finish());
            log.add(Kind::Entry, Some(entry));
        }
        let state = Message::new()
            .integer(1, self.term)
            .integer(2, self.vote)
            .integer(3, self.behind(others));
        log.add(Kind::State, Some(state));
        log.bytes
    }
}

/// Whether a sector of the record that could not be read was never written.
fn is_torn(file: &[u8], at: usize) -> bool {
    let rest = &file[at..];
    let Some((length, _)) = rest.split_first_chunk::<8>() else {
        return true;
    };
    let length = u64::from_le_bytes(*length) & ((1 << 56) - 1);
    let end = usize::try_from(length).map_or(file.len(), |length| {
        at.saturating_add(8).saturating_add(length).min(file.len())
    });
    let mut begin = at + 8;
    while begin < end {
        let until = (begin / SECTOR + 1) * SECTOR;
        let until = until.min(end);
        if file[begin..until].iter().all(|byte| *byte == 0) {
            return true;
        }
        begin = until;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::Cluster;
    use crate::wal::{FIRST_FILE, initial, read};
    use proptest::prelude::*;

    fn log() -> (Cluster, Vec<u8>) {
        let cluster = Cluster::new("a=http://h:1,b=http://h:2,c=http://h:3", "t").expect("valid");
        let mut log = initial(&cluster, &cluster.members()[1]);
        log.resize(log.len() + 2048, 0);
        (cluster, log)
    }

    #[test]
    fn a_log_goes_on_behind_its_last_entry_with_a_checksum_that_fits() {
        let (cluster, log) = log();
        let before = tail(FIRST_FILE, &log).expect("our own");
        let own = cluster.members()[1].id;
        assert_eq!(
            (before.cluster, before.member, before.last, before.commit),
            (cluster.id(), own, (1, 3), 3)
        );
        let alone = before.alone(&log, &[7, 8]);
        let after = tail(FIRST_FILE, &alone).expect("whole");
        assert_eq!((after.last, after.commit), ((1, 5), 5));
        let records = read(&alone).expect("whole");
        assert_eq!(records.len(), read(&log).expect("whole").len() + 3);
    }

    #[test]
    fn a_later_file_is_read_alone_by_its_name() {
        let (_, log) = log();
        let first = tail(FIRST_FILE, &log).expect("our own");
        // As etcd begins a new file: with the checksum so far, the ids, and the state.
        let mut next = Log {
            bytes: Vec::new(),
            crc: first.crc.clone(),
        };
        next.add(Kind::Checksum, None);
        let ids = Message::new().integer(1, 5).integer(2, 6);
        next.add(Kind::Metadata, Some(ids));
        let state = Message::new().integer(1, 4).integer(2, 5).integer(3, 9);
        next.add(Kind::State, Some(state));
        let name = "0000000000000001-000000000000000b.wal";
        let read = tail(name, &next.bytes).expect("whole");
        assert_eq!(
            (read.member, read.cluster, read.last, read.commit),
            (5, 6, (4, 10), 9)
        );
        for wrong in ["0.wal", "1.tmp", "0000000000000001-00000000000000zz.wal"] {
            assert!(tail(wrong, &next.bytes).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_record_that_was_written_in_part_is_left_out_and_a_changed_one_is_told() {
        let (_, log) = log();
        let whole = tail(FIRST_FILE, &log).expect("our own");
        let mut large = Log {
            bytes: log[..whole.used].to_vec(),
            crc: whole.crc.clone(),
        };
        let value = Message::new()
            .integer(1, 0)
            .integer(2, 1)
            .integer(3, 4)
            .bytes(4, &[9; 1500]);
        large.add(Kind::Entry, Some(value));
        let mut torn = large.bytes.clone();
        let cut = whole.used.next_multiple_of(SECTOR);
        torn[cut..cut + SECTOR].fill(0);
        assert_eq!(tail(FIRST_FILE, &torn).expect("torn").last, (1, 3));
        assert_eq!(tail(FIRST_FILE, &large.bytes).expect("whole").last, (1, 4));
        let mut changed = large.bytes;
        // Within the value, whatever came before it.
        changed[cut + 200] ^= 1;
        let error = tail(FIRST_FILE, &changed).expect_err("changed");
        assert!(matches!(error, Error::Checksum { .. }), "{error}");
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_read_without_a_panic(bytes in any::<Vec<u8>>()) {
            let _ = tail(FIRST_FILE, &bytes);
        }
    }
}
