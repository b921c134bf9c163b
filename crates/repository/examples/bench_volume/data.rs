//! The data of the comparison.

use std::path::{Path, PathBuf};

use crate::Outcome;

/// 40 % noise, 32 % text, 18 % small files, 10 % holes.
pub(crate) fn make(tree: &Path, megabytes: usize) -> Outcome<()> {
    let bytes = megabytes << 20;
    for i in 0..2 {
        write(
            &tree.join(format!("noise-{i}")),
            &mut Noise(i + 1),
            bytes / 5,
        )?;
        write(
            &tree.join(format!("log-{i}")),
            &mut Log(i as usize),
            bytes * 16 / 100,
        )?;
    }
    let file = std::fs::File::create(tree.join("sparse"))?;
    file.set_len(bytes as u64 / 10)?;
    let small = bytes * 18 / 100 / 18_000;
    for i in 0..small {
        let path = tree.join(format!("small/{:03}/{i}", i / 200));
        if i % 2 == 0 {
            write(&path, &mut Noise(i as u64 + 10), 18_000)?;
        } else {
            write(&path, &mut Log(i), 18_000)?;
        }
    }
    Ok(())
}

/// Rewrites one small file in a hundred, and a spot in each large one.
pub(crate) fn change(tree: &Path, round: u64) -> Outcome<()> {
    let mut small: Vec<PathBuf> = Vec::new();
    for folder in std::fs::read_dir(tree.join("small"))? {
        for file in std::fs::read_dir(folder?.path())? {
            small.push(file?.path());
        }
    }
    small.sort();
    for (i, path) in small.iter().enumerate().filter(|(i, _)| i % 100 == 0) {
        write(path, &mut Noise(round * 1_000_003 + i as u64 + 77), 18_000)?;
    }
    for name in ["noise-0", "noise-1", "log-0", "log-1"] {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(tree.join(name))?;
        let length = file.metadata()?.len();
        let mut spot = vec![0; usize::try_from(length / 100)?];
        Noise(round + 999).fill(&mut spot);
        std::os::unix::fs::FileExt::write_all_at(&file, &spot, length / 3)?;
    }
    Ok(())
}

pub(crate) trait Fill {
    fn fill(&mut self, buffer: &mut [u8]);
}

pub(crate) struct Noise(pub(crate) u64);

impl Fill for Noise {
    fn fill(&mut self, buffer: &mut [u8]) {
        let mut state = self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for chunk in buffer.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
        }
        self.0 = state;
    }
}

struct Log(usize);

impl Fill for Log {
    fn fill(&mut self, buffer: &mut [u8]) {
        let mut at = 0;
        while at < buffer.len() {
            self.0 += 1;
            let line = format!(
                "2026-11-21T10:{:02}:{:02}Z INFO request id={:x} path=/api/v1/orders/{} status=200 took={}ms\n",
                self.0 / 60 % 60,
                self.0 % 60,
                self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15),
                self.0 * 7 % 100_003,
                self.0 * 31 % 997
            );
            let length = line.len().min(buffer.len() - at);
            buffer[at..at + length].copy_from_slice(&line.as_bytes()[..length]);
            at += length;
        }
    }
}

pub(crate) fn write(path: &Path, source: &mut dyn Fill, length: usize) -> Outcome<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = std::fs::File::create(path)?;
    let mut left = length;
    let mut buffer = vec![0; (1 << 20).min(length.max(1))];
    while left > 0 {
        let part = buffer.len().min(left);
        source.fill(&mut buffer[..part]);
        std::io::Write::write_all(&mut file, &buffer[..part])?;
        left -= part;
    }
    Ok(())
}
