//! The S3 store against moto.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use salvor_storage::remote::read_signed;
use salvor_storage::testing::conformance;
use salvor_storage::{
    Access, ErrorKind, GetOptions, Key, Known, ObjectStore, PutMode, RetryPolicy, RetryStore,
    StoreUrl, Versioning, open_url,
};
use salvor_testkit::process::or_skip;
use salvor_testkit::s3_server::S3Server;

use crate::{Excluding, decorated};

static BUCKETS: AtomicUsize = AtomicUsize::new(0);

/// A server with an empty bucket.
pub(crate) struct Bucket {
    pub(crate) server: S3Server,
    pub(crate) name: String,
    credentials: tempfile::NamedTempFile,
}

impl Bucket {
    pub(crate) fn start(versioned: bool) -> Option<Self> {
        let server = or_skip(S3Server::start())?;
        let name = format!("bucket{}", BUCKETS.fetch_add(1, Ordering::Relaxed));
        server.create_bucket(&name, versioned).expect("bucket");
        let credentials = tempfile::NamedTempFile::new().expect("file");
        let text = "[default]\naws_access_key_id=test\naws_secret_access_key=hunter2\n";
        std::fs::write(credentials.path(), text).expect("written");
        Some(Self {
            server,
            name,
            credentials,
        })
    }

    /// The bucket by way of `address`.
    pub(crate) fn store_at(&self, address: &str, options: &str) -> Arc<dyn ObjectStore> {
        let url = format!(
            "s3://{}?endpoint=http://{address}&credentialsFile={}{options}",
            self.name,
            self.credentials.path().display()
        );
        open_url(&StoreUrl::parse(&url).expect("valid URL")).expect("usable options")
    }

    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        self.store_at(self.server.address(), "")
    }
}

fn key(name: &str) -> Key {
    Key::new(name).expect("valid key")
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_store_conforms() {
    let Some(bucket) = Bucket::start(false) else {
        return;
    };
    conformance::run(Excluding::wrap(bucket.store()), "bare").await;
    let open = bucket.server.open_uploads(&bucket.name).expect("listed");
    assert_eq!(open, 0, "nothing is left of uploads that were given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_store_conforms_with_decorators_checksums_and_encryption() {
    // Without versions: with them, moto lists a folder of which only deletions are left.
    let Some(bucket) = Bucket::start(false) else {
        return;
    };
    let options = "&checksumAlgorithm=CRC32C&sse=AES256&region=eu-west-1";
    let store = bucket.store_at(bucket.server.address(), options);
    conformance::run(decorated(Excluding::wrap(store)), "wrapped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_signed_url_reads_that_object_and_no_other() {
    let Some(bucket) = Bucket::start(false) else {
        return;
    };
    let lasts = Duration::from_secs(600);
    let text = Bytes::from("what it holds");
    // As others reach it: by a name that the store itself is not asked by.
    let address = bucket.server.address();
    let public = format!("http://{}", address.replace("127.0.0.1", "localhost"));
    for (options, host) in [
        (String::new(), address),
        (format!("&publicUrl={public}"), &public["http://".len()..]),
    ] {
        let store = decorated(bucket.store_at(address, &options));
        store
            .put(&key("a/b"), text.clone(), PutMode::Overwrite)
            .await
            .expect("put");
        let url = store.presign(&key("a/b"), lasts).await.expect("signed");
        let url = url.expect("a URL");
        assert!(url.starts_with(&format!("http://{host}/")), "{url}");
        let (size, body) = read_signed(&url, None, false).await.expect("read");
        let read: Vec<Bytes> = body.try_collect().await.expect("whole");
        assert_eq!((size, read.concat()), (Some(13), text.to_vec()));

        let absent = store.presign(&key("a/c"), lasts).await.expect("signed");
        let absent = read_signed(&absent.expect("a URL"), None, false).await;
        let error = absent.map(drop).expect_err("not there");
        assert_eq!(error.kind, ErrorKind::NotFound);
    }
    // A key that the store does not keep would have to be sent along.
    let secret = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(secret.path(), [7; 32]).expect("written");
    let options = format!(
        "&customerKeyEncryptionFile={}",
        secret.path().to_str().expect("a path")
    );
    let store = bucket.store_at(address, &options);
    let url = store.presign(&key("a/b"), lasts).await.expect("no error");
    assert_eq!(url, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_listed_and_read() {
    let Some(bucket) = Bucket::start(true) else {
        return;
    };
    let store = bucket.store();
    for body in ["one", "two"] {
        store
            .put(&key("v/a"), Bytes::from(body), PutMode::Overwrite)
            .await
            .expect("put");
    }
    store.delete(&key("v/a")).await.expect("delete");
    store
        .put(&key("v/b"), Bytes::from("other"), PutMode::Overwrite)
        .await
        .expect("put");

    let versions = store.list_versions("v").await.expect("versions");
    let found: Vec<_> = versions
        .iter()
        .map(|v| {
            (
                v.object.key.as_str(),
                v.is_delete_marker,
                v.is_latest,
                v.object.size,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("v/a", true, true, 0),
            ("v/a", false, false, 3),
            ("v/a", false, false, 3),
            ("v/b", false, true, 5),
        ]
    );
    assert!(
        store
            .head(&key("v/a"))
            .await
            .expect_err("deleted")
            .is_not_found()
    );
    for (version, body) in [(&versions[1], "two"), (&versions[2], "one")] {
        for part in [None, Some(1..2usize)] {
            let options = GetOptions {
                range: part.clone().map(|part| part.start as u64..part.end as u64),
                version: version.object.version.clone(),
            };
            let object = store.get(&key("v/a"), options).await.expect("old version");
            let expected = part.map_or(body, |part| &body[part]);
            assert_eq!(object.bytes(10).await.expect("body"), expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_markers_are_no_objects_and_strange_names_are_no_silence() {
    let Some(bucket) = Bucket::start(false) else {
        return;
    };
    let (store, server) = (bucket.store(), &bucket.server);
    store
        .put(&key("f/a"), Bytes::from("1"), PutMode::Create)
        .await
        .expect("put");
    server.create_object(&bucket.name, "f/").expect("marker");
    server
        .create_object(&bucket.name, "f/empty/")
        .expect("marker");
    let all: Vec<_> = store
        .list("f")
        .await
        .expect("list")
        .try_collect()
        .await
        .expect("whole");
    assert_eq!(all.len(), 1, "{all:?}");
    let folder = store.list_folder("f").await.expect("folder");
    assert_eq!(
        (folder.folders, folder.objects.len()),
        (vec!["empty".to_owned()], 1)
    );

    server
        .create_object(&bucket.name, "g/a//b")
        .expect("odd name");
    let listed = match store.list("g").await {
        Ok(stream) => stream.try_collect::<Vec<_>>().await,
        Err(error) => Err(error),
    };
    let error = listed.expect_err("not left out");
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.to_string().contains("g/a//b"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bucket_and_a_missing_server_are_clear_and_show_no_secret() {
    let Some(mut bucket) = Bucket::start(false) else {
        return;
    };
    bucket.name = "no-such-bucket".to_owned();
    let store = bucket.store();
    let list = store.list("").await.err().expect("no bucket");
    assert_eq!(list.kind, ErrorKind::NoBucket, "{list}");
    let delete = store.delete(&key("a")).await.expect_err("no bucket");
    assert_eq!(delete.kind, ErrorKind::NoBucket, "{delete}");

    // A port on which nobody listens any more.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
    let address = free.local_addr().expect("address").to_string();
    drop(free);
    let away = bucket.store_at(&address, "");
    let put = away
        .put(&key("a"), Bytes::from("x"), PutMode::Create)
        .await
        .expect_err("nobody there");
    assert_eq!(put.kind, ErrorKind::Transient, "{put}");
    assert!(!put.may_have_happened(), "it was never sent");
    for error in [list, delete, put] {
        let shown = format!("{error} {error:?} {away:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_may_replace_an_object_when_told_to() {
    let Some(bucket) = Bucket::start(false) else {
        return;
    };
    let store = bucket.store();
    for (size, byte) in [(17 << 20, 1), (100, 2), (0, 3), (9 << 20, 4)] {
        let mut upload = store
            .upload(&key("u"), PutMode::Overwrite)
            .await
            .expect("begin");
        let body = Bytes::from(vec![byte; size]);
        upload.write(body.clone()).await.expect("write");
        let info = upload.finish().await.expect("finish");
        assert_eq!(info.size, size as u64);
        let object = store
            .get(&key("u"), GetOptions::default())
            .await
            .expect("get");
        assert!(object.bytes(1 << 30).await.expect("body") == body, "{size}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_overtaken_is_refused() {
    let Some(bucket) = Bucket::start(false) else {
        return;
    };
    let store = RetryStore::new(bucket.store(), RetryPolicy::default());
    let mut upload = store
        .upload(&key("u"), PutMode::Create)
        .await
        .expect("begin");
    upload
        .write(Bytes::from(vec![1; 17 << 20]))
        .await
        .expect("write");
    store
        .put(&key("u"), Bytes::from("theirs"), PutMode::Create)
        .await
        .expect("they are first");
    let error = upload.finish().await.expect_err("too late");
    assert_eq!(error.kind, ErrorKind::AlreadyExists, "{error}");
    assert!(!error.may_have_happened());
    assert_eq!(bucket.server.open_uploads(&bucket.name).expect("listed"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_trusted_by_its_own_ca_or_on_demand_and_not_otherwise() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let Some((server, certificate)) = or_skip(S3Server::start_tls(folder.path())) else {
        return;
    };
    let credentials = folder.path().join("credentials");
    let text = "[default]\naws_access_key_id=test\naws_secret_access_key=test\n";
    std::fs::write(&credentials, text).expect("written");
    let look = async |trust: &str| {
        let url = format!(
            "s3://none?endpoint=https://{}&credentialsFile={}{trust}",
            server.address(),
            credentials.display()
        );
        let store = open_url(&StoreUrl::parse(&url).expect("valid URL")).expect("usable options");
        store.head(&key("a")).await.expect_err("an empty server")
    };
    let unknown = look("").await;
    assert_eq!(unknown.kind, ErrorKind::Other, "{unknown}");
    assert!(unknown.to_string().contains("caCert"), "{unknown}");
    let own = look(&format!("&caCert={}", certificate.display())).await;
    assert_eq!(own.kind, ErrorKind::NotFound, "{own}");
    let any = look("&insecureSkipTLSVerify=true").await;
    assert_eq!(any.kind, ErrorKind::NotFound, "{any}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_of_a_bucket_are_read_as_they_are_for_a_folder() {
    let Some(bucket) = Bucket::start(true) else {
        return;
    };
    let whole = decorated(bucket.store());
    let none = whole.rules().await.expect("asked").expect("S3 has rules");
    assert_eq!(none.versioning, Known::Is(Versioning::Enabled));
    assert_eq!(none.lifecycle, Known::Is(Vec::new()));
    assert_eq!(none.default_retention, Known::Is(None));

    let lifecycle = "<LifecycleConfiguration>\
        <Rule><ID>here</ID><Filter><Prefix>some/prefix/backups/</Prefix></Filter><Status>Enabled</Status>\
          <Expiration><Days>30</Days></Expiration></Rule>\
        <Rule><ID>elsewhere</ID><Filter><Prefix>other/</Prefix></Filter><Status>Enabled</Status>\
          <Expiration><Days>1</Days></Expiration></Rule>\
        </LifecycleConfiguration>";
    let configure = |query: &str, document: &str| {
        let done = bucket.server.configure(&bucket.name, query, document);
        done.expect("configured");
    };
    configure("?lifecycle", lifecycle);
    configure(
        "?object-lock",
        "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
         <Mode>GOVERNANCE</Mode><Days>7</Days></DefaultRetention></Rule></ObjectLockConfiguration>",
    );
    let rules = whole.rules().await.expect("asked").expect("S3 has rules");
    let seen = rules.lifecycle.get().expect("read");
    let [rule] = seen.as_slice() else {
        panic!("only that of this folder: {seen:?}");
    };
    assert_eq!(
        (rule.id.as_str(), rule.prefix.as_str()),
        ("here", "backups/")
    );
    assert_eq!(rule.expires.as_deref(), Some("after 30 days"));
    let lock = rules.default_retention.get().cloned().flatten();
    let lock = lock.expect("there is one");
    assert_eq!(
        (lock.mode.as_str(), lock.period.as_str()),
        ("GOVERNANCE", "7 days")
    );

    let gone = bucket.store_at(bucket.server.address(), "&publicUrl=http://x");
    assert!(gone.rules().await.is_ok());
    let url = format!(
        "s3://nobody?endpoint=http://{}&credentialsFile={}",
        bucket.server.address(),
        bucket.credentials.path().display()
    );
    let nobody = open_url(&StoreUrl::parse(&url).expect("valid URL")).expect("usable");
    let error = nobody.rules().await.expect_err("there is no such bucket");
    assert_eq!(error.kind, ErrorKind::NoBucket);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_can_be_kept_from_removal_and_for_longer() {
    let Some(bucket) = Bucket::start(true) else {
        return;
    };
    let store = decorated(bucket.store());
    // Without a default retention: moto then wants a header of Amazon's own client with each write.
    let locks = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
    let configured = bucket.server.configure(&bucket.name, "?object-lock", locks);
    configured.expect("configured");
    let name = key("data/a 1");
    let put = store.put(&name, Bytes::from("what it holds"), PutMode::Overwrite);
    put.await.expect("written");
    assert_eq!(store.retained_until(&name).await.expect("asked"), None);
    for days in [7, 30, 30] {
        let until = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(days * 24);
        let kept = store.retain(&name, "GOVERNANCE", until);
        kept.await.expect("kept");
        let kept = store.retained_until(&name).await.expect("asked");
        assert_eq!(
            kept.map(jiff::Timestamp::as_second),
            Some(until.as_second())
        );
    }
    let error = store
        .retain(&name, "FOR EVER", jiff::Timestamp::now())
        .await;
    assert_eq!(
        error.expect_err("no such mode").kind,
        ErrorKind::Unsupported
    );
    let error = store.retained_until(&key("data/b")).await;
    assert_eq!(error.expect_err("not there").kind, ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_moves_to_another_storage_class_and_is_thawed() {
    let Some(bucket) = Bucket::start(false) else {
        return;
    };
    let store = decorated(bucket.store());
    let name = key("backups/b 1/b+1.tar.gz");
    let body = Bytes::from("what it holds");
    store
        .put(&name, body.clone(), PutMode::Create)
        .await
        .expect("written");
    let warm = store.tier(&name).await.expect("looked up");
    assert!(warm.access.is_readable(), "{warm:?}");
    store.set_class(&name, "STANDARD_IA").await.expect("moved");
    let tier = store.tier(&name).await.expect("looked up");
    assert_eq!(
        (tier.class.as_str(), tier.access),
        ("STANDARD_IA", Access::Now)
    );
    let read = store
        .get(&name, GetOptions::default())
        .await
        .expect("there");
    assert_eq!(read.bytes(100).await.expect("read"), body);

    store.set_class(&name, "GLACIER").await.expect("moved");
    let tier = store.tier(&name).await.expect("looked up");
    assert_eq!(
        (tier.class.as_str(), tier.access),
        ("GLACIER", Access::Frozen)
    );
    let refused = store.get(&name, GetOptions::default()).await;
    let refused = match refused {
        Ok(object) => object.bytes(100).await.expect_err("it is frozen"),
        Err(error) => error,
    };
    assert_eq!(refused.kind, ErrorKind::Frozen, "{refused}");
    assert!(
        refused.advice().contains("backup thaw"),
        "{}",
        refused.advice()
    );
    store.thaw(&name).await.expect("asked");
    let tier = store.tier(&name).await.expect("looked up");
    // moto thaws at once.
    assert!(
        tier.access.is_readable() || tier.access == Access::Thawing,
        "{tier:?}"
    );
    store.thaw(&name).await.expect("asked twice is asked once");

    let refused = store.set_class(&name, "glacier; x").await;
    assert_eq!(refused.expect_err("no class").kind, ErrorKind::Unsupported);
    let missing = store.tier(&key("backups/no")).await;
    assert_eq!(missing.expect_err("nothing").kind, ErrorKind::NotFound);
}
