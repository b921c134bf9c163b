use std::path::Path;
use std::process::Command;

use super::*;

/// What the tar of this machine makes of a folder.
fn archive(folder: &Path, options: &[&str]) -> Vec<u8> {
    let made = Command::new("tar")
        .args(options)
        .arg("-cf")
        .arg("-")
        .arg("-C")
        .arg(folder)
        .arg(".")
        .output();
    let made = made.expect("tar runs");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    made.stdout
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("small"), "hello").expect("written");
    std::fs::write(path("block"), [7; BLOCK]).expect("written");
    std::fs::write(path("empty"), "").expect("written");
    std::fs::write(path(&"long-name-".repeat(15)), "long").expect("written");
    std::fs::create_dir(path("directory")).expect("made");
    std::os::unix::fs::symlink("small", path("link")).expect("linked");
    std::fs::hard_link(path("small"), path("again")).expect("linked");
    // With so many holes that a sparse map has blocks of its own.
    let sparse = std::fs::File::create(path("sparse")).expect("made");
    for at in 0..40u64 {
        std::os::unix::fs::FileExt::write_at(&sparse, b"x", at << 17).expect("written");
    }
    folder
}

/// Feeds in pieces of this size.
fn fed(bytes: &[u8], piece: usize) -> Result<TarEnd, NoTar> {
    let mut end = TarEnd::default();
    for piece in bytes.chunks(piece) {
        end.feed(piece)?;
    }
    Ok(end)
}

#[test]
fn archives_of_every_format_are_complete_at_their_end_and_nowhere_before() {
    let folder = folder();
    for options in [
        &["--format=gnu"][..],
        &["--format=pax"],
        &["--format=ustar", "--exclude=long-name-*"],
        &["--format=gnu", "-S"],
        &["--format=pax", "-S"],
    ] {
        let bytes = archive(folder.path(), options);
        // The folder itself, and what is in it.
        let entries = if options.len() == 2 && options[1].starts_with("--ex") {
            8
        } else {
            9
        };
        for piece in [1, 511, 512, 4096, bytes.len()] {
            let end = fed(&bytes, piece).unwrap_or_else(|error| panic!("{options:?}: {error}"));
            assert!(end.is_complete(), "{options:?} in pieces of {piece}");
            assert_eq!(
                (end.entries(), end.bytes()),
                (entries, bytes.len() as u64),
                "{options:?}"
            );
        }
        let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
        // The last entry may itself end in zeros, to the end of its block.
        let contents = (bytes.len() - zeros).next_multiple_of(BLOCK);
        for cut in (0..contents + 2 * BLOCK)
            .step_by(97)
            .chain([contents, contents + BLOCK])
        {
            let end =
                fed(&bytes[..cut], 4096).unwrap_or_else(|error| panic!("{options:?}: {error}"));
            assert!(
                !end.is_complete(),
                "{options:?} cut at {cut} of {}",
                bytes.len()
            );
        }
    }
}

#[test]
fn sizes_beyond_eight_gibibytes_are_followed() {
    let huge = 9u64 << 30;
    let mut header = vec![0; BLOCK];
    header[..4].copy_from_slice(b"huge");
    header[156] = b'0';
    header[124] = 0x80;
    header[128..136].copy_from_slice(&huge.to_be_bytes());
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum::<u64>() + 8 * u64::from(b' ');
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut end = TarEnd::default();
    end.feed(&header).expect("a header");
    let piece = vec![1; 1 << 20];
    for _ in 0..huge >> 20 {
        end.feed(&piece).expect("content");
    }
    assert!(!end.is_complete());
    end.feed(&[0; 2 * BLOCK]).expect("the end");
    assert!(end.is_complete());
    assert_eq!(
        size_in(b"30 mtime=1700000000.123456789\n19 size=9663676416\n"),
        Some(huge)
    );
}

#[test]
fn what_is_no_archive_is_said_with_its_place() {
    let text = vec![b'x'; 2 * BLOCK];
    assert_eq!(fed(&text, 100).expect_err("no archive").at, 0);
    let mut bytes = archive(folder().path(), &[]);
    let end = bytes.len() as u64;
    bytes.extend(&text);
    let behind = fed(&bytes, 4096).expect_err("more than an archive");
    assert_eq!(
        (behind.at, behind.what),
        (end, "something behind the end of the archive")
    );
    // Every byte of the first header counts.
    for at in 0..BLOCK {
        let mut bytes = archive_of_one();
        bytes[at] ^= 0x40;
        assert!(fed(&bytes, 4096).is_err(), "byte {at}");
    }
    for records in [
        &b"x"[..],
        b"99 size=1\n",
        b"0 size=1\n",
        b"3 s",
        b"10 size=x\n",
    ] {
        assert_eq!(size_in(records), None, "{records:?}");
    }
}

fn archive_of_one() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("one"), "1").expect("written");
    archive(folder.path(), &["--format=ustar"])
}
