//! Writing tar entries: regular files, mode 0755, as Velero writes them.

use super::BLOCK;

/// The end-of-archive marker: two blocks of zeros.
pub(crate) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Largest number that eleven octal digits hold: 8 GiB sizes, the year 2242.
const MAX_OCTAL_11: u64 = 0o77_777_777_777;

/// Appends one entry to `out` and says at which offset of `out` its contents begin.
///
/// A path that does not fit a ustar header (100 bytes, or 155 + 100 split at a slash) or is not ASCII is
/// written in a pax header before it, which Go's and GNU's readers understand.
pub(crate) fn append(out: &mut Vec<u8>, path: &str, mtime_unix: i64, contents: &[u8]) -> usize {
    let at = append_header(out, path, mtime_unix, contents.len() as u64);
    append_contents(out, contents);
    at
}

/// What follows the header of an entry.
pub(crate) fn append_contents(out: &mut Vec<u8>, contents: &[u8]) {
    out.extend_from_slice(contents);
    pad(out);
}

/// As [`append`] for an entry whose contents and padding are written elsewhere.
pub(crate) fn append_header(out: &mut Vec<u8>, path: &str, mtime_unix: i64, size: u64) -> usize {
    match split_path(path) {
        Some((prefix, name)) => {
            header(out, prefix, name, b'0', mtime_unix, size);
        }
        None => {
            let record = pax_record("path", path);
            header(
                out,
                b"",
                b"PaxHeaders/entry",
                b'x',
                mtime_unix,
                record.len() as u64,
            );
            out.extend_from_slice(&record);
            pad(out);
            // Readers without pax support see the cut path; those with it ignore it.
            let cut = &path.as_bytes()[..path.len().min(100)];
            header(out, b"", cut, b'0', mtime_unix, size);
        }
    }
    out.len()
}

/// Bytes that [`append`] will add.
pub(crate) fn entry_len(path: &str, contents_len: usize) -> usize {
    let extra = match split_path(path) {
        Some(_) => 0,
        None => BLOCK + pax_record("path", path).len().next_multiple_of(BLOCK),
    };
    extra + BLOCK + contents_len.next_multiple_of(BLOCK)
}

/// Prefix and name of a ustar header, when the path fits.
fn split_path(path: &str) -> Option<(&[u8], &[u8])> {
    let bytes = path.as_bytes();
    if !path.is_ascii() {
        return None;
    }
    if bytes.len() <= 100 {
        return Some((b"", bytes));
    }
    let slash = bytes[..bytes.len().min(156)]
        .iter()
        .rposition(|b| *b == b'/')?;
    let (prefix, name) = (&bytes[..slash], &bytes[slash + 1..]);
    (!prefix.is_empty() && !name.is_empty() && name.len() <= 100).then_some((prefix, name))
}

/// `"<length> key=value\n"`, where the length counts itself.
fn pax_record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    format!("{len} {key}={value}\n").into_bytes()
}

fn header(out: &mut Vec<u8>, prefix: &[u8], name: &[u8], kind: u8, mtime_unix: i64, size: u64) {
    let mut block = [0u8; BLOCK];
    block[..name.len()].copy_from_slice(name);
    block[345..345 + prefix.len()].copy_from_slice(prefix);
    block[100..108].copy_from_slice(b"0000755\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    octal_11(&mut block[124..136], size);
    octal_11(
        &mut block[136..148],
        u64::try_from(mtime_unix).unwrap_or(0).min(MAX_OCTAL_11),
    );
    block[148..156].copy_from_slice(b"        ");
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&block);
}

/// Eleven octal digits and a NUL. `value` is at most [`MAX_OCTAL_11`]: times are clamped by the caller and
/// contents are shorter than 4 GiB (`item::check_item`).
fn octal_11(field: &mut [u8], value: u64) {
    field.copy_from_slice(format!("{:011o}\0", value.min(MAX_OCTAL_11)).as_bytes());
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_records_count_their_own_length() {
        for len in [
            1, 88, 89, 90, 91, 92, 93, 980, 985, 986, 987, 988, 989, 990, 991, 4000,
        ] {
            let record = pax_record("path", &"x".repeat(len));
            let text = String::from_utf8(record.clone()).expect("ascii");
            let said: usize = text
                .split(' ')
                .next()
                .and_then(|n| n.parse().ok())
                .expect("length");
            assert_eq!(said, record.len(), "value of {len} bytes");
        }
    }

    #[test]
    fn the_predicted_length_is_the_written_length() {
        for path in [
            "a",
            &"d/".repeat(60),
            &format!("{}/x", "p".repeat(99)),
            &"n".repeat(300),
            "ä/b",
        ] {
            for contents in [0usize, 1, 511, 512, 513] {
                let mut out = vec![0; BLOCK];
                let at = append(&mut out, path, 0, &vec![1; contents]);
                assert_eq!(
                    out.len() - BLOCK,
                    entry_len(path, contents),
                    "{path} {contents}"
                );
                assert_eq!(
                    &out[at..at + contents],
                    vec![1; contents],
                    "{path} {contents}"
                );
            }
        }
    }
}
