//! etcd's own hash of a store (`etcdctl endpoint hashkv`), from its file: what proves that two stores hold the same.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::AtomicBool;

use crate::bolt;
use crate::checksum::Crc32c;
use crate::mvcc::{KeyValue, Revision};
use crate::snapshot::{Error, Snapshot, not_stopped};

/// HashKV at the last revision of a snapshot: that of a member which is compacted at the same revision. Reads the keys
/// twice; each key that is there costs about 50 bytes of memory.
///
/// # Errors
/// The database is damaged, or it was asked to stop.
pub fn hash_kv(snapshot: &Snapshot, stop: &AtomicBool) -> Result<u32, Error> {
    let compacted = compacted(snapshot)?;
    let secrets = [RandomState::new(), RandomState::new()];
    let hash = |key: &[u8]| {
        let [high, low] = [0, 1].map(|at: usize| u128::from(secrets[at].hash_one(key)));
        high << 64 | low
    };
    // The last version of each key that is there: of what is compacted, only these count.
    let mut last: HashMap<u128, Revision> = HashMap::new();
    each(snapshot, b"key", stop, |key, value| {
        if let (Some((revision, deletion)), Ok(entry)) =
            (Revision::from_key(key), KeyValue::decode(value))
        {
            match deletion {
                true => drop(last.remove(&hash(entry.key))),
                false => drop(last.insert(hash(entry.key), revision)),
            }
        }
    })?;
    let mut crc = Crc32c::new();
    crc.update(b"key");
    each(snapshot, b"key", stop, |key, value| {
        let Some((revision, deletion)) = Revision::from_key(key) else {
            return;
        };
        let is_last = || {
            let entry = KeyValue::decode(value).ok();
            entry.is_some_and(|entry| last.get(&hash(entry.key)) == Some(&revision))
        };
        // etcd skips nothing where nothing is there, and some of its versions keep a deletion at the compaction itself.
        let is_skipped = revision.main <= compacted && !last.is_empty() && !is_last()
            || revision.main == compacted && deletion;
        if !is_skipped {
            crc.update(key);
            crc.update(value);
        }
    })?;
    Ok(crc.value())
}

/// The revision up to which a store was compacted, or began to be.
fn compacted(snapshot: &Snapshot) -> Result<u64, Error> {
    let mut newest = 0;
    each(snapshot, b"meta", &AtomicBool::new(false), |key, value| {
        if [&b"scheduledCompactRev"[..], b"finishedCompactRev"].contains(&key)
            && let Some((revision, _)) = Revision::from_key(value)
        {
            newest = newest.max(revision.main);
        }
    })?;
    Ok(newest)
}

/// Goes through a bucket.
fn each(
    snapshot: &Snapshot,
    name: &[u8],
    stop: &AtomicBool,
    mut take: impl FnMut(&[u8], &[u8]),
) -> Result<(), Error> {
    let damaged = |source: bolt::Error| snapshot.damaged(source);
    let mut walk = snapshot.database().walk();
    for bucket in walk.buckets().map_err(damaged)? {
        if bucket.name != name {
            continue;
        }
        let mut cursor = walk.cursor(&bucket).map_err(damaged)?;
        while cursor.advance().map_err(damaged)? {
            not_stopped(stop)?;
            take(cursor.key(), cursor.value());
        }
    }
    Ok(())
}
