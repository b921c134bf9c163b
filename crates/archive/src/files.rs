//! The JSON files beside an archive, each compressed with gzip.
//!
//! Key names and omissions are those of Velero's Go types, including the keys that are capitalised because
//! the Go field has no tag. Go reads keys in any case, so both spellings are accepted where Velero's own
//! documentation and its files differ.

mod native_snapshots;
mod operations;
mod resource_list;
mod results;
mod salvor_volumes;
mod volumes;

pub use native_snapshots::{VolumeSnapshot, VolumeSnapshotSpec, VolumeSnapshotStatus};
pub use operations::{
    BackupOperation, BackupOperationSpec, OperationStatus, ResourceIdentifier, RestoreOperation,
    RestoreOperationSpec,
};
pub use resource_list::{ResourceList, ResourceListBuilder, restored_entry};
pub use results::{ResultSet, Results};
pub use salvor_volumes::{
    Consistency, CsiSnapshot, NativeSnapshot, RepositorySnapshot, SalvorVolume, SalvorVolumes,
    VolumeMethod, VolumeOutcome,
};
pub use volumes::{
    BackupVolumeInfo, CsiSnapshotInfo, NativeSnapshotInfo, PodVolumeInfo, PvInfo,
    RestoreVolumeInfo, SnapshotDataMovementInfo,
};

use std::io::{self, Read as _, Write as _};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{ArchiveError, Result};

/// Where reading a side file stops by default, in decompressed bytes: what Velero 1.19 allows.
pub const DEFAULT_SIDE_FILE_LIMIT: u64 = 1 << 30;

/// Files beside an archive that are arrays of nothing are written like this, for example the snapshots of a
/// backup without volumes.
pub const EMPTY: [(); 0] = [];

/// Encodes a value as JSON and compresses it.
///
/// # Errors
/// The value has no JSON form, such as a map whose keys are not texts.
pub fn write_json_gz<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    let what = short_type_name::<T>();
    let mut json =
        serde_json::to_vec(value).map_err(|source| ArchiveError::Encode { what, source })?;
    // As Go's encoder ends a document.
    json.push(b'\n');
    write_text_gz(&json)
}

/// Compresses a text, such as a log.
///
/// # Errors
/// The compressor fails, which would be a fault of this program.
pub fn write_text_gz(text: &[u8]) -> Result<Vec<u8>> {
    let failed = |source| ArchiveError::SideFile {
        what: "text",
        source,
    };
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).map_err(failed)?;
    encoder.finish().map_err(failed)
}

/// Decompresses and decodes a JSON file of at most `limit` decompressed bytes. `null` reads as the default
/// of `T`: Go writes it for empty arrays.
///
/// # Errors
/// Not gzip, damaged, cut off, too long, or not JSON of this shape.
pub fn read_json_gz<T: DeserializeOwned + Default>(bytes: &[u8], limit: u64) -> Result<T> {
    let what = short_type_name::<T>();
    let json = decompress(bytes, limit, what)?;
    let value: Option<T> =
        serde_json::from_slice(&json).map_err(|source| ArchiveError::Decode { what, source })?;
    Ok(value.unwrap_or_default())
}

/// Decompresses a text of at most `limit` decompressed bytes, such as a log.
///
/// # Errors
/// Not gzip, damaged, cut off, or too long.
pub fn read_text_gz(bytes: &[u8], limit: u64) -> Result<Vec<u8>> {
    decompress(bytes, limit, "text")
}

fn decompress(bytes: &[u8], limit: u64, what: &'static str) -> Result<Vec<u8>> {
    if bytes.is_empty() {
        // The decoder takes nothing for an empty file.
        let source = io::Error::new(io::ErrorKind::UnexpectedEof, "the file is empty");
        return Err(ArchiveError::SideFile { what, source });
    }
    let mut out = Vec::new();
    MultiGzDecoder::new(bytes)
        .take(limit.saturating_add(1))
        .read_to_end(&mut out)
        .map_err(|source| ArchiveError::SideFile { what, source })?;
    if out.len() as u64 > limit {
        return Err(ArchiveError::SideFileTooLong {
            what,
            allowed: limit,
        });
    }
    Ok(out)
}

/// `Results` for `salvor_archive::files::results::Results`; what generic types print is left as it is.
fn short_type_name<T: ?Sized>() -> &'static str {
    let name = std::any::type_name::<T>();
    if name.contains('<') {
        return name;
    }
    name.rsplit("::").next().unwrap_or(name)
}

#[cfg(test)]
mod tests;
