//! Tar archives that are the same each time, and digests.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What stands in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Without a slash at the end.
    path: String,
    mode: u32,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Folder,
    File(Vec<u8>),
    /// Where a symbolic link points to.
    Link(String),
}

impl Entry {
    pub(crate) fn folder(path: &str, mode: u32) -> Self {
        Self::new(path, mode, What::Folder)
    }

    pub(crate) fn file(path: &str, mode: u32, content: Vec<u8>) -> Self {
        Self::new(path, mode, What::File(content))
    }

    pub(crate) fn link(path: &str, to: &str) -> Self {
        Self::new(path, 0o777, What::Link(to.to_owned()))
    }

    fn new(path: &str, mode: u32, what: What) -> Self {
        Self {
            path: path.to_owned(),
            mode,
            what,
        }
    }
}

/// Writes an archive in the ustar format: no owners, no times, no extensions.
///
/// # Errors
/// A path is longer than 100 bytes, or the writer fails.
pub(crate) fn write(entries: &[Entry], to: &mut impl Write) -> Result<(), String> {
    let mut put = |bytes: &[u8]| {
        to.write_all(bytes)
            .map_err(|error| format!("write an archive: {error}"))
    };
    for entry in entries {
        let content = match &entry.what {
            What::File(content) => content.as_slice(),
            What::Folder | What::Link(_) => &[],
        };
        put(&header(entry, content.len())?)?;
        put(content)?;
        put(&vec![
            0;
            content.len().next_multiple_of(512) - content.len()
        ])?;
    }
    // Two empty blocks end an archive.
    put(&[0; 1024])
}

fn header(entry: &Entry, size: usize) -> Result<[u8; 512], String> {
    let (path, kind, target) = match &entry.what {
        What::Folder => (format!("{}/", entry.path), "5", ""),
        What::File(_) => (entry.path.clone(), "0", ""),
        What::Link(target) => (entry.path.clone(), "2", target.as_str()),
    };
    if let Some(long) = [path.as_str(), target].iter().find(|path| path.len() > 100) {
        return Err(format!("path `{long}` is longer than 100 bytes"));
    }
    let mut header = [0u8; 512];
    let mut put = |at: usize, text: &str| {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    put(0, &path);
    put(100, &format!("{:07o}", entry.mode));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    // The sum counts its own field as spaces.
    put(148, "        ");
    put(156, kind);
    put(157, target);
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let text = format!("{sum:06o}\0 ");
    header[148..156].copy_from_slice(text.as_bytes());
    Ok(header)
}

/// Digest of a file in lower-case hex, by coreutils: this program has no library for it.
///
/// # Errors
/// The file cannot be read.
pub(super) fn sha256(file: &Path) -> Result<String, String> {
    let output = Command::new("sha256sum")
        .arg("--")
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("start `sha256sum`: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match text.split_whitespace().next() {
        Some(digest) if output.status.success() => Ok(digest.trim_start_matches('\\').to_owned()),
        _ => Err(format!("digest of {}: {}", file.display(), output.status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tar_reads_what_is_written() {
        let folder = std::env::temp_dir().join(format!("xtask-archive-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("a.tar");
        let entries = [
            Entry::folder("tmp", 0o1777),
            Entry::file("a/program", 0o755, vec![7; 513]),
            Entry::file("empty", 0o644, Vec::new()),
            Entry::link("sh", "a/program"),
        ];
        let mut bytes = Vec::new();
        write(&entries, &mut bytes).expect("written");
        std::fs::write(&file, &bytes).expect("written");
        let mut tar = Command::new("tar");
        tar.args(["--numeric-owner", "--utc", "-tvf"]).arg(&file);
        let listed = crate::command::output(&mut tar).expect("tar reads it");
        let lines: Vec<Vec<&str>> = listed
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let expected = [
            "drwxrwxrwt 0/0 0 1970-01-01 00:00 tmp/",
            "-rwxr-xr-x 0/0 513 1970-01-01 00:00 a/program",
            "-rw-r--r-- 0/0 0 1970-01-01 00:00 empty",
            "lrwxrwxrwx 0/0 0 1970-01-01 00:00 sh -> a/program",
        ];
        assert_eq!(
            lines,
            expected.map(|line| line.split(' ').collect::<Vec<_>>())
        );
        std::fs::remove_dir_all(&folder).expect("removed");
        let long = Entry::file(&"x".repeat(101), 0o644, Vec::new());
        assert!(write(&[long], &mut Vec::new()).is_err());
    }
}
