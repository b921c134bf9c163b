//! What is known to be damaged: written down by checks and repairs. `latest` means a snapshot that restores, and nobody
//! counts on a piece because it stands in a pack that a check found damaged.
//!
//! Each document names snapshots and packs; known are those of all documents together. A new one is written before old
//! ones go, so that a crash forgets nothing, and of two checks at once neither hides what the other found. A document
//! that cannot be read stops nobody: it is passed over, until a check of everything takes its place.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::check::Checked;
use crate::error::{Error, Result};
use crate::files::Kind;
use crate::id::FileId;
use crate::repository::Repository;

/// What is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Damage {
    version: u32,
    time: Timestamp,
    snapshots: BTreeSet<FileId>,
    /// Since version 2.
    #[serde(default)]
    packs: BTreeSet<FileId>,
}

/// Version of [`Damage`].
const VERSION: u32 = 2;

/// What is known to be damaged; some of it may be gone since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Snapshots that lack something, or that may.
    pub snapshots: BTreeSet<FileId>,
    /// Packs of which something is not what it should be, or that are gone or cut off.
    pub packs: BTreeSet<FileId>,
}

impl Known {
    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.snapshots.is_empty() && self.packs.is_empty()
    }
}

/// Everything that is known to be damaged.
///
/// # Errors
/// A newer version, or the store fails.
pub fn known(repository: &Repository) -> Result<Known> {
    Ok(documents(repository)?.known)
}

/// What was known when a check began and can be found whole by it, because it looks at every pack that is known: nothing
/// where a document names no packs, and why its snapshots lack something is not known.
pub(crate) fn explained(repository: &Repository) -> Result<(Known, Known)> {
    let documents = documents(repository)?;
    let explained = if documents.has_first_version {
        Known::default()
    } else {
        documents.known.clone()
    };
    Ok((documents.known, explained))
}

/// Writes down what a check found. What it knew of when it began, and found whole, is known to be damaged no more; with
/// `all`, when it has looked at everything there is, nothing but what it found is. Of packs that no index names nothing was
/// read, and what is known of them stays known.
///
/// A backup that ran meanwhile may count on what was found damaged only now: snapshots that the check did not see and that
/// are there when its packs are written down are noted as well. Those that come later look themselves ([`doubt`]).
///
/// # Errors
/// A newer version, or the store fails.
pub fn note(repository: &Repository, checked: &Checked, all: bool) -> Result<()> {
    let documents = documents(repository)?;
    let mut now = Known {
        snapshots: checked.damaged_snapshots.iter().copied().collect(),
        packs: checked.damaged_packs.iter().copied().collect(),
    };
    let unread = documents.known.packs.intersection(&checked.unindexed);
    now.packs.extend(unread);
    if !all {
        let Known { snapshots, packs } = &checked.looked_at;
        now.snapshots
            .extend(documents.known.snapshots.difference(snapshots));
        now.packs.extend(documents.known.packs.difference(packs));
    }
    let has_new = !now.packs.is_subset(&documents.known.packs);
    let written = replace(repository, documents, now, all)?;
    if let Some(walked) = checked.walked.as_ref().filter(|_| has_new) {
        let listed = repository.files().list(Kind::Snapshot)?;
        let unseen = listed.into_iter().map(|file| file.id);
        let unseen: BTreeSet<FileId> = unseen.filter(|id| !walked.contains(id)).collect();
        add(repository, written, &unseen, &BTreeSet::new())?;
    }
    Ok(())
}

/// Writes down packs that are damaged.
///
/// # Errors
/// As [`note`].
pub(crate) fn note_packs(repository: &Repository, packs: &BTreeSet<FileId>) -> Result<()> {
    let documents = documents(repository)?;
    add(repository, documents, &BTreeSet::new(), packs)
}

/// For a backup that has just written `snapshot`, and knew of `before` when it began: what was found damaged meanwhile it
/// may have counted on. The snapshot is then noted, until a check finds it whole. Answers whether it was.
///
/// # Errors
/// As [`note`].
pub(crate) fn doubt(repository: &Repository, before: &Known, snapshot: &FileId) -> Result<bool> {
    let documents = documents(repository)?;
    if documents.known.packs.is_subset(&before.packs) {
        return Ok(false);
    }
    add(
        repository,
        documents,
        &BTreeSet::from([*snapshot]),
        &BTreeSet::new(),
    )?;
    Ok(true)
}

fn add(
    repository: &Repository,
    documents: Documents,
    snapshots: &BTreeSet<FileId>,
    packs: &BTreeSet<FileId>,
) -> Result<()> {
    let mut now = documents.known.clone();
    now.snapshots.extend(snapshots);
    now.packs.extend(packs);
    replace(repository, documents, now, false).map(drop)
}

/// Writes one document in the place of those before, with `all` also of those that are kept until everything was looked at.
fn replace(
    repository: &Repository,
    mut documents: Documents,
    now: Known,
    all: bool,
) -> Result<Documents> {
    if now == documents.known && (!all || documents.kept.is_empty()) {
        return Ok(documents);
    }
    let mut written = Vec::new();
    if !now.is_empty() {
        let document = Damage {
            version: VERSION,
            time: Timestamp::now(),
            snapshots: now.snapshots.clone(),
            packs: now.packs.clone(),
        };
        written.push(repository.write_document(Kind::Damage, &document)?);
    }
    let mut old = std::mem::replace(&mut documents.replaceable, written);
    if all {
        old.append(&mut documents.kept);
        documents.has_first_version = false;
    }
    for id in old {
        repository.files().remove(Kind::Damage, &id)?;
    }
    documents.known = now;
    Ok(documents)
}

/// What is written down.
#[derive(Default)]
struct Documents {
    /// All of it together.
    known: Known,
    replaceable: Vec<FileId>,
    /// Those that cannot be read, and those of the first version.
    kept: Vec<FileId>,
    has_first_version: bool,
}

fn documents(repository: &Repository) -> Result<Documents> {
    let mut documents = Documents::default();
    for file in repository.files().list(Kind::Damage)? {
        let document: Damage = match repository.read_document(Kind::Damage, &file.id) {
            Ok(document) => document,
            // Another check has just replaced it.
            Err(Error::Store { source, .. }) if source.is_not_found() => continue,
            Err(error) if error.is_damage() => {
                tracing::warn!(
                    %error,
                    "a note of damage cannot be read: `salvor repo check --depth data` looks anew"
                );
                documents.kept.push(file.id);
                continue;
            }
            Err(error) => return Err(error),
        };
        if document.version > VERSION {
            return Err(Error::Invalid(format!(
                "{} has version {} and this program knows {VERSION}: use a newer one",
                Kind::Damage.path(&file.id),
                document.version
            )));
        }
        documents.known.snapshots.extend(document.snapshots);
        documents.known.packs.extend(document.packs);
        if document.version == VERSION {
            documents.replaceable.push(file.id);
        } else {
            documents.has_first_version = true;
            documents.kept.push(file.id);
        }
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_of_the_first_version_names_no_packs_and_is_read() {
        let id = "ab".repeat(32);
        let text = format!(r#"{{"version":1,"time":"2026-01-02T03:04:05Z","snapshots":["{id}"]}}"#);
        let document: Damage = serde_json::from_str(&text).expect("the first version");
        assert_eq!(document.version, 1);
        assert_eq!(document.snapshots.len(), 1);
        assert_eq!(document.packs, BTreeSet::new());
    }
}
