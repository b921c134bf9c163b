//! Damaged packs, index files and snapshots from a copy of the repository in another place.
//!
//! A copy has the same files under the same names, and a name says what the bytes must be: what is brought is read whole
//! and compared before it takes the place of what is damaged. Nothing else is changed, so that it may be done again.

use crate::error::{Error, Result};
use crate::files::{Files, Kind};
use crate::id::FileId;
use crate::lock::Lock;
use crate::progress::Progress;
use crate::repository::Repository;

/// What was brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// Packs that are whole again.
    pub packs: Vec<FileId>,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that the copy has not, or not whole either, with the reason.
    pub missing: Vec<(FileId, String)>,
}

/// Files of a kind whose bytes are not those that their names say.
fn damaged(repository: &Repository, kind: Kind) -> Result<Vec<FileId>> {
    // What a cache has says nothing of what the store has.
    let repository = &repository.uncached();
    let mut damaged = Vec::new();
    for file in repository.files().list(kind)? {
        match repository.files().read(kind, &file.id) {
            Ok(_) => {}
            Err(error) if error.is_damage() => damaged.push(file.id),
            Err(error) => return Err(error),
        }
    }
    Ok(damaged)
}

/// Brings index files that cannot be read. Those that the copy has not are left to [`crate::repair`]; returned is how
/// many were brought.
///
/// # Errors
/// `from` is no copy of the repository, the lock was lost, or a store fails.
pub fn indexes(repository: &Repository, lock: &Lock, from: &Files) -> Result<usize> {
    assert_copy(repository, from)?;
    let mut brought = 0;
    for id in damaged(repository, Kind::Index)? {
        lock.check()?;
        if let Ok(bytes) = whole(from, Kind::Index, &id)? {
            repository.files().replace(Kind::Index, bytes)?;
            brought += 1;
        }
    }
    Ok(brought)
}

/// Brings snapshots that cannot be read, also those that were set aside. Snapshots that are not there are not missed: they
/// may have been forgotten. Returned are those that were brought.
///
/// # Errors
/// `from` is no copy of the repository, the lock was lost, or a store fails.
pub fn snapshots(repository: &Repository, lock: &Lock, from: &Files) -> Result<Vec<FileId>> {
    assert_copy(repository, from)?;
    let files = repository.files();
    let aside: Vec<FileId> = files
        .list(Kind::SetAside)?
        .into_iter()
        .map(|file| file.id)
        .collect();
    let mut wanted = damaged(repository, Kind::Snapshot)?;
    wanted.extend(&aside);
    wanted.sort_unstable();
    wanted.dedup();
    let mut brought = Vec::new();
    for id in wanted {
        lock.check()?;
        if let Ok(bytes) = whole(from, Kind::Snapshot, &id)? {
            files.replace(Kind::Snapshot, bytes)?;
            if aside.contains(&id) {
                files.remove(Kind::SetAside, &id)?;
            }
            brought.push(id);
        }
    }
    Ok(brought)
}

/// Snapshots of the copy that are not here: forgotten, or lost.
///
/// # Errors
/// A store fails.
pub fn absent(repository: &Repository, from: &Files) -> Result<Vec<FileId>> {
    let here = repository.files().list(Kind::Snapshot)?;
    let there = from.list(Kind::Snapshot)?.into_iter();
    let is_absent = |id: &FileId| here.iter().all(|file| file.id != *id);
    Ok(there.map(|file| file.id).filter(is_absent).collect())
}

/// Brings packs from a copy. `lock` must be exclusive.
///
/// # Errors
/// `from` is no copy of the repository, the lock was lost, or a store fails. What was brought before stays.
pub fn packs(
    repository: &Repository,
    lock: &Lock,
    from: &Files,
    packs: &[FileId],
    progress: &Progress,
) -> Result<Mended> {
    if !lock.is_exclusive() {
        return Err(Error::Invalid(
            "a repair needs the repository for itself".to_owned(),
        ));
    }
    assert_copy(repository, from)?;
    let mut mended = Mended::default();
    for id in packs {
        progress.check()?;
        lock.check()?;
        match whole(from, Kind::Pack, id)? {
            Ok(bytes) => {
                let size = bytes.len() as u64;
                repository.files().replace(Kind::Pack, bytes)?;
                mended.packs.push(*id);
                mended.bytes += size;
                progress.bytes_done(size);
            }
            Err(why) => mended.missing.push((*id, why)),
        }
    }
    Ok(mended)
}

/// A file of the copy, or why it is of no use.
fn whole(from: &Files, kind: Kind, id: &FileId) -> Result<Result<bytes::Bytes, String>> {
    match from.read(kind, id) {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(Error::Store { source, .. }) if source.is_not_found() => {
            Ok(Err("the copy has not got it".to_owned()))
        }
        Err(error) if error.is_damage() => Ok(Err("the copy's is damaged, too".to_owned())),
        Err(error) => Err(error),
    }
}

/// A copy has the same `config` to the byte. Another repository's packs would be of no use, sealed with another key.
fn assert_copy(repository: &Repository, from: &Files) -> Result<()> {
    if from.place() == repository.files().place() {
        return Err(Error::Invalid(format!(
            "{} is the damaged repository itself: name a copy of it",
            from.place()
        )));
    }
    match (repository.files().config()?, from.config()?) {
        (Some(ours), Some(theirs)) if ours == theirs => Ok(()),
        (_, None) => Err(Error::NoRepository {
            place: from.place(),
        }),
        _ => Err(Error::Invalid(format!(
            "{} is another repository and no copy of {}",
            from.place(),
            repository.files().place()
        ))),
    }
}
