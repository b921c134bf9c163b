//! `etcd snapshot`: figures, verification and data directories.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use salvor_etcd::bolt::Writer;
use salvor_etcd::mvcc::Revision;
use salvor_etcd::protobuf::Message;
use serde_json::Value;

use crate::support::Place;

/// Writes a snapshot of ten keys.
fn snapshot(place: &Place, prefix: &str) -> PathBuf {
    snapshot_of(place, prefix, 10, b"value")
}

/// Writes a snapshot of so many keys with a value.
fn snapshot_of(place: &Place, prefix: &str, keys: u64, value: &[u8]) -> PathBuf {
    let path = place.home.path().join("snapshot.db");
    let mut options = std::fs::File::options();
    options.read(true).write(true).create(true).truncate(true);
    let file = options.open(&path).expect("a file");
    let mut writer = Writer::create(file, 4096).expect("a database");
    let mut bucket = writer.bucket(b"key");
    for main in 2..keys + 2 {
        let entry = Message::new()
            .bytes(1, format!("{prefix}{main}").as_bytes())
            .integer(2, main)
            .integer(3, main)
            .integer(4, 1)
            .bytes(5, value)
            .finish();
        let key = Revision { main, sub: 0 }.to_key();
        bucket.push(&key, &entry).expect("written");
    }
    bucket.finish().expect("written");
    writer.bucket(b"meta").finish().expect("written");
    writer.finish().expect("written");
    let mut bytes = std::fs::read(&path).expect("there");
    let digest = salvor_seal::Digest::of(&bytes);
    bytes.extend_from_slice(digest.as_bytes());
    std::fs::write(&path, bytes).expect("a file");
    path
}

#[test]
fn a_snapshot_is_counted_verified_and_restored_with_the_flags_of_the_tools() {
    let place = Place::new();
    snapshot(&place, "/registry/pods/");
    let status = place.run("etcd snapshot status snapshot.db -w json");
    let status: Value = serde_json::from_str(status.expect(0)).expect("JSON");
    assert_eq!(
        (&status["revision"], &status["liveKeys"]),
        (&11.into(), &10.into())
    );
    let line = place.run("etcd snapshot status snapshot.db");
    let hash = status["hash"].as_u64().expect("a number");
    assert!(
        line.expect(0).starts_with(&format!("{hash:x}, 11, 10, ")),
        "{}",
        line.out
    );
    let fields = place.run("etcd snapshot status snapshot.db --write-out fields");
    assert!(
        fields.expect(0).contains("\"Revision\" : 11\n"),
        "{}",
        fields.out
    );
    let table = place.run("etcd snapshot status snapshot.db -w table");
    assert!(table.expect(0).contains("TOTAL KEYS"), "{}", table.out);
    let verified = place.run("etcd snapshot verify snapshot.db");
    assert!(verified.expect(0).contains("revisions"), "{}", verified.out);

    let restore = "etcd snapshot restore snapshot.db --data-dir data";
    let restored = place.run(restore);
    assert!(
        restored.expect(0).contains("revision raised to 1000000011"),
        "{}",
        restored.out
    );
    assert!(
        restored.out.contains("member 8e9e05c52164694d"),
        "{}",
        restored.out
    );
    place.run(restore).expect(4);
    let again = place.run(&format!("{restore} --replace --exact -o json"));
    let again: Value = serde_json::from_str(again.expect(0)).expect("JSON");
    assert_eq!(again["raisedTo"], Value::Null);
    let kept = again["kept"][0].as_str().expect("a path");
    assert!(
        PathBuf::from(kept).join("member/snap/db").is_file(),
        "{kept}"
    );
    let bumped = place.run(
        "etcd snapshot restore snapshot.db --bump-revision 5 --mark-compacted --name m1 --lang ko",
    );
    assert!(bumped.expect(0).contains("리비전을 16"), "{}", bumped.out);
    assert!(place.home.path().join("m1.etcd/member/snap/db").is_file());
}

#[test]
fn damage_and_wrong_flags_end_with_their_codes() {
    let place = Place::new();
    let path = snapshot(&place, "k");
    for (line, code) in [
        ("status nowhere.db", 3),
        ("restore snapshot.db --bump-revision 5", 2),
        ("restore snapshot.db --mark-compacted", 2),
        (
            "restore snapshot.db --name other --initial-cluster m1=http://h:1",
            2,
        ),
        ("restore snapshot.db --initial-advertise-peer-urls h:1", 2),
        ("restore snapshot.db --owner me", 2),
        ("save x.db --endpoints ftp://h", 2),
        ("save x.db --user root", 2),
        ("save x.db --endpoints http://127.0.0.1:1 --timeout 2", 69),
    ] {
        place.run(&format!("etcd snapshot {line}")).expect(code);
    }
    let mut bytes = std::fs::read(&path).expect("there");
    bytes[9000] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    for line in [
        "status snapshot.db",
        "verify snapshot.db",
        "restore snapshot.db",
    ] {
        place.run(&format!("etcd snapshot {line}")).expect(7);
    }
    let status = place.run("etcd snapshot status snapshot.db");
    assert!(
        status.err.contains("is damaged: its SHA-256 is"),
        "{}",
        status.err
    );
    assert!(!place.home.path().join("default.etcd").exists());
}

/// Names in a folder that begin so.
fn named(folder: &Path, prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("there");
    let names = entries.map(|entry| entry.expect("listed").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(prefix)).collect()
}

#[test]
fn a_restore_that_is_killed_leaves_what_was_there_and_the_next_one_names_the_rest() {
    let place = Place::new();
    snapshot_of(&place, "k", 60_000, &[7; 500]);
    let home = place.home.path();
    let line = "etcd snapshot restore snapshot.db --data-dir data --replace";
    place.run(line).expect(0);
    std::fs::write(home.join("data/old"), "the old one").expect("a file");
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut child = place
        .command(&words)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let deadline = Instant::now() + Duration::from_secs(60);
    // The database is being written, and is far from its end.
    let written = || {
        let folders = named(home, "data.restoring-");
        let database = |name: &String| home.join(name).join("member/snap/db");
        let lengths = folders.iter().map(|name| std::fs::metadata(database(name)));
        lengths.flatten().any(|database| database.len() > 1 << 20)
    };
    while !written() {
        assert!(Instant::now() < deadline, "nothing is written");
        std::thread::yield_now();
    }
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
    assert_eq!(named(home, "data.restoring-").len(), 1, "killed too late");
    let old = std::fs::read_to_string(home.join("data/old")).expect("there");
    assert_eq!(old, "the old one");
    assert!(home.join("data/member/snap/db").is_file());

    let again = place.run(&format!("{line} -o json"));
    let told: Value = serde_json::from_str(again.expect(0)).expect("JSON");
    let leftover = told["leftovers"][0].as_str().expect("named");
    assert!(leftover.contains("data.restoring-"), "{leftover}");
    let kept = told["kept"][0].as_str().expect("a path");
    assert!(Path::new(kept).join("old").is_file());
    assert!(again.err.contains("did not end"), "{}", again.err);
}

#[test]
fn a_file_that_is_no_configuration_is_refused_without_a_word_of_what_is_in_it() {
    let place = Place::new();
    for (text, part) in [
        ("kind: Pod", "its kind is `Pod`"),
        (
            "kind: EncryptionConfiguration\nresources: hunter2",
            "line 2",
        ),
        ("{hunter2", "encryption configuration"),
        (
            "kind: EncryptionConfiguration\nresources: [{providers: [{aescbc: {keys: [{name: one, secret: hunter2}]}}]}]",
            "key `one` of aescbc",
        ),
        (
            "kind: EncryptionConfiguration\nresources: [{providers: [{aescbc: {keys: [{name: one, secret: {hunter2: 1}}]}}]}]",
            "line 2",
        ),
    ] {
        let path = place.home.path().join("encryption.yaml");
        std::fs::write(&path, text).expect("a file");
        let run = place.run("etcd get secrets --from no.db --encryption-config encryption.yaml");
        assert_eq!(run.code, 2, "{}", run.err);
        assert!(run.err.contains(part), "{text}: {}", run.err);
        assert!(!run.err.contains("hunter2"), "{text}: {}", run.err);
    }
}
