//! What is written comes back: through the index, through a stream, in any member layout.

use std::fs::File;
use std::io::{Cursor, Read, Write as _};
use std::sync::Arc;

use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_archive::archive::{Archive, ReadAt};
use salvor_archive::assemble::Assembler;
use salvor_archive::findings::{FindingKind, Severity};
use salvor_archive::index::Index;
use salvor_archive::item::ItemRef;
use salvor_archive::limits::Limits;
use salvor_archive::segment::{SegmentBuilder, TARGET_BYTES};
use salvor_archive::{ArchiveError, Expected, verify};

#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) key: ObjectKey,
    pub(crate) version: String,
    pub(crate) preferred: bool,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn item(resource: &str, namespace: Option<&str>, name: &str, version: &str) -> Item {
    let key = ObjectKey {
        resource: resource.parse().expect("resource"),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    };
    let body = serde_json::json!({
        "apiVersion": version, "kind": "X", "metadata": {"name": name, "namespace": namespace},
    });
    Item {
        key,
        version: version.to_owned(),
        preferred: true,
        body: body.to_string().into_bytes(),
    }
}

/// Writes as a backup does; a segment for every `per_segment` items.
pub(crate) fn write(items: &[Item], per_segment: usize) -> (Vec<u8>, Index) {
    let (mut assembler, head) = Assembler::new();
    let mut file = head.to_vec();
    for chunk in items.chunks(per_segment) {
        let mut builder = SegmentBuilder::new();
        for Item {
            key,
            version,
            preferred,
            body,
        } in chunk
        {
            let item = ItemRef {
                key,
                version,
                preferred: *preferred,
                body,
            };
            builder.push(&item, 1_700_000_000).expect("a valid item");
        }
        let member = builder.finish().compress().expect("compress");
        file.extend_from_slice(&assembler.add(member).expect("index"));
    }
    let (tail, index) = assembler.finish();
    file.extend_from_slice(&tail);
    (file, index)
}

pub(crate) fn a_few() -> Vec<Item> {
    let mut items = vec![
        item("pods", Some("shop"), "web-0", "v1"),
        item("namespaces", None, "shop", "v1"),
        item("deployments.apps", Some("shop"), "web", "v1"),
        item(
            "clusterroles.rbac.authorization.k8s.io",
            None,
            "system:node",
            "v1",
        ),
        item("pods", Some("bank"), "web-0", "v1"),
        item("x.example.io", None, &"n".repeat(253), "v1beta1"),
        item(
            "x.example.io",
            Some(&"s".repeat(63)),
            &"m".repeat(253),
            "v1beta1",
        ),
        item("y.example.io", Some("ns"), "한글", "v2"),
    ];
    let mut old = item("deployments.apps", Some("shop"), "web", "v1beta1");
    old.preferred = false;
    items.push(old);
    items
}

#[test]
fn every_item_comes_back_through_the_index() {
    let items = a_few();
    for per_segment in [1, 2, 100] {
        let (file, index) = write(&items, per_segment);
        assert_eq!(index.archive_len(), file.len() as u64);
        assert_eq!((index.len(), index.object_count()), (9, 8));
        let index = Index::decode(&index.encode(), Limits::default()).expect("own index");
        let archive = Archive::open(index.clone(), Arc::new(file));
        for item in &items {
            let entry = index.get(&item.key, Some(&item.version)).expect("indexed");
            assert_eq!(entry.key(), item.key);
            assert_eq!(entry.preferred(), item.preferred);
            assert_eq!(archive.get(&entry).expect("read"), item.body);
        }
        let in_order: Vec<_> = archive
            .get_all_in_order()
            .map(|found| found.expect("read").1)
            .collect();
        let written: Vec<_> = items.iter().map(|item| item.body.clone()).collect();
        assert_eq!(in_order, written, "archive order is the order of writing");
    }
}

#[test]
fn queries_see_names_namespaces_and_versions() {
    let (_, index) = write(&a_few(), 3);
    let pods = GroupResource::new("pods", "");
    let web = GroupResource::new("deployments", "apps");
    let names = |namespace| {
        let names: Vec<String> = index
            .range(&pods, namespace)
            .map(|e| e.key().scoped_name())
            .collect();
        names.join(" ")
    };
    assert_eq!(names(None), "bank/web-0 shop/web-0");
    assert_eq!(names(Some("shop")), "shop/web-0");
    assert_eq!(names(Some("nowhere")), "");
    assert_eq!(index.range(&GroupResource::new("none", ""), None).len(), 0);
    assert_eq!(index.namespaces().len(), 4, "{:?}", index.namespaces());
    assert!(index.resources().is_sorted() && index.resources().len() == 6);
    let versions: Vec<_> = index
        .versions(&web)
        .iter()
        .map(|v| (v.version, v.preferred, v.count))
        .collect();
    assert_eq!(versions, [("v1", true, 1), ("v1beta1", false, 1)]);
    let key = ObjectKey::namespaced(web, "shop", "web");
    assert_eq!(index.get(&key, None).map(|e| e.version()), Some("v1"));
    assert_eq!(
        index.get(&key, Some("v1beta1")).map(|e| e.preferred()),
        Some(false)
    );
    assert!(index.get(&key, Some("v2")).is_none());
    let keys: Vec<_> = index
        .iter()
        .map(|e| (e.key(), e.version().to_owned()))
        .collect();
    assert!(keys.is_sorted());
}

#[test]
fn a_stream_of_our_own_archive_gives_the_same_index_and_no_findings() {
    let items = a_few();
    let (file, index) = write(&items, 2);
    let (archive, findings) =
        Archive::from_stream(file.as_slice(), Limits::default(), Vec::new()).expect("own archive");
    assert_eq!(findings.list, [], "{findings:?}");
    assert_eq!(findings.format_version.as_deref(), Some("1.1.0"));
    assert_eq!(findings.object_count, 8);
    assert_eq!(findings.entry_count, 1 + 8 * 2 + 1);
    assert_eq!(findings.compressed_bytes, file.len() as u64);
    let shape = |index: &Index| -> Vec<_> {
        index
            .iter()
            .map(|e| (e.key(), e.version().to_owned(), e.preferred(), e.digest()))
            .collect()
    };
    assert_eq!(shape(archive.index()), shape(&index));
    for item in &items {
        let entry = archive
            .index()
            .get(&item.key, Some(&item.version))
            .expect("indexed");
        assert_eq!(archive.get(&entry).expect("read"), item.body);
    }
}

#[test]
fn what_is_added_twice_counts_once_and_the_later_body_stays() {
    let mut items = a_few();
    let mut again = item("pods", Some("shop"), "web-0", "v1");
    again.body = br#"{"apiVersion":"v1","metadata":{"name":"web-0"},"new":true}"#.to_vec();
    items.push(again);
    let (file, index) = write(&items, 4);
    let key = &items[0].key;
    let (streamed, findings) =
        Archive::from_stream(file.as_slice(), Limits::default(), Vec::new()).expect("own archive");
    for archive in [Archive::open(index, Arc::new(file)), streamed] {
        assert_eq!(archive.index().object_count(), 8);
        let entry = archive.index().get(key, None).expect("indexed");
        assert_eq!(archive.get(&entry).expect("read"), items[9].body);
    }
    let kinds: Vec<_> = findings
        .list
        .iter()
        .map(|f| (f.to_string(), f.severity()))
        .collect();
    let expected = "pods shop/web-0: occurs more than once, the last one counts".to_owned();
    assert_eq!(kinds, [(expected, Severity::Warning)]);
}

#[test]
fn an_object_listed_in_two_preferred_versions_keeps_the_later_as_preferred() {
    let items = vec![
        item("a.example.io", None, "x", "v2"),
        item("a.example.io", None, "x", "v1"),
    ];
    let (file, index) = write(&items, 2);
    let (streamed, findings) =
        Archive::from_stream(file.as_slice(), Limits::default(), Vec::new()).expect("own archive");
    for index in [&index, streamed.index()] {
        let entries: Vec<_> = index
            .iter()
            .map(|e| (e.version().to_owned(), e.preferred()))
            .collect();
        assert_eq!(entries, [("v1".to_owned(), true), ("v2".to_owned(), false)]);
        assert_eq!(index.object_count(), 1);
    }
    let several = FindingKind::SeveralPreferred("v1".to_owned());
    assert!(
        findings.list.iter().any(|f| f.kind == several),
        "{findings:?}"
    );
    let bytes = index.encode();
    assert!(Index::decode(&bytes, Limits::default()).is_ok());
}

#[test]
fn segments_are_full_at_their_target_and_large_items_stand_alone() {
    let small = item("pods", Some("a"), "small", "v1");
    let mut large = item("pods", Some("a"), "large", "v1");
    large.body.resize(TARGET_BYTES * 3, b' ');
    let as_ref = |i: &'static Item| ItemRef {
        key: &i.key,
        version: &i.version,
        preferred: i.preferred,
        body: &i.body,
    };
    let (small, large): (&'static Item, &'static Item) =
        (Box::leak(Box::new(small)), Box::leak(Box::new(large)));
    let mut builder = SegmentBuilder::new();
    assert!(
        builder.fits(&as_ref(large)),
        "an empty segment takes anything"
    );
    let mut count = 0;
    while builder.fits(&as_ref(small)) {
        builder.push(&as_ref(small), 0).expect("valid");
        count += 1;
    }
    assert!(builder.tar_len() <= TARGET_BYTES && !builder.fits(&as_ref(large)));
    assert!(count > 100);
    builder.push(&as_ref(large), 0).expect("valid");
    assert!(builder.is_full());
}

#[test]
fn an_empty_backup_is_an_archive_without_resources() {
    let (file, index) = write(&[], 1);
    assert!(index.is_empty());
    let index = Index::decode(&index.encode(), Limits::default()).expect("own index");
    assert_eq!(index.len(), 0);
    let findings = verify(file.as_slice(), Expected::default(), &Limits::default()).expect("sound");
    let kinds: Vec<_> = findings.list.iter().map(|f| f.kind.clone()).collect();
    assert_eq!(kinds, [FindingKind::NoResources]);
    assert_eq!(findings.worst(), Some(Severity::Warning));
}

#[test]
fn equal_contents_give_equal_bytes() {
    let (first, second) = (write(&a_few(), 3), write(&a_few(), 3));
    assert_eq!(first.0, second.0);
    assert_eq!(first.1.encode(), second.1.encode());
}

#[test]
fn verify_holds_the_archive_against_digest_and_index() {
    let items = a_few();
    let (file, index) = write(&items, 2);
    let limits = Limits::default();
    let findings = verify(file.as_slice(), Expected::default(), &limits).expect("sound");
    let sha256 = Some(findings.sha256);
    let expected = Expected {
        sha256,
        index: Some(&index),
    };
    assert_eq!(
        verify(file.as_slice(), expected, &limits)
            .expect("sound")
            .list,
        []
    );

    let other = Expected {
        sha256: Some([0; 32]),
        index: None,
    };
    let error = verify(file.as_slice(), other, &limits).expect_err("another digest");
    assert!(
        matches!(error, ArchiveError::ArchiveDigest { .. }),
        "{error}"
    );
    assert!(!error.is_retryable());

    let mut changed = a_few();
    changed[0].body.pop();
    changed[0].body.extend_from_slice(b",\"more\":1}");
    changed.remove(1);
    changed.push(item("secrets", Some("shop"), "new", "v1"));
    let (changed, _) = write(&changed, 2);
    let expected = Expected {
        sha256: None,
        index: Some(&index),
    };
    let findings = verify(changed.as_slice(), expected, &limits).expect("sound");
    let text: Vec<String> = findings.list.iter().map(ToString::to_string).collect();
    for line in [
        "pods shop/web-0 v1: differs from what the index promises",
        "namespaces shop v1: is in the index but not in the archive",
        "secrets shop/new v1: is in the archive but not in the index",
    ] {
        assert!(text.iter().any(|t| t == line), "{line} is not in {text:?}");
    }
    assert_eq!(findings.worst(), Some(Severity::Error));
}

#[test]
fn an_index_of_another_archive_shows_at_the_first_object() {
    let (_, index) = write(&a_few(), 2);
    let mut others = a_few();
    for item in &mut others {
        item.body.push(b' ');
    }
    let (file, _) = write(&others, 2);
    let key = others[0].key.clone();
    for data in [file.clone(), file[..file.len() / 2].to_vec(), Vec::new()] {
        let archive = Archive::open(index.clone(), Arc::new(data));
        let entry = index.get(&key, None).expect("indexed");
        let error = archive.get(&entry).expect_err("not what was indexed");
        let refused = matches!(
            error,
            ArchiveError::ItemDigest { .. } | ArchiveError::Member { .. }
        );
        assert!(refused, "{error}");
        assert!(archive.get_all_in_order().any(|found| found.is_err()));
    }
}

#[test]
fn members_are_read_once_in_order_and_cached_otherwise() {
    struct Counting(Vec<u8>, std::sync::atomic::AtomicUsize);
    impl ReadAt for Counting {
        fn read_at(&self, offset: u64, len: usize) -> std::io::Result<Vec<u8>> {
            self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            self.0.read_at(offset, len)
        }
        fn len(&self) -> u64 {
            ReadAt::len(&self.0)
        }
    }
    let items: Vec<Item> = (0..100)
        .map(|n| item("pods", Some("a"), &format!("p{n}"), "v1"))
        .collect();
    let (file, index) = write(&items, 10);
    let data = Arc::new(Counting(file, Default::default()));
    let reads = || data.1.swap(0, std::sync::atomic::Ordering::Relaxed);
    let archive = Archive::open(index.clone(), data.clone());
    assert_eq!(
        archive.get_all_in_order().filter(Result::is_ok).count(),
        100
    );
    assert_eq!(reads(), 10);
    for entry in index.iter().chain(index.iter()) {
        archive.get(&entry).expect("read");
    }
    assert_eq!(reads(), 10);
    let tiny = Archive::with_cache(index.clone(), data.clone(), 100);
    for entry in index.iter() {
        tiny.get(&entry).expect("read");
    }
    assert_eq!(reads(), 100, "a member larger than the cache is not kept");
}

#[test]
fn files_and_buffers_read_alike() {
    let mut file = tempfile::tempfile().expect("temporary file");
    file.write_all(b"0123456789").expect("write");
    let buffer = b"0123456789".to_vec();
    let both: [&dyn ReadAt; 2] = [&file as &File, &buffer];
    for data in both {
        assert_eq!(data.len(), 10);
        assert_eq!(data.read_at(3, 4).expect("inside"), b"3456");
        assert_eq!(data.read_at(10, 0).expect("at the end"), b"");
        for (offset, len) in [(8, 3), (11, 0), (u64::MAX, 1), (0, usize::MAX)] {
            let error = data.read_at(offset, len).expect_err("outside");
            assert_eq!(
                error.kind(),
                std::io::ErrorKind::UnexpectedEof,
                "{offset} {len}"
            );
        }
    }
}

#[test]
fn a_failing_reader_is_told_from_damage() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::ConnectionReset.into())
        }
    }
    let (file, _) = write(&a_few(), 2);
    let reader = Cursor::new(&file[..file.len() / 2]).chain(Failing);
    let error = verify(reader, Expected::default(), &Limits::default()).expect_err("cut off");
    assert!(matches!(error, ArchiveError::Read { .. }), "{error}");
    assert!(error.is_retryable() && !error.is_cancelled() && !error.may_have_happened());
}

#[test]
fn a_long_body_is_compressed_once_and_stands_twice() {
    // Bytes that do not compress, so that lengths tell.
    let mut state = 1u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state % 90) as u8)
    };
    let text: String = (0..200_000).map(|_| noise()).collect();
    let mut long = item("secrets", Some("shop"), "release", "v1");
    long.body = serde_json::json!({"kind": "Secret", "apiVersion": "v1",
        "metadata": {"name": "release", "namespace": "shop"}, "data": text})
    .to_string()
    .into_bytes();
    let mut items = vec![item("pods", Some("shop"), "web-0", "v1"), long];
    items.push(item("pods", Some("shop"), "web-1", "v1"));
    let (file, index) = write(&items, 3);
    let archive = Archive::open(index, Arc::new(file.clone()));
    for item in &items {
        let entry = archive.index().get(&item.key, None).expect("in the index");
        assert_eq!(
            archive.get(&entry).expect("readable"),
            item.body,
            "{}",
            item.key
        );
    }
    let (streamed, findings) =
        Archive::from_stream(Cursor::new(&file), Limits::default(), Vec::new())
            .expect("a whole archive");
    assert_eq!(findings.worst(), None, "{findings:?}");
    assert_eq!(streamed.index().len(), 3);
    let member = archive
        .index()
        .get(&items[1].key, None)
        .expect("in the index")
        .member();
    let range = |from: usize| from..from + member.compressed_len as usize;
    let first = &file[range(member.offset as usize)];
    let again = file
        .windows(first.len())
        .filter(|window| *window == first)
        .count();
    assert_eq!(again, 2, "the same compressed bytes for both entries");
}
