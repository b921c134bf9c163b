//! Bodies as gzip members that an index points into.

use std::io::{self, Write};

use crate::error::{ArchiveError, Result};
use crate::index::{IndexBuilder, MemberPlace};
use crate::segment::{TARGET_BYTES, gzip_member};

const WRITE: &str = "write decompressed items";

/// Writes members to wherever the caller keeps them.
pub(super) struct Spill<'a> {
    out: &'a mut dyn Write,
    len: u64,
    member: Vec<u8>,
}

impl<'a> Spill<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self {
            out,
            len: 0,
            member: Vec::new(),
        }
    }

    /// Keeps a body; its member's number and its place in the member.
    pub(super) fn store(&mut self, body: &[u8], index: &mut IndexBuilder) -> Result<(u32, u32)> {
        if !self.member.is_empty() && self.member.len() + body.len() > TARGET_BYTES {
            self.seal(index)?;
        }
        let full = |_| ArchiveError::IndexFull {
            what: "gzip members",
            allowed: u64::from(u32::MAX),
        };
        let number = u32::try_from(index.member_count()).map_err(full)?;
        let at = u32::try_from(self.member.len()).map_err(full)?;
        self.member.extend_from_slice(body);
        Ok((number, at))
    }

    /// Writes the last member; the length of all.
    pub(super) fn finish(&mut self, index: &mut IndexBuilder) -> Result<u64> {
        self.seal(index)?;
        self.member = Vec::new();
        self.out.flush().map_err(failed(WRITE))?;
        Ok(self.len)
    }

    fn seal(&mut self, index: &mut IndexBuilder) -> Result<()> {
        let bytes = gzip_member(&self.member)?;
        self.out.write_all(&bytes).map_err(failed(WRITE))?;
        index.add_member(MemberPlace {
            offset: self.len,
            compressed_len: bytes.len() as u64,
            tar_len: self.member.len() as u64,
        })?;
        self.len += bytes.len() as u64;
        self.member.clear();
        Ok(())
    }
}

fn failed(operation: &'static str) -> impl Fn(io::Error) -> ArchiveError {
    move |source| ArchiveError::Spill { operation, source }
}
