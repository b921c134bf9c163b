//! Files that hold one JSON document: indexes, snapshots, locks.
//!
//! The plaintext is the document itself, or (version 2) a byte 2 and the document compressed with zstd.

use std::io::Read as _;

/// First byte of a compressed document.
const COMPRESSED: u8 = 2;
/// Longest document that is taken: an index file of a million blobs.
const LONGEST: u64 = 512 << 20;

/// The plaintext of a document.
///
/// # Errors
/// The compressor fails, for want of memory.
pub(crate) fn encode(json: &[u8], compress: bool) -> std::io::Result<Vec<u8>> {
    if !compress {
        return Ok(json.to_vec());
    }
    let mut out = vec![COMPRESSED];
    out.extend(zstd::bulk::compress(json, 3)?);
    Ok(out)
}

/// The document of a plaintext; an error says what is wrong with it.
pub(crate) fn decode(plain: Vec<u8>) -> Result<Vec<u8>, String> {
    match plain.first() {
        Some(b'{' | b'[') => Ok(plain),
        Some(&COMPRESSED) => {
            let mut json = Vec::new();
            zstd::stream::Decoder::new(&plain[1..])
                .and_then(|decoder| decoder.take(LONGEST + 1).read_to_end(&mut json))
                .map_err(|e| format!("it does not decompress: {e}"))?;
            if json.len() as u64 > LONGEST {
                return Err(format!("it is longer than {LONGEST} bytes"));
            }
            Ok(json)
        }
        Some(other) => Err(format!("it begins with the unknown byte {other}")),
        None => Err("it is empty".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_round_trip_and_others_are_refused() {
        for compress in [false, true] {
            let plain = encode(b"{\"a\":1}", compress).expect("encodes");
            assert_eq!(decode(plain), Ok(b"{\"a\":1}".to_vec()));
        }
        assert!(decode(vec![]).is_err());
        assert!(decode(vec![3, 1, 2]).is_err());
        assert!(decode(vec![2, 1, 2, 3]).is_err());
    }
}
