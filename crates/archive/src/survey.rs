//! Which objects of a damaged archive can still be read, and an archive of just those.
//!
//! An archive of ours is many members, each with a checksum, and every object has a digest: one flipped bit
//! costs objects of one member, which is at most 1 MiB, and it is known which: those whose digest is not that of
//! what can still be decompressed. An archive of Velero's is one stream, readable up to the damage
//! ([`Archive::from_readable`]); nothing in it says whether what came shortly before is what was written.

use std::collections::HashSet;

use bytes::Bytes;
use salvor_api::resource::ObjectKey;

use crate::archive::{Archive, body};
use crate::error::{ArchiveError, Result};
use crate::index::Entry;

/// The system's number for "input/output error": a part of a disk that cannot be read.
const EIO: i32 = 5;

/// An entry that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LostEntry {
    /// The object.
    pub key: ObjectKey,
    /// The API version that it was stored in.
    pub version: String,
    /// Another version of the same object that can be read.
    pub other_version: Option<String>,
}

/// A member that cannot be read, or not as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedMember {
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Its length in the file, in bytes.
    pub len: u64,
    /// What is wrong with it.
    pub reason: String,
    /// What is lost with it.
    pub lost: Vec<LostEntry>,
}

impl Archive {
    /// Reads every object once and says what is damaged; empty for a sound archive. Memory is that of one
    /// member and of the names that are lost.
    ///
    /// # Errors
    /// The bytes cannot be had at all, which says nothing about them. A disk that fails to read one place
    /// is damage.
    pub fn survey(&self) -> Result<Vec<DamagedMember>> {
        let mut damaged: Vec<DamagedMember> = Vec::new();
        let mut current: Option<(u64, Bytes)> = None;
        for entry in self.index().in_archive_order() {
            let place = entry.member();
            let mut add = |reason: String| {
                if damaged
                    .last()
                    .is_none_or(|last| last.offset != place.offset)
                {
                    damaged.push(DamagedMember {
                        offset: place.offset,
                        len: place.compressed_len,
                        reason,
                        lost: Vec::new(),
                    });
                }
            };
            let tar = match current {
                Some((at, ref tar)) if at == place.offset => tar,
                _ => {
                    let tar = match readable(self.sound_member(place))? {
                        Ok(tar) => tar,
                        Err(reason) => {
                            add(reason);
                            self.salvaged_member(place)
                        }
                    };
                    &current.insert((place.offset, tar)).1
                }
            };
            if body(&entry, tar).is_ok() {
                continue;
            }
            add("its bytes do not match the index".to_owned());
            if let Some(member) = damaged.last_mut() {
                member.lost.push(LostEntry {
                    key: entry.key(),
                    version: entry.version().to_owned(),
                    other_version: None,
                });
            }
        }
        Ok(damaged)
    }

    /// The archive without what a survey found damaged. Of an object that can be read in another version
    /// that one counts, which is noted in `damaged`.
    #[must_use]
    pub fn without(&self, damaged: &mut [DamagedMember]) -> Self {
        let lost: HashSet<(ObjectKey, String)> = damaged
            .iter()
            .flat_map(|member| &member.lost)
            .map(|lost| (lost.key.clone(), lost.version.clone()))
            .collect();
        let is_lost = |entry: &Entry<'_>| lost.contains(&(entry.key(), entry.version().to_owned()));
        let index = self.index().without(is_lost);
        for lost in damaged.iter_mut().flat_map(|member| &mut member.lost) {
            let other = index.get(&lost.key, None);
            lost.other_version = other.map(|entry| entry.version().to_owned());
        }
        self.salvaging(index)
    }
}

/// The member, or why it is damaged.
fn readable(read: Result<Bytes>) -> Result<std::result::Result<Bytes, String>> {
    match read {
        Ok(tar) => Ok(Ok(tar)),
        Err(ArchiveError::Member { reason, .. }) => Ok(Err(reason)),
        Err(ArchiveError::Read { source, .. }) if source.raw_os_error() == Some(EIO) => {
            Ok(Err(source.to_string()))
        }
        Err(other) => Err(other),
    }
}
