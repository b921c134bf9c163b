//! Looking at the rows of the small buckets.

use super::report::Level;
use crate::membership::Member;
use crate::mvcc::Revision;
use crate::protobuf::fields;

/// Alarm that a member raised when its copy differed from the others'.
const CORRUPT: u64 = 2;
/// Alarm that a member raised when its quota was used up.
const NO_SPACE: u64 = 1;

/// What is wrong with a row of a bucket other than `key`; notices go to `level` directly.
pub(super) fn check(
    bucket: &[u8],
    key: &[u8],
    value: &[u8],
    level: &mut Level,
) -> Result<(), String> {
    match bucket {
        b"meta" => meta(key, value),
        b"members" => member(key, value),
        b"lease" => lease(key, value),
        b"alarm" => alarm(key, level),
        b"auth" if key == b"authRevision" => length(key, value, 8),
        _ => Ok(()),
    }
}

fn meta(key: &[u8], value: &[u8]) -> Result<(), String> {
    match key {
        b"consistent_index" | b"term" => length(key, value, 8),
        b"scheduledCompactRev" | b"finishedCompactRev" => match Revision::from_key(value) {
            Some(_) => Ok(()),
            None => Err(format!("{} is no revision", text(key))),
        },
        b"confState" => match serde_json::from_slice::<serde_json::Value>(value) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("confState is no JSON: {error}")),
        },
        _ => Ok(()),
    }
}

fn member(key: &[u8], value: &[u8]) -> Result<(), String> {
    let member: Member = serde_json::from_slice(value)
        .map_err(|error| format!("member {} cannot be read: {error}", text(key)))?;
    if member.row_key().as_bytes() == key {
        return Ok(());
    }
    Err(format!(
        "member {} says that it is {}",
        text(key),
        member.row_key()
    ))
}

fn lease(key: &[u8], value: &[u8]) -> Result<(), String> {
    let id = <[u8; 8]>::try_from(key)
        .map(i64::from_be_bytes)
        .map_err(|_| format!("a lease with an id of {} bytes", key.len()))?;
    let malformed = |error| format!("lease {id:x} cannot be read: {error}");
    let mut own = 0;
    for field in fields(value) {
        let field = field.map_err(malformed)?;
        if field.number == 1 {
            own = field.signed().map_err(malformed)?;
        }
    }
    if own == id {
        Ok(())
    } else {
        Err(format!("lease {id:x} says that it is {own:x}"))
    }
}

fn alarm(key: &[u8], level: &mut Level) -> Result<(), String> {
    let malformed = |error| format!("an alarm cannot be read: {error}");
    let (mut member, mut kind) = (0, 0);
    for field in fields(key) {
        let field = field.map_err(malformed)?;
        match field.number {
            1 => member = field.integer().map_err(malformed)?,
            2 => kind = field.integer().map_err(malformed)?,
            _ => {}
        }
    }
    match kind {
        NO_SPACE => level.notice(format!(
            "member {member:x} had used up its space (alarm NOSPACE)"
        )),
        // Every member has the row. Nothing in the file says of whom it is.
        CORRUPT => level.notice(format!(
            "the data of member {member:x} differed from the others' (alarm CORRUPT): if this file is of that member, \
             take one of another"
        )),
        _ => {}
    }
    Ok(())
}

fn length(key: &[u8], value: &[u8], expected: usize) -> Result<(), String> {
    if value.len() == expected {
        return Ok(());
    }
    Err(format!(
        "{} has {} bytes and should have {expected}",
        text(key),
        value.len()
    ))
}

fn text(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}
