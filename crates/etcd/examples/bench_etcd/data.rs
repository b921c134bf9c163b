//! Made-up data: objects of 3 KiB under keys as Kubernetes has them, half of each noise.

use std::path::Path;

use salvor_etcd::bolt::Writer;
use salvor_etcd::mvcc::Revision;
use salvor_etcd::protobuf::Message;
use salvor_seal::Digest;

use crate::Outcome;

/// Bytes of a value.
const VALUE: usize = 3 << 10;

/// Numbers that look random and are the same each time.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A change of a key, as etcd stores it.
pub(crate) fn entry(number: u64, revision: u64, version: u64, numbers: &mut Numbers) -> Vec<u8> {
    let key = format!(
        "/registry/pods/namespace-{:03}/pod-{number:07}",
        number % 200
    );
    let mut value = Vec::with_capacity(VALUE);
    while value.len() < VALUE / 2 {
        value.extend(numbers.next().to_le_bytes());
    }
    while value.len() < VALUE {
        value.extend_from_slice(b"spec: {containers: [{name: web, image: registry/web:v1}]}\n");
    }
    Message::new()
        .bytes(1, key.as_bytes())
        .integer(2, 2 + number)
        .integer(3, revision)
        .integer(4, version)
        .bytes(5, &value)
        .finish()
}

/// Keys that a snapshot of so many bytes has. A quarter of its entries are older versions.
pub(crate) fn keys(bytes: u64) -> u64 {
    bytes / (VALUE as u64 + 200) * 3 / 4
}

/// Writes a snapshot.
pub(crate) fn snapshot(path: &Path, bytes: u64) -> Outcome<()> {
    let mut options = std::fs::File::options();
    options.read(true).write(true).create_new(true);
    let mut writer = Writer::create(options.open(path)?, 4096)?;
    let mut bucket = writer.bucket(b"key");
    let (keys, mut numbers) = (keys(bytes), Numbers(0x5a17_0bac));
    let again = (0..keys).step_by(3).map(|number| (number, 2));
    for (main, (number, version)) in (2..).zip((0..keys).map(|number| (number, 1)).chain(again)) {
        let value = entry(number, main, version, &mut numbers);
        bucket.push(&Revision { main, sub: 0 }.to_key(), &value)?;
    }
    bucket.finish()?;
    writer.bucket(b"meta").finish()?;
    writer.finish()?;
    let mut hasher = salvor_seal::Hasher::new();
    let mut file = std::fs::File::options()
        .read(true)
        .append(true)
        .open(path)?;
    let mut piece = vec![0; 1 << 20];
    loop {
        match std::io::Read::read(&mut file, &mut piece)? {
            0 => break,
            read => hasher.update(&piece[..read]),
        }
    }
    let digest: Digest = hasher.finish();
    std::io::Write::write_all(&mut file, digest.as_bytes())?;
    Ok(())
}
