//! What has gone wrong elsewhere. Each test is named by the issue of gardener/etcd-backup-restore that it is about: there
//! changes are replayed through a running etcd, here they are merged into a database.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use jiff::Timestamp;
use salvor_etcd::chain::segment::{self, Belongs, Builder, Item, LARGEST_CONTENT};
use salvor_etcd::chain::{SegmentName, Target, Timeline};
use salvor_etcd::history::{self, Past};
use salvor_etcd::mvcc::{KeyValue, Revision};
use salvor_etcd::protobuf::Message;
use salvor_etcd::snapshot::{Snapshot, status};
use serde_json::Value;

use crate::bench::{Bench, Running, restored};
use crate::capture::reach;
use crate::real::Version;
use crate::support::GO_ON;

const PATIENCE: Duration = Duration::from_secs(60);

/// The keys in the database of a directory, without a server that could change them.
fn keys_in(folder: &Path, revision: u64) -> BTreeMap<String, (String, i64)> {
    let database = folder.join("m1/member/snap/db");
    let mut past = Past::from(Snapshot::open(&database).expect("a database"));
    let state = history::state(&mut past, Some(revision), |_| true, &GO_ON).expect("readable");
    let mut keys = BTreeMap::new();
    history::values(&mut past, &state, &GO_ON, |version| {
        let KeyValue {
            key, value, lease, ..
        } = version.entry;
        keys.insert(BASE64.encode(key), (BASE64.encode(value), lease));
    })
    .expect("readable");
    keys
}

/// The same of a member.
fn keys_of(rows: &Value) -> BTreeMap<String, (String, i64)> {
    let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
    let rows = rows.as_array().into_iter().flatten();
    rows.map(|row| {
        let lease = row["lease"].as_i64().unwrap_or(0);
        (text(&row["key"]), (text(&row["value"]), lease))
    })
    .collect()
}

/// The changes of a chain, as etcd told them.
fn events(bench: &Bench<'_>, timeline: &Timeline) -> Vec<(u64, bool, Vec<u8>)> {
    let mut events = Vec::new();
    let identities = std::slice::from_ref(&bench.identity);
    let segments = timeline.lines()[0].path(timeline.chains[0].record.start - 1, &[].into());
    for one in segments {
        let read = bench
            .location
            .read_segment(&one.key, one.digest, identities, LARGEST_CONTENT);
        let content = bench.runtime.block_on(read).expect("readable");
        segment::read(&content, |item| {
            if let Item::Change {
                revision: Revision { main, .. },
                deletion,
                value,
                ..
            } = item
            {
                let message = match deletion {
                    false => value.to_vec(),
                    true => {
                        let gone = KeyValue::decode(value).expect("an entry");
                        let message = Message::new().bytes(1, gone.key);
                        message.integer(3, main).finish()
                    }
                };
                events.push((main, deletion, message));
            }
        })
        .expect("a segment");
    }
    events
}

/// Writes a segment with the changes of some revisions, as another writer may have.
fn write(
    bench: &Bench<'_>,
    timeline: &Timeline,
    events: &[(u64, bool, Vec<u8>)],
    from: u64,
    to: u64,
) {
    let (cluster, name) = (timeline.cluster, &timeline.chains[0].record.chain);
    let mut builder = Builder::new(from);
    let within = events
        .iter()
        .filter(|(main, ..)| (from..=to).contains(main));
    for (_, deletion, message) in within {
        builder
            .push(*deletion, message, Timestamp::now())
            .expect("in order");
    }
    builder.mark(Timestamp::now(), 0);
    let belongs = Belongs {
        cluster,
        chain: name,
        writer: 99,
        previous: None,
    };
    let content = builder.finish(&belongs, Timestamp::now()).expect("JSON");
    let recipients = [bench.identity.recipient()];
    let key = |digest: &_| {
        let name_of = SegmentName {
            first: from,
            last: to,
            digest: *digest,
        };
        name_of.key(cluster, name)
    };
    let created = bench
        .location
        .create_segment(&recipients, Bytes::from(content), key);
    bench.runtime.block_on(created).expect("written");
}

#[test]
fn issue_1043_deltas_that_overlap_after_a_handover_are_merged_by_revision() {
    let Some(version) = Version::of("3_5_16") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(&version, folder.path());
    let running = bench.capture();
    for _ in 0..3 {
        let last = bench.put(4);
        bench.source.ctl(&["del", "more1", "more3"]);
        bench.wait(|timeline| reach(timeline) > last);
    }
    running.stop();
    let last = bench.source.revision();
    let timeline = bench.wait(|timeline| reach(timeline) >= last);
    let events = events(&bench, &timeline);
    let from = timeline.chains[0].record.start;
    assert!(last > from + 10, "{from} to {last}");
    // Two writers: each has some of what the other has, and one of them is all that there is of the middle.
    write(&bench, &timeline, &events, from, from + 6);
    write(&bench, &timeline, &events, from + 3, last - 2);
    write(&bench, &timeline, &events, from + 4, last);
    for of_first in &timeline.chains[0].segments {
        let path = folder.path().join("location").join(&of_first.key);
        if of_first.first > from {
            std::fs::remove_file(path).expect("there");
        }
    }
    let timeline = bench.wait(|timeline| reach(timeline) >= last);
    bench.is_the_source(&version, &timeline);
}

#[test]
fn issue_1044_a_full_that_is_taken_while_others_write_has_the_revision_of_its_content() {
    let Some(version) = Version::of("3_5_30") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(&version, folder.path());
    let before = bench.source.revision();
    let enough = AtomicBool::new(false);
    let running = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                bench.put(1);
            }
        });
        let running = bench.capture();
        enough.store(true, Ordering::Relaxed);
        running
    });
    let last = bench.put(2);
    let timeline = bench.wait(|timeline| reach(timeline) >= last);
    running.stop();
    let base = &timeline.chains[0].bases[0];
    let revision = base.details.revision;
    assert!(revision >= before, "{revision} after {before}");
    let object = &base.point.objects[0].key;
    assert!(
        object.ends_with(&format!("full-{revision}.db.zst.age")),
        "{object}"
    );
    let found = bench.fetch(&timeline, Target::Revision(revision));
    let content = status(&found.expect("there").snapshot, false, &GO_ON).expect("counted");
    assert_eq!(content.revision, revision);
    bench.is_the_source(&version, &timeline);
}

#[test]
fn issues_1045_and_1046_leases_that_ran_out_take_no_write_and_no_revision_away() {
    let Some(version) = Version::of("3_5_16") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(&version, folder.path());
    let running = bench.capture();
    let granted = bench.source.json(&["lease", "grant", "2"]);
    let lease = format!("{:x}", granted["ID"].as_u64().expect("an id"));
    for key in ["expires1", "expires2"] {
        bench.source.ctl(&["put", key, "v", "--lease", &lease]);
    }
    bench.put(1);
    let with = bench.source.revision();
    let before = keys_of(&bench.source.keys(with));
    // etcd deletes them itself; nobody asks it to.
    let begun = Instant::now();
    while !bench.source.json(&["get", "expires", "--prefix"])["kvs"].is_null() {
        assert!(begun.elapsed() < PATIENCE, "the lease does not run out");
    }
    let without = bench.put(2);
    let timeline = bench.wait(|timeline| reach(timeline) >= without);
    running.stop();

    for revision in [with, without] {
        let folder = tempfile::tempdir_in(folder.path()).expect("a folder");
        let target = Target::Revision(revision);
        let found = bench.found(&timeline, target);
        let (restored, _) = restored(found, folder.path());
        assert_eq!(restored.revision, revision);
        let keys = keys_of(&bench.source.keys(revision));
        assert_eq!(keys_in(folder.path(), revision), keys);
        let leased = keys
            .keys()
            .filter(|key| key.starts_with(&BASE64.encode("expires")[..9]));
        assert_eq!(
            leased.count(),
            if revision == with { 2 } else { 0 },
            "{keys:?}"
        );
    }
    assert_eq!(keys_of(&bench.source.keys(with)), before);
    bench.is_the_source(&version, &timeline);
}

#[test]
fn issue_963_changes_that_are_more_than_any_message_are_captured_and_merged() {
    let Some(version) = Version::of("3_4") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(&version, folder.path());
    let running = bench.capture();
    let first = bench.put(1);
    bench.wait(|timeline| reach(timeline) >= first);
    running.stop();
    // Nobody listens: etcd tells all of them at once when somebody does, 16 MB in one message.
    for number in 10..22 {
        let key = format!("large{number}");
        let value = number.to_string().repeat(700_000);
        let put = bench.source.ctl_with(&["put", &key], &value);
        put.unwrap_or_else(|error| panic!("{error}"));
    }
    let running = Running::start(&bench.location, bench.options());
    running.wait_to_hear("Resumed");
    let last = bench.put(1);
    let timeline = bench.wait(|timeline| reach(timeline) >= last);
    running.stop();
    assert_eq!(timeline.chains.len(), 1);
    bench.is_the_source(&version, &timeline);
}

#[test]
fn issue_583_every_revision_is_restored_as_that_revision() {
    let Some(version) = Version::of("3_5_30") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(&version, folder.path());
    let running = bench.capture();
    let from = bench.source.revision();
    let txn = |text: &str| {
        let done = bench.source.ctl_with(&["txn"], text);
        done.unwrap_or_else(|error| panic!("{error}"));
    };
    // Several changes in one revision, one that changes nothing, the same value again, deletions of nothing.
    txn("\nput a 1\nput b 2\ndel key0001\n\n\n");
    txn("value(\"a\") = \"no\"\n\nput a 3\n\n\n");
    bench.source.ctl(&["put", "a", "1"]);
    bench.source.ctl(&["del", "nothing-of-that-name"]);
    bench.source.ctl(&["del", "a"]);
    bench.source.ctl(&["put", "a", "2"]);
    bench.source.ctl(&["del", "key0010", "key0020"]);
    let last = bench.put(3);
    let timeline = bench.wait(|timeline| reach(timeline) >= last);
    running.stop();
    for revision in from..=last {
        let folder = tempfile::tempdir_in(folder.path()).expect("a folder");
        let target = Target::Revision(revision);
        let found = bench.found(&timeline, target);
        let (restored, _) = restored(found, folder.path());
        assert_eq!(restored.revision, revision);
        let keys = keys_of(&bench.source.keys(revision));
        assert_eq!(keys_in(folder.path(), revision), keys, "at {revision}");
    }
    bench.is_the_source(&version, &timeline);
}
