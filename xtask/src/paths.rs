//! Where things are: the repository, and the cache folder outside it.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// The root of the working tree that this program was started from.
pub(crate) fn repository() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// `$SALVOR_CACHE`, else `$XDG_CACHE_HOME/salvor`, else `~/.cache/salvor`; created when missing.
///
/// # Errors
/// When none of the three variables says where, or the folder cannot be created.
pub(crate) fn cache() -> Result<PathBuf, String> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let folder = set("SALVOR_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("salvor")))
        .or_else(|| set("HOME").map(|folder| folder.join(".cache/salvor")))
        .ok_or("no cache folder: set SALVOR_CACHE, XDG_CACHE_HOME or HOME")?;
    create_folder(&folder)?;
    folder
        .canonicalize()
        .map_err(|error| format!("resolve {}: {error}", folder.display()))
}

/// Creates a folder and its parents.
///
/// # Errors
/// Names the folder.
pub(crate) fn create_folder(folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder)
        .map_err(|error| format!("create folder {}: {error}", folder.display()))
}

/// Removes a folder with everything in it; one that is not there is fine.
///
/// # Errors
/// Names the folder.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("remove folder {}: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Reads a text file.
///
/// # Errors
/// Names the file.
pub(crate) fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("read {}: {error}", file.display()))
}

/// Writes a file.
///
/// # Errors
/// Names the file.
pub(crate) fn write(file: &Path, content: &str) -> Result<(), String> {
    std::fs::write(file, content).map_err(|error| format!("write {}: {error}", file.display()))
}

/// Copies a program to its final name in one step, so that a reader never sees half of it.
///
/// # Errors
/// Names both files.
pub(crate) fn install_file(from: &Path, to: &Path) -> Result<(), String> {
    let part = to.with_extension("part");
    std::fs::copy(from, &part)
        .and_then(|_| std::fs::rename(&part, to))
        .map_err(|error| format!("copy {} to {}: {error}", from.display(), to.display()))
}

/// Takes an exclusive lock that ends with the returned file, so that two tasks that fill the same
/// cache folder do it one after the other.
///
/// # Errors
/// Names the lock file.
pub(crate) fn lock(folder: &Path) -> Result<File, String> {
    create_folder(folder)?;
    let name = folder.join(".lock");
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&name)
        .and_then(|file| file.lock().map(|()| file));
    file.map_err(|error| format!("lock {}: {error}", name.display()))
}
