//! Gives a bundle its name when it is whole: a kill or a full disk leaves nothing under it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use salvor_archive::files::write_text_gz;

use super::Bundle;
use crate::exit::{Exit, Failure};

/// Writes the bundle to `path`, which must be new; readable by its owner only. Returns its length.
///
/// # Errors
/// The file exists, or cannot be written; nothing is left then.
pub(crate) fn write(bundle: &Bundle, path: &Path, seconds: u64) -> Result<u64, Failure> {
    let doing = format!("write {}", path.display());
    if path.exists() {
        let error = io::Error::from(io::ErrorKind::AlreadyExists);
        return Err(
            Failure::caused(Exit::Refused, doing, error).hint("choose another file with --output")
        );
    }
    let packed = write_text_gz(&bundle.tar(seconds))
        .map_err(|error| Failure::caused(Exit::Internal, doing.as_str(), error))?;
    let temporary = temporary(path);
    let written = write_new(&temporary, &packed).and_then(|()| name(&temporary, path));
    if let Err(error) = written {
        // It may be there or not; what is left of it has another name.
        let _ = fs::remove_file(&temporary);
        let exit = match error.kind() {
            io::ErrorKind::AlreadyExists => Exit::Refused,
            _ => Exit::Internal,
        };
        return Err(Failure::caused(exit, doing, error));
    }
    Ok(packed.len() as u64)
}

/// A name beside the final one that no other run has.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Gives the file its final name, unless that is taken meanwhile.
fn name(temporary: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(temporary, path) {
        Ok(()) => fs::remove_file(temporary)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        // Not every file system has links.
        Err(_) => fs::rename(temporary, path)?,
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
