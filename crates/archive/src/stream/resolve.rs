//! From all entries that were seen to one row for each object and version.

use std::collections::HashSet;

use crate::error::Result;
use crate::findings::{FindingKind, Findings};
use crate::index::{IndexBuilder, KeyIds, MemberPlace, Row};
use crate::segment::BodyDigest;

/// Which of an item's paths an entry had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// The unversioned path.
    Unversioned,
    /// A `-preferredversion` directory.
    Preferred,
    /// Both, one after the other with equal bytes.
    Pair,
    /// The directory of another version.
    Other,
}

/// An item's entry. They are collected in the order of the archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) ids: KeyIds,
    pub(super) slot: Slot,
    /// Of the directory, or for the unversioned path of the body's `apiVersion`.
    pub(super) version: Option<u32>,
    pub(super) member: u32,
    pub(super) body_offset: u32,
    pub(super) body_len: u32,
    pub(super) digest: BodyDigest,
}

/// Adds to `index` what an extraction of the archive would leave, where later entries replace earlier ones
/// of the same path, and where the unversioned path is the preferred version's.
pub(super) fn resolve(
    index: &mut IndexBuilder,
    mut seen: Vec<Seen>,
    findings: &mut Findings,
) -> Result<()> {
    if index.member_count() == 0 {
        // Without a spill, rows have no place; this stands for the whole archive.
        index.add_member(MemberPlace {
            offset: 0,
            compressed_len: 0,
            tar_len: 0,
        })?;
    }
    let place = |s: &Seen| (s.ids.resource, s.ids.namespace);
    // Stable: entries of one object stay in the order of the archive.
    seen.sort_by(|a, b| {
        let name = |s: &Seen| s.ids.name_in(index.names());
        (place(a), name(a)).cmp(&(place(b), name(b)))
    });
    let mut rows = Vec::new();
    let mut start = 0;
    while let Some(first) = seen.get(start) {
        let names = index.names();
        let name = first.ids.name_in(names);
        let same = |s: &&Seen| place(s) == place(first) && s.ids.name_in(names) == name;
        let len = seen[start..].iter().take_while(same).count();
        rows.clear();
        let mut notes = Vec::new();
        object(&seen[start..start + len], &mut rows, &mut notes);
        for note in notes {
            let kind = match note {
                Note::Duplicate => FindingKind::Duplicate,
                Note::CopyDiffers => FindingKind::CopyDiffers,
                Note::NoVersion => FindingKind::NoVersion,
                Note::SeveralPreferred(version) => {
                    FindingKind::SeveralPreferred(findings.if_kept(|| index.version_text(version)))
                }
            };
            let path = findings.if_kept(|| index.key_text(&first.ids));
            findings.add(path, kind);
        }
        for row in &rows {
            index.add_row(*row)?;
        }
        start += len;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    Duplicate,
    CopyDiffers,
    NoVersion,
    SeveralPreferred(u32),
}

/// The rows of one object from its entries.
fn object(entries: &[Seen], rows: &mut Vec<Row>, notes: &mut Vec<Note>) {
    let unversioned = |s: &&Seen| matches!(s.slot, Slot::Unversioned | Slot::Pair);
    let preferred = |s: &&Seen| matches!(s.slot, Slot::Preferred | Slot::Pair);
    let last_unversioned = entries.iter().rfind(unversioned);
    let last_preferred = entries.iter().rfind(preferred);
    let preferred_version = last_preferred.or(last_unversioned).and_then(|s| s.version);
    let mut duplicate = entries.iter().filter(unversioned).count() > 1;
    if let Some(source) = last_unversioned.or(last_preferred) {
        match preferred_version {
            Some(version) => rows.push(row(source, version, true)),
            None => notes.push(Note::NoVersion),
        }
    }
    if let (Some(copy), Some(original)) = (last_preferred, last_unversioned)
        && copy.digest != original.digest
    {
        notes.push(Note::CopyDiffers);
    }
    // Entries in directories, the last of each version first.
    let mut several = false;
    let mut versions = HashSet::new();
    for entry in entries.iter().rev() {
        if entry.slot == Slot::Unversioned {
            continue;
        }
        let Some(version) = entry.version else {
            continue;
        };
        if !versions.insert(version) {
            duplicate = true;
        } else if Some(version) != preferred_version {
            several |= entry.slot != Slot::Other;
            rows.push(row(entry, version, false));
        } else if entry.slot == Slot::Other {
            duplicate = true;
        }
    }
    if duplicate {
        notes.push(Note::Duplicate);
    }
    if let (true, Some(version)) = (several, preferred_version) {
        notes.push(Note::SeveralPreferred(version));
    }
}

fn row(seen: &Seen, version: u32, preferred: bool) -> Row {
    let Seen {
        ids,
        slot: _,
        version: _,
        member,
        body_offset,
        body_len,
        digest,
    } = *seen;
    Row {
        ids,
        version,
        member,
        body_offset,
        body_len,
        digest,
        preferred,
    }
}
