//! Reading `salvor-index.zst`, trusting nothing in it.

use std::cmp::Ordering;
use std::io::Read as _;
use std::sync::Arc;

use super::encode::{HEADER_LEN, MAGIC, SKIPPABLE_MAGIC, digest};
use super::{INDEX_FORMAT_VERSION, Index, KeyIds, MemberPlace, Row, Tables};
use crate::error::{ArchiveError, Result};
use crate::item::check_segment;
use crate::limits::Limits;

/// Most payload bytes per allowed entry: numbers, digest and a name of usual length.
const PAYLOAD_PER_ENTRY: u64 = 160;

fn bad(reason: impl Into<String>) -> ArchiveError {
    ArchiveError::Index {
        reason: reason.into(),
    }
}

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Index> {
    let payload = open(bytes, limits)?;
    let mut cursor = Cursor {
        bytes: &payload,
        at: 0,
    };
    let tables = tables(&mut cursor, limits)?;
    if cursor.at != payload.len() {
        return Err(bad(format!(
            "{} bytes are left over after the last column",
            payload.len() - cursor.at
        )));
    }
    Ok(Index(Arc::new(tables)))
}

/// Checks header and digest and decompresses the payload.
fn open(bytes: &[u8], limits: &Limits) -> Result<Vec<u8>> {
    let mut cursor = Cursor { bytes, at: 0 };
    if cursor.u32("the frame's magic number")? != SKIPPABLE_MAGIC {
        return Err(bad("it is not a salvor-index.zst (wrong magic number)"));
    }
    let header_len = cursor.u32("the header's length")?;
    let start = cursor.at;
    if cursor.take(8, "the magic")? != MAGIC {
        return Err(bad("it is not a salvor-index.zst (wrong magic)"));
    }
    let version = cursor.u32("the version")?;
    if version > INDEX_FORMAT_VERSION {
        return Err(ArchiveError::IndexNewer {
            found: version,
            supported: INDEX_FORMAT_VERSION,
        });
    }
    if version == 0 || header_len != HEADER_LEN {
        return Err(bad("its header is damaged"));
    }
    let frame_len = cursor.u64("the frame's length")?;
    let payload_len = cursor.u64("the payload's length")?;
    let header = &bytes[start..cursor.at];
    let expected = cursor.take(32, "the digest")?;
    let frame = &bytes[cursor.at..];
    if frame.len() as u64 != frame_len {
        return Err(bad(format!(
            "it is {} bytes long after its header, expected {frame_len}: it was cut off or appended to",
            frame.len()
        )));
    }
    if digest(header, frame) != expected {
        return Err(bad("its SHA-256 does not match: it is damaged"));
    }
    let allowed = limits
        .max_entries
        .saturating_mul(PAYLOAD_PER_ENTRY)
        .saturating_add(1 << 20);
    if payload_len > allowed {
        return Err(bad(format!(
            "it decompresses to {payload_len} bytes, more than the {allowed} that max_entries allows"
        )));
    }
    let damaged = |error: std::io::Error| bad(format!("decompress: {error}"));
    let mut payload = Vec::new();
    let decoder = zstd::stream::read::Decoder::with_buffer(frame).map_err(damaged)?;
    decoder
        .single_frame()
        .take(payload_len.saturating_add(1))
        .read_to_end(&mut payload)
        .map_err(damaged)?;
    if payload.len() as u64 != payload_len {
        return Err(bad(
            "its payload does not have the length that its header says",
        ));
    }
    Ok(payload)
}

fn tables(cursor: &mut Cursor<'_>, limits: &Limits) -> Result<Tables> {
    let archive_len = cursor.varint("archive length")?;
    let mut resources = Vec::new();
    for text in strings(cursor, "resources", limits)? {
        let parsed = text
            .parse()
            .map_err(|reason: String| bad(format!("resource table: {reason}")))?;
        resources.push(parsed);
    }
    // Sorted as resources are, by plural and then group, not as their text is.
    if !resources.is_sorted_by(|a, b| a < b) {
        return Err(bad("its resource table is not sorted"));
    }
    let namespaces = strings(cursor, "namespaces", limits)?;
    let versions = strings(cursor, "versions", limits)?;
    for (what, table) in [("namespace", &namespaces), ("version", &versions)] {
        if !table.is_sorted_by(|a, b| a < b) {
            return Err(bad(format!("its {what} table is not sorted")));
        }
    }
    let members = members(cursor, archive_len, limits)?;
    let (rows, names) = rows(
        cursor,
        limits,
        &members,
        [resources.len(), namespaces.len() + 1, versions.len() * 2],
    )?;
    let tables = Tables::new(
        resources,
        namespaces,
        versions,
        members,
        rows,
        names,
        archive_len,
    );
    check_order(&tables)?;
    Ok(tables)
}

fn strings(cursor: &mut Cursor<'_>, what: &str, limits: &Limits) -> Result<Vec<String>> {
    let count = cursor.count_of_entries(what, limits)?;
    let mut table = Vec::new();
    for _ in 0..count {
        let len = cursor.count(what)?;
        let text = cursor.text(len, what)?;
        check_segment(text).map_err(|reason| bad(format!("{what} table: {reason}")))?;
        table.push(text.to_owned());
    }
    Ok(table)
}

fn members(cursor: &mut Cursor<'_>, archive_len: u64, limits: &Limits) -> Result<Vec<MemberPlace>> {
    // A member is up to 1 MiB of entries, or one larger item twice with its headers.
    let max_tar = limits.max_item.saturating_mul(2).saturating_add(4 << 20);
    let mut members = Vec::new();
    let mut end = 0u64;
    for number in 0..cursor.count_of_entries("members", limits)? {
        let offset = end.checked_add(cursor.varint("members")?);
        let compressed_len = cursor.varint("members")?;
        let tar_len = cursor.varint("members")?;
        let place = offset
            .and_then(|offset| Some((offset, offset.checked_add(compressed_len)?)))
            .filter(|(_, end)| *end <= archive_len);
        let Some((offset, member_end)) = place else {
            return Err(bad(format!(
                "member {number} lies beyond the archive's end"
            )));
        };
        if tar_len > max_tar || compressed_len > max_tar {
            return Err(bad(format!(
                "member {number} has {tar_len} bytes, more than the {max_tar} that max_item allows"
            )));
        }
        members.push(MemberPlace {
            offset,
            compressed_len,
            tar_len,
        });
        end = member_end;
    }
    Ok(members)
}

/// The rows and all their names. `sizes` are one more than the largest resource, namespace and
/// version-and-preferred numbers.
fn rows(
    cursor: &mut Cursor<'_>,
    limits: &Limits,
    members: &[MemberPlace],
    sizes: [usize; 3],
) -> Result<(Vec<Row>, String)> {
    let count = cursor.count("rows")?;
    if count as u64 > limits.max_entries || u32::try_from(count).is_err() {
        return Err(bad(format!(
            "it has {count} entries, more than the {} that max_entries allows",
            limits.max_entries
        )));
    }
    let mut rows = Vec::new();
    // `count` is at most the payload's length, which was bounded above.
    let empty = Row {
        ids: KeyIds {
            resource: 0,
            namespace: 0,
            name_offset: 0,
            name_len: 0,
        },
        version: 0,
        member: 0,
        body_offset: 0,
        body_len: 0,
        digest: [0; 16],
        preferred: false,
    };
    rows.resize(count, empty);
    cursor.runs(&mut rows, sizes[0], |row, id| row.ids.resource = id)?;
    cursor.runs(&mut rows, sizes[1], |row, id| row.ids.namespace = id)?;
    cursor.runs(&mut rows, sizes[2], |row, id| {
        row.version = id / 2;
        row.preferred = id % 2 == 1;
    })?;
    let names = names(cursor, &mut rows, limits.max_names())?;
    let mut member = 0i64;
    for row in &mut rows {
        let delta = cursor.varint("members of rows")?;
        member = member.wrapping_add((delta >> 1) as i64 ^ -((delta & 1) as i64));
        row.member = u32::try_from(member)
            .ok()
            .filter(|number| (*number as usize) < members.len())
            .ok_or_else(|| bad("an entry lies in a member that does not exist"))?;
    }
    for row in &mut rows {
        row.body_offset = cursor.varint_u32("body offsets")?;
    }
    for row in &mut rows {
        row.body_len = cursor.varint_u32("body lengths")?;
        let end = u64::from(row.body_offset) + u64::from(row.body_len);
        if end > members[row.member as usize].tar_len || u64::from(row.body_len) > limits.max_item {
            return Err(bad(
                "an entry lies beyond the end of its member, or is beyond max_item",
            ));
        }
    }
    for row in &mut rows {
        row.digest.copy_from_slice(cursor.take(16, "digests")?);
    }
    Ok((rows, names))
}

fn names(cursor: &mut Cursor<'_>, rows: &mut [Row], max_len: u64) -> Result<String> {
    let mut names = String::new();
    let mut previous = 0..0;
    for row in rows {
        let shared = cursor.count("names")?;
        let suffix_len = cursor.count("names")?;
        let suffix = cursor.text(suffix_len, "names")?;
        let start = names.len();
        if shared == previous.len() && suffix.is_empty() && shared > 0 {
            // The same name again, as versions of one object have it.
        } else {
            let prefix = names
                .get(previous.clone())
                .and_then(|name| name.get(..shared))
                .ok_or_else(|| bad("a name shares more than its predecessor has"))?
                .to_owned();
            names.push_str(&prefix);
            names.push_str(suffix);
            if names.len() as u64 > max_len {
                return Err(bad(format!("its names are longer than {max_len} bytes")));
            }
            previous = start..names.len();
        }
        check_segment(&names[previous.clone()])
            .map_err(|reason| bad(format!("a name is not valid: {reason}")))?;
        let too_many = |_| bad("its names are longer than 4 GiB");
        row.ids.name_offset = u32::try_from(previous.start).map_err(too_many)?;
        row.ids.name_len =
            u16::try_from(previous.len()).map_err(|_| bad("a name is longer than 64 KiB"))?;
    }
    Ok(names)
}

fn check_order(tables: &Tables) -> Result<()> {
    for pair in tables.rows.windows(2) {
        let order = tables.sort_key(&pair[0]).cmp(&tables.sort_key(&pair[1]));
        let sorted = order.then(pair[0].version.cmp(&pair[1].version)) == Ordering::Less;
        if !sorted {
            return Err(bad("its entries are not sorted"));
        }
        if order.is_eq() && pair[0].preferred && pair[1].preferred {
            return Err(bad("an object has two preferred versions"));
        }
    }
    Ok(())
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8]> {
        let end = self
            .at
            .checked_add(len)
            .filter(|end| *end <= self.bytes.len());
        let Some(end) = end else {
            return Err(bad(format!(
                "it ends at byte {} inside {what}",
                self.bytes.len()
            )));
        };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        let bytes = self.take(4, what)?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    fn u64(&mut self, what: &str) -> Result<u64> {
        let bytes = self.take(8, what)?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn varint(&mut self, what: &str) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1, what)?[0];
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(bad(format!(
            "a number among the {what} is larger than 64 bits"
        )))
    }

    fn varint_u32(&mut self, what: &str) -> Result<u32> {
        u32::try_from(self.varint(what)?)
            .map_err(|_| bad(format!("a number among the {what} is larger than 32 bits")))
    }

    /// A number of things that follow, each of at least one byte: never more than the bytes that are left.
    fn count(&mut self, what: &str) -> Result<usize> {
        let count = self.varint(what)?;
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= self.bytes.len() - self.at)
            .ok_or_else(|| {
                bad(format!(
                    "it announces {count} {what}, more than it can hold"
                ))
            })
    }

    /// A number of things that take more memory than bytes of the payload; no archive has more of them than
    /// entries, besides the member that stands for an empty one.
    fn count_of_entries(&mut self, what: &str, limits: &Limits) -> Result<usize> {
        let count = self.count(what)?;
        if count as u64 > limits.max_entries.saturating_add(16) {
            return Err(bad(format!(
                "it announces {count} {what}, more than the {} that max_entries allows",
                limits.max_entries
            )));
        }
        Ok(count)
    }

    fn text(&mut self, len: usize, what: &str) -> Result<&'a str> {
        std::str::from_utf8(self.take(len, what)?)
            .map_err(|_| bad(format!("a text among the {what} is not UTF-8")))
    }

    /// Runs of ids below `size`, one for every row.
    fn runs(&mut self, rows: &mut [Row], size: usize, set: impl Fn(&mut Row, u32)) -> Result<()> {
        let mut at = 0;
        while at < rows.len() {
            let len = self.varint("columns")?;
            let id = self.varint_u32("columns")?;
            let run = usize::try_from(len)
                .ok()
                .filter(|len| *len > 0)
                .and_then(|len| rows.get_mut(at..at.checked_add(len)?));
            let Some(run) = run.filter(|_| (id as usize) < size) else {
                return Err(bad(
                    "a column is longer than the rows, or names what no table has",
                ));
            };
            at += run.len();
            run.iter_mut().for_each(|row| set(row, id));
        }
        Ok(())
    }
}
