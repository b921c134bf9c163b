//! Blobs and their places as records whose bytes sort as they should.

use super::Place;
use crate::format::index_file::{BlobKind, IndexedBlob};
use crate::id::BlobId;

/// Bytes of a record that is sorted by id: id, then (big-endian) kind and number of the pack, offset, length, length of
/// the plaintext or zero.
pub(crate) const BY_ID: usize = 48;
/// Bytes of a record that is sorted by pack: number of the pack, offset, kind, id, length, length of the plaintext.
pub(crate) const BY_PACK: usize = 49;
/// The bit of the pack's number that says that a blob is a tree.
const TREE: u32 = 1 << 31;

/// Most packs that can be numbered.
pub(crate) const MOST_PACKS: u32 = TREE;

/// What all records of a blob begin with.
pub(crate) fn key(id: &BlobId) -> [u8; 32] {
    *id.as_bytes()
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn by_id(kind: BlobKind, id: &BlobId, place: &Place) -> [u8; BY_ID] {
    let tree = if kind == BlobKind::Tree { TREE } else { 0 };
    let mut record = [0; BY_ID];
    record[..32].copy_from_slice(id.as_bytes());
    record[32..36].copy_from_slice(&(place.pack | tree).to_be_bytes());
    record[36..40].copy_from_slice(&place.offset.to_be_bytes());
    record[40..44].copy_from_slice(&place.length.to_be_bytes());
    record[44..].copy_from_slice(&place.uncompressed.unwrap_or(0).to_be_bytes());
    record
}

pub(crate) fn read_by_id(record: &[u8; BY_ID]) -> (BlobKind, BlobId, Place) {
    let pack = number(record, 32);
    let id: [u8; 32] = record[..32].try_into().expect("32 bytes");
    let kind = if pack & TREE == 0 {
        BlobKind::Data
    } else {
        BlobKind::Tree
    };
    let place = Place {
        pack: pack & !TREE,
        offset: number(record, 36),
        length: number(record, 40),
        uncompressed: Some(number(record, 44)).filter(|length| *length > 0),
    };
    (kind, BlobId::from(id), place)
}

pub(crate) fn by_pack(kind: BlobKind, id: &BlobId, place: &Place) -> [u8; BY_PACK] {
    let mut record = [0; BY_PACK];
    record[..4].copy_from_slice(&place.pack.to_be_bytes());
    record[4..8].copy_from_slice(&place.offset.to_be_bytes());
    record[8] = u8::from(kind == BlobKind::Tree);
    record[9..41].copy_from_slice(id.as_bytes());
    record[41..45].copy_from_slice(&place.length.to_be_bytes());
    record[45..].copy_from_slice(&place.uncompressed.unwrap_or(0).to_be_bytes());
    record
}

/// The pack's number and the blob.
pub(crate) fn read_by_pack(record: &[u8; BY_PACK]) -> (u32, IndexedBlob) {
    let id: [u8; 32] = record[9..41].try_into().expect("32 bytes");
    let blob = IndexedBlob {
        id: BlobId::from(id),
        kind: if record[8] == 0 {
            BlobKind::Data
        } else {
            BlobKind::Tree
        },
        offset: number(record, 4),
        length: number(record, 41),
        uncompressed_length: Some(number(record, 45)).filter(|length| *length > 0),
    };
    (number(record, 0), blob)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_and_sort_by_id_and_kind_or_by_pack() {
        let mut records = Vec::new();
        for kind in [BlobKind::Data, BlobKind::Tree] {
            for pack in [0, 1, 300] {
                for uncompressed in [None, Some(70_000)] {
                    let place = Place {
                        pack,
                        offset: 5 + pack,
                        length: 900,
                        uncompressed,
                    };
                    let id = BlobId::of(b"x");
                    assert_eq!(read_by_id(&by_id(kind, &id, &place)), (kind, id, place));
                    let (number, blob) = read_by_pack(&by_pack(kind, &id, &place));
                    assert_eq!((number, blob.id, blob.kind), (pack, id, kind));
                    assert_eq!((blob.offset, blob.length), (place.offset, 900));
                    assert_eq!(blob.uncompressed_length, uncompressed);
                    records.push(by_id(kind, &id, &place));
                }
            }
        }
        assert!(records.is_sorted());
    }
}
