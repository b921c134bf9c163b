//! What encrypting a spool costs: writes and reads 2 GiB through one, and through a plain temporary file.
//! `cargo run --release -p salvor-seal --example measure_spool`

use std::io::{self, Read, Seek as _, Write};
use std::time::Instant;

use salvor_seal::Spool;

const PIECE: usize = 1 << 20;
const PIECES: u64 = 2 << 10;

fn main() -> io::Result<()> {
    let piece: Vec<u8> = (0..PIECE as u32).map(|n| (n ^ (n >> 7)) as u8).collect();
    for round in 1..=3 {
        let mut file = tempfile::tempfile()?;
        let plain = write(&mut file, &piece)?;
        file.rewind()?;
        let plain = (plain, read(file)?);
        let mut spool = Spool::new()?;
        let sealed = write(&mut spool, &piece)?;
        let sealed = (sealed, read(spool.into_reader())?);
        println!(
            "round {round}: file {:.0} MB/s written, {:.0} MB/s read; spool {:.0} and {:.0}",
            plain.0, plain.1, sealed.0, sealed.1
        );
    }
    Ok(())
}

fn write(mut to: impl Write, piece: &[u8]) -> io::Result<f64> {
    let began = Instant::now();
    for _ in 0..PIECES {
        to.write_all(piece)?;
    }
    to.flush()?;
    Ok(rate(began))
}

fn read(mut from: impl Read) -> io::Result<f64> {
    let began = Instant::now();
    let mut piece = vec![0; PIECE];
    for _ in 0..PIECES {
        from.read_exact(&mut piece)?;
    }
    Ok(rate(began))
}

/// Megabytes per second.
fn rate(began: Instant) -> f64 {
    (PIECES * PIECE as u64) as f64 / 1e6 / began.elapsed().as_secs_f64()
}
