//! Damage that keeps the digest right is found by what the columns must be.

use super::encode::digest;
use super::*;
use crate::ArchiveError;
use crate::assemble::Assembler;
use crate::item::ItemRef;
use crate::segment::SegmentBuilder;

fn sample() -> Index {
    let (mut assembler, _) = Assembler::new();
    for name in ["a", "ab", "abc", "b"] {
        let mut builder = SegmentBuilder::new();
        let key = ObjectKey::namespaced(GroupResource::new("pods", ""), "ns", name);
        let item = ItemRef {
            key: &key,
            version: "v1",
            preferred: true,
            body: b"{}",
        };
        builder.push(&item, 0).expect("valid");
        let member = builder.finish().compress().expect("compress");
        assembler.add(member).expect("index");
    }
    assembler.finish().1
}

/// The file with its payload changed and its digest made right again.
fn with_payload(file: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut payload = zstd::stream::decode_all(&file[68..]).expect("own frame");
    change(&mut payload);
    let frame = zstd::bulk::compress(&payload, 1).expect("compress");
    let mut header = file[8..20].to_vec();
    header.extend_from_slice(&(frame.len() as u64).to_le_bytes());
    header.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    [&file[..8], &header, &digest(&header, &frame), &frame].concat()
}

#[test]
fn every_changed_payload_byte_is_refused_or_gives_a_sound_index() {
    let file = sample().encode();
    let len = zstd::stream::decode_all(&file[68..])
        .expect("own frame")
        .len();
    let mut accepted = 0;
    for at in 0..len {
        for value in [0, 1, 2, 0x7f, 0x80, 0xff, b'/', b'.'] {
            let changed = with_payload(&file, |payload| payload[at] = value);
            let Ok(index) = Index::decode(&changed, Limits::default()) else {
                continue;
            };
            accepted += 1;
            // Whatever is accepted can be used: nothing panics, names are safe, places are inside.
            for entry in index.iter() {
                let member = entry.member();
                assert!(member.offset + member.compressed_len <= index.archive_len());
                assert!(entry.body_offset() + entry.body_len() <= member.tar_len);
                assert!(!entry.name().contains('/') && !matches!(entry.name(), "" | "." | ".."));
            }
            assert_eq!(index.in_archive_order().len(), index.len());
            assert!(Index::decode(&index.encode(), Limits::default()).is_ok());
        }
    }
    assert!(accepted > 0, "digests may be any bytes");
}

#[test]
fn a_payload_that_is_too_short_or_too_long_is_refused() {
    let file = sample().encode();
    let len = zstd::stream::decode_all(&file[68..])
        .expect("own frame")
        .len();
    for keep in 0..len {
        let cut = with_payload(&file, |payload| payload.truncate(keep));
        assert!(
            Index::decode(&cut, Limits::default()).is_err(),
            "cut at {keep}"
        );
    }
    let long = with_payload(&file, |payload| payload.push(0));
    let error = Index::decode(&long, Limits::default()).expect_err("left over");
    assert!(error.to_string().contains("left over"), "{error}");
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let mut file = sample().encode();
    file[16] = 2;
    let error = Index::decode(&file, Limits::default()).expect_err("newer");
    assert!(matches!(
        error,
        ArchiveError::IndexNewer {
            found: 2,
            supported: 1
        }
    ));
    assert!(error.to_string().contains("newer release"), "{error}");
}

#[test]
fn tables_are_bounded_by_the_entries_that_may_use_them() {
    // Each text of a table and each member takes far more memory than its bytes here.
    let file = sample().encode();
    let few = Limits {
        max_entries: 100,
        ..Limits::default()
    };
    assert!(Index::decode(&file, few).is_ok());
    // Payloads: archive length, then resources, namespaces, versions, members.
    let texts: Vec<u8> = (0..500u16)
        .flat_map(|n| [4].into_iter().chain(format!("{n:04}").into_bytes()))
        .collect();
    let count = [0xf4, 0x03];
    let tables: [(&str, Vec<u8>); 4] = [
        ("resources", [&[0][..], &count, &texts].concat()),
        ("namespaces", [&[0, 0][..], &count, &texts].concat()),
        ("versions", [&[0, 0, 0][..], &count, &texts].concat()),
        ("members", [&[0, 0, 0, 0][..], &count, &[0; 1500]].concat()),
    ];
    for (what, bytes) in tables {
        let bomb = with_payload(&file, |payload| *payload = bytes);
        let error = Index::decode(&bomb, few).expect_err(what).to_string();
        assert!(
            error.contains(what) && error.contains("max_entries"),
            "{what}: {error}"
        );
    }
}

#[test]
fn limits_bound_what_is_decoded() {
    let file = sample().encode();
    let few = Limits {
        max_entries: 3,
        ..Limits::default()
    };
    let error = Index::decode(&file, few).expect_err("four entries");
    assert!(error.to_string().contains("max_entries"), "{error}");
    let short = Limits {
        max_item: 1,
        ..Limits::default()
    };
    let error = Index::decode(&file, short).expect_err("bodies of two bytes");
    assert!(error.to_string().contains("max_item"), "{error}");
    // Far more payload than ten entries need, in a frame of some hundred bytes.
    let bomb = with_payload(&file, |payload| payload.resize(1 << 20, 0));
    let few = Limits {
        max_entries: 10,
        ..Limits::default()
    };
    assert!(Index::decode(&bomb, few).is_err());
}
