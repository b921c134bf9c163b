//! What somebody who has the key, or a broken program, may have written: it is refused or found, never trusted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::sync::Arc;

use bytes::Bytes;
use salvor_seal::Secret;
use salvor_storage::MemoryStore;
use tokio::runtime::Runtime;

use crate::check::{self, Checked, Depth};
use crate::format::index_file::{BlobKind, IndexFile, IndexedBlob, IndexedPack};
use crate::format::pack::PackWriter;
use crate::format::snapshot::Snapshot;
use crate::restore::{self, RestoreOptions};
use crate::{BlobId, Error, FileId, Files, InitOptions, Kind, Progress, Repository, Work};

struct World {
    repository: Repository,
    _runtime: Runtime,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let files = Files::new(Arc::new(MemoryStore::new()), runtime.handle().clone());
        let options = InitOptions {
            work: Work::Machine,
            who: ("tester".to_owned(), "here".to_owned()),
            restic_boundaries: false,
        };
        let password = Secret::new("password".to_owned());
        Self {
            repository: Repository::init(files, &password, &options).unwrap(),
            _runtime: runtime,
        }
    }

    /// A pack of one blob, as its writer would describe it.
    fn pack(&self, kind: BlobKind, plain: &[u8]) -> (FileId, IndexedBlob) {
        let mut pack = PackWriter::default();
        let sealed = self.repository.key().seal(plain).unwrap();
        pack.add(BlobId::of(plain), kind, &sealed, None).unwrap();
        let sealed = pack.seal(self.repository.key()).unwrap();
        let files = self.repository.files();
        files
            .write_named(Kind::Pack, sealed.id, sealed.bytes)
            .unwrap();
        (sealed.id, sealed.blobs[0])
    }

    fn index(&self, packs: Vec<(FileId, Vec<IndexedBlob>)>) -> FileId {
        let packs = packs
            .into_iter()
            .map(|(id, blobs)| IndexedPack { id, blobs })
            .collect();
        let file = IndexFile {
            supersedes: vec![],
            packs,
        };
        self.repository.write_document(Kind::Index, &file).unwrap()
    }

    /// A snapshot whose root has this description.
    fn snapshot(&self, tree: &str) -> BlobId {
        let (pack, blob) = self.pack(BlobKind::Tree, tree.as_bytes());
        self.index(vec![(pack, vec![blob])]);
        let json = format!(r#"{{"time":"2026-11-21T10:00:00Z","tree":"{}"}}"#, blob.id);
        let snapshot: Snapshot = serde_json::from_str(&json).unwrap();
        self.repository
            .write_document(Kind::Snapshot, &snapshot)
            .unwrap();
        blob.id
    }

    fn check(&self) -> Checked {
        check::run(&self.repository, Depth::Data, &Progress::new()).unwrap()
    }
}

#[test]
fn an_index_that_says_what_cannot_be_is_refused_by_name() {
    let whole = World::new().pack(BlobKind::Data, b"content").1;
    for bad in [
        IndexedBlob {
            length: 31,
            ..whole
        },
        IndexedBlob {
            offset: u32::MAX - 10,
            ..whole
        },
        IndexedBlob {
            length: u32::MAX,
            ..whole
        },
        IndexedBlob {
            uncompressed_length: Some(u32::MAX),
            ..whole
        },
        IndexedBlob {
            uncompressed_length: Some(0),
            ..whole
        },
    ] {
        let world = World::new();
        let (pack, _) = world.pack(BlobKind::Data, b"content");
        let file = world.index(vec![(pack, vec![bad])]);
        match world.repository.load_index() {
            Err(error @ Error::Damaged { .. }) => {
                assert!(error.to_string().contains(&file.to_string()), "{error}");
            }
            other => panic!("{bad:?}: {other:?}"),
        }
    }
}

#[test]
fn blobs_that_overlap_reach_beyond_their_pack_or_unpack_to_more_are_damage() {
    let world = World::new();
    let (pack, whole) = world.pack(BlobKind::Data, b"some content of a file");
    let other = BlobId::of(b"other");
    for bad in [
        IndexedBlob { offset: 5, ..whole },
        IndexedBlob { id: other, ..whole },
        IndexedBlob {
            length: whole.length + 9,
            ..whole
        },
        IndexedBlob {
            length: 400 << 20,
            ..whole
        },
        IndexedBlob {
            uncompressed_length: Some(400 << 20),
            ..whole
        },
    ] {
        let file = world.index(vec![(
            pack,
            vec![
                bad,
                IndexedBlob {
                    id: other,
                    offset: 1,
                    ..whole
                },
            ],
        )]);
        // No snapshot lacks it: it is told all the same.
        let checked = world.check();
        assert!(!checked.findings.is_empty(), "{bad:?}");
        assert_eq!(checked.damaged_packs, [pack], "{bad:?}");
        let path = Kind::Pack.path(&pack);
        assert!(
            checked.findings.iter().all(|found| found.file == path),
            "{:?}",
            checked.findings
        );
        let index = world.repository.load_index().unwrap();
        let read = world.repository.read_blob(&index, BlobKind::Data, &bad.id);
        assert!(
            read.as_ref().is_err_and(Error::is_damage),
            "{bad:?}: {read:?}"
        );
        world.repository.files().remove(Kind::Index, &file).unwrap();
    }
}

/// A description that compresses a thousand times must not be taken at the index's word for its length.
#[test]
fn a_piece_that_unpacks_to_more_than_was_said_is_damage() {
    let world = World::new();
    let plain = vec![b' '; 64 << 20];
    let packed = zstd::bulk::compress(&plain, 1).unwrap();
    let sealed = world.repository.key().seal(&packed).unwrap();
    let id = BlobId::of(&plain);
    let mut pack = PackWriter::default();
    pack.add(id, BlobKind::Tree, &sealed, Some(1000)).unwrap();
    let sealed = pack.seal(world.repository.key()).unwrap();
    let files = world.repository.files();
    files
        .write_named(Kind::Pack, sealed.id, sealed.bytes)
        .unwrap();
    world.index(vec![(sealed.id, sealed.blobs)]);
    let index = world.repository.load_index().unwrap();
    for read in [
        world.repository.read_tree(&index, &id).map(|_| ()),
        world.repository.entries(&index, &id).map(|_| ()),
    ] {
        assert!(read.as_ref().is_err_and(Error::is_damage), "{read:?}");
    }
}

#[test]
fn trees_that_would_lead_out_of_the_target_restore_nothing() {
    let entry = |name: &str| format!(r#"{{"name":"{name}","type":"file"}}"#);
    for bad in [
        entry(".."),
        entry("."),
        entry(""),
        entry("/etc/passwd"),
        entry("../outside"),
        entry("a\\x2f..\\x2fb"),
        entry("a\\x00b"),
        format!("{},{}", entry("b"), entry("a")),
        format!("{0},{0}", entry("a")),
        r#"{"name":"a","type":"dir"}"#.to_owned(),
    ] {
        let world = World::new();
        let tree = world.snapshot(&format!("{{\"nodes\":[{bad}]}}\n"));
        let checked = world.check();
        assert!(!checked.is_whole(), "{bad}");
        assert_eq!(checked.damaged_snapshots.len(), 1);
        let index = world.repository.load_index().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let options = RestoreOptions::default();
        let restored = restore::run(
            &world.repository,
            &index,
            &tree,
            &target,
            &options,
            &Progress::new(),
        );
        assert!(
            restored.as_ref().is_err_and(Error::is_damage),
            "{bad}: {restored:?}"
        );
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_document_that_is_sealed_and_senseless_is_named() {
    let world = World::new();
    for plain in [b"".as_slice(), b"{", b"\x02no zstd", b"\x07", b"[]"] {
        let sealed = world.repository.key().seal(plain).unwrap();
        let file = world
            .repository
            .files()
            .write(Kind::Index, Bytes::from(sealed))
            .unwrap();
        match world.repository.load_index() {
            Err(error @ Error::Damaged { .. }) => {
                assert!(error.to_string().contains(&file.to_string()), "{error}");
            }
            other => panic!("{plain:?}: {other:?}"),
        }
        world.repository.files().remove(Kind::Index, &file).unwrap();
    }
}
