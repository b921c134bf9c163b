//! Damaged and hostile archives end in errors that say where, within bounds.

use salvor_archive::archive::Archive;
use salvor_archive::findings::FindingKind;
use salvor_archive::limits::Limits;
use salvor_archive::{ArchiveError, Expected, verify};

use crate::handmade::{Tar, gzip};
use crate::written::{a_few, write};

fn small() -> Vec<u8> {
    let (file, _) = write(&a_few()[..3], 2);
    file
}

#[test]
fn an_archive_cut_at_any_byte_is_an_error_or_lacks_only_its_end() {
    let foreign = Tar::velero()
        .object("resources/pods/namespaces/a/x.json")
        .gz();
    for file in [small(), foreign] {
        let whole = verify(file.as_slice(), Expected::default(), &Limits::default());
        assert_eq!(whole.expect("sound").list, []);
        for len in 0..file.len() {
            match Archive::from_stream(&file[..len], Limits::default(), Vec::new()) {
                Err(error) => {
                    let text = error.to_string();
                    let places = ["byte", "cut off"];
                    assert!(
                        places.iter().any(|p| text.contains(p)),
                        "cut at {len}: {text}"
                    );
                }
                // Between two members nothing is damaged, but the end marker is gone.
                Ok((_, findings)) => {
                    let kinds: Vec<_> = findings.list.iter().map(|f| &f.kind).collect();
                    assert!(
                        kinds.contains(&&FindingKind::NoEndMarker),
                        "cut at {len}: {kinds:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn no_flipped_bit_goes_unnoticed_by_the_digest_or_panics() {
    let file = small();
    let sound = verify(file.as_slice(), Expected::default(), &Limits::default()).expect("sound");
    let expected = Expected {
        sha256: Some(sound.sha256),
        index: None,
    };
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(
            verify(damaged.as_slice(), expected, &Limits::default()).is_err(),
            "byte {at}"
        );
        if let Ok((archive, _)) =
            Archive::from_stream(damaged.as_slice(), Limits::default(), Vec::new())
        {
            // A flip in a gzip header's time or system byte changes no contents.
            assert_eq!(archive.index().len(), 3, "byte {at}");
        }
    }
}

#[test]
fn no_flipped_bit_in_a_tar_panics() {
    let tar = Tar::velero()
        .object("resources/pods/namespaces/a/x.json")
        .pax_long("resources/pods/namespaces/a/y.json", b"{}")
        .gnu_long("resources/pods/namespaces/a/z.json", b"{}");
    let mut outcomes = [0, 0];
    for at in (0..tar.0.len()).step_by(3) {
        let mut damaged = tar.clone();
        damaged.0[at] ^= 1 << (at % 8);
        let result = verify(
            gzip_stored(&damaged.0).as_slice(),
            Expected::default(),
            &Limits::default(),
        );
        outcomes[usize::from(result.is_ok())] += 1;
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

fn gzip_stored(data: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(data).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}

#[test]
fn what_is_not_gzip_or_not_a_tar_is_said_to_be_so() {
    for (file, part) in [
        (b"".to_vec(), "cut off"),
        (
            b"not gzip at all, but long enough to be looked at".to_vec(),
            "decompress",
        ),
        (gzip(b""), "resources"),
        (gzip(&[7; 600]), "checksum"),
        (gzip(&[7; 100]), "cut off"),
        ([small(), b"garbage".repeat(4)].concat(), "decompress"),
        (
            gzip(&Tar::velero().promise("resources/pods/cluster/x.json", 10).0),
            "cut off",
        ),
        (gzip(&Tar::velero().promise("other", 1 << 32).0), "cut off"),
    ] {
        let text = match verify(file.as_slice(), Expected::default(), &Limits::default()) {
            Ok(findings) => format!(
                "{:?}",
                findings
                    .list
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
            ),
            Err(error) => error.to_string(),
        };
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_bomb_stops_at_the_limit_it_reaches_first() {
    // A header that promises zeros, and a member of 1 MiB of them again and again.
    let head = gzip(
        &Tar::velero()
            .promise("resources/pods/cluster/x.json", 7 << 30)
            .0,
    );
    let bomb = [head, gzip(&vec![0; 1 << 20]).repeat(100)].concat();
    assert!(bomb.len() < 200_000);
    let bomb = || bomb.as_slice();
    let limit_of = |limits: &Limits| match verify(bomb(), Expected::default(), limits) {
        Err(ArchiveError::Limit {
            limit, tar_offset, ..
        }) => (limit, tar_offset),
        other => panic!("expected a limit, got {other:?}"),
    };
    let (limit, at) = limit_of(&Limits {
        max_ratio: 300,
        ..Limits::default()
    });
    assert_eq!(limit, "max_ratio");
    assert!(at < 66 << 20, "stopped at {at}");
    let total = Limits {
        max_total_uncompressed: 10 << 20,
        ..Limits::default()
    };
    let (limit, at) = limit_of(&total);
    assert_eq!(limit, "max_total_uncompressed");
    assert!(at < 11 << 20, "stopped at {at}");
}

#[test]
fn long_items_are_left_out_and_many_entries_refused() {
    let path = "resources/pods/namespaces/a/x.json";
    let tar = Tar::velero()
        .object(path)
        .file("resources/pods/namespaces/a/long.json", &[b' '; 2000]);
    let limits = Limits {
        max_item: 1000,
        ..Limits::default()
    };
    let (archive, findings) =
        Archive::from_stream(tar.gz().as_slice(), limits, Vec::new()).expect("readable");
    assert_eq!(archive.index().len(), 1);
    let text: Vec<_> = findings.list.iter().map(ToString::to_string).collect();
    let expected = "resources/pods/namespaces/a/long.json: refused: \
                    it has 2000 bytes, more than the limit max_item of 1000";
    assert_eq!(text, [expected]);

    let limits = Limits {
        max_entries: 2,
        ..Limits::default()
    };
    let error =
        Archive::from_stream(tar.gz().as_slice(), limits, Vec::new()).expect_err("three entries");
    let max_entries = matches!(
        error,
        ArchiveError::Limit {
            limit: "max_entries",
            allowed: 2,
            ..
        }
    );
    assert!(max_entries, "{error}");
    assert!(error.to_string().contains("raise the limit"), "{error}");
}

#[test]
fn ten_megabyte_objects_are_read() {
    let path = "resources/configmaps/namespaces/a/big.json";
    let filler = "x".repeat(10 << 20);
    let body = crate::handmade::body_for(path, "v1", &filler);
    let file = Tar::velero()
        .file(path, body.as_bytes())
        .gz_members(1 << 20);
    let (archive, findings) =
        Archive::from_stream(file.as_slice(), Limits::default(), Vec::new()).expect("sound");
    assert_eq!(findings.list, []);
    let entry = archive.index().iter().next().expect("one entry");
    assert_eq!(archive.get(&entry).expect("read"), body.as_bytes());
}
