//! What every implementation of [`ObjectStore`] must do. Run by each implementation's tests, also behind
//! the retry decorator.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::error::ErrorKind;
use crate::key::Key;
use crate::store::{GetOptions, ObjectStore, PutMode};

/// Runs the whole suite below the folder `root` of the store, which must be empty.
///
/// # Panics
/// The store breaks the contract; the message says which clause.
pub async fn run(store: Arc<dyn ObjectStore>, root: &str) {
    let suite = Suite {
        store,
        root: root.to_owned(),
    };
    suite.reads_what_was_written().await;
    suite.ranges().await;
    suite.missing_objects().await;
    suite.overwrite_and_create().await;
    suite.uploads().await;
    suite.listings().await;
    suite.deletes().await;
    suite.odd_keys().await;
    if suite.store.excludes() {
        suite.create_only_excludes().await;
        suite.create_only_uploads_exclude().await;
    }
}

struct Suite {
    store: Arc<dyn ObjectStore>,
    root: String,
}

impl Suite {
    fn key(&self, name: &str) -> Key {
        Key::new(format!("{}/{name}", self.root)).expect("suite keys are valid")
    }

    async fn put(&self, name: &str, body: &[u8]) {
        let body = Bytes::copy_from_slice(body);
        let size = body.len() as u64;
        let info = self
            .store
            .put(&self.key(name), body, PutMode::Overwrite)
            .await
            .expect("put");
        assert_eq!(
            (info.size, info.key),
            (size, self.key(name)),
            "put answers with the object"
        );
    }

    async fn read(&self, name: &str) -> Bytes {
        let object = self
            .store
            .get(&self.key(name), GetOptions::default())
            .await
            .expect("get");
        object.bytes(1 << 30).await.expect("body")
    }

    async fn reads_what_was_written(&self) {
        for (name, body) in [
            ("empty", Vec::new()),
            ("small", b"x".to_vec()),
            ("large", pattern(9 << 20)),
        ] {
            self.put(name, &body).await;
            assert_eq!(self.read(name).await, body, "{name} comes back");
            let info = self.store.head(&self.key(name)).await.expect("head");
            assert_eq!(
                info.size,
                body.len() as u64,
                "head knows the size of {name}"
            );
        }
    }

    async fn ranges(&self) {
        let body = pattern(100_000);
        self.put("ranged", &body).await;
        for (start, end) in [
            (0, 1),
            (0, 100_000),
            (99_999, 100_000),
            (5, 5),
            (1234, 77_777),
        ] {
            let options = GetOptions {
                range: Some(start..end),
                version: None,
            };
            let object = self
                .store
                .get(&self.key("ranged"), options)
                .await
                .expect("range");
            assert_eq!(
                object.info.size, 100_000,
                "size is that of the whole object"
            );
            let part = object.bytes(1 << 20).await.expect("body");
            assert_eq!(
                part,
                body[start as usize..end as usize],
                "range {start}-{end}"
            );
        }
        let beyond = GetOptions {
            range: Some(99_990..100_001),
            version: None,
        };
        let outcome = self.store.get(&self.key("ranged"), beyond).await;
        let short = match outcome {
            Err(error) => error.kind == ErrorKind::Invalid,
            Ok(object) => object.bytes(1 << 20).await.is_err(),
        };
        assert!(
            short,
            "a range beyond the end is an error, not a short answer"
        );
    }

    async fn missing_objects(&self) {
        let missing = self.key("no/such/object");
        let get = self.store.get(&missing, GetOptions::default()).await;
        assert_eq!(
            get.expect_err("missing").kind,
            ErrorKind::NotFound,
            "get of a missing object"
        );
        assert_eq!(
            self.store.head(&missing).await.expect_err("missing").kind,
            ErrorKind::NotFound
        );
        self.store
            .delete(&missing)
            .await
            .expect("deleting what is not there succeeds");
        let listed = self
            .store
            .list_folder(&format!("{}/no", self.root))
            .await
            .expect("listed");
        assert!(
            listed.folders.is_empty() && listed.objects.is_empty(),
            "a missing folder is empty"
        );
    }

    async fn overwrite_and_create(&self) {
        self.put("twice", b"first").await;
        self.put("twice", b"second").await;
        assert_eq!(
            self.read("twice").await,
            &b"second"[..],
            "overwrite replaces"
        );
        if self.store.excludes() {
            let refused = self
                .store
                .put(
                    &self.key("twice"),
                    Bytes::from_static(b"x"),
                    PutMode::Create,
                )
                .await;
            let error = refused.expect_err("create-only refuses a taken key");
            assert_eq!(error.kind, ErrorKind::AlreadyExists);
            assert!(!error.may_have_happened(), "a clean refusal is determinate");
            assert_eq!(
                self.read("twice").await,
                &b"second"[..],
                "refused create changes nothing"
            );
        }
    }

    async fn uploads(&self) {
        let body = pattern(13 << 20);
        let mut upload = self
            .store
            .upload(&self.key("up/large"), PutMode::Create)
            .await
            .expect("begin");
        for chunk in body.chunks(700_001) {
            upload
                .write(Bytes::copy_from_slice(chunk))
                .await
                .expect("write");
        }
        let before = self.store.head(&self.key("up/large")).await;
        assert!(before.is_err(), "nothing is visible before the end");
        let info = upload.finish().await.expect("finish");
        assert_eq!(info.size, body.len() as u64);
        assert_eq!(self.read("up/large").await, body);

        let empty = self
            .store
            .upload(&self.key("up/empty"), PutMode::Create)
            .await
            .expect("begin");
        empty
            .finish()
            .await
            .expect("an empty upload is an empty object");
        assert_eq!(self.read("up/empty").await.len(), 0);

        for end in ["abort", "drop"] {
            let mut upload = self
                .store
                .upload(&self.key("up/given-up"), PutMode::Create)
                .await
                .expect("begin");
            upload
                .write(Bytes::from(pattern(6 << 20)))
                .await
                .expect("write");
            if end == "abort" {
                upload.abort().await.expect("abort");
            }
            assert!(
                self.store.head(&self.key("up/given-up")).await.is_err(),
                "{end} leaves nothing"
            );
        }
    }

    async fn listings(&self) {
        for name in [
            "l/a", "l/a.b", "l/a-b/1", "l/a/1", "l/a/2/x", "l/b/1", "lx", "l/c",
        ] {
            // `l/a` is an object and a folder at once, which file systems cannot have.
            if name == "l/a" && self.store.local_root().is_some() {
                continue;
            }
            self.put(name, name.as_bytes()).await;
        }
        let listed: Vec<String> = self
            .store
            .list(&format!("{}/l", self.root))
            .await
            .expect("list")
            .map_ok(|info| info.key.as_str()[self.root.len() + 1..].to_owned())
            .try_collect()
            .await
            .expect("whole listing");
        let mut expected = vec![
            "l/a", "l/a-b/1", "l/a.b", "l/a/1", "l/a/2/x", "l/b/1", "l/c",
        ];
        if self.store.local_root().is_some() {
            expected.remove(0);
        }
        assert_eq!(
            listed, expected,
            "everything below the folder, by key, nothing beside it"
        );

        let folder = self
            .store
            .list_folder(&format!("{}/l", self.root))
            .await
            .expect("folder");
        assert_eq!(folder.folders, ["a", "a-b", "b"], "sorted by name");
        let names: Vec<_> = folder
            .objects
            .iter()
            .map(|info| info.key.file_name())
            .collect();
        let names_expected: &[&str] = if self.store.local_root().is_some() {
            &["a.b", "c"]
        } else {
            &["a", "a.b", "c"]
        };
        assert_eq!(names, names_expected);

        // More than one page of any store we know (1000 or 5000 per page).
        let puts = (0..1100).map(|i| async move { self.put(&format!("many/{i:05}"), b"").await });
        futures::stream::iter(puts)
            .buffer_unordered(16)
            .collect::<Vec<()>>()
            .await;
        let many: Vec<_> = self
            .store
            .list(&format!("{}/many", self.root))
            .await
            .expect("list")
            .try_collect()
            .await
            .expect("all pages");
        assert_eq!(many.len(), 1100, "all pages of a listing");
        assert!(many.is_sorted_by(|a, b| a.key < b.key), "by key");
    }

    async fn deletes(&self) {
        self.put("d/one", b"1").await;
        self.put("d/two", b"2").await;
        self.store.delete(&self.key("d/one")).await.expect("delete");
        assert!(
            self.store.head(&self.key("d/one")).await.is_err(),
            "deleted is gone"
        );
        assert_eq!(self.read("d/two").await, &b"2"[..], "its neighbour stays");
        self.store.delete(&self.key("d/two")).await.expect("delete");
        let root = self.store.list_folder(&self.root).await.expect("list");
        assert!(
            !root.folders.iter().any(|name| name == "d"),
            "an empty folder is no folder"
        );
        self.put("d/one", b"again").await;
        assert_eq!(
            self.read("d/one").await,
            &b"again"[..],
            "a deleted key can be used again"
        );
    }

    async fn odd_keys(&self) {
        for name in [
            "odd/한글",
            "odd/with space",
            "odd/a+b=c&d",
            "odd/per%20cent",
            "odd/%",
            "odd/#?;:@!$'()*,",
        ] {
            self.put(name, name.as_bytes()).await;
            assert_eq!(self.read(name).await, name.as_bytes(), "{name}");
        }
        let folder = self
            .store
            .list_folder(&format!("{}/odd", self.root))
            .await
            .expect("list");
        assert_eq!(folder.objects.len(), 6, "{:?}", folder.objects);
        let long = format!("odd/{}", "x".repeat(240));
        self.put(&long, b"long").await;
        assert_eq!(self.read(&long).await, &b"long"[..]);
    }

    async fn create_only_excludes(&self) {
        for round in 0..40 {
            let key = self.key(&format!("race/{round}"));
            let writers = (0..8u8).map(|writer| {
                let (store, key) = (Arc::clone(&self.store), key.clone());
                tokio::spawn(async move {
                    let body = Bytes::from(vec![writer; 1000]);
                    (writer, store.put(&key, body, PutMode::Create).await)
                })
            });
            let mut winners = Vec::new();
            for outcome in join_all(writers).await {
                let (writer, outcome) = outcome.expect("writer did not panic");
                match outcome {
                    Ok(_) => winners.push(writer),
                    Err(error) => {
                        assert_eq!(error.kind, ErrorKind::AlreadyExists, "loser: {error}");
                    }
                }
            }
            assert_eq!(
                winners.len(),
                1,
                "round {round}: create-only has one winner: {winners:?}"
            );
            let body = self.read(&format!("race/{round}")).await;
            assert_eq!(
                body,
                vec![winners[0]; 1000],
                "the winner's bytes are what is stored"
            );
        }
    }

    async fn create_only_uploads_exclude(&self) {
        let key = self.key("race/upload");
        let mut first = self
            .store
            .upload(&key, PutMode::Create)
            .await
            .expect("begin");
        let mut second = self
            .store
            .upload(&key, PutMode::Create)
            .await
            .expect("begin");
        first
            .write(Bytes::from(pattern(6 << 20)))
            .await
            .expect("write");
        second
            .write(Bytes::from_static(b"late"))
            .await
            .expect("write");
        first.finish().await.expect("first to finish wins");
        let error = second.finish().await.expect_err("second is refused");
        assert_eq!(error.kind, ErrorKind::AlreadyExists);
        assert_eq!(self.read("race/upload").await.len(), 6 << 20);
    }
}

/// Bytes that neither compress nor repeat at power-of-two distances.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}
