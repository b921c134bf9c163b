//! Writing `salvor-index.zst`; the layout is specified in `docs/formats/salvor-index.md`.

use sha2::{Digest as _, Sha256};

use super::{INDEX_FORMAT_VERSION, Tables};

/// A zstd skippable frame, so that `zstd -d` shows the payload.
pub(super) const SKIPPABLE_MAGIC: u32 = 0x184D_2A5A;
pub(super) const MAGIC: &[u8; 8] = b"SALVORIX";
/// Magic, version, two lengths and digest.
pub(super) const HEADER_LEN: u32 = 8 + 4 + 8 + 8 + 32;
/// Fast, and names and numbers of this layout gain little from higher ones.
const ZSTD_LEVEL: i32 = 3;

pub(super) fn encode(tables: &Tables) -> Vec<u8> {
    let payload = payload(tables);
    let frame = zstd::bulk::compress(&payload, ZSTD_LEVEL)
        .expect("the library sizes the output by its own bound, and memory is the only other need");
    let mut out = Vec::with_capacity(frame.len() + 8 + HEADER_LEN as usize);
    out.extend_from_slice(&SKIPPABLE_MAGIC.to_le_bytes());
    out.extend_from_slice(&HEADER_LEN.to_le_bytes());
    let mut header = Vec::with_capacity(HEADER_LEN as usize);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&INDEX_FORMAT_VERSION.to_le_bytes());
    header.extend_from_slice(&(frame.len() as u64).to_le_bytes());
    header.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(&digest(&header, &frame));
    out.extend_from_slice(&frame);
    out
}

/// SHA-256 of the header before it and the frame after it.
pub(super) fn digest(header: &[u8], frame: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(header)
        .chain_update(frame)
        .finalize()
        .into()
}

fn payload(tables: &Tables) -> Vec<u8> {
    let rows = &tables.rows;
    let mut out = Vec::with_capacity(rows.len() * 40);
    varint(&mut out, tables.archive_len);
    let resources: Vec<String> = tables.resources.iter().map(ToString::to_string).collect();
    for table in [&resources, &tables.namespaces, &tables.versions] {
        varint(&mut out, table.len() as u64);
        for text in table {
            varint(&mut out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
    }
    varint(&mut out, tables.members.len() as u64);
    let mut end = 0;
    for member in &tables.members {
        varint(&mut out, member.offset - end);
        varint(&mut out, member.compressed_len);
        varint(&mut out, member.tar_len);
        end = member.offset + member.compressed_len;
    }
    varint(&mut out, rows.len() as u64);
    runs(&mut out, rows.iter().map(|row| u64::from(row.ids.resource)));
    runs(
        &mut out,
        rows.iter().map(|row| u64::from(row.ids.namespace)),
    );
    runs(
        &mut out,
        rows.iter()
            .map(|row| u64::from(row.version) * 2 + u64::from(row.preferred)),
    );
    let mut previous = "";
    for row in rows {
        let name = tables.name(row);
        let shared = shared_prefix(previous, name);
        varint(&mut out, shared as u64);
        varint(&mut out, (name.len() - shared) as u64);
        out.extend_from_slice(&name.as_bytes()[shared..]);
        previous = name;
    }
    let mut previous = 0;
    for row in rows {
        varint(&mut out, zigzag(i64::from(row.member) - previous));
        previous = i64::from(row.member);
    }
    for row in rows {
        varint(&mut out, u64::from(row.body_offset));
    }
    for row in rows {
        varint(&mut out, u64::from(row.body_len));
    }
    for row in rows {
        out.extend_from_slice(&row.digest);
    }
    out
}

fn shared_prefix(a: &str, b: &str) -> usize {
    let equal = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    // A name is decoded from whole characters.
    (0..=equal)
        .rev()
        .find(|at| b.is_char_boundary(*at))
        .unwrap_or(0)
}

/// Runs of equal values as pairs of length and value.
fn runs(out: &mut Vec<u8>, values: impl Iterator<Item = u64>) {
    let mut run: Option<(u64, u64)> = None;
    for value in values {
        match &mut run {
            Some((len, current)) if *current == value => *len += 1,
            _ => {
                if let Some((len, value)) = run {
                    varint(out, len);
                    varint(out, value);
                }
                run = Some((1, value));
            }
        }
    }
    if let Some((len, value)) = run {
        varint(out, len);
        varint(out, value);
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}
