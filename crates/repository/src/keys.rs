//! The key slots of a repository: passwords, each of which opens the one master key.

use bytes::Bytes;
use salvor_seal::Secret;

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
}

impl Repository {
    /// All key slots.
    ///
    /// # Errors
    /// Damage, or the store fails.
    pub fn keys(&self) -> Result<Vec<KeySlot>> {
        let mut slots = Vec::new();
        for listed in self.files().list(Kind::Key)? {
            let file = read_key(self.files(), &listed.id)?;
            slots.push(KeySlot {
                id: listed.id,
                username: file.username,
                hostname: file.hostname,
                created: file.created,
                is_current: listed.id == self.key_id,
            });
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
