//! Snapshots counted and verified, whole and damaged.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use salvor_etcd::mvcc::Revision;
use salvor_etcd::snapshot::{Error, Outcome, Report, Snapshot, release, status, verify};

use crate::support::{Contents, GO_ON, chain, put, seal, store, write};

struct File {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn file(contents: &Contents) -> File {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("snapshot.db");
    write(&path, 4096, contents).expect("written");
    seal(&path);
    File {
        _folder: folder,
        path,
    }
}

fn report(contents: &Contents) -> Report {
    let file = file(contents);
    let snapshot = Snapshot::open(&file.path).expect("a snapshot");
    verify(&snapshot, &GO_ON).expect("looked at")
}

#[test]
fn a_snapshot_is_counted_under_both_meanings() {
    let mut contents = store(90, "k");
    let file_35 = file(&contents);
    let snapshot = Snapshot::open(&file_35.path).expect("a snapshot");
    let counted = status(&snapshot, true, &GO_ON).expect("counted");
    assert_eq!(counted.revision, 121);
    assert_eq!(counted.versions, 120);
    assert_eq!(counted.live_keys, Some(60));
    let rows: u64 = contents.values().map(|rows| rows.len() as u64).sum();
    assert_eq!((counted.entries, counted.total_key()), (rows, rows));
    assert!(counted.has_digest);
    assert_eq!(
        counted.total_size + 32,
        fs::metadata(&file_35.path).expect("there").len()
    );
    let quick = status(&snapshot, false, &GO_ON).expect("counted");
    assert_eq!((quick.live_keys, quick.hash), (None, counted.hash));

    let meta = contents.get_mut(&b"meta"[..]).expect("there");
    meta.insert(b"storageVersion".to_vec(), b"3.6.0".to_vec());
    let file = file(&contents);
    let snapshot = Snapshot::open(&file.path).expect("a snapshot");
    let counted = status(&snapshot, true, &GO_ON).expect("counted");
    assert_eq!(
        (counted.version.as_str(), counted.total_key()),
        ("3.6.0", 60)
    );
}

#[test]
fn the_layout_of_pages_does_not_change_the_hash() {
    let contents = store(50, "k");
    let folder = tempfile::tempdir().expect("a folder");
    let hashes = [1024, 4096, 65_536].map(|page_size| {
        let path = folder.path().join("db");
        write(&path, page_size, &contents).expect("written");
        let snapshot = Snapshot::open(&path).expect("a database");
        status(&snapshot, false, &GO_ON).expect("counted").hash
    });
    assert!(hashes.iter().all(|hash| *hash == hashes[0]));
}

#[test]
fn any_changed_byte_fails_the_digest() {
    let file = file(&store(30, "k"));
    let good = fs::read(&file.path).expect("there");
    for at in (0..good.len()).step_by(997).chain([good.len() - 1]) {
        let mut bytes = good.clone();
        bytes[at] ^= 4;
        fs::write(&file.path, bytes).expect("written");
        let counted =
            Snapshot::open(&file.path).and_then(|snapshot| status(&snapshot, true, &GO_ON));
        let error = counted.expect_err("damaged");
        assert!(error.is_damage(), "byte {at}: {}", chain(&error));
    }
}

#[test]
fn a_cut_or_longer_file_is_an_error() {
    let file = file(&store(30, "k"));
    let good = fs::read(&file.path).expect("there");
    let pages = good.len() - 32;
    for length in [
        0,
        1,
        32,
        511,
        512,
        4096,
        4096 + 32,
        pages - 512,
        pages - 480,
        pages - 4096,
        pages + 1,
        pages + 31,
    ] {
        fs::write(&file.path, &good[..length]).expect("written");
        let error = Snapshot::open(&file.path).map(drop).expect_err("cut");
        assert!(error.is_damage(), "{length}: {}", chain(&error));
    }
    for more in [1, 32, 480] {
        let mut bytes = good.clone();
        bytes.resize(good.len() + more, 0);
        fs::write(&file.path, bytes).expect("written");
        let opened = Snapshot::open(&file.path).and_then(|snapshot| snapshot.check_digest(&GO_ON));
        // 480 zeros behind the digest make a file whose length is that of a member's database: it has no digest.
        assert!(
            opened.as_ref().is_err() || more == 480 && matches!(opened, Ok(false)),
            "{more}"
        );
    }
}

#[test]
fn verification_passes_a_whole_snapshot_and_says_what_it_saw() {
    let report = report(&store(90, "k"));
    assert!(report.is_good(), "{report:?}");
    assert_eq!(
        report.level("revisions").map(|level| level.checked),
        Some(120)
    );
    let rows = report.level("rows").expect("there");
    assert_eq!(
        rows.notices,
        ["member 1 had used up its space (alarm NOSPACE)"]
    );
    // Every member has the row of a corrupt one.
    let mut corrupt = store(30, "/registry/");
    let alarms = corrupt.get_mut(&b"alarm"[..]).expect("there");
    alarms.insert(vec![8, 1, 16, 2], Vec::new());
    let corrupt = self::report(&corrupt);
    let notices = &corrupt.level("rows").expect("there").notices;
    assert!(
        corrupt.is_good()
            && notices
                .iter()
                .any(|notice| notice.contains("alarm CORRUPT"))
    );
    let names: Vec<&str> = report.levels.iter().map(|level| level.name).collect();
    assert_eq!(names, ["digest", "pages", "revisions", "rows"]);
}

#[test]
fn verification_names_the_level_that_fails() {
    let change = |bucket: &str, key: &[u8], value: &[u8]| {
        let mut contents = store(9, "k");
        let bucket = contents.get_mut(bucket.as_bytes()).expect("there");
        bucket.insert(key.to_vec(), value.to_vec());
        contents
    };
    let revision = |main| Revision { main, sub: 0 }.to_key();
    for (contents, level, part) in [
        (change("key", b"odd", b""), "revisions", "is no revision"),
        (
            change("key", &revision(99), &[0x0a, 9]),
            "revisions",
            "cannot be read",
        ),
        (
            change("key", &revision(99), &put(b"x", 98, 98, 1, b"")),
            "revisions",
            "another revision",
        ),
        (change("meta", b"term", b"1"), "rows", "should have 8"),
        (change("meta", b"confState", b"{"), "rows", "no JSON"),
        (
            change("meta", b"finishedCompactRev", b"x"),
            "rows",
            "no revision",
        ),
        (
            change("members", b"aa", br#"{"id":7}"#),
            "rows",
            "says that it is 7",
        ),
        (change("lease", b"123", b""), "rows", "an id of 3 bytes"),
    ] {
        let report = report(&contents);
        let failed: Vec<&str> = report
            .levels
            .iter()
            .filter(|level| level.outcome == Outcome::Failed)
            .map(|level| level.name)
            .collect();
        assert_eq!(failed, [level], "{report:?}");
        let findings = &report.level(level).expect("there").findings;
        assert!(
            findings.iter().any(|finding| finding.contains(part)),
            "{findings:?}"
        );
    }
    let mut without = store(9, "k");
    without.remove(&b"key"[..]);
    assert!(!report(&without).is_good());
}

#[test]
fn a_damaged_page_fails_its_level_and_the_digest_and_the_rest_is_still_looked_at() {
    let file = file(&store(300, "k"));
    let mut bytes = fs::read(&file.path).expect("there");
    // The first page behind the metas is the first leaf of `key`: all small buckets are inline.
    bytes[2 * 4096 + 8] = 0x40;
    fs::write(&file.path, bytes).expect("written");
    let snapshot = Snapshot::open(&file.path).expect("the metas are whole");
    let report = verify(&snapshot, &GO_ON).expect("looked at");
    let outcome = |name| report.level(name).expect("there").outcome;
    assert_eq!(outcome("digest"), Outcome::Failed);
    assert_eq!(outcome("pages"), Outcome::Failed);
    assert_eq!(outcome("revisions"), Outcome::NotDone);
    assert_eq!(outcome("rows"), Outcome::Passed);
    let findings = &report.level("pages").expect("there").findings;
    assert!(
        findings[0].contains("bucket `key`: page 2 is damaged"),
        "{findings:?}"
    );
}

#[test]
fn a_stop_is_heard() {
    let file = file(&store(9, "k"));
    let snapshot = Snapshot::open(&file.path).expect("a snapshot");
    let stop = AtomicBool::new(true);
    assert!(matches!(
        status(&snapshot, true, &stop),
        Err(Error::Stopped)
    ));
    assert!(verify(&snapshot, &stop).is_err_and(|error| error.is_cancelled()));
}

#[test]
fn the_oldest_release_is_that_of_the_storage_or_of_the_cluster() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("snapshot.db");
    for (bucket, key, value, expected) in [
        ("meta", "storageVersion", "3.6.0", Some((3, 6))),
        ("cluster", "clusterVersion", "3.4.0", Some((3, 4))),
        ("cluster", "clusterVersion", "not set", None),
        ("meta", "something", "else", Some((3, 5))),
    ] {
        let mut contents = store(3, "k");
        let rows = contents.get_mut(bucket.as_bytes()).expect("there");
        rows.insert(key.as_bytes().to_vec(), value.as_bytes().to_vec());
        write(&path, 4096, &contents).expect("written");
        let snapshot = Snapshot::open(&path).expect("a database");
        assert_eq!(release(&snapshot).expect("readable"), expected, "{value}");
    }
}
