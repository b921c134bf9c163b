//! Which etcd takes the data of a snapshot.

use super::{Error, Snapshot};

/// The oldest release of etcd that takes the data, major and minor, as far as it says: that of its storage (from 3.6) or
/// of its cluster.
///
/// # Errors
/// The snapshot is damaged.
pub fn release(snapshot: &Snapshot) -> Result<Option<(u32, u32)>, Error> {
    let damaged = |source| snapshot.damaged(source);
    let mut walk = snapshot.database().walk();
    let mut oldest = None;
    for bucket in walk.buckets().map_err(damaged)? {
        let wanted: &[u8] = match bucket.name.as_slice() {
            b"meta" => b"storageVersion",
            b"cluster" => b"clusterVersion",
            _ => continue,
        };
        let mut cursor = walk.cursor(&bucket).map_err(damaged)?;
        while cursor.advance().map_err(damaged)? {
            if cursor.key() == wanted {
                oldest = oldest.max(minor(cursor.value()));
            }
        }
    }
    Ok(oldest)
}

/// `3.5` of `3.5.0`.
fn minor(text: &[u8]) -> Option<(u32, u32)> {
    let mut parts = std::str::from_utf8(text).ok()?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
