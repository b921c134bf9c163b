//! Where a tar archive ends.
//!
//! A stream that was cut looks like one that ended. An archive says itself where it ends: with two blocks of zeros after
//! its last entry. So the headers are followed, and only what comes after that end may be nothing but zeros.
//!
//! Read are the formats that tar programs in containers write: ustar, GNU's (long names, large and sparse files) and
//! pax's (sizes in extended headers).

/// Bytes of a block.
const BLOCK: usize = 512;
/// Bytes of an extended header that are kept to look for a size in; programs write some hundred.
const LARGEST_EXTENDED: u64 = 1 << 20;

/// Why a stream is no tar archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at} there is {what}")]
pub struct NoTar {
    /// Offset in the stream.
    pub at: u64,
    what: &'static str,
}

/// Follows an archive to its end.
#[derive(Clone, Debug, Default)]
pub struct TarEnd {
    /// The part of a block that has come.
    block: Vec<u8>,
    /// Offset of the next byte.
    at: u64,
    /// Bytes of content and padding before the next header.
    content: u64,
    /// An extended header that is being read, and how much of its content is left.
    extended: Option<(Vec<u8>, u64)>,
    /// Size of the next entry, from an extended header.
    next_size: Option<u64>,
    /// More blocks of a sparse file's map follow.
    sparse_map: bool,
    /// The size of that sparse file's content.
    sparse_size: u64,
    zeros: u8,
    entries: u64,
}

impl TarEnd {
    /// Looks at the next bytes of the stream.
    ///
    /// # Errors
    /// They are no part of an archive. What came before is all that can be relied on.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), NoTar> {
        while !bytes.is_empty() {
            if self.content > 0 && self.block.is_empty() {
                let passed = usize::try_from(self.content)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                let (content, rest) = bytes.split_at(passed);
                self.keep_extended(content);
                self.content -= passed as u64;
                self.at += passed as u64;
                bytes = rest;
                continue;
            }
            let wanted = (BLOCK - self.block.len()).min(bytes.len());
            let (part, rest) = bytes.split_at(wanted);
            self.block.extend_from_slice(part);
            self.at += wanted as u64;
            bytes = rest;
            if self.block.len() == BLOCK {
                let block = std::mem::take(&mut self.block);
                self.header(&block)?;
            }
        }
        Ok(())
    }

    /// Whether the archive has come to its end.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.zeros >= 2
    }

    /// Entries so far, without headers that only describe the next one.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Bytes so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.at
    }

    fn keep_extended(&mut self, content: &[u8]) {
        let Some((kept, left)) = &mut self.extended else {
            return;
        };
        let part = usize::try_from(*left)
            .unwrap_or(usize::MAX)
            .min(content.len());
        kept.extend_from_slice(&content[..part]);
        *left -= part as u64;
        if *left == 0 {
            self.next_size = size_in(kept);
            self.extended = None;
        }
    }

    fn no(&self, what: &'static str) -> NoTar {
        NoTar {
            at: self.at - BLOCK as u64,
            what,
        }
    }

    fn header(&mut self, block: &[u8]) -> Result<(), NoTar> {
        if self.sparse_map {
            self.sparse_map = block[504] != 0;
            if !self.sparse_map {
                self.pass(self.sparse_size)?;
            }
            return Ok(());
        }
        if block.iter().all(|byte| *byte == 0) {
            self.zeros = self.zeros.saturating_add(1);
            return Ok(());
        }
        if self.zeros > 0 {
            return Err(self.no("something behind the end of the archive"));
        }
        if !has_checksum(block) {
            return Err(self.no("no header of an entry"));
        }
        let size = number(&block[124..136]).ok_or_else(|| self.no("a size that is no number"))?;
        match block[156] {
            kind @ (b'x' | b'g') => {
                if kind == b'x' && size > 0 && size <= LARGEST_EXTENDED {
                    self.extended = Some((Vec::new(), size));
                }
                self.pass(size)
            }
            b'L' | b'K' => self.pass(size),
            kind => {
                self.entries += 1;
                let size = self.next_size.take().unwrap_or(size);
                match kind {
                    // Links, devices, directories and fifos: a size there describes something else.
                    b'2'..=b'6' => Ok(()),
                    b'S' if block[482] != 0 => {
                        (self.sparse_map, self.sparse_size) = (true, size);
                        Ok(())
                    }
                    _ => self.pass(size),
                }
            }
        }
    }

    /// Content of this size, and what fills its last block, comes next.
    fn pass(&mut self, size: u64) -> Result<(), NoTar> {
        let padded = size.checked_next_multiple_of(BLOCK as u64);
        self.content = padded.ok_or_else(|| self.no("a size that cannot be"))?;
        Ok(())
    }
}

/// Whether a header's checksum is right; some old programs sum signed bytes.
fn has_checksum(block: &[u8]) -> bool {
    let Some(wanted) = number(&block[148..156]) else {
        return false;
    };
    let byte = |(at, byte): (usize, &u8)| {
        if (148..156).contains(&at) {
            b' '
        } else {
            *byte
        }
    };
    let bytes = || block.iter().enumerate().map(byte);
    let unsigned: u64 = bytes().map(u64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte as i8)).sum();
    wanted == unsigned || i64::try_from(wanted) == Ok(signed)
}

/// A number in octal, or, with the highest bit set, in binary.
fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // Negative ones begin with 0xff; there are none for sizes.
        let start = u64::from(first & 0x7f);
        return rest.iter().try_fold(start, |sum, byte| {
            sum.checked_mul(256)?.checked_add(u64::from(*byte))
        });
    }
    let text = std::str::from_utf8(field).ok()?;
    let text = text.trim_matches(['\0', ' ']);
    if text.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(text, 8)
        .ok()
        .filter(|_| !text.starts_with('+'))
}

/// The size that an extended header gives the next entry: `LENGTH KEY=VALUE\n`, repeated.
fn size_in(mut records: &[u8]) -> Option<u64> {
    let mut size = None;
    while !records.is_empty() {
        let space = records.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
        let record = records.get(space + 1..length)?;
        if let Some(value) = record.strip_prefix(b"size=") {
            size = std::str::from_utf8(value).ok()?.trim_end().parse().ok();
        }
        records = &records[length..];
    }
    size
}

#[cfg(test)]
#[path = "tar_end_tests.rs"]
mod tests;
