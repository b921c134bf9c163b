//! Databases and snapshots to damage.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use salvor_etcd::bolt::{Database, Result, Writer};
use salvor_etcd::membership::Cluster;
use salvor_etcd::mvcc::Revision;
use salvor_etcd::protobuf::Message;

pub(crate) use salvor_location::with_causes as chain;

/// Buckets by name, entries by key.
pub(crate) type Contents = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>>;

/// Nobody stops anything.
pub(crate) static GO_ON: AtomicBool = AtomicBool::new(false);

/// Writes a database to a file.
pub(crate) fn write(path: &Path, page_size: u32, contents: &Contents) -> Result<()> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(true);
    let mut writer = Writer::create(options.open(path).expect("a file"), page_size)?;
    for (name, entries) in contents {
        let mut bucket = writer.bucket(name);
        for (key, value) in entries {
            bucket.push(key, value)?;
        }
        bucket.finish()?;
    }
    writer.finish().map(drop)
}

/// Reads a whole database.
pub(crate) fn read(path: &Path) -> Result<Contents> {
    let file = File::open(path).expect("a file");
    let length = file.metadata().expect("a file").len();
    contents(&Database::open(file, length)?)
}

/// All that is in a database.
pub(crate) fn contents(database: &Database) -> Result<Contents> {
    let mut contents = Contents::new();
    let mut walk = database.walk();
    for bucket in walk.buckets()? {
        let mut cursor = walk.cursor(&bucket)?;
        let mut entries = BTreeMap::new();
        while cursor.advance()? {
            entries.insert(cursor.key().to_vec(), cursor.value().to_vec());
        }
        contents.insert(bucket.name.clone(), entries);
    }
    walk.freelist()?;
    Ok(contents)
}

/// A put as etcd stores it.
pub(crate) fn put(key: &[u8], create: u64, modified: u64, version: u64, value: &[u8]) -> Vec<u8> {
    Message::new()
        .bytes(1, key)
        .integer(2, create)
        .integer(3, modified)
        .integer(4, version)
        .bytes(5, value)
        .finish()
}

/// What a member of 3.5 has after `keys` keys were created and every third was deleted.
pub(crate) fn store(keys: u64, prefix: &str) -> Contents {
    let name = |text: &str| text.as_bytes().to_vec();
    let mut contents: Contents = [
        "alarm",
        "auth",
        "authRoles",
        "authUsers",
        "cluster",
        "key",
        "lease",
        "members",
        "members_removed",
        "meta",
    ]
    .map(|bucket| (name(bucket), BTreeMap::new()))
    .into();
    let cluster = Cluster::new("old=http://old:2380", "before").expect("valid");
    let mut set = |bucket: &str, key: &[u8], value: Vec<u8>| {
        contents
            .get_mut(bucket.as_bytes())
            .expect("above")
            .insert(key.to_vec(), value);
    };
    let mut main = 1;
    for number in 0..keys {
        main += 1;
        let key = format!("{prefix}{number:05}").into_bytes();
        set(
            "key",
            &Revision { main, sub: 0 }.to_key(),
            put(&key, main, main, 1, b"value"),
        );
        if number % 3 == 0 {
            main += 1;
            let tombstone = [&Revision { main, sub: 0 }.to_key()[..], b"t"].concat();
            set("key", &tombstone, Message::new().bytes(1, &key).finish());
        }
    }
    for member in cluster.members() {
        set("members", member.row_key().as_bytes(), member.to_json());
    }
    set("members_removed", b"abc", name("removed"));
    set("cluster", b"clusterVersion", name("3.5.0"));
    set("meta", b"consistent_index", 99_u64.to_be_bytes().to_vec());
    set("meta", b"term", 7_u64.to_be_bytes().to_vec());
    set(
        "meta",
        b"confState",
        name(r#"{"voters":[1],"auto_leave":false}"#),
    );
    set("meta", b"something", name("kept"));
    let lease = Message::new().integer(1, 5).integer(2, 60).finish();
    set("lease", &5_i64.to_be_bytes(), lease);
    set("auth", b"authEnabled", vec![0]);
    set("auth", b"authRevision", 1_u64.to_be_bytes().to_vec());
    let alarm = Message::new().integer(1, 1).integer(2, 1).finish();
    set("alarm", &alarm, Vec::new());
    contents
}

/// Puts the digest of a database behind it.
pub(crate) fn seal(path: &Path) {
    let mut bytes = std::fs::read(path).expect("a file");
    let digest = salvor_seal::Digest::of(&bytes);
    bytes.extend_from_slice(digest.as_bytes());
    std::fs::write(path, bytes).expect("a file");
}
