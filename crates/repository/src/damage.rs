//! Which snapshots are known to be damaged: written down by checks, so that `latest` means one that restores.
//!
//! Each document names snapshots; known are those of all documents together. A new one is written before old ones go,
//! so that a crash forgets nothing, and of two checks at once neither hides what the other found.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::Kind;
use crate::id::FileId;
use crate::repository::Repository;

/// What a check writes down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Damage {
    version: u32,
    time: Timestamp,
    snapshots: BTreeSet<FileId>,
}

/// Version of [`Damage`].
const VERSION: u32 = 1;

/// Snapshots that are known to be damaged; some may be gone since.
///
/// # Errors
/// Damage, a newer version, or the store fails.
pub fn known(repository: &Repository) -> Result<BTreeSet<FileId>> {
    let documents = documents(repository)?;
    Ok(documents
        .into_iter()
        .flat_map(|(_, document)| document.snapshots)
        .collect())
}

/// Writes down what a check found. With `all`, when it has looked at everything there is, snapshots that it found whole
/// are known to be damaged no more.
///
/// # Errors
/// Damage, a newer version, or the store fails.
pub fn note(repository: &Repository, damaged: &[FileId], all: bool) -> Result<()> {
    let documents = documents(repository)?;
    let known: BTreeSet<FileId> = documents
        .iter()
        .flat_map(|(_, document)| document.snapshots.iter().copied())
        .collect();
    let mut now: BTreeSet<FileId> = damaged.iter().copied().collect();
    if !all {
        now.extend(&known);
    }
    if now == known {
        return Ok(());
    }
    if !now.is_empty() {
        let document = Damage {
            version: VERSION,
            time: Timestamp::now(),
            snapshots: now,
        };
        repository.write_document(Kind::Damage, &document)?;
    }
    for (id, _) in documents {
        repository.files().remove(Kind::Damage, &id)?;
    }
    Ok(())
}

fn documents(repository: &Repository) -> Result<Vec<(FileId, Damage)>> {
    let mut documents = Vec::new();
    for file in repository.files().list(Kind::Damage)? {
        let document: Damage = match repository.read_document(Kind::Damage, &file.id) {
            Ok(document) => document,
            // Another check has just replaced it.
            Err(Error::Store { source, .. }) if source.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        if document.version != VERSION {
            return Err(Error::Invalid(format!(
                "{} has version {} and this program knows {VERSION}: use a newer one",
                Kind::Damage.path(&file.id),
                document.version
            )));
        }
        documents.push((file.id, document));
    }
    Ok(documents)
}
