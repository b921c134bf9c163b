//! Large pieces of files, written past the page cache.
//!
//! What is stored is flushed at once and seldom read soon, so the cache's copy of it is work without a use, and it takes the
//! place of what the applications of the machine read. Measured on a virtual machine with ext4, the copy and its pages cost
//! three seconds of a processor for each gigabyte, and direct writes 0.2.
//!
//! Only where the kernel tells how such writes have to be aligned (`STATX_DIOALIGN`, Linux 6.1): network file systems and file
//! systems in memory do not.

use std::fs::File;
use std::io::{self, ErrorKind, Seek as _, Write as _};

use rustix::fs::{AtFlags, OFlags, StatxFlags, fcntl_getfl, fcntl_setfl, statx};

/// Shorter pieces are not worth the calls.
const LEAST: usize = 1 << 20;
/// What one call writes.
const BLOCK: usize = 1 << 20;
/// No device asks for more; it divides [`BLOCK`].
const MOST_ALIGNED: usize = 64 << 10;

/// Writes all of `bytes` where the file's cursor is. As with other writes, nothing is known to be on the disk before the file
/// was flushed.
///
/// # Errors
/// As [`std::io::Write::write_all`].
pub(crate) fn write_all(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let direct = match bytes.len() >= LEAST {
        true => write_blocks(file, bytes)?,
        false => 0,
    };
    file.write_all(&bytes[direct..])
}

/// Writes as much of the beginning as can be written directly, and says how much that was. The file is as other files then.
fn write_blocks(file: &mut File, bytes: &[u8]) -> io::Result<usize> {
    let Some(align) = alignment(file) else {
        return Ok(0);
    };
    if file.stream_position()? % align as u64 != 0 {
        return Ok(0);
    }
    let flags = fcntl_getfl(&*file)?;
    if fcntl_setfl(&*file, flags | OFlags::DIRECT).is_err() {
        return Ok(0);
    }
    let written = write_aligned(file, bytes, align);
    fcntl_setfl(&*file, flags)?;
    written
}

fn write_aligned(file: &mut File, bytes: &[u8], align: usize) -> io::Result<usize> {
    let mut room = vec![0; BLOCK + align];
    let start = room.as_ptr().align_offset(align);
    let mut written = 0;
    while bytes.len() - written >= align {
        let whole = (bytes.len() - written).min(BLOCK) / align * align;
        let block = &mut room[start..start + whole];
        block.copy_from_slice(&bytes[written..written + whole]);
        match file.write(block) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(some) => written += some,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // The file system asks for more than it has told: the rest goes the other way.
            Err(error) if error.kind() == ErrorKind::InvalidInput => break,
            Err(error) => return Err(error),
        }
        if written % align != 0 {
            break;
        }
    }
    Ok(written)
}

/// To what memory, positions and lengths of direct writes have to be aligned; nothing where there are none.
fn alignment(file: &File) -> Option<usize> {
    let told = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    if told.stx_mask & StatxFlags::DIOALIGN.bits() == 0 {
        return None;
    }
    let align = told.stx_dio_mem_align.max(told.stx_dio_offset_align) as usize;
    let is_usable = told.stx_dio_offset_align != 0 && align.is_power_of_two();
    (is_usable && align <= MOST_ALIGNED).then_some(align)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::path::Path;

    use super::*;

    /// Bytes that differ from block to block.
    fn data(length: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn written_in(folder: &Path, pieces: &[usize]) {
        let path = folder.join("file");
        let all = data(pieces.iter().sum());
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .expect("a file");
        let before = fcntl_getfl(&file).expect("flags");
        let mut rest = all.as_slice();
        for piece in pieces {
            let (now, later) = rest.split_at(*piece);
            write_all(&mut file, now).expect("room");
            rest = later;
        }
        assert_eq!(fcntl_getfl(&file).expect("flags"), before, "{pieces:?}");
        file.sync_all().expect("a disk");
        let there = std::fs::read(&path).expect("the file");
        assert!(there == all, "{pieces:?} in {}", folder.display());
    }

    #[test]
    fn what_is_written_is_what_was_given() {
        let here = tempfile::tempdir().expect("a folder");
        // In memory, where there are no direct writes; not on every machine.
        let memory = tempfile::tempdir_in("/dev/shm").ok();
        let folders = [
            Some(here.path()),
            memory.as_ref().map(tempfile::TempDir::path),
        ];
        for folder in folders.into_iter().flatten() {
            for pieces in [
                [0, 0, 0],
                [1, LEAST, 7],
                [LEAST - 1, LEAST, LEAST],
                [LEAST, LEAST, 1],
                [LEAST + 1, 5, 3 * LEAST],
                [4096, 4 * LEAST + 4095, 2 * LEAST],
            ] {
                written_in(folder, &pieces);
            }
        }
    }

    #[test]
    fn a_full_disk_is_told() {
        let Ok(mut full) = OpenOptions::new().write(true).open("/dev/full") else {
            return;
        };
        let error = write_all(&mut full, &data(2 * LEAST)).expect_err("it is full");
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}
