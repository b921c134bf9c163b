//! What opens a repository, from a copy of it: `config` and a key.

use salvor_seal::Secret;

use crate::error::{Error, Result};
use crate::files::{Files, Kind};
use crate::repository::Repository;

/// Brings `config` where it is gone or damaged, and the key that the password opens where no key can be read any more. Returned
/// are the files that were brought: none where the repository opens.
///
/// # Errors
/// The password does not open the copy; what is there is not of the copy's repository; other keys are whole, and the password
/// opens none of them; a store fails.
pub fn mend(files: &Files, from: &Files, password: &Secret) -> Result<Vec<String>> {
    match Repository::open(files.clone(), password) {
        Err(Error::WrongPassword { .. }) => {}
        Err(error) if error.is_damage() => {}
        opened => return opened.map(|_| Vec::new()),
    }
    let copy = Repository::open(from.clone(), password)?;
    if !is_same(files, &copy)? {
        return Err(Error::Invalid(format!(
            "nothing at {} says that {} is a copy of it, so nothing was brought",
            files.place(),
            from.place()
        )));
    }
    let mut brought = Vec::new();
    if let Some(config) = from.config()?
        && !opens_config(files, &copy)?
    {
        files.replace_config(config)?;
        brought.push("config".to_owned());
    }
    // A key that was removed on purpose stays away: it is in older copies.
    if !has_key(files)? {
        files.replace(Kind::Key, from.read(Kind::Key, &copy.key_id)?)?;
        brought.push(Kind::Key.path(&copy.key_id));
    }
    Ok(brought)
}

/// Whether a file is sealed with the copy's key, or a key is one of the copy's.
fn is_same(files: &Files, copy: &Repository) -> Result<bool> {
    for kind in [Kind::Snapshot, Kind::Index] {
        for file in files.list(kind)? {
            let sealed = unless_damaged(files.read(kind, &file.id))?;
            if sealed.is_some_and(|sealed| copy.key().open(&sealed).is_ok()) {
                return Ok(true);
            }
        }
    }
    for file in files.list(Kind::Key)? {
        if copy.files().exists(Kind::Key, &file.id)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn opens_config(files: &Files, copy: &Repository) -> Result<bool> {
    let config = unless_damaged(files.config())?.flatten();
    Ok(config.is_some_and(|config| copy.key().open(&config).is_ok()))
}

/// Whether there is a key that can be read, whatever opens it.
fn has_key(files: &Files) -> Result<bool> {
    for file in files.list(Kind::Key)? {
        if unless_damaged(files.read(Kind::Key, &file.id))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn unless_damaged<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.is_damage() => Ok(None),
        Err(error) => Err(error),
    }
}
