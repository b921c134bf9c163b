//! Properties over generated archives, indexes and plain noise.

use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_archive::archive::Archive;
use salvor_archive::index::Index;
use salvor_archive::item::EntryPath;
use salvor_archive::limits::Limits;
use salvor_archive::{Expected, verify};

use crate::handmade::{Tar, gzip};
use crate::written::{Item, a_few, write};

fn key() -> impl Strategy<Value = ObjectKey> {
    let resource = prop_oneof![
        Just("pods"),
        Just("deployments.apps"),
        Just("x.a-b.io"),
        Just("x.a.io")
    ];
    let name = "[a-z가-하][a-z0-9:.-]{0,250}[a-z0-9]";
    (resource, proptest::option::of("[a-z]{1,20}"), name).prop_map(|(resource, namespace, name)| {
        ObjectKey {
            resource: resource.parse::<GroupResource>().expect("resource"),
            namespace,
            name,
        }
    })
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    let versions = prop_oneof![Just("v1"), Just("v1beta1")];
    btree_map((key(), versions), "[ -~]{0,2000}", 0..30).prop_map(|map| {
        let mut items = Vec::new();
        for ((key, version), text) in map {
            let body = serde_json::json!({
                "apiVersion": version, "metadata": {"name": key.name, "namespace": key.namespace},
                "text": text,
            });
            let preferred = version == "v1";
            let body = body.to_string().into_bytes();
            items.push(Item {
                key,
                version: version.to_owned(),
                preferred,
                body,
            });
        }
        items
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_comes_back(items in items(), per_segment in 1usize..8) {
        let (file, index) = write(&items, per_segment);
        let encoded = index.encode();
        let decoded = Index::decode(&encoded, Limits::default()).expect("own index");
        prop_assert_eq!(decoded.encode(), encoded);
        let (streamed, findings) =
            Archive::from_stream(file.as_slice(), Limits::default(), Vec::new()).expect("own archive");
        let only_old = items.iter().any(|i| !i.preferred);
        prop_assert!(findings.list.is_empty() || only_old || items.is_empty(), "{:?}", findings);
        for archive in [Archive::open(decoded, Arc::new(file)), streamed] {
            prop_assert_eq!(archive.index().len(), items.len());
            for item in &items {
                let entry = archive.index().get(&item.key, Some(&item.version)).expect("indexed");
                prop_assert_eq!(entry.preferred(), item.preferred);
                prop_assert_eq!(archive.get(&entry).expect("read"), item.body.as_slice());
            }
        }
    }

    #[test]
    fn noise_is_refused_without_panic(noise in vec(any::<u8>(), 0..2000)) {
        prop_assert!(Index::decode(&noise, Limits::default()).is_err());
        prop_assert!(Archive::from_stream(noise.as_slice(), Limits::default(), Vec::new()).is_err());
        // Compressed noise is at least looked at as a tar.
        let _ = verify(gzip(&noise).as_slice(), Expected::default(), &Limits::default());
        let _ = EntryPath::parse(&String::from_utf8_lossy(&noise));
    }

    #[test]
    fn accepted_paths_are_safe_and_come_back(
        path in "(\\./|/)?(resources|metadata|\\.\\.)/[a-z.]{0,9}/(v1(-preferredversion)?/)?(cluster|namespaces/[a-z./\\\\]{0,6})/[a-z./:\u{0}-\u{20}]{0,9}(\\.json)?",
    ) {
        if let Ok(Some(parsed)) = EntryPath::parse(&path) {
            let text = parsed.to_string();
            prop_assert_eq!(&text, path.strip_prefix("./").unwrap_or(&path));
            prop_assert!(text.split('/').all(|s| !s.is_empty() && s != "." && s != ".."));
            prop_assert!(!text.chars().any(|c| c.is_control() || c == '\\'));
            prop_assert_eq!(EntryPath::parse(&text).ok().flatten(), Some(parsed));
        }
    }

    #[test]
    fn damaged_indexes_are_refused(at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>()) {
        let (_, index) = write(&a_few(), 2);
        let bytes = index.encode();
        let mut flipped = bytes.clone();
        flipped[at.index(bytes.len())] ^= 1 << bit;
        prop_assert!(Index::decode(&flipped, Limits::default()).is_err());
        prop_assert!(Index::decode(&bytes[..cut.index(bytes.len())], Limits::default()).is_err());
    }

    #[test]
    fn overwritten_tar_bytes_never_panic(at in any::<prop::sample::Index>(), patch in vec(any::<u8>(), 1..40)) {
        let mut tar = Tar::velero()
            .object("resources/pods/namespaces/a/x.json")
            .pax_long("resources/pods/namespaces/a/y.json", b"{}")
            .gnu_long("resources/pods/namespaces/a/z.json", b"{}");
        let start = at.index(tar.0.len());
        let end = (start + patch.len()).min(tar.0.len());
        tar.0[start..end].copy_from_slice(&patch[..end - start]);
        if let Ok((archive, findings)) = Archive::from_stream(tar.gz().as_slice(), Limits::default(), Vec::new()) {
            prop_assert_eq!(archive.index().object_count(), findings.object_count);
            for entry in archive.index().iter() {
                prop_assert!(archive.get(&entry).is_ok());
            }
        }
    }
}
