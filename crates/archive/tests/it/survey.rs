//! A damaged archive gives everything that is readable, and says what is not.

use std::collections::BTreeSet;
use std::sync::Arc;

use salvor_archive::ArchiveError;
use salvor_archive::archive::Archive;
use salvor_archive::limits::Limits;

use crate::handmade::Tar;
use crate::written::{a_few, item, write};

#[test]
fn a_flipped_bit_costs_the_objects_of_one_member_and_names_them() {
    let items = a_few();
    let (file, index) = write(&items, 2);
    let all: BTreeSet<_> = index
        .iter()
        .map(|e| (e.key(), e.version().to_owned()))
        .collect();
    let mut damaged_at_all = 0;
    let mut saved = 0;
    for at in 0..file.len() {
        let mut bytes = file.clone();
        bytes[at] ^= 1 << (at % 8);
        let archive = Archive::open(index.clone(), Arc::new(bytes));
        let mut damaged = archive.survey().expect("a buffer can always be read");
        // What no object lies in (the head and end of the tar, times in gzip headers) harms nothing.
        let lost: BTreeSet<_> = damaged
            .iter()
            .flat_map(|member| &member.lost)
            .map(|lost| (lost.key.clone(), lost.version.clone()))
            .collect();
        assert!(damaged.len() <= 1, "byte {at}: {damaged:?}");
        for member in &damaged {
            let range = member.offset..member.offset + member.len;
            assert!(range.contains(&(at as u64)), "byte {at}: {member:?}");
            assert!(!member.reason.is_empty());
            damaged_at_all += 1;
            let inside = index
                .iter()
                .filter(|e| e.member().offset == member.offset)
                .count();
            saved += inside - member.lost.len();
        }
        let rest = archive.without(&mut damaged);
        let kept: BTreeSet<_> = rest
            .index()
            .iter()
            .map(|entry| {
                rest.get(&entry).expect("what is left can be read");
                (entry.key(), entry.version().to_owned())
            })
            .collect();
        assert!(kept.is_disjoint(&lost), "byte {at}");
        assert_eq!(&kept | &lost, all, "byte {at}");
    }
    assert!(damaged_at_all > file.len() / 4, "{damaged_at_all}");
    assert!(
        saved > 0,
        "objects of damaged members that are read all the same"
    );
}

#[test]
fn an_object_whose_preferred_version_is_lost_comes_in_another_one() {
    let mut other = item("widgets.example.com", Some("a"), "w", "v1beta1");
    other.preferred = false;
    let items = [
        other,
        item("widgets.example.com", Some("a"), "w", "v1"),
        item("pods", Some("a"), "p", "v1"),
    ];
    // A member for each entry.
    let (mut file, index) = write(&items, 1);
    let preferred = index.get(&items[1].key, Some("v1")).expect("written");
    let place = preferred.member();
    file.truncate((place.offset + 12) as usize);
    let archive = Archive::open(index, Arc::new(file));
    let mut damaged = archive.survey().expect("readable");
    let rest = archive.without(&mut damaged);
    let lost: Vec<_> = damaged.iter().flat_map(|member| &member.lost).collect();
    let others: Vec<_> = lost.iter().map(|l| l.other_version.as_deref()).collect();
    assert_eq!(others, [Some("v1beta1"), None], "{lost:?}");
    assert!(damaged[0].reason.contains("cut off"), "{damaged:?}");
    let left = rest
        .index()
        .get(&items[1].key, None)
        .expect("in another version");
    assert_eq!((left.version(), left.preferred()), ("v1beta1", true));
    assert_eq!(rest.index().object_count(), 1);
}

#[test]
fn a_sound_archive_has_nothing_to_report() {
    let (file, index) = write(&a_few(), 2);
    let archive = Archive::open(index, Arc::new(file.clone()));
    assert_eq!(archive.survey().expect("readable"), []);
    let (whole, _, cut) =
        Archive::from_readable(file.as_slice(), Limits::default(), Vec::new()).expect("sound");
    assert!(cut.is_none());
    assert_eq!(whole.index().len(), archive.index().len());
}

#[test]
fn a_stream_is_read_up_to_the_damage() {
    let names = ["a", "b", "c", "d"];
    let tar = names.iter().fold(Tar::velero(), |tar, name| {
        tar.object(&format!("resources/pods/namespaces/n/{name}.json"))
    });
    let file = tar.gz();
    let mut counts = BTreeSet::new();
    for len in 1..file.len() {
        let read = Archive::from_readable(&file[..len], Limits::default(), Vec::new());
        let (archive, _, cut) = read.expect("what is there is read");
        let cut = cut.expect("it ends too early");
        assert!(cut.is_damage(), "{cut}");
        for entry in archive.index().iter() {
            archive.get(&entry).expect("kept in the spool");
        }
        counts.insert(archive.index().object_count());
    }
    assert!(counts.contains(&0) && counts.contains(&4), "{counts:?}");
    // A bomb is no damage: nothing is kept.
    let tight = Limits {
        max_total_uncompressed: 100,
        ..Limits::default()
    };
    let refused = Archive::from_readable(file.as_slice(), tight, Vec::new());
    assert!(matches!(refused, Err(ArchiveError::Limit { .. })));
}
