//! Headers of a tar archive: ustar, with pax headers before what does not fit.

/// Bytes of a block.
pub(super) const BLOCK: usize = 512;
/// What a field of twelve bytes holds in octal.
const LARGEST: u64 = 0o777_7777_7777;
/// What a field of eight bytes holds in octal.
const LARGEST_SHORT: u64 = 0o777_7777;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    File = b'0',
    /// Another name of a file that has come.
    HardLink = b'1',
    SymbolicLink = b'2',
    CharacterDevice = b'3',
    BlockDevice = b'4',
    Directory = b'5',
    Fifo = b'6',
}

/// An entry before its content.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    pub(super) kind: Kind,
    /// Its path in the archive.
    pub(super) path: &'a [u8],
    /// What a link leads to.
    pub(super) link: &'a [u8],
    /// Permissions only.
    pub(super) mode: u32,
    pub(super) user: u32,
    pub(super) group: u32,
    /// Bytes of content that follow.
    pub(super) size: u64,
    /// Seconds since 1970.
    pub(super) modified: i64,
    /// Major and minor number of a device.
    pub(super) device: (u32, u32),
}

impl Entry<'_> {
    /// Its headers, whole blocks.
    pub(super) fn headers(&self) -> Vec<u8> {
        let mut records = Vec::new();
        if self.path.len() > 100 || !self.path.is_ascii() {
            record(&mut records, "path", self.path);
        }
        if self.link.len() > 100 || !self.link.is_ascii() {
            record(&mut records, "linkpath", self.link);
        }
        for (key, number, largest) in [
            ("size", self.size, LARGEST),
            ("uid", self.user.into(), LARGEST_SHORT),
            ("gid", self.group.into(), LARGEST_SHORT),
        ] {
            if number > largest {
                record(&mut records, key, number.to_string().as_bytes());
            }
        }
        if u64::try_from(self.modified).map_or(true, |seconds| seconds > LARGEST) {
            record(&mut records, "mtime", self.modified.to_string().as_bytes());
        }
        let mut headers = Vec::with_capacity(BLOCK);
        if !records.is_empty() {
            let extended = Entry {
                path: b"././@PaxHeader",
                link: b"",
                mode: 0o644,
                user: 0,
                group: 0,
                size: records.len() as u64,
                modified: 0,
                device: (0, 0),
                kind: Kind::File,
            };
            headers.extend(extended.block(b'x'));
            headers.extend(&records);
            headers.resize(headers.len().next_multiple_of(BLOCK), 0);
        }
        headers.extend(self.block(self.kind as u8));
        headers
    }

    fn block(&self, kind: u8) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8], most: usize| {
            let length = bytes.len().min(most);
            block[at..at + length].copy_from_slice(&bytes[..length]);
        };
        let short = |number: u32| format!("{:07o}", u64::from(number).min(LARGEST_SHORT));
        let long = |number: u64| format!("{:011o}", if number > LARGEST { 0 } else { number });
        put(0, self.path, 100);
        put(100, short(self.mode).as_bytes(), 7);
        put(108, short(self.user).as_bytes(), 7);
        put(116, short(self.group).as_bytes(), 7);
        put(124, long(self.size).as_bytes(), 11);
        let modified = u64::try_from(self.modified).unwrap_or(0);
        put(136, long(modified).as_bytes(), 11);
        // The checksum counts itself as blanks.
        put(148, b"        ", 8);
        put(156, &[kind], 1);
        put(157, self.link, 100);
        put(257, b"ustar\x0000", 8);
        put(329, short(self.device.0).as_bytes(), 7);
        put(337, short(self.device.1).as_bytes(), 7);
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

/// `LENGTH KEY=VALUE\n`, whose length counts itself.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    records.extend(format!("{length} {key}=").as_bytes());
    records.extend(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_record_counts_itself() {
        for length in 0..2000 {
            let mut records = Vec::new();
            record(&mut records, "path", &vec![b'x'; length]);
            let space = records.iter().position(|byte| *byte == b' ');
            let said = std::str::from_utf8(&records[..space.expect("a space")]).expect("digits");
            assert_eq!(said.parse(), Ok(records.len()));
        }
    }
}
