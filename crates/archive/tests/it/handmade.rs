//! Archives made by hand, byte by byte, so that the reader is tested against something that is not the
//! writer.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

/// A tar in the making.
#[derive(Clone, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    /// As Velero 1.4 and later begin.
    pub(crate) fn velero() -> Self {
        Self::default().file("metadata/version", b"1.1.0\n")
    }

    /// A regular file with a plain ustar header.
    pub(crate) fn file(self, path: &str, contents: &[u8]) -> Self {
        self.entry(path, b'0', contents)
    }

    /// An item, once, at the given path; its name is read from the path.
    pub(crate) fn object(self, path: &str) -> Self {
        let body = body_for(path, "v1", "");
        self.file(path, body.as_bytes())
    }

    /// Any type of entry.
    pub(crate) fn entry(mut self, path: &str, kind: u8, contents: &[u8]) -> Self {
        let size = format!("{:011o}\0", contents.len());
        self.header(path.as_bytes(), kind, size.as_bytes(), b"ustar\x0000", b"");
        self.contents(contents)
    }

    /// A GNU `L` header and the file with its name cut.
    pub(crate) fn gnu_long(mut self, path: &str, contents: &[u8]) -> Self {
        let long = [path.as_bytes(), b"\0"].concat();
        let size = format!("{:011o}\0", long.len());
        self.header(b"././@LongLink", b'L', size.as_bytes(), b"ustar  \0", b"");
        self = self.contents(&long);
        // Base 256, as GNU writes sizes that do not fit.
        let mut size = [0; 12];
        size[0] = 0x80;
        size[4..].copy_from_slice(&(contents.len() as u64).to_be_bytes());
        let cut = &path.as_bytes()[..path.len().min(100)];
        self.header(cut, b'0', &size, b"ustar  \0", b"");
        self.contents(contents)
    }

    /// A pax header with path and size, and the file behind it with neither.
    pub(crate) fn pax_long(mut self, path: &str, contents: &[u8]) -> Self {
        let mut records = String::new();
        for (key, value) in [
            ("comment", "anything"),
            ("path", path),
            ("size", &contents.len().to_string()),
            ("mtime", "1700000000.5"),
        ] {
            let rest = format!(" {key}={value}\n");
            let len = (1..)
                .find(|n| n.to_string().len() + rest.len() == *n)
                .expect("a length");
            records += &format!("{len}{rest}");
        }
        let size = format!("{:011o}\0", records.len());
        self.header(
            b"PaxHeaders.0/x",
            b'x',
            size.as_bytes(),
            b"ustar\x0000",
            b"",
        );
        self = self.contents(records.as_bytes());
        self.header(b"cut", b'0', b"00000000000\0", b"ustar\x0000", b"");
        self.contents(contents)
    }

    /// A header of the Seventh Edition: no magic, numbers with blanks.
    pub(crate) fn v7(mut self, path: &str, contents: &[u8]) -> Self {
        let size = format!("{:11o} ", contents.len());
        self.header(path.as_bytes(), 0, size.as_bytes(), &[0; 8], b"");
        self.contents(contents)
    }

    /// A ustar header with a prefix.
    pub(crate) fn prefixed(mut self, prefix: &str, name: &str, contents: &[u8]) -> Self {
        let size = format!("{:011o}\0", contents.len());
        self.header(
            name.as_bytes(),
            b'0',
            size.as_bytes(),
            b"ustar\x0000",
            prefix.as_bytes(),
        );
        self.contents(contents)
    }

    /// A header that promises `size` bytes, and none of them.
    pub(crate) fn promise(mut self, path: &str, size: u64) -> Self {
        let size = format!("{size:011o}\0");
        self.header(path.as_bytes(), b'0', size.as_bytes(), b"ustar\x0000", b"");
        self
    }

    fn header(&mut self, name: &[u8], kind: u8, size: &[u8], magic: &[u8], prefix: &[u8]) {
        let mut block = [0u8; 512];
        block[..name.len()].copy_from_slice(name);
        block[100..107].copy_from_slice(b"0000755");
        block[124..136].copy_from_slice(size);
        block[136..147].copy_from_slice(b"14000000000");
        block[148..156].fill(b' ');
        block[156] = kind;
        block[257..265].copy_from_slice(magic);
        block[345..345 + prefix.len()].copy_from_slice(prefix);
        let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0.extend_from_slice(&block);
    }

    fn contents(mut self, contents: &[u8]) -> Self {
        self.0.extend_from_slice(contents);
        self.0.resize(self.0.len().div_ceil(512) * 512, 0);
        self
    }

    /// The tar with its end marker, as one gzip member.
    pub(crate) fn gz(&self) -> Vec<u8> {
        let mut tar = self.0.clone();
        tar.extend_from_slice(&[0; 1024]);
        gzip(&tar)
    }

    /// The same in as many members as there are chunks of `size` bytes.
    pub(crate) fn gz_members(&self, size: usize) -> Vec<u8> {
        let mut tar = self.0.clone();
        tar.extend_from_slice(&[0; 1024]);
        tar.chunks(size).flat_map(gzip).collect()
    }
}

pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}

/// An object whose name and namespace are those of the path.
pub(crate) fn body_for(path: &str, api_version: &str, note: &str) -> String {
    let segments: Vec<&str> = path.split('/').collect();
    let name = segments[segments.len() - 1].trim_end_matches(".json");
    let namespace = match segments.iter().position(|s| *s == "namespaces") {
        Some(at) if at > 1 => format!(r#","namespace":"{}""#, segments[at + 1]),
        _ => String::new(),
    };
    format!(
        r#"{{"apiVersion":"{api_version}","kind":"X","metadata":{{"name":"{name}"{namespace}}},"note":"{note}"}}"#
    )
}
