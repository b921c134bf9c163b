//! Files that hold secrets: made for their owner only, never over another.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::exit::{Exit, Failure};

/// Writes one line into a new file that its owner alone can read.
pub(crate) fn create(path: &Path, line: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        let exit = match error.kind() {
            std::io::ErrorKind::AlreadyExists => Exit::Refused,
            _ => Exit::Usage,
        };
        Failure::caused(exit, format!("write {}", path.display()), error)
    };
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    // What is half written is no secret that anybody could use: it must not stand in the way of another try.
    let written = writeln!(file, "{line}").and_then(|()| file.sync_all());
    written.map_err(|error| {
        let _ = std::fs::remove_file(path);
        failed(error)
    })
}
