//! Reading the content of a segment, which is taken for hostile.

use serde::Deserialize;

use super::segment::{
    CHANGE, END, HEADER, Header, LEASE, MAGIC, MARK, Malformed, Mark, PREFIX, VERSION,
};
use crate::mvcc::{KeyValue, Revision};

/// One thing in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A change.
    Change {
        /// When.
        revision: Revision,
        /// Whether it is a deletion.
        deletion: bool,
        /// Key in etcd's bucket.
        key: &'a [u8],
        /// Value there.
        value: &'a [u8],
    },
    /// A mark.
    Mark(Mark),
    /// A lease and its TTL in seconds.
    Lease(i64, i64),
}

/// Reads the content of a segment: its header, and all that is in it, in order.
///
/// # Errors
/// It is none, or something is missing, moved or too much.
pub fn read<'a>(content: &'a [u8], mut take: impl FnMut(Item<'a>)) -> Result<Header, Malformed> {
    let mut rest = content
        .strip_prefix(MAGIC)
        .ok_or(Malformed::Form("it does not begin as one"))?;
    let (kind, payload) = next(&mut rest)?;
    if kind != HEADER {
        return Err(Malformed::Form("it has no header"));
    }
    let header = read_header(payload)?;
    let mut order = Order {
        first: header.first,
        last: None,
        changes: 0,
    };
    loop {
        let (kind, payload) = next(&mut rest)?;
        match kind {
            CHANGE => take(order.change(payload)?),
            MARK => take(Item::Mark(mark(payload, &header, &order)?)),
            LEASE => match numbers::<2>(payload) {
                Some([id, ttl]) => take(Item::Lease(id as i64, ttl as i64)),
                None => return Err(Malformed::Form("a lease has another length")),
            },
            END => {
                let counted = numbers::<1>(payload).is_some_and(|[count]| count == order.changes);
                let reached = order.reached();
                return match counted && rest.is_empty() && reached == header.last {
                    true => Ok(header),
                    false => Err(Malformed::Form("it ends otherwise than its header says")),
                };
            }
            _ => return Err(Malformed::Form("a part of it is of no kind that is known")),
        }
    }
}

pub(super) fn next<'a>(rest: &mut &'a [u8]) -> Result<(u8, &'a [u8]), Malformed> {
    let cut = Malformed::Form("it is cut off");
    let Some((prefix, behind)) = rest.split_at_checked(PREFIX) else {
        return Err(cut);
    };
    let length = u32::from_le_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    let Some((payload, behind)) = behind.split_at_checked(length) else {
        return Err(cut);
    };
    *rest = behind;
    Ok((prefix[0], payload))
}

pub(super) fn read_header(payload: &[u8]) -> Result<Header, Malformed> {
    #[derive(Deserialize)]
    struct Version {
        version: u64,
    }
    let Version { version } = serde_json::from_slice(payload).map_err(Malformed::Header)?;
    if version > VERSION {
        return Err(Malformed::Newer(version));
    }
    let header: Header = serde_json::from_slice(payload).map_err(Malformed::Header)?;
    let fits = header.first > 0 && header.last < i64::MAX as u64 && header.last + 1 >= header.first;
    match fits {
        true => Ok(header),
        false => Err(Malformed::Form("its revisions are none")),
    }
}

/// Big-endian numbers, exactly so many.
pub(super) fn numbers<const N: usize>(payload: &[u8]) -> Option<[u64; N]> {
    if payload.len() != N * 8 {
        return None;
    }
    let mut all = [0; N];
    for (number, bytes) in all.iter_mut().zip(payload.chunks_exact(8)) {
        *number = bytes
            .iter()
            .fold(0, |all, byte| all << 8 | u64::from(*byte));
    }
    Some(all)
}

fn mark(payload: &[u8], header: &Header, order: &Order) -> Result<Mark, Malformed> {
    let Some([revision, millis, compacted]) = numbers::<3>(payload) else {
        return Err(Malformed::Form("a mark has another length"));
    };
    if revision + 1 < header.first || revision > header.last || revision > order.reached() {
        return Err(Malformed::Form("a mark is of a revision that is not there"));
    }
    Ok(Mark {
        revision,
        millis: millis as i64,
        compacted,
    })
}

/// What must come next.
struct Order {
    first: u64,
    last: Option<Revision>,
    changes: u64,
}

impl Order {
    fn reached(&self) -> u64 {
        self.last.map_or(self.first - 1, |last| last.main)
    }

    fn change<'a>(&mut self, payload: &'a [u8]) -> Result<Item<'a>, Malformed> {
        let form = Malformed::Form("a change is cut off");
        let Some((&length, rest)) = payload.split_first() else {
            return Err(form);
        };
        let Some((key, value)) = rest.split_at_checked(length.into()) else {
            return Err(form);
        };
        let Some((revision, deletion)) = Revision::from_key(key) else {
            return Err(Malformed::Form("a change has no revision"));
        };
        let follows = match self.last {
            Some(last) if last.main == revision.main => revision.sub == last.sub + 1,
            _ => revision.sub == 0 && revision.main == self.reached() + 1,
        };
        if !follows {
            return Err(Malformed::Order {
                expected: format!("{}.0 or the next of {}", self.reached() + 1, self.reached()),
                found: revision.to_string(),
            });
        }
        let bad = |why| Malformed::Change { revision, why };
        let entry = KeyValue::decode(value).map_err(|_| bad("its value cannot be read"))?;
        if entry.key.is_empty() {
            return Err(bad("it has no key"));
        }
        if !deletion && u64::try_from(entry.mod_revision) != Ok(revision.main) {
            return Err(bad("its value is of another revision"));
        }
        self.last = Some(revision);
        self.changes += 1;
        Ok(Item::Change {
            revision,
            deletion,
            key,
            value,
        })
    }
}
