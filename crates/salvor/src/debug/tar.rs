//! A plain tar (ustar) of small files.

const BLOCK: usize = 512;

/// Appends a file below `salvor-debug/`. Names are cut to what fits a header.
pub(super) fn entry(tar: &mut Vec<u8>, name: &str, bytes: &[u8], seconds: u64) {
    let mut header = [0u8; BLOCK];
    let mut put = |at: usize, text: &str, most: usize| {
        let text = &text.as_bytes()[..text.len().min(most)];
        header[at..at + text.len()].copy_from_slice(text);
    };
    put(0, &format!("salvor-debug/{name}"), 100);
    put(100, "0000600\0", 8);
    put(108, "0000000\0", 8);
    put(116, "0000000\0", 8);
    put(124, &format!("{:011o}\0", bytes.len()), 12);
    put(136, &format!("{seconds:011o}\0"), 12);
    // The checksum counts itself as blanks.
    put(148, "        ", 8);
    put(156, "0", 1);
    put(257, "ustar\x0000", 8);
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    header[148..156].copy_from_slice(sum.as_bytes());
    tar.extend_from_slice(&header);
    tar.extend_from_slice(bytes);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
}

/// Appends the end.
pub(super) fn end(tar: &mut Vec<u8>) {
    tar.resize(tar.len() + 2 * BLOCK, 0);
}
