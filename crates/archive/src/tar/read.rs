//! Reading tar entries one after the other, from anything that may have written or damaged them.
//!
//! Understood are the headers of V7, POSIX ustar (prefix), pax (`path` and `size`) and GNU (long names,
//! base-256 sizes). What is not a regular file is reported by its type and skipped.

use std::io::{self, Read};

use super::{BLOCK, padded};
use crate::item::MAX_PATH;

/// Why a tar cannot be read on.
#[derive(Debug)]
pub(crate) enum TarError {
    /// The reader failed.
    Io(io::Error),
    /// The bytes end inside a header or an entry.
    Truncated,
    /// A header is not one.
    Header(String),
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    /// A link, device, pipe or sparse file, as the type byte says.
    Other(u8),
}

/// One entry; its contents follow in the reader.
#[derive(Debug)]
pub(crate) struct TarEntry {
    /// As in the header, not checked. Longer ones than an archive may have are cut.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    /// Bytes of contents.
    pub(crate) size: u64,
}

/// How a tar ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With its two blocks of zeros.
    Marker,
    /// With fewer than two, at the end of the bytes.
    NoMarker,
}

pub(crate) struct TarReader<R> {
    reader: R,
    /// Contents and padding of the current entry that were not read yet.
    left: u64,
    padding: u64,
    offset: u64,
    header_offset: u64,
}

/// Longest extended header that is read; it holds a path of [`MAX_PATH`] and a few numbers.
const MAX_EXTENDED: u64 = 64 << 10;

impl<R: Read> TarReader<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader,
            left: 0,
            padding: 0,
            offset: 0,
            header_offset: 0,
        }
    }

    /// Bytes of tar read so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the last header began.
    pub(crate) fn header_offset(&self) -> u64 {
        self.header_offset
    }

    pub(crate) fn get_ref(&self) -> &R {
        &self.reader
    }

    /// Skips what is left of the current entry and reads the next header.
    pub(crate) fn next_entry(&mut self) -> Result<Result<TarEntry, End>, TarError> {
        self.skip()?;
        let mut long_path: Option<Vec<u8>> = None;
        let mut long_size: Option<u64> = None;
        loop {
            let Some(block) = self.header_block()? else {
                if long_path.is_some() || long_size.is_some() {
                    return Err(TarError::Truncated);
                }
                return Ok(Err(End::NoMarker));
            };
            if block.iter().all(|b| *b == 0) {
                let end = match self.header_block()? {
                    Some(second) if second.iter().all(|b| *b == 0) => End::Marker,
                    Some(_) => {
                        return Err(TarError::Header(
                            "a block of zeros is followed by something else".to_owned(),
                        ));
                    }
                    None => End::NoMarker,
                };
                return Ok(Err(end));
            }
            check_sum(&block)?;
            let size = number(&block[124..136])
                .ok_or_else(|| TarError::Header("its size is not a number".to_owned()))?;
            let kind = block[156];
            match kind {
                b'x' | b'g' | b'L' | b'K' => {
                    self.set_contents(size)?;
                    let extended = self.extended(size)?;
                    match kind {
                        b'x' => {
                            let (path, size) = pax(&extended)?;
                            long_path = path.or(long_path);
                            long_size = size.or(long_size);
                        }
                        b'L' => long_path = Some(until_nul(&extended).to_vec()),
                        // Global headers carry comments, and a link's target is of no use.
                        _ => {}
                    }
                }
                _ => {
                    let mut path = long_path.unwrap_or_else(|| short_path(&block));
                    path.truncate(MAX_PATH + 1);
                    let size = long_size.unwrap_or(size);
                    let kind = match kind {
                        // V7 marks directories by a slash only.
                        b'0' | 0 | b'7' if path.ends_with(b"/") => Kind::Directory,
                        b'0' | 0 | b'7' => Kind::File,
                        b'5' => Kind::Directory,
                        other => Kind::Other(other),
                    };
                    // Links and devices have no contents, whatever the size field says.
                    let contents = match kind {
                        Kind::Other(b'1'..=b'6') => 0,
                        _ => size,
                    };
                    self.set_contents(contents)?;
                    return Ok(Ok(TarEntry {
                        path,
                        kind,
                        size: contents,
                    }));
                }
            }
        }
    }

    /// The contents of the current entry, replacing what is in `body`. The caller has checked its size.
    pub(crate) fn contents(&mut self, body: &mut Vec<u8>) -> Result<(), TarError> {
        body.clear();
        let expected = self.left;
        let read = (&mut self.reader)
            .take(expected)
            .read_to_end(body)
            .map_err(TarError::Io)? as u64;
        self.offset += read;
        self.left -= read;
        if self.left > 0 {
            return Err(TarError::Truncated);
        }
        Ok(())
    }

    /// Reads to the end of the stream; true when there was anything but zeros.
    pub(crate) fn drain(&mut self) -> Result<bool, TarError> {
        let mut buffer = [0; 8192];
        let mut found = false;
        loop {
            match self.reader.read(&mut buffer) {
                Ok(0) => return Ok(found),
                Ok(read) => {
                    self.offset += read as u64;
                    found |= buffer[..read].iter().any(|b| *b != 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TarError::Io(error)),
            }
        }
    }

    fn set_contents(&mut self, size: u64) -> Result<(), TarError> {
        if size > i64::MAX as u64 - BLOCK as u64 {
            return Err(TarError::Header(format!(
                "its size of {size} bytes is impossible"
            )));
        }
        self.left = size;
        self.padding = padded(size) - size;
        Ok(())
    }

    fn skip(&mut self) -> Result<(), TarError> {
        let expected = self.left + self.padding;
        let skipped = io::copy(&mut (&mut self.reader).take(expected), &mut io::sink())
            .map_err(TarError::Io)?;
        self.offset += skipped;
        (self.left, self.padding) = (0, 0);
        if skipped < expected {
            return Err(TarError::Truncated);
        }
        Ok(())
    }

    fn extended(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > MAX_EXTENDED {
            return Err(TarError::Header(format!(
                "its extended header has {size} bytes, more than 64 KiB"
            )));
        }
        let mut contents = Vec::new();
        self.contents(&mut contents)?;
        self.skip()?;
        Ok(contents)
    }

    /// The next block; `None` at the end of the bytes.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        self.header_offset = self.offset;
        let mut filled = 0;
        while filled < BLOCK {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(TarError::Truncated),
                Ok(read) => {
                    filled += read;
                    self.offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TarError::Io(error)),
            }
        }
        Ok(Some(block))
    }
}

/// Old tars summed signed bytes, so both sums are right.
fn check_sum(block: &[u8; BLOCK]) -> Result<(), TarError> {
    let (mut unsigned, mut signed) = (0i64, 0i64);
    for (at, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) {
            b' '
        } else {
            *byte
        };
        unsigned += i64::from(byte);
        signed += i64::from(byte as i8);
    }
    let said = number(&block[148..156]).and_then(|sum| i64::try_from(sum).ok());
    if said == Some(unsigned) || said == Some(signed) {
        Ok(())
    } else {
        Err(TarError::Header(
            "its checksum does not match: not a tar, or damaged".to_owned(),
        ))
    }
}

/// Octal digits between blanks, or GNU's base 256 when the first bit is set. `None` for negative numbers
/// and anything else.
fn number(field: &[u8]) -> Option<u64> {
    if field.first()? & 0x80 != 0 {
        if field[0] & 0x40 != 0 {
            return None;
        }
        return field
            .iter()
            .enumerate()
            .try_fold(0u64, |value, (at, byte)| {
                let byte = if at == 0 { byte & 0x3f } else { *byte };
                value.checked_mul(256)?.checked_add(u64::from(byte))
            });
    }
    let text = until_nul(field).trim_ascii();
    text.iter().try_fold(0u64, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|d| *d < 8)?;
        value.checked_mul(8)?.checked_add(u64::from(digit))
    })
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

fn short_path(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&block[..100]);
    // GNU's own format uses the prefix field for times; its magic has no NUL.
    let prefix = if &block[257..263] == b"ustar\0" {
        until_nul(&block[345..500])
    } else {
        b""
    };
    if prefix.is_empty() {
        name.to_vec()
    } else {
        [prefix, b"/", name].concat()
    }
}

/// `path` and `size` of records `"<length> key=value\n"`.
fn pax(mut records: &[u8]) -> Result<(Option<Vec<u8>>, Option<u64>), TarError> {
    let bad = || TarError::Header("its extended header is damaged".to_owned());
    let (mut path, mut size) = (None, None);
    while !until_nul(records).is_empty() {
        let blank = records.iter().position(|b| *b == b' ').ok_or_else(bad)?;
        let len: usize = std::str::from_utf8(&records[..blank])
            .ok()
            .and_then(|text| text.parse().ok())
            .filter(|len| *len > blank + 1 && *len <= records.len())
            .ok_or_else(bad)?;
        let (record, rest) = records.split_at(len);
        let record = record[blank + 1..].strip_suffix(b"\n").ok_or_else(bad)?;
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        match key {
            b"path" => path = Some(value.to_vec()),
            b"size" => {
                let text = std::str::from_utf8(value).ok();
                size = Some(text.and_then(|t| t.parse().ok()).ok_or_else(bad)?);
            }
            // A sparse file's contents are not what it will be when extracted.
            key if key.starts_with(b"GNU.sparse.") => {
                return Err(TarError::Header(
                    "sparse files are not supported".to_owned(),
                ));
            }
            _ => {}
        }
        records = rest;
    }
    Ok((path, size))
}
