//! The key slots of a repository: passwords, each of which opens the one master key.

use bytes::Bytes;
use salvor_seal::Secret;
use salvor_storage::ErrorKind;

use crate::crypto::MasterKey;
use crate::error::{Error, Result};
use crate::files::{Files, Kind};
use crate::format::key_file::{KeyFile, NoKey};
use crate::id::FileId;
use crate::repository::{InitOptions, Repository, to_json};

/// A key slot, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySlot {
    /// The key file.
    pub id: FileId,
    /// Who made it.
    pub username: String,
    /// Where.
    pub hostname: String,
    /// When.
    pub created: String,
    /// Whether it is the one that opened the repository.
    pub is_current: bool,
    /// What is wrong with it, where it cannot be read; the rest is then empty.
    pub damage: Option<String>,
}

impl Repository {
    /// All key slots, also those that cannot be read.
    ///
    /// # Errors
    /// The store fails.
    pub fn keys(&self) -> Result<Vec<KeySlot>> {
        let mut slots = Vec::new();
        for listed in self.files().list(Kind::Key)? {
            let mut slot = KeySlot {
                id: listed.id,
                username: String::new(),
                hostname: String::new(),
                created: String::new(),
                is_current: listed.id == self.key_id,
                damage: None,
            };
            match read_key(self.files(), &listed.id) {
                Ok(file) => {
                    slot.username = file.username;
                    slot.hostname = file.hostname;
                    slot.created = file.created;
                }
                Err(error) if error.is_damage() => slot.damage = Some(error.reason()),
                Err(error) => return Err(error),
            }
            slots.push(slot);
        }
        Ok(slots)
    }

    /// Adds a password.
    ///
    /// # Errors
    /// The store fails.
    pub fn add_key(&self, password: &Secret, options: &InitOptions) -> Result<FileId> {
        write_key(self.files(), self.key(), password, options)
    }

    /// Removes a key slot. What it opened stays as it is: who has copied the master key still has it.
    ///
    /// # Errors
    /// The slot is the one that opened the repository, or the store fails.
    pub fn remove_key(&self, id: &FileId) -> Result<()> {
        if *id == self.key_id {
            return Err(Error::Invalid(format!(
                "key {id} opened the repository just now: open it with another one to remove it"
            )));
        }
        if !self.files().exists(Kind::Key, id)? {
            return Err(Error::Invalid(format!("there is no key {id}")));
        }
        self.files().remove(Kind::Key, id)
    }
}

/// What a rotation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The slot of the new password.
    pub key: FileId,
    /// Slots of the old one that are gone.
    pub removed: Vec<FileId>,
    /// Slots of the old one that the store lets nobody remove (a retention rule): the old password opens the repository for
    /// as long as they are there.
    pub kept: Vec<FileId>,
}

/// Puts a new password in the place of an old one: the new one is added, opens the repository, and only then the slots of
/// the old one go, unless `keep_old` says that they are still needed. Other passwords stay. May be repeated after a crash at
/// any moment: what was added is found again, and what was not removed is removed.
///
/// The master key stays what it is, the format knows no other: who has copied it, or had the old password and a copy of the
/// repository, still reads what was written before and after.
///
/// # Errors
/// Neither password opens the repository, both are the same, damage, or the store fails.
pub fn rotate(
    files: &Files,
    old: &Secret,
    new: &Secret,
    options: &InitOptions,
    keep_old: bool,
) -> Result<Rotated> {
    if old.expose() == new.expose() {
        return Err(Error::Invalid("the new password is the old one".to_owned()));
    }
    let repository = match Repository::open(files.clone(), new) {
        // A damaged slot may hide that no slot is of this password.
        Err(error) if matches!(error, Error::WrongPassword { .. }) || error.is_damage() => {
            Repository::open(files.clone(), old)?.add_key(new, options)?;
            // What counts is that the store has it and that it opens.
            Repository::open(files.clone(), new)?
        }
        other => other?,
    };
    let mut rotated = Rotated {
        key: repository.key_id,
        removed: Vec::new(),
        kept: Vec::new(),
    };
    if keep_old {
        return Ok(rotated);
    }
    for id in slots_of(&repository, old)? {
        match files.remove(Kind::Key, &id) {
            Ok(()) => rotated.removed.push(id),
            Err(Error::Store { source, .. }) if source.kind == ErrorKind::Locked => {
                rotated.kept.push(id);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(rotated)
}

/// Slots that a password opens. One that is damaged is nobody's.
fn slots_of(repository: &Repository, password: &Secret) -> Result<Vec<FileId>> {
    let mut slots = Vec::new();
    for slot in repository.files().list(Kind::Key)? {
        match read_key(repository.files(), &slot.id) {
            Ok(file) if file.open(password).is_ok() => slots.push(slot.id),
            Ok(_) => {}
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(slots)
}

pub(crate) fn write_key(
    files: &Files,
    master: &MasterKey,
    password: &Secret,
    options: &InitOptions,
) -> Result<FileId> {
    let seal = |source| Error::Source {
        what: "seal the key".to_owned(),
        source,
    };
    let who = (options.who.0.as_str(), options.who.1.as_str());
    let file = KeyFile::seal(master, password, options.work, who).map_err(seal)?;
    files.write(Kind::Key, Bytes::from(to_json(&file)))
}

fn read_key(files: &Files, id: &FileId) -> Result<KeyFile> {
    let bytes = files.read(Kind::Key, id)?;
    serde_json::from_slice(&bytes).map_err(|e| {
        files.damaged(
            Kind::Key.path(id),
            format!("it is not what it should be: {e}"),
        )
    })
}

/// The first slot that opens the repository, and what `config` holds. A damaged slot is no reason not to try the others,
/// nor is one whose maker was second: a key that opens with the password and not the `config`.
pub(crate) fn find_key(
    files: &Files,
    password: &Secret,
    config: &[u8],
) -> Result<(FileId, MasterKey, Vec<u8>)> {
    let listed = files.list(Kind::Key)?;
    let mut damage = None;
    for slot in &listed {
        let opened = read_key(files, &slot.id).map(|file| file.open(password));
        match opened {
            Ok(Ok(master)) => match master.open(config) {
                Ok(plain) => return Ok((slot.id, master, plain)),
                Err(_) => {
                    let what = "it is not sealed with the repository's key";
                    damage = Some(files.damaged("config", what));
                }
            },
            Ok(Err(NoKey::Password)) => {}
            Ok(Err(NoKey::Damaged(what))) => {
                damage = Some(files.damaged(Kind::Key.path(&slot.id), what));
            }
            Err(error) if error.is_damage() => damage = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(damage.unwrap_or(Error::WrongPassword {
        place: files.place(),
        slots: listed.len(),
    }))
}
