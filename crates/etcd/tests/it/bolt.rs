//! Databases written, read back, and damaged in every way that a page can be.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;

use proptest::prelude::*;
use salvor_etcd::bolt::{Error, Writer};

use crate::support::{Contents, chain, contents, read, store, write};

fn entries() -> impl Strategy<Value = Contents> {
    let key = prop::collection::vec(any::<u8>(), 1..40);
    let length = prop_oneof![8 => 0_usize..60, 1 => 900_usize..1300, 1 => 3000_usize..20_000];
    let value = (any::<u8>(), length).prop_map(|(byte, length)| vec![byte; length]);
    let bucket = prop::collection::btree_map(key, value, 0..200);
    prop::collection::btree_map(prop::collection::vec(any::<u8>(), 1..12), bucket, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_is_written_is_read_at_any_page_size(contents in entries(), shift in 10_u32..15) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("db");
        write(&path, 1 << shift, &contents).expect("written");
        prop_assert_eq!(read(&path).expect("read"), contents);
        prop_assert_eq!(fs::metadata(&path).expect("there").len() % (1 << shift), 0);
    }
}

#[test]
fn a_tree_of_many_levels_is_read_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("db");
    // Three such keys fill a branch.
    let key = |number: u32| [&number.to_be_bytes()[..], &[7; 330]].concat();
    let entries = (0..3000).map(|number| (key(number), number.to_be_bytes().to_vec()));
    let contents = Contents::from([(b"deep".to_vec(), entries.collect())]);
    write(&path, 1024, &contents).expect("written");
    assert_eq!(read(&path).expect("read"), contents);
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let create = || fs::File::create(folder.path().join("db")).expect("a file");
    for size in [0, 512, 4095, 1 << 25] {
        assert!(
            matches!(Writer::create(create(), size), Err(Error::Unfit(_))),
            "{size}"
        );
    }
    let mut writer = Writer::create(create(), 4096).expect("a writer");
    let mut bucket = writer.bucket(b"b");
    bucket.push(b"b", b"").expect("the first");
    for key in [&b""[..], b"a", b"b", &[b'x'; 40_000]] {
        assert!(matches!(bucket.push(key, b""), Err(Error::Unfit(_))));
    }
    bucket.finish().expect("the first bucket");
    assert!(
        writer.bucket(b"a").finish().is_err(),
        "buckets stand in order"
    );
}

/// A database of small pages with branches, leaves, overflow and an inline bucket.
struct Victim {
    _folder: tempfile::TempDir,
    path: std::path::PathBuf,
    bytes: Vec<u8>,
    contents: Contents,
}

const PAGE: usize = 1024;

impl Victim {
    fn new(keys: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("db");
        let mut contents = store(keys, "k");
        let large = contents.entry(b"cluster".to_vec()).or_default();
        large.insert(b"large".to_vec(), vec![1; 1500]);
        write(&path, 1024, &contents).expect("written");
        let bytes = fs::read(&path).expect("there");
        Self {
            _folder: folder,
            path,
            bytes,
            contents,
        }
    }

    /// Reads the database with other bytes in it.
    fn read(&self, change: impl FnOnce(&mut Vec<u8>)) -> Result<Contents, String> {
        let mut bytes = self.bytes.clone();
        change(&mut bytes);
        fs::write(&self.path, bytes).expect("written");
        read(&self.path).map_err(|error| chain(&error))
    }

    /// Reads the database with one other byte in it, which is then put back.
    fn read_with(&self, at: usize, change: u8) -> Result<Contents, String> {
        let file = fs::File::options().write(true).open(&self.path);
        let file = file.expect("there");
        let put = |byte| file.write_all_at(&[byte], at as u64).expect("written");
        put(self.bytes[at] ^ change);
        let contents = read(&self.path).map_err(|error| chain(&error));
        put(self.bytes[at]);
        contents
    }

    /// Offset of the first page of a kind with more than one element.
    fn page(&self, kind: u8) -> usize {
        let pages = 2..self.bytes.len() / PAGE;
        let mut offsets = pages.map(|page| page * PAGE);
        offsets
            .find(|at| {
                let own = self.bytes[*at..at + 8] == ((at / PAGE) as u64).to_le_bytes();
                own && self.bytes[at + 8] == kind && self.bytes[at + 10] > 1
            })
            .expect("there is one")
    }
}

#[test]
fn every_kind_of_damage_is_named() {
    let victim = Victim::new(100);
    assert_eq!(victim.read(|_| ()).as_ref(), Ok(&victim.contents));
    let (leaf, branch) = (victim.page(2), victim.page(1));
    let last = victim.bytes.len() / PAGE - 1;
    let set = |bytes: &mut Vec<u8>, at: usize, value: &[u8]| {
        bytes[at..at + value.len()].copy_from_slice(value);
    };
    type Change<'a> = Box<dyn FnOnce(&mut Vec<u8>) + 'a>;
    let cases: Vec<(&str, Change<'_>)> = vec![
        ("it says that it is page", Box::new(|b| set(b, leaf, &[99]))),
        ("its kind is 0x30", Box::new(|b| set(b, leaf + 8, &[0x30]))),
        ("do not fit", Box::new(|b| set(b, leaf + 10, &[255, 255]))),
        (
            "it goes on to page",
            Box::new(|b| set(b, leaf + 12, &[255, 255])),
        ),
        ("it is reached twice", Box::new(|b| set(b, leaf + 12, &[1]))),
        ("it is empty", Box::new(|b| set(b, leaf + 10, &[0, 0]))),
        (
            "a branch without children",
            Box::new(|b| set(b, branch + 10, &[0, 0])),
        ),
        (
            "reaches out of the page",
            Box::new(|b| set(b, leaf + 16 + 12, &[0, 0, 1])),
        ),
        (
            "lies over what stands before it",
            Box::new(|b| set(b, leaf + 16 + 4, &[16])),
        ),
        (
            "has an empty key",
            Box::new(|b| set(b, leaf + 16 + 8, &[0])),
        ),
        (
            "is a bucket where an entry",
            Box::new(|b| set(b, leaf + 16, &[1])),
        ),
        (
            "is an entry where a bucket",
            Box::new(|b| set(b, last * PAGE + 16, &[0])),
        ),
        // A branch that leads to itself, to a meta, past the end, and to the child beside.
        (
            "reached twice",
            Box::new(|b| set(b, branch + 24, &((branch / PAGE) as u64).to_le_bytes())),
        ),
        (
            "points to page 1",
            Box::new(|b| set(b, branch + 24, &1_u64.to_le_bytes())),
        ),
        (
            "points to page 9999",
            Box::new(|b| set(b, branch + 24, &9999_u64.to_le_bytes())),
        ),
        (
            "does not belong below",
            Box::new(|b| {
                let second = b[branch + 40..branch + 48].to_vec();
                set(b, branch + 24, &second);
            }),
        ),
        (
            "no meta page (its checksum is wrong)",
            Box::new(|b| {
                b[16 + 40] ^= 1;
                b[PAGE + 16 + 40] ^= 1;
            }),
        ),
        (
            "no meta page (it does not begin",
            Box::new(|b| b[..2 * PAGE].fill(0)),
        ),
        ("its end is missing", Box::new(|b| b.truncate(last * PAGE))),
        ("too short", Box::new(|b| b.truncate(20))),
    ];
    for (part, change) in cases {
        let error = victim.read(change).expect_err(part);
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn one_valid_meta_is_enough() {
    let victim = Victim::new(10);
    for page in [0, 1] {
        let read = victim.read(|bytes| bytes[page * PAGE + 30] ^= 1);
        assert_eq!(read.as_ref(), Ok(&victim.contents), "meta {page} damaged");
    }
}

#[test]
fn every_changed_byte_and_every_cut_ends_without_a_panic() {
    let victim = Victim::new(24);
    let total: usize = victim.contents.values().map(BTreeMap::len).sum();
    for at in 0..victim.bytes.len() {
        for change in [0xff, 0x01] {
            if let Ok(read) = victim.read_with(at, change) {
                let entries: usize = read.values().map(BTreeMap::len).sum();
                // Bytes of keys and values are the digest's to look after; an entry that vanishes is the pages'.
                assert!(entries <= total, "byte {at}");
            }
        }
    }
    for length in (0..victim.bytes.len()).step_by(128) {
        assert!(
            victim.read(|bytes| bytes.truncate(length)).is_err(),
            "{length}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn pages_of_noise_end_without_a_panic(seed in prop::collection::vec((any::<prop::sample::Index>(), any::<[u8; 8]>()), 1..24)) {
        let victim = Victim::new(12);
        let read = victim.read(|bytes| {
            for (index, noise) in seed {
                let at = index.index(bytes.len() - 8);
                bytes[at..at + 8].copy_from_slice(&noise);
            }
        });
        if let Ok(read) = read {
            prop_assert!(!read.is_empty());
        }
    }
}

#[test]
fn a_database_inside_a_longer_file_is_read() {
    let victim = Victim::new(10);
    let longer = victim.read(|bytes| bytes.resize(bytes.len() + 3 * PAGE, 0));
    assert_eq!(longer, Ok(victim.contents.clone()));
    let file = fs::File::open(&victim.path).expect("there");
    let database =
        salvor_etcd::bolt::Database::open(file, victim.bytes.len() as u64).expect("opened");
    assert_eq!(contents(&database).expect("read"), victim.contents);
    assert_eq!(database.layout().size(), victim.bytes.len() as u64);
}
